"""The official implementation, found and read as text: definitions, signatures, constants.

Nothing is imported. A package is located through the interpreter's path, a repository through the
folder that the spec names. Each definition is hashed over its syntax tree without docstrings, so that a
later change of what it computes is seen and a change of wording is not.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from portspec.cache import Cache, sha256
from portspec.pyfacts import Assignment, Parameter, source_lines
from portspec.tree import ClassRef, Tree

REF = re.compile(
    r"^(?P<module>[A-Za-z_][\w.]*):(?P<symbol>[A-Za-z_][\w.]*)(\((?P<parameter>\w+)\))?$"
)


@dataclass(frozen=True, slots=True)
class Definition:
    """A class, function or constant of the official source.

    `parameters` are those of the function, or of the class's constructor wherever it is inherited from;
    `text` is the source; `value` is a constant's expression.
    """

    ref: str
    kind: str
    file: str
    line: int
    end_line: int
    sha: str
    parameters: tuple[Parameter, ...]
    text: str
    value: str | None

    def parameter(self, name: str) -> Parameter | None:
        """Return the parameter of that name."""
        return next((p for p in self.parameters if p.name == name), None)

    @property
    def takes_anything(self) -> bool:
        """It has `**kwargs`, so its signature does not tell which arguments are wrong."""
        return any(p.kind == "kwargs" for p in self.parameters)


@dataclass(frozen=True, slots=True)
class Package:
    """An official package: what the spec pins, and what is installed."""

    name: str
    pinned: str
    installed: str | None
    folder: Path | None


class OfficialSource:
    """Finds definitions in the pinned packages and in the repository's clone."""

    def __init__(self, packages: Mapping[str, str], clone: Path | None, cache: Cache) -> None:
        self.packages = tuple(_package(name, pin) for name, pin in packages.items())
        self.clone = clone
        self._cache = cache
        self._trees: dict[Path, Tree] = {}
        self.files: set[Path] = set()  # every file that an answer was taken from

    def find(self, ref: str) -> Definition | None:
        """Return the definition of `module:Symbol`, or None when the source has none.

        Args:
            ref: `module:Class`, `module:function`, `module:Class.method` or `module:CONSTANT`; a
                parameter in parentheses is ignored.
        """
        matched = REF.match(ref)
        if matched is None:
            return None
        module, symbol = matched["module"], matched["symbol"]
        tree = self._tree_of(module)
        path = tree.path_of(module) if tree else None
        if tree is None or path is None:
            return None
        self.files.add(tree.root / path)
        name = f"{module}:{symbol}"
        raw = self._cache.memo(
            "definition",
            f"{name}\0{tree.sha(path)}",
            lambda: self._read(tree, path, module, symbol),
        )
        return _unpack(name, raw) if raw else None

    def sources_digest(self, refs: Iterable[str]) -> str:
        """Hash the files that definitions stand in, and those of their package that they import.

        A patched package keeps its version, and what a class computes is decided by its neighbours too.
        """
        seen: dict[str, str] = {}
        for module in sorted({ref.partition(":")[0] for ref in refs}):
            tree = self._tree_of(module)
            path = tree.path_of(module) if tree else None
            if tree is None or path is None:
                continue
            top = module.partition(".")[0]
            near = {i.module for i in tree.module(path).imports if i.module.startswith(f"{top}.")}
            for other in (path, *filter(None, map(tree.path_of, near))):
                seen[other] = tree.sha(other)
        return sha256(*(f"{path} {sha}" for path, sha in sorted(seen.items())))

    def has_module(self, ref: str) -> bool:
        """Tell whether the module part of a reference exists."""
        module = ref.partition(":")[0]
        tree = self._tree_of(module)
        return bool(tree and tree.path_of(module))

    def symbols(self, ref: str) -> list[str]:
        """List what a module defines, or the methods of the class that `ref` names, for suggestions."""
        module, _, symbol = ref.partition(":")
        tree = self._tree_of(module)
        path = tree.path_of(module) if tree else None
        if tree is None or path is None:
            return []
        facts = tree.module(path)
        owner = facts.classes.get(symbol.partition(".")[0])
        if owner and "." in symbol:
            return [f"{owner.name}.{name}" for name in owner.methods]
        return [*facts.classes, *facts.functions, *(a.name for a in facts.assignments)]

    def _tree_of(self, module: str) -> Tree | None:
        top = module.partition(".")[0]
        folder = self._folder_of(top)
        if folder is None:
            return None
        if folder not in self._trees:
            self._trees[folder] = Tree(folder, self._cache)
        return self._trees[folder]

    def _folder_of(self, top: str) -> Path | None:
        if self.clone and ((self.clone / top).exists() or (self.clone / f"{top}.py").exists()):
            return self.clone
        for package in self.packages:
            if package.folder and _normal(package.name) == _normal(top):
                return package.folder
        return None

    def _read(self, tree: Tree, path: str, module: str, symbol: str) -> Any:
        node, owner = _locate(tree.ast(path).body, symbol)
        if node is None:
            return None
        lines = source_lines(tree.text(path))
        text = "".join(lines[node.lineno - 1 : node.end_lineno])
        parameters = self._parameters(tree, path, module, symbol, node, owner)
        value = (
            ast.unparse(node.value)
            if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value
            else None
        )
        kind = type(node).__name__.removesuffix("Def").lower()
        return [
            kind,
            path,
            node.lineno,
            node.end_lineno,
            _fingerprint(node),
            parameters,
            text,
            value,
        ]

    def _parameters(
        self, tree: Tree, path: str, module: str, symbol: str, node: ast.stmt, owner: str | None
    ) -> list[list[Any]]:
        if isinstance(node, ast.ClassDef):
            found = tree.find_class(f"{module}:{symbol}")
            if found and "__init__" in found.facts.methods:
                return _constructor([found])  # reading its bases would parse half of the library
            return _constructor(list(tree.bases(found)) if found else [])
        if owner:
            function = tree.module(path).classes[owner].methods.get(symbol.split(".")[-1])
        else:
            function = tree.module(path).functions.get(symbol)
        return _rows(function.parameters if function else ())


