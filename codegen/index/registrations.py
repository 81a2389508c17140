"""`fastvideo/registry.py` as data: every `register_configs` call, in order.

Order is meaning there: the first detector that fires on the path *or* on the checkpoint's class name
wins (`_get_config_info`), so a registration knows its index. One under a condition is read like any other:
on some machine it is there.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from portspec.codegen.index.predicates import (
    Predicate,
    Scope,
    compile_predicate,
    read_statement,
    rebound,
)
from portspec.tree import Tree

REGISTRY = "fastvideo/registry.py"


@dataclass(frozen=True)
class Registration:
    """One `register_configs(...)` call."""

    index: int
    line: int
    config: str | None
    workloads: tuple[str, ...]
    hub: tuple[tuple[str, int], ...]  # (id, line)
    detectors: tuple[Predicate, ...]
    family: str | None
    preset: str | None
    pipeline: str | None
    sampling: str | None

    @property
    def effect(self) -> tuple[str | None, ...]:
        """What a user gets from it; two registrations with the same effect are interchangeable."""
        return (self.config, self.family, self.preset, self.pipeline, self.sampling)

    @property
    def label(self) -> str:
        """A short name for people."""
        return self.preset or self.config or f"registration {self.index}"

    def fires_on(self, text: str) -> bool:
        """Tell whether any of its detectors fires on a lower-cased string."""
        return any(detector(text) for detector in self.detectors)


def read_registrations(tree: Tree) -> tuple[Registration, ...]:
    """Read the registrations of a tree; a tree without a registry has none."""
    if not tree.exists(REGISTRY):
        return ()
    function = next(
        (
            node
            for node in tree.ast(REGISTRY).body
            if isinstance(node, ast.FunctionDef) and node.name == "_register_configs"
        ),
        None,
    )
    return tuple(_registrations(function.body)) if function else ()


def _registrations(body: list[ast.stmt]) -> Iterator[Registration]:
    """Yield the registrations of a function, those inside other statements included."""
    scope: Scope = {}
    unknown = rebound(body)
    index = 0
    for node in _statements(body):
        match node:
            case ast.Expr(value=ast.Call(func=ast.Name(id="register_configs")) as call):
                yield _registration(call, index, scope)
                index += 1
            case _:
                read_statement(node, scope)
                for name in unknown:
                    scope.pop(name, None)


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield statements in the order of the source, each before those that stand inside it.

    What a function or a class holds is its own: it does not run where it stands.
    """
    for node in body:
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            for block in _blocks(node):
                yield from _statements(block)


def _blocks(node: ast.stmt) -> Iterator[list[ast.stmt]]:
    """Yield the bodies of a statement such as `if`, `for`, `with`, `try` or `match`."""
    for _, value in ast.iter_fields(node):
        parts = value if isinstance(value, list) else []
        if parts and isinstance(parts[0], ast.stmt):
            yield parts
        yield from (p.body for p in parts if isinstance(p, (ast.ExceptHandler, ast.match_case)))


_POSITIONAL = (
    "sampling_param_cls",
    "pipeline_config_cls",
    "workload_types",
    "hf_model_paths",
    "model_detectors",
    "model_family",
    "default_preset",
    "pipeline_cls_name",
)


def _registration(call: ast.Call, index: int, scope: Scope) -> Registration:
    given = dict(zip(_POSITIONAL, call.args, strict=False))
    given |= {k.arg: k.value for k in call.keywords if k.arg}
    detectors = [*_elements(given.get("model_detectors")), *_unread(call, given)]
    return Registration(
        index=index,
        line=call.lineno,
        config=_name(given.get("pipeline_config_cls")),
        workloads=tuple(_name(w) or "" for w in _elements(given.get("workload_types"))),
        hub=tuple(
            (w.value, w.lineno)
            for w in _elements(given.get("hf_model_paths"))
            if isinstance(w, ast.Constant) and isinstance(w.value, str)
        ),
        detectors=tuple(compile_predicate(d, scope) for d in detectors),
        family=_text(given.get("model_family")),
        preset=_text(given.get("default_preset")),
        pipeline=_text(given.get("pipeline_cls_name")),
        sampling=_name(given.get("sampling_param_cls")),
    )


def _unread(call: ast.Call, given: dict[str, ast.expr]) -> Iterator[ast.expr]:
    """Yield what may hold detectors and is no list of them: they are there, and nobody can read them."""
    yield from (k.value for k in call.keywords if k.arg is None)
    yield from (a for a in call.args if isinstance(a, ast.Starred))
    node = given.get("model_detectors")
    if node is not None and not isinstance(node, (ast.List, ast.Tuple, ast.Constant)):
        yield node


def _elements(node: ast.expr | None) -> list[ast.expr]:
    return list(node.elts) if isinstance(node, (ast.List, ast.Tuple)) else []


def _name(node: ast.expr | None) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    return node.attr if isinstance(node, ast.Attribute) else None


def _text(node: ast.expr | None) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None
