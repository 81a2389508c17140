"""Emitters: one output a file, its template beside it, found by looking in this folder.

An emitter has `applies(context)` and `emit(context)`, which yields edits and touches nothing. Emitters
know nothing of each other, so their order means nothing. One with `REPORTS = True` tells what the gates
have shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from portspec.codegen.format import formatted
from portspec.codegen.index import FastVideoIndex
from portspec.codegen.names import Names, names_of
from portspec.edits import CreateFile, Edit
from portspec.gates.result import GateResult
from portspec.port import Port
from portspec.render import render


@dataclass(frozen=True)
class Context:
    """What an emitter may know: the port, the target as it is, and what the gates have shown so far."""

    port: Port
    index: FastVideoIndex
    results: Mapping[str, GateResult] = field(default_factory=dict)

    @property
    def names(self) -> Names:
        """Names and places of what the port adds."""
        return names_of(self.port)

    @property
    def spec_name(self) -> str:
        """The spec's file name, as emitted files mention it; never a path of some machine."""
        return self.port.loaded.path.name

    def file(self, emitter: str, path: str, template: str, item: str, **values: Any) -> CreateFile:
        """Render a template beside an emitter into a whole file, in the target's own format."""
        common = {
            "names": self.names,
            "spec": self.port.spec,
            "spec_name": self.spec_name,
            "item": item,
        }
        text = render(Path(emitter).parent / template, {**common, **values})
        return CreateFile(path, formatted(self.port.tree, path, text), item)


def emit_all(context: Context, *, reports: bool) -> Iterator[Edit]:
    """Run every emitter that applies.

    Args:
        context: What the emitters may know.
        reports: Run those that report results (they have `REPORTS`), or else those that do not.
    """
    for info in sorted(iter_modules(__path__), key=lambda m: m.name):
        emitter = import_module(f"{__name__}.{info.name}")
        if getattr(emitter, "REPORTS", False) == reports and emitter.applies(context):
            yield from emitter.emit(context)
