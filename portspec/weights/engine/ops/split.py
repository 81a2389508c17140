"""Cut into pieces along an axis, of equal sizes or not: a fused projection into its parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from portspec.weights.engine.ops import Operation, axis_of, replaced, unfit
from portspec.weights.engine.ops.concat import Concat
from portspec.weights.engine.ranges import Run, Runs, take
from portspec.weights.engine.tensors import TensorType


@dataclass(frozen=True)
class Split(Operation):
    """Either `parts` of equal size, or the `sizes`."""

    parts: int = 0
    sizes: tuple[int, ...] = ()
    axis: int = 0

    def _sizes(self, kind: TensorType) -> tuple[int, ...]:
        whole = kind.shape[axis_of(self.axis, kind)]
        if bool(self.parts) == bool(self.sizes):
            raise unfit("a split has either `parts` or `sizes`")
        sizes = self.sizes or (whole // self.parts,) * self.parts
        if sum(sizes) != whole or min(sizes) < 0:
            what = f"{self.parts} equal parts" if self.parts else f"parts of {list(self.sizes)}"
            raise unfit(f"{kind} does not fall into {what} along axis {self.axis}")
        return sizes

    def infer(self, kinds: Sequence[TensorType]) -> list[TensorType]:
        (kind,) = kinds
        axis = axis_of(self.axis, kind)
        return [replaced(kind, axis, size) for size in self._sizes(kind)]

    def apply(self, tensors: Sequence[Any]) -> list[Any]:
        whole = tensors[0]
        sizes = self.sizes or [whole.shape[self.axis] // self.parts] * self.parts
        return list(whole.split(list(sizes), dim=self.axis))

    def inverse(self, kinds: Sequence[TensorType]) -> Concat:
        return Concat(len(self._sizes(kinds[0])), self.axis)

    def ranges(self, kinds: Sequence[TensorType], runs: Sequence[Runs]) -> list[list[Run]] | None:
        (kind,) = kinds
        axis = axis_of(self.axis, kind)
        found: list[list[Run]] = []
        start = 0
        for size in self._sizes(kind):
            piece = take(kind, runs[0], axis, start, start + size)
            if piece is None:
                return None
            found.append(piece)
            start += size
        return found
