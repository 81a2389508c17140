"""`portspec status`: what a build owns in the target, what would change, and how its gates stand."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from portspec.commands import (
    CLEAN,
    CONFLICT,
    FINDINGS,
    PENDING,
    format_option,
    settings_of,
    spec_argument,
    target_of,
    target_option,
)

if TYPE_CHECKING:
    from portspec.console import Console
    from portspec.judge import Judgement

HELP = "show what a build owns, what would change, and how its gates stand"
EXAMPLE = "portspec status specs/skyreels_v2.yaml --exit-code"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    spec_argument(parser)
    target_option(parser)
    parser.add_argument(
        "--exit-code", action="store_true", help="leave with status 3 when changes are pending"
    )
    format_option(parser, ("text", "json"))


def run(options: argparse.Namespace, console: Console) -> int:
    """Show the state of one port."""
    import json

    from portspec.build import listed, prepare
    from portspec.judge import judge

    settings = settings_of(options)
    judgement = judge(options.spec, target_of(settings, console))
    if judgement.plan.conflicts or not judgement.is_sound:
        console.complain(judgement.diagnostics)
        return CONFLICT if judgement.plan.conflicts else FINDINGS
    prepared = prepare(judgement, settings)
    judgement = prepared.judgement
    judgement.target.cache.save()
    results = list(listed(prepared).values())
    pending = list(judgement.plan.writes())
    if options.format == "json":
        report = {"files": _rows(judgement), "gates": [r.as_json() for r in results]}
        console.out(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    else:
        console.plan(judgement.plan, everything=True)
        console.gates(results)
    return PENDING if pending and options.exit_code else CLEAN


def _rows(judgement: Judgement) -> list[dict[str, str]]:
    return [
        {"path": c.path, "change": c.kind, "ownership": c.ownership, "cause": c.cause}
        for c in judgement.plan.changes
    ]
