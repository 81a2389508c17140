"""A spec and published weights -> the folder that a conversion writes, and what speaks against it.

Everything here is read from headers. Every tensor of every file that a component names must go somewhere:
into a component, or away with a reason.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from portspec.errors import Diagnostic, Place, UsageError
from portspec.port import Port, ResolvedComponent
from portspec.spec import ConversionRule
from portspec.weights.engine.layout import SHARD_BYTES, Shard, index_text, lay_out
from portspec.weights.engine.names import evaluate
from portspec.weights.engine.rules import (
    Join,
    Mapped,
    Problem,
    Rule,
    RuleSet,
    Value,
    cast,
)
from portspec.weights.engine.sources import inside, read_several
from portspec.weights.engine.tensors import Tensor, WeightsError
from portspec.weights.engine.write import Job
from portspec.weights.operations import make, stored

Path_ = tuple[str | int, ...]
_STEMS = {"diffusers": "diffusion_pytorch_model", "transformers": "model"}


@dataclass(frozen=True)
class Rules:
    """The rules of a component at one variant's arguments, and where each stands in the spec."""

    set: RuleSet
    paths: Sequence[Path_]


@dataclass
class Converted:
    """What becomes of one component's tensors."""

    name: str
    source: Mapping[str, Tensor]
    mapped: Mapped
    outputs: dict[str, Value]
    shards: list[Shard] = field(default_factory=list)


@dataclass
class Conversion:
    """The whole conversion."""

    job: Job
    components: list[Converted]
    findings: list[Diagnostic]


def rules_of(component: ResolvedComponent, variant: str) -> Rules:
    """Return the rules that convert a component; those that drop come first.

    Raises:
        ValueError: An operation, its arguments or arithmetic is wrong; the rules of the spec say where.
    """
    conversion = component.spec.conversion
    base: Path_ = ("components", component.name, "conversion")
    if conversion is None:
        return Rules(RuleSet([]), [])
    args = component.args.get(variant, {})
    values = integers(args)
    rules = [Rule(match, reason=reason) for match, reason in conversion.drop.items()]
    paths: list[Path_] = [(*base, "drop", match) for match in conversion.drop]
    for index, rule in enumerate(conversion.rules):
        if applies(rule, args):
            rules.append(engine_rule(rule, values))
            paths.append((*base, "rules", index))
    return Rules(RuleSet(rules, values), paths)


def variant_of(port: Port, name: str | None) -> str:
    """Return the variant that is meant, the first when none is named.

    Raises:
        UsageError: E901 there is no such variant.
    """
    variants = list(port.spec.scope.variants) if port.spec.scope else [""]
    if name is not None and name not in variants:
        raise UsageError(f"there is no variant {name}", f"There are {', '.join(variants)}.")
    return name or variants[0]


def integers(args: Mapping[str, Any]) -> dict[str, int]:
    """Return the constructor arguments that arithmetic can use."""
    return {k: v for k, v in args.items() if isinstance(v, int) and not isinstance(v, bool)}


def applies(rule: ConversionRule, args: Mapping[str, Any]) -> bool:
    """Tell whether a rule exists at these constructor arguments."""
    return all(args.get(key) == value for key, value in rule.when.items())


def engine_rule(rule: ConversionRule, values: Mapping[str, int]) -> Rule:
    """Return a rule of the spec as the engine takes it.

    Raises:
        ValueError: As above.
    """
    operations = tuple(make(*next(iter(op.items())), values) for op in rule.ops)
    to = (rule.to,) if isinstance(rule.to, str) else tuple(rule.to)
    join = None
    if rule.fuse:
        join = Join("concat", str(rule.fuse[0]), rule.fuse[1])
    elif rule.join:
        count = evaluate(rule.join.count, values)
        join = Join(rule.join.how, rule.join.part, count, rule.join.axis)
    return Rule(rule.match, to, operations, join)


def plan_conversion(
    port: Port, variant: str, root: Path, shard_bytes: int = SHARD_BYTES
) -> Conversion:
    """Plan the conversion of published weights below `root`."""
    found = Conversion(Job({}, {}, {}, {}), [], [])
    texts = dict(_texts(port, variant))
    shards: dict[str, Shard] = {}
    values: dict[str, Mapping[str, Value]] = {}
    copies: dict[str, Path] = {}
    owners: dict[tuple[str, str], str] = {}
    seen: dict[tuple[str, str], str] = {}
    for component in port.components.values():
        conversion = component.spec.conversion
        if conversion is None:
            continue
        try:
            copies |= _assets(component, root)
            if not component.is_stateful:
                continue
            own = _own(component, root, owners, seen)
        except WeightsError as error:
            found.findings.append(_complaint(error, port, component))
            continue
        converted = _convert(port, component, variant, own, found.findings)
        stem = _STEMS.get(component.library, "model")
        converted.shards = lay_out(converted.outputs, stem, shard_bytes)
        found.components.append(converted)
        for shard in converted.shards:
            file = f"{component.name}/{shard.file}"
            shards[file] = shard
            values[file] = {name: converted.outputs[name] for name in shard.names}
        if len(converted.shards) > 1:
            index = f"{component.name}/{stem}.safetensors.index.json"
            texts[index] = index_text(converted.shards, converted.outputs)
    found.findings += _unowned(seen, owners)
    found.job = Job(shards, values, texts, copies)
    return found


