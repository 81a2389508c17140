"""An entry of a block mapping in a YAML file, one line long, after the mapping's last entry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from portspec.edits import Splice
from portspec.edits.source import contradicted, misplaced
from portspec.errors import SpecError
from portspec.load import Entry, parse
from portspec.pyfacts import source_lines


@dataclass(frozen=True, slots=True)
class YamlEntry:
    """`container` are the keys that lead to the mapping; `value` is a plain scalar."""

    path: str
    container: tuple[str, ...]
    key: str
    value: str
    item: str

    @property
    def address(self) -> str:
        """Name the entry by the keys that lead to it."""
        return ".".join((*self.container, self.key))

    def is_in(self, text: str) -> bool:
        """Tell whether the key is there with this value."""
        entry = self._mapping(text).get(self.key)
        return entry is not None and entry.node.value == self.value

    def insert(self, text: str) -> Sequence[Splice]:
        """Add a line below the last entry, indented like it."""
        mapping = self._mapping(text)
        if self.key in mapping:
            if self.is_in(text):
                return ()
            raise contradicted(self.path, mapping[self.key].key_place.line, self.address)
        last = max(entry.key_place.line for entry in mapping.values())
        indent = mapping[next(iter(mapping))].key_place.column - 1
        offset = sum(len(line) for line in source_lines(text)[: self._end_of(text, last)])
        return (Splice(offset, offset, f"{' ' * indent}{self.key}: {self.value}\n"),)

    def remove(self, text: str) -> Sequence[Splice]:
        """Take out the entry's line."""
        entry = self._mapping(text).get(self.key)
        if entry is None:
            return ()
        lines = source_lines(text)
        start = sum(len(line) for line in lines[: entry.key_place.line - 1])
        return (Splice(start, start + len(lines[entry.key_place.line - 1]), ""),)

    @staticmethod
    def _end_of(text: str, line: int) -> int:
        """Return the last line of the entry that starts on `line`: values may be longer than a line."""
        lines = source_lines(text)
        depth = len(lines[line - 1]) - len(lines[line - 1].lstrip())
        while line < len(lines):
            below = lines[line]
            if below.strip() and len(below) - len(below.lstrip()) <= depth:
                break
            if not below.strip():
                break
            line += 1
        return line

    def _mapping(self, text: str) -> dict[str, Entry]:
        try:
            node = parse(text, self.path, strict=False)
        except SpecError as error:
            raise misplaced(self.path, "YAML") from error
        for key in self.container:
            entry = node.value.get(key) if isinstance(node.value, dict) else None
            if entry is None:
                raise misplaced(self.path, f"mapping {'.'.join(self.container)}")
            node = entry.node
        if not isinstance(node.value, dict) or not node.value:
            raise misplaced(self.path, f"mapping {'.'.join(self.container)}")
        return dict(node.value)
