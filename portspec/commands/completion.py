"""`portspec completion`: a completion script for a shell."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from portspec.commands import CLEAN

if TYPE_CHECKING:
    from portspec.console import Console

HELP = "print a completion script for bash, zsh or tcsh"
EXAMPLE = "portspec completion bash > ~/.local/share/bash-completion/completions/portspec"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("shell", choices=("bash", "zsh", "tcsh"), help="the shell")


def run(options: argparse.Namespace, console: Console) -> int:
    """Print the script."""
    import shtab

    from portspec.cli import build_parser

    console.out(shtab.complete(build_parser(), shell=options.shell) + "\n")
    return CLEAN