def _own(
    component: ResolvedComponent,
    root: Path,
    owners: dict[tuple[str, str], str],
    seen: dict[tuple[str, str], str],
) -> dict[str, Tensor]:
    """Return the component's tensors without its prefix, and note whose each tensor is.

    Raises:
        WeightsError: E536 there is no file; E537 a tensor is another component's already; and as reading.
    """
    conversion = component.spec.conversion
    assert conversion is not None
    paths = sorted({path for glob in conversion.files for path in root.glob(glob)})
    if not paths:
        message = f"no file matches {', '.join(conversion.files) or 'anything'}"
        raise WeightsError("E536", message, str(root), "Give the folder of the published release.")
    own = {}
    for name, tensor in read_several(paths, root).items():
        seen[tensor.file, name] = component.name
        if not name.startswith(conversion.prefix):
            continue
        other = owners.setdefault((tensor.file, name), component.name)
        if other != component.name:
            message = f"{name} belongs to {other} and to {component.name}"
            remedy = "Give each component the prefix of its own names."
            raise WeightsError("E537", message, tensor.file, remedy)
        own[name.removeprefix(conversion.prefix)] = tensor
    return own


def _unowned(
    seen: Mapping[tuple[str, str], str], owners: Mapping[tuple[str, str], str]
) -> Iterator[Diagnostic]:
    left: dict[str, list[str]] = {}
    for file, name in seen:
        if (file, name) not in owners:
            left.setdefault(file, []).append(name)
    for file, names in left.items():
        more = f" and {len(names) - 1:,} more" if len(names) > 1 else ""
        remedy = "Name the component whose prefix they have, or drop them there with the reason."
        message = f"{names[0]}{more} belong to no component"
        yield Diagnostic("E538", message, Place(file), remedy, "K15")


def _assets(component: ResolvedComponent, root: Path) -> dict[str, Path]:
    """Return the files to copy into the component's folder.

    Raises:
        WeightsError: E536 there is none; E528 one lies outside the release.
    """
    conversion = component.spec.conversion
    assert conversion is not None
    found = {}
    for glob in conversion.assets:
        paths = sorted(path for path in root.glob(glob) if path.is_file())
        if not paths:
            remedy = "Give the folder of the published release."
            raise WeightsError("E536", f"no file matches {glob}", str(root), remedy)
        for path in paths:
            inside(path, root)
            found[f"{component.name}/{path.name}"] = path
    return found


def _convert(
    port: Port,
    component: ResolvedComponent,
    variant: str,
    own: Mapping[str, Tensor],
    findings: list[Diagnostic],
) -> Converted:
    conversion = component.spec.conversion
    assert conversion is not None
    rules = rules_of(component, variant)
    mapped = rules.set.apply(own)
    findings += [_finding(port, component, rules, problem) for problem in mapped.problems]
    outputs = dict(mapped.outputs)
    if conversion.cast:
        rows = cast(mapped.outputs, stored(conversion.cast), conversion.keep_fp32)
        for name, result in rows:
            if isinstance(result, Problem):
                findings.append(_finding(port, component, rules, result))
            else:
                outputs[name] = result
    return Converted(component.name, own, mapped, outputs)


def _finding(
    port: Port, component: ResolvedComponent, rules: Rules, problem: Problem
) -> Diagnostic:
    path: Path_ = ("components", component.name, "conversion")
    if problem.rule >= 0:
        path = rules.paths[problem.rule]
    remedy = _REMEDIES.get(problem.code, "")
    return port.complain(problem.code, problem.message, path, remedy, "K15")


_REMEDIES = {
    "E503": "Give each tensor a name of its own, or say with `join` which part it is.",
    "E505": "Give every part its number; the release may lack a file.",
    "E530": "Compare the shapes with `portspec surface`.",
    "E531": "Use groups that match digits, and constructor arguments that are whole numbers.",
    "E532": "Drop the scale and cast in a rule of your own, or store the values as they are.",
}


def _complaint(error: WeightsError, port: Port, component: ResolvedComponent) -> Diagnostic:
    origin = ("asked for by", port.at("components", component.name, "conversion"))
    return Diagnostic(error.code, error.message, Place(error.file), error.remedy, "K15", (origin,))


def _texts(port: Port, variant: str) -> Iterator[tuple[str, str]]:
    """Yield the small files of a diffusers folder: the manifest and each component's config."""
    manifest: dict[str, Any] = {}
    if port.spec.pipeline:
        manifest["_class_name"] = port.spec.pipeline.definition.rpartition(":")[2]
    version = dict(p.split("==", 1) for p in port.spec.official.packages).get("diffusers")
    if version:
        manifest["_diffusers_version"] = version
    for component in port.components.values():
        manifest[component.name] = [component.library, component.class_name]
        config = _config(component, variant, version)
        if config is not None:
            file = "scheduler_config.json" if component.spec.kind == "scheduler" else "config.json"
            yield f"{component.name}/{file}", _json(config)
    yield "model_index.json", _json(manifest)


def _config(
    component: ResolvedComponent, variant: str, version: str | None
) -> dict[str, Any] | None:
    if component.spec.kind in ("tokenizer", "processor"):
        return None
    args = dict(component.args.get(variant, {}))
    if component.library == "transformers":
        module = (component.spec.definition or "").split(".")
        kind = {"model_type": module[2]} if len(module) > 2 else {}
        return {**args, **kind, "architectures": [component.class_name]}
    return {**args, "_class_name": component.class_name, "_diffusers_version": version}


def _json(table: Mapping[str, Any]) -> str:
    return json.dumps(table, indent=2, sort_keys=True) + "\n"
