"""Texts that become code: arithmetic on what the config holds, and types; nothing else gets through."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator

from portspec.errors import Diagnostic
from portspec.port import Port

_NODES = (
    *(ast.Expression, ast.BinOp, ast.operator, ast.UnaryOp, ast.unaryop, ast.Compare, ast.cmpop),
    *(ast.BoolOp, ast.boolop, ast.IfExp, ast.Constant, ast.Name, ast.Load, ast.Subscript),
    *(ast.Slice, ast.Tuple, ast.List, ast.Call),
)
_FUNCTIONS = frozenset(
    ("bool", "float", "int", "len", "list", "max", "min", "round", "sum", "tuple")
)
_TYPES = frozenset(("bool", "dict", "float", "int", "list", "str", "tuple"))


def check(port: Port) -> Iterator[Diagnostic]:
    """E105 a text that is no such expression, and a file that is no module."""
    for name, component in port.spec.components.items():
        if component.port is None:
            continue
        module = component.port.file.removesuffix(".py").split("/")
        if not all(part.isidentifier() for part in module):
            remedy = "Name a Python file in a package, as `fastvideo/models/dits/name.py`."
            message = f"Python cannot import {component.port.file}"
            yield port.complain("E105", message, ("components", name, "port", "file"), remedy)
        given = component.instantiation.args if component.instantiation else {}
        known = {*given, *component.port.derived, *_FUNCTIONS}
        for key, text in component.port.derived.items():
            if problem := _problem(text, known):
                remedy = f"Write arithmetic on keys of the published config: {', '.join(given)}."
                path = ("components", name, "port", "derived", key)
                yield port.complain("E105", f"{key} is malformed: {problem}", path, remedy)
    for name, parameter in port.spec.sampling_params.items():
        if problem := _problem(parameter.type, _TYPES):
            remedy = f"Write a type such as `float | None`, made of {', '.join(sorted(_TYPES))}."
            message = f"the type of {name} is malformed: {problem}"
            yield port.complain("E105", message, ("sampling_params", name, "type"), remedy)


def _problem(text: str, known: Collection[str]) -> str:
    """Say why a text is not an expression of these names, or nothing when it is."""
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return f"{text[:60]!r} is no expression"
    for node in ast.walk(tree):
        if not isinstance(node, _NODES):
            return f"`{ast.unparse(node)}` may not stand there"
        if isinstance(node, ast.Name) and node.id not in known:
            return f"{node.id} is unknown there"
    return ""
