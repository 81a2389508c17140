"""Merge an axis with the one behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from portspec.weights.engine.ops import Operation, axis_of, unfit
from portspec.weights.engine.ops.reshape import Reshape
from portspec.weights.engine.ranges import Run, Runs
from portspec.weights.engine.tensors import TensorType


@dataclass(frozen=True)
class Flatten(Operation):
    """`axis` is the first of the two."""

    axis: int

    def infer(self, kinds: Sequence[TensorType]) -> list[TensorType]:
        (kind,) = kinds
        axis = axis_of(self.axis, kind)
        if axis + 1 == len(kind.shape):
            raise unfit(f"{kind} has no axis behind axis {self.axis}")
        size = kind.shape[axis] * kind.shape[axis + 1]
        return [TensorType(kind.dtype, (*kind.shape[:axis], size, *kind.shape[axis + 2 :]))]

    def apply(self, tensors: Sequence[Any]) -> list[Any]:
        axis = self.axis % tensors[0].dim()
        return [tensors[0].flatten(axis, axis + 1)]

    def inverse(self, kinds: Sequence[TensorType]) -> Reshape:
        return Reshape(kinds[0].shape)

    def ranges(self, kinds: Sequence[TensorType], runs: Sequence[Runs]) -> list[list[Run]]:
        return [list(runs[0])]
