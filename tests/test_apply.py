"""What a hostile checkout may bring in `.portspec`, and what a killed build leaves for the next."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from portspec.apply import locked, write_all
from portspec.commands import FINDINGS
from portspec.errors import TargetError
from tests.conftest import SPEC, run

WRITES: dict[str, str | None] = {"kept.txt": "new", "old/gone.txt": None, "a/b/made.txt": "made"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A target with two files, beside a file of the user's."""
    folder = tmp_path / "tree"
    (folder / "old").mkdir(parents=True)
    (folder / "kept.txt").write_text("kept", encoding="utf-8")
    (folder / "old" / "gone.txt").write_text("gone", encoding="utf-8")
    (tmp_path / "private.txt").write_text("mine", encoding="utf-8")
    return folder


def contents(folder: Path) -> dict[str, str]:
    found = (p for p in folder.rglob("*") if p.is_file() and ".portspec" not in p.parts)
    return {str(p.relative_to(folder)): p.read_text("utf-8") for p in found}


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def leave_journal(folder: Path, *rows: Mapping[str, str | None], **files: str) -> Path:
    """Lay a journal as a stranger might; `files` are its texts, as in old0="..."."""
    journal = folder / ".portspec" / "journal"
    journal.mkdir(parents=True)
    (journal / "journal.json").write_text(json.dumps(rows), encoding="utf-8")
    for name, text in files.items():
        (journal / f"{name[3:]}.{name[:3]}").write_text(text, encoding="utf-8")
    return journal


def refused(folder: Path) -> str:
    """Return the code with which holding the target is refused."""
    with pytest.raises(TargetError) as caught, locked(folder):
        pass
    return caught.value.diagnostics[0].code


# --- what a checkout may bring ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "../private.txt",
        "link/private.txt",
        ".git/config",
        ".portspec/../../private.txt",
        ".portspec/skyreels_v2/out/private.txt",
        "hooks/post-checkout",
        ".",
    ],
)
def test_a_journal_that_leads_out_of_the_tree_is_refused(folder: Path, path: str) -> None:
    """Not even what it says of other files is done."""
    (folder / "link").symlink_to(folder.parent)
    (folder / ".git" / "hooks").mkdir(parents=True)
    (folder / ".git" / "config").write_text("mine", encoding="utf-8")
    (folder / "hooks").symlink_to(".git/hooks")
    (folder / ".portspec" / "skyreels_v2").mkdir(parents=True)
    (folder / ".portspec" / "skyreels_v2" / "out").symlink_to(folder.parent)
    before = contents(folder.parent)
    inside = {"path": "kept.txt", "old": sha("old"), "new": sha("kept")}
    outside = {"path": path, "old": sha("theirs"), "new": sha("mine")}
    leave_journal(folder, inside, outside, old0="old", old1="theirs")
    assert refused(folder) == "E118"
    assert contents(folder.parent) == before


def test_an_absolute_path_in_a_journal_deletes_nothing(folder: Path) -> None:
    private = folder.parent / "private.txt"
    leave_journal(folder, {"path": str(private), "old": None, "new": sha("mine")})
    assert refused(folder) == "E118"
    assert private.exists()


