"""What is remembered is never wrong: not after an edit that hides, not from a cache that is damaged."""

from __future__ import annotations

import os
import shutil
import threading
import time
from pathlib import Path

import pytest

from portspec import cache as caching
from portspec import recall as recalling
from portspec import target as fetching
from portspec.backend import backends
from portspec.cache import Cache
from portspec.commands import CLEAN, FINDINGS
from portspec.tree import Tree
from tests.conftest import SPEC, run


def sha(cache: Cache, path: Path) -> str:
    return cache.file_sha(str(path), path.stat())


def test_an_edit_of_the_same_size_at_the_same_time_is_seen(tmp_path: Path) -> None:
    cache, file = Cache(tmp_path / "cache"), tmp_path / "file.txt"
    file.write_text("one", encoding="utf-8")
    time.sleep(0.1)  # let the clock tick, so that the hash is kept
    before, stat = sha(cache, file), file.stat()
    cache.save()
    file.write_text("two", encoding="utf-8")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert sha(Cache(tmp_path / "cache"), file) != before


def test_a_file_that_was_just_written_is_not_taken_as_settled(tmp_path: Path) -> None:
    cache, file = Cache(tmp_path / "cache"), tmp_path / "file.txt"
    for text in ("one", "two", "six", "ten"):
        file.write_text(text, encoding="utf-8")
        fresh = Cache(tmp_path / "other")
        assert sha(cache, file) == sha(fresh, file)


@pytest.mark.parametrize("content", [b"", b"no database\n" * 100], ids=["empty", "damaged"])
def test_a_damaged_cache_costs_time_and_nothing_else(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "index.sqlite").write_bytes(content)
    cache = Cache(tmp_path)
    assert cache.memo("kind", "key", lambda: 1) == 1
    cache.save()


def test_a_cache_that_has_grown_starts_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caching, "_MAX_BYTES", 100_000)
    cache = Cache(tmp_path)
    for number in range(3):
        cache.put("kind", f"key {number}", "x" * 100_000)
        cache.save()
    kept = [n for n in range(3) if Cache(tmp_path).get("kind", f"key {n}") is not None]
    assert kept == [2]
    assert (tmp_path / "index.sqlite").stat().st_size < 300_000


def test_a_check_is_asked_again_when_anything_it_read_has_changed(
    copy: Path, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check = ("check", SPEC, "--target", str(copy))
    assert run(*check) == CLEAN
    assert run(*check) == CLEAN
    spec = workspace / "specs/wan.yaml"  # it is only inherited from
    text = spec.read_text("utf-8")
    spec.write_text(text.replace("num_layers: 30", "num_layers: thirty"), encoding="utf-8")
    assert run(*check) == CLEAN  # SkyReels-V2 states its own
    spec.write_text(text.replace("guidance_scale: 6.0", "guidance_scale: 1.0"), encoding="utf-8")
    assert run(*check) == FINDINGS
    spec.write_text(text, encoding="utf-8")
    assert run(*check) == CLEAN
    (copy / "fastvideo/models/dits/wanvideo.py").unlink()
    assert run(*check) == FINDINGS


def test_a_check_is_asked_again_when_another_file_is_extended(
    released: Path, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name is looked up in one folder after the other, and a file in an earlier one comes first."""
    folder = workspace / "specs" / "sub"
    folder.mkdir()
    spec, nearer = folder / "sky.yaml", folder / "wan.yaml"
    (workspace / SPEC).rename(spec)
    (workspace / "specs/surfaces").rename(folder / "surfaces")
    (workspace / "specs/surfaces").symlink_to(folder / "surfaces")
    check = ("check", spec, "--target", released)
    assert run(*check) == CLEAN
    assert run(*check) == CLEAN
    nearer.write_text("schema: [\n", encoding="utf-8")
    assert run(*check) == FINDINGS
    nearer.unlink()
    assert run(*check) == CLEAN


def test_a_check_is_asked_again_when_a_link_leads_elsewhere(
    released: Path, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wan, one, other = (workspace / "specs" / name for name in ("wan.yaml", "one.yml", "other.yml"))
    wan.rename(one)
    text = one.read_text("utf-8")
    assert "guidance_scale: 6.0" in text
    other.write_text(text.replace("guidance_scale: 6.0", "guidance_scale: 1.0"), encoding="utf-8")
    wan.symlink_to(one)
    check = ("check", SPEC, "--target", released)
    assert run(*check) == CLEAN
    wan.unlink()
    wan.symlink_to(other)
    assert run(*check) == FINDINGS


def test_what_was_answered_without_a_gpu_is_asked_again_with_one(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, device = Cache(tmp_path / "cache"), tmp_path / "nvidiactl"
    monkeypatch.setattr(recalling, "_NVIDIA", str(device))
    recalling.remember(cache, "build", tree, [], ["without"])
    assert recalling.recall(cache, "build", tree) == ["without"]
    device.touch()
    assert recalling.recall(cache, "build", tree) is None
    recalling.remember(cache, "build", tree, [], ["with"])
    assert recalling.recall(cache, "build", tree) == ["with"]
    device.unlink()
    assert recalling.recall(cache, "build", tree) == ["without"]


def test_what_was_read_may_become_a_pipe(tree: Tree, tmp_path: Path) -> None:
    cache, file = Cache(tmp_path / "cache"), tmp_path / "file"
    file.touch()
    recalling.remember(cache, "check", tree, [file], [])
    file.unlink()
    os.mkfifo(file)
    assert recalling.recall(cache, "check", tree) is None


def test_two_processes_may_fetch_at_a_time(
    released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both find nothing, both fetch; one result is taken, and no draft stays."""
    monkeypatch.setenv("PORTSPEC_CACHE", str(tmp_path / "cache"))
    source = backends()[0].default_target
    archive = tmp_path / "archive.tar.gz"
    archive.write_bytes(b"")
    both = threading.Barrier(2)

    def unpacked(_archive: Path, folder: Path) -> None:
        shutil.copytree(released / "fastvideo/configs", folder / source.folder)
        both.wait()

    monkeypatch.setattr(fetching, "_download", lambda _source, _folder: archive)
    monkeypatch.setattr(fetching, "unpack", unpacked)
    monkeypatch.setattr(fetching.hashlib, "sha256", lambda _content: _Hash(source.sha256))
    threads = [threading.Thread(target=fetching.fetch, args=(source, print)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    home = fetching.fetch(source, print)
    assert [p.name for p in home.parent.iterdir()] == [source.folder]


class _Hash:
    def __init__(self, digest: str) -> None:
        self._digest = digest

    def hexdigest(self) -> str:
        return self._digest
