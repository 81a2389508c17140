"""The row of the support matrix, where the tree has one."""

from __future__ import annotations

from collections.abc import Iterator

from portspec.codegen.emitters import Context
from portspec.codegen.facts import SUPPORT_MATRIX
from portspec.edits import Edit
from portspec.edits.table_row import TableRow

_MATRIX_HEADER = ("Family", "HuggingFace Model ID", "Workloads", "Example")
_BLOB = "https://github.com/hao-ai-lab/FastVideo/blob/main/"


def applies(context: Context) -> bool:
    """The sdist has no docs/; a git checkout has."""
    return context.port.spec.docs.support_matrix and context.index.tree.exists(SUPPORT_MATRIX)


def emit(context: Context) -> Iterator[Edit]:
    """Yield a row per registration with ids."""
    spec = context.port.spec
    for index, entry in enumerate(spec.registry):
        if not entry.hub:
            continue
        own = [e for e in spec.examples if e.variant == entry.variant] or spec.examples[:1]
        links = "<br>".join(f"[{e.file.rpartition('/')[2]}]({_BLOB}{e.file})" for e in own) or "—"
        ids = "<br>".join(f"`{hub}`" for hub in entry.hub)
        cells = (context.port.family, ids, ", ".join(entry.workloads) or "—", links)
        yield TableRow(SUPPORT_MATRIX, _MATRIX_HEADER, cells, 1, f"registry[{index}]")
