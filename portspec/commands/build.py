"""`portspec build`: judge, write, prove."""

from __future__ import annotations

import argparse
from fnmatch import fnmatch
from typing import TYPE_CHECKING

from portspec.commands import (
    CLEAN,
    CONFLICT,
    FAILED,
    FINDINGS,
    INCONCLUSIVE,
    format_option,
    settings_of,
    spec_argument,
    target_of,
    target_option,
    weights_of,
    weights_option,
)
from portspec.report.gates import FORMATS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from portspec.backend import Target
    from portspec.build import Prepared
    from portspec.console import Console
    from portspec.gates.result import GateResult
    from portspec.judge import Judgement
    from portspec.settings import Settings

HELP = "emit a port into the target tree and run its gates"
EXAMPLE = "portspec build specs/skyreels_v2.yaml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    spec_argument(parser)
    target_option(parser)
    weights_option(parser)
    parser.add_argument("--plan", action="store_true", help="show what would be written, and stop")
    parser.add_argument("--no-gates", action="store_true", help="write the files and run nothing")
    parser.add_argument(
        "--rerun",
        metavar="PATTERN",
        help="run these gates again although nothing they read has changed ('*' for all)",
    )
    parser.add_argument(
        "--replace",
        metavar="FILE",
        action="append",
        default=[],
        help="give up the edits by hand in this generated file (path in the target; may be repeated)",
    )
    format_option(parser, FORMATS)


def run(options: argparse.Namespace, console: Console) -> int:
    """Build one spec."""
    settings = settings_of(options)
    weights_of(settings)
    target = target_of(settings, console)
    known = _recalled(options, settings, target)
    if known is not None:
        console.say(f"{target.tree.shown}: nothing has changed since the last build")
        if known:
            console.gates(known, options.format)
        return CLEAN
    from portspec.apply import locked

    with locked(target.tree.root) as rolled_back:
        if rolled_back:
            console.say(
                "an earlier build was interrupted while writing; its changes were taken back"
            )
            console.complain(rolled_back.left)
        status, results, judgement = _build(options, settings, target, console)
    if status == CLEAN and not (options.plan or settings.weights or judgement.diagnostics):
        _remember(options, judgement, results)
    target.cache.save()
    return status


def _question(options: argparse.Namespace) -> str:
    return f"build {options.spec.resolve()} {'' if options.no_gates else 'gates'}"


def _recalled(
    options: argparse.Namespace, settings: Settings, target: Target
) -> list[GateResult] | None:
    """Return the results of the last build when nothing that it depended on has changed."""
    if options.plan or options.rerun or options.replace or settings.weights:
        return None
    from portspec.gates.result import GateResult
    from portspec.recall import recall

    rows = recall(target.cache, _question(options), target.tree)
    return None if rows is None else [GateResult(**row) for row in rows]


def _remember(
    options: argparse.Namespace, judgement: Judgement, results: Sequence[GateResult]
) -> None:
    """Keep a clean build's results, with all that they depend on."""
    from portspec.backend import Target
    from portspec.cache import sha256
    from portspec.recall import metadata_files, remember
    from portspec.tree import Tree

    built = {sha for _, sha in judgement.loaded.files}
    if any(sha256(p.read_bytes()) not in built for p in judgement.loaded.paths if p.is_file()):
        return  # the spec was edited meanwhile
    before = judgement.target
    after = Target(Tree(before.tree.root, before.cache, shown=before.tree.shown), before.cache)
    reads = [*judgement.reads, *metadata_files(judgement.target.backend.packages)]
    rows = [{**result.as_json(), "cached": True} for result in results]
    remember(after.cache, _question(options), after.tree, reads, rows)


def _build(
    options: argparse.Namespace, settings: Settings, target: Target, console: Console
) -> tuple[int, list[GateResult], Judgement]:
    """Judge, write and prove; the target is held."""
    from portspec.build import apply, prepare
    from portspec.judge import judge

    judgement = judge(options.spec, target, options.replace)
    status = _refused(judgement, console)
    if status is not None:
        return status, [], judgement
    prepared = prepare(judgement, settings, options.replace)
    _check_pattern(options.rerun, prepared)
    if options.plan:
        console.plan(prepared.judgement.plan, options.format)
        return CLEAN, [], judgement
    written = apply(prepared)
    console.say(_summary(prepared, written))
    if options.no_gates:
        return CLEAN, [], judgement
    results = _prove(options, settings, prepared, console)
    console.gates(list(results.values()), options.format)
    return status_of(results), list(results.values()), judgement


def _refused(judgement: Judgement, console: Console) -> int | None:
    """Print what speaks against the build; return the exit status if anything stops it."""
    if judgement.plan.conflicts:
        console.complain(judgement.diagnostics)
        console.say("nothing was written")
        return CONFLICT
    if judgement.diagnostics:
        console.complain(judgement.diagnostics)
    if not judgement.is_sound:
        console.say("nothing was written")
        return FINDINGS
    if judgement.loaded.spec.abstract:
        console.say(
            f"{judgement.loaded.shown} is abstract: it is there to be extended, not to be built"
        )
        return FINDINGS
    return None


def _summary(prepared: Prepared, written: list[str]) -> str:
    plan = prepared.judgement.plan
    root = prepared.judgement.target.tree.shown
    if not written:
        return f"{root}: nothing to write, {len(plan.changes)} files are as they should be"
    return f"{root}: wrote {len(written)} files, {len(plan.changes) - len(written)} are as they should be"


def _prove(
    options: argparse.Namespace, settings: Settings, prepared: Prepared, console: Console
) -> dict[str, GateResult]:
    from portspec.build import prove

    pattern = options.rerun or ""
    progress = console.progress(len(prepared.gates.gates))
    return prove(prepared, settings, progress, lambda name: fnmatch(name, pattern))


def _check_pattern(pattern: str | None, prepared: Prepared) -> None:
    """Refuse a pattern that matches nothing: who gives one expects something to run.

    Raises:
        UsageError: E904 no gate has such a name.
    """
    from portspec.errors import UsageError

    names = [gate.name for gate in prepared.gates.gates]
    if pattern and not any(fnmatch(name, pattern) for name in names):
        raise UsageError(f"no gate is called {pattern}", f"Gates: {', '.join(names)}.", "E904")


def status_of(results: Mapping[str, GateResult]) -> int:
    """Return the exit status for a set of results: a skip is never a pass."""
    statuses = {result.status for result in results.values()}
    if "fail" in statuses:
        return FAILED
    return CLEAN if statuses <= {"pass"} else INCONCLUSIVE
