"""Operations on tensors: one a file, found by the file's name.

An operation turns tensors into tensors. It says what types follow from which, how to compute, how to undo
itself once the types it met are known, and, where the result is made of whole runs of bytes, which ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from portspec.weights.engine.ranges import Run, Runs
from portspec.weights.engine.tensors import TensorType, WeightsError


class Operation:
    """Base of all operations.

    Every one takes `arity` tensors; the `elementwise` ones can be computed in pieces.
    """

    arity = 1
    elementwise = False

    def infer(self, kinds: Sequence[TensorType]) -> list[TensorType]:
        """Return the types of the results.

        Raises:
            WeightsError: E530 the operation cannot be applied to these.
        """
        raise NotImplementedError

    def apply(self, tensors: Sequence[Any]) -> list[Any]:
        """Compute the results from torch tensors."""
        raise NotImplementedError

    def inverse(self, kinds: Sequence[TensorType]) -> Operation | None:
        """Return what turns the results back into tensors of these types; None when something is lost."""
        return None

    def ranges(self, kinds: Sequence[TensorType], runs: Sequence[Runs]) -> list[list[Run]] | None:
        """Return the results as runs of bytes; None when they must be computed."""
        return None


def unfit(message: str) -> WeightsError:
    """Complain that an operation does not fit what it is applied to."""
    return WeightsError("E530", message, "", "Compare the shapes with `portspec surface`.")


def numbers(kind: TensorType) -> TensorType:
    """Return a type of plain floating-point numbers.

    Raises:
        WeightsError: E530 it is another: whole numbers would be rounded, quantised ones mean something else.
    """
    if kind.dtype not in ("F64", "F32", "F16", "BF16"):
        raise unfit(f"{kind} does not hold plain floating-point numbers")
    return kind


def axis_of(axis: int, kind: TensorType) -> int:
    """Return an axis counted from the front.

    Raises:
        WeightsError: E530 the tensor does not have it.
    """
    rank = len(kind.shape)
    if not -rank <= axis < rank:
        raise unfit(f"{kind} has no axis {axis}")
    return axis % rank


def replaced(kind: TensorType, axis: int, size: int) -> TensorType:
    """Return a type with another size along one axis."""
    shape = (*kind.shape[:axis], size, *kind.shape[axis + 1 :])
    return TensorType(kind.dtype, shape)
