"""Measure conversion beside `cp` of the same bytes, and beside loading and saving, in the same run.

`BENCH_GB=16` sets the size of the checkpoint; memory must not grow with it.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from portspec.weights.engine.rules import Rule
    from portspec.weights.engine.write import Job

ROOT = Path(__file__).parent.parent
GIGABYTES = float(os.environ.get("BENCH_GB", "4"))
ROUNDS = 3
MEMORY = 150  # MB
WIDTH = 2048

# Each says in a process of its own what it is called for: argv is the source, the output, the kind.
_OURS = """
import sys
from pathlib import Path
from tests.bench_weights import job
from portspec.weights.engine.write import write
write(job(Path(sys.argv[1]), sys.argv[3]), Path(sys.argv[2]))
"""
_LOAD_AND_SAVE = """
import sys
from pathlib import Path
from safetensors.torch import load_file, save_file
Path(sys.argv[2]).mkdir()
save_file(load_file(sys.argv[1]), sys.argv[2] + "/model.safetensors")
"""
_DIFFUSERS = """
import sys
from pathlib import Path
from unittest import mock
import diffusers.loaders
from safetensors.torch import load_file, save_file
with mock.patch("diffusers.utils.is_transformers_available", lambda: False):
    from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers
Path(sys.argv[2]).mkdir()
converted = convert_wan_transformer_to_diffusers(load_file(sys.argv[1]))
save_file(converted, sys.argv[2] + "/model.safetensors")
"""


Line = tuple[str, float, float, float, str]  # name, ratio, bar, seconds, peer


# A process's own peak: what the kernel tells of a child includes what it was forked from.
_MEMORY = """
print([row.split()[1] for row in open("/proc/self/status") if row.startswith("VmHWM")][0])
"""


class Measured(NamedTuple):
    """Median seconds, and the most memory that one run took, in MB."""

    seconds: float
    megabytes: float


def rows(folder: Path, released: Path) -> Iterator[Line]:
    """Yield every measurement; `released` is FastVideo's tree, whose own renaming is a peer."""
    yield from _planning(released)
    yield _suggesting()
    for kind, name, bar in (
        ("rename", "convert, renames", 1 / 0.9),
        ("split", "convert, first-axis split and concat", 1 / 0.9),
        ("cast", "convert, cast to bf16", 1 / 0.7),
    ):
        source = folder / f"{kind}.safetensors"
        make_checkpoint(source, "split" if kind == "split" else "rename")
        mine, copied = _beside(folder, source, kind)
        size = f"cp of the same {GIGABYTES:g} GB"
        yield name, mine.seconds / copied.seconds, bar, mine.seconds, size
        yield f"{name}: memory", mine.megabytes / MEMORY, 1, mine.seconds, f"{MEMORY} MB"
        if kind == "rename":
            yield from _others(folder, source, mine)
        source.unlink()


