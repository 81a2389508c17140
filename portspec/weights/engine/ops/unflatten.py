"""Split an axis into two: the number of parts, and the size of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from portspec.weights.engine.ops import Operation, axis_of, unfit
from portspec.weights.engine.ops.reshape import Reshape
from portspec.weights.engine.ranges import Run, Runs
from portspec.weights.engine.tensors import TensorType


@dataclass(frozen=True)
class Unflatten(Operation):
    """A negative `count` says the size of each part instead."""

    count: int
    axis: int = 0

    def infer(self, kinds: Sequence[TensorType]) -> list[TensorType]:
        (kind,) = kinds
        axis = axis_of(self.axis, kind)
        size = kind.shape[axis]
        if not self.count or size % self.count:
            raise unfit(f"{kind} does not fall into parts by {self.count} along axis {self.axis}")
        shape = (*kind.shape[:axis], *self._sizes(size), *kind.shape[axis + 1 :])
        return [TensorType(kind.dtype, shape)]

    def _sizes(self, size: int) -> tuple[int, int]:
        if self.count > 0:
            return self.count, size // self.count
        return size // -self.count, -self.count

    def apply(self, tensors: Sequence[Any]) -> list[Any]:
        return [tensors[0].unflatten(self.axis, self._sizes(tensors[0].shape[self.axis]))]

    def inverse(self, kinds: Sequence[TensorType]) -> Reshape:
        return Reshape(kinds[0].shape)

    def ranges(self, kinds: Sequence[TensorType], runs: Sequence[Runs]) -> list[list[Run]]:
        return [list(runs[0])]
