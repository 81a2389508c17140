"""Join tensors one behind the other along an axis; their sizes may differ there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from portspec.weights.engine.ops import Operation, axis_of, replaced, unfit
from portspec.weights.engine.ranges import Run, Runs, concatenate
from portspec.weights.engine.tensors import TensorType


@dataclass(frozen=True)
class Concat(Operation):
    """`count` tensors of one element type that agree along all other axes."""

    count: int
    axis: int = 0

    @property
    def arity(self) -> int:  # type: ignore[override]
        """How many tensors it takes."""
        return self.count

    def infer(self, kinds: Sequence[TensorType]) -> list[TensorType]:
        first = kinds[0]
        axis = axis_of(self.axis, first)
        for kind in kinds:
            if kind.dtype != first.dtype or len(kind.shape) != len(first.shape):
                raise unfit(f"{kind} cannot be joined to {first}")
            if replaced(kind, axis, 0) != replaced(first, axis, 0):
                raise unfit(f"{kind} cannot be joined to {first} along axis {axis}")
        return [replaced(first, axis, sum(kind.shape[axis] for kind in kinds))]

    def apply(self, tensors: Sequence[Any]) -> list[Any]:
        import torch

        return [torch.cat(list(tensors), dim=self.axis)]

    def inverse(self, kinds: Sequence[TensorType]) -> Operation:
        from portspec.weights.engine.ops.split import Split

        axis = axis_of(self.axis, kinds[0])
        return Split(0, tuple(kind.shape[axis] for kind in kinds), self.axis)

    def ranges(self, kinds: Sequence[TensorType], runs: Sequence[Runs]) -> list[list[Run]] | None:
        found = concatenate(kinds, runs, axis_of(self.axis, kinds[0]))
        return None if found is None else [found]