def _planning(released: Path) -> Iterator[Line]:
    """Route a million names by Wan's rules, and a part of them by FastVideo's own function."""
    from portspec.weights.engine.names import Names

    rules = _own_table(released)
    blocks = [name for name in _published() if ".0." in name]
    names = [n.replace(".0.", f".{i}.", 1) for i in range(1_000_000 // len(blocks)) for n in blocks]
    mine = _seconds(lambda: Names([(pattern, [to]) for pattern, to in rules.items()]).routes(names))
    mapped = _own_mapping(released)(rules)
    sample = names[:: len(names) // 50_000]
    theirs = _seconds(lambda: [mapped(name) for name in sample]) * len(names) / len(sample)
    yield "a million names routed", mine / 1.0, 1, mine, "one second"
    yield "a million names routed", mine / theirs, 0.1, mine, "get_param_names_mapping"


def _suggesting() -> Line:
    """Suggest a mapping for the pair that takes longest."""
    from portspec.weights.suggestion import suggest
    from tests import surfaces

    pairs = [surfaces.read(name) for name in surfaces.names()]
    slowest = max(_seconds(lambda p=p: suggest(p.source, p.target)) for p in pairs)  # type: ignore[misc]
    return "map suggest, slowest of all pairs", slowest / 10, 1, slowest, "ten seconds"


def _seconds(call: Callable[[], object]) -> float:
    found = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def _own_table(released: Path) -> dict[str, str]:
    """Return the table of FastVideo's Wan transformer."""
    path = released / "fastvideo/configs/models/dits/wanvideo.py"
    tables = [
        ast.literal_eval(node)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Dict) and len(node.keys) > 15
    ]
    found: dict[str, str] = max(tables, key=len)
    return found


def _published() -> list[str]:
    """Return the names of a diffusers checkpoint of Wan: what our rules make of the authors' own."""
    from portspec.weights.engine.rules import RuleSet

    facts = json.loads((ROOT / "tests/conversions/wan_t2v.json").read_text(encoding="utf-8"))
    return [
        texts[0] if texts else n
        for n, (_, *texts) in zip(facts, RuleSet(_wan_rules()).routes(list(facts)), strict=True)
    ]


def _own_mapping(released: Path) -> Callable[..., Callable[[str], object]]:
    """Return FastVideo's own function, taken out of a module that needs much to be imported."""
    text = (released / "fastvideo/models/loader/utils.py").read_text(encoding="utf-8")
    wanted = [
        node
        for node in ast.parse(text).body
        if isinstance(node, ast.FunctionDef) and node.name == "get_param_names_mapping"
    ]
    names = {"re": re, "Callable": Callable, "Any": object}
    exec(compile(ast.Module(wanted, []), "utils.py", "exec"), names)
    found = names["get_param_names_mapping"]
    assert callable(found)
    return found  # type: ignore[return-value]


def _others(folder: Path, source: Path, mine: Measured) -> Iterator[Line]:
    for script, peer in ((_LOAD_AND_SAVE, "load and save"), (_DIFFUSERS, "diffusers' converter")):
        theirs = _measure(lambda s=script: _run(s, source, folder / "out", "rename"), folder, 1)
        name = f"convert, renames: {mine.megabytes:.0f} MB, they {theirs.megabytes:.0f} MB"
        yield name, mine.seconds / theirs.seconds, 1, mine.seconds, peer


def _beside(folder: Path, source: Path, kind: str) -> tuple[Measured, Measured]:
    """Time the conversion and `cp` in turn, so that both meet the same machine."""
    mine, theirs = [], []
    for _ in range(ROUNDS):
        theirs.append(_measure(lambda: _copy(source, folder / "out"), folder, 1))
        mine.append(_measure(lambda: _run(_OURS, source, folder / "out", kind), folder, 1))
    return _median(mine), _median(theirs)


def _median(found: list[Measured]) -> Measured:
    seconds = statistics.median(row.seconds for row in found)
    return Measured(seconds, max(row.megabytes for row in found))


def _measure(call: Callable[[], float], folder: Path, rounds: int) -> Measured:
    found = []
    for _ in range(rounds):
        shutil.rmtree(folder / "out", ignore_errors=True)
        os.sync()  # what earlier runs left to write is not this one's
        start = time.perf_counter()
        memory = call()
        found.append(Measured(time.perf_counter() - start, memory))
    shutil.rmtree(folder / "out", ignore_errors=True)
    return _median(found)


def _copy(source: Path, out: Path) -> float:
    out.mkdir()
    subprocess.run(["cp", "--reflink=never", source, out], check=True)
    return 0.0


def _run(script: str, source: Path, out: Path, kind: str) -> float:
    """Run a script in a process of its own, and return its peak memory."""
    command = [sys.executable, "-c", script + _MEMORY, str(source), str(out), kind]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    return int(told.split()[-1]) / 1024


def make_checkpoint(path: Path, kind: str) -> None:
    """Write a checkpoint of the wanted size, its numbers anything but equal, without holding it in memory."""
    from portspec.weights.engine.safetensors_file import make_header, storage_order
    from portspec.weights.engine.tensors import TensorType

    shapes = _rename_block() if kind == "rename" else _split_block()
    one = {f"blocks.0.{name}": TensorType("F32", shape) for name, shape in shapes.items()}
    blocks = max(1, round(GIGABYTES * 1e9 / sum(kind.nbytes for kind in one.values())))
    types = {
        f"blocks.{index}.{name}": TensorType("F32", shape)
        for index in range(blocks)
        for name, shape in shapes.items()
    }
    names = storage_order(types)
    noise = os.urandom(2**22).replace(b"\xff", b"\x3f")
    with path.open("wb") as file:
        file.write(make_header(names, types))
        for name in names:
            left = types[name].nbytes
            while left:
                left -= file.write(noise[: min(left, len(noise))])


def _rename_block() -> dict[str, tuple[int, ...]]:
    facts = json.loads((ROOT / "tests/conversions/wan_t2v.json").read_text(encoding="utf-8"))
    names = [name.removeprefix("blocks.0.") for name in facts if name.startswith("blocks.0.")]
    return {
        n: (WIDTH, WIDTH) if n.endswith("weight") and "norm" not in n else (WIDTH,) for n in names
    }


def _split_block() -> dict[str, tuple[int, ...]]:
    return {
        "qkv.weight": (3 * WIDTH, WIDTH),
        "gate.weight": (4 * WIDTH, WIDTH),
        "up.weight": (4 * WIDTH, WIDTH),
        "out.weight": (WIDTH, WIDTH),
    }


def job(source: Path, kind: str) -> Job:
    """Plan one conversion."""
    from portspec.weights.engine.layout import lay_out
    from portspec.weights.engine.ops.split import Split
    from portspec.weights.engine.rules import Join, Rule, RuleSet, Value, cast
    from portspec.weights.engine.sources import read_tensors
    from portspec.weights.engine.write import Job

    if kind == "split":
        parts = tuple(rf"layers.\1.to_{part}.weight" for part in "qkv")
        rules = [
            Rule(r"^blocks\.(\d+)\.qkv\.weight$", parts, (Split(3),)),
            Rule(
                r"^blocks\.(\d+)\.gate\.weight$",
                (r"layers.\1.gate_up",),
                (),
                Join("concat", "0", 2),
            ),
            Rule(
                r"^blocks\.(\d+)\.up\.weight$", (r"layers.\1.gate_up",), (), Join("concat", "1", 2)
            ),
            Rule(r"^blocks\.(\d+)\.out\.weight$", (r"layers.\1.out.weight",)),
        ]
    else:
        rules = _wan_rules()
    outputs = RuleSet(rules).apply(read_tensors(source)).outputs
    if kind == "cast":
        rows = dict(cast(outputs, "BF16", []))
        outputs = {name: value for name, value in rows.items() if isinstance(value, Value)}
    (shard,) = lay_out(outputs, "model", 10**12)
    return Job({shard.file: shard}, {shard.file: outputs})


def _wan_rules() -> list[Rule]:
    from portspec.weights.engine.rules import Rule

    return [
        Rule(r"^blocks\.(\d+)\.self_attn\.([qkv])\.(\w+)$", (r"blocks.\1.attn1.to_\2.\3",)),
        Rule(r"^blocks\.(\d+)\.self_attn\.o\.(\w+)$", (r"blocks.\1.attn1.to_out.0.\2",)),
        Rule(r"^blocks\.(\d+)\.cross_attn\.([qkv])\.(\w+)$", (r"blocks.\1.attn2.to_\2.\3",)),
        Rule(r"^blocks\.(\d+)\.cross_attn\.o\.(\w+)$", (r"blocks.\1.attn2.to_out.0.\2",)),
        Rule(r"^blocks\.(\d+)\.norm3\.(\w+)$", (r"blocks.\1.norm2.\2",)),
        Rule(r"^blocks\.(\d+)\.ffn\.0\.(\w+)$", (r"blocks.\1.ffn.net.0.proj.\2",)),
        Rule(r"^blocks\.(\d+)\.ffn\.2\.(\w+)$", (r"blocks.\1.ffn.net.2.\2",)),
        Rule(r"^(blocks\.\d+\.)modulation$", (r"\1scale_shift_table",)),
    ]
