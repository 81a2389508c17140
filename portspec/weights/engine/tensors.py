"""What a checkpoint's header says of a tensor, and what can be wrong with it."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

# Bits of an element, and its name in torch, in the order in which safetensors' writer ranks element types:
# https://github.com/huggingface/safetensors/blob/24b0b2857fef49be734b9ab72ce97c09bb25f5b9/safetensors/src/tensor.rs#L811
_TYPES = """
    BOOL 8 bool
    F4 4 -
    F6_E2M3 6 -
    F6_E3M2 6 -
    U8 8 uint8
    I8 8 int8
    F8_E5M2 8 float8_e5m2
    F8_E4M3 8 float8_e4m3fn
    F8_E8M0 8 float8_e8m0fnu
    F8_E4M3FNUZ 8 float8_e4m3fnuz
    F8_E5M2FNUZ 8 float8_e5m2fnuz
    I16 16 int16
    U16 16 uint16
    F16 16 float16
    BF16 16 bfloat16
    I32 32 int32
    U32 32 uint32
    F32 32 float32
    C64 64 complex64
    F64 64 float64
    I64 64 int64
    U64 64 uint64
"""
_ROWS = [row.split() for row in _TYPES.split("\n") if row.strip()]
BITS = {name: int(bits) for name, bits, _ in _ROWS}
TORCH_NAMES = {name: torch_name for name, _, torch_name in _ROWS if torch_name != "-"}
LARGEST = 2**63 - 1  # bytes; no file can be larger

Shape = tuple[int, ...]


class WeightsError(Exception):
    """A checkpoint, or what is to be done with it, is wrong.

    Args:
        code: The code of its page.
        message: The cause.
        file: The file that it is about, if any.
        remedy: What to do.
    """

    def __init__(self, code: str, message: str, file: str = "", remedy: str = "") -> None:
        super().__init__(f"{code} {file + ': ' if file else ''}{message}")
        self.code = code
        self.message = message
        self.file = file
        self.remedy = remedy

    def __reduce__(self) -> tuple[type[WeightsError], tuple[str, str, str, str]]:
        """Let it travel between processes."""
        return type(self), (self.code, self.message, self.file, self.remedy)


def cut_off(file: str) -> WeightsError:
    """Complain that a file ends before its last tensor does."""
    remedy = "Fetch the file again; another program may be writing it."
    return WeightsError("E521", "the file ends before its last tensor", file, remedy)


class TensorType(NamedTuple):
    """Element type, as safetensors calls it, and shape."""

    dtype: str
    shape: Shape

    @property
    def nbytes(self) -> int:
        """How many bytes the elements take."""
        return prod(self.shape) * BITS[self.dtype] // 8

    def __str__(self) -> str:
        return f"{self.dtype}{list(self.shape)}"


class Tensor(NamedTuple):
    """A tensor in a file: its elements lie in row-major order from byte `start` on.

    `strides`, in elements, are given only where that is not so.
    """

    dtype: str
    shape: Shape
    file: str
    start: int
    strides: Shape | None = None

    @property
    def type(self) -> TensorType:
        """Element type and shape."""
        return TensorType(self.dtype, self.shape)


def checked(dtype: str, shape: Shape, name: str, file: str) -> TensorType:
    """Return a type that can exist.

    Raises:
        WeightsError: E523 the dtype is unknown, a size is negative, or the whole is larger than a file.
    """
    if dtype not in BITS:
        raise WeightsError("E523", f"{name} has the element type {dtype}, which is unknown", file)
    size = 1
    for extent in shape:
        if isinstance(extent, bool) or not isinstance(extent, int) or extent < 0:
            raise WeightsError("E523", f"{name} has the shape {list(shape)}", file)
        size *= extent
        if size * BITS[dtype] > LARGEST * 8:
            raise WeightsError(
                "E523", f"{name} of shape {list(shape)} is larger than any file", file
            )
    if size * BITS[dtype] % 8:
        raise WeightsError("E523", f"{name} of shape {list(shape)} ends inside a byte", file)
    return TensorType(dtype, shape)
