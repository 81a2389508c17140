"""`portspec init`: a commented spec to start from."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from portspec.commands import CLEAN

if TYPE_CHECKING:
    from portspec.console import Console

HELP = "write a commented spec to start from"
EXAMPLE = "portspec init my_family"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("family", help="name of the model family, in snake_case")
    parser.add_argument(
        "--output", metavar="FILE", type=Path, help="where to write (default: specs/FAMILY.yaml)"
    )


def run(options: argparse.Namespace, console: Console) -> int:
    """Write the skeleton; an existing file is never touched."""
    import re

    from portspec.backend import backends
    from portspec.errors import UsageError

    if not re.fullmatch(r"[a-z][a-z0-9_]*", options.family):
        raise UsageError(
            f"{options.family} is not in snake_case", "Use lower-case letters, digits and _."
        )
    path = options.output or Path("specs") / f"{options.family}.yaml"
    text = backends()[0].skeleton(options.family)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise UsageError(f"{path} is there already", "Choose another name, or edit it.") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error
    console.out(f"wrote {path}\n")
    console.say(f"next: fill in what is marked, then run `portspec check {path}`")
    return CLEAN
