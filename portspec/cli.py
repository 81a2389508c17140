"""The command line: parse, run a command, turn what went wrong into an exit status.

0    clean
1    findings
2    the command line makes no sense
3    changes are pending (only where that was asked)
4    a conflict with a person's edit; nothing was written
5    a gate failed
6    a gate is inconclusive
7    another build holds the target
70   a bug in portspec
130  interrupted; the tree is whole
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from portspec import commands
from portspec.console import Console
from portspec.errors import (
    ConflictError,
    LockedError,
    PortspecBug,
    PortspecError,
    UsageError,
)


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints look like all others."""

    def print_help(self, file: Any = None) -> None:
        """Print the help now, while a reader that has gone can still be noticed."""
        super().print_help(file)
        sys.stdout.flush()

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(commands.USAGE, f"{self.prog}: E901 {message}\n    hint: {self.prog} --help\n")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser with every command."""
    parser = _Parser(
        prog="portspec",
        description="Compile a port.yaml into a proven port of a generative model.",
        epilog="`portspec COMMAND --help` shows a command's options and an example.",
    )
    parser.add_argument("--version", action="store_true", help="show the version and leave")
    found = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    for name, module in commands.command_modules():
        command = found.add_parser(
            name,
            help=module.HELP,
            description=module.HELP[0].upper() + module.HELP[1:] + ".",
            epilog=f"example:\n  {module.EXAMPLE}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    gc.disable()  # a run is short, and half of a parser's time goes into looking for garbage
    try:
        parser = build_parser()
        options = parser.parse_args(argv)
        console = Console()
        if options.version:
            from importlib.metadata import version

            console.out(f"portspec {version('portspec')}\n")
            return commands.CLEAN
        if options.command is None:
            parser.print_help()
            return commands.USAGE
        return run(options, console)
    except BrokenPipeError:  # `portspec explain | head` has read enough
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            os.dup2(nowhere, stream.fileno())
        return commands.CLEAN


def run(options: argparse.Namespace, console: Console) -> int:
    """Run a parsed command; nothing but its own output leaves it."""
    try:
        return int(options.run(options, console))
    except PortspecError as error:
        console.complain(error.diagnostics)
        return _status(error)
    except PortspecBug as error:
        console.say(f"this is a bug in portspec, please report it: {error}")
        return commands.INTERNAL
    except KeyboardInterrupt:
        console.say("interrupted; nothing is half-written under a final name")
        return commands.INTERRUPTED


def _status(error: PortspecError) -> int:
    match error:
        case UsageError():
            return commands.USAGE
        case ConflictError():
            return commands.CONFLICT
        case LockedError():
            return commands.LOCKED
    return commands.FINDINGS