def test_a_build_refuses_such_a_journal(
    copy: Path, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    private = workspace / "private.txt"
    private.write_text("mine", encoding="utf-8")
    leave_journal(copy, {"path": "../private.txt", "old": None, "new": sha("mine")})
    assert run("build", SPEC, "--target", copy, "--plan") == FINDINGS
    assert "E118" in capsys.readouterr().err
    assert private.read_text("utf-8") == "mine"


@pytest.mark.parametrize(
    "text", ["{", "[1]", '["kept.txt"]', '[{"path": "kept.txt", "old": "0", "new": null}]']
)
def test_a_journal_that_makes_no_sense_is_refused(folder: Path, text: str) -> None:
    journal = leave_journal(folder)
    (journal / "journal.json").write_text(text, encoding="utf-8")
    before = contents(folder)
    assert refused(folder) == "E230"
    assert contents(folder) == before


@pytest.mark.parametrize(
    "link",
    [
        ".portspec",
        ".portspec/journal",
        ".portspec/lock",
        ".portspec/skyreels_v2",
        ".portspec/skyreels_v2/local",
        ".portspec/journal/0.old",
    ],
)
def test_a_link_in_the_state_folder_is_refused(folder: Path, link: str) -> None:
    """Writing through it, or clearing it away, would reach what it leads to."""
    elsewhere = folder.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").write_text("mine", encoding="utf-8")
    path = folder / link
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(elsewhere / "file" if path.suffix or path.name == "lock" else elsewhere)
    assert refused(folder) == "E118"
    with pytest.raises(TargetError) as caught:
        write_all(folder, {".portspec/skyreels_v2/lock.json": "{}", "kept.txt": "new"})
    assert caught.value.diagnostics[0].code == "E118"
    assert contents(elsewhere) == {"file": "mine"}
    assert (folder / "kept.txt").read_text("utf-8") == "kept"


@pytest.mark.parametrize(
    "path", [".portspec/../kept.txt", ".portspec/a/../../../private.txt", ".portspec/.git/x"]
)
def test_a_path_of_the_state_stays_in_the_state_folder(folder: Path, path: str) -> None:
    with pytest.raises(TargetError) as caught:
        write_all(folder, {path: "no"})
    assert caught.value.diagnostics[0].code == "E118"


def test_a_record_behind_a_link_to_sources_is_refused(folder: Path) -> None:
    """The link stays in the tree, but a record has no business among sources."""
    state = folder / ".portspec" / "skyreels_v2"
    state.mkdir(parents=True)
    (state / "base").symlink_to("../../old")
    with pytest.raises(TargetError) as caught:
        write_all(folder, {".portspec/skyreels_v2/base/gone.txt": "no"})
    assert caught.value.diagnostics[0].code == "E118"
    assert contents(folder)["old/gone.txt"] == "gone"


@pytest.mark.parametrize("name", ["journal", "local", "lock"])
def test_a_family_may_not_be_called_like_a_part_of_the_state_folder(
    workspace: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = workspace / SPEC
    text = spec.read_text("utf-8").replace("family: skyreels_v2\n", f"family: {name}\n", 1)
    spec.write_text(text, encoding="utf-8")
    assert run("check", SPEC) == FINDINGS
    printed = capsys.readouterr()
    assert f"E105 family is malformed: '{name}'" in printed.out + printed.err


# --- what a killed build leaves --------------------------------------------------------------------


def kill(folder: Path, step: int = len(WRITES)) -> None:
    """Write in a process that dies after a number of files."""
    code = f"""
import os, pathlib
from portspec import apply

steps, perform = iter(range({step})), apply._perform
def killed(*args):
    next(steps, None) is None and os._exit(9)
    perform(*args)
apply._perform = killed
apply._finish = lambda root: os._exit(9)
apply.write_all(pathlib.Path({str(folder)!r}), {WRITES!r})
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9


def left_by(folder: Path) -> list[str]:
    """Hold the target as the next build does; return the files that were left to a person."""
    with locked(folder) as rolled_back:
        assert rolled_back
        assert {found.code for found in rolled_back.left} <= {"W233"}
        return [found.place.file for found in rolled_back.left]


@pytest.mark.parametrize("path", ["kept.txt", "old/gone.txt", "a/b/made.txt"])
def test_what_a_person_wrote_after_a_kill_stays(folder: Path, path: str) -> None:
    """Every other file is taken back all the same."""
    before = contents(folder)
    kill(folder)
    (folder / path).parent.mkdir(exist_ok=True)
    (folder / path).write_text("by a person", encoding="utf-8")
    assert left_by(folder) == [path]
    assert contents(folder) == {**before, path: "by a person"}
    assert not (folder / ".portspec" / "journal").exists()


def test_files_that_are_as_they_were_are_no_matter(folder: Path) -> None:
    """As after `git stash` or `git checkout .`, which leave the journal."""
    before = contents(folder)
    kill(folder)
    (folder / "kept.txt").write_text("kept", encoding="utf-8")
    (folder / "a/b/made.txt").unlink()
    stamp = (folder / "kept.txt").stat().st_mtime_ns
    assert left_by(folder) == []
    assert contents(folder) == before
    assert (folder / "kept.txt").stat().st_mtime_ns == stamp
    assert not (folder / "a").exists()


def test_a_build_names_the_files_that_it_left(
    copy: Path, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (copy / "kept.txt").write_text("kept", encoding="utf-8")
    (copy / "old").mkdir()
    (copy / "old" / "gone.txt").write_text("gone", encoding="utf-8")
    kill(copy)
    (copy / "kept.txt").write_text("by a person", encoding="utf-8")
    run("build", SPEC, "--target", copy, "--plan")
    printed = capsys.readouterr().err
    assert "kept.txt: W233" in printed
    assert "made.txt" not in printed
    assert (copy / "kept.txt").read_text("utf-8") == "by a person"


def test_a_folder_where_a_file_was_written_is_a_person_s(folder: Path) -> None:
    kill(folder)
    (folder / "kept.txt").unlink()
    (folder / "kept.txt").mkdir()
    assert left_by(folder) == ["kept.txt"]
    assert (folder / "kept.txt").is_dir()
