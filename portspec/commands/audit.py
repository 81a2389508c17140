"""`portspec audit`: what is wrong in a tree, whoever wrote it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from portspec.commands import CLEAN, FINDINGS, format_option, settings_of, target_of, target_option
from portspec.report.findings import FORMATS

if TYPE_CHECKING:
    from portspec.console import Console

HELP = "find what is wrong in a target tree, whoever wrote it"
EXAMPLE = "portspec audit --target ../FastVideo --format sarif > audit.sarif"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    target_option(parser)
    format_option(parser, FORMATS)


def run(options: argparse.Namespace, console: Console) -> int:
    """Run every tree check."""
    from portspec.errors import Diagnostic, errors_in

    target = target_of(settings_of(options), console)
    found = sorted(set(target.backend.audit(target.tree)), key=Diagnostic.sort_key)
    target.cache.save()
    console.findings(found, options.format)
    if options.format == "text" and not found:
        console.out(f"{target.tree.root}: no findings\n")
    return FINDINGS if errors_in(found) else CLEAN
