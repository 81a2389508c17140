"""Finding things in Python text with LibCST, as offsets into the text itself.

LibCST keeps every character, so its nodes tell exactly which characters belong to an entry and which to
its neighbour. Positions are computed for one top-level statement at a time: computing them for a whole
registry costs ten times as much, and an edit needs only one statement.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from itertools import islice
from typing import TYPE_CHECKING

from portspec.edits import Anchored, Splice
from portspec.edits.lazy import cst
from portspec.errors import Diagnostic, EmitError, Place
from portspec.pyfacts import source_lines

if TYPE_CHECKING:
    from libcst.metadata import CodeRange


_REST_OF_LINE = re.compile(r"[ \t]*,[ \t]*(?:#[^\n]*)?(?:\r?\n|$)")


class Source:
    """A Python file's text and its concrete syntax tree."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.module = cst.parse_module(text)

    @cached_property
    def line_starts(self) -> list[int]:
        """Offset of each line's first character; one more entry for the end of the text."""
        starts = [0]
        for line in source_lines(self.text):
            starts.append(starts[-1] + len(line))
        return starts

    def line_offset(self, line: int) -> int:
        """Return where a line (counted from 1) starts; the line after the last starts at the end."""
        return self.line_starts[min(line - 1, len(self.line_starts) - 1)]

    def line_text(self, line: int) -> str:
        """Return a line with its line break."""
        return self.text[self.line_offset(line) : self.line_offset(line + 1)]

    def whole_lines(self, start: int, end: int) -> Splice | None:
        """Return the splice that takes out the lines of an entry at `start:end`, if it has them to itself.

        The comma behind the entry, and a comment behind that, are the entry's own.
        """
        first = self.text.rfind("\n", 0, start) + 1
        found = _REST_OF_LINE.match(self.text, end)
        if found is None or self.text[first:start].strip():
            return None
        return Splice(first, found.end(), "")

    @cached_property
    def statement_lines(self) -> Mapping[cst.CSTNode, tuple[int, int]]:
        """First and last line of each statement of the module, its functions, classes and methods.

        Python's own parser knows them at a tenth of the price of LibCST's positions.

        Raises:
            EmitError: E302 LibCST can read the text, and this Python cannot.
        """
        try:
            return dict(_paired(self.module.body, ast.parse(self.text).body))
        except SyntaxError as error:
            raise _not_python(error.msg, error.lineno or 1, error.offset or 0) from error

    @cached_property
    def islands(self) -> list[tuple[cst.CSTNode, Island]]:
        """Each top-level statement with the means to find positions inside it."""
        return [(statement, Island(self, statement)) for statement in self.module.body]

    def function(self, name: str) -> tuple[cst.FunctionDef, Island] | None:
        """Find a module-level function."""
        for statement, island in self.islands:
            if isinstance(statement, cst.FunctionDef) and statement.name.value == name:
                return statement, island
        return None

    def class_(self, name: str) -> tuple[cst.ClassDef, Island] | None:
        """Find a module-level class."""
        for statement, island in self.islands:
            if isinstance(statement, cst.ClassDef) and statement.name.value == name:
                return statement, island
        return None

    def assigned(self, name: str, function: str = "") -> tuple[cst.BaseExpression, Island] | None:
        """Find the value assigned to `name` at module level, or directly inside a function."""
        if function:
            found = self.function(function)
            if found is None:
                return None
            scopes: list[tuple[Sequence[cst.CSTNode], Island]] = [(found[0].body.body, found[1])]
        else:
            scopes = [([statement], island) for statement, island in self.islands]
        for statements, island in scopes:
            for statement in statements:
                value = _assigned_value(statement, name)
                if value is not None:
                    return value, island
        return None


class Island:
    """One top-level statement, with positions of everything in it, computed when first asked for."""

    def __init__(self, source: Source, statement: cst.BaseStatement) -> None:
        self._source = source
        self._statement = statement

    @cached_property
    def _positions(self) -> Mapping[cst.CSTNode, CodeRange]:
        from libcst.metadata import MetadataWrapper, PositionProvider

        module = self._source.module.with_changes(body=[self._statement], header=[], footer=[])
        wrapper = MetadataWrapper(module, unsafe_skip_copy=True)
        return wrapper.resolve(PositionProvider)

    @cached_property
    def _shift(self) -> int:
        """How many lines stand above the statement and its leading comments."""
        here = self._positions[self._statement].start.line
        return self._source.statement_lines[self._statement][0] - here

    def lines(self, node: cst.CSTNode) -> tuple[int, int]:
        """Return the first and last line of a node, without comments before it."""
        known = self._source.statement_lines.get(node)
        if known is not None:
            return known
        found = self._positions[node]
        return found.start.line + self._shift, found.end.line + self._shift

    def span(self, node: cst.CSTNode) -> tuple[int, int]:
        """Return the offsets of a node's first character and of the one after its last."""
        opening, closing = _ends(node)
        start, end = self._positions[opening].start, self._positions[closing].end
        first = self._source.line_offset(start.line + self._shift) + start.column
        return first, self._source.line_offset(end.line + self._shift) + end.column


