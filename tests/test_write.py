"""A converted folder is there whole or not at all, whatever happens while it is written."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from portspec.weights.engine import write as engine
from portspec.weights.engine.compute import fingerprint
from portspec.weights.engine.layout import index_text, lay_out
from portspec.weights.engine.ops import Operation
from portspec.weights.engine.ops.cast import Cast
from portspec.weights.engine.ops.flatten import Flatten
from portspec.weights.engine.ops.split import Split
from portspec.weights.engine.ops.transpose import Transpose
from portspec.weights.engine.ops.unflatten import Unflatten
from portspec.weights.engine.rules import Join, Rule, RuleSet, Value, cast
from portspec.weights.engine.sources import read_tensors
from portspec.weights.engine.tensors import WeightsError
from portspec.weights.engine.write import Job, threads, write
from portspec.weights.verify import MANIFEST, manifest

RULES = [
    Rule(r"^(\d+)\.qkv$", (r"\1.q", r"\1.k", r"\1.v"), (Split(0, (8, 4, 4)),)),
    Rule(r"^(\d+)\.turned$", (r"\1.straight",), (Transpose(),)),
    Rule(r"^(\d+)\.expert\.(\d+)$", (r"\1.experts",), (), Join("stack", r"\2", 2)),
    Rule(r"^(\d+)\.half$", (r"\1.whole",), (Cast("F32"),)),
]


def source(path: Path, layers: int = 3, width: int = 6) -> dict[str, torch.Tensor]:
    """Write a checkpoint with something for every rule, and something for none."""
    made = torch.Generator().manual_seed(0)
    tensors: dict[str, torch.Tensor] = {}
    for i in range(layers):
        tensors[f"{i}.qkv"] = torch.randn(16, width, generator=made)
        tensors[f"{i}.turned"] = torch.randn(3, width, generator=made)
        tensors[f"{i}.expert.0"] = torch.randn(5, generator=made)
        tensors[f"{i}.expert.1"] = torch.randn(5, generator=made)
        tensors[f"{i}.half"] = torch.randn(7, generator=made).bfloat16()
        tensors[f"{i}.as.it.is"] = torch.arange(i + 1)
    save_file(tensors, path)
    return tensors


def converted(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What the rules mean, said with torch."""
    found: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        layer, _, leaf = name.partition(".")
        match leaf.split("."):
            case ["qkv"]:
                parts = tensor.split([8, 4, 4])
                found |= {f"{layer}.{n}": t for n, t in zip("qkv", parts, strict=True)}
            case ["turned"]:
                found[f"{layer}.straight"] = tensor.t()
            case ["expert", "0"]:
                both = [tensor, tensors[f"{layer}.expert.1"]]
                found[f"{layer}.experts"] = torch.stack(both)
            case ["half"]:
                found[f"{layer}.whole"] = tensor.float()
            case ["as", *_]:
                found[name] = tensor
    return found


def job(path: Path, shard_bytes: int = 400, texts: Mapping[str, str] | None = None) -> Job:
    outputs = RuleSet(RULES).apply(read_tensors(path)).outputs
    return job_of(outputs, shard_bytes, texts or {"config.json": "{}\n"})


def job_of(outputs: Mapping[str, Value], shard_bytes: int, texts: Mapping[str, str]) -> Job:
    shards = lay_out(outputs, "model", shard_bytes)
    index = {"model.safetensors.index.json": index_text(shards, outputs)}
    values = {s.file: {name: outputs[name] for name in s.names} for s in shards}
    return Job({s.file: s for s in shards}, values, {**texts, **index})


