"""What can go wrong, as values.

Every complaint is a `Diagnostic`: a stable code, a place, a cause and a remedy. A step collects its
diagnostics and raises once, at its end:

    PortspecError
    ├── SpecError      the YAML cannot be read, or does not fit the language
    ├── TargetError    the target tree or the official source is missing or unreadable
    ├── EmitError      two emitters disagree, or an edit does not fit the file it is for
    ├── ConflictError  a person's edit is in the way
    ├── LockedError    another build holds the target
    └── UsageError     the command line makes no sense
    PortspecBug        a broken promise of our own; never the author's fault
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from portspec.redact import redact

Severity = Literal["error", "warning", "note"]
_SEVERITY_OF_LETTER: dict[str, Severity] = {"E": "error", "W": "warning", "N": "note"}


@dataclass(frozen=True, order=True, slots=True)
class Place:
    """A position in a text file; line and column count from 1, and 0 means "the whole file"."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        parts = [self.file, *(str(n) for n in (self.line, self.column) if n)]
        return ":".join(parts)


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding. `check` is the K id of the design's catalogue that it belongs to, if any."""

    code: str
    message: str
    place: Place
    remedy: str = ""
    check: str = ""
    related: tuple[tuple[str, Place], ...] = field(default=())

    def __post_init__(self) -> None:
        """Findings are printed, logged and kept; a credential in a spec must not travel with them."""
        object.__setattr__(self, "message", redact(self.message))
        object.__setattr__(self, "remedy", redact(self.remedy))

    @property
    def severity(self) -> Severity:
        """Severity is part of the code's meaning, so its first letter decides it."""
        return _SEVERITY_OF_LETTER[self.code[0]]

    def sort_key(self) -> tuple[int, Place, str, str]:
        """Errors first, then by place, code and text, so that output never depends on run order."""
        return ("EWN".index(self.code[0]), self.place, self.code, self.message)


class PortspecError(Exception):
    """A step failed for reasons that its diagnostics tell."""

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics = tuple(sorted(diagnostics, key=Diagnostic.sort_key))
        super().__init__("; ".join(f"{d.place}: {d.code} {d.message}" for d in self.diagnostics))


class SpecError(PortspecError):
    """The spec cannot be read or does not fit the language."""


class TargetError(PortspecError):
    """The target tree or the official source cannot be used."""


class EmitError(PortspecError):
    """An edit cannot be made as asked."""


class ConflictError(PortspecError):
    """A file that a person changed is in the way; nothing was written."""


class LockedError(PortspecError):
    """Another process is building into the same target."""


class UsageError(PortspecError):
    """The command line asks for something that does not exist."""

    def __init__(self, message: str, remedy: str = "", code: str = "E901") -> None:
        super().__init__([Diagnostic(code, message, Place("<command line>"), remedy)])


class PortspecBug(Exception):  # noqa: N818 - a bug is not an Error of the user's
    """An invariant of portspec itself does not hold; please report it."""


def errors_in(diagnostics: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """Return only the diagnostics that must stop a build."""
    return tuple(d for d in diagnostics if d.severity == "error")


def added(before: Iterable[Diagnostic], after: Iterable[Diagnostic]) -> Iterator[Diagnostic]:
    """Yield the findings that a build adds; one that has only moved to another line is the same finding."""
    known = Counter(_essence(d) for d in before)
    for diagnostic in after:
        essence = _essence(diagnostic)
        if known[essence]:
            known[essence] -= 1
        else:
            yield diagnostic


def _essence(diagnostic: Diagnostic) -> tuple[str, str, str]:
    return diagnostic.code, diagnostic.place.file, re.sub(r"line \d+", "line", diagnostic.message)


def pack(diagnostic: Diagnostic) -> list[Any]:
    """Return a diagnostic as JSON."""
    d = diagnostic
    related = [[what, [p.file, p.line, p.column]] for what, p in d.related]
    return [
        d.code,
        d.message,
        [d.place.file, d.place.line, d.place.column],
        d.remedy,
        d.check,
        related,
    ]


def unpack(row: list[Any]) -> Diagnostic:
    """Return the diagnostic that was packed."""
    code, message, place, remedy, check, related = row
    others = tuple((what, Place(*where)) for what, where in related)
    return Diagnostic(code, message, Place(*place), remedy, check, others)
