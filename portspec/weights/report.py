"""What went wrong with weights, in the words of the compiler."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from portspec.errors import Diagnostic, Place, PortspecError
from portspec.weights.engine.tensors import WeightsError


@contextmanager
def raised() -> Iterator[None]:
    """Turn an error of the engine, or of reading a file, into one that the command line prints.

    Raises:
        PortspecError: The same, as a diagnostic.
    """
    try:
        yield
    except WeightsError as error:
        place = Place(error.file or "<weights>")
        raise PortspecError([Diagnostic(error.code, error.message, place, error.remedy)]) from error
    except OSError as error:
        place = Place(str(error.filename or "<weights>"))
        remedy = "Look at the path and its permissions."
        message = f"it cannot be read: {error.strerror or error}"
        raise PortspecError([Diagnostic("E520", message, place, remedy)]) from error


def shown(name: str) -> str:
    r"""Return a name as it can be printed: one with control characters as Python writes it.

    Example:
        >>> shown("a.weight"), shown("a\n")
        ('a.weight', "'a\\n'")
    """
    return name if name.isprintable() else repr(name)
