"""Exchange two axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from portspec.weights.engine.ops import Operation, axis_of
from portspec.weights.engine.tensors import TensorType


@dataclass(frozen=True)
class Transpose(Operation):
    """The two axes; negative ones count from the back."""

    first: int = 0
    second: int = 1

    def infer(self, kinds: Sequence[TensorType]) -> list[TensorType]:
        (kind,) = kinds
        first, second = axis_of(self.first, kind), axis_of(self.second, kind)
        shape = list(kind.shape)
        shape[first], shape[second] = shape[second], shape[first]
        return [TensorType(kind.dtype, tuple(shape))]

    def apply(self, tensors: Sequence[Any]) -> list[Any]:
        return [tensors[0].transpose(self.first, self.second)]

    def inverse(self, kinds: Sequence[TensorType]) -> Transpose:
        return self
