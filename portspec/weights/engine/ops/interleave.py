"""Deal the groups along an axis out like cards: a0 a1 b0 b1 becomes a0 b0 a1 b1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from portspec.weights.engine.ops import Operation, axis_of, unfit
from portspec.weights.engine.tensors import TensorType


@dataclass(frozen=True)
class Interleave(Operation):
    """Each of `blocks` equal parts of the axis on its own; `undo` collects the groups again."""

    axis: int = 0
    groups: int = 2
    blocks: int = 1
    undo: bool = False

    def infer(self, kinds: Sequence[TensorType]) -> list[TensorType]:
        (kind,) = kinds
        axis = axis_of(self.axis, kind)
        if min(self.groups, self.blocks) < 1 or kind.shape[axis] % (self.groups * self.blocks):
            what = f"{self.blocks} blocks of {self.groups} groups"
            raise unfit(f"{kind} does not fall into {what} along axis {self.axis}")
        return [kind]

    def apply(self, tensors: Sequence[Any]) -> list[Any]:
        whole = tensors[0]
        axis = self.axis % whole.dim()
        rest = whole.shape[axis] // self.blocks // self.groups
        inner = (rest, self.groups) if self.undo else (self.groups, rest)
        shape = (*whole.shape[:axis], self.blocks, *inner, *whole.shape[axis + 1 :])
        return [whole.reshape(shape).transpose(axis + 1, axis + 2).reshape(whole.shape)]

    def inverse(self, kinds: Sequence[TensorType]) -> Interleave:
        return replace(self, undo=not self.undo)
