"""Answer at once when nothing that an answer depends on has changed.

An answer is kept with the hash of every file that was read for it: the spec and what it extends, the
official sources, the records beside the target, the installed packages' metadata; and with one digest over
the whole target tree. When all of them are the same, so is the answer, and no step needs to run.
"""

from __future__ import annotations

import os
import platform
import stat
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from portspec.cache import Cache, sha256
from portspec.tree import Tree

_MISSING = ""
_NVIDIA = "/dev/nvidiactl"  # there when the driver is; asking CUDA itself takes seconds


def recall(cache: Cache, question: str, tree: Tree) -> Any:
    """Return the answer to a question that was asked before, or None when something has changed.

    Args:
        cache: Where answers are kept.
        question: Everything that was asked, options included.
        tree: The target as it is.
    """
    kept = cache.get("answer", _key(question, tree))
    if not isinstance(kept, dict):
        return None
    if any(_hash(cache, path) != known for path, known in kept["reads"].items()):
        return None
    return kept["answer"] if kept["tree"] == tree.digest() else None


def remember(cache: Cache, question: str, tree: Tree, reads: Iterable[Path], answer: Any) -> None:
    """Keep an answer with what it depends on."""
    known = {str(path): _hash(cache, str(path)) for path in reads}
    value = {"tree": tree.digest(), "reads": known, "answer": answer}
    cache.put("answer", _key(question, tree), value)


def _key(question: str, tree: Tree) -> str:
    # What a gate proves on a CPU it has not proved on a GPU: a folder may be shared by two machines.
    device = "nvidia" if os.path.exists(_NVIDIA) else "none"  # noqa: PTH110 - pathlib takes longer
    machine = f"{sys.executable} {platform.python_version()} {device}"
    return sha256(question, str(tree.root.resolve()), tree.shown, machine, str(Path.cwd()))


def _hash(cache: Cache, path: str) -> str:
    try:
        found = os.stat(path)  # noqa: PTH116 - as the tree does
        # What is no file was not read, and reading a pipe would wait for ever.
        return cache.file_sha(path, found) if stat.S_ISREG(found.st_mode) else _MISSING
    except OSError:
        return _MISSING


def metadata_files(packages: Iterable[str]) -> list[Path]:
    """Return the metadata file of each installed package: it changes, or goes, with the version."""
    from importlib.metadata import PackageNotFoundError, distribution

    found: list[Path] = []
    for name in packages:
        try:
            installed = distribution(name)
        except PackageNotFoundError:
            continue
        stem = installed.metadata["Name"].replace("-", "_")
        path = Path(str(installed.locate_file(f"{stem}-{installed.version}.dist-info/METADATA")))
        found.append(path)
    return found