def loaded(out: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for file in sorted(out.glob("*.safetensors")):
        found |= load_file(file)
    return found


def assert_same(found: Mapping[str, torch.Tensor], right: Mapping[str, torch.Tensor]) -> None:
    assert found.keys() == right.keys()
    for name, tensor in right.items():
        assert found[name].dtype == tensor.dtype, name
        assert torch.equal(found[name], tensor), name


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "x.safetensors"
    path.parent.mkdir()
    source(path)
    return path


@pytest.mark.parametrize("shard_bytes", [1, 300, 10**9])
@pytest.mark.parametrize("workers", [1, 4])
def test_what_is_written_is_what_the_rules_mean(
    checkpoint: Path, tmp_path: Path, shard_bytes: int, workers: int
) -> None:
    out = tmp_path / "out"
    write(job(checkpoint, shard_bytes), out, shards=threads(workers))
    assert_same(loaded(out), converted(load_file(checkpoint)))
    assert (out / "config.json").read_text() == "{}\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "out"]


def test_a_torch_file_gives_the_same(checkpoint: Path, tmp_path: Path) -> None:
    tensors = load_file(checkpoint)
    tensors["0.turned"] = tensors["0.turned"].t().contiguous().t()  # the same, with strides
    torch.save(tensors, tmp_path / "in/x.pth")
    write(job(tmp_path / "in/x.pth"), tmp_path / "out")
    assert_same(loaded(tmp_path / "out"), converted(tensors))


def test_an_unchanged_checkpoint_is_the_file_that_safetensors_writes(tmp_path: Path) -> None:
    source(tmp_path / "x.safetensors")
    tensors = load_file(tmp_path / "x.safetensors")
    save_file(tensors, tmp_path / "right.safetensors", metadata={"format": "pt"})
    outputs = RuleSet([]).apply(read_tensors(tmp_path / "x.safetensors")).outputs
    write(job_of(outputs, 10**9, {}), tmp_path / "out")
    written = (tmp_path / "out/model.safetensors").read_bytes()
    assert written == (tmp_path / "right.safetensors").read_bytes()


def test_casting_keeps_what_shall_stay(checkpoint: Path, tmp_path: Path) -> None:
    outputs = RuleSet(RULES).apply(read_tensors(checkpoint)).outputs
    rows = dict(cast(outputs, "BF16", [r"^\d+\.q$"]))
    values = {name: value for name, value in rows.items() if isinstance(value, Value)}
    write(job_of(values, 500, {}), tmp_path / "out")
    right = {
        name: tensor if name.endswith(".q") or not tensor.is_floating_point() else tensor.bfloat16()
        for name, tensor in converted(load_file(checkpoint)).items()
    }
    assert_same(loaded(tmp_path / "out"), right)


def test_progress_counts_every_byte_of_weights(checkpoint: Path, tmp_path: Path) -> None:
    seen: list[int] = []
    work = job(checkpoint)
    write(work, tmp_path / "out", seen.append)
    assert sum(seen) == sum(shard.size for shard in work.shards.values())


@pytest.mark.parametrize("short", [False, True], ids=["kernel", "memory"])
def test_long_runs_are_copied_either_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short: bool
) -> None:
    """The kernel copies, or says that it cannot, as between some file systems."""

    def refuse(*_: Any) -> int:
        raise OSError(errno.EXDEV, "no")

    if short:
        monkeypatch.setattr(os, "copy_file_range", refuse)
    source(tmp_path / "x.safetensors", 2, 50_000)
    write(job(tmp_path / "x.safetensors", 10**9), tmp_path / "out")
    assert_same(loaded(tmp_path / "out"), converted(load_file(tmp_path / "x.safetensors")))


# --- joined, then given another shape ---------------------------------------------------------------


def grouped(count: int, after: tuple[Operation, ...]) -> Rule:
    return Rule(
        r"^(\d+)\.([012])$", (r"\1.all",), (Unflatten(count),), Join("concat", r"\2", 3, 1, after)
    )


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_parts_are_interleaved_by_group(tmp_path: Path, groups: int) -> None:
    """As pure runs of bytes, which are copied."""
    path = tmp_path / "x.safetensors"
    parts = [torch.randn(groups * size, 5) for size in (6, 2, 2)]
    save_file({f"0.{i}": part for i, part in enumerate(parts)}, path)
    mapped = RuleSet([grouped(groups, (Flatten(0),))]).apply(read_tensors(path))
    assert not mapped.problems
    assert mapped.outputs["0.all"].runs is not None
    write(job_of(mapped.outputs, 10**9, {}), tmp_path / "out")
    shares = zip(*[part.chunk(groups) for part in parts], strict=True)
    right = torch.cat([piece for share in shares for piece in share])
    assert_same(loaded(tmp_path / "out"), {"0.all": right})


