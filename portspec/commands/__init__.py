"""Commands: one a file, found by looking in this folder.

A command module has `HELP` (one line), `EXAMPLE` (a command line), `add_arguments(parser)` and
`run(options, console)`, which returns the exit status. Importing one must cost nothing: what it needs is
imported by `run`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from portspec.backend import Target
    from portspec.console import Console
    from portspec.port import Port
    from portspec.settings import Settings

CLEAN, FINDINGS, USAGE, PENDING, CONFLICT, FAILED, INCONCLUSIVE, LOCKED = range(8)
INTERNAL, INTERRUPTED = 70, 130


def command_modules() -> Iterator[tuple[str, ModuleType]]:
    """Yield every command's name and module."""
    for info in sorted(iter_modules(__path__), key=lambda m: m.name):
        yield info.name.strip("_"), import_module(f"{__name__}.{info.name}")


def spec_argument(parser: argparse.ArgumentParser, *, many: bool = False) -> None:
    """Add the spec."""
    word = "specs" if many else "spec"
    parser.add_argument(
        word, metavar="SPEC", type=Path, nargs="+" if many else None, help="the port.yaml"
    )


def target_option(parser: argparse.ArgumentParser) -> None:
    """Add the target tree."""
    text = "FastVideo checkout to build into; by default a released tree, copied to build/"
    parser.add_argument("--target", metavar="PATH", type=Path, help=text)


def weights_option(parser: argparse.ArgumentParser) -> None:
    """Add what the gates run on."""
    text = "checkpoint for the gates, in place of a small one made on the spot"
    parser.add_argument("--weights", metavar="PATH", type=Path, help=text)
    parser.add_argument(
        "--jobs", metavar="N", type=positive, help="gates to run at a time (default 2)"
    )


def positive(text: str) -> int:
    """Read a whole number above zero.

    Raises:
        ArgumentTypeError: It is none.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no whole number above zero")
    return int(text)


def format_option(parser: argparse.ArgumentParser, choices: tuple[str, ...]) -> None:
    """Add the form of the output."""
    parser.add_argument("--format", choices=choices, default="text", help="form of the output")
    parser.add_argument(
        "--json", dest="format", action="store_const", const="json", help="same as --format json"
    )


def settings_of(options: argparse.Namespace) -> Settings:
    """Join the options with the environment and the settings file."""
    from portspec.settings import read_settings

    return read_settings(vars(options), Path.cwd())


def weights_of(settings: Settings) -> None:
    """Refuse weights that cannot be a checkpoint, before anything is written or forgotten.

    Raises:
        UsageError: E901 there is no manifest.
    """
    from portspec.errors import UsageError

    if settings.weights and not (settings.weights / "model_index.json").is_file():
        remedy = "Give the folder of a checkpoint in the published layout."
        raise UsageError(f"there is no model_index.json in {settings.weights}", remedy)


def target_of(settings: Settings, console: Console) -> Target:
    """Open the target tree, fetching the default one when none is given.

    Raises:
        UsageError: E902 there is no such folder.
    """
    from portspec.backend import Target, backends
    from portspec.cache import Cache
    from portspec.errors import UsageError
    from portspec.target import default_target
    from portspec.tree import Tree

    root = settings.target
    if root is None:
        root = default_target(backends()[0].default_target, Path.cwd(), console.say)
    if not root.is_dir():
        remedy = "Give the root of a checkout, or leave the target out for the default tree."
        raise UsageError(f"there is no folder {root}", remedy, "E902")
    cache = Cache()
    return Target(Tree(root, cache, shown=_shown(root)), cache)


def port_of(spec: Path, settings: Settings) -> Port:
    """Resolve a spec for work on weights, which needs no target tree but may find a clone in one.

    Raises:
        SpecError: The spec cannot be read, does not fit the language, or its rules cannot be right.
    """
    from portspec.cache import Cache
    from portspec.errors import SpecError, errors_in
    from portspec.language import load_spec
    from portspec.port import resolve
    from portspec.rules import mapping, paths
    from portspec.tree import Tree

    cache = Cache()
    port = resolve(load_spec(spec, cache), Tree(settings.target or Path.cwd(), cache), cache)
    if found := errors_in([*mapping.check(port), *paths.check(port)]):
        raise SpecError(found)
    return port


def _shown(root: Path) -> str:
    """Show the target as the user would name it: relative when it lies below the working folder."""
    try:
        return root.resolve().relative_to(Path.cwd().resolve()).as_posix()
    except ValueError:
        return str(root)
