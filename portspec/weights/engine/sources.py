"""Files and folders -> the tensors that they hold, from headers alone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from portspec.weights.engine.hub import Location, place
from portspec.weights.engine.safetensors_file import read_safetensors
from portspec.weights.engine.tensors import Tensor, WeightsError
from portspec.weights.engine.torch_file import read_torch

SAFETENSORS = ".safetensors"
TORCH = (".pt", ".pth", ".bin", ".ckpt")
INDEX = ".index.json"
_TOGETHER = "Fetch the index and its shards together."


def read_tensors(path: Location) -> dict[str, Tensor]:
    """Read a file, the shards of an index, or the one checkpoint of a folder.

    Raises:
        WeightsError: E520 to E528; what it is, and the file, are in it.
    """
    if not path.exists():
        raise WeightsError("E520", "there is no such file or folder", str(path), _spelling(path))
    if path.is_dir():
        return read_tensors(_only(path))
    if path.name.endswith(INDEX):
        return _indexed(path)
    if path.suffix == SAFETENSORS:
        return read_safetensors(path)
    if path.suffix in TORCH:
        return read_torch(path)
    message = "this is neither safetensors, a torch checkpoint nor an index"
    raise WeightsError(
        "E520", message, str(path), f"Known endings: {SAFETENSORS}, {', '.join(TORCH)}."
    )


def _spelling(path: Location) -> str:
    """Say what may have been meant by a path that is not there."""
    if str(path).startswith(("http:", "https:", "hf:/")):
        return "Weights on the hub are written hf://owner/name, with a /path behind it if need be."
    return (
        "Look at the path; a class is written module:Class, and the hub's weights hf://owner/name."
    )


def read_several(paths: Iterable[Location], root: Location) -> dict[str, Tensor]:
    """Read several files below a folder as one checkpoint.

    Raises:
        WeightsError: E524 a tensor is in two files; E528 a file lies outside the folder; and as above.
    """
    found: dict[str, Tensor] = {}
    for path in paths:
        inside(path, root)
        _merge(found, read_tensors(path), path)
    return found


def inside(path: Location, root: Location) -> None:
    """Refuse a file that lies, or leads, out of a folder.

    A snapshot in the hub's cache is made of links to files beside it, so there the cached repository counts.

    Raises:
        WeightsError: E528 it does.
    """
    whole = root.absolute()
    for folder in (whole, *whole.parents):
        if folder.parent.name == "snapshots" and folder.parent.parent.name.startswith("models--"):
            whole = folder.parent.parent
            break
    whole = whole.resolve()
    if not path.resolve().is_relative_to(whole):
        remedy = "Copy the file into the folder, or give the folder in which it lies."
        raise WeightsError("E528", f"this leads out of {root}", str(path), remedy)


def _merge(found: dict[str, Tensor], more: Mapping[str, Tensor], path: Location) -> None:
    for name in more:
        if name in found:
            remedy = "Leave one of the files out; which one is right cannot be told."
            message = f"{name} is in {found[name].file} too"
            raise WeightsError("E524", message, str(path), remedy)
    found.update(more)


def _only(folder: Location) -> Location:
    """Return the checkpoint of a folder: its index, or its only file of weights."""
    names = sorted(p for p in folder.iterdir() if p.name.endswith(INDEX))
    names = names or sorted(p for p in folder.iterdir() if p.suffix == SAFETENSORS)
    names = names or sorted(p for p in folder.iterdir() if p.suffix in TORCH)
    if len(names) != 1:
        what = "no checkpoint" if not names else f"several: {', '.join(p.name for p in names)}"
        raise WeightsError("E520", f"the folder holds {what}", str(folder), "Name the file.")
    inside(names[0], folder)
    return names[0]


def _indexed(index: Location) -> dict[str, Tensor]:
    """Read the shards of an index, which must hold just what it says."""
    shown = str(index)
    listed = weight_map(index)
    found: dict[str, Tensor] = {}
    for name in sorted(set(listed.values())):
        shard = index.parent / name
        inside(shard, index.parent)
        if not shard.is_file():
            missing = sum(file == name for file in listed.values())
            message = f"the shard {name} is missing, with {missing:,} of {len(listed):,} tensors"
            raise WeightsError("E527", message, shown, "Fetch it; the download may have stopped.")
        _merge(found, read_tensors(shard), shard)
    for name, tensor in found.items():
        where = listed.get(name, "nowhere")
        if tensor.file != str(index.parent / where):
            message = f"{name} is in {place(tensor.file).name}, and the index says {where}"
            raise WeightsError("E527", message, shown, _TOGETHER)
    if missing_names := listed.keys() - found.keys():
        message = f"{min(missing_names)} is in no shard, with {len(missing_names) - 1:,} others"
        raise WeightsError("E527", message, shown, _TOGETHER)
    return found


def weight_map(index: Location) -> dict[str, str]:
    """Return the file of each tensor that an index lists.

    Raises:
        WeightsError: E527 it is no index.
    """
    try:
        table: Any = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise WeightsError("E527", "this is no index of shards", str(index), _TOGETHER) from error
    if not isinstance(table, dict) or not table or not all(map(_is_shard, table.values())):
        raise WeightsError("E527", "this is no index of shards", str(index), _TOGETHER)
    return table


def _is_shard(name: object) -> bool:
    """Tell whether an entry of an index can name a file of tensors."""
    return isinstance(name, str) and bool(name) and name.isprintable() and not name.endswith(INDEX)
