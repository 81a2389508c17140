"""Rules that hold a port against the target tree: one topic a file, found by looking in this folder."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules

from portspec.codegen.index import FastVideoIndex
from portspec.errors import Diagnostic
from portspec.port import Port


def check_port(port: Port, index: FastVideoIndex) -> Iterator[Diagnostic]:
    """Run every rule of this folder, in alphabetical order."""
    for info in sorted(iter_modules(__path__), key=lambda m: m.name):
        yield from import_module(f"{__name__}.{info.name}").check(port, index)
