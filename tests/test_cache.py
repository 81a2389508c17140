"""What is remembered is never wrong: not after an edit that hides, not from a cache that is damaged."""

from __future__ import annotations

import os
import shutil
import threading
import time
from pathlib import Path

import pytest

from portspec import cache as caching
from portspec import target as fetching
from portspec.backend import backends
from portspec.cache import Cache
from portspec.commands import CLEAN, FINDINGS
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
