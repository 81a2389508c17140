"""Measure how long commands take, as ratios beside a peer in the same run: machines are noisy.

The peer of a command is a bare `python -c pass`, started in turn with it; that of an edit is LibCST reading
and writing the same file; those of a conversion are in bench_weights.py. docs/design.md has the bars.
`BENCH_JSON=path` writes the rows as data, in the form of schemas/bench.v1.json.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path

from portspec.backend import Target, backends
from portspec.cache import Cache
from portspec.edits import apply_edits
from portspec.edits.call_statement import CallStatement
from portspec.judge import judge
from portspec.target import fetch
from portspec.tree import Tree
from tests import bench_weights

ROOT = Path(__file__).parent.parent
SPEC = "specs/skyreels_v2.yaml"
BARE = "python -c pass"
ROUNDS = 9


@dataclass(frozen=True)
class Row:
    """One measurement, as in schemas/bench.v1.json."""

    name: str
    ratio: float
    bar: float
    ok: bool
    seconds: float
    peer: str


def main() -> int:
    """Print a table; exit 1 when a ratio is above its bar."""
    with tempfile.TemporaryDirectory() as folder:
        rows = [_shown(row) for row in _rows(Path(folder).resolve())]
    if path := os.environ.get("BENCH_JSON"):
        Path(path).write_text(json.dumps([asdict(r) for r in rows], indent=2) + "\n", "utf-8")
    return 0 if all(row.ok for row in rows) else 1


def _rows(folder: Path) -> Iterator[Row]:
    tree = _workplace(folder)
    check = ("check", SPEC, "--target", "FastVideo")
    build = ("build", SPEC, "--target", "FastVideo", "--no-gates")
    run = _runner(folder)
    yield _beside_python("--help", 5, lambda: run("--help"))
    run(*check)
    yield _beside_python("check, nothing changed", 12.5, lambda: run(*check))
    edit = _editor(folder / SPEC)
    yield _beside_python("check, spec edited", 50, lambda: run(*check), edit)
    run(*build)
    yield _beside_python("build without gates, spec edited", 50, lambda: run(*build), edit)
    yield _beside_python("build, nothing changed", 15, lambda: run(*build))
    fresh = (folder / f"cache-{n}" for n in count())
    run_cold = _runner(folder, lambda: {"PORTSPEC_CACHE": str(next(fresh))})
    yield _beside_python("check, nothing cached", 100, lambda: run_cold(*check))
    yield _registry_edit(tree, folder)
    for name, ratio, bar, seconds, peer in bench_weights.rows(folder, tree):
        yield Row(name, round(ratio, 2), bar, ratio <= bar, round(seconds, 4), peer)


def _workplace(folder: Path) -> Path:
    shutil.copytree(ROOT / "specs", folder / "specs")
    return Path(shutil.copytree(fetch(backends()[0].default_target, print), folder / "FastVideo"))


def _runner(folder: Path, variables: Callable[[], dict[str, str]] = dict) -> Callable[..., None]:
    """Return a function that runs the command line; it must succeed.

    Bytecode is kept between runs, as Python does unless told otherwise: compiling portspec is not its speed.
    """
    own = {
        "PORTSPEC_CACHE": str(folder / "cache"),
        "PYTHONDONTWRITEBYTECODE": "",
        "PYTHONPYCACHEPREFIX": str(folder / "bytecode"),
    }

    def run(*arguments: str) -> None:
        subprocess.run(
            [Path(sys.executable).with_name("portspec"), *arguments],
            cwd=folder,
            env={**os.environ, **own, **variables()},
            check=True,
            capture_output=True,
        )

    return run


def _editor(spec: Path) -> Callable[[], None]:
    """Return a function that changes the spec in a way that no run has seen before."""
    text = spec.read_text("utf-8")
    old = "story: I want a short cinematic clip"
    assert text.count(old) == 1
    numbers = count()
    return lambda: spec.write_text(text.replace(old, f"{old} {next(numbers)}"), "utf-8") and None


def _beside_python(
    name: str, bar: float, subject: Callable[[], None], before: Callable[[], None] = lambda: None
) -> Row:
    def bare() -> None:
        subprocess.run([sys.executable, "-c", "pass"], check=True)

    return _compare(name, bar, subject, bare, BARE, before)


def _registry_edit(root: Path, folder: Path) -> Row:
    """Put a registration into FastVideo's registry, which is 1,500 lines."""
    cache = Cache()
    tree = Tree(root, cache)
    edits = judge(folder / SPEC, Target(tree, cache)).edits
    registration = next(e for e in edits if isinstance(e, CallStatement))
    released = fetch(backends()[0].default_target, print)
    text = (released / registration.path).read_text("utf-8")

    def edit() -> None:
        assert apply_edits(text, [registration]) != text

    def round_trip() -> None:
        import libcst

        assert libcst.parse_module(text).code == text

    edit()
    return _compare("registry edit", 1.5, edit, round_trip, "LibCST parsing and writing the file")


def _compare(
    name: str,
    bar: float,
    subject: Callable[[], None],
    peer: Callable[[], None],
    peer_name: str,
    before: Callable[[], None] = lambda: None,
) -> Row:
    """Time both in turn; the ratio is that of the medians."""
    mine, theirs = [], []
    for _ in range(ROUNDS):
        before()
        mine.append(_seconds(subject))
        theirs.append(_seconds(peer))
    seconds = statistics.median(mine)
    ratio = seconds / statistics.median(theirs)
    return Row(name, round(ratio, 2), bar, ratio <= bar, round(seconds, 4), peer_name)


def _seconds(call: Callable[[], None]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _shown(row: Row) -> Row:
    verdict = "ok" if row.ok else "TOO SLOW"
    line = f"{row.name:42} {row.ratio:7.2f} x  (bar {row.bar:.3g})  {row.seconds * 1000:8.1f} ms"
    print(f"{line}  {verdict}  beside {row.peer}", flush=True)
    return row


if __name__ == "__main__":
    sys.exit(main())
