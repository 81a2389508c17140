"""Surfaces: every stateful component, on both sides, at its full published size, without a byte of weights.

Both classes are built on torch's meta device: the official one from the published arguments, the native one
as FastVideo's loaders build it. Names, shapes and the native class's own mapping are kept for the mapping
gate.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from portspec.cache import sha256
from portspec.codegen.classes import LIBRARY_KEYS, distinct, official
from portspec.codegen.gates import GateContext, load_ref, plain
from portspec.gates.result import Gate, Outcome


def declare(context: GateContext) -> Iterator[Gate]:
    """Yield the gate, over all variants."""
    path = str(surfaces_path(context))
    yield Gate(
        "surfaces",
        "both sides at full published size",
        __name__,
        {"variants": list(_variants(context)), "out": path},
        after=("environment",),
        inputs=context.inputs(),
        basis="published size, no weights",
        produces=(path,),
    )


def surfaces_path(context: GateContext) -> Path:
    """Return the file for both sides' names and shapes: another one for other sources or arguments.

    The evidence is shared through git and this file is not, so it must not be taken for another's.
    """
    told = json.dumps(list(_variants(context)), sort_keys=True, default=str)
    digest = sha256(told, *context.shared_inputs.values())
    return context.local / f"surfaces-{digest[:16]}.json"


def _variants(context: GateContext) -> Iterator[dict[str, Any]]:
    seen: set[str] = set()
    for entry in context.port.spec.registry:
        if entry.hub and entry.variant not in seen:
            seen.add(entry.variant)
            components = [_component(context, n, entry.variant) for n in context.port.components]
            yield {
                "name": entry.variant,
                "hub": entry.hub[0],
                "components": [c for c in components if c],
            }


def _component(context: GateContext, name: str, variant: str) -> dict[str, Any] | None:
    component = context.port.components[name]
    if not component.is_stateful:
        return None
    instantiation = component.spec.instantiation
    return {
        "name": name,
        "kind": component.spec.kind,
        "definition": component.spec.definition,
        "config_class": instantiation.config_class if instantiation else None,
        "class_name": component.class_name,
        "args": plain(component.args.get(variant) or component.args.get("") or {}),
        "whole": [k for k in component.spec.config_fields if k.startswith("load_")],
    }


def run(args: Mapping[str, Any]) -> Outcome:
    """Build both sides and write their surfaces."""
    from fastvideo.distributed import maybe_init_distributed_environment_and_model_parallel

    maybe_init_distributed_environment_and_model_parallel(1, 1)
    found: dict[str, Any] = {}
    metrics: dict[str, Any] = {}
    for variant in args["variants"]:
        for component in variant["components"]:
            key = f"{variant['name']}.{component['name']}"
            official = _official(component)
            native = _native(component, variant["hub"])
            found[key] = {"official": official, **native}
            metrics[f"{key}.official"] = sum(_numel(s) for s in official.values())
            metrics[f"{key}.native"] = sum(_numel(s) for s in native["native"].values())
            print(
                f"{key}: {len(official)} official tensors, {len(native['native'])} native tensors"
            )
    if not found:
        return Outcome("inconclusive", "the port has no component with weights")
    out = Path(args["out"])
    for old in out.parent.glob("surfaces*.json"):
        old.unlink()
    out.write_text(json.dumps(found), encoding="utf-8")
    native = sum(v for k, v in metrics.items() if k.endswith(".native"))
    message = f"{len(found)} surfaces of {len(args['variants'])} variants, {native / 1e9:.1f} B parameters"
    return Outcome("pass", message, metrics)


def _numel(shape: list[int]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total


def _shapes(tensors: Mapping[str, Any]) -> dict[str, list[int]]:
    return {name: list(tensor.shape) for name, tensor in tensors.items()}


def _official(component: Mapping[str, Any]) -> dict[str, list[int]]:
    import torch

    config_class = load_ref(component["config_class"]) if component["config_class"] else None
    with torch.device("meta"):
        module = official(load_ref(component["definition"]), config_class, component["args"])
    return _shapes(distinct(module)[0])


def _native(component: Mapping[str, Any], hub: str) -> dict[str, Any]:
    """Build the native class as its loader does (fastvideo/models/loader/component_loader.py)."""
    import torch
    from fastvideo.models.registry import ModelRegistry
    from fastvideo.registry import get_pipeline_config_cls_from_name

    pipeline_config = get_pipeline_config_cls_from_name(hub)()
    config = pipeline_part(pipeline_config, component)
    for name in component["whole"]:
        setattr(config, name, True)
    published = {k: v for k, v in component["args"].items() if k not in LIBRARY_KEYS}
    if component["config_class"]:
        published["architectures"] = [component["class_name"]]
    config.update_model_arch(published)
    model_cls, _ = ModelRegistry.resolve_model_cls(component["class_name"])
    with torch.device("meta"):
        if component["kind"] == "dit":
            module = model_cls(
                config=config, hf_config={**published, "_class_name": component["class_name"]}
            )
        else:
            module = model_cls(config)
    tensors, aliases = distinct(module)
    return {
        "native": _shapes(tensors),
        "aliases": aliases,
        "class": f"{model_cls.__module__}:{model_cls.__name__}",
        "renames": _renames(module) if component["kind"] == "dit" else [],
        "stacks": [list(row) for row in getattr(config.arch_config, "stacked_params_mapping", [])],
    }


def pipeline_part(pipeline_config: Any, component: Mapping[str, Any]) -> Any:
    """Return the component's config out of the pipeline's, which is this process's own to change."""
    from portspec.codegen.facts import KINDS

    field = KINDS[component["kind"]].pipeline_field
    assert field is not None
    value = getattr(pipeline_config, field)
    if isinstance(value, tuple):
        _, _, number = component["name"].rpartition("_")
        return value[int(number) - 1 if number.isdigit() else 0]
    return value


def _renames(module: Any) -> list[list[Any]]:
    rows = []
    for pattern, target in module.param_names_mapping.items():
        name, *part = target if isinstance(target, tuple) else (target,)
        rows.append([pattern, name, part or None])
    return rows
