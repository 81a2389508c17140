"""An element of a list or tuple literal: `NAMES = [..., item, ...]`, at module level or in a function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from portspec.edits import Splice
from portspec.edits.lazy import cst
from portspec.edits.source import Island, Source, code, misplaced, normal, parse, separated

LINE_LIMIT = 120


@dataclass(frozen=True, slots=True)
class ListItem:
    """`value` is the element's Python source.

    Where every element has a line of its own, the new one gets a line, in alphabetical order if the
    list is; where elements share lines, it goes last and the line breaks only when it must.
    """

    path: str
    container: str
    value: str
    item: str
    function: str = ""

    @property
    def address(self) -> str:
        """Name the element and its list."""
        where = f"{self.function}.{self.container}" if self.function else self.container
        return f"{where}[{self.value}]"

    def is_in(self, text: str) -> bool:
        """Tell whether the element is there."""
        sequence, _ = self._sequence(parse(text))
        return self._index(sequence) is not None

    def insert(self, text: str) -> Sequence[Splice]:
        """Add the element in the list's own layout."""
        source = parse(text)
        sequence, island = self._sequence(source)
        if self._index(sequence) is not None:
            return ()
        elements = list(sequence.elements)
        if not elements:
            start, end = island.span(sequence)
            return (Splice(start + 1, end - 1, self.value),)
        lines = [island.lines(e.value) for e in elements]
        if _one_a_line(source, lines, sequence):
            line = self._sorted_line(elements, lines)
            indent = " " * (island.span(elements[0].value)[0] - source.line_offset(lines[0][0]))
            offset = source.line_offset(line)
            return (Splice(offset, offset, f"{indent}{self.value},\n"),)
        end = island.span(elements[-1].value)[1]
        line_so_far = source.text[source.line_offset(lines[-1][1]) : end]
        indent = " " * (len(line_so_far) - len(line_so_far.lstrip()))
        fits = len(line_so_far) + len(self.value) + 2 <= LINE_LIMIT
        return (Splice(end, end, f", {self.value}" if fits else f",\n{indent}{self.value}"),)

    def _sorted_line(self, elements: list[cst.BaseElement], lines: list[tuple[int, int]]) -> int:
        names = [code(e.value) for e in elements]
        if names == sorted(names, key=_collate):
            for name, (first, _) in zip(names, lines, strict=True):
                if _collate(name) > _collate(self.value):
                    return first
        return lines[-1][1] + 1

    def remove(self, text: str) -> Sequence[Splice]:
        """Take out the element's line, or the element with one comma."""
        source = parse(text)
        sequence, island = self._sequence(source)
        index = self._index(sequence)
        if index is None:
            return ()
        spans = [island.span(element.value) for element in sequence.elements]
        return (separated(source, spans, index),)

    def _index(self, sequence: cst.List | cst.Tuple) -> int | None:
        wanted = normal(self.value)
        found = (i for i, e in enumerate(sequence.elements) if normal(code(e.value)) == wanted)
        return next(found, None)

    def _sequence(self, source: Source) -> tuple[cst.List | cst.Tuple, Island]:
        found = source.assigned(self.container, self.function)
        if found is None or not isinstance(found[0], (cst.List, cst.Tuple)):
            raise misplaced(self.path, f"list {self.container}")
        return found[0], found[1]


def _collate(name: str) -> str:
    """Sort as people do: FOO_BAR before FOO2."""
    return name.lower().replace("_", " ")


def _one_a_line(
    source: Source, lines: list[tuple[int, int]], sequence: cst.List | cst.Tuple
) -> bool:
    starts = [first for first, _ in lines]
    trailing = isinstance(sequence.elements[-1].comma, cst.Comma)
    closing = source.line_text(lines[-1][1] + 1).lstrip()[:1] in ("]", ")")
    return len(set(starts)) == len(starts) and trailing and closing
