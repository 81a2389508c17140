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
from portspec.weights.engine.sources import INDEX
from portspec.weights.engine.tensors import TORCH_NAMES, Shape, Tensor, TensorType, WeightsError

_NUMBERED = re.compile(r"(.*)-\d+-of-(\d+)\.safetensors")
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
    if mapped.problems:
        raise WeightsError(mapped.problems[0].code, mapped.problems[0].message)
    there = set(_there(list(published), small))
    found: dict[str, TensorType] = {}
    made: set[str] = set()
    for names, targets in _families(mapped):
        if set(targets) & wanted.keys():
            own = [name for name in names if name in there]
            shapes = {t: mapped.outputs[t].type.shape for t in targets if t in wanted}
            kinds, reached = _fitting(own, published, shapes, len(targets), small, wanted)
            found.update(zip(own, kinds, strict=True))
            made.update(reached)
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


def _there(names: Sequence[str], small: RuleSet) -> Iterator[str]:
    """Yield the names that a reduced network has parts for: of eight experts it may have two."""
    for name, (number, *texts) in zip(names, small.routes(names), strict=True):
        join = small.rules[number].join if number >= 0 else None
        if not (join and join.count and int(texts[-1]) >= join.count):
            yield name


def _fitting(
    names: Sequence[str],
    published: Mapping[str, Tensor],
    after: Mapping[str, Shape],
    most: int,
    rules: RuleSet,
    wanted: Mapping[str, Shape],
) -> tuple[list[TensorType], list[str]]:
    """Find shapes for the sources that lead to those wanted, and the tensors that come out.

    Axes are scaled as those of the targets are; `after` are the targets' published shapes, and `most` is how
    many targets there are at the published size.
    """
    kinds = [published[name].type for name in names]
    scales = {(1, 1), (len(after), most)} | {
        (w, f) for t, shape in after.items() for w, f in zip(wanted[t], shape, strict=False)
    }
    axes = [
        sorted({size * w // f for w, f in scales if f and not size * w % f}, key=likely.__ne__)
        for kind in kinds
        for size, likely in zip(
            kind.shape, _likely(kind.shape, [wanted[t] for t in after]), strict=True
        )
    ]
    for sizes in islice(product(*axes), _TRIES):
        tried = list(_shaped(kinds, sizes))
        tensors = {n: Tensor(k.dtype, k.shape, "", 0) for n, k in zip(names, tried, strict=True)}
        result = rules.apply(tensors)
        shapes = {n: v.type.shape for n, v in result.outputs.items()}
        if not result.problems and shapes and all(wanted.get(n) == s for n, s in shapes.items()):
            return tried, list(shapes)
    shown = ", ".join(f"{target} {list(wanted[target])}" for target in after)
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
    """Draw random torch tensors, each by its name.

    Raises:
        WeightsError: E530 torch has no such element type.
    """
    import torch

    found = {}
    for name, kind in kinds.items():
        if kind.dtype not in TORCH_NAMES:
            raise WeightsError("E530", f"{name} is {kind.dtype}, of which torch can make none")
        dtype = getattr(torch, TORCH_NAMES[kind.dtype])
        made = torch.Generator().manual_seed(zlib.crc32(name.encode()))
        if dtype.is_floating_point or dtype.is_complex:
            values = torch.randn(kind.shape, generator=made) / 8
        else:
            values = torch.randint(2 if dtype == torch.bool else 100, kind.shape, generator=made)
        found[name] = values.to(dtype)
    return found


def write_release(parts: Sequence[Part], folder: Path) -> None:
    """Write the files of a release; components that share a file are told apart by their prefixes.

    Files whose name is left open become two shards with an index; those that `torch.save` writes are written
    by it.
    """
    files: dict[str, dict[str, Any]] = {}
    for part in parts:
        for glob in part.files:
            files.setdefault(glob, {})
        for index, (name, tensor) in enumerate(part.tensors.items()):
            files[part.files[index % len(part.files)]][part.prefix + name] = tensor
    for glob, tensors in files.items():
        _write(folder / named(glob), glob, tensors)


def named(glob: str, star: str = "x") -> str:
    """Return a path that a pattern matches.

    Example:
        >>> named("**/model-0000[1-3]-of-0000?.safetensors")
        'model-00001-of-0000x.safetensors'
    """
    plain = re.sub(r"\[(?!!)(.).*?\]", r"\1", glob.replace("**/", ""))
    return re.sub(r"\[!.*?\]", "_", plain).replace("*", star).replace("?", "x")


def _write(path: Path, glob: str, tensors: Mapping[str, Any]) -> None:
    import torch
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    numbered = _NUMBERED.fullmatch(path.name)
    if path.name.endswith(INDEX):
        _write_shards(path.with_name(path.name.removesuffix(INDEX)), path, tensors, 2)
    elif numbered:
        _write_shards(path.with_name(numbered[1] + path.suffix), None, tensors, int(numbered[2]))
    elif path.suffix != ".safetensors":
        torch.save(dict(tensors), path)
    elif glob.endswith("*.safetensors") and len(tensors) > 1:
        _write_shards(path, path.with_name(path.name + INDEX), tensors, 2)
    else:
        save_file(dict(tensors), path)


def _write_shards(path: Path, index: Path | None, tensors: Mapping[str, Any], count: int) -> None:
    """Write tensors over some files in turn, and an index if there is to be one."""
    from safetensors.torch import save_file

    where = {}
    names = list(tensors)
    for number in range(count):
        shard = path.with_name(f"{path.stem}-{number + 1:05d}-of-{count:05d}.safetensors")
        save_file({name: tensors[name] for name in names[number::count]}, shard)
        where.update(dict.fromkeys(names[number::count], shard.name))
    if index:
        index.write_text(json.dumps({"metadata": {}, "weight_map": where}), encoding="utf-8")


def evaluated(value: Value, tensors: Mapping[str, Any]) -> Any:
    """Compute a value in memory, with torch alone: what the bytes that were written are compared with."""
    if value.operation is None:
        return tensors[value.names[0]]
    inputs = [evaluated(item, tensors) for item in value.inputs]
    return value.operation.apply(inputs)[value.index]
