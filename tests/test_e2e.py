"""Whole builds with every gate: the port that the README shows, and both examples."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, SPEC, Built

pytestmark = pytest.mark.xdist_group("proven")
GATES = [
    "environment",
    "checkpoint",
    "surfaces",
    "mapping",
    "conversion",
    "strict_load",
    "parity.transformer",
    "parity.vae",
    "parity.text_encoder",
    "parity.tokenizer",
    "parity.scheduler",
    "pipeline.smoke",
    "pipeline.parity",
    "example",
    "hot_path",
    "import_boundary",
]


def portspec(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "portspec", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_every_gate_passes_and_the_table_comes_last(proven: Built) -> None:
    assert proven.status == 0, proven.output
    rows = [line.split() for line in proven.output.splitlines()]
    seen = {row[0]: row[1] for row in rows if row and row[0] in GATES}
    assert seen == dict.fromkeys(GATES, "pass")


def test_the_list_of_gates_is_data(proven: Built) -> None:
    done = portspec(
        proven.folder, "gate", "list", SPEC, "--target", "FastVideo", "--format", "json"
    )
    rows = json.loads(done.stdout)
    assert sorted(row["gate"] for row in rows) == sorted(GATES)
    assert {row["status"] for row in rows} == {"pass"}
    for row in rows:
        assert Path(row["log"]).is_file()
        assert row["seconds"] > 0


def test_a_second_build_runs_no_gate_and_writes_nothing(proven: Built) -> None:
    files = [p for p in proven.tree.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    before = {p: p.stat().st_mtime_ns for p in files if p.name != "lock"}
    done = portspec(proven.folder, "build", SPEC, "--target", "FastVideo")
    assert done.returncode == 0, done.stderr
    assert {p: p.stat().st_mtime_ns for p in before} == before


def test_reports_tell_what_the_gates_have_shown(proven: Built) -> None:
    folder = proven.tree / "tests/local_tests/skyreels_v2"
    status = (folder / "PORT_STATUS.md").read_text("utf-8")
    _, _, commands = status.partition("## Parity Commands")
    rows = [line for line in commands.partition("##")[0].splitlines() if " pytest " in line]
    assert len(rows) == 7  # five components, smoke, parity
    assert all("| non_skip_pass |" in row for row in rows)
    assert "strict_load_status: pass" in status
    assert "not_run" not in status
    assert "69 of 69 tensors" in (folder / "README.md").read_text("utf-8")


def test_emitted_tests_stand_alone(proven: Built) -> None:
    """The files need FastVideo and pytest, not portspec; without a checkpoint they skip."""
    found = [p for p in proven.tree.rglob("*skyreels_v2*") if ".portspec" not in p.parts]
    sources = [q for p in found for q in ([p] if p.is_file() else p.rglob("*.py"))]
    assert len(sources) > 10
    for path in sources:
        text = path.read_text("utf-8")
        assert "import portspec" not in text
        assert "from portspec" not in text


@pytest.mark.parametrize("name", ["new_checkpoint", "ported_network"])
def test_examples_build(name: str, released: Path, tmp_path: Path) -> None:
    for folder in ("specs", "examples"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    shutil.copytree(released, tmp_path / "FastVideo")
    spec = f"examples/{name}/port.yaml"
    done = portspec(tmp_path, "build", spec, "--target", "FastVideo")
    assert done.returncode == 0, done.stdout + done.stderr
    again = portspec(tmp_path, "gate", "list", spec, "--target", "FastVideo", "--format", "json")
    assert {row["status"] for row in json.loads(again.stdout)} == {"pass"}
