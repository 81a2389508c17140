"""Apply: a plan -> a changed tree, all of it or none. The only module that writes into a target.

The old texts are kept in a journal until every file has been renamed into place. Whoever finds a journal
(the next run, or this one when it is interrupted) puts the old texts back first. One builder at a time.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from portspec.errors import Diagnostic, LockedError, Place, TargetError
from portspec.rules.paths import why_unsafe
from portspec.state import FOLDER


@contextmanager
def locked(root: Path) -> Iterator[bool]:
    """Hold the target for one build; yields whether an interrupted build was rolled back first.

    Raises:
        LockedError: E231 another build holds it.
        TargetError: E232 the folder cannot be written.
    """
    folder = root / FOLDER
    try:
        folder.mkdir(exist_ok=True)
        handle = (folder / "lock").open("w")
    except OSError as error:
        remedy = "Give --target a folder that you may write to."
        message = f"cannot write to the target: {error.strerror}"
        raise TargetError([Diagnostic("E232", message, Place(str(folder)), remedy)]) from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            remedy = "Wait for it to end; the lock goes when its process does."
            message = "another build is writing to this target"
            raise LockedError(
                [Diagnostic("E231", message, Place(str(folder / "lock")), remedy)]
            ) from error
        yield roll_back(root)


def write_all(root: Path, texts: Mapping[str, str | None]) -> list[str]:
    """Write, change and delete files so that all of it happens or none.

    Args:
        root: The target's root.
        texts: Path relative to the root -> the text to write, or None to delete the file.

    Returns:
        The paths that were touched: files that hold their text already are left alone, times and all.

    Raises:
        TargetError: E118 a path leaves the tree; E232 a file cannot be written. The tree is as before.
    """
    todo = {path: text for path, text in sorted(texts.items()) if _differs(root / path, text)}
    if not todo:
        return []
    for path in todo:
        why = why_unsafe(path.removeprefix(f"{FOLDER}/"), root)
        if why:
            raise TargetError([Diagnostic("E118", f"will not write {path}: {why}", Place(path))])
    try:
        _prepare(root, todo)
        for index, path in enumerate(todo):
            _perform(root, index, path, todo[path])
    except OSError as error:
        roll_back(root)
        message = f"cannot write {error.filename or ''}: {error.strerror}; nothing was changed"
        raise TargetError(
            [Diagnostic("E232", message, Place(str(error.filename or root)))]
        ) from error
    except BaseException:
        roll_back(root)
        raise
    _finish(root)
    return list(todo)


def roll_back(root: Path) -> bool:
    """Put back what an interrupted run has changed; return whether there was anything to do."""
    journal = _journal(root)
    record = journal / "journal.json"
    if not record.is_file():
        shutil.rmtree(journal, ignore_errors=True)
        return False
    for index, path in enumerate(json.loads(record.read_text(encoding="utf-8"))):
        old = journal / f"{index}.old"
        target = _target(root, path)
        if old.is_file():
            copy = journal / f"{index}.back"
            shutil.copy2(old, copy)
            target.parent.mkdir(parents=True, exist_ok=True)  # a deletion may have emptied it
            copy.replace(target)
        else:
            target.unlink(missing_ok=True)
            _prune(root, target.parent)
    _finish(root)
    return True


def _journal(root: Path) -> Path:
    return root / FOLDER / "journal"


def _target(root: Path, path: str) -> Path:
    """Return the file to write: a link inside the tree stays a link, and its file changes."""
    target = root / path
    return target.resolve() if target.is_symlink() else target


def _differs(path: Path, text: str | None) -> bool:
    if text is None:
        return path.is_file()
    try:
        return path.read_bytes() != text.encode()
    except OSError:
        return True


def _prepare(root: Path, todo: Mapping[str, str | None]) -> None:
    """Write the new texts and keep the old ones; the record comes last and makes the journal count."""
    journal = _journal(root)
    shutil.rmtree(journal, ignore_errors=True)
    journal.mkdir(parents=True)
    for index, (path, text) in enumerate(todo.items()):
        target = root / path
        if target.is_file():
            shutil.copy2(target, journal / f"{index}.old")
        if text is not None:
            new = journal / f"{index}.new"
            new.write_bytes(text.encode())
            if target.is_file():
                shutil.copymode(target, new)
    draft = journal / "journal.draft"
    draft.write_text(json.dumps(list(todo)), encoding="utf-8")
    _sync(draft)
    draft.replace(journal / "journal.json")


def _perform(root: Path, index: int, path: str, text: str | None) -> None:
    target = _target(root, path)
    if text is None:
        target.unlink()
        _prune(root, target.parent)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        (_journal(root) / f"{index}.new").replace(target)


def _prune(root: Path, folder: Path) -> None:
    """Remove folders that a deletion has left empty."""
    while folder != root and folder.is_dir():
        left = [entry for entry in folder.iterdir() if entry.name != "__pycache__"]
        if left:
            return
        shutil.rmtree(folder)
        folder = folder.parent


def _finish(root: Path) -> None:
    """Make the journal stop counting in one step, then clear it away."""
    journal = _journal(root)
    (journal / "journal.json").unlink(missing_ok=True)
    shutil.rmtree(journal, ignore_errors=True)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
