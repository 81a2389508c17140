"""Pipeline classes under `fastvideo/pipelines/basic/`: their modules and their stages.

FastVideo imports every package there and keys each `EntryClass` by its class name, so a package without
an `__init__.py` does not exist and an `__init__.py`'s own `EntryClass` is not looked at.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from portspec.codegen.index.models import read_entry_classes
from portspec.pyfacts import literal
from portspec.tree import ClassRef, Tree, module_name

PIPELINES = "fastvideo/pipelines/basic/"


@dataclass(frozen=True)
class StageCall:
    """One `add_stage(...)`: the name it is held under, the class, and the arguments as written."""

    name: str
    stage: str
    args: tuple[tuple[str, str], ...]
    line: int


@dataclass(frozen=True)
class PipelineClass:
    """A pipeline class that the framework can find by name."""

    name: str
    path: str
    line: int
    modules: tuple[str, ...] | None
    stages: tuple[StageCall, ...]

    @property
    def package(self) -> str:
        """Return the folder below `basic/` that it lives in."""
        return self.path.removeprefix(PIPELINES).split("/", 1)[0]


def read_pipelines(tree: Tree) -> tuple[PipelineClass, ...]:
    """Read every pipeline class that the framework would discover."""
    return tuple(
        _pipeline(tree, entry.name, entry.path)
        for entry in read_entry_classes(tree, PIPELINES)
        if _is_discovered(tree, entry.path)
    )


def _is_discovered(tree: Tree, path: str) -> bool:
    parts = path.removeprefix(PIPELINES).split("/")
    folders = ["/".join(parts[:n]) for n in range(1, len(parts))]
    return (
        parts[-1] != "__init__.py"
        and bool(folders)
        and all(tree.exists(f"{PIPELINES}{folder}/__init__.py") for folder in folders)
    )


def _pipeline(tree: Tree, name: str, path: str) -> PipelineClass:
    found = tree.find_class(f"{module_name(path)[0]}:{name}")
    if found is None:
        return PipelineClass(name, path, 1, None, ())
    modules = next(filter(None, (_modules(base) for base in tree.bases(found))), None)
    return PipelineClass(name, path, found.facts.line, modules, read_stages(tree, found))


def _modules(found: ClassRef) -> tuple[str, ...] | None:
    assignment = found.facts.field("_required_config_modules")
    try:
        return tuple(literal(assignment.value)) if assignment else None
    except ValueError:
        return None


def read_stages(tree: Tree, found: ClassRef) -> tuple[StageCall, ...]:
    """Read the stages of the nearest class in the chain that adds any, in source order."""
    for base in tree.bases(found):
        rows = _stages_of(tree, base.path).get(base.facts.name)
        if rows:
            return tuple(
                StageCall(n, s, tuple((k, v) for k, v in args), line) for n, s, args, line in rows
            )
    return ()


def _stages_of(tree: Tree, path: str) -> dict[str, list[list[Any]]]:
    """Return the stages that each class of a file adds, remembered by the file's content."""

    def compute() -> dict[str, list[list[Any]]]:
        classes = [n for n in tree.ast(path).body if isinstance(n, ast.ClassDef)]
        return {
            node.name: [
                [c.name, c.stage, [list(a) for a in c.args], c.line] for c in _stage_calls(node)
            ]
            for node in classes
        }

    found: dict[str, list[list[Any]]] = tree.cache.memo(
        "stages", f"{path}\0{tree.sha(path)}", compute
    )
    return found


def _stage_calls(node: ast.ClassDef) -> Iterator[StageCall]:
    calls = [
        n
        for n in ast.walk(node)
        if isinstance(n, ast.Call)
        and isinstance(n.func, ast.Attribute)
        and n.func.attr == "add_stage"
    ]
    for call in sorted(calls, key=lambda c: (c.lineno, c.col_offset)):
        given = dict(zip(("stage_name", "stage"), call.args, strict=False))
        given |= {k.arg: k.value for k in call.keywords if k.arg}
        stage, name = given.get("stage"), given.get("stage_name")
        if isinstance(stage, ast.Call) and isinstance(name, ast.Constant):
            args = tuple((k.arg or "**", ast.unparse(k.value)) for k in stage.keywords)
            positional = tuple(("", ast.unparse(a)) for a in stage.args)
            yield StageCall(
                str(name.value), ast.unparse(stage.func), positional + args, call.lineno
            )
