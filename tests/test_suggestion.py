"""A mapping suggested from names and shapes, against FastVideo's own on every published component."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from portspec.weights.engine.ops.split import Split
from portspec.weights.engine.rules import Join, RuleSet
from portspec.weights.engine.tensors import Tensor
from portspec.weights.suggestion import Suggestion, suggest
from tests import surfaces
from tests.surfaces import Pair, Surface

NAMES = surfaces.names()
# Their names tie, or the order of parts or another shape needs an answer.
ASKED = {
    "cosmos_predict2.5_nvkeys_transformer",
    "cosmos_predict2.5_transformer",
    "gen3c_7b_transformer",
    "hunyuanvideo_transformer",
    "mmaudio_image_encoder",
    "stable_audio_diffusers_format_transformer",
}
MOST_RULES = {  # FastVideo's own tables have 20, 49, 20, 5 and 4 rows
    "wan2.1_t2v_transformer": 12,
    "hunyuanvideo_transformer": 48,
    "cosmos_predict2_transformer": 3,
    "llama3_8b_text_encoder": 5,
    "ltx2_19b_transformer": 1,
}


@cache
def pair(name: str) -> Pair:
    return surfaces.read(name)


@cache
def suggested(name: str) -> Suggestion:
    return suggest(pair(name).source, pair(name).target)


def tensors(surface: Surface) -> dict[str, Tensor]:
    return {name: Tensor("BF16", shape, "file", 0) for name, shape in surface.items()}


def differing(name: str) -> list[str]:
    """The keys that go elsewhere than in FastVideo, or as another part."""
    found = suggested(name)
    routes = RuleSet(found.rules).apply(tensors(pair(name).source)).routes
    wrong = []
    for key in pair(name).source:
        part = None
        if key in found.assigned and routes[key][0] >= 0:
            join = found.rules[routes[key][0]].join
            part = (int(join.part), join.count) if join else None
        mine = (*found.assigned[key], part) if key in found.assigned else None
        if mine != pair(name).truth(key):
            wrong.append(key)
    return wrong


def holds(source: Surface, target: Surface, found: Suggestion) -> None:
    """The rules do what is promised, and all shapes come out."""
    mapped = RuleSet(found.rules).apply(tensors(source))
    assert not mapped.problems
    for name in source:
        if name in found.assigned:
            assert mapped.routes[name][1] == found.assigned[name]
        else:
            assert mapped.routes[name][1] == (name,) or not {*mapped.routes[name][1]} & {*target}
    for name in {name for names in found.assigned.values() for name in names}:
        assert mapped.outputs[name].type.shape == target[name]
    reached = {name for names in found.assigned.values() for name in names}
    assert set(found.unmatched_source) == set(source) - set(found.assigned)
    assert set(found.unmatched_target) == set(target) - reached


@pytest.mark.parametrize("name", NAMES)
def test_surfaces_are_written_as_they_are_read(name: str) -> None:
    text = (surfaces.FOLDER / f"{name}.txt").read_text(encoding="utf-8")
    lines = [f" {line}" for line in surfaces.written(pair(name).source.items())]
    assert text.startswith("\n".join(["source", *lines]) + "\n")


@pytest.mark.parametrize("name", NAMES)
def test_the_rules_do_what_they_promise(name: str) -> None:
    holds(pair(name).source, pair(name).target, suggested(name))


@pytest.mark.parametrize("name", NAMES)
def test_the_mapping_is_fastvideos_or_is_asked_about(name: str) -> None:
    asked = {key for question in suggested(name).questions for key in question.about}
    assert not set(differing(name)) - asked


def test_nine_of_ten_mappings_are_fastvideos_to_the_last_key() -> None:
    exact = [name for name in NAMES if not differing(name)]
    assert len(NAMES) == 42
    assert len(exact) >= 0.9 * len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_way_back_is_found_too(name: str) -> None:
    """What was joined is split, and the other way round."""
    source, target = pair(name).source, pair(name).target
    found = suggest(target, source)
    holds(target, source, found)
    back: dict[str, dict[int, str]] = {}
    for key in source:
        route = pair(name).truth(key)
        if route:
            back.setdefault(route[0], {})[route[1][0] if route[1] else 0] = key
    asked = {key for question in found.questions for key in question.about}
    for key in set(target) - asked:
        assert found.assigned.get(key, ()) == tuple(n for _, n in sorted(back.get(key, {}).items()))


def test_what_is_asked() -> None:
    assert {name for name in NAMES if suggested(name).questions} == ASKED


@pytest.mark.parametrize(("name", "most"), MOST_RULES.items())
def test_rules_are_few(name: str, most: int) -> None:
    assert len(suggested(name).rules) <= most


@pytest.mark.parametrize("name", [n for n in NAMES if pair(n).source == pair(n).target])
def test_the_same_names_need_no_rules(name: str) -> None:
    found = suggested(name)
    assert not found.rules and not found.questions and not found.unmatched_source


@pytest.mark.parametrize(
    "name", ["hunyuanvideo_transformer", "gen3c_7b_transformer", "mmaudio_image_encoder"]
)
def test_the_answer_is_the_same_on_every_run(name: str) -> None:
    program = f"""
