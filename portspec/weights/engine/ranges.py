"""Tensors as runs of bytes in files: what slicing and joining do to them, without reading a byte."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

from portspec.weights.engine.tensors import BITS, TensorType

MOST_RUNS = 65_536  # of one tensor; more of them are no longer faster to copy than to compute


class Run(NamedTuple):
    """`nbytes` bytes of a file, from `start` on."""

    file: str
    start: int
    nbytes: int


Runs = Sequence[Run]


def cut(runs: Runs, start: int, stop: int) -> list[Run]:
    """Return bytes `start:stop` of what the runs hold together."""
    found: list[Run] = []
    position = 0
    for run in runs:
        first, last = max(start - position, 0), min(stop - position, run.nbytes)
        if first < last:
            found.append(Run(run.file, run.start + first, last - first))
        position += run.nbytes
        if position >= stop:
            break
    return found


def joined(runs: Runs) -> list[Run]:
    """Merge neighbours that follow each other in their file."""
    found: list[Run] = []
    for run in runs:
        if not run.nbytes:
            continue
        if found and found[-1].file == run.file and found[-1].start + found[-1].nbytes == run.start:
            found[-1] = Run(run.file, found[-1].start, found[-1].nbytes + run.nbytes)
        else:
            found.append(run)
    return found


def take(kind: TensorType, runs: Runs, axis: int, start: int, stop: int) -> list[Run] | None:
    """Return indexes `start:stop` along an axis; None when they lie in too many pieces."""
    outer = prod(kind.shape[:axis])
    if outer * len(runs) > MOST_RUNS or _splits_bytes(kind, axis):
        return None
    block = kind.nbytes // outer if outer else 0
    step = block // kind.shape[axis] if kind.shape[axis] else 0
    pieces: list[Run] = []
    for index in range(outer):
        pieces += cut(runs, index * block + start * step, index * block + stop * step)
    return joined(pieces)


def concatenate(kinds: Sequence[TensorType], runs: Sequence[Runs], axis: int) -> list[Run] | None:
    """Return tensors one behind the other along an axis; None when that takes too many pieces."""
    outer = prod(kinds[0].shape[:axis])
    if outer * sum(len(r) for r in runs) > MOST_RUNS or _splits_bytes(kinds[0], axis):
        return None
    blocks = [kind.nbytes // outer if outer else 0 for kind in kinds]
    pieces: list[Run] = []
    for index in range(outer):
        for block, part in zip(blocks, runs, strict=True):
            pieces += cut(part, index * block, (index + 1) * block)
    return joined(pieces)


def _splits_bytes(kind: TensorType, axis: int) -> bool:
    """Tell whether elements smaller than a byte share one with what lies beside them along an axis."""
    return bool(prod(kind.shape[axis + 1 :]) * BITS[kind.dtype] % 8)
