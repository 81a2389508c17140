"""Fold weight normalisation: a magnitude and a direction into the weight that they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from portspec.weights.engine.ops import Operation, axis_of, unfit
from portspec.weights.engine.tensors import TensorType


@dataclass(frozen=True)
class WeightNorm(Operation):
    """Takes the magnitude, one number for each index along `axis`, then the direction."""

    axis: int = 0

    arity = 2

    def infer(self, kinds: Sequence[TensorType]) -> list[TensorType]:
        magnitude, direction = kinds
        axis = axis_of(self.axis, direction)
        if prod(magnitude.shape) != direction.shape[axis] or magnitude.dtype != direction.dtype:
            raise unfit(f"{magnitude} is no magnitude of {direction} along axis {self.axis}")
        return [direction]

    def apply(self, tensors: Sequence[Any]) -> list[Any]:
        import torch

        magnitude, direction = tensors
        axis = self.axis % direction.dim()
        shape = [1] * direction.dim()
        shape[axis] = direction.shape[axis]
        return [torch._weight_norm(direction.contiguous(), magnitude.reshape(shape), axis)]
