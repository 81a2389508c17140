"""The hot-path review of the last phase, as static checks on the code that a port brings.

What is looked for, from FastVideo's add-model workflow (phase 11): constant tensors made inside sampling
loops, fresh noise buffers at every step, backend flags changed while sampling, and values written to
`batch.extra` that nobody reads. FastVideo's own shared stages are counted and do not fail a port.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portspec.codegen.gates import GateContext
from portspec.codegen.gates.import_boundary import production_files
from portspec.gates.result import Gate, Outcome

_CONSTANT_MAKERS = frozenset({"tensor", "arange", "linspace", "zeros", "ones", "full", "eye"})
_PLACEMENT = frozenset({"device", "dtype"})  # where a tensor lies does not change what it holds
_NOISE_MAKERS = frozenset({"randn_like", "rand_like"})
_SETUP = re.compile(r"^(__init__|load_\w+|initialize_\w+|setup_?\w*|_init_\w+|post_init)$")
_READ = re.compile(r"batch\.extra(?:\.get\(|\.pop\(|\[)\s*[\"'](\w+)[\"']")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to mend, with the code of its page."""

    code: str
    line: int
    message: str


def declare(context: GateContext) -> Iterator[Gate]:
    """Yield the gate over the port's own files, and FastVideo's that it runs through."""
    names, files = context.names, production_files(context)
    bespoke = {
        s.use
        for s in (context.port.spec.pipeline.stages if context.port.spec.pipeline else ())
        if s.bespoke
    }
    ported = {c.spec.port.file for c in context.port.components.values() if c.spec.port}
    own = {names.pipeline_path, names.config_path, *ported}
    for ref in bespoke:
        found = context.index.tree.find_class(ref)
        own |= {found.path} if found else set()
    yield Gate(
        "hot_path",
        "nothing wasteful in the sampling loop",
        __name__,
        {"own": sorted(own & set(files)), "shared": sorted(set(files) - own)},
        after=("pipeline.parity", "pipeline.smoke"),
        inputs=context.inputs(__name__),
        timeout=120,
    )


def run(args: Mapping[str, Any]) -> Outcome:
    """Read the files and report what is found."""
    readers = set(_read_keys(Path("fastvideo")))
    shared = sum(len(list(_findings(path, readers))) for path in args["shared"])
    found = [(path, f) for path in args["own"] for f in _findings(path, readers)]
    for path, finding in found:
        print(f"{path}:{finding.line}: {finding.code} {finding.message}")
    metrics = {
        "own_files": len(args["own"]),
        "shared_files": len(args["shared"]),
        "in_shared_files": shared,
    }
    if found:
        path, first = found[0]
        return Outcome("fail", f"{path}:{first.line}: {first.code} {first.message}", metrics)
    return Outcome("pass", f"{metrics['own_files']} files of the port are clean", metrics)


def _findings(path: str, readers: set[str]) -> Iterator[Finding]:
    yield from review(Path(path).read_text(encoding="utf-8"), readers)


def _read_keys(root: Path) -> Iterator[str]:
    """Yield every key of `batch.extra` that some file of the package reads."""
    for path in root.rglob("*.py"):
        for line in path.read_text(encoding="utf-8").splitlines():
            for found in _READ.finditer(line):
                assigned = re.match(r"\s*=[^=]", line[found.end() :].lstrip("]) "))
                if not assigned:
                    yield found[1]


def review(text: str, readers: set[str]) -> Iterator[Finding]:
    """Yield the findings of one source.

    Args:
        text: The source.
        readers: Keys of `batch.extra` that something reads.
    """
    functions = (n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef))
    # A loop within a loop, or a function within a function, is come by more than once.
    yield from dict.fromkeys(f for function in functions for f in _function(function, readers))


def _function(function: ast.FunctionDef, readers: set[str]) -> Iterator[Finding]:
    setup = bool(_SETUP.match(function.name))
    for node in ast.walk(function):
        if isinstance(node, (ast.For, ast.While)) and not setup:
            yield from _loop(node)
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                yield from _assignment(ast.unparse(target), target, setup, readers)


def _loop(loop: ast.For | ast.While) -> Iterator[Finding]:
    for node in (n for statement in loop.body for n in ast.walk(statement)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        owner, name = ast.unparse(node.func.value), node.func.attr
        if owner != "torch":
            continue
        if name in _CONSTANT_MAKERS and _is_constant(node):
            yield Finding(
                "E720", node.lineno, f"torch.{name} makes the same tensor at every step; hoist it"
            )
        elif name in _NOISE_MAKERS:
            message = f"torch.{name} makes a new buffer at every step; allocate it once and fill it in place"
            yield Finding("E721", node.lineno, message)


def _is_constant(call: ast.Call) -> bool:
    """Tell whether a call makes the same tensor each time: `torch.tensor([t])` does not."""
    values = [*call.args, *(k.value for k in call.keywords if k.arg not in _PLACEMENT)]
    return all(_is_literal(value) for value in values)


def _is_literal(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except ValueError:
        return False
    return True


def _assignment(target: str, node: ast.expr, setup: bool, readers: set[str]) -> Iterator[Finding]:
    if target.startswith("torch.backends.") and not setup:
        message = f"{target} is set while sampling; set it once, where the model is loaded"
        yield Finding("E722", node.lineno, message)
    key = re.fullmatch(r"batch\.extra\['(\w+)'\]", target)
    if key and key[1] not in readers:
        yield Finding(
            "E723", node.lineno, f'batch.extra["{key[1]}"] is written and nothing reads it'
        )
