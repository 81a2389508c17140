"""The hot-path review of the last phase, as static checks on the code that a port brings.

What is looked for, from FastVideo's add-model workflow (phase 11): constant tensors made inside sampling
loops, fresh noise buffers at every step, backend flags changed while sampling, and values written to
`batch.extra` that nobody reads. FastVideo's own shared stages are counted and do not fail a port.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portspec.codegen.gates import GateContext
from portspec.codegen.gates.import_boundary import production_files
from portspec.gates.result import Gate, Outcome

_CONSTANT_MAKERS = frozenset(
    {"tensor", "arange", "linspace", "zeros", "ones", "full", "eye", "empty"}
)
_PLACEMENT = frozenset({"device", "dtype"})  # where a tensor lies does not change what it holds
_BUFFER_MAKERS = frozenset({"zeros_like", "ones_like", "empty_like", "full_like"})
_NOISE_MAKERS = frozenset({"randn_like", "rand_like", "randint_like"})
_SHAPED_NOISE_MAKERS = frozenset({"randn", "rand", "randint"})
_SETUP = re.compile(r"^(__init__|load_\w+|initialize_\w+|setup_?\w*|_init_\w+|post_init)$")
# Calls that change the whole process; without `set_grad_enabled`, which is a context manager, too.
_SWITCH = re.compile(
    r"torch\.(backends\.[\w.]*\.?enable_\w+|use_deterministic_algorithms"
    r"|set_(?:float32_matmul_precision|deterministic_debug_mode|num_(?:interop_)?threads|flush_denormal"
    r"|default_(?:dtype|device|tensor_type)))"
)
_READERS = ("get", "pop", "setdefault")
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_LOOPS = (ast.For, ast.AsyncFor, ast.While)


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
        inputs=context.inputs(),
        timeout=120,
    )


def run(args: Mapping[str, Any]) -> Outcome:
    """Read the files and report what is found."""
    readers = set(_read_in(Path("fastvideo")))
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


def _read_in(root: Path) -> Iterator[str]:
    """Yield every key of `batch.extra` that some file of the package reads."""
    for path in root.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if "extra" in text:
            yield from read_keys(text)


def read_keys(text: str) -> Iterator[str]:
    """Yield every key of `batch.extra` that a source reads; when in doubt, it is read."""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return  # it is not the port's file, and reads nothing
    extras = _aliases(tree) | {"extra", "extras"}  # what a function is given is called so
    constants = _texts(tree)
    for node in ast.walk(tree):
        match node:
            case ast.Subscript(value=owner, slice=key, ctx=ast.Load()):
                pass
            case ast.AugAssign(target=ast.Subscript(value=owner, slice=key)):
                pass
            case ast.Compare(left=key, ops=[ast.In() | ast.NotIn()], comparators=[owner]):
                pass
            case ast.Call(func=ast.Attribute(value=owner, attr=name), args=[key, *_]) if (
                name in _READERS
            ):
                pass
            case _:
                continue
        found = _text(key) or constants.get(ast.unparse(key))
        if found and _is_extra(owner, extras):
            yield found


def _texts(tree: ast.Module) -> dict[str, str]:
    """Return the names of a module that stand for a text."""
    found: dict[str, str] = {}
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=str(text))):
                found[name] = text
    return found


def _text(node: ast.expr | None) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _aliases(tree: ast.AST) -> frozenset[str]:
    """Return the names that are bound to a batch's `extra`."""
    pairs: list[tuple[ast.expr, ast.expr | None]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            pairs += [(target, node.value) for target in node.targets]
        elif isinstance(node, (ast.AnnAssign, ast.NamedExpr)):
            pairs.append((node.target, node.value))
    return frozenset(
        target.id
        for target, value in pairs
        if isinstance(target, ast.Name) and value and _is_extra(value, frozenset())
    )


def _is_extra(node: ast.expr, aliases: frozenset[str]) -> bool:
    """Tell whether an expression is `batch.extra`, by that name or another."""
    match node:
        case ast.Name(id=name):
            return name in aliases
        case ast.Attribute(value=owner, attr="extra"):
            return ast.unparse(owner).lower().endswith("batch")
        case ast.Call(func=ast.Name(id="getattr"), args=[owner, ast.Constant(value="extra"), *_]):
            return ast.unparse(owner).lower().endswith("batch")
        case ast.BoolOp(values=values):
            return any(_is_extra(value, aliases) for value in values)
        case ast.NamedExpr(value=value):
            return _is_extra(value, aliases)
    return False


def review(text: str, readers: set[str]) -> Iterator[Finding]:
    """Yield the findings of one source.

    Args:
        text: The source.
        readers: Keys of `batch.extra` that something reads.
    """
    tree = ast.parse(text)
    named = _namer(tree)
    functions = (n for n in ast.walk(tree) if isinstance(n, _FUNCTIONS))
    # A loop within a loop, or a function within a function, is come by more than once.
    yield from dict.fromkeys(
        f for function in functions for f in _function(function, named, readers)
    )


Namer = Callable[[ast.expr], str]


def _namer(tree: ast.Module) -> Namer:
    """Return a function that gives an expression's dotted name, with what was imported from torch in full."""
    full: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            full |= {a.asname: a.name for a in node.names if a.asname and _is_torch(a.name)}
        elif isinstance(node, ast.ImportFrom) and _is_torch(node.module or "") and not node.level:
            full |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}

    def named(node: ast.expr) -> str:
        first, dot, rest = ast.unparse(node).partition(".")
        return f"{full.get(first, first)}{dot}{rest}"

    return named


