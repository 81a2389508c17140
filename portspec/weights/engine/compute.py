"""Bytes of a value: copied where it is made of runs, computed in bounded pieces where it is not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from math import prod
from typing import Any, BinaryIO

from portspec.weights.engine.hub import SCHEME, HubPath, place
from portspec.weights.engine.ops.cast import Cast
from portspec.weights.engine.ranges import Run, Runs, cut
from portspec.weights.engine.rules import Value
from portspec.weights.engine.tensors import BITS, TORCH_NAMES, WeightsError, cut_off

PIECE = 4 * 1024**2  # elements that are computed at once


def is_remote(file: str) -> bool:
    """Tell whether a file lies on the hub."""
    return file.startswith(SCHEME)


class Files:
    """Source files, each opened once, read by position."""

    def __init__(self) -> None:
        self._open: dict[str, int] = {}
        self._remote: dict[str, BinaryIO] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Files:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def descriptor(self, file: str) -> int:
        """Return the file's descriptor."""
        if file not in self._open:
            self._open[file] = os.open(file, os.O_RDONLY)
            self._stack.callback(os.close, self._open[file])
        return self._open[file]

    def read(self, runs: Runs) -> bytearray:
        """Return the bytes of some runs.

        Raises:
            WeightsError: E521 a file has become shorter.
        """
        data = bytearray(sum(run.nbytes for run in runs))
        position = 0
        for run in runs:
            view = memoryview(data)[position : position + run.nbytes]
            self._fill(view, run)
            position += run.nbytes
        return data

    def _fill(self, view: memoryview, run: Run) -> None:
        done = 0
        if is_remote(run.file):
            file = self._remote.get(run.file)
            if file is None:
                file = self._remote[run.file] = self._stack.enter_context(
                    place(run.file).open("rb")
                )
            file.seek(run.start)
            while done < len(view):
                got = file.readinto(view[done:])  # type: ignore[attr-defined]
                if not got:
                    raise cut_off(run.file)
                done += got
            return
        while done < len(view):
            got = os.preadv(self.descriptor(run.file), [view[done:]], run.start + done)
            if not got:
                raise cut_off(run.file)
            done += got


def computed(value: Value, files: Files) -> Iterator[bytes | bytearray | memoryview]:
    """Yield the bytes of a value that must be computed, in order."""
    chain: list[Any] = []
    base = value
    while base.runs is None and base.operation is not None and base.operation.elementwise:
        chain.insert(0, base.operation)
        base = base.inputs[0]
    if base.runs is None or not chain:
        yield _bytes(whole_tensor(value, files))
        return
    width = BITS[base.type.dtype] // 8
    total = prod(base.type.shape)
    for start in range(0, total, PIECE):
        data: bytearray | memoryview = files.read(
            cut(base.runs, start * width, min(start + PIECE, total) * width)
        )
        dtype = base.type.dtype
        for index, operation in enumerate(chain):
            quick = operation.on_bytes(data, dtype) if isinstance(operation, Cast) else None
            if quick is None:
                tensor = from_bytes(data, dtype)
                for rest in chain[index:]:
                    (tensor,) = rest.apply([tensor])
                data = _bytes(tensor)
                break
            data, dtype = quick, operation.dtype
        yield data


def whole_tensor(value: Value, files: Files) -> Any:
    """Compute a whole value with torch; equal inputs are computed once for each use."""
    if value.runs is not None:
        return from_bytes(files.read(value.runs), value.type.dtype).reshape(value.type.shape)
    if value.tensor is not None:
        return _strided(value, files)
    assert value.operation is not None
    results = value.operation.apply([whole_tensor(item, files) for item in value.inputs])
    found = results[value.index]
    assert tuple(found.shape) == value.type.shape, value.operation
    return found


def _strided(value: Value, files: Files) -> Any:
    """Read a tensor whose elements do not lie in order, as torch.save writes views."""
    tensor = value.tensor
    assert tensor is not None
    assert tensor.strides is not None
    last = sum((size - 1) * step for size, step in zip(tensor.shape, tensor.strides, strict=True))
    run = Run(tensor.file, tensor.start, (last + 1) * BITS[tensor.dtype] // 8)
    elements = from_bytes(files.read([run]), tensor.dtype)
    return elements.as_strided(tensor.shape, tensor.strides)


def from_bytes(data: bytearray | memoryview, dtype: str) -> Any:
    """Return bytes as a torch tensor of one axis, which shares their memory."""
    import torch

    if dtype not in TORCH_NAMES:
        raise WeightsError("E530", f"torch cannot compute with {dtype}")
    kind = getattr(torch, TORCH_NAMES[dtype])
    return torch.frombuffer(data, dtype=kind) if data else torch.empty(0, dtype=kind)


def _bytes(tensor: Any) -> bytearray:
    import torch

    data = bytearray(tensor.numel() * tensor.element_size())
    if data:
        torch.frombuffer(data, dtype=tensor.dtype).copy_(tensor.reshape(-1))
    return data


def sources_of(value: Value) -> set[str]:
    """Return the files that a value is read from."""
    if value.runs is not None:
        return {run.file for run in value.runs}
    if value.tensor is not None:
        return {value.tensor.file}
    return {file for item in value.inputs for file in sources_of(item)}


def fingerprint(file: str) -> list[Any]:
    """Return what tells whether a file is still the same."""
    path = place(file)
    if isinstance(path, HubPath):
        return [file, *path.stat()]
    stat = path.stat()
    return [file, stat.st_size, stat.st_mtime_ns, stat.st_ino]
