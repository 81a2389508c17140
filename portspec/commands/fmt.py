"""`portspec fmt`: a spec's one layout."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from portspec.commands import CLEAN, PENDING, spec_argument

if TYPE_CHECKING:
    from portspec.console import Console

HELP = "put specs into their one layout; values and comments stay"
EXAMPLE = "portspec fmt --check specs/*.yaml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    spec_argument(parser, many=True)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; leave with status 3 if it would"
    )


def run(options: argparse.Namespace, console: Console) -> int:
    """Format every spec."""
    from shutil import copymode

    from portspec.fmt import format_spec
    from portspec.load import read_text

    changed = 0
    for path in options.specs:
        text = read_text(path, str(path))
        after = format_spec(text, str(path))
        if after == text:
            continue
        changed += 1
        console.say(f"{path} {'would be' if options.check else 'was'} laid out anew")
        if not options.check:
            file = path.resolve()
            draft = file.with_name(f".{file.name}.draft")
            draft.write_text(after, encoding="utf-8")
            copymode(file, draft)
            draft.replace(file)
    return PENDING if changed and options.check else CLEAN
