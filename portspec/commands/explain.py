"""`portspec explain`: the page of a code."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from portspec.commands import CLEAN

if TYPE_CHECKING:
    from portspec.console import Console

HELP = "print the page of a code: what it means, why it matters, an example"
EXAMPLE = "portspec explain E331"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "code", nargs="?", metavar="CODE", help="a code such as E331; all codes when left out"
    )


def run(options: argparse.Namespace, console: Console) -> int:
    """Print a page, or the list of codes."""
    from portspec.errors import UsageError
    from portspec.suggest import did_you_mean

    pages = code_pages()
    if options.code is None:
        for path in pages.values():
            console.out(f"{title(path)}\n")
        return CLEAN
    code = options.code.upper()
    if code not in pages:
        raise UsageError(
            f"there is no code {options.code}",
            did_you_mean(code, pages, "Codes: portspec explain."),
        )
    console.out(pages[code].read_text(encoding="utf-8"))
    return CLEAN


def code_pages() -> dict[str, Path]:
    """Return the page of every code, of the compiler's and of each back end's."""
    from portspec.backend import backends

    folders = [Path(__file__).parent.parent / "codes", *(b.codes for b in backends())]
    return {
        path.stem: path
        for path in sorted((p for f in folders for p in f.glob("*.md")), key=lambda p: p.stem)
    }


def title(path: Path) -> str:
    """Return the first line of a page, which is its code and what it means."""
    with path.open(encoding="utf-8") as file:
        return file.readline().lstrip("# ").strip()