def _paired(
    nodes: Sequence[cst.CSTNode], statements: Sequence[ast.stmt]
) -> Iterator[tuple[cst.CSTNode, tuple[int, int]]]:
    """Walk LibCST's statements beside Python's, which has one more for each semicolon in a line."""
    rest = iter(statements)
    for node in nodes:
        own = list(islice(rest, len(node.body) if isinstance(node, cst.SimpleStatementLine) else 1))
        yield node, (own[0].lineno, own[-1].end_lineno or own[-1].lineno)
        if isinstance(node, (cst.FunctionDef, cst.ClassDef)) and isinstance(
            node.body, cst.IndentedBlock
        ):
            assert isinstance(own[0], (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
            yield from _paired(node.body.body, own[0].body)


def _ends(node: cst.CSTNode) -> tuple[cst.CSTNode, cst.CSTNode]:
    """Return what opens and what closes a node: LibCST counts parentheses around it as outside."""
    if isinstance(node, cst.BaseExpression) and node.lpar and node.rpar:
        return node.lpar[0], node.rpar[-1]
    return node, node


@lru_cache(maxsize=16)
def parse(text: str) -> Source:
    """Parse a text once, however many edits look at it.

    Raises:
        EmitError: E302 it is not Python.
    """
    try:
        return Source(text)
    except cst.ParserSyntaxError as error:
        raise _not_python(error.message, error.raw_line, error.raw_column) from error


def _not_python(message: str, line: int, column: int) -> EmitError:
    place = Place("<text>", line, column)
    return EmitError([Diagnostic("E302", f"this is not Python: {message}", place)])


def _assigned_value(statement: cst.CSTNode, name: str) -> cst.BaseExpression | None:
    if not isinstance(statement, cst.SimpleStatementLine):
        return None
    for small in statement.body:
        match small:
            case cst.Assign(targets=[cst.AssignTarget(target=cst.Name(value=found))], value=value):
                if found == name:
                    return value
            case cst.AnnAssign(target=cst.Name(value=found), value=value):
                if found == name:
                    return value
    return None


def code(node: cst.CSTNode) -> str:
    """Return a node's text."""
    return cst.Module(body=[]).code_for_node(node)


@lru_cache(maxsize=512)
def normal(expression: str) -> str:
    """Return an expression without regard to its layout, so that formatting is not a difference."""
    try:
        return ast.dump(ast.parse(expression.strip(), mode="eval"))
    except SyntaxError:
        return " ".join(expression.split())


def misplaced(path: str, what: str) -> EmitError:
    """Complain that the place for an entry is not there."""
    remedy = "The target tree is not laid out as expected; compare it with the version in docs/target.md."
    return EmitError(
        [Diagnostic("E222", f"there is no {what} to put an entry into", Place(path), remedy)]
    )


def contradicted(path: str, line: int, address: str) -> EmitError:
    """Complain that an entry is there already and says something else."""
    remedy = "Make the spec say what the entry says, or take the entry out of the file."
    message = f"{address} is there already and says something else"
    return EmitError([Diagnostic("E221", message, Place(path, line), remedy)])


def overruled(path: str, line: int, address: str) -> Diagnostic:
    """Complain that a person has changed an entry of ours that the spec no longer wants as it was."""
    remedy = "Undo the edit, or take the entry out of the file; move what it says into the spec."
    message = f"{address} was edited by hand, and the spec no longer asks for it as it was written"
    return Diagnostic("E221", message, Place(path, line), remedy)


def edited(entry: Anchored, text: str) -> int:
    """Return the line of an entry that a person has changed since it was put in, or 0.

    A comment inside it is such a change, although the entry says the same: it would go with the entry.
    """
    for gone in entry.remove(text):
        if not entry.is_in(text) or any(
            not _is_own(c, entry) for c in _comments(text, gone, entry)
        ):
            lead = text[gone.start : gone.end]
            return text.count("\n", 0, gone.end - len(lead.lstrip())) + 1
    return 0


def _is_own(comment: str, entry: Anchored) -> bool:
    own = (f"# {getattr(entry, 'comment', '')}", getattr(entry, "statement", ""))
    return comment == own[0] or comment in own[1]


def _comments(text: str, inside: Splice, entry: Anchored) -> Iterator[str]:
    """Yield the comments in a part of a file."""
    part = text[inside.start : inside.end]
    if "#" not in part:
        return
    if not entry.path.endswith(".py"):
        yield from re.findall(r"(?<=\s)#.*", part) if entry.path.endswith(".yaml") else ()
        return
    source = parse(text)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        offset = source.line_offset(token.start[0]) + token.start[1]
        if token.type == tokenize.COMMENT and inside.start <= offset < inside.end:
            yield token.string


def separated(source: Source, spans: Sequence[tuple[int, int]], index: int) -> Splice:
    """Return the splice that takes one element out of a sequence together with one comma.

    Args:
        source: The file.
        spans: Offsets of every element, in order.
        index: Which one to take out.
    """
    start, end = spans[index]
    whole = source.whole_lines(start, end)
    if whole:
        return whole
    if index:
        return Splice(spans[index - 1][1], end, "")
    return Splice(start, spans[1][0] if len(spans) > 1 else end, "")
