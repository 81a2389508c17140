"""The production import boundary: what is shipped imports no official model, no test and no portspec.

First the sources are read: no import of a model or pipeline class of the official libraries. Then the port's
modules are imported in a fresh interpreter in which the official modules cannot be imported at all.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from portspec.codegen.gates import GateContext
from portspec.gates.result import Gate, Outcome
from portspec.tree import module_name

_OFFICIAL = ("diffusers", "transformers")
_FOREIGN = ("portspec", "pytest", "tests", "fastvideo.tests")


def declare(context: GateContext) -> Iterator[Gate]:
    """Yield the gate."""
    files = production_files(context)
    definitions = context.port.definitions.values()
    blocked = sorted({d.ref.partition(":")[0] for d in definitions if d.kind == "class"})
    yield Gate(
        "import_boundary",
        "production code imports no official model",
        __name__,
        {
            "files": files,
            "blocked": [m for m in blocked if not _is_allowed(context, m)],
            "official": sorted({m.partition(".")[0] for m in blocked} | set(_OFFICIAL)),
            "hub": context.hub,
            "checkpoint": str(context.checkpoint),
        },
        after=("pipeline.parity", "pipeline.smoke"),
        inputs=context.inputs(__name__),
        env=context.test_env,
        timeout=300,
        fresh=True,
    )


def production_files(context: GateContext) -> list[str]:
    """Return the files below fastvideo/ that the port adds or builds on, its tests left out."""
    names, tree = context.names, context.index.tree
    paths = {names.config_path, names.pipeline_path, names.presets_path}
    for component in context.port.components.values():
        found = tree.find_class(component.native) if component.native else None
        if found:
            paths.add(found.path)
    pipeline = context.port.spec.pipeline
    for stage in pipeline.stages if pipeline else ():
        found = tree.find_class(stage.use)
        if found:
            paths.add(found.path)
    return sorted(p for p in paths if tree.exists(p))


def _is_allowed(context: GateContext, module: str) -> bool:
    """Tokenizers and schedulers hold no weights; FastVideo takes tokenizers from transformers."""
    kinds = {
        (c.spec.definition or ":").partition(":")[0]: c.spec.kind
        for c in context.port.components.values()
    }
    return kinds.get(module) in ("tokenizer", "processor", "scheduler")


class _Blocker(MetaPathFinder):
    """Refuses modules by name."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = frozenset(names)

    def find_spec(
        self,
        name: str,
        path: Sequence[str] | None = None,  # noqa: ARG002 - the interface's
        target: ModuleType | None = None,  # noqa: ARG002 - the interface's
    ) -> ModuleSpec | None:
        if name in self._names:
            raise ImportError(f"production code must run without {name}")
        return None


def run(args: Mapping[str, Any]) -> Outcome:
    """Import everything without the official modules, then look at what the sources import."""
    sys.meta_path.insert(0, _Blocker(args["blocked"]))
    for path in args["files"]:
        import_module(module_name(path)[0])
    from fastvideo.registry import get_model_info

    info = get_model_info(args["checkpoint"])
    print(f"{info.pipeline_cls.__name__} loads with {', '.join(args['blocked'])} out of reach")
    sys.meta_path.pop(0)
    for path in args["files"]:
        for line, module, symbol in imports(Path(path).read_text(encoding="utf-8")):
            problem = judge(module, symbol, args["official"])
            if problem:
                return Outcome("fail", f"{path}:{line}: {problem}")
    metrics = {"files": len(args["files"]), "blocked": len(args["blocked"])}
    message = f"{metrics['files']} files without {metrics['blocked']} official modules"
    return Outcome("pass", message, metrics)


def imports(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield (line, module, symbol) of every import in a source, those inside functions included."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                yield node.lineno, node.module, alias.name
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, ""


def judge(module: str, symbol: str, official: Sequence[str]) -> str:
    """Return why production code must not import this, or an empty text."""
    top = module.partition(".")[0]
    foreign = "fastvideo.tests" if f"{module}.{symbol}.".startswith("fastvideo.tests.") else top
    if foreign in _FOREIGN:
        return f"E711 production code imports {foreign}"
    if top not in official or not symbol:
        return ""
    import torch
    from diffusers import DiffusionPipeline

    found = getattr(import_module(module), symbol, None)
    if isinstance(found, type) and issubclass(found, (torch.nn.Module, DiffusionPipeline)):
        return f"E710 production code imports the official model class {module}.{symbol}"
    return ""
