"""Trees that a port is built into: two releases, a git checkout, and folders that are none of these."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from portspec import target as targets
from portspec.backend import SourceDistribution, backends
from portspec.cache import Cache
from portspec.codegen.backend import backend
from portspec.codegen.facts import (
    FORWARD_BATCH,
    INVENTORY,
    REGISTRY,
    SAMPLING_PARAM,
    SUPPORT_MATRIX,
)
from portspec.commands import CLEAN, USAGE
from portspec.errors import TargetError
from portspec.settings import read_settings
from portspec.tree import Tree
from tests.conftest import SPEC, run
from tests.trees import ARGUMENT, contents, git_checkout, stamps

LAYOUTS = ("0.2.1", "0.2.0", "git checkout")
HUBS = [f"Skywork/SkyReels-V2-T2V-14B-{size}-Diffusers" for size in ("540P", "720P")]


def build(folder: Path) -> int:
    return run("build", SPEC, "--target", folder, "--no-gates")


def with_argument(workspace: Path) -> None:
    """Give the spec a public argument of its own."""
    spec = workspace / SPEC
    spec.write_text(spec.read_text("utf-8") + ARGUMENT, encoding="utf-8")


@pytest.fixture
def checkout(tree: Tree, tmp_path: Path) -> Path:
    return git_checkout(tree, tmp_path / "checkout")


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another cache, which knows nothing of what was built with the usual one."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest, tree: Tree, tmp_path: Path) -> Path:
    """A tree of each layout, to be changed."""
    folder = tmp_path / "FastVideo"
    if request.param == "git checkout":
        return git_checkout(tree, folder)
    released = request.getfixturevalue("older" if request.param == "0.2.0" else "released")
    return Path(shutil.copytree(released, folder))


# --- layouts ---------------------------------------------------------------------------------------


def findings(folder: Path, cache: Cache) -> list[str]:
    """Audit a tree; a finding that has moved to another line is the same."""
    found = backend.audit(Tree(folder, cache))
    return sorted(re.sub(r" \(line \d+\)", "", f"{d.code} {d.message}") for d in found)


def test_check_and_build_are_clean_and_add_no_finding(
    layout: Path, workspace: Path, cache: Cache, capsys: pytest.CaptureFixture[str]
) -> None:
    before = findings(layout, cache)
    assert run("check", SPEC, "--target", layout) == CLEAN
    assert capsys.readouterr().out == "skyreels_v2.yaml: nothing speaks against building\n"
    assert build(layout) == CLEAN
    assert findings(layout, cache) == before


def test_a_second_build_touches_nothing(
    layout: Path,
    workspace: Path,
    elsewhere: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nor does it when it judges everything anew, since nothing is remembered of the first."""
    assert build(layout) == CLEAN
    before = stamps(layout)
    monkeypatch.setenv("PORTSPEC_CACHE", str(elsewhere))
    assert build(layout) == CLEAN
    assert stamps(layout) == before
    assert "nothing to write" in capsys.readouterr().err


def test_a_git_checkout_s_lists_are_complete_before_and_after(
    checkout: Path, workspace: Path, cache: Cache
) -> None:
    def incomplete() -> list[str]:
        return [str(d) for d in backend.audit(Tree(checkout, cache)) if d.check == "K11"]

    with_argument(workspace)
    assert incomplete() == []
    assert build(checkout) == CLEAN
    assert incomplete() == []
    (checkout / INVENTORY).write_bytes(
        (checkout / INVENTORY).read_bytes().replace(b"ar_step", b"x")
    )
    (checkout / SUPPORT_MATRIX).write_text("no table", encoding="utf-8")
    assert len(incomplete()) > len(HUBS)


def test_the_support_matrix_gets_each_row_once_and_in_its_place(
    checkout: Path, workspace: Path
) -> None:
    before = (checkout / SUPPORT_MATRIX).read_text("utf-8").splitlines()
    build(checkout)
    after = (checkout / SUPPORT_MATRIX).read_text("utf-8").splitlines()
    new = [line for line in after if "skyreels" in line.lower()]
    assert [line for line in after if line not in new] == before
    assert [[cell.strip() for cell in line.split("|")][1:4] for line in new] == [
        ["skyreels_v2", f"`{hub}`", "T2V"] for hub in HUBS
    ]
    families = [line.split()[1] for line in after if line.startswith("| ") and "`" in line][:-1]
    assert families == sorted(families)


