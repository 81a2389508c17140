"""An entry of a dict literal at module level: `TABLE = {..., "key": value, ...}`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from portspec.edits import Splice
from portspec.edits.lazy import cst
from portspec.edits.source import (
    Island,
    Source,
    code,
    contradicted,
    misplaced,
    normal,
    parse,
    separated,
)


@dataclass(frozen=True, slots=True)
class DictEntry:
    """`key` is a string; `value` is Python source. New entries go last, on a line of their own."""

    path: str
    container: str
    key: str
    value: str
    item: str

    @property
    def address(self) -> str:
        """Name the entry as one would in Python."""
        return f'{self.container}["{self.key}"]'

    def is_in(self, text: str) -> bool:
        """Tell whether the key is there with this value."""
        _, _, element = self._find(parse(text))
        return element is not None and normal(code(element.value)) == normal(self.value)

    def insert(self, text: str) -> Sequence[Splice]:
        """Add a line before the closing brace."""
        source = parse(text)
        table, island, element = self._find(source)
        if element is not None:
            if self.is_in(text):
                return ()
            raise contradicted(self.path, island.lines(element.key)[0], self.address)
        start, end = island.span(table)
        closing_line = island.lines(table)[1]
        row = f'"{self.key}": {self.value}'
        if not table.elements:
            return (Splice(start + 1, end - 1, row),)
        if source.line_text(closing_line).lstrip().startswith("}") and _ends_with_comma(table):
            indent = " " * 4
            return (
                Splice(
                    source.line_offset(closing_line),
                    source.line_offset(closing_line),
                    f"{indent}{row},\n",
                ),
            )
        last = island.span(table.elements[-1].value)[1]
        return (Splice(last, last, f", {row}"),)

    def remove(self, text: str) -> Sequence[Splice]:
        """Take out the entry's lines, or the entry with one comma."""
        source = parse(text)
        table, island, element = self._find(source)
        if element is None:
            return ()
        pairs = [e for e in table.elements if isinstance(e, cst.DictElement)]
        spans = [(island.span(e.key)[0], island.span(e.value)[1]) for e in pairs]
        return (separated(source, spans, pairs.index(element)),)

    def _find(self, source: Source) -> tuple[cst.Dict, Island, cst.DictElement | None]:
        found = source.assigned(self.container)
        table, island = found or (None, None)
        if not isinstance(table, cst.Dict) or island is None:
            raise misplaced(self.path, f"dict {self.container}")
        for element in table.elements:
            if isinstance(element, cst.DictElement) and normal(code(element.key)) == normal(
                repr(self.key)
            ):
                return table, island, element
        return table, island, None


def _ends_with_comma(table: cst.Dict) -> bool:
    return isinstance(table.elements[-1].comma, cst.Comma)
