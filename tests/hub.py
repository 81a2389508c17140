"""A server that answers as the Hugging Face hub does, over a folder: listings, and ranges of bytes."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"
_RANGE = re.compile(r"bytes=(\d+)-(\d+)")


class Hub(ThreadingHTTPServer):
    """Serves one repository, `someone/model`; `ranges` are those that were asked for, by file."""

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root = root
        self.ranges: list[tuple[str, int, int]] = []
        self.tokens: set[str] = set()
        self.whole = False  # ignores ranges, as a server may
        self.fails_after = -1  # requests for bytes; none when negative

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def served(self) -> int:
        return sum(end - start + 1 for _, start, end in self.ranges)


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.server.tokens.add(self.headers.get("Authorization", ""))
        path = self.path.partition("?")[0]
        if path.startswith("/api/models/someone/model/tree/"):
            self._tell(sorted(self._rows(), key=lambda row: str(row["path"])))
        elif path.startswith("/api/models/someone/model"):
            self._tell({"id": "someone/model", "sha": COMMIT, "siblings": []})
        elif path.startswith(f"/someone/model/resolve/{COMMIT}/"):
            self._give(path.split("/", 5)[5])
        else:
            self._tell({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})

    def _rows(self) -> Iterator[dict[str, Any]]:
        for path in self.server.root.rglob("*"):
            name = str(path.relative_to(self.server.root))
            kind = "file" if path.is_file() else "directory"
            size = path.stat().st_size if path.is_file() else 0
            oid = hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()
            yield {"type": kind, "path": name, "size": size, "oid": oid}

    def _give(self, name: str) -> None:
        data = (self.server.root / name).read_bytes()
        found = _RANGE.fullmatch(self.headers.get("Range", ""))
        assert found, "a whole file was asked for"
        if 0 <= self.server.fails_after <= len(self.server.ranges):
            self._tell({"error": "come back later"}, 403)
            return
        start, end = int(found[1]), int(found[2])
        self.server.ranges.append((name, start, end))
        part = data if self.server.whole else data[start : end + 1]
        self.send_response(200 if self.server.whole else 206)
        self.send_header("Content-Length", str(len(part)))
        self.send_header("Content-Range", f"bytes {start}-{end}/{len(data)}")
        self.end_headers()
        self.wfile.write(part)

    def _tell(self, told: Any, status: int = 200, more: dict[str, str] | None = None) -> None:
        text = json.dumps(told).encode()
        self.send_response(status)
        for key, value in {"Content-Type": "application/json", **(more or {})}.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


@contextmanager
def hub(root: Path) -> Iterator[Hub]:
    """Serve a folder as the repository `someone/model` until the block is left."""
    with Hub(root) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
