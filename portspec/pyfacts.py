"""Python source text -> the facts about it that checks and emitters ask for, by parsing alone.

Nothing here imports or runs the source. Facts are plain JSON inside, so that they can be cached by
content; `Module` and the small classes below give them names. Text is kept as written, so that two
defaults are equal exactly when an author wrote the same thing.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

_LINE_END = re.compile(r"\r\n|\n|\r")
_INDENTED_IMPORT = re.compile(r"\s+(from|import)\s")


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a function. `kind` is positional, keyword, varargs or kwargs."""

    name: str
    annotation: str | None
    default: str | None
    kind: str

    @property
    def required(self) -> bool:
        """A call must give it."""
        return self.default is None and self.kind in ("positional", "keyword")


@dataclass(frozen=True, slots=True)
class Function:
    """A function or method: its signature and where it stands."""

    name: str
    parameters: tuple[Parameter, ...]
    line: int
    end_line: int
    decorators: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Assignment:
    """`name: annotation = value` at module or class level; either part may be missing."""

    name: str
    annotation: str | None
    value: str | None
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Class:
    """A class: bases as written, its assignments in order, and its methods."""

    name: str
    bases: tuple[str, ...]
    decorators: tuple[str, ...]
    fields: tuple[Assignment, ...]
    methods: Mapping[str, Function]
    line: int
    end_line: int

    def field(self, name: str) -> Assignment | None:
        """Return the last assignment to `name` in the class body."""
        return next((f for f in reversed(self.fields) if f.name == name), None)


@dataclass(frozen=True, slots=True)
class Import:
    """One imported name. `symbol` is None for `import module`; `guarded` ones may fail harmlessly."""

    name: str
    module: str
    symbol: str | None
    line: int
    column: int
    guarded: bool
    top_level: bool


class Module:
    """The facts of one file."""

    def __init__(self, path: str, raw: Mapping[str, Any]) -> None:
        self.path = path
        self._raw = raw

    @property
    def error(self) -> tuple[int, str] | None:
        """Line and message when the file does not parse."""
        found = self._raw.get("error")
        return (found[0], found[1]) if found else None

    @cached_property
    def classes(self) -> Mapping[str, Class]:
        """Classes at module level, by name."""
        return {row[0]: _class(row) for row in self._raw.get("classes", ())}

    @cached_property
    def functions(self) -> Mapping[str, Function]:
        """Functions at module level, by name."""
        return {row[0]: _function(row) for row in self._raw.get("functions", ())}

    @cached_property
    def assignments(self) -> tuple[Assignment, ...]:
        """Assignments at module level, in order."""
        return tuple(Assignment(*row) for row in self._raw.get("assignments", ()))

    @cached_property
    def imports(self) -> tuple[Import, ...]:
        """Every import in the file, those inside functions included."""
        return tuple(Import(*row) for row in self._raw.get("imports", ()))

    @cached_property
    def imported(self) -> Mapping[str, Import]:
        """Imports at module level, by local name."""
        return {i.name: i for i in self.imports if i.top_level}

    @property
    def is_dynamic(self) -> bool:
        """Names may exist that no statement shows: a module `__getattr__` or a star import."""
        return bool(self._raw.get("dynamic"))

    def assignment(self, name: str) -> Assignment | None:
        """Return the last module-level assignment to `name`."""
        return next((a for a in reversed(self.assignments) if a.name == name), None)

    def defines(self, name: str) -> bool:
        """Tell whether the module has `name` at module level, imported or its own."""
        return name in self.names

    @cached_property
    def names(self) -> frozenset[str]:
        """Every name at module level, imported or its own."""
        assigned = (a.name for a in self.assignments)
        bound = self._raw.get("bound", ())
        return frozenset([*self.classes, *self.functions, *self.imported, *assigned, *bound])


def _function(row: Any) -> Function:
    name, parameters, line, end_line, decorators = row
    return Function(
        name, tuple(Parameter(*p) for p in parameters), line, end_line, tuple(decorators)
    )


