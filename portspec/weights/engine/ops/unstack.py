"""Take apart along an axis, which goes: one stacked tensor into its experts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from portspec.weights.engine.ops import Operation, axis_of, unfit
from portspec.weights.engine.ops.stack import Stack
from portspec.weights.engine.ranges import Run, Runs, take
from portspec.weights.engine.tensors import TensorType


@dataclass(frozen=True)
class Unstack(Operation):
    """`count` is the size that the axis must have."""

    count: int
    axis: int = 0

    def infer(self, kinds: Sequence[TensorType]) -> list[TensorType]:
        (kind,) = kinds
        axis = axis_of(self.axis, kind)
        if kind.shape[axis] != self.count:
            raise unfit(f"{kind} does not hold {self.count} along axis {self.axis}")
        one = TensorType(kind.dtype, (*kind.shape[:axis], *kind.shape[axis + 1 :]))
        return [one] * self.count

    def apply(self, tensors: Sequence[Any]) -> list[Any]:
        return list(tensors[0].unbind(self.axis))

    def inverse(self, kinds: Sequence[TensorType]) -> Stack:
        return Stack(self.count, axis_of(self.axis, kinds[0]))

    def ranges(self, kinds: Sequence[TensorType], runs: Sequence[Runs]) -> list[list[Run]] | None:
        (kind,) = kinds
        axis = axis_of(self.axis, kind)
        found = [take(kind, runs[0], axis, index, index + 1) for index in range(self.count)]
        return (
            None if any(piece is None for piece in found) else [p for p in found if p is not None]
        )
