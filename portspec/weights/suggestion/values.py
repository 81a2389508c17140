"""What the contents of tensors say about which is which, from a few elements of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from math import prod

from portspec.weights.engine.compute import PIECE, Files, from_bytes, whole_tensor
from portspec.weights.engine.ops import Operation
from portspec.weights.engine.ops.reshape import Reshape
from portspec.weights.engine.ops.swap_halves import SwapHalves
from portspec.weights.engine.ops.transpose import Transpose
from portspec.weights.engine.ranges import Run
from portspec.weights.engine.rules import leaf
from portspec.weights.engine.tensors import (
    BITS,
    TORCH_NAMES,
    Tensor,
    TensorType,
    WeightsError,
)
from portspec.weights.suggestion.units import Unit, moved, shifts

_WINDOW = 4096  # elements that are compared at the beginning, in the middle and at the end
_WIDTHS = {"F64": 3, "F32": 2, "F16": 1, "BF16": 1}
_LARGEST = 64 * PIECE  # elements of a tensor that is compared as a whole

Slice = tuple[bool, str, int, int]  # side, name, first element, number of elements


class Values:
    """Two checkpoints whose tensors are compared where names and shapes leave a choice.

    Equal means bit for bit, or after rounding to the narrower element type when one side was cast. Between
    types that cannot be compared so, nothing is said.
    """

    def __init__(self, source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
        self._sides = (source, target)
        self._files = Files()
        self._sample = lru_cache(maxsize=None)(self._read)

    def agree(self, source: Unit, target: Unit) -> bool:
        """Tell whether nothing in what is read of two units differs."""
        moves = shifts(source, target)
        assert moves is not None, "only units whose shapes fit are compared"
        for row in source.shapes:
            theirs = moved(row, moves)
            if theirs in target.shapes and not all(
                self._equal(one, other) for one, other in _slices(source, row, target, theirs)
            ):
                return False
        return True

    def is_telling(self, unit: Unit) -> bool:
        """Tell whether a unit's contents are its own: constants agree with constants by accident."""
        row = next(iter(unit.shapes))
        return all(self._varies(part.key(row)) for part in unit.parts or (unit,))

    def turned(self, source: Unit, target: Unit) -> Operation | None:
        """Return the one operation that makes the one of the other: another shape, a transpose, a swap."""
        shapes = {target.shapes[row] for row in source.shapes if row in target.shapes}
        if len(shapes) != 1 or source.shapes.keys() != target.shapes.keys():
            return None
        shape = shapes.pop()
        row = next(iter(source.shapes))
        one, other = (self._whole(s, u.key(row)) for s, u in ((0, source), (1, target)))
        if one is None or other is None or one.dtype != other.dtype:
            return None
        if not self._varies(source.key(row)):
            return None
        for operation in (Reshape(shape), Transpose(), SwapHalves()):
            with suppress(WeightsError, IndexError):
                (kind,) = operation.infer([TensorType("F32", tuple(one.shape))])
                if kind.shape == shape and bool((operation.apply([one])[0] == other).all()):
                    return operation
        return None

    def _whole(self, side: int, name: str):  # type: ignore[no-untyped-def]
        tensor = self._sides[side].get(name)
        if tensor is None or tensor.dtype not in _WIDTHS or prod(tensor.shape) > _LARGEST:
            return None
        return whole_tensor(leaf(name, tensor), self._files)

    def _varies(self, name: str) -> bool:
        tensor = self._sides[name not in self._sides[0]][name]
        width = BITS[tensor.dtype] // 8
        data = self._sample(tensor, 0, prod(tensor.shape), tensor.dtype)
        return any(data[i : i + width] != data[:width] for i in range(0, len(data), width))

    def _equal(self, one: Slice, other: Slice) -> bool:
        mine, theirs = self._sides[one[0]][one[1]], self._sides[other[0]][other[1]]
        dtype = mine.dtype
        if mine.dtype != theirs.dtype:
            widths = _WIDTHS.get(mine.dtype, 0), _WIDTHS.get(theirs.dtype, 0)
            if 0 in widths or widths[0] == widths[1]:
                return True
            dtype = min((widths[0], mine.dtype), (widths[1], theirs.dtype))[1]
        return self._sample(mine, *one[2:], dtype) == self._sample(theirs, *other[2:], dtype)

    def _read(self, tensor: Tensor, start: int, count: int, dtype: str) -> bytes:
        """Return elements from the beginning, the middle and the end of a slice, in an element type."""
        starts = {start, start + max(count - _WINDOW, 0) // 2, start + max(count - _WINDOW, 0)}
        width = BITS[tensor.dtype] // 8
        size = min(_WINDOW, count)
        if tensor.strides:
            flat = whole_tensor(leaf("", tensor), self._files).reshape(-1)
            pieces = [flat[first : first + size] for first in sorted(starts)]
        else:
            runs = [
                Run(tensor.file, tensor.start + s * width, size * width) for s in sorted(starts)
            ]
            data = self._files.read(runs)
            if dtype == tensor.dtype:
                return bytes(data)
            pieces = [from_bytes(data, tensor.dtype)]
        return b"".join(_rounded(piece, dtype) for piece in pieces)


def _rounded(elements, dtype: str) -> bytes:  # type: ignore[no-untyped-def]
    import torch

    rounded = elements.to(getattr(torch, TORCH_NAMES[dtype])).contiguous()
    return bytes(rounded.view(torch.uint8).numpy())


def _slices(
    source: Unit, mine: tuple[int, ...], target: Unit, theirs: tuple[int, ...]
) -> Iterator[tuple[Slice, Slice]]:
    """Yield which elements of the source must be which of the target, part by part."""
    start = 0
    parts = source.parts or target.parts
    for index in range(len(parts) or 1):
        shape = parts[index].shapes[mine if source.parts else theirs] if parts else ()
        count = prod(shape) if parts else prod(source.shapes[mine])
        one = (source.parts[index] if source.parts else source).key(mine)
        other = (target.parts[index] if target.parts else target).key(theirs)
        yield (
            (False, one, 0 if source.parts else start, count),
            (True, other, 0 if target.parts else start, count),
        )
        start += count