@pytest.mark.parametrize(
    ("rules", "code", "said"),
    [
        (
            [
                Rule(r"^0\.([01])$", ("all",), (), Join("concat", r"\1", 3)),
                Rule(r"^0\.2$", ("all",), (), Join("concat", "2", 3, 0, (Flatten(0),))),
            ],
            "E505",
            "all is joined from parts whose rules do different things after the join: 0.0, 0.1, 0.2",
        ),
        ([grouped(2, (Flatten(2),))], "E530", "0.all: F32[2, 15, 5] has no axis behind axis 2"),
        (
            [grouped(2, (Flatten(0), Split(2)))],
            "E530",
            "0.all: after a join, an operation must give one tensor",
        ),
    ],
    ids=["differing", "unfit", "several"],
)
def test_what_cannot_come_after_a_join_is_said(
    tmp_path: Path, rules: list[Rule], code: str, said: str
) -> None:
    path = tmp_path / "x.safetensors"
    save_file({f"0.{i}": torch.randn(10, 5) for i in range(3)}, path)
    mapped = RuleSet(rules).apply(read_tensors(path))
    assert [(p.code, p.message, p.rule) for p in mapped.problems] == [(code, said, 0)]
    assert not mapped.outputs


# --- a run that is killed --------------------------------------------------------------------------

_SCRIPT = """
import sys
from pathlib import Path
from portspec.weights.engine import write
from tests.test_write import job
write.STEP = write.GATHER = 4096
write.write(job(Path(sys.argv[1]), 200_000), Path(sys.argv[2]))
"""


def _start(checkpoint: Path, out: Path) -> subprocess.Popen[bytes]:
    root = Path(__file__).parent.parent
    environment = {**os.environ, "PYTHONPATH": str(root)}
    command = [sys.executable, "-c", _SCRIPT, str(checkpoint), str(out)]
    return subprocess.Popen(command, env=environment, cwd=root)


def test_killed_at_any_moment_and_run_again_it_is_the_same(tmp_path: Path) -> None:
    checkpoint = tmp_path / "x.safetensors"
    source(checkpoint, 40, 2_000)
    write(job(checkpoint, 200_000), tmp_path / "right")
    dice = random.Random(0)
    resumed = 0
    for round_ in range(20):
        out = tmp_path / f"out{round_}"
        draft = out.with_name(f".{out.name}.draft")
        for _ in range(2):
            process = _start(checkpoint, out)
            while process.poll() is None and not draft.is_dir():
                time.sleep(0.001)
            time.sleep(dice.uniform(0, 0.05))
            process.send_signal(signal.SIGKILL)
            process.wait()
            whole = out.is_dir() and files(out) == files(tmp_path / "right")
            assert whole or not out.exists()
            resumed += draft.with_name(f"{draft.name}.json").is_file()
        if not out.is_dir():
            assert _start(checkpoint, out).wait() == 0
        assert files(out) == files(tmp_path / "right")
        assert not draft.exists()
    assert resumed, "no run was killed in the middle"


def test_a_draft_is_taken_up_where_it_stopped(checkpoint: Path, tmp_path: Path) -> None:
    """What is written is not written again."""
    out, draft = tmp_path / "out", tmp_path / ".out.draft"
    whole = sum(shard.size for shard in job(checkpoint).shards.values())

    def stop(_: int) -> None:
        if sum(p.stat().st_size for p in draft.glob("*.safetensors")) > whole // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(job(checkpoint), out, stop, shards=threads(1))
    first: list[int] = []
    write(job(checkpoint), out, first.append)
    assert 0 < first[0] < whole
    assert sum(first) == whole

    assert_same(loaded(out), converted(load_file(checkpoint)))


def test_a_draft_of_another_source_is_not_taken_up(checkpoint: Path, tmp_path: Path) -> None:
    out, draft = tmp_path / "out", tmp_path / ".out.draft"
    write(job(checkpoint), out)
    out.rename(draft)
    draft.with_name(f"{draft.name}.json").write_text(
        '{"digest": "another", "boot": "", "files": {"x": 1}}'
    )
    (draft / "stale.safetensors").write_bytes(b"stale")
    write(job(checkpoint), out)
    assert not (out / "stale.safetensors").exists()
    assert_same(loaded(out), converted(load_file(checkpoint)))


# --- what is refused -------------------------------------------------------------------------------


def _refused(code: str, work: Job, out: Path, **more: Any) -> None:
    before = files(out.parent)
    with pytest.raises(WeightsError) as caught:
        write(work, out, **more)
    assert caught.value.code == code
    assert caught.value.remedy
    assert files(out.parent) == before


