"""Conversion past one machine: each output file is a task of a Ray cluster, by the same plan.

The output folder, and the release unless it is on the hub, lie on a file system that all nodes share, and
portspec is installed on all of them.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portspec.errors import UsageError
from portspec.weights.engine.layout import Shard
from portspec.weights.engine.rules import Value
from portspec.weights.engine.tensors import WeightsError
from portspec.weights.engine.write import Job, Progress, Shards, State, write_shard

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOOK = 1.0  # seconds between two looks at how far the files are
_KNOCK = 10.0  # seconds
_END = 60.0  # seconds


def on_cluster(address: str, told: Callable[[str], None] = lambda _: None) -> Shards:
    """Return what writes shards on a cluster.

    A file that a lost node was writing is written again by another, from where an earlier run had noted it.

    Args:
        address: `auto` for the cluster that this machine is part of, `local` for a new one, or HOST:PORT.
        told: Called with the node that wrote each file.

    Raises:
        UsageError: Ray is not installed, or there is no cluster.
    """
    ray = _ray()

    def write_shards(job: Job, draft: Path, state: State, progress: Progress) -> None:
        with _connected(ray, address):
            task = ray.remote(num_cpus=1, max_retries=2)(_write)
            waiting = {
                task.remote(job.shards[f], job.values[f], draft / f, state.position(f)): f
                for f in job.shards
            }
            sizes = {file: state.position(file) for file in job.shards}
            try:
                _wait(ray, waiting, draft, sizes, state, progress, told)
            finally:
                for left in waiting:
                    ray.cancel(left, force=True)
                if waiting:  # until they write no more
                    ray.wait(list(waiting), num_returns=len(waiting), timeout=_END)

    return write_shards


def _wait(
    ray: Any,
    waiting: dict[Any, str],
    draft: Path,
    sizes: dict[str, int],
    state: State,
    progress: Progress,
    told: Callable[[str], None],
) -> None:
    while waiting:
        done, _ = ray.wait(list(waiting), timeout=_LOOK)
        for task in done:
            try:
                node = ray.get(task)
            except ray.exceptions.RayError as error:
                cause = getattr(error, "cause", None)
                raise cause if isinstance(cause, WeightsError) else _lost(error) from error
            file = waiting.pop(task)
            told(node)
            state.note(file, (draft / file).stat().st_size)
        for file, before in sizes.items():
            with suppress(OSError):  # a file that no node has begun
                size = (draft / file).stat().st_size
                progress(size - before)
                sizes[file] = size


def _lost(error: Exception) -> WeightsError:
    told = str(error).strip().partition("\n")[0]
    remedy = "Look at the nodes, their memory and their disks; then run again, which goes on."
    return WeightsError("E544", f"a task of the cluster has not ended: {told}", "", remedy)


def _write(shard: Shard, values: Mapping[str, Value], path: Path, start: int) -> str:
    """Write one file on a node, and return which node it is."""
    write_shard(shard, values, path, start)
    return str(_ray().get_runtime_context().get_node_id())


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        remedy = 'Install it with `pip install "portspec[ray]"`.'
        raise UsageError("Ray is not installed", remedy) from error
    return ray


@contextmanager
def _connected(ray: Any, address: str) -> Iterator[None]:
    """Be connected to a cluster; one that was before stays."""
    if ray.is_initialized():
        yield
        return
    try:
        _knock(address)
        ray.init(address=address, log_to_driver=False, logging_level="WARNING")
    except (OSError, ValueError, RuntimeError) as error:  # a ConnectionError is the first
        remedy = "Start one with `ray start --head`, or give its HOST:PORT; `local` needs none."
        raise UsageError(f"there is no Ray cluster at {address}", remedy) from error
    try:
        yield
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Look whether anybody listens, since Ray would wait for minutes.

    Raises:
        OSError: Nobody does.
    """
    host, _, port = address.rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=_KNOCK).close()
