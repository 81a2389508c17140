"""A field of a dataclass: `name: annotation = default`, after the class's last field."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from portspec.edits import Splice
from portspec.edits.lazy import cst
from portspec.edits.source import Island, Source, code, contradicted, misplaced, normal, parse


@dataclass(frozen=True, slots=True)
class ClassField:
    """`annotation` and `default` are Python source."""

    path: str
    class_name: str
    name: str
    annotation: str
    default: str
    item: str
    comment: str = ""

    @property
    def address(self) -> str:
        """Name the field."""
        return f"{self.class_name}.{self.name}"

    def is_in(self, text: str) -> bool:
        """Tell whether the field is there with this annotation and default."""
        found = self._find(parse(text))
        if found is None:
            return False
        node = found[0].body[0]
        if not isinstance(node, cst.AnnAssign) or node.value is None:
            return False
        same_type = normal(code(node.annotation.annotation)) == normal(self.annotation)
        return same_type and normal(code(node.value)) == normal(self.default)

    def insert(self, text: str) -> Sequence[Splice]:
        """Add a line after the last field."""
        source = parse(text)
        found = self._find(source)
        if found is not None:
            if self.is_in(text):
                return ()
            raise contradicted(self.path, found[1].lines(found[0])[0], self.address)
        fields = list(self._fields(source))
        if not fields:
            raise misplaced(self.path, f"dataclass {self.class_name}")
        statement, island, _ = fields[-1]
        tail = f"  # {self.comment}" if self.comment else ""
        offset = source.line_offset(island.lines(statement)[1] + 1)
        row = f"    {self.name}: {self.annotation} = {self.default}{tail}\n"
        return (Splice(offset, offset, row),)

    def remove(self, text: str) -> Sequence[Splice]:
        """Take out the field's lines."""
        source = parse(text)
        found = self._find(source)
        if found is None:
            return ()
        first, last = found[1].lines(found[0])
        return (Splice(source.line_offset(first), source.line_offset(last + 1), ""),)

    def _find(self, source: Source) -> tuple[cst.SimpleStatementLine, Island] | None:
        rows = (row for row in self._fields(source) if row[2] == self.name)
        return next(((statement, island) for statement, island, _ in rows), None)

    def _fields(self, source: Source) -> Iterator[tuple[cst.SimpleStatementLine, Island, str]]:
        found = source.class_(self.class_name)
        if found is None:
            raise misplaced(self.path, f"class {self.class_name}")
        for statement in found[0].body.body:
            match statement:
                case cst.SimpleStatementLine(body=[cst.AnnAssign(target=cst.Name(value=name))]):
                    yield statement, found[1], name
