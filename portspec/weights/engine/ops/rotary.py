"""Reorder the rows of a query or key projection between the two layouts of rotary embeddings.

One keeps the two numbers that turn together side by side, the other keeps them half a head apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from portspec.weights.engine.ops import Operation
from portspec.weights.engine.ops.interleave import Interleave
from portspec.weights.engine.tensors import TensorType


@dataclass(frozen=True)
class Rotary(Operation):
    """From half a head apart to side by side, head by head; `undo` is the other way."""

    heads: int
    axis: int = 0
    undo: bool = False

    def _deal(self) -> Interleave:
        return Interleave(self.axis, 2, self.heads, self.undo)

    def infer(self, kinds: Sequence[TensorType]) -> list[TensorType]:
        return self._deal().infer(kinds)

    def apply(self, tensors: Sequence[Any]) -> list[Any]:
        return self._deal().apply(tensors)

    def inverse(self, kinds: Sequence[TensorType]) -> Rotary:
        return Rotary(self.heads, self.axis, not self.undo)
