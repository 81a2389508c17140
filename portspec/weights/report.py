"""What went wrong with weights, in the words of the compiler."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from portspec.errors import Diagnostic, Place, PortspecError
from portspec.weights.certificate import Certificate, Finding
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


def counted(certificate: Certificate) -> dict[str, Any]:
    """Return the numbers of a certificate, and what it leaves open, as JSON."""
    return {
        "keys": certificate.keys,
        "bytes": certificate.nbytes,
        "renamed": certificate.renamed,
        "computed": certificate.computed,
        "dropped_keys": certificate.dropped_keys,
        "dropped_bytes": certificate.dropped_bytes,
        "look_alikes": list(certificate.look_alikes),
    }


def summary(certificate: Certificate) -> str:
    """Return the numbers of a certificate as one line."""
    return (
        f"{certificate.keys:,} tensors, {certificate.nbytes:,} bytes: "
        f"{certificate.renamed:,} renamed, {certificate.computed:,} computed, "
        f"{certificate.dropped_keys:,} dropped ({certificate.dropped_bytes:,} bytes)"
    )


def weighed(finding: Finding) -> str:
    """Say of a finding how many tensors and bytes it is about."""
    if not finding.nbytes:
        return finding.message
    return f"{finding.message} [{len(finding.keys):,} tensors, {finding.nbytes:,} bytes]"
