"""Write a whole folder or nothing: files in a draft beside it, which is renamed when all of them are there.

A run that is killed leaves its draft, and the next one goes on where it stopped. How far each file is written
is noted as the writing goes on, so what a file holds up to there is known to be right.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock
from typing import Any

from portspec.weights.engine.compute import Files, computed, fingerprint, is_remote, sources_of
from portspec.weights.engine.hub import REMOTE_STEP, Location, place
from portspec.weights.engine.layout import Shard
from portspec.weights.engine.ranges import Run, joined
from portspec.weights.engine.rules import Value
from portspec.weights.engine.tensors import WeightsError, cut_off

STEP = 64 * 1024**2  # bytes between two notes of how far a file is
GATHER = 1024**2  # runs shorter than this are read together
_LATER = {"E529", "E544"}  # what the hub or a cluster does not give now, it may give later
_NO_RANGES = {errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EBADF}

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Job:
    """All files of an output folder, by their paths in it."""

    shards: dict[str, Shard] = field(default_factory=dict)
    values: dict[str, Mapping[str, Value]] = field(default_factory=dict)  # of each shard's names
    texts: dict[str, str] = field(default_factory=dict)
    copies: dict[str, Location] = field(default_factory=dict)
    seen: dict[str, list[Any]] = field(
        default_factory=dict
    )  # source -> its fingerprint when planned

    def check_sources(self) -> None:
        """Refuse sources that are not what they were when the job was planned.

        Raises:
            WeightsError: E521 one has changed.
        """
        for file, known in self.seen.items():
            if fingerprint(file) != known:
                remedy = "Wait until nobody writes it, and run again."
                raise WeightsError("E521", "the file has changed since it was read", file, remedy)

    @property
    def nbytes(self) -> int:
        """How many bytes the folder will take."""
        copied = sum(path.stat().st_size for path in self.copies.values())
        texts = sum(len(text.encode()) for text in self.texts.values())
        return copied + texts + sum(shard.size for shard in self.shards.values())

    def sources(self) -> list[str]:
        """Return every file that is read."""
        read = {
            f for values in self.values.values() for v in values.values() for f in sources_of(v)
        }
        return sorted(read | {str(path) for path in self.copies.values()})

    def digest(self) -> str:
        """Return what tells whether a draft is one of the same folder, from the same sources."""
        told: list[Any] = [fingerprint(file) for file in self.sources()]
        told += sorted((f, hashlib.sha256(s.header).hexdigest()) for f, s in self.shards.items())
        told += [sorted(self.texts.items()), sorted((f, str(p)) for f, p in self.copies.items())]
        told += [
            [f, _told(v)] for f, vs in sorted(self.values.items()) for _, v in sorted(vs.items())
        ]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _told(value: Value) -> list[Any]:
    if value.runs is not None:
        return [list(run) for run in value.runs]
    if value.tensor is not None:
        return list(value.tensor)
    return [repr(value.operation), value.index, [_told(item) for item in value.inputs]]


def write(
    job: Job,
    out: Path,
    progress: Progress = lambda _: None,
    shards: Shards | None = None,
    finish: Callable[[Path], None] = lambda _: None,
) -> None:
    """Write a folder.

    Args:
        job: What goes into it.
        out: The folder, which must not be there yet.
        progress: Told how many more bytes are written.
        shards: What writes the weights; two threads if left out.
        finish: Called with the folder when all is written, before it gets its name.

    Raises:
        WeightsError: E533 the folder is there, or holds a source; E534 the disk is full or cannot be written;
            E535 another run is writing it; E521 a source is cut off.
    """
    draft = out.with_name(f".{out.name}.draft")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with _locked(draft.with_name(f"{draft.name}.lock")):
            _refuse(job, out, draft)
            _fill(job, draft, progress, shards or threads(2), finish)
            draft.rename(out)
            _state_path(draft).unlink()
    except OSError as error:
        message = f"it cannot be written: {error.strerror or error}"
        remedy = "Give another folder, or make room."
        raise WeightsError("E534", message, str(out), remedy) from error


def _fill(
    job: Job, draft: Path, progress: Progress, shards: Shards, finish: Callable[[Path], None]
) -> None:
    """Write all files of a draft; one that cannot be finished is taken away."""
    draft.mkdir(exist_ok=True)
    try:
        state = State(draft, job.digest())
        _check_space(job, draft, state)
        _write_all(job, draft, state, progress, shards)
        job.check_sources()
        finish(draft)
    except Exception as error:
        if (
            getattr(error, "code", "") != "E529"
        ):  # what the hub does not give now, it may give later
            shutil.rmtree(draft, ignore_errors=True)
            _state_path(draft).unlink(missing_ok=True)
        raise


def _refuse(job: Job, out: Path, draft: Path) -> None:
    """Refuse to write over anything, or over what is not a draft of ours."""
    for target in (out.resolve(), draft.resolve()):
        for source in job.sources():
            if place(source).resolve().is_relative_to(target):
                message = f"the output would take the place of its source {source}"
                raise WeightsError("E533", message, str(out), "Give another output folder.")
    remedy = "Move it away, or give another output folder; nothing is written over."
    if out.exists() or out.is_symlink():
        raise WeightsError("E533", "the output folder is there already", str(out), remedy)
    if draft.exists() and not _kept(draft):
        raise WeightsError("E533", "a folder stands where the draft would", str(draft), remedy)
    job.check_sources()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock file, which is gone afterwards."""
    while True:
        with path.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise WeightsError(
                    "E535", "another run is writing it", str(path), "Wait for it, or stop it."
                ) from error
            if not path.exists() or os.fstat(file.fileno()).st_ino != path.stat().st_ino:
                continue  # another run has just finished and taken its lock away
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