def test_the_inventory_gets_each_argument_once(checkout: Path, workspace: Path) -> None:
    with_argument(workspace)
    before = (checkout / INVENTORY).read_text("utf-8").splitlines()
    assert build(checkout) == CLEAN
    after = (checkout / INVENTORY).read_text("utf-8").splitlines()
    new = "      ar_step: request.extensions.skyreels_v2.ar_step"
    assert after.count(new) == 1
    assert [line for line in after if line != new] == before
    surface = after[after.index("  sampling_param_base:") :]
    start, end = surface.index("    preset_owned:"), surface.index("    internal_only:")
    assert start < surface.index(new) < end


def test_an_argument_reaches_the_request_the_batch_and_the_command_line(
    copy: Path, workspace: Path
) -> None:
    """The released tree has no inventory, and nobody makes one."""
    with_argument(workspace)
    assert build(copy) == CLEAN
    for path in (SAMPLING_PARAM, FORWARD_BATCH):
        assert (copy / path).read_text("utf-8").count("    ar_step: int | None = None\n") == 1
    assert (copy / SAMPLING_PARAM).read_text("utf-8").count('"--ar-step"') == 1
    assert not (copy / "docs").exists()


def test_a_checkout_with_windows_line_ends_keeps_them(copy: Path, workspace: Path) -> None:
    for path in copy.rglob("*.py"):
        path.write_bytes(path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
    before = contents(copy)
    assert run("check", SPEC, "--target", copy) == CLEAN
    assert build(copy) == CLEAN
    after, at = contents(copy), stamps(copy)
    edited = [path for path in before if after[path] != before[path]]
    assert REGISTRY in edited
    for path in edited:
        assert after[path].count(b"\n") == after[path].count(b"\r\n"), path
        assert after[path].count(b"\n") > before[path].count(b"\n"), path
    assert build(copy) == CLEAN
    assert stamps(copy) == at


# --- which tree ------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", [None, "by-option"])
@pytest.mark.parametrize("variable", [None, "by-variable"])
@pytest.mark.parametrize("file", [None, "by-file"])
def test_an_option_beats_the_environment_which_beats_the_file(
    workspace: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    option: str | None,
    variable: str | None,
    file: str | None,
) -> None:
    """Seen from outside: the command says which folder it has not found."""
    monkeypatch.delenv("PORTSPEC_TARGET", raising=False)
    if variable:
        monkeypatch.setenv("PORTSPEC_TARGET", variable)
    if file:
        (workspace / "portspec.yaml").write_text(f"target: {file}\n", encoding="utf-8")
    chosen = option or variable or file
    assert read_settings({"target": option}, workspace).target == (Path(chosen) if chosen else None)
    if chosen:
        assert run("check", SPEC, *(["--target", option] if option else [])) == USAGE
        assert f"E902 there is no folder {chosen}\n" in capsys.readouterr().err


@pytest.mark.parametrize("how", ["option", "environment", "file"])
def test_each_way_to_name_a_target_leads_there(
    copy: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.delenv("PORTSPEC_TARGET", raising=False)
    if how == "environment":
        monkeypatch.setenv("PORTSPEC_TARGET", str(copy))
    if how == "file":
        (workspace / "portspec.yaml").write_text("target: FastVideo\n", encoding="utf-8")
    options = ["--target", str(copy)] if how == "option" else []
    assert run("build", SPEC, "--no-gates", *options) == CLEAN
    assert (copy / ".portspec/skyreels_v2/lock.json").is_file()
    assert not (workspace / "build").exists()


@pytest.mark.parametrize("name", ["empty", "above", "package"])
@pytest.mark.parametrize("command", [["check", SPEC], ["build", SPEC, "--no-gates"], ["audit"]])
def test_a_folder_that_is_not_fastvideo_is_refused_and_stays_as_it_is(
    tree: Tree,
    workspace: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    command: list[str],
) -> None:
    """The usual mistakes: the folder above the checkout, and the package instead of it."""
    folder = workspace / name
    registry = {"empty": None, "above": "FastVideo/fastvideo/registry.py", "package": "registry.py"}
    folder.mkdir()
    if path := registry[name]:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(tree.text(REGISTRY), encoding="utf-8")
    before = stamps(folder)
    assert run(*command, "--target", folder) == USAGE
    assert f"E303 {folder} is no source tree of a framework" in capsys.readouterr().err
    assert stamps(folder) == before


def test_the_default_target_is_a_committed_copy_that_stays(
    released: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PORTSPEC_TARGET", raising=False)
    assert run("build", SPEC, "--no-gates") == CLEAN
    folder = workspace / "build" / released.name
    command = ["git", "-C", str(folder), "status", "--porcelain"]
    status = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    changed = [line[3:] for line in status.splitlines() if line.startswith(" M")]
    assert REGISTRY in changed
    (folder / "mine.txt").write_text("mine", encoding="utf-8")
    assert run("build", SPEC, "--no-gates") == CLEAN
    assert (folder / "mine.txt").read_text("utf-8") == "mine"
    assert [p.name for p in (workspace / "build").iterdir()] == [released.name]


# --- archives --------------------------------------------------------------------------------------


def archive(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as made:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            made.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package index of one false FastVideo, which is all that pip can see, and an empty cache."""
    folder = tmp_path / "index"
    folder.mkdir()
    archive(folder / "fastvideo-0.2.1.tar.gz", {"fastvideo-0.2.1/PKG-INFO": b"Name: fastvideo\n"})
    for name in ("PIP_NO_INDEX", "PIP_NO_CACHE_DIR"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PORTSPEC_CACHE", str(tmp_path / "cache"))
    return folder


def test_an_archive_with_another_hash_is_refused_by_pip_and_nothing_is_unpacked(
    index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(TargetError) as caught:
        targets.fetch(backends()[0].default_target, lambda _: None)
    (found,) = caught.value.diagnostics
    assert found.code == "E304"
    assert found.place.file == "fastvideo==0.2.1"
    assert "HASHES" in found.message
    assert "fastvideo-0.2.1" not in {p.name for p in (tmp_path / "cache").rglob("*")}


def test_an_archive_with_another_hash_that_came_anyway_is_refused_too(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should pip not look, we do."""
    monkeypatch.setattr(targets, "_download", lambda *_: index / "fastvideo-0.2.1.tar.gz")
    with pytest.raises(TargetError) as caught:
        targets.fetch(backends()[0].default_target, lambda _: None)
    assert [d.code for d in caught.value.diagnostics] == ["E305"]
    assert "fastvideo-0.2.1" not in {p.name for p in (tmp_path / "cache").rglob("*")}


def test_a_target_that_cannot_be_fetched_leaves_no_build_folder(
    index: Path, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("build", SPEC, "--no-gates") != CLEAN
    assert "E304" in capsys.readouterr().err
    assert not (workspace / "build").exists()


@pytest.mark.parametrize("name", ["/{outside}", "../outside", "a/../../outside"])
def test_a_member_that_leads_out_of_the_archive_is_refused(tmp_path: Path, name: str) -> None:
    name = name.format(outside=(tmp_path / "outside").relative_to("/"))
    made = archive(tmp_path / "a.tar.gz", {name: b"no"})
    with pytest.raises(TargetError) as caught:
        targets.unpack(made, tmp_path / "into")
    assert [d.code for d in caught.value.diagnostics] == ["E305"]
    assert not (tmp_path / "outside").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_a_member_that_is_no_file_is_refused(tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as made:
        info = tarfile.TarInfo("a/link")
        info.type, info.linkname = kind, "/etc/hostname"
        made.addfile(info)
    with pytest.raises(TargetError) as caught:
        targets.unpack(tmp_path / "a.tar.gz", tmp_path / "into")
    assert [d.code for d in caught.value.diagnostics] == ["E305"]
    assert not list((tmp_path / "into").rglob("*"))


def test_what_was_fetched_is_what_the_hash_names(released: Path, older: Path) -> None:
    for folder, version in ((released, "0.2.1"), (older, "0.2.0")):
        assert f"\nVersion: {version}\n" in (folder / "PKG-INFO").read_text("utf-8")
    source: SourceDistribution = backends()[0].default_target
    assert released.parent.name == source.sha256[:16]
