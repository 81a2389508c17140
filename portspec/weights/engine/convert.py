"""Declared components and a folder of published weights -> the job that writes the converted folder."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from portspec.weights.engine.compute import fingerprint
from portspec.weights.engine.hub import Location
from portspec.weights.engine.layout import SHARD_BYTES, Shard, index_text, lay_out
from portspec.weights.engine.ops import Operation
from portspec.weights.engine.rules import Join, Mapped, Problem, Rule, RuleSet, Value, cast
from portspec.weights.engine.sources import inside, read_several, weight_map
from portspec.weights.engine.tensors import Tensor, WeightsError
from portspec.weights.engine.write import Job

Owners = dict[tuple[str, str], str]  # (file, name) -> component
_MOST_LISTED = 8
_RELEASE = "Give the folder of the published release."


@dataclass(frozen=True)
class Component:
    """What becomes of the tensors of one component; the keys of its declaration."""

    name: str
    stem: str = "model"  # file name without number and ending
    files: Sequence[str] = ()
    prefix: str = ""
    rules: Sequence[Rule] = ()
    values: Mapping[str, int] = field(default_factory=dict)  # for arithmetic in names
    cast: str = ""
    keep_fp32: Sequence[str] = ()
    assets: Sequence[str] = ()

    @property
    def rule_set(self) -> RuleSet:
        """The rules, ready to be applied."""
        return RuleSet(self.rules, self.values)


@dataclass(frozen=True)
class Fault:
    """What is wrong with a conversion; `rule` is the component's rule at fault, or -1."""

    component: str
    code: str
    message: str
    rule: int = -1
    file: str = ""
    remedy: str = ""


@dataclass
class Converted:
    """What becomes of one component's tensors."""

    name: str
    source: Mapping[str, Tensor]
    mapped: Mapped
    outputs: dict[str, Value]
    shards: list[Shard]


@dataclass
class Plan:
    """A conversion, and what speaks against it."""

    job: Job
    components: list[Converted] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


def declared(
    name: str, table: Mapping[str, Any], operations: Mapping[str, type[Operation]]
) -> Component:
    """Make a component from its declaration, which is plain data.

    A rule is (pattern, names, operations, join): operations are (name, arguments), the join is None,
    (how, part, count, axis), or the same with the operations that come after it. `drop` gives the patterns of
    names that go nowhere, each with the reason.
    """
    rest = {key: value for key, value in table.items() if key not in ("rules", "drop")}
    dropped = [Rule(match, reason=reason) for match, reason in table.get("drop", {}).items()]
    rules = [
        Rule(match, tuple(to), _made(ops, operations), _declared_join(join, operations))
        for match, to, ops, join in table.get("rules", ())
    ]
    return Component(name, rules=(*dropped, *rules), **rest)


def _made(
    told: Iterable[tuple[str, Mapping[str, Any]]], operations: Mapping[str, type[Operation]]
) -> tuple[Operation, ...]:
    return tuple(operations[name](**given) for name, given in told)


def _declared_join(
    told: Sequence[Any] | None, operations: Mapping[str, type[Operation]]
) -> Join | None:
    if told is None:
        return None
    how, part, count, axis, *after = told
    return Join(how, part, count, axis, _made(after[0] if after else (), operations))


