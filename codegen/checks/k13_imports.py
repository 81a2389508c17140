"""K13: what a file imports from the tree is there, and what FastVideo imports at start-up is declared.

One ImportError below `pipelines/basic/` takes every model down, since all pipelines are imported to find
one; and an example with a stale import fails before its first line.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

from portspec.codegen.index import FastVideoIndex
from portspec.errors import Diagnostic
from portspec.pyfacts import Import
from portspec.suggest import did_you_mean
from portspec.tree import Tree

_PREFIXES = ("fastvideo/", "examples/", "tests/local_tests/", "scripts/")
_OWN = ("fastvideo", "tests")
_START_UP = "fastvideo/pipelines/basic/"
_PROJECT = "pyproject.toml"
_DISTRIBUTIONS = {
    "cv2": "opencv-python",
    "PIL": "pillow",
    "yaml": "PyYAML",
    "google": "protobuf",
    "remote_pdb": "remote-pdb",
    "sklearn": "scikit-learn",
}


def check_file(index: FastVideoIndex, path: str) -> Iterator[Diagnostic]:
    """E302 not Python, E350 no such module, E351 no such name, E352 an undeclared dependency."""
    tree = index.tree
    if not path.startswith(_PREFIXES) or "/third_party/" in path or not tree.exists(path):
        return
    facts = tree.module(path)
    if facts.error:
        line, message = facts.error
        yield Diagnostic("E302", f"this is not Python: {message}", tree.place(path, line))
    declared = _declared(tree) if path.startswith(_START_UP) else []
    for item in facts.imports:
        yield from _own(tree, path, item)
        if declared:
            yield from _foreign(tree, path, item, declared)


def _own(tree: Tree, path: str, item: Import) -> Iterator[Diagnostic]:
    if item.module.partition(".")[0] not in _OWN or (item.guarded and item.top_level):
        return
    place = tree.place(path, item.line, item.column)
    if tree.path_of(item.module) is None:
        if tree.has_folder(item.module.replace(".", "/")):
            return
        remedy = _nearest_module(tree, item.module)
        yield Diagnostic("E350", f"there is no module {item.module}", place, remedy, "K13")
    elif item.symbol and item.symbol != "*" and not _has_name(tree, item.module, item.symbol):
        file = tree.path_of(item.module) or ""
        names = [*tree.scan(file)["names"], *tree.module(file).imported]
        remedy = did_you_mean(item.symbol, names, f"{file} does not have it any more.")
        yield Diagnostic("E351", f"{item.module} has no {item.symbol}", place, remedy, "K13")


def _has_name(tree: Tree, module: str, symbol: str) -> bool:
    path = tree.path_of(module)
    if path is None:
        return False
    folder = f"{module}.{symbol}".replace(".", "/")
    return (
        tree.scan(path)["dynamic"]
        or tree.has_symbol(f"{module}:{symbol}")
        or tree.has_folder(folder)
    )


def _nearest_module(tree: Tree, module: str) -> str:
    parent = module.rpartition(".")[0].replace(".", "/")
    siblings = [
        p.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for p in tree.paths(f"{parent}/")
    ]
    return did_you_mean(
        module, siblings, "It was moved or removed; import it from where it is now."
    )


def _declared(tree: Tree) -> list[str]:
    """Return the distributions that pyproject.toml declares, normalised; none when it cannot be read."""
    if not tree.exists(_PROJECT):
        return []

    def compute() -> list[str]:
        block = re.search(
            r"^dependencies\s*=\s*\[(.*?)^\]", tree.text(_PROJECT), re.MULTILINE | re.DOTALL
        )
        names = re.findall(r"^\s*[\"']([A-Za-z0-9_.\-]+)", block[1], re.MULTILINE) if block else []
        return [_normal(name) for name in names]

    found: list[str] = tree.derived("declared", _PROJECT, compute)
    return found


def _foreign(tree: Tree, path: str, item: Import, declared: list[str]) -> Iterator[Diagnostic]:
    top = item.module.split(".")[0]
    if item.guarded or not item.top_level or top in sys.stdlib_module_names or top in _OWN:
        return
    distribution = _normal(_DISTRIBUTIONS.get(top, top))
    if distribution in declared or distribution in _IMPLIED:
        return
    place = tree.place(path, item.line, item.column)
    remedy = "Import it inside the function that needs it, or declare it in pyproject.toml."
    message = (
        f"{top} is imported at start-up and is no declared dependency; without it no model loads"
    )
    yield Diagnostic("E352", message, place, remedy, "K13")


# Brought along by declared dependencies: torch needs numpy, transformers needs safetensors and hub.
_IMPLIED = frozenset({"numpy", "safetensors", "packaging", "filelock"})


def _normal(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")