def _check_space(job: Job, draft: Path, state: State) -> None:
    free = shutil.disk_usage(draft).free
    needed = job.nbytes - state.written
    if needed > free:
        message = f"{needed:,} bytes are needed, and {free:,} are free"
        raise WeightsError("E534", message, str(draft.parent), "Give another folder, or make room.")


class State:
    """How far each file of a draft is written; kept beside it, which also says that it is ours."""

    def __init__(self, draft: Path, digest: str) -> None:
        self.path = _state_path(draft)
        self._lock = Lock()
        self._told: dict[str, Any] = {"digest": digest, "boot": _boot(), "files": {}}
        kept = _kept(draft)
        if kept and all(kept.get(key) == self._told[key] for key in ("digest", "boot")):
            self._told = kept
        else:
            _emptied(draft)
            self._save()

    @property
    def written(self) -> int:
        """How many bytes are written already."""
        return sum(self._told["files"].values())

    def position(self, file: str) -> int:
        """Return how far a file is written."""
        found: int = self._told["files"].get(file, 0)
        return found

    def note(self, file: str, position: int) -> None:
        """Remember how far a file is written."""
        with self._lock:
            self._told["files"][file] = position
            self._save()

    def _save(self) -> None:
        fresh = self.path.with_suffix(".new")
        fresh.write_text(json.dumps(self._told), encoding="utf-8")
        fresh.replace(self.path)


Shards = Callable[[Job, Path, State, Progress], None]


def _state_path(draft: Path) -> Path:
    return draft.with_name(f"{draft.name}.json")


def _kept(draft: Path) -> dict[str, Any]:
    """Return what was noted of a draft; nothing where the folder is not one of ours."""
    try:
        kept = json.loads(_state_path(draft).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) and isinstance(kept.get("files"), dict) else {}


