"""Rules on the spec alone and on the official source: one topic a file, found by looking in this folder.

A rule module has `check(port)`, which yields diagnostics. Rules read; they never write, and they never
stop at the first finding.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules

from portspec.errors import Diagnostic
from portspec.port import Port


def check_spec(port: Port) -> Iterator[Diagnostic]:
    """Run every rule of this folder, in alphabetical order."""
    for info in sorted(iter_modules(__path__), key=lambda m: m.name):
        yield from import_module(f"{__name__}.{info.name}").check(port)
