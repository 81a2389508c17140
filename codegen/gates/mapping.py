"""The mapping: on the full published key set, every element has exactly one source and one fate."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from portspec.cache import sha256
from portspec.codegen.gates import GateContext
from portspec.codegen.gates.surfaces import surfaces_path
from portspec.codegen.mapping import KeyMap, RenameRow, StackRow, certify, dead_rules, look_alikes
from portspec.gates.result import Gate, Outcome
from portspec.weights.certificate import certify as certify_conversion
from portspec.weights.conversion import declaration
from portspec.weights.engine.convert import declared
from portspec.weights.operations import every_operation
from portspec.weights.surface import read_surface


def declare(context: GateContext) -> Iterator[Gate]:
    """Yield the gate; it reads what the surfaces gate wrote."""
    unused = {n: list(c.spec.unused) for n, c in context.port.components.items()}
    yield Gate(
        "mapping",
        "every key goes to exactly one parameter",
        __name__,
        {
            "surfaces": str(surfaces_path(context)),
            "unused": unused,
            "conversions": list(_conversions(context)),
        },
        after=("surfaces",),
        inputs=context.inputs(),
        basis="published size, no weights",
        timeout=120,
    )


def _conversions(context: GateContext) -> Iterator[dict[str, Any]]:
    """Yield what converts each component whose published names the spec knows, for each variant."""
    for name, path in context.port.surfaces.items():
        component = context.port.components[name]
        for variant in component.args:
            yield {
                "key": f"{variant}.{name}",
                "surface": str(path.resolve()),
                "content": sha256(path.read_text(encoding="utf-8")),
                "declaration": declaration(component, variant),
            }


def key_map(surface: Mapping[str, Any]) -> KeyMap:
    """Return the rules of a dumped surface."""
    renames = [RenameRow(p, r, tuple(part) if part else None) for p, r, part in surface["renames"]]
    stacks = [] if renames else stack_rows(surface["stacks"])
    return KeyMap(renames, stacks, surface["aliases"])


def stack_rows(rows: Sequence[Sequence[Any]]) -> list[StackRow]:
    """Number the parts of each fused parameter in the order in which its rows stand."""
    counts = Counter(row[0] for row in rows)
    seen: Counter[str] = Counter()
    numbered = []
    for fused, single, _ in rows:
        numbered.append(StackRow(fused, single, seen[fused], counts[fused]))
        seen[fused] += 1
    return numbered


def shapes(surface: Mapping[str, Any], side: str) -> dict[str, tuple[int, ...]]:
    """Return one side's names with their shapes."""
    return {name: tuple(shape) for name, shape in surface[side].items()}


def run(args: Mapping[str, Any]) -> Outcome:
    """Certify every component of every variant."""
    surfaces = json.loads(Path(args["surfaces"]).read_text(encoding="utf-8"))
    problems: list[str] = []
    metrics: dict[str, Any] = {}
    for key, surface in surfaces.items():
        component = key.rpartition(".")[2]
        keys = key_map(surface)
        official, native = shapes(surface, "official"), shapes(surface, "native")
        found = list(certify(official, native, keys, args["unused"].get(component, [])))
        problems += [f"{p.code} {key}: {p.message}" for p in found]
        metrics[f"{key}.keys"] = len(official)
        metrics[f"{key}.dead_rules"] = len(dead_rules(official, native, keys))
        metrics[f"{key}.look_alikes"] = look_alikes(native)
    for conversion in args["conversions"]:
        problems += _converted(conversion, surfaces, metrics)
    print("\n".join(problems) or "every mapping is a bijection")
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        return Outcome("fail", problems[0] + more, metrics)
    keys = sum(v for k, v in metrics.items() if k.endswith((".keys", ".released_keys")))
    return Outcome("pass", f"{keys} keys of {len(surfaces)} surfaces, each with one fate", metrics)


def _converted(
    conversion: Mapping[str, Any], surfaces: Mapping[str, Any], metrics: dict[str, Any]
) -> list[str]:
    """Prove that the published names of a release become those of the official class."""
    key = conversion["key"]
    if key not in surfaces:
        return []
    component = declared(key, conversion["declaration"], every_operation())
    surface, prefix = read_surface(Path(conversion["surface"])), component.prefix
    source = {n.removeprefix(prefix): t for n, t in surface.items() if n.startswith(prefix)}
    found = certify_conversion(source, shapes(surfaces[key], "official"), component.rule_set)
    metrics[f"{key}.released_keys"] = found.keys
    return [f"{f.code} {key}, converted: {f.message}" for f in found.findings if f.code[0] == "E"]
