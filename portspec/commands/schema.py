"""`portspec schema`: the JSON Schemas, and the reference page that is made of them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from portspec.commands import CLEAN, PENDING

if TYPE_CHECKING:
    from portspec.console import Console

HELP = "print the JSON Schema of port.yaml, or write all schemas"
EXAMPLE = "portspec schema --write"
_REFERENCE = Path("docs/language.md")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "name", nargs="?", default="port.v1.json", help="a schema (default: port.v1.json)"
    )
    parser.add_argument(
        "--write", action="store_true", help="write all of schemas/, and docs/language.md"
    )
    parser.add_argument(
        "--check", action="store_true", help="leave with status 3 when a file is out of date"
    )


def run(options: argparse.Namespace, console: Console) -> int:
    """Print one schema, or bring the files up to date."""
    from portspec.errors import UsageError
    from portspec.schema import dump, reference, schemas
    from portspec.suggest import did_you_mean

    found = schemas()
    if not (options.write or options.check):
        if options.name not in found:
            remedy = did_you_mean(options.name, found, f"Schemas: {', '.join(found)}.")
            raise UsageError(f"there is no schema {options.name}", remedy)
        console.out(dump(found[options.name]))
        return CLEAN
    texts = {Path("schemas") / name: dump(schema) for name, schema in found.items()}
    texts[_REFERENCE] = reference()
    stale = [
        path
        for path, text in texts.items()
        if not path.is_file() or path.read_text("utf-8") != text
    ]
    for path in stale:
        console.say(f"{path} is {'out of date' if options.check else 'written'}")
        if options.write:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(texts[path], encoding="utf-8")
    return PENDING if stale and options.check else CLEAN
