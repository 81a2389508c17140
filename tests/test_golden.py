"""What the repository's own ports look like, file by file, so that a change of an emitter is seen.

`make golden` writes tests/golden anew: a folder for each family with every file that is created, and the
edits of other people's files as one diff.
"""

from __future__ import annotations

import os
import shutil
from difflib import unified_diff
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.trees import SPECS, Port, port

GOLDEN = ROOT / "tests/golden"
UPDATE = bool(os.environ.get("UPDATE_GOLDEN"))


@pytest.fixture(params=SPECS)
def built(
    request: pytest.FixtureRequest, released: Path, tmp_path_factory: pytest.TempPathFactory
) -> Port:
    return port(request.param, released, tmp_path_factory)


ENGINE = (
    "\n\n\n# --- "  # opens what a conversion script holds of the engine, which is the same for all
)


def emitted(built: Port) -> dict[str, str]:
    created = {
        path: text.partition(ENGINE)[0] + "\n" * (ENGINE in text)
        for path, text in built.created.items()
    }
    return {**created, "edits.diff": "".join(diff(built, path) for path in built.edited)}


def diff(built: Port, path: str) -> str:
    old = built.before[path].decode().splitlines(keepends=True)
    return "".join(unified_diff(old, built.text(path).splitlines(keepends=True), path, path))


def recorded(family: str) -> dict[str, str]:
    folder = GOLDEN / family
    files = (p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    return {p.relative_to(folder).as_posix(): p.read_text("utf-8") for p in files}


def test_a_port_is_emitted_as_recorded(built: Port) -> None:
    found = emitted(built)
    if UPDATE:
        shutil.rmtree(GOLDEN / built.family, ignore_errors=True)
        for path, text in found.items():
            file = GOLDEN / built.family / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
    known = recorded(built.family)
    assert sorted(found) == sorted(known)
    for path, text in found.items():
        assert text == known[path], path


def test_edits_take_no_line_away(built: Port) -> None:
    """A line that reviewers see as removed comes back with something behind it, such as a comma."""
    rows = [
        row for row in emitted(built)["edits.diff"].splitlines() if row[:3] not in ("---", "+++")
    ]
    added = [row[1:] for row in rows if row.startswith("+")]
    for row in rows:
        if row.startswith("-"):
            assert any(line.startswith(row[1:]) for line in added), row


def test_nothing_else_is_recorded() -> None:
    folders = {p.name for p in GOLDEN.iterdir() if p.is_dir()}
    assert {name for name in folders if name.isidentifier() and name != "__pycache__"} == set(SPECS)
