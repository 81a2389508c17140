"""`presets.py` files: named sampling defaults, and which of them the registry registers."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from portspec.codegen.index.pipelines import PIPELINES
from portspec.codegen.index.registrations import REGISTRY
from portspec.pyfacts import literal
from portspec.tree import Tree


@dataclass(frozen=True)
class Preset:
    """One `InferencePreset(...)`; `defaults` holds each value's source text."""

    name: str
    family: str
    version: str
    path: str
    line: int
    variable: str
    listed: bool
    defaults: tuple[tuple[str, str], ...]

    @property
    def key(self) -> tuple[str, str, str]:
        """What the framework registers it under; a second one with the same key stops its import."""
        return (self.family, self.name, self.version)


@dataclass(frozen=True)
class PresetGroup:
    """One family's `ALL_PRESETS` as `_register_presets` imports it; `used` when it is in the tuple."""

    module: str
    alias: str
    line: int
    used: bool


def read_presets(tree: Tree) -> tuple[Preset, ...]:
    """Read the presets of every family, in path order."""
    paths = [p for p in tree.paths(PIPELINES) if p.endswith("/presets.py")]
    return tuple(preset for path in paths for preset in _presets(tree, path))


def _presets(tree: Tree, path: str) -> Iterator[Preset]:
    rows = tree.derived("presets", path, lambda: list(_rows(tree, path)))
    for name, family, version, line, variable, listed, defaults in rows:
        pairs = tuple((key, value) for key, value in defaults)
        yield Preset(name, family, version, path, line, variable, listed, pairs)


def _rows(tree: Tree, path: str) -> Iterator[list[Any]]:
    facts = tree.module(path)
    all_presets = facts.assignment("ALL_PRESETS")
    listed = _names(all_presets.value) if all_presets and all_presets.value else set()
    constants = {a.name: a.value for a in facts.assignments if a.value}
    for assignment in facts.assignments:
        text = assignment.value or ""
        if not text.startswith("InferencePreset("):
            continue
        call = ast.parse(text, mode="eval").body
        if not isinstance(call, ast.Call):
            continue
        given = {k.arg: k.value for k in call.keywords if k.arg}
        yield [
            _constant(given.get("name"), constants),
            _constant(given.get("model_family"), constants),
            _constant(given.get("version"), constants),
            assignment.line,
            assignment.name,
            assignment.name in listed,
            [list(pair) for pair in _defaults(given.get("defaults"), constants)],
        ]


def _names(text: str) -> set[str]:
    return {n.id for n in ast.walk(ast.parse(text, mode="eval")) if isinstance(n, ast.Name)}


def _constant(node: ast.expr | None, constants: Mapping[str, str | None]) -> str:
    if isinstance(node, ast.Name):
        try:
            return str(literal(constants.get(node.id)))
        except ValueError:
            return node.id
    return str(node.value) if isinstance(node, ast.Constant) else ""


def _defaults(
    node: ast.expr | None, constants: Mapping[str, str | None]
) -> Iterator[tuple[str, str]]:
    """Yield (key, source of the value), following `{**_SHARED, ...}` and `dict(_SHARED)`."""
    match node:
        case ast.Name(id=name):
            text = constants.get(name)
            yield from _defaults(ast.parse(text, mode="eval").body if text else None, constants)
        case ast.Call(func=ast.Name(id="dict"), args=[inner]):
            yield from _defaults(inner, constants)
        case ast.Dict(keys=keys, values=values):
            for key, value in zip(keys, values, strict=True):
                if key is None:
                    yield from _defaults(value, constants)
                elif isinstance(key, ast.Constant):
                    yield str(key.value), _value_text(value, constants)


def _value_text(node: ast.expr, constants: Mapping[str, str | None]) -> str:
    if isinstance(node, ast.Name):
        return constants.get(node.id) or node.id
    return ast.unparse(node)


def read_preset_groups(tree: Tree) -> tuple[PresetGroup, ...]:
    """Read which families' presets the registry imports and registers."""
    if not tree.exists(REGISTRY):
        return ()
    function = next(
        (
            node
            for node in tree.ast(REGISTRY).body
            if isinstance(node, ast.FunctionDef) and node.name == "_register_presets"
        ),
        None,
    )
    if function is None:
        return ()
    used = {
        name.id
        for node in function.body
        if isinstance(node, ast.Assign)
        for name in ast.walk(node.value)
        if isinstance(name, ast.Name)
    }
    return tuple(
        PresetGroup(
            node.module or "",
            alias.asname or alias.name,
            node.lineno,
            (alias.asname or alias.name) in used,
        )
        for node in function.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.name == "ALL_PRESETS"
    )
