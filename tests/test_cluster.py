"""Conversion on a Ray cluster of two nodes: the same bytes, the same errors, and nothing half-written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from portspec.errors import UsageError
from portspec.weights.cluster import on_cluster
from portspec.weights.engine.tensors import WeightsError
from portspec.weights.engine.write import write
from tests.conftest import run
from tests.test_convert import SPEC, hashes, release, small
from tests.test_write import checkpoint, files, job

ray = pytest.importorskip("ray")  # which has no wheels for the newest Python at first
pytestmark = pytest.mark.xdist_group("cluster")

__all__ = ["checkpoint", "release", "small"]


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Two nodes, each with room for one task."""
    from ray.cluster_utils import Cluster

    store = {"num_cpus": 1, "object_store_memory": 10**8}
    made = Cluster(initialize_head=True, head_node_args={**store, "include_dashboard": False})
    made.add_node(**store)
    yield str(made.address)
    ray.shutdown()
    made.shutdown()


def test_both_nodes_write_what_one_machine_does(
    cluster: str, checkpoint: Path, tmp_path: Path
) -> None:
    nodes: list[str] = []
    done: list[int] = []
    work = job(checkpoint, 200)
    write(work, tmp_path / "there", done.append, on_cluster(cluster, nodes.append))
    write(job(checkpoint, 200), tmp_path / "here")
    assert files(tmp_path / "there") == files(tmp_path / "here")
    assert len(nodes) == len(work.shards) > 4
    assert len(set(nodes)) == 2
    assert sum(done) == sum(shard.size for shard in work.shards.values())


def test_an_error_on_a_node_is_the_same_error(
    cluster: str, checkpoint: Path, tmp_path: Path
) -> None:
    work = job(checkpoint)
    before = files(tmp_path)
    broken = {file: {n: _cut(v) for n, v in vs.items()} for file, vs in work.values.items()}
    with pytest.raises(WeightsError) as caught:
        write(replace(work, values=broken), tmp_path / "out", shards=on_cluster(cluster))
    assert caught.value.code == "E521"
    assert caught.value.file == str(checkpoint)
    assert files(tmp_path) == before


def _cut(value):  # type: ignore[no-untyped-def]
    """A value whose bytes lie behind the end of its file."""
    runs = value.runs and tuple(run._replace(start=run.start + 10**9) for run in value.runs)
    return replace(value, runs=runs)


def test_a_release_is_converted_by_the_command(
    cluster: str, small: Path, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("convert", SPEC, "--weights", "release", "--shard-size", "10000")
    assert run(*given, "--out", "there", "--ray", cluster) == 0
    assert "written by" in capsys.readouterr().err
    assert run(*given, "--out", "here") == 0
    assert hashes(workspace / "there") == hashes(workspace / "here")


def test_no_cluster_is_an_error_of_use(checkpoint: Path, tmp_path: Path) -> None:
    ray.shutdown()
    with pytest.raises(UsageError, match="there is no Ray cluster"):
        write(job(checkpoint), tmp_path / "out", shards=on_cluster("127.0.0.1:1"))
    assert not (tmp_path / "out").exists()
