"""Doubts about published tensors that only their numbers can raise, at the price of a few bytes of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from portspec.weights.engine.compute import Files, is_remote
from portspec.weights.engine.ranges import Run
from portspec.weights.engine.tensors import BITS, Tensor

# Element type -> an integer as wide, all bits but the sign, and infinity: what is above is no number.
_FORMS: Mapping[str, tuple[Any, int, int]] = {
    "F64": ("Q", (1 << 63) - 1, 0x7FF << 52),
    "F32": ("I", (1 << 31) - 1, 0xFF << 23),
    "F16": ("H", (1 << 15) - 1, 0x1F << 10),
    "BF16": ("H", (1 << 15) - 1, 0xFF << 7),
}
_STEP = 1024**2


def without_numbers(tensors: Mapping[str, Tensor]) -> Iterator[str]:
    """Yield the names of tensors that hold NaN and nothing else.

    A tensor whose first element is a number is not read further, so this costs next to nothing. Tensors on
    the hub are left out, since there each would be a request.
    """
    with Files() as files:
        for name, tensor in tensors.items():
            readable = tensor.dtype in _FORMS and not tensor.strides and not is_remote(tensor.file)
            if readable and tensor.type.nbytes and _only_nan(tensor, files):
                yield name


def _only_nan(tensor: Tensor, files: Files) -> bool:
    form, magnitude, infinity = _FORMS[tensor.dtype]
    width = BITS[tensor.dtype] // 8
    start, end = tensor.start, tensor.start + tensor.type.nbytes
    size = width
    while start < end:
        data = files.read([Run(tensor.file, start, min(size, end - start))])
        if any(element & magnitude <= infinity for element in memoryview(data).cast(form)):
            return False
        start += len(data)
        size = _STEP
    return True
