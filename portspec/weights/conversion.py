"""A spec's conversions as plain declarations: what `convert` runs and what an emitted script begins with."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from portspec.errors import Diagnostic, Place, UsageError
from portspec.load import KeyPath
from portspec.port import Port, ResolvedComponent
from portspec.spec import ConversionRule
from portspec.weights.certificate import listed, side_of
from portspec.weights.doubts import without_numbers
from portspec.weights.engine.convert import (
    Component,
    Converted,
    Fault,
    Plan,
    declared,
    plan,
)
from portspec.weights.engine.hub import Location
from portspec.weights.engine.layout import SHARD_BYTES, json_text
from portspec.weights.engine.names import evaluate
from portspec.weights.engine.rules import Rule, RuleSet
from portspec.weights.engine.tensors import Tensor
from portspec.weights.operations import every_operation, resolved, stored
from portspec.weights.surface import read_surface

_SUM = re.compile(r"\{([^{}]*)\}")
_WORD = re.compile(r"[A-Za-z_]\w*")
_STEMS = {"diffusers": "diffusion_pytorch_model", "transformers": "model"}


@dataclass(frozen=True)
class Rules:
    """The rules of a component at one variant's arguments, and where each stands in the spec."""

    set: RuleSet
    paths: Sequence[KeyPath]


def rules_of(component: ResolvedComponent, variant: str) -> Rules:
    """Return the rules that convert a component; those that drop come first.

    Raises:
        ValueError: An operation, its arguments or arithmetic is wrong; the rules of the spec say where.
    """
    conversion = component.spec.conversion
    base: KeyPath = ("components", component.name, "conversion")
    if conversion is None:
        return Rules(RuleSet([]), [])
    args = component.args.get(variant, {})
    paths: list[KeyPath] = [(*base, "drop", match) for match in conversion.drop]
    paths += [(*base, "rules", i) for i, r in enumerate(conversion.rules) if applies(r, args)]
    return Rules(_component(component, variant).rule_set, paths)


def _component(component: ResolvedComponent, variant: str) -> Component:
    table = declaration(component, variant)
    return declared(component.name, table, every_operation())


def declaration(component: ResolvedComponent, variant: str) -> dict[str, Any]:
    """Return a component's conversion as plain data, as `engine.convert.declared` takes it.

    Raises:
        ValueError: As above.
    """
    conversion = component.spec.conversion
    if conversion is None:
        return {}
    args = component.args.get(variant, {})
    values = integers(args)
    rules = [_row(rule, values) for rule in conversion.rules if applies(rule, args)]
    named = set(
        _WORD.findall(" ".join(s for row in rules for n in row[1] for s in _SUM.findall(n)))
    )
    told: dict[str, Any] = {
        "stem": _STEMS.get(component.library, "model"),
        "files": list(conversion.files),
        "prefix": conversion.prefix,
        "rules": rules,
        "drop": dict(conversion.drop),
        "values": {name: value for name, value in values.items() if name in named},
        "cast": stored(conversion.cast) if conversion.cast else "",
        "keep_fp32": list(conversion.keep_fp32),
        "assets": list(conversion.assets),
    }
    return {key: value for key, value in told.items() if value or key == "stem"}


def _row(rule: ConversionRule, values: Mapping[str, int]) -> tuple[Any, ...]:
    """Return a rule as (pattern, names, operations, join)."""
    to = [rule.to] if isinstance(rule.to, str) else list(rule.to)
    join: tuple[Any, ...] | None = None
    if rule.fuse:
        join = ("concat", str(rule.fuse[0]), rule.fuse[1], 0)
    elif rule.join:
        count = evaluate(rule.join.count, values)
        after = _resolved(rule.join.after, values)
        join = (rule.join.how, rule.join.part, count, rule.join.axis, *([after] if after else []))
    return rule.match, to, _resolved(rule.ops, values), join


def _resolved(
    ops: Sequence[Mapping[str, Mapping[str, Any]]], values: Mapping[str, int]
) -> list[tuple[str, dict[str, Any]]]:
    return [(name, resolved(name, given, values)) for op in ops for name, given in op.items()]


def own_names(surface: Mapping[str, Tensor], component: ResolvedComponent) -> dict[str, Tensor]:
    """Return the tensors of a file that belong to a component, without its prefix."""
    prefix = component.spec.conversion.prefix if component.spec.conversion else ""
    return {n.removeprefix(prefix): t for n, t in surface.items() if n.startswith(prefix)}


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
    return declared("", {"rules": [_row(rule, values)]}, every_operation()).rules[0]


