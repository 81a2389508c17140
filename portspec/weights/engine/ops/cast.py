"""Store in another element type, rounded as torch rounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from portspec.weights.engine.ops import Operation, unfit
from portspec.weights.engine.tensors import TORCH_NAMES, TensorType

FLOATS = frozenset({"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"})
QUANTISED = frozenset(
    {"F8_E4M3", "F8_E5M2"}
)  # whose values mean nothing without a scale beside them


@dataclass(frozen=True)
class Cast(Operation):
    """`dtype` is safetensors' name; only floating point is cast, and only to floating point."""

    dtype: str

    elementwise = True

    def infer(self, kinds: Sequence[TensorType]) -> list[TensorType]:
        if self.dtype not in FLOATS or kinds[0].dtype not in FLOATS:
            raise unfit(f"{kinds[0].dtype} is not cast to {self.dtype}")
        if kinds[0].dtype in QUANTISED:
            raise unfit(f"{kinds[0].dtype} is quantised, and its scale would be lost by a cast")
        return [TensorType(self.dtype, kinds[0].shape)]

    def apply(self, tensors: Sequence[Any]) -> list[Any]:
        import torch

        return [tensors[0].to(getattr(torch, TORCH_NAMES[self.dtype]))]

    def on_bytes(self, data: bytearray | memoryview, dtype: str) -> memoryview | None:
        """Cast raw elements without torch, whose import takes seconds and 200 MB; None where it must."""
        try:
            import numpy as np
        except ImportError:
            return None
        if {dtype, self.dtype} <= _NUMPY.keys():
            with np.errstate(over="ignore", invalid="ignore"):
                numbers = np.frombuffer(data, _NUMPY[dtype])
                if (dtype, self.dtype) == ("F64", "F16"):
                    numbers = numbers.astype("<f4")  # as torch does, which rounds twice
                return _raw(numbers.astype(_NUMPY[self.dtype]))
        if (dtype, self.dtype) == ("F32", "BF16"):
            return _raw(_to_bf16(np.frombuffer(data, "<u4")))
        if (dtype, self.dtype) == ("BF16", "F32"):
            return _raw(np.frombuffer(data, "<u2").astype("<u4") << 16)
        return None


_NUMPY = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}
_NOT_A_NUMBER = 0x7FC0
_INFINITY = 0x7F800000


def _raw(array: Any) -> memoryview:
    return memoryview(array.data).cast("B") if array.size else memoryview(b"")


def _to_bf16(bits: Any) -> Any:
    """Round fp32 bits to the nearest bf16, ties to even."""
    import numpy as np

    rounded = np.empty(bits.shape, "<u2")
    step = 1 << 18  # elements whose intermediate results stay in the processor's cache
    for start in range(0, bits.size, step):
        part = bits[start : start + step]
        carry = (part >> 16) & 1
        carry += 0x7FFF
        carry += part
        rounded[start : start + step] = carry.view("<u2")[1::2]
        nans = (part & 0x7FFFFFFF) > _INFINITY
        if nans.any():
            rounded[start : start + step][nans] = _NOT_A_NUMBER
    return rounded
