"""Add a number to every element, as for norms that store their weight less one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from portspec.weights.engine.ops import Operation, numbers
from portspec.weights.engine.tensors import TensorType


@dataclass(frozen=True)
class Add(Operation):
    """Computed in the tensor's own element type; undoing it rounds once more."""

    value: float

    elementwise = True

    def infer(self, kinds: Sequence[TensorType]) -> list[TensorType]:
        return [numbers(kinds[0])]

    def apply(self, tensors: Sequence[Any]) -> list[Any]:
        return [tensors[0] + self.value]

    def inverse(self, kinds: Sequence[TensorType]) -> Add:
        return Add(-self.value)
