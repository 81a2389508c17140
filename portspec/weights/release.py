"""A small release in the authors' own layout: published names, shapes of a reduced network, random values.

Names come from the published surface, shapes from the official class at reduced size. Nothing is taken from
the rules backwards but which shapes can become which, and the rules themselves must agree to that.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path
from typing import Any

from portspec.weights.engine.rules import Mapped, RuleSet, Value
from portspec.weights.engine.tensors import TORCH_NAMES, Shape, Tensor, TensorType, WeightsError

_TRIES = 20_000  # shapes of one family of tensors that are tried before giving up


def reduced(
    published: Mapping[str, Tensor], full: RuleSet, small: RuleSet, wanted: Mapping[str, Shape]
) -> dict[str, TensorType]:
    """Return the published tensors that a reduced network has, with the shapes they must have there.

    Args:
        published: The surface of the real release.
        full: The rules at the published size.
        small: The rules at the reduced size.
        wanted: Every tensor of the reduced network after conversion, with its shape.

    Raises:
        WeightsError: E502 a wanted tensor comes from no published one; E504 no shapes lead to those wanted.
    """
    mapped = full.apply(published)
    found: dict[str, TensorType] = {}
    made: set[str] = set()
    for names, targets in _families(mapped):
        if set(targets) & wanted.keys():
            kinds = [published[name].type for name in names]
            after = [mapped.outputs[target].type.shape for target in targets]
            shapes = _fitting(names, kinds, targets, after, small, wanted)
            found.update(zip(names, shapes, strict=True))
            made.update(targets)
    left = sorted(wanted.keys() - made)
    if left:
        more = f" and {len(left) - 1:,} more" if len(left) > 1 else ""
        raise WeightsError("E502", f"no published name becomes {left[0]}{more} at the reduced size")
    dropped = {n: TensorType(published[n].dtype, (1,)) for n in mapped.dropped}
    return {**found, **dropped}


def _families(mapped: Mapped) -> list[tuple[list[str], list[str]]]:
    """Return published names with the tensors that are made of them, and of nothing else."""
    families: dict[str, tuple[list[str], list[str]]] = {}
    for target, value in mapped.outputs.items():
        names, targets = list(value.names), [target]
        for family in {id(f): f for n in value.names if (f := families.get(n))}.values():
            names += [name for name in family[0] if name not in names]
            targets = family[1] + targets
        families.update(dict.fromkeys(names, (names, targets)))
    return list({id(family): family for family in families.values()}.values())


def _fitting(
    names: Sequence[str],
    kinds: Sequence[TensorType],
    targets: Sequence[str],
    after: Sequence[Shape],
    rules: RuleSet,
    wanted: Mapping[str, Shape],
) -> list[TensorType]:
    """Find shapes for the sources that lead to those wanted, by scaling their axes as the targets' are."""
    goal = {target: wanted[target] for target in targets if target in wanted}
    if len(goal) < len(targets):
        cut = next(target for target in targets if target not in wanted)
        raise WeightsError("E504", f"the reduced network has {min(goal)}, and has no {cut}")
    scales = {(1, 1)} | {
        (w, f)
        for target, shape in zip(targets, after, strict=True)
        for w, f in zip(goal[target], shape, strict=False)
    }
    axes = [
        sorted({size * w // f for w, f in scales if f and not size * w % f}, key=likely.__ne__)
        for kind in kinds
        for size, likely in zip(kind.shape, _likely(kind.shape, goal.values()), strict=True)
    ]
    for sizes in islice(product(*axes), _TRIES):
        tried = list(_shaped(kinds, sizes))
        tensors = {n: Tensor(k.dtype, k.shape, "", 0) for n, k in zip(names, tried, strict=True)}
        result = rules.apply(tensors)
        if not result.problems and {n: v.type.shape for n, v in result.outputs.items()} == goal:
            return tried
    shown = ", ".join(f"{name} {list(shape)}" for name, shape in goal.items())
    raise WeightsError("E504", f"no shape of {', '.join(names)} becomes {shown}")


def _likely(shape: Shape, goal: Iterable[Shape]) -> Shape:
    """Return what a shape probably becomes: one of those wanted with as many axes."""
    return next((wanted for wanted in goal if len(wanted) == len(shape)), shape)


def _shaped(kinds: Iterable[TensorType], sizes: Sequence[int]) -> Iterator[TensorType]:
    position = 0
    for kind in kinds:
        end = position + len(kind.shape)
        yield TensorType(kind.dtype, tuple(sizes[position:end]))
        position = end


@dataclass(frozen=True)
class Part:
    """What a component has in a release: patterns of its files, the prefix of its names, its tensors."""

    files: Sequence[str]
    prefix: str
    tensors: Mapping[str, Any]


def drawn(kinds: Mapping[str, TensorType]) -> dict[str, Any]:
    """Draw random torch tensors, each by its name."""
    import torch

    found = {}
    for name, kind in kinds.items():
        generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
        values = torch.randn(kind.shape, generator=generator) / 8
        found[name] = values.to(getattr(torch, TORCH_NAMES[kind.dtype]))
    return found


def write_release(parts: Sequence[Part], folder: Path) -> None:
    """Write the files of a release; components that share a file are told apart by their prefixes.

    Files whose name is left open become two shards with an index; those that `torch.save` writes are written
    by it.
    """
    files: dict[str, dict[str, Any]] = {}
    for part in parts:
        for index, (name, tensor) in enumerate(part.tensors.items()):
            glob = part.files[index % len(part.files)]
            files.setdefault(glob, {})[part.prefix + name] = tensor
    for glob, tensors in files.items():
        _write(folder, glob, tensors)


def _write(folder: Path, glob: str, tensors: Mapping[str, Any]) -> None:
    import torch
    from safetensors.torch import save_file

    path = folder / re.sub(r"\[.*?\]|[*?]", "x", glob.replace("**/", ""))
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix != ".safetensors":
        torch.save(dict(tensors), path)
    elif not glob.endswith("*.safetensors") or len(tensors) < 2:
        save_file(dict(tensors), path)
    else:
        names = list(tensors)
        where = {}
        for number, some in enumerate((names[::2], names[1::2]), 1):
            shard = path.with_name(f"{path.stem}-{number:05d}-of-00002.safetensors")
            save_file({name: tensors[name] for name in some}, shard)
            where.update(dict.fromkeys(some, shard.name))
        index = path.with_name(f"{path.name}.index.json")
        index.write_text(json.dumps({"metadata": {}, "weight_map": where}), encoding="utf-8")


def evaluated(value: Value, tensors: Mapping[str, Any]) -> Any:
    """Compute a value in memory, with torch alone: what the bytes that were written are compared with."""
    if value.operation is None:
        return tensors[value.names[0]]
    inputs = [evaluated(item, tensors) for item in value.inputs]
    return value.operation.apply(inputs)[value.index]
