"""Suggestions from contents: what diffusers' converters do is found from a checkpoint before and after."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from portspec.weights.engine.ops.reshape import Reshape
from portspec.weights.engine.ops.split import Split
from portspec.weights.engine.ops.transpose import Transpose
from portspec.weights.engine.rules import RuleSet
from portspec.weights.engine.sources import read_tensors
from portspec.weights.suggestion import Suggestion, suggest
from portspec.weights.suggestion.values import Values
from tests.conftest import run
from tests.test_converters import Case, Tensors, case, converters, expected, source, written

__all__ = ["case", "converters", "expected", "source"]


def test_what_a_converter_does_is_found_from_its_result(
    case: Case, source: Path, expected: Tensors, tmp_path: Path
) -> None:
    target = tmp_path / "target.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in expected.items()}, target)
    before, after = read_tensors(source), read_tensors(target)
    shapes = ({n: t.shape for n, t in side.items()} for side in (before, after))
    found = suggest(*shapes, Values(before, after))
    mapped = RuleSet(found.rules).apply({n: before[n] for n in found.assigned})
    assert not mapped.problems
    made = written(mapped, tmp_path / "out")
    wrong = [n for n, t in made.items() if not torch.equal(t, expected[n].to(t.dtype))]
    assert wrong == []
    assert not found.questions
    assert not found.unmatched_target
    assert set(found.unmatched_source) == case.apply(source).dropped.keys()


def suggested(tmp_path: Path, mine: Tensors, theirs: Tensors) -> Suggestion:
    paths = tmp_path / "mine.safetensors", tmp_path / "theirs.safetensors"
    for path, tensors in zip(paths, (mine, theirs), strict=True):
        save_file({n: t.contiguous().clone() for n, t in tensors.items()}, path)
    before, after = map(read_tensors, paths)
    shapes = ({n: t.shape for n, t in side.items()} for side in (before, after))
    return suggest(*shapes, Values(before, after))


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_norms_whose_names_say_nothing_are_told_apart(tmp_path: Path) -> None:
    one, two = random(16), random(16, seed=1)
    found = suggested(
        tmp_path, {"b.norm_one.w": one, "b.norm_two.w": two}, {"b.pre.w": two, "b.post.w": one}
    )
    assert found.assigned == {"b.norm_one.w": ("b.post.w",), "b.norm_two.w": ("b.pre.w",)}
    assert not found.questions


def test_names_that_mislead_are_overruled(tmp_path: Path) -> None:
    """A release that has query and key the other way round."""
    q, k = random(8, 8), random(8, 8, seed=1)
    mine = {"b.0.to_q.weight": q, "b.0.to_k.weight": k}
    theirs = {"b.0.to_q.weight": k, "b.0.to_k.weight": q}
    found = suggested(tmp_path, mine, theirs)
    assert found.assigned == {
        "b.0.to_q.weight": ("b.0.to_k.weight",),
        "b.0.to_k.weight": ("b.0.to_q.weight",),
    }


def test_constants_are_asked_about_as_ever(tmp_path: Path) -> None:
    ones = torch.ones(16)
    mine = {f"b.norm_{x}.weight": ones for x in ("one", "two")}
    found = suggested(tmp_path, mine, {f"b.norm_{x}.weight": ones for x in ("pre", "post")})
    (question,) = found.questions
    assert "names, shapes and values do not say" in question.text


def test_parts_in_another_order_than_usual(tmp_path: Path) -> None:
    mine, theirs = {}, {}
    for i in range(2):
        q, k, v = (random(4, 6, seed=3 * i + part) for part in range(3))
        mine |= {f"b.{i}.attn.to_{x}.weight": t for x, t in zip("qkv", (q, k, v), strict=True)}
        theirs[f"b.{i}.attn.qkv.weight"] = torch.cat([k, q, v])
    found = suggested(tmp_path, mine, theirs)
    assert not found.questions
    for i in range(2):
        parts = [RuleSet(found.rules).route(f"b.{i}.attn.to_{x}.weight")[1:] for x in "kqv"]
        assert parts == [(f"b.{i}.attn.qkv.weight", str(part)) for part in range(3)]


def test_a_split_is_proved_part_by_part(tmp_path: Path) -> None:
    q, k, v = (random(n, 6, seed=seed) for seed, n in enumerate((4, 2, 2)))
    theirs = {f"b.0.attn.to_{x}.weight": t for x, t in zip("qkv", (q, k, v), strict=True)}
    found = suggested(tmp_path, {"b.0.attn.qkv.weight": torch.cat([q, k, v])}, theirs)
    assert [rule.operations for rule in found.rules] == [(Split(0, (4, 2, 2)),)]
    assert not found.questions


def test_a_transpose_and_another_shape_are_recognised(tmp_path: Path) -> None:
    w, c = random(4, 6), random(4, 6, 1, 1, seed=1)
    found = suggested(
        tmp_path,
        {"a.proj.weight": w, "b.conv.weight": c},
        {"a.proj.weight": w.T, "b.conv.weight": c.reshape(4, 6)},
    )
    done = {rule.match: rule.operations for rule in found.rules}
    assert sorted(map(repr, done.values())) == sorted(
        map(repr, [(Transpose(),), (Reshape((4, 6)),)])
    )
    assert not found.questions and not found.unmatched_source


def test_one_side_was_cast(tmp_path: Path) -> None:
    one, two = random(16), random(16, seed=1)
    theirs = {"b.pre.w": two.bfloat16(), "b.post.w": one.bfloat16()}
    found = suggested(tmp_path, {"b.norm_one.w": one, "b.norm_two.w": two}, theirs)
    assert found.assigned["b.norm_one.w"] == ("b.post.w",)


def test_a_difference_in_the_middle_of_a_large_tensor_is_seen(tmp_path: Path) -> None:
    one = random(100_000)
    two = one.clone()
    two[50_000] += 1
    found = suggested(tmp_path, {"a.one.w": one, "a.two.w": two}, {"a.x.w": two, "a.y.w": one})
    assert found.assigned == {"a.one.w": ("a.y.w",), "a.two.w": ("a.x.w",)}


KINDS = {
    "halves of two kinds": (torch.float16, torch.bfloat16),
    "whole numbers": (torch.int32, torch.int64),
    "quantised": (torch.float8_e4m3fn, torch.bfloat16),
}


@pytest.mark.parametrize("kind", KINDS)
def test_types_that_cannot_be_compared_prove_nothing(kind: str, tmp_path: Path) -> None:
    """As without values, strangers are left alone or asked about."""
    mine, theirs = (dtype for dtype in KINDS[kind])
    found = suggested(
        tmp_path,
        {"foo.weight": random(4, 8).to(mine)},
        {"bar.weight": random(4, 8, seed=1).to(theirs)},
    )
    assert not found.assigned or found.questions


def test_parts_of_incomparable_types_are_asked_about(tmp_path: Path) -> None:
    mine, theirs = {}, {}
    for i in range(2):
        q, k, v = (random(4, 6, seed=3 * i + part) for part in range(3))
        mine |= {f"b.{i}.one.{x}.weight": t.half() for x, t in zip("abc", (q, k, v), strict=True)}
        theirs[f"b.{i}.whole.weight"] = torch.cat([k, q, v]).bfloat16()
    found = suggested(tmp_path, mine, theirs)
    assert not found.assigned or any("order" in question.text for question in found.questions)


def test_a_constant_whose_name_the_source_has_too_proves_nothing(tmp_path: Path) -> None:
    mine = {"n.weight": random(16), "old.weight": torch.zeros(16), "older.weight": torch.zeros(16)}
    theirs = {
        "n.weight": torch.zeros(16),
        "m.weight": torch.zeros(16),
        "x.weight": mine["n.weight"],
    }
    found = suggested(tmp_path, mine, theirs)
    assert found.assigned["n.weight"] == ("x.weight",)
    asked = {name for question in found.questions for name in question.about}
    assert {"old.weight", "older.weight"} <= asked | set(found.unmatched_source)


def test_names_without_contents_cannot_be_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "kept.json"
    kept.write_text('{"a.weight": {"dtype": "F32", "shape": [2, 3]}}', encoding="utf-8")
    assert run("map", "suggest", str(kept), str(kept)) == 0
    assert run("map", "suggest", str(kept), str(kept), "--values") == 2
    assert "kept.json holds no values" in capsys.readouterr().err


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = random(16), random(16, seed=1)
    save_file({"b.norm_one.w": one, "b.norm_two.w": two}, tmp_path / "a.safetensors")
    torch.save({"b.pre.w": two, "b.post.w": one}, tmp_path / "b.pth")
    paths = (str(tmp_path / "a.safetensors"), str(tmp_path / "b.pth"))
    assert run("map", "suggest", *paths, "--values", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert not told["questions"]
    assert len(told["rules"]) == 2
