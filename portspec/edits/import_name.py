"""A `from module import name`, at module level or at the top of a function."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from portspec.edits import Splice
from portspec.edits.lazy import cst
from portspec.edits.source import Island, Source, code, misplaced, parse


@dataclass(frozen=True, slots=True)
class ImportName:
    """`statement` is the whole import as it should read, without indentation.

    It goes after the last import of the same package that sorts before it; a list of imports that is
    not quite sorted stays as it is.
    """

    path: str
    module: str
    name: str
    statement: str
    item: str
    function: str = ""

    @property
    def address(self) -> str:
        """Name the import."""
        where = f"{self.function}: " if self.function else ""
        return f"{where}from {self.module} import {self.name}"

    def is_in(self, text: str) -> bool:
        """Tell whether the name is imported from the module there."""
        return self._find(parse(text)) is not None

    def insert(self, text: str) -> Sequence[Splice]:
        """Add the statement on lines of its own."""
        source = parse(text)
        if self._find(source) is not None:
            return ()
        imports = list(self._imports(source))
        if not imports:
            raise misplaced(self.path, f"import{' in ' + self.function if self.function else ''}")
        line, indent = self._line_after(source, imports)
        block = "".join(f"{indent}{row}\n" for row in self.statement.splitlines())
        offset = source.line_offset(line)
        return (Splice(offset, offset, block),)

    def remove(self, text: str) -> Sequence[Splice]:
        """Take out the statement when it imports this name alone."""
        source = parse(text)
        found = self._find(source)
        if found is None:
            return ()
        statement, island = found
        node = statement.body[0]
        if (
            isinstance(node, cst.ImportFrom)
            and not isinstance(node.names, cst.ImportStar)
            and len(node.names) == 1
        ):
            first, last = island.lines(statement)
            return (Splice(source.line_offset(first), source.line_offset(last + 1), ""),)
        return ()

    def _line_after(
        self, source: Source, imports: list[tuple[cst.SimpleStatementLine, Island, str]]
    ) -> tuple[int, str]:
        package = self.module.rpartition(".")[0]
        stem = _family_stem(self.module)
        siblings = [row for row in imports if _family_stem(row[2]) == stem] or [
            row for row in imports if row[2].rpartition(".")[0] == package
        ]
        earlier = [row for row in siblings if row[2] < self.module]
        statement, island, _ = (
            max(earlier, key=lambda r: r[2]) if earlier else (siblings or imports)[-1]
        )
        first, last = island.lines(statement)
        return last + 1, re.match(r"\s*", source.line_text(first))[0]  # type: ignore[index]

    def _find(self, source: Source) -> tuple[cst.SimpleStatementLine, Island] | None:
        wanted = self.name.split(" as ")
        for statement, island, module in self._imports(source):
            node = statement.body[0]
            if module != self.module or not isinstance(node, cst.ImportFrom):
                continue
            for alias in () if isinstance(node.names, cst.ImportStar) else node.names:
                local = alias.asname.name if alias.asname else alias.name
                if code(alias.name) == wanted[0] and code(local) == wanted[-1]:
                    return statement, island
        return None

    def _imports(self, source: Source) -> Iterator[tuple[cst.SimpleStatementLine, Island, str]]:
        from libcst.helpers import get_full_name_for_node

        if self.function:
            found = source.function(self.function)
            rows: Iterable[tuple[cst.CSTNode, Island]] = (
                [(s, found[1]) for s in found[0].body.body] if found else []
            )
        else:
            rows = source.islands
        for statement, island in rows:
            if isinstance(statement, cst.SimpleStatementLine) and isinstance(
                statement.body[0], cst.ImportFrom
            ):
                node = statement.body[0]
                module = get_full_name_for_node(node.module) if node.module else ""
                yield statement, island, "." * len(node.relative) + (module or "")


def _family_stem(module: str) -> str:
    """Blank the part that names a family, so that `x.foo.presets` and `x.bar.presets` are siblings."""
    parts = module.split(".")
    if len(parts) > 2 and parts[-1] == "presets":
        parts[-2] = "*"
        return ".".join(parts)
    return ".".join([*parts[:-1], "*"])
