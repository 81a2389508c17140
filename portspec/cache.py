"""Remember what was read or computed before, keyed by content; no result depends on it.

Everything here may be deleted at any time. Keys hold the digest of portspec's own sources, so a changed
compiler never meets an old answer. Values are JSON, never pickles: a cache is input like any other.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

_TICK_NS = 50_000_000  # clocks of file systems tick every 1 to 10 ms
_MAX_BYTES = 256 * 1024 * 1024
_TABLES = """
create table if not exists memo (kind text, key text, value text, primary key (kind, key)) without rowid;
create table if not exists stamped (
    path text primary key, stamp text, sha text) without rowid;
"""


def cache_root() -> Path:
    """Return the folder for caches: `PORTSPEC_CACHE`, or the user's cache folder."""
    chosen = os.environ.get("PORTSPEC_CACHE") or os.environ.get("XDG_CACHE_HOME")
    if os.environ.get("PORTSPEC_CACHE"):
        return Path(chosen or "").expanduser()
    return (Path(chosen) if chosen else Path.home() / ".cache") / "portspec"


def sha256(*parts: str | bytes) -> str:
    """Hash parts, kept apart by their lengths, to 64 hex digits."""
    digest = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        digest.update(len(raw).to_bytes(8, "big"))
        digest.update(raw)
    return digest.hexdigest()


def content_sha(text: str) -> str:
    """Hash a text as the file that holds it would be hashed."""
    return hashlib.sha256(text.encode()).hexdigest()


@lru_cache(maxsize=1)
def compiler_digest() -> str:
    """Identify portspec's own sources by name, size and time of change."""
    roots = [Path(__file__).parent, *(Path(p) for p in _plugin_folders())]
    rows = sorted(
        f"{path.name} {stat.st_size} {stat.st_mtime_ns}"
        for root in roots
        for path, stat in _source_stats(root)
    )
    return sha256(*rows)


def _plugin_folders() -> Iterable[str]:
    from importlib.util import find_spec

    spec = find_spec("portspec.codegen")
    return list(spec.submodule_search_locations or ()) if spec else []


def _source_stats(root: Path) -> Iterable[tuple[Path, os.stat_result]]:
    for folder, folders, files in os.walk(root):
        folders[:] = [f for f in folders if f != "__pycache__"]
        for name in files:
            if name.endswith((".py", ".jinja", ".md")):
                path = Path(folder, name)
                yield path, path.stat()


class Cache:
    """A small table of answers in one SQLite file, or in memory when the folder cannot be written.

    What is learnt waits in memory until `save`: a transaction that is open while a build runs its gates would
    hold up everybody else's.
    """

    def __init__(self, root: Path | None = None) -> None:
        self._db = self._open(root or cache_root())
        self._files: dict[str, tuple[str, str]] = {}
        self._new_memos: dict[tuple[str, str], str] = {}
        self._new_files: dict[str, tuple[str, str]] = {}

    @staticmethod
    def _open(root: Path) -> sqlite3.Connection:
        try:
            root.mkdir(parents=True, exist_ok=True)
            db = sqlite3.connect(root / "index.sqlite", timeout=10, check_same_thread=False)
            db.execute("pragma journal_mode = wal")
            db.execute("pragma synchronous = off")
            db.executescript(_TABLES)
        except (OSError, sqlite3.Error):
            db = sqlite3.connect(":memory:", check_same_thread=False)
            db.executescript(_TABLES)
        return db

    def get(self, kind: str, key: str) -> Any:
        """Return the JSON value stored under `kind` and `key`, or None."""
        full = (kind, self._full(key))
        if full in self._new_memos:
            return json.loads(self._new_memos[full])
        with suppress(sqlite3.Error, ValueError):
            row = self._db.execute(
                "select value from memo where kind = ? and key = ?", full
            ).fetchone()
            if row:
                return json.loads(row[0])
        return None

    def put(self, kind: str, key: str, value: Any) -> None:
        """Store a JSON value."""
        self._new_memos[kind, self._full(key)] = json.dumps(value, separators=(",", ":"))

    @staticmethod
    def _full(key: str) -> str:
        return sha256(key, compiler_digest())

    def memo(self, kind: str, key: str, compute: Callable[[], Any]) -> Any:
        """Return the value stored under `kind` and `key`, computing and storing it when there is none."""
        value = self.get(kind, key)
        if value is None:
            value = compute()
            self.put(kind, key, value)
        return value

    def file_sha(self, path: str, stat: os.stat_result) -> str:
        """Return the content hash of a file, reading it only when it may have changed.

        A file keeps its size and its time of change when somebody sets the time back, so the time at which
        its inode changed counts too, which nobody can set. A file that was written just now may be written
        again within the same tick of the clock, so its hash is not kept.
        """
        stamp = f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns} {stat.st_ino}"
        known = self._files.get(path) or self._stored(path)
        if known and known[0] == stamp:
            return known[1]
        sha = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        if time.time_ns() - stat.st_ctime_ns > _TICK_NS:
            self._files[path] = self._new_files[path] = (stamp, sha)
        return sha

    def preload(self, folder: str) -> None:
        """Read the hashes of all files below a folder at once, which is faster than one by one."""
        query = "select path, stamp, sha from stamped where path > ? and path < ?"
        with suppress(sqlite3.Error):
            rows = self._db.execute(query, (f"{folder}/", f"{folder}0"))  # "0" comes after "/"
            self._files |= {path: (stamp, sha) for path, stamp, sha in rows}

    def _stored(self, path: str) -> tuple[str, str] | None:
        with suppress(sqlite3.Error):
            query = "select stamp, sha from stamped where path = ?"
            row = self._db.execute(query, (path,)).fetchone()
            return (row[0], row[1]) if row else None
        return None

    def save(self) -> None:
        """Keep what was learnt; losing it costs time, never a result."""
        memos = [(*key, text) for key, text in self._new_memos.items()]
        files = [(path, *known) for path, known in self._new_files.items()]
        if not memos and not files:
            return
        with suppress(sqlite3.Error):
            self._prune()
            with self._db:
                self._db.executemany("replace into memo values (?, ?, ?)", memos)
                self._db.executemany("replace into stamped values (?, ?, ?)", files)
            self._new_memos.clear()
            self._new_files.clear()

    def _prune(self) -> None:
        """Start over when answers of older versions have piled up; only time is lost."""
        pages = self._db.execute("pragma page_count").fetchone()[0]
        size = self._db.execute("pragma page_size").fetchone()[0]
        if pages * size > _MAX_BYTES:
            with self._db:
                self._db.execute("delete from memo")
            self._db.execute("vacuum")
