"""A row of a Markdown table, found by the text of its key column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from portspec.edits import Splice
from portspec.edits.source import contradicted, misplaced


@dataclass(frozen=True, slots=True)
class TableRow:
    """`cells` are the row's cells; the table is the one whose header starts with `header`.

    The row goes after the last row whose first cell sorts before it, so that a table in alphabetical
    order stays so.
    """

    path: str
    header: tuple[str, ...]
    cells: tuple[str, ...]
    key: int
    item: str

    @property
    def address(self) -> str:
        """Name the row by its key."""
        return f"| {self.cells[self.key]} |"

    def is_in(self, text: str) -> bool:
        """Tell whether the row is there as it should be."""
        found = self._find(text)
        return found is not None and _cells(found[2]) == list(self.cells)

    def insert(self, text: str) -> Sequence[Splice]:
        """Add the row in order."""
        found = self._find(text)
        if found is not None:
            if self.is_in(text):
                return ()
            raise contradicted(self.path, text[: found[0]].count("\n") + 1, self.address)
        rows = self._rows(text)
        earlier = [row for row in rows[2:] if _cells(row[2])[0] <= self.cells[0]]
        offset = (earlier[-1] if earlier else rows[1])[1]
        return (Splice(offset, offset, "| " + " | ".join(self.cells) + " |\n"),)

    def remove(self, text: str) -> Sequence[Splice]:
        """Take out the row."""
        found = self._find(text)
        return (Splice(found[0], found[1], ""),) if found else ()

    def _find(self, text: str) -> tuple[int, int, str] | None:
        for row in self._rows(text)[2:]:
            cells = _cells(row[2])
            if len(cells) > self.key and cells[self.key] == self.cells[self.key]:
                return row
        return None

    def _rows(self, text: str) -> list[tuple[int, int, str]]:
        """Return (start, end, line) of the table's lines, header and rule first."""
        rows: list[tuple[int, int, str]] = []
        offset = 0
        for line in text.splitlines(keepends=True):
            if rows and not line.startswith("|"):
                break
            if rows or _cells(line)[: len(self.header)] == list(self.header):
                rows.append((offset, offset + len(line), line))
            offset += len(line)
        if len(rows) < 2:
            raise misplaced(self.path, f"table with the columns {', '.join(self.header)}")
        return rows


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]