def _class(row: Any) -> Class:
    name, bases, decorators, fields, methods, line, end_line = row
    return Class(
        name,
        tuple(bases),
        tuple(decorators),
        tuple(Assignment(*f) for f in fields),
        {m[0]: _function(m) for m in methods},
        line,
        end_line,
    )


def source_lines(text: str) -> list[str]:
    r"""Split source text into lines as Python's parser counts them, line ends kept.

    `str.splitlines` also breaks at form feeds and at Unicode's separators, which shifts every number after.

    Example:
        >>> source_lines("a\x0c = 1\nb = 2")
        ['a\x0c = 1\n', 'b = 2']
    """
    starts = [0, *(found.end() for found in _LINE_END.finditer(text))]
    ends = [*starts[1:], len(text)]
    return [text[start:end] for start, end in zip(starts, ends, strict=True) if start < end]


def parse(text: str) -> ast.Module:
    """Parse source text.

    Raises:
        SyntaxError: It is not Python, or Python's parser gives up on it.
    """
    try:
        return ast.parse(text)
    except (ValueError, RecursionError, MemoryError) as error:
        raise SyntaxError(str(error) or "it is nested too deeply") from error


def read_facts(text: str, module: str, *, is_package: bool) -> dict[str, Any]:
    """Parse source text into JSON facts.

    Args:
        text: The source.
        module: Dotted name of the module, used to resolve relative imports.
        is_package: Whether the file is an `__init__.py`.

    Returns:
        What `Module` reads; for text that does not parse, only `error: [line, message]`.
    """
    try:
        tree = parse(text)
    except SyntaxError as error:
        return {"error": [error.lineno or 1, error.msg]}
    reader = _Reader(text, module, is_package)
    reader.read_body(tree.body, guarded=False)
    reader.read_nested_imports(tree)
    return reader.facts


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield statements and those inside them; walking expressions too would take most of the time."""
    for node in body:
        yield node
        for name in ("body", "orelse", "finalbody"):
            yield from _statements(getattr(node, name, []))
        for branch in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
            yield from _statements(branch.body)


class _Reader:
    """One pass over a module's statements."""

    def __init__(self, text: str, module: str, is_package: bool) -> None:
        self._lines = source_lines(text)
        self._package = module if is_package else module.rpartition(".")[0]
        self._seen: set[int] = set()
        self.facts: dict[str, Any] = {
            "classes": [],
            "functions": [],
            "assignments": [],
            "imports": [],
            "bound": [],
            "dynamic": False,
        }

    def read_body(self, body: list[ast.stmt], *, guarded: bool) -> None:
        for node in body:
            self._read(node, guarded)

    def _read(self, node: ast.stmt, guarded: bool) -> None:
        match node:
            case ast.ClassDef():
                self.facts["classes"].append(self._class(node))
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                self.facts["functions"].append(self._function(node))
                self.facts["dynamic"] |= node.name == "__getattr__"
            case ast.Assign() | ast.AnnAssign() | ast.AugAssign():
                self.facts["assignments"] += self._assignments(node)
            case ast.Import() | ast.ImportFrom():
                self._import(node, guarded, top_level=True)
            case ast.If():
                self.read_body(
                    node.body, guarded=guarded or "TYPE_CHECKING" in self.text(node.test)
                )
                self.read_body(node.orelse, guarded=guarded)
            case ast.Try():
                tolerant = guarded or bool(node.handlers)
                self.read_body(node.body, guarded=tolerant)
                for handler in node.handlers:
                    self.read_body(handler.body, guarded=True)
                self.read_body(node.orelse, guarded=tolerant)
                self.read_body(node.finalbody, guarded=guarded)
            case ast.With() | ast.For() | ast.While():
                self._bind_targets(node)
                self.read_body(node.body, guarded=guarded)

    def _bind_targets(self, node: ast.stmt) -> None:
        for child in ast.walk(node):
            if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store):
                self.facts["bound"].append(child.id)

    def read_nested_imports(self, tree: ast.Module) -> None:
        if not any(_INDENTED_IMPORT.match(line) for line in self._lines):
            return
        for node in _statements(tree.body):
            if isinstance(node, (ast.Import, ast.ImportFrom)) and id(node) not in self._seen:
                self._import(node, guarded=True, top_level=False)

    def _import(self, node: ast.Import | ast.ImportFrom, guarded: bool, top_level: bool) -> None:
        self._seen.add(id(node))
        where = (node.lineno, node.col_offset + 1, guarded, top_level)
        if isinstance(node, ast.Import):
            for alias in node.names:
                local = alias.asname or alias.name.split(".")[0]
                self.facts["imports"].append([local, alias.name, None, *where])
            return
        module = self._absolute(node)
        for alias in node.names:
            if alias.name == "*":
                self.facts["dynamic"] = True
            local = alias.asname or alias.name
            self.facts["imports"].append([local, module, alias.name, *where])

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parts = self._package.split(".")
        base = ".".join(parts[: len(parts) - node.level + 1])
        return f"{base}.{node.module}" if node.module else base

    def _class(self, node: ast.ClassDef) -> list[Any]:
        fields: list[Any] = []
        methods: list[Any] = []
        for child in node.body:
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
                methods.append(self._function(child))
            elif isinstance(child, (ast.Assign, ast.AnnAssign)):
                fields += self._assignments(child)
        bases = [self.text(b) for b in node.bases]
        decorators = [self.text(d) for d in node.decorator_list]
        return [node.name, bases, decorators, fields, methods, node.lineno, node.end_lineno]

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[Any]:
        decorators = [self.text(d) for d in node.decorator_list]
        return [
            node.name,
            list(self._parameters(node.args)),
            node.lineno,
            node.end_lineno,
            decorators,
        ]

    def _parameters(self, args: ast.arguments) -> Iterator[list[Any]]:
        positional = [*args.posonlyargs, *args.args]
        padding: list[ast.expr | None] = [None] * (len(positional) - len(args.defaults))
        for arg, default in zip(positional, [*padding, *args.defaults], strict=True):
            yield self._parameter(arg, default, "positional")
        if args.vararg:
            yield self._parameter(args.vararg, None, "varargs")
        for arg, default in zip(args.kwonlyargs, args.kw_defaults, strict=True):
            yield self._parameter(arg, default, "keyword")
        if args.kwarg:
            yield self._parameter(args.kwarg, None, "kwargs")

    def _parameter(self, arg: ast.arg, default: ast.expr | None, kind: str) -> list[Any]:
        annotation = self.text(arg.annotation) if arg.annotation else None
        return [arg.arg, annotation, self.text(default) if default else None, kind]

    def _assignments(self, node: ast.stmt) -> Iterator[list[Any]]:
        match node:
            case ast.AnnAssign(target=ast.Name(id=name)):
                value = self.text(node.value) if node.value else None
                yield [name, self.text(node.annotation), value, node.lineno, node.col_offset + 1]
            case ast.AugAssign(target=ast.Name(id=name)):
                yield [name, None, self.text(node), node.lineno, node.col_offset + 1]
            case ast.Assign():
                for target in node.targets:
                    for name in _names(target):
                        yield [name, None, self.text(node.value), node.lineno, node.col_offset + 1]

    def text(self, node: ast.AST) -> str:
        """Return the source of a node as written."""
        first, last = node.lineno - 1, node.end_lineno - 1  # type: ignore[attr-defined]
        start, end = node.col_offset, node.end_col_offset  # type: ignore[attr-defined]
        if first == last:
            return self._cut(first, start, end)
        parts = [self._cut(first, start, None), *self._lines[first + 1 : last]]
        return "".join([*parts, self._cut(last, 0, end)])

    def _cut(self, line: int, start: int, end: int | None) -> str:
        """Cut a line at byte offsets, which is what `ast` counts."""
        text = self._lines[line]
        return text[start:end] if text.isascii() else text.encode()[start:end].decode()


def _names(target: ast.expr) -> Iterator[str]:
    if isinstance(target, ast.Name):
        yield target.id
    elif isinstance(target, (ast.Tuple, ast.List)):
        for element in target.elts:
            yield from _names(element)


def literal(text: str | None) -> Any:
    """Evaluate a literal written in source.

    Raises:
        ValueError: The text is not a literal.
    """
    if text is None:
        raise ValueError("no value")
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError(f"not a literal: {text}") from error
