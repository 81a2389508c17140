"""Put the axes into another order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from portspec.weights.engine.ops import Operation, unfit
from portspec.weights.engine.tensors import TensorType


@dataclass(frozen=True)
class Permute(Operation):
    """`order[i]` is the old axis that becomes axis `i`."""

    order: tuple[int, ...]

    def infer(self, kinds: Sequence[TensorType]) -> list[TensorType]:
        (kind,) = kinds
        if sorted(self.order) != list(range(len(kind.shape))):
            raise unfit(f"{list(self.order)} is no order of the axes of {kind}")
        return [TensorType(kind.dtype, tuple(kind.shape[axis] for axis in self.order))]

    def apply(self, tensors: Sequence[Any]) -> list[Any]:
        return [tensors[0].permute(self.order)]

    def inverse(self, kinds: Sequence[TensorType]) -> Permute:
        return Permute(tuple(self.order.index(axis) for axis in range(len(self.order))))