def plan(
    components: Sequence[Component],
    texts: Mapping[str, str],
    root: Location,
    shard_bytes: int = SHARD_BYTES,
) -> Plan:
    """Plan the conversion of the published weights below `root`, from headers alone.

    Every tensor of every file that a component names must belong to one component and go somewhere.

    Args:
        components: The declarations.
        texts: Small files to write, by their path.
        root: The release.
        shard_bytes: The most bytes of tensors in a file.
    """
    job = Job({}, {}, dict(texts), {})
    made = Plan(job)
    if not root.is_dir():
        message = "this is no folder" if root.exists() else "there is no such folder"
        remedy = f"{_RELEASE} One on the hub is written hf://owner/name."
        name = components[0].name if components else ""
        made.faults.append(Fault(name, "E536", message, -1, str(root), remedy))
        return made
    owners: Owners = {}
    seen: Owners = {}
    for component in components:
        try:
            job.copies.update(_assets(component, root, texts))
            own = _own(component, root, owners, seen) if component.files else {}
        except WeightsError as error:
            fault = Fault(component.name, error.code, error.message, -1, error.file, error.remedy)
            made.faults.append(fault)
            continue
        if component.files:
            made.components.append(_convert(component, own, shard_bytes, made.faults))
            _add(job, made.components[-1], component.stem)
    made.faults += [*_unowned(seen, owners), *_clashes(job)]
    job.seen.update({file: fingerprint(file) for file in job.sources()})
    return made


def _clashes(job: Job) -> Iterator[Fault]:
    """Find files that would be one, also where upper and lower case are one."""
    known: dict[str, str] = {}
    for file in (*job.shards, *job.texts, *job.copies):
        other = known.setdefault(file.casefold(), file)
        if other is not file:
            component = file.partition("/")[0]
            message = (
                f"{file} would be written twice" if other == file else f"{other} and {file} are one"
            )
            yield Fault(component, "E533", message, -1, "", "Name the one that is meant.")


def _add(job: Job, converted: Converted, stem: str) -> None:
    """Put a component's files into the job."""
    for shard in converted.shards:
        file = f"{converted.name}/{shard.file}"
        job.shards[file] = shard
        job.values[file] = {name: converted.outputs[name] for name in shard.names}
    if len(converted.shards) > 1:
        index = f"{converted.name}/{stem}.safetensors.index.json"
        job.texts[index] = index_text(converted.shards, converted.outputs)


def _own(component: Component, root: Location, owners: Owners, seen: Owners) -> dict[str, Tensor]:
    """Return the component's tensors without its prefix, and note whose each tensor is.

    Raises:
        WeightsError: E536 there is no file; E537 a tensor is another component's already; and as reading.
    """
    paths = sorted({path for glob in component.files for path in _matching(root, glob)})
    _whole(paths)
    own = {}
    for name, tensor in read_several(paths, root).items():
        seen[tensor.file, name] = component.name
        if not name.startswith(component.prefix):
            continue
        other = owners.setdefault((tensor.file, name), component.name)
        if other != component.name:
            message = f"{name} belongs to {other} and to {component.name}"
            remedy = "Give each component the prefix of its own names."
            raise WeightsError("E537", message, tensor.file, remedy)
        own[name.removeprefix(component.prefix)] = tensor
    if not own:
        message = (
            f"no name starts with {component.prefix}"
            if component.prefix
            else "there are no tensors"
        )
        raise WeightsError("E536", message, str(paths[0]), _RELEASE)
    return own


_NUMBERED = re.compile(r"(.*)-(\d+)-of-(\d+)(\.\w+)")


def _whole(paths: Sequence[Location]) -> None:
    """Refuse some shards of a set without the others.

    Raises:
        WeightsError: E527 one is missing, by its number or by the index beside it.
    """
    there = set(paths)
    for path in paths:
        found = _NUMBERED.fullmatch(path.name)
        count = int(found[3]) if found else 0
        for number in range(1, count + 1 if count <= 10_000 else 1):
            assert found
            name = f"{found[1]}-{number:0{len(found[2])}d}-of-{found[3]}{found[4]}"
            _is_there(path.with_name(name), there)
    for index in {p for path in paths for p in path.parent.glob("*.index.json")}:
        shards = {index.parent / name for name in weight_map(index).values()}
        for shard in sorted(shards) if shards & there else ():
            _is_there(shard, there)


def _is_there(shard: Location, there: set[Location]) -> None:
    if shard not in there:
        remedy = "Fetch it; the download may have stopped."
        raise WeightsError("E527", f"the shard {shard.name} is missing", str(shard), remedy)