def _constructor(chain: list[ClassRef]) -> list[list[Any]]:
    """Return the parameters of a class: its `__init__`, or the fields of a dataclass."""
    if chain and "__init__" not in chain[0].facts.methods:
        fields = {f.name: f for c in reversed(chain) for f in c.facts.fields if _is_field(f)}
        if fields and any(_is_field(f) for f in chain[0].facts.fields):
            rows = [[f.name, f.annotation, f.value, "positional"] for f in fields.values()]
            post_init = chain[0].facts.methods.get("__post_init__")
            return rows + [
                r for r in _rows(post_init.parameters if post_init else ()) if r[3] == "kwargs"
            ]
    constructors = (c.facts.methods.get("__init__") for c in chain)
    function = next(filter(None, constructors), None)
    return _rows(function.parameters if function else ())


def _is_field(field: Assignment) -> bool:
    return bool(field.annotation) and "ClassVar" not in (field.annotation or "")


def _rows(parameters: Iterable[Parameter]) -> list[list[Any]]:
    return [
        [p.name, p.annotation, p.default, p.kind]
        for p in parameters
        if p.name not in ("self", "cls")
    ]


def _locate(body: list[ast.stmt], symbol: str) -> tuple[ast.stmt | None, str | None]:
    """Find a dotted symbol among statements; also return the class that owns it, if one does."""
    head, _, rest = symbol.partition(".")
    for node in body:
        if (
            isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
            and node.name == head
        ):
            if not rest:
                return node, None
            inner, _ = _locate(node.body, rest)
            return inner, head
        if isinstance(node, ast.Assign) and any(
            isinstance(t, ast.Name) and t.id == head for t in node.targets
        ):
            return (node, None) if not rest else (None, None)
        if (
            isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and node.target.id == head
        ):
            return (node, None) if not rest else (None, None)
    return None, None


def _fingerprint(node: ast.stmt) -> str:
    """Hash what the definition computes: its syntax tree without docstrings."""
    fresh = ast.parse(ast.unparse(node))
    for child in ast.walk(fresh):
        if isinstance(
            child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        ) and ast.get_docstring(child):
            child.body = child.body[1:] or [ast.Pass()]
    return sha256(ast.dump(fresh))


def _unpack(ref: str, raw: Any) -> Definition:
    kind, file, line, end_line, sha, parameters, text, value = raw
    return Definition(
        ref, kind, file, line, end_line, sha, tuple(Parameter(*p) for p in parameters), text, value
    )


def _package(name: str, pinned: str) -> Package:
    try:
        installed: str | None = version(name)
    except PackageNotFoundError:
        installed = None
    folder = None
    if installed:
        try:
            spec = find_spec(_normal(name))
        except (ImportError, ValueError):
            spec = None
        if spec and spec.origin:
            folder = Path(spec.origin).parent.parent
    return Package(name, pinned, installed, folder)


def _normal(name: str) -> str:
    return name.lower().replace("-", "_").replace(".", "_")
