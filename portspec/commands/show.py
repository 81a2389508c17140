"""`portspec show`: a spec with everything that it extends, each value with the place it comes from."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from portspec.commands import CLEAN, format_option, spec_argument

if TYPE_CHECKING:
    from portspec.console import Console
    from portspec.language import LoadedSpec

HELP = "print a spec with all that it inherits, and where each value comes from"
EXAMPLE = "portspec show specs/skyreels_v2.yaml components.transformer"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    spec_argument(parser)
    parser.add_argument(
        "path", nargs="?", default="", metavar="PATH", help="a section, such as components.vae"
    )
    format_option(parser, ("text", "json"))


def run(options: argparse.Namespace, console: Console) -> int:
    """Print one spec, or a part of it."""
    from portspec.errors import UsageError
    from portspec.language import load_spec
    from portspec.suggest import did_you_mean

    loaded = load_spec(options.spec)
    value: Any = loaded.root.plain()
    keys = [key for key in options.path.split(".") if key]
    for key in keys:
        if not isinstance(value, dict) or key not in value:
            known = list(value) if isinstance(value, dict) else []
            remedy = did_you_mean(key, known, f"Keys there: {', '.join(known)}.")
            raise UsageError(f'the spec has no "{options.path}"', remedy)
        value = value[key]
    if options.format == "json":
        console.out(json.dumps(value, indent=1, ensure_ascii=False) + "\n")
    else:
        console.out("".join(f"{line}\n" for line in _lines(loaded, tuple(keys), value, 0)))
    return CLEAN


def _lines(
    loaded: LoadedSpec, path: tuple[str | int, ...], value: Any, depth: int
) -> Iterator[str]:
    """Yield YAML lines; those that are inherited name their file and line."""
    pad = "  " * depth
    if not isinstance(value, dict):
        yield f"{pad}{json.dumps(value, ensure_ascii=False)}{_origin(loaded, path)}"
        return
    for key, child in value.items():
        below = (*path, key)
        if isinstance(child, dict) and child:
            yield f"{pad}{key}:"
            yield from _lines(loaded, below, child, depth + 1)
        else:
            yield f"{pad}{key}: {json.dumps(child, ensure_ascii=False)}{_origin(loaded, below)}"


def _origin(loaded: LoadedSpec, path: tuple[str | int, ...]) -> str:
    place = loaded.marks.at(*path)
    return "" if place.file == loaded.shown else f"  # {place.file}:{place.line}"
