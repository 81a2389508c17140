"""Multiply every element by a number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from portspec.weights.engine.ops import Operation, numbers
from portspec.weights.engine.tensors import TensorType


@dataclass(frozen=True)
class Scale(Operation):
    """Computed in the tensor's own element type; undoing it rounds once more."""

    factor: float

    elementwise = True

    def infer(self, kinds: Sequence[TensorType]) -> list[TensorType]:
        return [numbers(kinds[0])]

    def apply(self, tensors: Sequence[Any]) -> list[Any]:
        return [tensors[0] * self.factor]

    def inverse(self, kinds: Sequence[TensorType]) -> Scale | None:
        return Scale(1 / self.factor) if self.factor else None
