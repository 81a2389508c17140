"""`fastvideo/registry.py` as data: every `register_configs` call, in order.

Order is meaning there: the first detector that fires on the path *or* on the checkpoint's class name
wins (`_get_config_info`), so a registration knows its index.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass

from portspec.codegen.index.predicates import Predicate, Scope, compile_predicate, read_statement
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
    found: list[Registration] = []
    scope: Scope = {}
    for node in function.body if function else ():
        match node:
            case ast.Expr(value=ast.Call(func=ast.Name(id="register_configs")) as call):
                found.append(_registration(call, len(found), scope))
            case _:
                read_statement(node, scope)
    return tuple(found)


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
    detectors = _elements(given.get("model_detectors"))
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


def _elements(node: ast.expr | None) -> list[ast.expr]:
    return list(node.elts) if isinstance(node, (ast.List, ast.Tuple)) else []


def _name(node: ast.expr | None) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    return node.attr if isinstance(node, ast.Attribute) else None


def _text(node: ast.expr | None) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None
