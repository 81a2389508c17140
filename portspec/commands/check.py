"""`portspec check`: everything that can be proved without running anything."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from portspec.commands import (
    CLEAN,
    FINDINGS,
    format_option,
    settings_of,
    spec_argument,
    target_of,
    target_option,
)
from portspec.report.findings import FORMATS

if TYPE_CHECKING:
    from portspec.backend import Target
    from portspec.console import Console
    from portspec.errors import Diagnostic

HELP = "prove what can be proved about specs without running anything"
EXAMPLE = "portspec check specs/skyreels_v2.yaml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    spec_argument(parser, many=True)
    target_option(parser)
    format_option(parser, FORMATS)


def run(options: argparse.Namespace, console: Console) -> int:
    """Judge every spec and print what was found."""
    from portspec.errors import errors_in

    target = target_of(settings_of(options), console)
    found = [d for path in options.specs for d in _findings(path, target)]
    target.cache.save()
    console.findings(found, options.format)
    if options.format == "text" and not found:
        names = ", ".join(path.name for path in options.specs)
        console.out(f"{names}: nothing speaks against building\n")
    return FINDINGS if errors_in(found) else CLEAN


def _findings(path: Path, target: Target) -> Sequence[Diagnostic]:
    """Judge one spec, or recall the findings when nothing they depend on has changed."""
    from portspec.errors import SpecError, pack, unpack
    from portspec.recall import recall, remember

    question = f"check {path.resolve()}"
    known = recall(target.cache, question, target.tree)
    if known is not None:
        return [unpack(row) for row in known]
    from portspec.judge import judge

    try:
        judgement = judge(path, target)
    except SpecError as error:
        return error.diagnostics
    found = judgement.diagnostics
    remember(target.cache, question, target.tree, judgement.reads, [pack(d) for d in found])
    return found
