"""A back end: what portspec must be told about one framework. The compiler itself names none.

A back end is an object with the methods below, offered under the entry point group `portspec.backends`, so
that a second framework is a second package and no edit here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from portspec.errors import Diagnostic, UsageError

if TYPE_CHECKING:
    from portspec.cache import Cache
    from portspec.edits import Edit
    from portspec.gates.result import Gate, GateResult
    from portspec.port import Port
    from portspec.tree import Tree


@dataclass(frozen=True)
class SourceDistribution:
    """A released source tree, to be fetched by pip and trusted by its hash."""

    requirement: str  # as in `name==version`
    sha256: str  # of the archive
    folder: str  # name of the folder inside it, and of the copy


@dataclass(frozen=True)
class GateSettings:
    """What the user decides about gates.

    `local` is the folder for what gates make; `weights` a checkpoint given in place of the reduced one.
    """

    local: Path
    weights: Path | None = None


@dataclass(frozen=True)
class GatePlan:
    """The gates of a port, and the process environment that they share."""

    gates: tuple[Gate, ...]
    variables: Mapping[str, str]
    preload: Sequence[str]


class Target:
    """A tree on disk and the back end that knows it."""

    def __init__(self, tree: Tree, cache: Cache) -> None:
        self.tree = tree
        self.cache = cache

    @cached_property
    def backend(self) -> Backend:
        """The back end whose tree this is.

        Raises:
            UsageError: E303 no installed back end knows the tree.
        """
        return backend_of(self.tree)


class Backend(Protocol):
    """One framework. Every method reads, and writes nothing."""

    name: str
    default_target: SourceDistribution
    codes: Path
    packages: Sequence[str]  # what gates run on, beside the official packages

    def recognises(self, tree: Tree) -> bool:
        """Tell whether a tree is one of this framework's."""
        ...

    def check(self, port: Port) -> Iterator[Diagnostic]:
        """Hold a port against its target tree."""
        ...

    def audit(self, tree: Tree) -> Iterator[Diagnostic]:
        """Find what is wrong in a tree, whoever wrote it."""
        ...

    def compare(self, before: Tree, after: Tree, port: Port) -> Iterator[Diagnostic]:
        """Find what is wrong only after a build, and what it changes for anybody else (K12)."""
        ...

    def emit(self, port: Port) -> Iterator[Edit]:
        """Return the edits that make the port."""
        ...

    def report(self, port: Port, results: Mapping[str, GateResult]) -> Iterator[Edit]:
        """Return the files that tell what the port's gates have shown so far."""
        ...

    def gates(self, port: Port, settings: GateSettings) -> GatePlan:
        """Return the gates of a port whose tree is as it will be when they run."""
        ...

    def look_at(
        self, root: Path, reference: str, config: Mapping[str, Any], out: Path, tables: Path
    ) -> GatePlan:
        """Return one gate that builds a class, and writes its surface and its own rename tables."""
        ...

    def skeleton(self, family: str) -> str:
        """Return a commented spec to start from."""
        ...


@lru_cache(maxsize=1)
def backends() -> tuple[Backend, ...]:
    """Load every back end that is installed, in the order of their names."""
    from importlib.metadata import entry_points

    found = sorted(entry_points(group="portspec.backends"), key=lambda point: point.name)
    return tuple(point.load() for point in found)


def backend_of(tree: Tree) -> Backend:
    """Return the back end whose tree this is.

    Raises:
        UsageError: E303 no installed back end knows the tree.
    """
    for backend in backends():
        if backend.recognises(tree):
            return backend
    known = ", ".join(b.name for b in backends()) or "none"
    raise UsageError(
        f"{tree.root} is no source tree of a framework that portspec knows ({known})",
        "Give the root of a checkout with --target, or leave it out for the default tree.",
        "E303",
    )
