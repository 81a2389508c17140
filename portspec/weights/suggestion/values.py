"""What the contents of tensors say about which is which, from their elements."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from hashlib import blake2b
from math import prod
from typing import NamedTuple

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

_WHOLE = 1 << 20  # elements; what has no more is compared as a whole
_WINDOWS = 16  # pieces of what has more, which together are as many elements
_FLOATS = {"F64": 3, "F32": 2, "F16": 1, "BF16": 1}
_LARGEST = 64 * PIECE  # elements of a tensor that is turned to see whether it fits

Slice = tuple[bool, str, int, int]  # side, name, first element, number of elements


class Digest(NamedTuple):
    """What elements are, in short, and whether they differ from each other."""

    told: bytes
    varies: bool


class Values:
    """Two checkpoints whose tensors are compared where names and shapes leave a choice.

    Equal means bit for bit, or after rounding to the narrower element type when one side was cast. Between
    types that cannot be compared so, nothing is said.
    """

    def __init__(self, source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
        self._sides = (source, target)
        self._files = Files()
        self._digest = lru_cache(maxsize=None)(self._read)

    def agree(self, source: Unit, target: Unit) -> bool:
        """Tell whether nothing in two units, whose shapes fit, is known to differ."""
        return all(
            None in (one, other) or one.told == other.told  # type: ignore[union-attr]
            for one, other in self._digests(source, target)
        )

    def prove(self, source: Unit, target: Unit) -> bool:
        """Tell whether two units hold the same and could not by accident, as constants do."""
        found = list(self._digests(source, target))
        return bool(found) and all(
            one is not None and other is not None and one.told == other.told and one.varies
            for one, other in found
        )

    def _digests(self, source: Unit, target: Unit) -> Iterator[tuple[Digest | None, Digest | None]]:
        """Yield what each part of two units holds, or None where types cannot be compared."""
        moves = shifts(source, target)
        assert moves is not None, "only units whose shapes fit are compared"
        for row in source.shapes:
            theirs = moved(row, moves)
            if theirs in target.shapes:
                for one, other in _slices(source, row, target, theirs):
                    mine, yours = self._sides[0][one[1]], self._sides[1][other[1]]
                    dtype = _common(mine.dtype, yours.dtype)
                    if not dtype:
                        yield None, None
                    else:
                        yield (
                            self._digest(mine, *one[2:], dtype),
                            self._digest(yours, *other[2:], dtype),
                        )

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
        if not bool((one != one.reshape(-1)[:1]).any()):
            return None  # of one number only, any operation would do
        for operation in (Reshape(shape), Transpose(), SwapHalves()):
            with suppress(WeightsError, IndexError):
                (kind,) = operation.infer([TensorType("F32", tuple(one.shape))])
                if kind.shape == shape and bool((operation.apply([one])[0] == other).all()):
                    return operation
        return None

    def _whole(self, side: int, name: str):  # type: ignore[no-untyped-def]
        tensor = self._sides[side].get(name)
        if tensor is None or tensor.dtype not in _FLOATS or prod(tensor.shape) > _LARGEST:
            return None
        return whole_tensor(leaf(name, tensor), self._files)

    def _read(self, tensor: Tensor, start: int, count: int, dtype: str) -> Digest:
        """Digest elements of a slice in an element type: all of them, or of many some in even steps."""
        width = BITS[tensor.dtype] // 8
        size = count if count <= _WHOLE else _WHOLE // _WINDOWS
        step = (count - size) // max(_WINDOWS - 1, 1)
        starts = [start + i * step for i in range(_WINDOWS if count > _WHOLE else 1)]
        found, varies, first = blake2b(digest_size=16), False, b""
        if tensor.strides:
            flat = whole_tensor(leaf("", tensor), self._files).reshape(-1)
        for begin in starts:
            if tensor.strides:
                data = _rounded(flat[begin : begin + size], dtype)
            else:
                run = Run(tensor.file, tensor.start + begin * width, size * width)
                data = bytes(self._files.read([run]))
                if dtype != tensor.dtype:
                    data = _rounded(from_bytes(bytearray(data), tensor.dtype), dtype)
            found.update(data)
            first = first or data[: BITS[dtype] // 8]
            varies = varies or data != first * (len(data) // max(len(first), 1))
        return Digest(found.digest(), varies)


def _common(mine: str, theirs: str) -> str:
    """Return the element type in which two can be compared exactly, if there is one."""
    if mine == theirs:
        return mine if BITS[mine] >= 8 else ""
    widths = _FLOATS.get(mine, 0), _FLOATS.get(theirs, 0)
    if 0 in widths or widths[0] == widths[1]:
        return ""
    return mine if widths[0] < widths[1] else theirs


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
