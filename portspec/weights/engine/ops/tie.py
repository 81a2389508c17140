"""Write one tensor under several names: tied weights that a framework keeps apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from portspec.weights.engine.ops import Operation
from portspec.weights.engine.ranges import Run, Runs
from portspec.weights.engine.tensors import TensorType


@dataclass(frozen=True)
class Tie(Operation):
    """`count` names."""

    count: int = 2

    def infer(self, kinds: Sequence[TensorType]) -> list[TensorType]:
        return [kinds[0]] * self.count

    def apply(self, tensors: Sequence[Any]) -> list[Any]:
        return [tensors[0]] * self.count

    def ranges(self, kinds: Sequence[TensorType], runs: Sequence[Runs]) -> list[list[Run]]:
        return [list(runs[0]) for _ in range(self.count)]
