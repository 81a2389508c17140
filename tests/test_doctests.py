"""Examples in docstrings are true."""

from __future__ import annotations

import doctest
from collections.abc import Iterator
from importlib import import_module
from pkgutil import walk_packages

import pytest

import portspec
import portspec.codegen


def modules() -> Iterator[str]:
    """Every module of both packages; `codegen` lies elsewhere, and its runtime is no package."""
    for package in (portspec, portspec.codegen):
        yield package.__name__
        for info in walk_packages(package.__path__, f"{package.__name__}."):
            yield info.name


MODULES = sorted(set(modules()))


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_are_true(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    failed, _ = doctest.testmod(import_module(name))
    assert not failed, capsys.readouterr().out


def test_modules_of_both_packages_were_looked_at() -> None:
    for name in ("portspec.tree", "portspec.commands.build", "portspec.codegen.gates.parity"):
        assert name in MODULES
    assert not [name for name in MODULES if "runtime" in name]
    finder = doctest.DocTestFinder(exclude_empty=True)
    examples = [test for name in MODULES for test in finder.find(import_module(name))]
    assert sum(len(test.examples) for test in examples) >= 10
