"""FastVideo's detectors as functions, without running FastVideo's code.

A detector is a lambda or a small nested function over one lower-cased string. Its syntax tree is checked
node by node against a short list (comparisons, boolean operators, `any` and `all`, methods of strings) and
only then compiled, with nothing else in reach. Whatever is not on the list makes the predicate opaque, and a
check says so instead of guessing.
"""

from __future__ import annotations
import __future__

import ast
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
        _verify(node)
        code = compile(ast.Expression(node), "<detector>", "eval", _FLAGS)
        function = eval(code, {"__builtins__": _BUILTINS, **scope})
        function("")
    except _FAILURES:
        return Predicate(source, node.lineno, None)
    return Predicate(source, node.lineno, function)


def read_statement(node: ast.stmt, scope: Scope) -> None:
    """Add what a statement binds (a nested helper, a named detector) to the scope, if it can be read."""
    try:
        _verify(node)
        names: Scope = {"__builtins__": _BUILTINS, **scope}
        exec(compile(ast.Module([node], []), "<detector>", "exec"), names)
    except _FAILURES:
        return
    scope.update({k: v for k, v in names.items() if k != "__builtins__"})


def _verify(node: ast.AST) -> None:
    """Raise ValueError unless every node is on the list."""
    for child in _evaluated(node):
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


def _evaluated(node: ast.AST) -> Iterator[ast.AST]:
    """Yield a node and what is below it, annotations left out."""
    yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _evaluated(child)
