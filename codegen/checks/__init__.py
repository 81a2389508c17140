"""Checks on a tree, whoever wrote it: one check of the catalogue a file, found by looking in this folder.

A check reads an index and yields findings with file and line. It knows no spec, so the same code audits
a tree that portspec never touched and judges a build by the tree as it would be. It has one of two forms:
`check(index)` is about the tree, `check_file(index, path)` about one file and the names that it imports.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib import import_module
from pkgutil import iter_modules

from portspec.codegen.index import FastVideoIndex
from portspec.errors import Diagnostic, added
from portspec.tree import Tree


def audit(index: FastVideoIndex) -> Iterator[Diagnostic]:
    """Run every check of this folder, in order of their ids."""
    yield from _run(index, index.tree.paths())


def new_findings(before: FastVideoIndex, after: FastVideoIndex) -> Iterator[Diagnostic]:
    """Yield what an audit finds after a change and not before it, looking only where it can differ."""
    paths = _affected(before.tree, after.tree)
    yield from added(_run(before, paths), _run(after, paths))


def _run(index: FastVideoIndex, paths: Iterable[str]) -> Iterator[Diagnostic]:
    for info in sorted(iter_modules(__path__), key=lambda m: m.name):
        module = import_module(f"{__name__}.{info.name}")
        if hasattr(module, "check"):
            yield from module.check(index)
        else:
            for path in paths:
                yield from module.check_file(index, path)


def _affected(before: Tree, after: Tree) -> list[str]:
    """Return the files that can have other findings: those that differ, and all when a name is gone."""
    differing = [path for path in before.differences(after) if path.endswith(".py")]
    if any(_names(before, path) - _names(after, path) for path in differing):
        return sorted({*before.paths(), *after.paths()})
    return differing


def _names(tree: Tree, path: str) -> set[str]:
    """Return what others can import from a file, itself included."""
    facts = tree.module(path)
    anything = {"*"} if facts.is_dynamic else set()
    return {path, *facts.names, *facts.imported} | anything if tree.exists(path) else set()