def _is_torch(module: str) -> bool:
    return module.partition(".")[0] == "torch"


def _function(
    function: ast.FunctionDef | ast.AsyncFunctionDef, named: Namer, readers: set[str]
) -> Iterator[Finding]:
    setup = bool(_SETUP.match(function.name))
    extras = _aliases(function)
    for node in ast.walk(function):
        if isinstance(node, _LOOPS) and not setup:
            yield from _loop(node, named)
        if isinstance(node, (ast.Assign, ast.AugAssign, ast.Call)) and not setup:
            yield from _switched(node, named)
        for key in _written(node, extras):
            if key and key not in readers and isinstance(node, (ast.stmt, ast.expr)):
                message = f'batch.extra["{key}"] is written and nothing reads it'
                yield Finding("E723", node.lineno, message)


def _loop(loop: ast.For | ast.AsyncFor | ast.While, named: Namer) -> Iterator[Finding]:
    items = set() if isinstance(loop, ast.While) else _derived(loop)
    for node in (n for statement in loop.body for n in ast.walk(statement)):
        if not isinstance(node, ast.Call):
            continue
        owner, _, name = named(node.func).rpartition(".")
        if owner == "torch":
            yield from _made(node, name, items)


def _derived(loop: ast.For | ast.AsyncFor) -> set[str]:
    """Return the loop's own names and what is computed from them anew: rotary tables, one for each axis.

    What is carried from one round to the next, such as the latents, keeps its size.
    """
    found = _names(loop.target)
    for node in (n for statement in loop.body for n in ast.walk(statement)):
        match node:
            case ast.Assign(targets=[target], value=value):
                pass
            case ast.For(target=target, iter=value):
                pass
            case _:
                continue
        read, bound = _names(value), _names(target)
        found |= bound if read & found and not read & bound else set()
    return found


def _made(call: ast.Call, name: str, items: set[str]) -> Iterator[Finding]:
    """Yield what is wrong with making a tensor in a loop over these items."""
    if name in _CONSTANT_MAKERS and _is_constant(call):
        message = f"torch.{name} makes the same tensor at every step; hoist it"
        yield Finding("E720", call.lineno, message)
    elif name in _BUFFER_MAKERS and _is_same_buffer(call, items):
        message = f"torch.{name} makes a new buffer at every step; hoist it"
        yield Finding("E720", call.lineno, message)
    elif name in _NOISE_MAKERS or (name in _SHAPED_NOISE_MAKERS and not _is_per_item(call, items)):
        message = (
            f"torch.{name} makes a new buffer at every step; allocate it once and fill it in place"
        )
        yield Finding("E721", call.lineno, message)


def _is_same_buffer(call: ast.Call, items: set[str]) -> bool:
    """Tell whether a buffer is as large each time and holds the same: not one for each of the items."""
    filled = [*call.args[1:], *(k.value for k in call.keywords if k.arg == "fill_value")]
    return not _names(call) & items and all(_is_literal(value) for value in filled)


def _is_per_item(call: ast.Call, items: set[str]) -> bool:
    """Tell whether each item has a generator of its own: such a loop goes over requests, not over steps."""
    return any(_names(k.value) & items for k in call.keywords if k.arg == "generator")


def _names(node: ast.expr) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


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


def _switched(node: ast.Assign | ast.AugAssign | ast.Call, named: Namer) -> Iterator[Finding]:
    """Yield the switches of the whole process that a statement sets."""
    if isinstance(node, ast.Call):
        switches = [name for name in [named(node.func)] if _SWITCH.fullmatch(name)]
    else:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        switches = [name for name in map(named, targets) if name.startswith("torch.backends.")]
    for name in switches:
        message = f"{name} is set while sampling; set it once, where the model is loaded"
        yield Finding("E722", node.lineno, message)


def _written(node: ast.AST, extras: frozenset[str]) -> Iterator[str]:
    """Yield the keys of `batch.extra` that a node writes."""
    match node:
        case ast.Assign(targets=targets):
            for target in targets:
                if isinstance(target, ast.Subscript) and _is_extra(target.value, extras):
                    yield _text(target.slice)
        case ast.Call(func=ast.Attribute(value=owner, attr="update")) if _is_extra(owner, extras):
            yield from (k.arg for k in node.keywords if k.arg)
            for given in node.args:
                yield from _keys(given)
        case ast.AugAssign(target=owner, value=given) if _is_extra(owner, extras):
            yield from _keys(given)


def _keys(node: ast.expr) -> Iterator[str]:
    """Yield the keys of a dict that is written out."""
    match node:
        case ast.Dict(keys=keys):
            yield from (text for key in keys if (text := _text(key)))
        case ast.Call(func=ast.Name(id="dict"), keywords=keywords):
            yield from (k.arg for k in keywords if k.arg)