def test_a_folder_that_is_there_is_not_touched(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("mine")
    _refused("E533", job(checkpoint), tmp_path / "out")


def test_the_source_is_not_written_over(checkpoint: Path, tmp_path: Path) -> None:
    """Neither its own folder nor one above it, also by way of a link."""
    _refused("E533", job(checkpoint), checkpoint.parent)
    (tmp_path / "link").symlink_to(checkpoint.parent)
    _refused("E533", job(checkpoint), tmp_path / "link")


def test_a_full_disk_is_seen_before_anything_is_written(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("usage", (), {"free": 10})
    monkeypatch.setattr(engine.shutil, "disk_usage", lambda _: usage)
    _refused("E534", job(checkpoint), tmp_path / "out")


def test_a_disk_that_fills_up_leaves_nothing(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    _refused("E534", job(checkpoint), tmp_path / "out")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(checkpoint: Path, tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    _refused("E534", job(checkpoint), locked / "out")


def test_where_a_file_stands_there_is_no_folder(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    _refused("E534", job(checkpoint), tmp_path / "file" / "out")


def test_two_runs_do_not_write_one_folder(checkpoint: Path, tmp_path: Path) -> None:
    draft = tmp_path / ".out.draft"
    draft.mkdir()
    with engine._locked(draft.with_name(f"{draft.name}.lock")):
        (draft / "theirs").write_text("x")
        _refused("E535", job(checkpoint), tmp_path / "out")
    assert (draft / "theirs").exists()


def test_a_folder_of_somebody_else_is_no_draft(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / ".out.draft").mkdir()
    (tmp_path / ".out.draft/thesis.txt").write_text("mine")
    _refused("E533", job(checkpoint), tmp_path / "out")


def test_the_source_is_no_draft(tmp_path: Path) -> None:
    folder = tmp_path / ".out.draft"
    folder.mkdir()
    source(folder / "x.safetensors")
    _refused("E533", job(folder / "x.safetensors"), tmp_path / "out")


def test_a_source_that_changes_after_planning_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    """Its bytes lie elsewhere now: before writing, and while it goes on."""
    work = job(checkpoint)
    work.seen.update({file: fingerprint(file) for file in work.sources()})
    changed: list[int] = []

    def change(_: int) -> None:
        if not changed:
            changed.append(1)
            os.utime(checkpoint, ns=(1, 1))

    with pytest.raises(WeightsError) as caught:
        write(work, tmp_path / "out", change)
    assert caught.value.code == "E521"
    assert not (tmp_path / "out").exists()
    _refused("E521", work, tmp_path / "out")


def test_a_source_that_is_cut_off_meanwhile(checkpoint: Path, tmp_path: Path) -> None:
    work = job(checkpoint)
    with checkpoint.open("r+b") as file:
        file.truncate(checkpoint.stat().st_size - 100)
    _refused("E521", work, tmp_path / "out")


# --- what was written, read again ------------------------------------------------------------------


def test_hashes_are_those_of_the_files(checkpoint: Path, tmp_path: Path) -> None:
    import hashlib
    import json

    out = tmp_path / "out"
    write(job(checkpoint), out)
    manifest(job(checkpoint), out)
    told = json.loads((out / MANIFEST).read_text())
    written = {name: data for name, data in files(out).items() if name != MANIFEST}
    assert told == {name: hashlib.sha256(data).hexdigest() for name, data in written.items()}


def test_a_changed_byte_is_seen(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(job(checkpoint), out)
    file = next(out.glob("*.safetensors"))
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(WeightsError) as caught:
        manifest(job(checkpoint), out)
    assert caught.value.code == "E539"
    assert not (out / MANIFEST).exists()


@pytest.mark.parametrize("file", ["text", "copy", "header"])
def test_a_file_that_is_not_what_it_was_made_from(
    file: str, checkpoint: Path, tmp_path: Path
) -> None:
    asset = tmp_path / "asset"
    asset.write_text("as it is", encoding="utf-8")
    work = replace(job(checkpoint), texts={"text": "{}"}, copies={"copy": asset})
    out = tmp_path / "out"
    write(work, out)
    changed = next(out.glob("*.safetensors")) if file == "header" else out / file
    changed.write_bytes(
        changed.read_bytes().replace(b'"format":"pt"', b'"format":"np"') + b"!"[file == "header" :]
    )
    with pytest.raises(WeightsError) as caught:
        manifest(work, out)
    assert caught.value.code == "E539"


def test_what_does_not_hold_gets_no_name(checkpoint: Path, tmp_path: Path) -> None:
    """A difference is found before the folder is there, and nothing of it is left."""

    def damaged(draft: Path) -> None:
        file = next(draft.glob("*.safetensors"))
        file.write_bytes(file.read_bytes()[:-1] + b"!")
        manifest(job(checkpoint), draft)

    _refused("E539", job(checkpoint), tmp_path / "out", finish=damaged)
