"""The default target: a released source distribution, fetched by pip, trusted by its hash, copied to build/.

The archive is unpacked once into the cache. The copy in `build/` is the user's to look at and to change; it
is a git repository of its own, so that `git diff` there shows what a build has done.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from portspec.backend import SourceDistribution
from portspec.cache import cache_root
from portspec.errors import Diagnostic, Place, TargetError

BUILD = "build"
_EXCLUDE = "__pycache__/\n*.pyc\noutputs/\n"


def default_target(source: SourceDistribution, folder: Path, say: Callable[[str], None]) -> Path:
    """Return the copy of the source distribution below `folder`, fetching and copying it when missing.

    Raises:
        TargetError: E304 it cannot be fetched; E305 it is not what its hash says.
    """
    copy = folder / BUILD / source.folder
    if not copy.is_dir():
        unpacked = fetch(source, say)
        say(f"copying {source.folder} to {BUILD}/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=copy.parent, prefix=".") as scratch:
            draft = Path(shutil.copytree(unpacked, Path(scratch) / source.folder))
            _start_history(draft, source)
            _move(draft, copy)
    return copy


def fetch(source: SourceDistribution, say: Callable[[str], None]) -> Path:
    """Return the unpacked source distribution in the cache."""
    home = cache_root() / "targets" / source.sha256[:16]
    unpacked = home / source.folder
    if unpacked.is_dir():
        return unpacked
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home) as scratch:
        say(f"fetching {source.requirement}")
        archive = _download(source, Path(scratch))
        if hashlib.sha256(archive.read_bytes()).hexdigest() != source.sha256:
            message = f"{archive.name} is not the file whose hash is known"
            remedy = "Check the package index that pip uses; nothing was unpacked."
            raise TargetError([Diagnostic("E305", message, Place(source.requirement), remedy)])
        draft = Path(scratch) / "unpacked"
        unpack(archive, draft)
        _move(draft / source.folder, unpacked)
    return unpacked


def _move(folder: Path, place: Path) -> None:
    """Put a finished folder in its place, unless another process has just put its own there."""
    try:
        folder.replace(place)
    except OSError:
        if not place.is_dir():
            raise


def _download(source: SourceDistribution, folder: Path) -> Path:
    requirements = folder / "requirements.txt"
    requirements.write_text(
        f"{source.requirement} --hash=sha256:{source.sha256}\n", encoding="utf-8"
    )
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--no-binary", ":all:", "--require-hashes", "--dest", str(folder)]
    done = subprocess.run(
        [*command, "--requirement", str(requirements)], capture_output=True, text=True, check=False
    )
    archives = sorted(folder.glob("*.tar.gz"))
    if done.returncode or not archives:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        causes = [line for line in lines if line.startswith("ERROR: ")] or lines
        cause = causes[-1] if causes else "no archive came"
        message = f"pip cannot fetch {source.requirement}: {cause}"
        remedy = "Check the network, or give a checkout with --target."
        raise TargetError([Diagnostic("E304", message, Place(source.requirement), remedy)])
    return archives[0]


def unpack(archive: Path, folder: Path) -> None:
    """Unpack the regular files of an archive, refusing any name that leads out of `folder`.

    Raises:
        TargetError: E305 a member's path is absolute, climbs, or is a link.
    """
    with tarfile.open(archive) as opened:
        for member in opened:
            path = PurePosixPath(member.name)
            if path.is_absolute() or ".." in path.parts or not (member.isreg() or member.isdir()):
                message = f"{member.name} in {archive.name} is no plain file inside it"
                raise TargetError([Diagnostic("E305", message, Place(archive.name))])
            content = opened.extractfile(member) if member.isreg() else None
            if content is not None:
                target = folder / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content.read())


def _start_history(folder: Path, source: SourceDistribution) -> None:
    """Commit the tree as it was released; without git, there is no history and nothing else changes."""
    git = shutil.which("git")
    if git is None:
        return

    def run(*arguments: str) -> None:
        subprocess.run([git or "", "-C", str(folder), *arguments], capture_output=True, check=True)

    author = ("-c", "user.name=portspec", "-c", "user.email=portspec@localhost")
    try:
        run("init", "--quiet", "--initial-branch=main")
        (folder / ".git" / "info").mkdir(exist_ok=True)
        (folder / ".git" / "info" / "exclude").write_text(_EXCLUDE, encoding="utf-8")
        run("add", "--all")
        run(*author, "-c", "commit.gpgsign=false", "commit", "--quiet", "-m", source.requirement)
    except (subprocess.CalledProcessError, OSError):
        shutil.rmtree(folder / ".git", ignore_errors=True)
