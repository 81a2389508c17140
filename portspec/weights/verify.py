"""Read what a conversion has written, compare it with its sources, and leave hashes beside it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from portspec.weights.engine.compute import Files, computed
from portspec.weights.engine.ranges import Run
from portspec.weights.engine.rules import Value
from portspec.weights.engine.safetensors_file import read_safetensors
from portspec.weights.engine.tensors import WeightsError
from portspec.weights.engine.write import Job

MANIFEST = "portspec_manifest.json"
_STEP = 16 * 1024**2


def manifest(job: Job, out: Path, progress: Callable[[int], None] = lambda _: None) -> None:
    """Compare every file with what its source gives, flush it to disk, and write the sha256 of each.

    Raises:
        WeightsError: E539 a file is not what was planned.
    """
    hashes = {file: _shard(job, out, file, progress) for file in job.shards}
    given = {file: text.encode() for file, text in job.texts.items()}
    given |= {file: source.read_bytes() for file, source in job.copies.items()}
    for file, content in given.items():
        if (out / file).read_bytes() != content:
            raise _different("it is not what it was made from", out / file)
        hashes[file] = hashlib.sha256(content).hexdigest()
    text = json.dumps(hashes, indent=2, sort_keys=True) + "\n"
    (out / MANIFEST).write_text(text, encoding="utf-8")
    for path in (out, *out.rglob("*")):
        flush(path)


def _shard(job: Job, out: Path, file: str, progress: Callable[[int], None]) -> str:
    """Compare every tensor of a file with what its source gives, and return the file's hash."""
    path, shard = out / file, job.shards[file]
    found = read_safetensors(path)
    digest = hashlib.sha256(shard.header)
    with Files() as files:
        if files.read([Run(str(path), 0, len(shard.header))]) != shard.header:
            raise _different("its header is not what was planned", path)
        for name in shard.names:
            value = job.values[file][name]
            if name not in found or found[name].type != value.type:
                raise _different(f"{name} is not what was planned", path)
            start = found[name].start
            for piece in _expected(value, files):
                written = files.read([Run(str(path), start, len(piece))])
                if written != piece:
                    raise _different(f"{name} differs from its source", path)
                digest.update(written)
                start += len(piece)
                progress(len(piece))
    return digest.hexdigest()


def _different(message: str, path: Path) -> WeightsError:
    remedy = "Run it again; if it stays, the disk or the memory is not to be trusted."
    return WeightsError("E539", message, str(path), remedy)


def flush(path: Path) -> None:
    """Have a file or a folder on the disk, and not only on its way there."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _expected(value: Value, files: Files) -> Iterator[bytes | bytearray | memoryview]:
    if value.runs is None:
        yield from computed(value, files)
        return
    for run in value.runs:
        for offset in range(0, run.nbytes, _STEP):
            yield files.read([Run(run.file, run.start + offset, min(_STEP, run.nbytes - offset))])
