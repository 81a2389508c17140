"""A small release: published names in shapes that the rules turn into those of a reduced network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from portspec.weights.engine.ops.permute import Permute
from portspec.weights.engine.ops.split import Split
from portspec.weights.engine.ops.transpose import Transpose
from portspec.weights.engine.ops.unstack import Unstack
from portspec.weights.engine.rules import Join, Rule, RuleSet
from portspec.weights.engine.sources import read_several
from portspec.weights.engine.tensors import Shape, Tensor, TensorType, WeightsError
from portspec.weights.release import Part, drawn, evaluated, reduced, write_release


def published(**shapes: Shape) -> dict[str, Tensor]:
    return {name: Tensor("F32", shape, "", 0) for name, shape in shapes.items()}


CASES = {
    "a name": (
        [Rule("^a$", ("b",))],
        [Rule("^a$", ("b",))],
        published(a=(40, 8)),
        {"b": (4, 2)},
        {"a": (4, 2)},
    ),
    "another layer is not there": (
        [Rule(r"^a(\d)$", (r"b\1",))],
        [Rule(r"^a(\d)$", (r"b\1",))],
        published(a0=(40,), a1=(40,)),
        {"b0": (4,)},
        {"a0": (4,)},
    ),
    "parts of sizes that the network decides": (
        [Rule("^qkv$", ("q", "k", "v"), (Split(0, (80, 20, 20)),))],
        [Rule("^qkv$", ("q", "k", "v"), (Split(0, (8, 2, 2)),))],
        published(qkv=(120, 60)),
        {"q": (8, 6), "k": (2, 6), "v": (2, 6)},
        {"qkv": (12, 6)},
    ),
    "joined parts of unequal size": (
        [
            Rule("^g$", ("gu",), (), Join("concat", "0", 2)),
            Rule("^u$", ("gu",), (), Join("concat", "1", 2)),
        ],
        [
            Rule("^g$", ("gu",), (), Join("concat", "0", 2)),
            Rule("^u$", ("gu",), (), Join("concat", "1", 2)),
        ],
        published(g=(30, 8), u=(10, 8)),
        {"gu": (4, 8)},
        {"g": (3, 8), "u": (1, 8)},
    ),
    "axes in another order": (
        [Rule("^w$", ("v",), (Transpose(0, 1),))],
        [Rule("^w$", ("v",), (Transpose(0, 1),))],
        published(w=(64, 32)),
        {"v": (4, 16)},
        {"w": (16, 4)},
    ),
    "three axes": (
        [Rule("^w$", ("v",), (Permute((2, 0, 1)),))],
        [Rule("^w$", ("v",), (Permute((2, 0, 1)),))],
        published(w=(64, 32, 3)),
        {"v": (3, 16, 4)},
        {"w": (16, 4, 3)},
    ),
    "fewer experts, of which each is a part": (
        [Rule(r"^e\.(\d)$", ("e",), (), Join("stack", r"\1", 4))],
        [Rule(r"^e\.(\d)$", ("e",), (), Join("stack", r"\1", 2))],
        published(**{f"e.{i}": (8, 4) for i in range(4)}),
        {"e": (2, 2, 4)},
        {"e.0": (2, 4), "e.1": (2, 4)},
    ),
    "fewer layers of a stack": (
        [Rule("^w$", ("b.{i}",), (Unstack(4),))],
        [Rule("^w$", ("b.{i}",), (Unstack(2),))],
        published(w=(4, 8)),
        {"b.0": (2,), "b.1": (2,)},
        {"w": (2, 2)},
    ),
    "what is dropped stays dropped": (
        [Rule("^n$", reason="a counter")],
        [Rule("^n$", reason="a counter")],
        published(n=(5, 5), a=(40,)),
        {"a": (4,)},
        {"a": (4,), "n": (1,)},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_shapes_that_lead_to_those_wanted(name: str) -> None:
    full, small, source, wanted, expected = CASES[name]
    found = reduced(source, RuleSet(full), RuleSet(small), wanted)
    assert {n: kind.shape for n, kind in found.items()} == expected
    sources = drawn(found)
    tensors = {n: Tensor(k.dtype, k.shape, "", 0) for n, k in found.items()}
    outputs = RuleSet(small).apply(tensors).outputs
    assert {n: tuple(evaluated(v, sources).shape) for n, v in outputs.items()} == wanted


def test_a_tensor_that_no_published_name_becomes_is_named() -> None:
    rules = RuleSet([Rule("^a$", ("b",))])
    with pytest.raises(WeightsError, match="no published name becomes c and 1 more") as raised:
        reduced(published(a=(4,)), rules, rules, {"b": (4,), "c": (4,), "d": (4,)})
    assert raised.value.code == "E502"


def test_shapes_that_cannot_be_are_named() -> None:
    rules = RuleSet([Rule("^w$", ("q", "k"), (Split(2),))])
    with pytest.raises(WeightsError, match="no shape of w becomes q") as raised:
        reduced(published(w=(8,)), rules, rules, {"q": (3,), "k": (4,)})
    assert raised.value.code == "E504"


def test_experts_that_the_reduced_network_has_not() -> None:
    rules = RuleSet([Rule("^w$", ("e.{i}",), (Unstack(4),))])
    with pytest.raises(WeightsError, match="no shape of w becomes e"):
        reduced(published(w=(4, 8)), rules, rules, {"e.0": (8,), "e.1": (8,)})


def test_files_as_authors_write_them(tmp_path: Path) -> None:
    a, b = (drawn({n: TensorType("F32", (2,)) for n in names}) for names in ("xyz", "uv"))
    write_release([Part(["*.safetensors"], "net.", a), Part(["vae/v.pth"], "", b)], tmp_path)
    files = sorted(
        str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()
    )
    assert files == [
        "vae/v.pth",
        "x-00001-of-00002.safetensors",
        "x-00002-of-00002.safetensors",
        "x.safetensors.index.json",
    ]
    found = read_several(tmp_path.glob("*.safetensors"), tmp_path)
    assert found.keys() == {"net.x", "net.y", "net.z"}
    assert torch.equal(torch.load(tmp_path / "vae/v.pth", weights_only=True)["u"], b["u"])


GLOBS = [
    "*.safetensors",
    "a/b.safetensors",
    "**/c?.safetensors",
    "m-0000[1-3]-of-00003.safetensors",
    "d-[!a]*.pth",
    "model.safetensors.index.json",
]


@pytest.mark.parametrize("glob", GLOBS)
def test_what_is_written_is_what_the_pattern_finds(glob: str, tmp_path: Path) -> None:
    tensors = drawn({name: TensorType("I64", (2,)) for name in "uvwxyz"})
    write_release([Part([glob], "p.", tensors)], tmp_path)
    assert read_several(sorted(tmp_path.glob(glob)), tmp_path).keys() == {f"p.{n}" for n in tensors}
    assert len({tuple(tensor.tolist()) for tensor in tensors.values()}) > 1


def test_a_rule_that_cannot_be_is_no_release() -> None:
    rules = RuleSet([Rule("^[ab]$", ("c",))])
    with pytest.raises(WeightsError) as raised:
        reduced(published(a=(4,), b=(4,)), rules, rules, {"c": (4,)})
    assert raised.value.code == "E503"


def test_components_in_one_file(tmp_path: Path) -> None:
    one, other = (drawn({"w": TensorType("BF16", (2,))}) for _ in range(2))
    write_release(
        [Part(["all.safetensors"], "a.", one), Part(["all.safetensors"], "b.", other)], tmp_path
    )
    assert read_several([tmp_path / "all.safetensors"], tmp_path).keys() == {"a.w", "b.w"}