from portspec.weights.suggestion import suggest
from tests import surfaces
pair = surfaces.read({name!r})
print(suggest(pair.source, pair.target))
"""
    answers = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=Path(__file__).parent.parent,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "4242")
    }
    assert len(answers) == 1


def test_query_key_and_value_become_one() -> None:
    source = {
        f"layers.{i}.attn.{p}.{w}": (8, 8) if w == "weight" else (8,)
        for i in range(3)
        for p in ("k_proj", "q_proj", "v_proj")
        for w in ("weight", "bias")
    }
    target = {f"blocks.{i}.self_attn.qkv.weight": (24, 8) for i in range(3)}
    target |= {f"blocks.{i}.self_attn.qkv.bias": (24,) for i in range(3)}
    found = suggest(source, target)
    holds(source, target, found)
    assert [rule.join for rule in found.rules] == [
        Join("concat", "1", 3),
        Join("concat", "0", 3),
        Join("concat", "2", 3),
    ]
    assert not found.questions and not found.unmatched_source


def test_fewer_keys_than_queries() -> None:
    source = {"attn.q.weight": (32, 16), "attn.k.weight": (8, 16), "attn.v.weight": (8, 16)}
    target = {"attn.qkv_proj.weight": (48, 16)}
    found = suggest(source, target)
    holds(source, target, found)
    assert len(found.rules) == 3 and not found.questions


def test_gate_and_up() -> None:
    source = {"mlp.up_proj.weight": (12, 4), "mlp.gate_proj.weight": (12, 4)}
    target = {"mlp.gate_up_proj.weight": (24, 4)}
    found = suggest(source, target)
    holds(source, target, found)
    parts = {rule.match: rule.join.part for rule in found.rules if rule.join}
    assert [part for match, part in parts.items() if "gate" in match] == ["0"]


def test_a_fused_projection_falls_apart() -> None:
    source = {f"b.{i}.attn.qkv.weight": (48, 16) for i in range(2)}
    target = {
        f"b.{i}.attn.to_{x}.weight": (n, 16)
        for i in range(2)
        for x, n in (("q", 32), ("k", 8), ("v", 8))
    }
    found = suggest(source, target)
    holds(source, target, found)
    (rule,) = found.rules
    assert rule.operations == (Split(0, (32, 8, 8)),)
    assert found.assigned["b.0.attn.qkv.weight"] == tuple(f"b.0.attn.to_{x}.weight" for x in "qkv")


def test_parts_that_only_their_sizes_speak_for_are_asked_about() -> None:
    source = {"b.0.one.weight": (6, 4), "b.0.two.weight": (2, 4)}
    source |= {name.replace("0", "1"): shape for name, shape in source.items()}
    target = {f"b.{i}.whole.weight": (8, 4) for i in range(2)}
    found = suggest(source, target)
    holds(source, target, found)
    (question,) = found.questions
    assert set(question.about) == set(source) and "order" in question.text


def test_norms_that_nothing_tells_apart_are_asked_about() -> None:
    source = {f"b.{i}.norm_{x}.weight": (16,) for i in range(2) for x in ("one", "two")}
    target = {f"b.{i}.norm_{x}.weight": (16,) for i in range(2) for x in ("pre", "post")}
    found = suggest(source, target)
    holds(source, target, found)
    (question,) = found.questions
    assert set(question.about) == set(source)
    assert set(question.candidates) == set(target)
    assert found.assigned["b.0.norm_one.weight"] == ("b.0.norm_pre.weight",)


def test_towers_that_nothing_tells_apart_are_kept_whole_and_asked_about() -> None:
    source = {f"{t}.{m}.weight": (8, 8) for t in ("left", "right") for m in ("q", "k", "v", "out")}
    target = {n.replace("left", "east").replace("right", "west"): s for n, s in source.items()}
    found = suggest(source, target)
    holds(source, target, found)
    asked = {key for question in found.questions for key in question.about}
    assert asked == set(source)
    for key, (name,) in found.assigned.items():
        assert name == key.replace("left", "east").replace("right", "west")


def test_the_same_names_and_shapes_stay() -> None:
    source = {"a.weight": (2, 2), "b.weight": (2, 2)}
    found = suggest(source, dict(reversed(source.items())))
    assert found.rules == () and found.questions == ()
    assert found.assigned == {"a.weight": ("a.weight",), "b.weight": ("b.weight",)}


def test_nothing_in_common() -> None:
    source, target = {"a.weight": (2, 3)}, {"b.weight": (5, 7)}
    found = suggest(source, target)
    assert found.rules == () and not found.assigned
    assert found.unmatched_source == ("a.weight",) and found.unmatched_target == ("b.weight",)


def test_strangers_of_one_shape_are_asked_about() -> None:
    found = suggest({"alpha.weight": (2, 3)}, {"omega.weight": (2, 3)})
    (question,) = found.questions
    assert question.about == ("alpha.weight",) and "nothing in common" in question.text


@pytest.mark.parametrize(("mine", "theirs"), [(4, 3), (3, 4)])
def test_a_layer_more_on_one_side(mine: int, theirs: int) -> None:
    source = {f"layers.{i}.fc1.weight": (8, 2) for i in range(mine)}
    target = {f"blocks.{i}.mlp.fc_in.weight": (8, 2) for i in range(theirs)}
    found = suggest(source, target)
    holds(source, target, found)
    assert len(found.assigned) == 3 and len(found.rules) == 1
    assert found.unmatched_source == (("layers.3.fc1.weight",) if mine == 4 else ())
    assert found.unmatched_target == (("blocks.3.mlp.fc_in.weight",) if theirs == 4 else ())


def test_numbers_that_start_elsewhere() -> None:
    source = {f"layers.{i}.fc1.weight": (8, 2) for i in range(1, 12)}
    target = {f"layers.{i}.fc1.weight": (8, 2) for i in range(11)}
    found = suggest(source, target)
    holds(source, target, found)
    (rule,) = found.rules
    assert rule.to == (r"layers.{\1 - 1}.\2",)


def test_numbers_inside_words() -> None:
    source = {f"net.blocks.block{i}.fc.weight": (8, 2) for i in range(6)}
    target = {f"blocks.{i}.fc.weight": (8, 2) for i in range(6)}
    found = suggest(source, target)
    holds(source, target, found)
    assert len(found.rules) == 1


def test_a_transpose_is_not_assumed() -> None:
    found = suggest({"visual.proj": (4, 6)}, {"visual_projection.weight": (6, 4)})
    assert not found.assigned
    assert re.search("transpose", found.questions[0].text)


def test_a_name_that_another_tensor_takes() -> None:
    source = {"head.weight": (3, 3), "old.head.weight": (5, 5)}
    found = suggest(source, {"head.weight": (5, 5)})
    assert found.assigned == {"old.head.weight": ("head.weight",)}
    assert any(question.about == ("head.weight",) for question in found.questions)


def test_names_that_a_replacement_cannot_hold_are_left_out() -> None:
    found = suggest({"a.weight": (2, 3)}, {"a.{x}.weight": (2, 3)})
    assert found.rules == () and found.unmatched_source == ("a.weight",)


PAGE = surfaces.FOLDER.parent.parent.parent / "docs/suggestions.md"
INTRO = """# Suggested mappings

What `portspec map suggest` makes of the published components that FastVideo 0.2.1 has a class for, from names
and shapes alone. Rules are those suggested, beside the rows of the mapping that FastVideo uses; a mapping is
exact when every key goes where FastVideo sends it, as the same part of a joined tensor. Questions are what
names and shapes do not decide: the order of appearance was taken, and the question says so. This page is
generated by `tests/test_suggestion.py`.

| component | keys | becomes | rules | FastVideo's rows | mapping | questions | without a counterpart |
|---|---|---|---|---|---|---|---|
"""


def row(name: str) -> str:
    """A line of the page."""
    found, wrong = suggested(name), differing(name)
    cells = [
        name,
        len(pair(name).source),
        len(pair(name).target),
        len(found.rules),
        len(pair(name).mapping),
        f"{len(wrong)} differ" if wrong else "exact",
        len(found.questions),
        f"{len(found.unmatched_source)} / {len(found.unmatched_target)}",
    ]
    return "| " + " | ".join(map(str, cells)) + " |\n"


def test_the_page_says_what_is_found() -> None:
    text = INTRO + "".join(row(name) for name in NAMES)
    if os.environ.get("UPDATE_GOLDEN"):
        PAGE.write_text(text, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == text
