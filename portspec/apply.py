"""Apply: a plan -> a changed tree, all of it or none. The only module that writes into a target.

The old texts are kept in a journal until every file has been renamed into place. Whoever finds a journal
(the next run, or this one when it is interrupted) puts the old texts back first. One builder at a time.

The state folder is committed, so what stands in it may come from a stranger: links in it are refused, and a
journal is believed no more than a spec.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from portspec.errors import Diagnostic, LockedError, Place, TargetError
from portspec.rules.paths import why_unsafe
from portspec.state import FOLDER


@dataclass(frozen=True, slots=True)
class RolledBack:
    """An interrupted build was taken back; `left` tells of the files that a person has changed since."""

    left: tuple[Diagnostic, ...]


@dataclass(frozen=True, slots=True)
class _Row:
    """One file of a journal: the hashes of its text before and after, None where there was no file."""

    path: str
    old: str | None
    new: str | None


@contextmanager
def locked(root: Path) -> Iterator[RolledBack | None]:
    """Hold the target for one build; yields what was rolled back first, if a build was interrupted.

    Raises:
        LockedError: E231 another build holds it.
        TargetError: E118 the state folder leads out of the tree; E230 the journal is damaged; E232 the
            folder cannot be written.
    """
    folder = root / FOLDER
    _refuse_links(root)
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
        try:
            rolled_back = roll_back(root)
        except OSError as error:
            raise _unwritable(
                error, root, "an interrupted build could not be taken back"
            ) from error
        yield rolled_back


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
    _refuse_links(root)
    for path in todo:
        if why := _why_refused(root, path):
            raise TargetError([Diagnostic("E118", f"will not write {path}: {why}", Place(path))])
    try:
        _prepare(root, todo)
        for index, path in enumerate(todo):
            _perform(root, index, path, todo[path])
    except OSError as error:
        roll_back(root)
        raise _unwritable(error, root, "nothing was changed") from error
    except BaseException:
        roll_back(root)
        raise
    _finish(root)
    return list(todo)


def _unwritable(error: OSError, root: Path, outcome: str) -> TargetError:
    message = f"cannot write {error.filename or ''}: {error.strerror}; {outcome}"
    return TargetError([Diagnostic("E232", message, Place(str(error.filename or root)))])


def roll_back(root: Path) -> RolledBack | None:
    """Put back what an interrupted run has changed; return None when there was nothing to do.

    A journal may be found long after its run was killed. A file that holds neither its old text nor the
    new one by then is a person's: it stays.

    Raises:
        TargetError: E118 the journal names a path outside the tree; E230 it is damaged. Nothing is touched.
    """
    journal = _journal(root)
    if not (journal / "journal.json").is_file():
        shutil.rmtree(journal, ignore_errors=True)
        return None
    rows = _read_journal(root)
    left = [row.path for index, row in enumerate(rows) if not _take_back(root, index, row)]
    _finish(root)
    return RolledBack(tuple(_left(path) for path in left))


def _read_journal(root: Path) -> list[_Row]:
    """Return a journal's rows when all of them may be acted on."""
    journal = _journal(root)
    place = Place(str(journal))
    remedy = (
        "Look at the files that it names, and delete the folder: no build leaves such a journal."
    )
    try:
        raw = json.loads((journal / "journal.json").read_text(encoding="utf-8"))
        rows = [_Row(str(row["path"]), row["old"], row["new"]) for row in raw]
        refused = [(row.path, why) for row in rows if (why := _why_refused(root, row.path))]
        whole = all(_sha(journal / f"{i}.old") == row.old for i, row in enumerate(rows))
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f"the journal of an interrupted build cannot be read: {error}"
        raise TargetError([Diagnostic("E230", message, place, remedy)]) from error
    if refused:
        message = "the journal of an interrupted build will not be followed: {} {}"
        found = [Diagnostic("E118", message.format(*pair), place, remedy) for pair in refused]
        raise TargetError(found)
    if not whole:
        message = "the journal of an interrupted build lacks texts that it should hold"
        raise TargetError([Diagnostic("E230", message, place, remedy)])
    return rows


def _take_back(root: Path, index: int, row: _Row) -> bool:
    """Give one file its old text again; return False when a person has written it since."""
    target = _target(root, row.path)
    found = _sha(target)
    if found not in (row.old, row.new):
        return False
    if row.old is None:
        target.unlink(missing_ok=True)
        _prune(root, target.parent)
    elif found != row.old:
        copy = _journal(root) / f"{index}.back"
        shutil.copy2(_journal(root) / f"{index}.old", copy)
        target.parent.mkdir(parents=True, exist_ok=True)  # a deletion may have emptied it
        copy.replace(target)
    return True


def _left(path: str) -> Diagnostic:
    message = f"{path} was changed after a build was interrupted; it stays as it is"
    remedy = "Compare it with version control: it may hold a part of what that build wrote."
    return Diagnostic("W233", message, Place(path), remedy)


def _sha(path: Path) -> str | None:
    """Hash a file; what is there and is no file has a hash that no text has."""
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    return "" if path.exists() or path.is_symlink() else None


def _refuse_links(root: Path) -> None:
    """Refuse a state folder with links in it, through which a build would write elsewhere.

    Raises:
        TargetError: E118 there is one.
    """
    folder = root / FOLDER
    for pattern in ("", "*", "*/local", "journal/*"):
        for path in sorted(folder.glob(pattern)) if pattern else [folder]:
            if path.is_symlink():
                shown = path.relative_to(root).as_posix()
                message = f"will not write into {shown}: it is a link"
                remedy = "Delete the link if you did not make it; portspec makes what it needs."
                raise TargetError([Diagnostic("E118", message, Place(str(path)), remedy)])


def _why_refused(root: Path, path: str) -> str | None:
    """Say why a path must not be written: state stays in the state folder, and all else out of it."""
    inside = path.removeprefix(f"{FOLDER}/")
    base = root if inside == path else root / FOLDER
    why = why_unsafe(inside, base)
    if why:
        return why
    real = (base / inside).resolve().relative_to(base.resolve())
    return why_unsafe(real.as_posix(), base) if real.parts else "it is not a file"


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
    rows = []
    for index, (path, text) in enumerate(todo.items()):
        target = root / path
        if target.is_file():
            shutil.copy2(target, journal / f"{index}.old")
        if text is not None:
            new = journal / f"{index}.new"
            new.write_bytes(text.encode())
            if target.is_file():
                shutil.copymode(target, new)
        rows.append(_Row(path, _sha(journal / f"{index}.old"), _sha(journal / f"{index}.new")))
    draft = journal / "journal.draft"
    draft.write_text(json.dumps([asdict(row) for row in rows]), encoding="utf-8")
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
