"""Put equal tensors side by side along a new axis: the experts of a layer into one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from portspec.weights.engine.ops import Operation, unfit
from portspec.weights.engine.ranges import Run, Runs, concatenate
from portspec.weights.engine.tensors import TensorType


@dataclass(frozen=True)
class Stack(Operation):
    """`axis` is that of the result."""

    count: int
    axis: int = 0

    @property
    def arity(self) -> int:  # type: ignore[override]
        """How many tensors it takes."""
        return self.count

    def infer(self, kinds: Sequence[TensorType]) -> list[TensorType]:
        first = kinds[0]
        if any(kind != first for kind in kinds):
            other = next(kind for kind in kinds if kind != first)
            raise unfit(f"{other} cannot be stacked on {first}")
        if not 0 <= self.axis <= len(first.shape):
            raise unfit(f"{first} cannot be stacked along axis {self.axis}")
        shape = (*first.shape[: self.axis], self.count, *first.shape[self.axis :])
        return [TensorType(first.dtype, shape)]

    def apply(self, tensors: Sequence[Any]) -> list[Any]:
        import torch

        return [torch.stack(list(tensors), dim=self.axis)]

    def inverse(self, kinds: Sequence[TensorType]) -> Operation:
        from portspec.weights.engine.ops.unstack import Unstack

        return Unstack(self.count, self.axis)

    def ranges(self, kinds: Sequence[TensorType], runs: Sequence[Runs]) -> list[list[Run]] | None:
        rows = [
            TensorType(k.dtype, (*k.shape[: self.axis], 1, *k.shape[self.axis :])) for k in kinds
        ]
        found = concatenate(rows, runs, self.axis)
        return None if found is None else [found]