def plan_conversion(
    port: Port, variant: str, root: Location, shard_bytes: int = SHARD_BYTES
) -> tuple[Plan, list[Diagnostic]]:
    """Plan the conversion of published weights below `root`, and say what speaks against it."""
    converted = [c for c in port.components.values() if c.spec.conversion]
    components = [_component(c, variant) for c in converted]
    made = plan(components, texts(port, variant), root, shard_bytes)
    findings = [_finding(port, variant, fault) for fault in made.faults]
    for part in made.components:
        findings += [*_doubted(port, part), *_other_names(port, part, variant)]
    return made, findings


def _other_names(port: Port, part: Converted, variant: str) -> Iterator[Diagnostic]:
    """Compare the names and shapes of a release with those that the spec keeps."""
    file = port.surfaces.get(part.name)
    if file is None:
        return
    component = port.components[part.name]
    kept = own_names(read_surface(file), component)
    side = side_of(part.source, kept, rules_of(component, variant).set.apply(kept).outputs)
    strangers = [name for name in part.source if name not in kept]
    lacking = [name for name in kept if name not in part.source]
    unlike = [n for n, t in part.source.items() if n in kept and kept[n].shape != t.shape]
    says = {
        f"the release is converted already: {listed(strangers)} are names that come out": side
        == "target",
        f"the release has names that {file.name} has not: {listed(strangers)}": strangers,
        f"the release lacks names that {file.name} has: {listed(lacking)}": lacking,
        f"the release has other shapes than {file.name}: {listed(unlike)}": unlike,
    }
    path = ("components", part.name, "conversion", "surface")
    remedy = "Give the authors' own release of this size; --verify holds it against the classes."
    for message, is_so in says.items():
        if is_so:
            yield port.complain("W543", message, path, remedy)
            return


def _doubted(port: Port, part: Converted) -> Iterator[Diagnostic]:
    """Doubt tensors that hold no number, unless they are dropped."""
    empty = [name for name in without_numbers(part.source) if name not in part.mapped.dropped]
    if empty:
        path = ("components", part.name, "conversion")
        remedy = "Compare the file's hash with the published one, or drop it with the reason."
        yield port.complain("W542", f"{listed(empty)}: every element is NaN", path, remedy)


def _finding(port: Port, variant: str, fault: Fault) -> Diagnostic:
    path: KeyPath = ("components", fault.component, "conversion")
    if fault.rule >= 0:
        path = rules_of(port.components[fault.component], variant).paths[fault.rule]
    remedy = fault.remedy or REMEDIES.get(fault.code, "")
    if not fault.file:
        return port.complain(fault.code, fault.message, path, remedy, "K15")
    origin = ("asked for by", port.at(*path))
    return Diagnostic(fault.code, fault.message, Place(fault.file), remedy, "K15", (origin,))


REMEDIES = {
    "E501": "Add or mend the rule for it, or drop it with the reason; `portspec map show` lists all.",
    "E502": "Look for its published name with `portspec surface`, and add the rule.",
    "E504": "Compare the shapes with `portspec surface`: another variant, or an operation that lacks?",
    "E506": "Compare the pattern with the names that `portspec surface` lists, or take it out.",
    "E507": "Put the special rule before the general one.",
    "E503": "Give each tensor a name of its own, or say with `join` which part it is.",
    "E505": "Give every part its number; the release may lack a file.",
    "E530": "Compare the shapes with `portspec surface`.",
    "E531": "Use groups that match digits, and constructor arguments that are whole numbers.",
    "E532": "Drop the scale and cast in a rule of your own, or store the values as they are.",
}


def texts(port: Port, variant: str) -> dict[str, str]:
    """Return the small files of a diffusers folder."""
    return {file: json_text(config) for file, config in configs(port, variant).items()}


def configs(port: Port, variant: str) -> dict[str, dict[str, Any]]:
    """Return what the manifest and each component's config say, by file."""
    version = dict(p.split("==", 1) for p in port.spec.official.packages).get("diffusers")
    manifest: dict[str, Any] = {"_diffusers_version": version} if version else {}
    if port.spec.pipeline:
        manifest["_class_name"] = port.spec.pipeline.definition.rpartition(":")[2]
    found = {}
    for component in port.components.values():
        manifest[component.name] = [component.library, component.class_name]
        for file, config in _config(component, variant, version):
            found[f"{component.name}/{file}"] = config
    return {**found, "model_index.json": manifest}


def _config(
    component: ResolvedComponent, variant: str, version: str | None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the component's config file, if its kind has one."""
    if component.spec.kind in ("tokenizer", "processor"):
        return
    args = dict(component.args.get(variant, {}))
    if component.library == "transformers":
        module = (component.spec.definition or "").split(".")
        kind = {"model_type": module[2]} if len(module) > 2 else {}
        yield "config.json", {**args, **kind, "architectures": [component.class_name]}
        return
    own = {
        "_class_name": component.class_name,
        **({"_diffusers_version": version} if version else {}),
    }
    file = "scheduler_config.json" if component.spec.kind == "scheduler" else "config.json"
    yield file, {**args, **own}
