"""The production import boundary: what is shipped imports no official model, no test and no portspec.

The port's modules are imported in a fresh interpreter in which the official modules cannot be imported at
all. Then the sources are read, since a function may import later what its module does not: no model or
pipeline class of the official libraries is imported or looked up, and no module that defines the port's own.
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
        inputs=context.inputs(),
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
        text = Path(path).read_text(encoding="utf-8")
        for line, module, symbol in sorted({*imports(text), *lookups(text)}):
            problem = judge(module, symbol, args["official"], args["blocked"])
            if problem:
                return Outcome("fail", f"{path}:{line}: {problem}")
    metrics = {"files": len(args["files"]), "blocked": len(args["blocked"])}
    message = f"{metrics['files']} files without {metrics['blocked']} official modules"
    return Outcome("pass", message, metrics)


def imports(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield (line, module, symbol) of every import in a source, those inside functions included.

    `import_module("name")` is an import, too.
    """
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                yield node.lineno, node.module, alias.name
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, ""
        elif isinstance(node, ast.Call) and (name := _imported(node)):
            yield node.lineno, name, ""


def lookups(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield (line, module, symbol) of what a source takes out of an imported module: `module.symbol`."""
    tree = ast.parse(text)
    bound = _bound_modules(tree)
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=owner, attr=symbol):
                pass
            case ast.Call(
                func=ast.Name(id="getattr"), args=[owner, ast.Constant(value=str(symbol)), *_]
            ):
                pass
            case _:
                continue
        for module in _modules_of(owner, bound):
            yield node.lineno, module, symbol


def _imported(call: ast.Call) -> str:
    """Return the module that `import_module("name")` or `__import__("name")` imports, or an empty text."""
    name = ast.unparse(call.func).rpartition(".")[2]
    match call.args:
        case [ast.Constant(value=str(module)), *_] if name in ("import_module", "__import__"):
            return module
    return ""


def _bound_modules(tree: ast.Module) -> dict[str, set[str]]:
    """Return what each name of a source may be bound to, in whatever function, as dotted names."""
    bound: dict[str, set[str]] = {}
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                for alias in names:
                    module = alias.name if alias.asname else alias.name.partition(".")[0]
                    bound.setdefault(alias.asname or module, set()).add(module)
            case ast.ImportFrom(module=str(module), level=0, names=names):
                for alias in names:
                    path = f"{module}.{alias.name}"
                    bound.setdefault(alias.asname or alias.name, set()).add(path)
    for node in ast.walk(tree):
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.NamedExpr(target=ast.Name(id=name), value=value)
            ):
                bound.setdefault(name, set()).update(_modules_of(value, bound))
    return bound


def _modules_of(node: ast.expr, bound: Mapping[str, set[str]]) -> list[str]:
    """Return what an expression may stand for, if it is a module, as dotted names."""
    match node:
        case ast.Name(id=name):
            return sorted(bound.get(name, ()))
        case ast.Attribute(value=owner, attr=name):
            return [f"{module}.{name}" for module in _modules_of(owner, bound)]
        case ast.Call():
            module = _imported(node)
            return [module] if module else []
    return []


def judge(module: str, symbol: str, official: Sequence[str], blocked: Sequence[str] = ()) -> str:
    """Return why production code must not import this, or an empty text.

    Args:
        module: The module that is imported, or that something is taken out of.
        symbol: What is taken out of it; empty for the module itself.
        official: Names of the official packages.
        blocked: Modules that define the official classes that the port stands in for.
    """
    top = module.partition(".")[0]
    foreign = "fastvideo.tests" if f"{module}.{symbol}.".startswith("fastvideo.tests.") else top
    if foreign in _FOREIGN:
        return f"E711 production code imports {foreign}"
    if defining := {module, f"{module}.{symbol}"} & set(blocked):
        return f"E710 production code imports {defining.pop()}, which defines an official model"
    if top not in official or not symbol:
        return ""
    if symbol == "*":
        return f"E710 production code imports everything that {module} has, its models included"
    if _is_model(module, symbol):
        return f"E710 production code imports the official model class {module}.{symbol}"
    return ""


def _is_model(module: str, symbol: str) -> bool:
    import torch
    from diffusers import DiffusionPipeline

    try:
        found = getattr(import_module(module), symbol, None)
    except ImportError:  # it is no module: a method is looked up on a class
        return False
    return isinstance(found, type) and issubclass(found, (torch.nn.Module, DiffusionPipeline))