def _boot() -> str:
    """Return what changes when the machine starts again: what was not flushed to disk is then lost."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _emptied(draft: Path) -> None:
    for path in draft.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _write_all(job: Job, draft: Path, state: State, progress: Progress, shards: Shards) -> None:
    progress(state.written)
    for file in (*job.texts, *job.copies, *job.shards):
        (draft / file).parent.mkdir(parents=True, exist_ok=True)
    for file, text in job.texts.items():
        (draft / file).write_text(text, encoding="utf-8")
    for file, source in job.copies.items():
        with source.open("rb") as original, (draft / file).open("wb") as copy:
            shutil.copyfileobj(original, copy, REMOTE_STEP)
    shards(job, draft, state, progress)


def threads(workers: int) -> Shards:
    """Return what writes shards in this process, some at a time."""

    def write_shards(job: Job, draft: Path, state: State, progress: Progress) -> None:
        stop = Event()
        with ThreadPoolExecutor(workers) as pool:
            running = [
                pool.submit(_write_noted, job, draft, file, state, progress, stop)
                for file in job.shards
            ]
            try:
                wait(running, return_when=FIRST_EXCEPTION)
                for future in running:
                    if future.done():
                        future.result()
            except BaseException:
                stop.set()
                for future in running:
                    future.cancel()
                raise

    return write_shards


def _write_noted(
    job: Job, draft: Path, file: str, state: State, progress: Progress, stop: Event
) -> None:
    """Write one file from where an earlier run stopped, and note how far it is as the writing goes on."""
    noted = start = state.position(file)

    def reached(position: int) -> bool:
        nonlocal noted, start
        progress(position - start)
        start = position
        if position - noted >= STEP or position == job.shards[file].size:
            state.note(file, position)
            noted = position
        return not stop.is_set()

    write_shard(job.shards[file], job.values[file], draft / file, start, reached)


def write_shard(
    shard: Shard,
    values: Mapping[str, Value],
    path: Path,
    start: int,
    reached: Callable[[int], bool] = lambda _: True,
) -> None:
    """Write one file from byte `start` on, unless less of it is there.

    `reached` is told how far the file is, and says whether to go on.

    Raises:
        WeightsError: E539 not as many bytes came out as were planned; and as `write`.
    """
    with Files() as files, path.open("r+b" if path.exists() else "wb") as target:
        position = min(start, target.seek(0, os.SEEK_END))
        target.truncate(position)
        for piece in _pieces(shard, values, position, files):
            position += _put(target.fileno(), position, piece, files)
            if not reached(position):
                return
    if position != shard.size:
        message = f"{position:,} bytes came out, and {shard.size:,} were planned"
        remedy = "This is a defect of the converter; please report it."
        raise WeightsError("E539", message, str(path), remedy)


def _pieces(
    shard: Shard, values: Mapping[str, Value], start: int, files: Files
) -> Iterator[Sequence[Run] | bytes | bytearray | memoryview]:
    """Yield what lies from byte `start` of a shard on, as runs to copy or as bytes."""
    if start < len(shard.header):
        yield shard.header[start:]
    position = len(shard.header)
    waiting: list[Run] = []
    for name in shard.names:
        value = values[name]
        end = position + value.type.nbytes
        if end > start and value.runs is not None:
            skip = max(start - position, 0)
            for run in value.runs:
                left = max(run.nbytes - skip, 0)
                if left:
                    waiting.append(Run(run.file, run.start + run.nbytes - left, left))
                skip = max(skip - run.nbytes, 0)
        elif end > start:
            yield from _batches(waiting)
            waiting = []
            skip = max(start - position, 0)
            for piece in computed(value, files):
                if skip < len(piece):
                    yield memoryview(piece)[skip:]
                skip = max(skip - len(piece), 0)
        position = end
    yield from _batches(waiting)


def _batches(runs: Sequence[Run]) -> Iterator[Sequence[Run]]:
    """Yield runs to copy: long ones in steps, short ones gathered, neighbours as one."""
    gathered: list[Run] = []
    size = 0
    for run in joined(runs):
        if run.nbytes >= GATHER:
            if gathered:
                yield gathered
            gathered, size = [], 0
            for offset in range(0, run.nbytes, STEP):
                yield [Run(run.file, run.start + offset, min(STEP, run.nbytes - offset))]
            continue
        gathered.append(run)
        size += run.nbytes
        if size >= GATHER:
            yield gathered
            gathered, size = [], 0
    if gathered:
        yield gathered


def _put(
    target: int, position: int, piece: Sequence[Run] | bytes | bytearray | memoryview, files: Files
) -> int:
    """Write one piece at a position of an open file, and return how long it is."""
    if isinstance(piece, (bytes, bytearray, memoryview)):
        return _write(target, position, piece)
    if len(piece) == 1 and piece[0].nbytes >= GATHER:
        if is_remote(piece[0].file):
            return _carry(target, position, piece[0], files, REMOTE_STEP)
        return _copy(target, position, piece[0], files)
    return _write(target, position, files.read(piece))


def _write(target: int, position: int, data: bytes | bytearray | memoryview) -> int:
    view = memoryview(data)
    done = 0
    while done < len(view):
        done += os.pwrite(target, view[done:], position + done)
    return done


def _copy(target: int, position: int, run: Run, files: Files) -> int:
    """Let the kernel copy a run, or copy it through memory where it cannot."""
    done = 0
    try:
        source = files.descriptor(run.file)
        while done < run.nbytes:
            left, there = run.nbytes - done, position + done
            copied = os.copy_file_range(source, target, left, run.start + done, there)
            if not copied:
                raise cut_off(run.file)
            done += copied
    except (AttributeError, OSError) as error:  # not on every system, nor between all file systems
        if getattr(error, "errno", errno.ENOSYS) not in _NO_RANGES:
            raise
    left_over = Run(run.file, run.start + done, run.nbytes - done)
    return done + _carry(target, position + done, left_over, files, GATHER)


def _carry(target: int, position: int, run: Run, files: Files, step: int) -> int:
    """Copy a run through memory, some bytes at a time."""
    for done in range(0, run.nbytes, step):
        part = Run(run.file, run.start + done, min(step, run.nbytes - done))
        _write(target, position + done, files.read([part]))
    return run.nbytes