def _unowned(seen: Owners, owners: Owners) -> Iterator[Fault]:
    left: dict[str, list[str]] = {}
    for file, name in seen:
        if (file, name) not in owners:
            left.setdefault(file, []).append(name)
    for file, names in left.items():
        more = f" and {len(names) - 1:,} more" if len(names) > 1 else ""
        remedy = "Name the component whose prefix they have, or drop them there with the reason."
        message = f"{names[0]}{more} belong to no component"
        yield Fault(seen[file, names[0]], "E538", message, -1, file, remedy)


def _assets(component: Component, root: Location, texts: Mapping[str, str]) -> dict[str, Location]:
    """Return the files to copy into the component's folder.

    Raises:
        WeightsError: E536 there is none; E528 one lies outside the release; E533 two have one name.
    """
    found: dict[str, Location] = {}
    for glob in component.assets:
        for path in _matching(root, glob):
            inside(path, root)
            file = f"{component.name}/{path.name}"
            if file in texts or found.setdefault(file, path) != path:
                other = found.get(file, "what the spec says")
                message = f"{path} and {other} would both become {file}"
                raise WeightsError("E533", message, str(root), "Name the one that is meant.")
    return found


def _matching(root: Location, glob: str) -> list[Location]:
    """Return the files that a pattern matches below a folder.

    Raises:
        WeightsError: E528 the pattern leads out of the folder; E536 it matches nothing.
    """
    if Path(glob).is_absolute() or ".." in Path(glob).parts:
        remedy = "Write the pattern from the folder on, with forward slashes."
        raise WeightsError("E528", f"the pattern {glob} leads out of the folder", str(root), remedy)
    try:
        every: list[Location] = sorted(root.glob(glob))
    except (ValueError, NotImplementedError) as error:
        raise WeightsError("E536", f"{glob} is no pattern: {error}", str(root), _RELEASE) from error
    for path in every:
        if path.is_symlink() and not path.exists():
            remedy = "Fetch it; the download may have stopped."
            raise WeightsError("E527", "this is a link to nothing", str(path), remedy)
    found = [path for path in every if path.is_file()]
    if not found:
        there = sorted(path.name for path in root.iterdir())
        listed = ", ".join(there[:_MOST_LISTED]) + (", ..." if len(there) > _MOST_LISTED else "")
        remedy = f"{_RELEASE} This one has {listed or 'nothing'}."
        raise WeightsError("E536", f"no file matches {glob}", str(root), remedy)
    return found


def outside(out: Path, root: Location) -> None:
    """Refuse to write into the release.

    Raises:
        WeightsError: E533 the output lies in it.
    """
    if out.resolve().is_relative_to(root.resolve()):
        message = f"the output would lie in the release {root}"
        raise WeightsError("E533", message, str(out), "Give a folder outside of it.")


def _convert(
    component: Component, own: Mapping[str, Tensor], shard_bytes: int, faults: list[Fault]
) -> Converted:
    try:
        mapped = component.rule_set.apply(own)
    except ValueError as error:
        mapped = Mapped(problems=[Problem("E531", str(error))])
    problems = list(mapped.problems)
    outputs = dict(mapped.outputs)
    if component.cast:
        for name, result in cast(mapped.outputs, component.cast, component.keep_fp32):
            if isinstance(result, Problem):
                problems.append(result)
            else:
                outputs[name] = result
    used = {rule for rule, _ in mapped.routes.values()}
    for index, rule in enumerate(component.rules):
        if index not in used and not rule.reason:
            problems.append(Problem("E506", f"no published name matches '{rule.match}'", index))
    if not outputs:
        problems.append(Problem("E536", "nothing is left of it"))
    faults += [Fault(component.name, p.code, p.message, p.rule) for p in problems]
    shards = lay_out(outputs, component.stem, shard_bytes)
    return Converted(component.name, own, mapped, outputs, shards)
