"""Where every output tensor will lie: shards, headers and offsets, known before a byte is written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from portspec.weights.engine.rules import Value
from portspec.weights.engine.safetensors_file import make_header, storage_order
from portspec.weights.engine.tensors import TensorType

SHARD_BYTES = 10 * 1000**3  # as diffusers' save_pretrained does


class Shard(NamedTuple):
    """One safetensors file: its header, and the names of the tensors behind it, in order."""

    file: str
    header: bytes
    names: tuple[str, ...]
    size: int


def lay_out(outputs: Mapping[str, Value], stem: str, shard_bytes: int = SHARD_BYTES) -> list[Shard]:
    """Distribute tensors over shards in the order given, each filled until the next tensor does not fit.

    Args:
        outputs: Name -> value.
        stem: File name without number and ending, such as `diffusion_pytorch_model`.
        shard_bytes: The most bytes of tensors that a shard holds; a larger tensor gets one to itself.
    """
    kinds = {name: value.type for name, value in outputs.items()}
    groups: list[list[str]] = [[]]
    filled = 0
    for name, kind in kinds.items():
        if groups[-1] and filled + kind.nbytes > shard_bytes:
            groups.append([])
            filled = 0
        groups[-1].append(name)
        filled += kind.nbytes
    return [_shard(_file(stem, i, len(groups)), names, kinds) for i, names in enumerate(groups)]


def _file(stem: str, index: int, count: int) -> str:
    number = f"-{index + 1:05d}-of-{count:05d}" if count > 1 else ""
    return f"{stem}{number}.safetensors"


def _shard(file: str, names: Sequence[str], kinds: Mapping[str, TensorType]) -> Shard:
    own = {name: kinds[name] for name in names}
    ordered = storage_order(own)
    header = make_header(ordered, own)
    size = len(header) + sum(kind.nbytes for kind in own.values())
    return Shard(file, header, tuple(ordered), size)


def index_text(shards: Sequence[Shard], outputs: Mapping[str, Value]) -> str:
    """Return the text of `<stem>.safetensors.index.json`, as diffusers writes it."""
    total = sum(outputs[name].type.nbytes for shard in shards for name in shard.names)
    where = {name: shard.file for shard in shards for name in shard.names}
    return json_text({"metadata": {"total_size": total}, "weight_map": where})


def json_text(table: Mapping[str, Any]) -> str:
    """Return a table as the text of its file, as diffusers writes it."""
    return json.dumps(table, indent=2, sort_keys=True) + "\n"
