"""Read what a conversion has written, compare it with its sources, and leave hashes beside it."""

from __future__ import annotations

import hashlib
import json
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
    """Compare every tensor with what its source gives, and write the sha256 of every file.

    Raises:
        WeightsError: E539 a file is not what was planned.
    """
    hashes = {}
    for file, shard in job.shards.items():
        path = out / file
        found = read_safetensors(path)
        digest = hashlib.sha256(shard.header)
        with Files() as files:
            for name in shard.names:
                value = job.values[file][name]
                if name not in found or found[name].type != value.type:
                    raise WeightsError("E539", f"{name} is not what was planned", str(path))
                start = found[name].start
                for piece in _expected(value, files):
                    written = files.read([Run(str(path), start, len(piece))])
                    if written != piece:
                        raise WeightsError("E539", f"{name} differs from its source", str(path))
                    digest.update(written)
                    start += len(piece)
                    progress(len(piece))
        hashes[file] = digest.hexdigest()
    for file in (*job.texts, *job.copies):
        hashes[file] = hashlib.sha256((out / file).read_bytes()).hexdigest()
    text = json.dumps(hashes, indent=2, sort_keys=True) + "\n"
    (out / MANIFEST).write_text(text, encoding="utf-8")


def _expected(value: Value, files: Files) -> Iterator[bytes | bytearray | memoryview]:
    if value.runs is None:
        yield from computed(value, files)
        return
    for run in value.runs:
        for offset in range(0, run.nbytes, _STEP):
            yield files.read([Run(run.file, run.start + offset, min(_STEP, run.nbytes - offset))])
