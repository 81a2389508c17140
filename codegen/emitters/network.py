"""Hand-written networks that stand beside the spec: installed once, then a person's."""

from __future__ import annotations

from collections.abc import Iterator

from portspec.codegen.emitters import Context
from portspec.edits import CreateFile, Edit


def applies(context: Context) -> bool:
    """A port may bring files of its own."""
    return bool(context.port.scaffolds)


def emit(context: Context) -> Iterator[Edit]:
    """Yield each file as a scaffold."""
    for name, component in context.port.components.items():
        if component.spec.port and component.spec.port.file in context.port.scaffolds:
            path = component.spec.port.file
            yield CreateFile(
                path, context.port.scaffolds[path], f"components.{name}.port", "scaffold"
            )
