"""Repositories of the Hugging Face hub, read by ranges of bytes without staging them.

Written as `hf://owner/name[@revision][/folder]`. A revision is made the commit that it means, so that a run
that goes on reads what the first one read. Tokens and the endpoint are huggingface_hub's own affair.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple

from portspec.weights.engine.tensors import WeightsError

SCHEME = "hf://"
REMOTE_STEP = 16 * 1024**2  # bytes of one request
_AHEAD = 64 * 1024  # bytes that are read together when less is asked for
_PLACE = re.compile(
    r"hf://([\w.-]+/[\w.-]+?)(?:@(refs/(?:pr|convert)/[\w.-]+|[\w.%-]+))?(?:/+(.*))?"
)
_COMMIT = re.compile(r"[0-9a-f]{40}")


class RemoteStat(NamedTuple):
    """What is known of a file in a repository."""

    st_size: int
    blob: str


class HubPath(PurePosixPath):
    """A file or folder `hf://owner/name@commit/...`, with what this package uses of `pathlib.Path`."""

    def __str__(self) -> str:
        return SCHEME + super().__str__()[len("hf:/") :]

    @property
    def repository(self) -> str:
        """The repository, as `owner/name`."""
        return f"{self.parts[1]}/{self.parts[2].rpartition('@')[0]}"

    @property
    def commit(self) -> str:
        """The commit that is read."""
        return self.parts[2].rpartition("@")[2]

    @property
    def inner(self) -> str:
        """The path in the repository."""
        return "/".join(self.parts[3:])

    def _files(self) -> Mapping[str, RemoteStat]:
        return _listed(self.repository, self.commit)

    def stat(self) -> RemoteStat:
        """Return size and identity.

        Raises:
            FileNotFoundError: The repository has no such file.
        """
        if not self.is_file():
            raise FileNotFoundError(2, "the repository has no such file", str(self))
        return self._files()[self.inner]

    def is_file(self) -> bool:
        """Tell whether the repository has this file."""
        return self.inner in self._files()

    def is_dir(self) -> bool:
        """Tell whether it is the repository itself or a folder of it."""
        return not self.inner or any(file.startswith(f"{self.inner}/") for file in self._files())

    def exists(self) -> bool:
        """Tell whether it is there."""
        return self.is_file() or self.is_dir()

    def is_symlink(self) -> bool:
        """Return false: what is read of a repository are files."""
        return False

    def resolve(self) -> HubPath:
        """Return the path itself."""
        return self

    def absolute(self) -> HubPath:
        """Return the path itself."""
        return self

    def iterdir(self) -> Iterator[HubPath]:
        """Yield the files and folders of a folder."""
        depth = len(self.parts) - 3
        inside = (file.split("/") for file in self._files())
        names = {p[depth] for p in inside if len(p) > depth and list(self.parts[3:]) == p[:depth]}
        yield from (self / name for name in sorted(names))

    def glob(self, pattern: str) -> Iterator[HubPath]:
        """Yield the files below a folder that a pattern matches, as `Path.glob` does."""
        wanted = [part for part in pattern.split("/") if part not in ("", ".")]
        if any("**" in part and part != "**" for part in wanted):
            raise ValueError("** stands for whole folders alone")
        depth = len(self.parts) - 3
        for file in self._files():
            parts = file.split("/")
            if parts[:depth] == list(self.parts[3:]) and _matches(parts[depth:], wanted):
                yield self.joinpath(*parts[depth:])

    def open(self, mode: str = "rb") -> BinaryIO:
        """Open a file for reading bytes; each read asks for the range that it needs.

        Raises:
            WeightsError: E529 the hub does not answer; also while reading.
        """
        assert mode == "rb", mode
        return io.BufferedReader(_Ranges(self), _AHEAD)

    def read_text(self, encoding: str = "utf-8") -> str:
        """Return the whole file as text."""
        return self.read_bytes().decode(encoding)

    def read_bytes(self) -> bytes:
        """Return the whole file."""
        return _Ranges(self).readall()


Location = Path | HubPath


class _Ranges(io.RawIOBase):
    """A file of a repository whose bytes are fetched when they are read."""

    def __init__(self, path: HubPath) -> None:
        self._path = path
        self._size = path.stat().st_size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._position = offset + (0, self._position, self._size)[whence]
        return self._position

    def tell(self) -> int:
        return self._position

    def readall(self) -> bytes:
        data = bytearray()
        while self._position < self._size:
            piece = bytearray(min(REMOTE_STEP, self._size - self._position))
            self.readinto(piece)
            data += piece
        return bytes(data)

    def readinto(self, buffer: Any) -> int:
        count = min(len(buffer), self._size - self._position, REMOTE_STEP)
        if count <= 0:
            return 0
        buffer[:count] = _fetched(self._path, self._position, self._position + count)
        self._position += count
        return count


def place(text: str) -> Location:
    """Return where a path or an address of the hub leads.

    Raises:
        WeightsError: E529 it is no address of a repository, or the hub does not know it.
    """
    if not text.startswith(SCHEME):
        return Path(text)
    found = _PLACE.fullmatch(text)
    if not found or ".." in text.split("/"):
        remedy = "Write hf://owner/name, with @revision or a /folder behind it if need be."
        raise WeightsError("E529", "this is no address of a repository", text, remedy)
    repository, revision, inner = found[1], found[2] or "main", found[3] or ""
    commit = revision if _COMMIT.fullmatch(revision) else _commit(repository, revision)
    return HubPath(f"hf:/{repository}@{commit}/{inner}")


def _commit(repository: str, revision: str) -> str:
    def ask() -> str:
        from huggingface_hub import HfApi

        return str(HfApi().repo_info(repository, revision=revision.replace("%2F", "/")).sha)

    return str(_asked(ask, SCHEME + repository))


@lru_cache(maxsize=8)
def _listed(repository: str, commit: str) -> Mapping[str, RemoteStat]:
    """Return all files of a repository."""

    def ask() -> dict[str, RemoteStat]:
        from huggingface_hub import HfApi
        from huggingface_hub.hf_api import RepoFile

        rows = HfApi().list_repo_tree(repository, recursive=True, revision=commit)
        files = (row for row in rows if isinstance(row, RepoFile))
        found = {row.path: RemoteStat(row.size, row.blob_id) for row in files}
        for name in found:
            if not name.isprintable() or not {"", ".", ".."}.isdisjoint(name.split("/")):
                raise OSError(f"the repository lists {name!r}, which is no name of a file")
        return found

    found: dict[str, RemoteStat] = _asked(ask, f"{SCHEME}{repository}@{commit}")
    return found


def _fetched(path: HubPath, start: int, end: int) -> bytes:
    """Return the bytes of a range, and nothing else that a server may send."""

    def ask() -> bytes:
        from huggingface_hub import hf_hub_url, utils

        hub: Any = utils  # which does not say that these are its own
        url = hf_hub_url(path.repository, path.inner, revision=path.commit)
        wanted = {"Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity"}
        headers = {**hub.build_hf_headers(), **wanted}
        with hub.http_stream_backoff("GET", url, headers=headers) as response:
            hub.hf_raise_for_status(response)
            told = response.headers.get("Content-Range", "nothing")
            if told != f"bytes {start}-{end - 1}/{path.stat().st_size}":
                raise OSError(f"bytes {start} to {end - 1} were asked for, and {told} came")
            data = bytearray()
            for piece in response.iter_bytes():
                data += piece
                if len(data) > end - start:
                    break
        if len(data) != end - start:
            raise OSError(f"{end - start:,} bytes were asked for, and others came")
        return bytes(data)

    data: bytes = _asked(ask, str(path))
    return data


def _asked(ask: Any, shown: str) -> Any:
    """Ask the hub.

    Raises:
        WeightsError: E529 it does not answer, or not with what was asked for.
    """
    try:
        return ask()
    except ImportError as error:
        remedy = "Install huggingface_hub."
        raise WeightsError("E529", "huggingface_hub is not installed", shown, remedy) from error
    except (
        Exception
    ) as error:  # of the network, the server or the library; all have their own classes
        told = str(error).strip().partition("\n")[0] or type(error).__name__
        remedy = "Look at the name, at HF_TOKEN for what needs a login, and at the network; then run again."
        raise WeightsError("E529", f"the hub does not give it: {told}", shown, remedy) from error


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_matches(parts[start:], pattern[1:]) for start in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])
