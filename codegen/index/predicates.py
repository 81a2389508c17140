"""FastVideo's detectors as functions, without running FastVideo's code.

A detector is a lambda or a small nested function over one lower-cased string. Its syntax tree is checked
node by node against a short list (comparisons, boolean operators, `any` and `all`, methods of strings) and
only then compiled, with nothing else in reach. Whatever is not on the list makes the predicate opaque, and a
check says so instead of guessing.
"""

from __future__ import annotations
import __future__

import ast
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

Scope = dict[str, Any]
_METHODS = frozenset(
    {"lower", "upper", "strip", "startswith", "endswith", "replace", "split", "count"}
)
_BUILTINS = {"any": any, "all": all}
_ALLOWED = (
    ast.Constant,
    ast.Name,
    ast.Load,
    ast.Store,
    ast.Lambda,
    ast.arguments,
    ast.arg,
    ast.Tuple,
    ast.List,
    ast.Set,
    ast.BoolOp,
    ast.And,
    ast.Or,
    ast.UnaryOp,
    ast.Not,
    ast.IfExp,
    ast.Compare,
    ast.In,
    ast.NotIn,
    ast.Eq,
    ast.NotEq,
    ast.GeneratorExp,
    ast.ListComp,
    ast.comprehension,
    ast.Call,
    ast.keyword,
    ast.FunctionDef,
    ast.Return,
    ast.If,
    ast.Assign,
    ast.AnnAssign,
    ast.Expr,
    ast.Pass,
)
_FLAGS = (
    __future__.annotations.compiler_flag
)  # so that annotations, which may be anything, stay text
_FAILURES = (AttributeError, TypeError, KeyError, NameError, ValueError, IndexError, RecursionError)


@dataclass(frozen=True)
class Predicate:
    """A detector: its source, its line, and its meaning if that could be read."""

    source: str
    line: int
    _call: Callable[[str], Any] | None

    @property
    def is_opaque(self) -> bool:
        """Nothing can be said about when it fires."""
        return self._call is None

    def __call__(self, text: str) -> bool:
        """Tell whether it fires on a string; an opaque one never does."""
        return bool(self._call(text)) if self._call else False


def compile_predicate(node: ast.expr, scope: Scope) -> Predicate:
    """Compile an expression that yields a function of one string.

    Args:
        node: The expression.
        scope: What `read_statement` has found before it.
    """
    source = ast.unparse(node)
    try:
        _verify(node, scope)
        code = compile(ast.Expression(node), "<detector>", "eval", _FLAGS)
        function = eval(code, {"__builtins__": _BUILTINS, **scope})
        function("")
    except _FAILURES:
        return Predicate(source, node.lineno, None)
    return Predicate(source, node.lineno, function)


def read_statement(node: ast.stmt, scope: Scope) -> None:
    """Add what a statement binds (a nested helper, a named detector) to the scope, if it can be read."""
    try:
        _verify(node, scope)
        names: Scope = {"__builtins__": _BUILTINS, **scope}
        exec(compile(ast.Module([node], []), "<detector>", "exec"), names)
    except _FAILURES:
        return
    scope.update({k: v for k, v in names.items() if k != "__builtins__"})


def rebound(body: list[ast.stmt]) -> frozenset[str]:
    """Return the names of a function that hold one thing now and another then.

    A detector is called long after it was registered and sees what a name holds last, so nothing is known
    about a name that is bound twice, or anew in each round of a loop.
    """
    names = Counter(name for node in body for name in _bound(node))
    loops = [n for s in body for n in ast.walk(s) if isinstance(n, (ast.For, ast.While))]
    again = {name for loop in loops for name in _bound(loop)}
    return frozenset(again | {name for name, count in names.items() if count > 1})


def _bound(node: ast.AST) -> Iterator[str]:
    """Yield every name that a statement binds in the function that it stands in."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield node.name
        return
    if isinstance(node, (ast.Lambda, ast.GeneratorExp, ast.ListComp, ast.SetComp, ast.DictComp)):
        return
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    for child in ast.iter_child_nodes(node):
        yield from _bound(child)


def _verify(node: ast.AST, scope: Scope) -> None:
    """Raise ValueError unless every node is on the list and every name is known.

    A name is looked up when the detector gets to it, and `and` may keep it from there for a long time.
    """
    children = list(_evaluated(node))
    if unknown := _free_names(children) - scope.keys() - _BUILTINS.keys():
        raise ValueError(f"unknown: {sorted(unknown)}")
    for child in children:
        match child:
            case ast.Attribute(attr=name):
                if name not in _METHODS:
                    raise ValueError(name)
            case ast.FunctionDef(decorator_list=[_, *_]):
                raise ValueError("a decorator")
            case ast.Name(id=name) | ast.arg(arg=name) | ast.FunctionDef(name=name) if "__" in name:
                raise ValueError(name)
            case _ if not isinstance(child, _ALLOWED):
                raise ValueError(type(child).__name__)


def _free_names(nodes: list[ast.AST]) -> set[str]:
    """Return the names that are read, without those that the same source binds."""
    read = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    stored = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    arguments = {n.arg for n in nodes if isinstance(n, ast.arg)}
    return read - stored - arguments - {n.name for n in nodes if isinstance(n, ast.FunctionDef)}


def _evaluated(node: ast.AST) -> Iterator[ast.AST]:
    """Yield a node and what is below it, annotations left out."""
    yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _evaluated(child)
