"""A call that stands as a statement inside a function, found by some of its keywords."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from portspec.edits import Splice
from portspec.edits.lazy import cst
from portspec.edits.source import Island, Source, code, contradicted, misplaced, normal, parse

Identity = tuple[tuple[str, str], ...]  # (keyword, source of its value); "" is the first positional


@dataclass(frozen=True, slots=True)
class CallStatement:
    """`statement` is the call as it should read, without indentation; `comment` goes above it.

    Order can be meaning: `before` is the identity of the call that it must precede. Without one, it
    goes last among the calls of the same name. `group` names the calls that stand together, in their order:
    another one makes another edit of each, so that all are taken out and put back in the new order.
    """

    path: str
    function: str
    callee: str
    identity: Identity
    statement: str
    item: str
    comment: str = ""
    before: Identity | None = None
    blank_line: bool = True
    group: str = ""

    @property
    def address(self) -> str:
        """Name the call by its function and its identity."""
        shown = ", ".join(f"{k}={v}" if k else v for k, v in self.identity)
        return f"{self.function}: {self.callee}({shown})"

    def is_in(self, text: str) -> bool:
        """Tell whether the call is there and says the same."""
        found = self._own(parse(text))
        return found is not None and normal(code(_call(found[0]))) == normal(self.statement)

    def insert(self, text: str) -> Sequence[Splice]:
        """Add the call with its comment, in its place."""
        source = parse(text)
        found = self._own(source)
        if found is not None:
            if self.is_in(text):
                return ()
            raise contradicted(self.path, found[1].lines(found[0])[0], self.address)
        line, indent = self._place(source)
        rows = [f"# {self.comment}"] if self.comment else []
        rows += self.statement.splitlines()
        block = "".join(f"{indent}{row}\n" if row else "\n" for row in rows)
        if self.blank_line:
            block = f"{block}\n" if _opens_block(source, line - 1) else f"\n{block}"
        offset = source.line_offset(line)
        return (Splice(offset, offset, block),)

    def remove(self, text: str) -> Sequence[Splice]:
        """Take out the call with the comment and the blank line above it."""
        source = parse(text)
        found = self._own(source)
        if found is None:
            return ()
        statement, island = found
        first, last = island.lines(statement)
        if self.comment and source.line_text(first - 1).strip() == f"# {self.comment}":
            first -= 1
        if self.blank_line and _opens_block(source, first - 1):
            last += 1
        elif self.blank_line and not source.line_text(first - 1).strip():
            first -= 1
        return (Splice(source.line_offset(first), source.line_offset(last + 1), ""),)

    def _place(self, source: Source) -> tuple[int, str]:
        """Return the line before which the block goes, and the indentation there."""
        calls = list(self._calls(source))
        if not calls:
            raise misplaced(self.path, f"call of {self.callee} in {self.function}()")
        if self.before is not None:
            follower = self._find(source, self.before)
            if follower is None:
                raise misplaced(self.path, f"call {self.before} in {self.function}()")
            return self._line_before(source, *follower)
        statement, island = calls[-1]
        first, last = island.lines(statement)
        return last + 1, _indent(source.line_text(first))

    def _line_before(
        self, source: Source, statement: cst.SimpleStatementLine, island: Island
    ) -> tuple[int, str]:
        """Go right behind the statement above, so that the follower keeps its comments."""
        first, _ = island.lines(statement)
        return first - len(statement.leading_lines), _indent(source.line_text(first))

    def _own(self, source: Source) -> tuple[cst.SimpleStatementLine, Island] | None:
        """Find the call; where an identity fits several, the one that says the same."""
        fitting = [c for c in self._calls(source) if _matches(_call(c[0]), self.identity)]
        wanted = normal(self.statement) if len(fitting) > 1 else ""
        same = (c for c in fitting if normal(code(_call(c[0]))) == wanted)
        return next(same, fitting[0]) if fitting else None

    def _find(
        self, source: Source, identity: Identity
    ) -> tuple[cst.SimpleStatementLine, Island] | None:
        for statement, island in self._calls(source):
            if _matches(_call(statement), identity):
                return statement, island
        return None

    def _calls(self, source: Source) -> Iterator[tuple[cst.SimpleStatementLine, Island]]:
        found = source.function(self.function) or self._method(source)
        if found is None:
            raise misplaced(self.path, f"function {self.function}()")
        function, island = found
        for statement in function.body.body:
            match statement:
                case cst.SimpleStatementLine(body=[cst.Expr(value=cst.Call(func=callee))]):
                    if code(callee) == self.callee:
                        yield statement, island

    def _method(self, source: Source) -> tuple[cst.FunctionDef, Island] | None:
        owner, _, name = self.function.rpartition(".")
        found = source.class_(owner) if owner else None
        for node in found[0].body.body if found else ():
            if isinstance(node, cst.FunctionDef) and node.name.value == name and found:
                return node, found[1]
        return None


def _call(statement: cst.SimpleStatementLine) -> cst.Call:
    expression = statement.body[0]
    assert isinstance(expression, cst.Expr)
    assert isinstance(expression.value, cst.Call)
    return expression.value


def _matches(call: cst.Call, identity: Identity) -> bool:
    given = {(arg.keyword.value if arg.keyword else ""): arg.value for arg in reversed(call.args)}
    return all(
        key in given and normal(code(given[key])) == normal(value) for key, value in identity
    )


def _opens_block(source: Source, line: int) -> bool:
    """Tell whether a line ends in a colon: formatters keep no blank line below it."""
    return source.line_text(line).rstrip().endswith(":")


def _indent(line: str) -> str:
    return re.match(r"[ \t]*", line)[0]  # type: ignore[index]
