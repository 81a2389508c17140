"""K4: the defaults that decide quality are all stated, here and not in an ancestor, under real names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from portspec.codegen.facts import (
    CONFIG_QUALITY,
    FORWARD_BATCH,
    PIPELINE_CONFIG_BASE,
    PRECISION_KINDS,
    SAMPLING_PARAM,
    preset_quality,
)
from portspec.codegen.index import FastVideoIndex
from portspec.codegen.index.configs import config_fields
from portspec.errors import Diagnostic
from portspec.port import Port
from portspec.suggest import did_you_mean


def check(port: Port, index: FastVideoIndex) -> Iterator[Diagnostic]:
    """E601 not stated, E602 inherited, E610-E612 names and values that the framework would lose."""
    if port.spec.abstract:
        return
    yield from _presets(port, index)
    yield from _config(port, index)
    yield from _precisions(port)
    yield from _public_arguments(port, index)


def _presets(port: Port, index: FastVideoIndex) -> Iterator[Diagnostic]:
    public = _fields(index, SAMPLING_PARAM, "SamplingParam")
    public |= {name: param.type for name, param in port.spec.sampling_params.items()}
    base = index.tree.find_class(PIPELINE_CONFIG_BASE)
    config = config_fields(index.tree, base) if base else {}
    for name, preset in port.spec.presets.items():
        path = ("presets", name, "defaults")
        for wanted in preset_quality(preset.workload):
            if wanted not in preset.defaults:
                remedy = (
                    f"Add `{wanted}:` with its value and source; the default is another model's."
                )
                message = f"the preset {name} does not state {wanted}"
                yield port.complain("E601", message, path, remedy, "K4", key=True)
        for key, default in preset.defaults.items():
            if public and key not in public:
                remedy = did_you_mean(
                    key,
                    public,
                    "Add it under `sampling_params` if a stage reads it; FastVideo drops unknown keys.",
                )
                if key in config:
                    remedy = "It is a field of the pipeline config: state it under `pipeline.config.fields`."
                message = f"SamplingParam has no field {key}"
                yield port.complain("E610", message, (*path, key), remedy, "K6", key=True)
            annotation = public.get(key, "Any")
            if default.value is None and not re.search(r"\b(None|Any|Optional)\b", annotation):
                remedy = f"Write the official {annotation} value."
                if annotation == "str":
                    remedy = 'Write "" for an empty text.'
                message = f"{key} is null, and SamplingParam has it as {annotation}"
                yield port.complain("E612", message, (*path, key), remedy, "K4")


def _config(port: Port, index: FastVideoIndex) -> Iterator[Diagnostic]:
    pipeline = port.spec.pipeline
    if pipeline is None:
        return
    base = index.tree.find_class(pipeline.config.base or PIPELINE_CONFIG_BASE)
    if base is None:
        message = f"the target has no pipeline config {pipeline.config.base}"
        yield port.complain(
            "E414", message, ("pipeline", "config", "base"), "Check the module and the name."
        )
        return
    known = config_fields(index.tree, base)
    for name in CONFIG_QUALITY:
        if name not in pipeline.config.fields:
            remedy = (
                f"Add `{name}:` with its value and source; what decides quality is never inherited."
            )
            message = f"the pipeline config does not state {name}"
            yield port.complain("E601", message, ("pipeline", "config"), remedy, "K4", key=True)
    groups: list[tuple[tuple[str | int, ...], Iterable[str]]] = [
        (("pipeline", "config", "fields"), pipeline.config.fields)
    ]
    for variant_name, variant in (port.spec.scope.variants if port.spec.scope else {}).items():
        if variant.config:
            groups.append(
                (("scope", "variants", variant_name, "config", "fields"), variant.config.fields)
            )
    for path, fields in groups:
        for name in fields:
            if name not in known:
                remedy = did_you_mean(
                    name, known, "A field that nothing reads has no place in a config."
                )
                message = f"{base.facts.name} has no field {name}"
                yield port.complain("E611", message, (*path, name), remedy, "K6", key=True)
    for argument, value in (pipeline.scheduler.args if pipeline.scheduler else {}).items():
        if isinstance(value, str) and value[:1] == "$" and value[1:] not in known:
            remedy = did_you_mean(value[1:], known, "Name a field of it, as `$flow_shift`.")
            message = f"{base.facts.name} has no field {value[1:]}"
            path = ("pipeline", "scheduler", "args", argument)
            yield port.complain("E611", message, path, remedy, "K6")


def _precisions(port: Port) -> Iterator[Diagnostic]:
    for name, component in port.spec.components.items():
        if component.kind not in PRECISION_KINDS:
            continue
        path = ("components", name, "precision")
        if component.precision is None:
            remedy = "Add `precision: {value: bf16, source: ...}`; the default is another model's."
            message = f"{name} does not state its precision"
            yield port.complain("E601", message, ("components", name), remedy, "K4", key=True)
        elif port.spec.extends and not port.loaded.states(*path):
            remedy = "State it in this spec, with a source that speaks of this model."
            message = f"the precision of {name} is inherited from {port.at(*path)}"
            yield port.complain("E602", message, ("components", name), remedy, "K4", key=True)


def _public_arguments(port: Port, index: FastVideoIndex) -> Iterator[Diagnostic]:
    known = (
        _fields(index, SAMPLING_PARAM, "SamplingParam").keys()
        & _fields(index, FORWARD_BATCH, "ForwardBatch").keys()
    )
    for name in port.spec.sampling_params:
        if name in known:
            remedy = "Set it in the presets; only new arguments are listed here."
            message = f"SamplingParam has {name} already"
            yield port.complain("W613", message, ("sampling_params", name), remedy, key=True)


def _fields(index: FastVideoIndex, path: str, name: str) -> dict[str, str]:
    facts = index.tree.module(path).classes.get(name)
    return {f.name: f.annotation for f in facts.fields if f.annotation} if facts else {}
