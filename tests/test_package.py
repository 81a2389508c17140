"""What is installed is what is here."""

from __future__ import annotations

import re
from pathlib import Path

from tests.conftest import ROOT


def test_every_package_is_installed() -> None:
    """An editable install finds a package that is not listed; a wheel would lack it."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = set(re.findall(r'^    "(portspec[\w.]*)",$', text, re.MULTILINE))
    found = {_dotted(p.parent) for top in ("portspec", "codegen") for p in _packages(ROOT / top)}
    assert listed == found


def _packages(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("__init__.py") if "__pycache__" not in p.parts]


def _dotted(folder: Path) -> str:
    name = ".".join(folder.relative_to(ROOT).parts)
    return f"portspec.{name}" if name.startswith("codegen") else name
