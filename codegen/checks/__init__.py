"""Checks on a tree, whoever wrote it: one check of the catalogue a file, found by looking in this folder.

A check reads an index and yields findings with file and line. It knows no spec, so the same code audits
a tree that portspec never touched and judges a build by the tree as it would be.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules

from portspec.codegen.index import FastVideoIndex
from portspec.errors import Diagnostic


def audit(index: FastVideoIndex) -> Iterator[Diagnostic]:
    """Run every check of this folder, in order of their ids."""
    for info in sorted(iter_modules(__path__), key=lambda m: m.name):
        yield from import_module(f"{__name__}.{info.name}").check(index)
