"""`portspec gate`: list what the gates have shown, run them again, say why one would run."""

from __future__ import annotations

import argparse
from fnmatch import fnmatch
from typing import TYPE_CHECKING

from portspec.commands import (
    CLEAN,
    PENDING,
    format_option,
    settings_of,
    spec_argument,
    target_of,
    target_option,
    weights_of,
    weights_option,
)
from portspec.commands.build import status_of
from portspec.report.gates import FORMATS

if TYPE_CHECKING:
    from portspec.build import Prepared
    from portspec.console import Console

HELP = "list gates and what they have shown, run them, or say why one would run again"
EXAMPLE = "portspec gate run specs/skyreels_v2.yaml 'parity.*'"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the three verbs."""
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, text in (
        ("list", "show every gate with its last result"),
        ("run", "run gates whatever was recorded, on the tree as it is"),
        ("why", "say what each gate reads that has changed since it last passed"),
    ):
        verb = verbs.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        spec_argument(verb)
        verb.add_argument(
            "patterns", metavar="GATE", nargs="*", help="names or patterns; all when left out"
        )
        target_option(verb)
        weights_option(verb)
        format_option(verb, FORMATS)


def run(options: argparse.Namespace, console: Console) -> int:
    """Run the verb."""
    verb = {"list": _list, "run": _run, "why": _why}[options.verb]
    return verb(options, console)


def _prepared(options: argparse.Namespace, console: Console) -> Prepared:
    """Prepare the gates of a port that has been built.

    Raises:
        UsageError: E903 the spec and the tree have drifted apart.
    """
    from portspec.build import prepare
    from portspec.errors import UsageError
    from portspec.judge import judge

    settings = settings_of(options)
    weights_of(settings)
    judgement = judge(options.spec, target_of(settings, console))
    if not judgement.is_sound:
        remedy = f"Run `portspec check {options.spec}`."
        raise UsageError("the spec has errors, so its gates mean nothing", remedy, "E903")
    return prepare(judgement, settings)


def _wanted(options: argparse.Namespace, prepared: Prepared) -> list[str]:
    """Return the names of the gates that are asked for.

    Raises:
        UsageError: E904 a name or pattern that no gate has.
    """
    from portspec.errors import UsageError

    names = [gate.name for gate in prepared.gates.gates]
    strange = [p for p in options.patterns if not any(fnmatch(name, p) for name in names)]
    if strange:
        remedy = f"Gates: {', '.join(names)}."
        raise UsageError(f"no gate is called {' or '.join(strange)}", remedy, "E904")
    patterns = options.patterns or ["*"]
    return [name for name in names if any(fnmatch(name, p) for p in patterns)]


def _list(options: argparse.Namespace, console: Console) -> int:
    from portspec.build import listed

    prepared = _prepared(options, console)
    names = _wanted(options, prepared)
    results = [r for r in listed(prepared).values() if r.gate in names]
    console.gates(results, options.format)
    return CLEAN


def _run(options: argparse.Namespace, console: Console) -> int:
    from portspec.apply import locked
    from portspec.build import prove
    from portspec.errors import UsageError

    settings = settings_of(options)
    prepared = _prepared(options, console)
    names = _wanted(options, prepared)
    tree = prepared.judgement.target.tree
    if any(
        change.ownership != "generated" or not change.path.endswith(".md")
        for change in prepared.judgement.plan.writes()
    ):
        remedy = f"Run `portspec build {options.spec}` first."
        raise UsageError("the tree does not hold what the spec says now", remedy, "E903")
    with locked(tree.root):
        progress = console.progress(len(prepared.gates.gates))
        results = prove(prepared, settings, progress, lambda name: name in names)
    prepared.judgement.target.cache.save()
    console.gates([r for r in results.values() if r.gate in names], options.format)
    return status_of({n: r for n, r in results.items() if n in names})


def _why(options: argparse.Namespace, console: Console) -> int:
    """Exit 3 when some gate would run again."""
    import json

    from portspec.build import reasons

    prepared = _prepared(options, console)
    names = _wanted(options, prepared)
    found = {name: why for name, why in reasons(prepared).items() if name in names}
    if options.format == "json":
        rows = [{"gate": name, "reasons": why} for name, why in found.items()]
        console.out(json.dumps(rows, indent=1) + "\n")
    else:
        for name, why in found.items():
            console.out(f"{name}: {'; '.join(why) if why else 'nothing it reads has changed'}\n")
    return PENDING if any(found.values()) else CLEAN
