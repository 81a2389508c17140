"""What a certificate says of mappings that are wrong, and that it says nothing of those that are right."""

from __future__ import annotations

import pytest

from portspec.weights.certificate import certify, look_alikes, rerouted, side_of
from portspec.weights.engine.ops.cast import Cast
from portspec.weights.engine.ops.split import Split
from portspec.weights.engine.rules import Join, Rule, RuleSet
from portspec.weights.engine.tensors import Shape, Tensor


def surface(shapes: dict[str, Shape], dtype: str = "F32") -> dict[str, Tensor]:
    return {name: Tensor(dtype, shape, "file", 0) for name, shape in shapes.items()}


SOURCE = surface({f"l.{i}.{x}.weight": (4, 4) for i in range(3) for x in "qkv"})
TARGET = {f"b.{i}.to_{x}.weight": (4, 4) for i in range(3) for x in "qkv"}
RIGHT = Rule(r"^l\.(\d+)\.([qkv])\.weight$", (r"b.\1.to_\2.weight",))


def codes(*rules: Rule, source: dict[str, Tensor] = SOURCE) -> set[str]:
    return {finding.code for finding in certify(source, TARGET, RuleSet(rules)).findings}


def test_a_right_mapping_holds() -> None:
    found = certify(SOURCE, TARGET, RuleSet([RIGHT]))
    assert found.holds
    assert not found.findings
    assert (found.keys, found.nbytes, found.renamed) == (9, 9 * 64, 9)
    assert found.look_alikes == ("b.{0-2}.(to_k | to_q | to_v).weight [4, 4]",)


@pytest.mark.parametrize(
    ("rules", "code"),
    [
        ([Rule(r"^l\.(\d+)\.([qk])\.weight$", (r"b.\1.to_\2.weight",))], "E501"),
        ([Rule(r"^l\.(\d+)\.([qk])\.weight$", (r"b.\1.to_\2.weight",))], "E502"),
        ([Rule(r"^l\.(\d+)\..*$", (r"b.\1.to_q.weight",))], "E503"),
        ([Rule(RIGHT.match, (r"b.\1.to_\2.weight", r"b.\1.more"), (Split(2),))], "E504"),
        ([Rule(RIGHT.match, (r"b.\1.to_q.weight",), (), Join("concat", r"{\1}", 4))], "E505"),
        ([RIGHT, Rule(r"^layers\.", ("x",))], "E506"),
        ([RIGHT, Rule(r"^l\.0\.q\.weight$", ("x",))], "E507"),
        ([RIGHT, Rule(r"^(c\..*)$", (r"\1",))], "W506"),
        ([RIGHT, Rule(r"^(.*)$", (r"c.\1",))], "N507"),
        ([Rule(RIGHT.match, RIGHT.to, (Cast("BF16"),))], "N508"),
        ([Rule(RIGHT.match, RIGHT.to, (Split(3),))], "E530"),
        ([Rule(RIGHT.match, (r"b.{\2 + 1}",))], "E531"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_wrong_is_found(rules: list[Rule], code: str) -> None:
    more = surface({"c.weight": (4,)})
    assert code in codes(*rules, source={**SOURCE, **more})


def test_one_finding_names_all_keys_and_bytes() -> None:
    """Not one for each of a thousand layers, and not a range that hides a missing one."""
    source = surface({f"l.{i}.w": (4,) for i in range(40) if i != 7})
    (strange, missing) = certify(source, {"x": (4,)}, RuleSet([])).findings
    assert strange.message == "l.{0-6,8-39}.w: the target has no such name"
    assert strange.nbytes == 39 * 16
    assert missing.message == "nothing is written to x"


def test_the_rule_at_fault_is_named() -> None:
    wrong = Rule(r"^l\.(\d+)\.q\.weight$", (r"b.\1.to_q.bias",))
    found = certify(SOURCE, TARGET, RuleSet([wrong, RIGHT])).findings
    assert [f.rule for f in found if f.code == "E501"] == [0]
    turned = Rule(r"^l\.(\d+)\.q\.weight$", (r"b.\1.to_q.weight", r"b.\1.to_z"), (Split(2),))
    found = certify(SOURCE, TARGET, RuleSet([turned, RIGHT])).findings
    assert {f.rule for f in found if f.code == "E504"} == {0}


def test_quantised_values_are_not_parted_from_their_scale() -> None:
    for scale in ("w.weight_scale_inv", "w.weight.scale", "w.scale"):
        source = surface({"w.weight": (4, 4)}, "F8_E4M3") | surface({scale: (1,)})
        drop = Rule(r".*scale.*", reason="nobody reads it")
        found = certify(source, {"w.weight": (4, 4)}, RuleSet([drop])).findings
        assert "E532" in {finding.code for finding in found}, scale
        plain = surface({"w.weight": (4, 4)}) | surface({scale: (1,)})
        assert certify(plain, {"w.weight": (4, 4)}, RuleSet([drop])).holds


def test_look_alikes_are_told_for_all_layers_at_once() -> None:
    shapes: dict[str, Shape] = {f"b.{i}.norm{n}.weight": (8,) for i in range(4) for n in (1, 2)}
    assert look_alikes({**shapes, "head.weight": (8,)}) == ["b.{0-3}.(norm1 | norm2).weight [8]"]


def test_which_side_names_are_on() -> None:
    old, new = ["model.a", "same"], ["a", "same"]
    assert side_of(["model.a"], old, new) == "source"
    assert side_of(["a"], old, new) == "target"
    assert side_of(["same"], old, new) == "both"
    assert side_of(["a", "model.a"], old, new) == "mixed"
    assert side_of(["b"], old, new) == "neither"


def test_two_sets_of_rules_are_compared_over_real_names() -> None:
    dropping = RuleSet([Rule(r"^l\.0\.q", reason="unused"), RIGHT])
    found = rerouted(SOURCE, RuleSet([RIGHT]), dropping)
    assert found == {"l.0.q.weight": (("b.0.to_q.weight",), ())}
