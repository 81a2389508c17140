"""Rules say what diffusers' single-file converters do, and their results are the same byte for byte."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from ruamel.yaml import YAML
from safetensors.torch import load_file, save_file

from portspec.spec import ConversionRule
from portspec.weights.conversion import applies, engine_rule
from portspec.weights.engine.layout import lay_out
from portspec.weights.engine.ops.transpose import Transpose
from portspec.weights.engine.rules import Join, Mapped, Rule, RuleSet
from portspec.weights.engine.sources import read_tensors
from portspec.weights.engine.write import Job, write
from portspec.weights.written import as_row

FOLDER = Path(__file__).parent / "conversions"
DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}

Tensors = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Case:
    """A family's checkpoint, the rules for it, and the converter that they stand for."""

    rules: tuple[Rule, ...]
    values: Mapping[str, int]
    converter: str
    arguments: Mapping[str, Any]
    kinds: Mapping[str, tuple[str, list[int]]]

    def checkpoint(self) -> dict[str, torch.Tensor]:
        """Return random tensors, the same ones every time."""
        seeded = torch.Generator().manual_seed(0)
        return {
            name: torch.randn(shape, generator=seeded).to(DTYPES[dtype])
            for name, (dtype, shape) in self.kinds.items()
        }

    def apply(self, source: Path) -> Mapped:
        return RuleSet(self.rules, self.values).apply(read_tensors(source))

    def without(self, index: int) -> Case:
        return replace(self, rules=self.rules[:index] + self.rules[index + 1 :])


def read(name: str) -> Case:
    told = YAML(typ="safe").load(FOLDER / f"{name}.yaml")
    rules = [Rule(match, reason=reason) for match, reason in told["drop"].items()]
    for row in told["rules"]:
        rule = ConversionRule.model_validate(row)
        if applies(rule, told["values"]):
            rules.append(engine_rule(rule, told["values"]))
    kinds = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return Case(tuple(rules), told["values"], told["converter"], told["arguments"], kinds)


CASES = {path.stem: read(path.stem) for path in sorted(FOLDER.glob("*.yaml"))}


@pytest.fixture(scope="module")
def converters() -> Iterator[ModuleType]:
    """The converters; transformers would load torchvision, which may not fit torch and is not needed."""
    import_module("diffusers.loaders")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("diffusers.utils.is_transformers_available", lambda: False)
        yield import_module("diffusers.loaders.single_file_utils")


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@pytest.fixture
def source(case: Case, tmp_path: Path) -> Path:
    path = tmp_path / "source.safetensors"
    save_file(case.checkpoint(), path)
    return path


@pytest.fixture
def expected(case: Case, converters: ModuleType) -> Tensors:
    found: Tensors = getattr(converters, case.converter)(case.checkpoint(), **case.arguments)
    return found


def written(mapped: Mapped, out: Path) -> Tensors:
    """Write what the rules give, and read it as others do."""
    (shard,) = lay_out(mapped.outputs, "model")
    write(Job({shard.file: shard}, {shard.file: mapped.outputs}), out)
    return load_file(out / shard.file)


def differences(found: Tensors, expected: Tensors) -> list[str]:
    """Return the names of which one side has none, or another type, shape or bytes."""
    both = found.keys() & expected.keys()
    return sorted(
        (found.keys() ^ expected.keys()) | {n for n in both if not same(found[n], expected[n])}
    )


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return torch.equal(a.contiguous().view(torch.uint8), b.contiguous().view(torch.uint8))


def test_rules_do_what_the_converter_does(
    case: Case, source: Path, expected: Tensors, tmp_path: Path
) -> None:
    mapped = case.apply(source)
    assert not mapped.problems
    assert differences(written(mapped, tmp_path / "out"), expected) == []


def test_every_rule_is_used(case: Case, source: Path) -> None:
    used = {rule for rule, _ in case.apply(source).routes.values()}
    assert [rule.match for i, rule in enumerate(case.rules) if i not in used] == []


def test_every_rule_is_needed(case: Case, source: Path, expected: Tensors, tmp_path: Path) -> None:
    for index, rule in enumerate(case.rules):
        mapped = case.without(index).apply(source)
        if not mapped.problems and mapped.outputs.keys() == expected.keys():
            assert differences(written(mapped, tmp_path / str(index)), expected), rule.match


def test_a_rule_is_written_as_a_spec_reads_it(case: Case) -> None:
    """What `map suggest` prints of a rule says the same rule."""
    for rule in case.rules:
        if not rule.reason:
            read_again = ConversionRule.model_validate(as_row(rule))
            assert engine_rule(read_again, case.values) == rule


def test_a_join_keeps_what_comes_after_it() -> None:
    join = Join("concat", r"\2", 2, 1, (Transpose(),))
    rule = Rule(r"^a\.(\d+)\.(\d)$", (r"b.\1",), (), join)
    assert engine_rule(ConversionRule.model_validate(as_row(rule)), {}) == rule
