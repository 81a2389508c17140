"""Exchange the two halves along an axis: scale and shift of a modulation stand in either order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from portspec.weights.engine.ops import Operation, axis_of, unfit
from portspec.weights.engine.ranges import Run, Runs, concatenate, take
from portspec.weights.engine.tensors import TensorType


@dataclass(frozen=True)
class SwapHalves(Operation):
    """The axis must have an even size."""

    axis: int = 0

    def infer(self, kinds: Sequence[TensorType]) -> list[TensorType]:
        (kind,) = kinds
        if kind.shape[axis_of(self.axis, kind)] % 2:
            raise unfit(f"{kind} has no halves along axis {self.axis}")
        return [kind]

    def apply(self, tensors: Sequence[Any]) -> list[Any]:
        import torch

        first, second = tensors[0].chunk(2, dim=self.axis)
        return [torch.cat([second, first], dim=self.axis)]

    def inverse(self, kinds: Sequence[TensorType]) -> SwapHalves:
        return self

    def ranges(self, kinds: Sequence[TensorType], runs: Sequence[Runs]) -> list[list[Run]] | None:
        (kind,) = kinds
        axis = axis_of(self.axis, kind)
        size = kind.shape[axis]
        second = take(kind, runs[0], axis, size // 2, size)
        first = take(kind, runs[0], axis, 0, size // 2)
        if first is None or second is None:
            return None
        half = TensorType(kind.dtype, (*kind.shape[:axis], size // 2, *kind.shape[axis + 1 :]))
        found = concatenate([half, half], [second, first], axis)
        return None if found is None else [found]
