"""Give the same elements another shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from portspec.weights.engine.ops import Operation, unfit
from portspec.weights.engine.ranges import Run, Runs
from portspec.weights.engine.tensors import Shape, TensorType


@dataclass(frozen=True)
class Reshape(Operation):
    """One size may be -1, which is what is left."""

    shape: tuple[int, ...]

    def infer(self, kinds: Sequence[TensorType]) -> list[TensorType]:
        (kind,) = kinds
        return [TensorType(kind.dtype, self._whole(kind))]

    def _whole(self, kind: TensorType) -> Shape:
        size, known = prod(kind.shape), prod(s for s in self.shape if s != -1)
        rest = size // known if known else 0
        shape = tuple(rest if s == -1 else s for s in self.shape)
        if prod(shape) != size or self.shape.count(-1) > 1 or min(shape, default=0) < 0:
            raise unfit(f"{kind} cannot be given the shape {list(self.shape)}")
        return shape

    def apply(self, tensors: Sequence[Any]) -> list[Any]:
        return [tensors[0].reshape(self.shape)]

    def inverse(self, kinds: Sequence[TensorType]) -> Reshape:
        return Reshape(kinds[0].shape)

    def ranges(self, kinds: Sequence[TensorType], runs: Sequence[Runs]) -> list[list[Run]]:
        return [list(runs[0])]
