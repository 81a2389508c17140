"""The pipeline's own names, and its agreement with the official pipeline's constructor."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from portspec.errors import Diagnostic
from portspec.port import Port
from portspec.spec import Pipeline
from portspec.suggest import did_you_mean


def check(port: Port) -> Iterator[Diagnostic]:
    """E615-E618 modules and names, E622 required modules, E623 class name."""
    pipeline = port.spec.pipeline
    if pipeline is None:
        return
    yield from _modules(port, pipeline)
    yield from _stage_names(port, pipeline)
    if port.spec.abstract:
        return
    yield from _official_modules(port, pipeline)
    yield from _class_name(port, pipeline)


def _modules(port: Port, pipeline: Pipeline) -> Iterator[Diagnostic]:
    for index, name in enumerate(pipeline.modules):
        if name not in port.spec.components:
            remedy = did_you_mean(
                name, port.spec.components, f"Components: {', '.join(port.spec.components)}."
            )
            yield port.complain(
                "E616",
                f'"{name}" is required and is no component',
                ("pipeline", "modules", index),
                remedy,
                "K7",
            )
    for index, stage in enumerate(pipeline.stages):
        for argument, value in stage.args.items():
            for name, optional in modules_in(value):
                if not optional and name not in pipeline.modules:
                    known = ", ".join(pipeline.modules)
                    remedy = (
                        f"Add it to `modules` ({known}), or write ${name}? if it may be missing."
                    )
                    message = f"the stage uses ${name}, which is not a required module"
                    yield port.complain(
                        "E615",
                        message,
                        ("pipeline", "stages", index, "args", argument),
                        remedy,
                        "K7",
                    )


def modules_in(value: Any) -> Iterator[tuple[str, bool]]:
    """Yield (module, whether it may be missing) for each `$module` in a stage argument."""
    if isinstance(value, list):
        for item in value:
            yield from modules_in(item)
    elif isinstance(value, str) and value.startswith("$") and value != "$self":
        yield value[1:].removesuffix("?"), value.endswith("?")


def _stage_names(port: Port, pipeline: Pipeline) -> Iterator[Diagnostic]:
    seen: set[str] = set()
    for index, stage in enumerate(pipeline.stages):
        if stage.name in seen:
            remedy = "Call this one otherwise: the pipeline holds stages by name."
            yield port.complain(
                "E618",
                f'two stages are called "{stage.name}"',
                ("pipeline", "stages", index, "name"),
                remedy,
                "K7",
            )
        seen.add(stage.name)
        if stage.bespoke and not (stage.requires and stage.provides):
            remedy = (
                "List the batch fields it reads as `requires` and those it writes as `provides`."
            )
            yield port.complain(
                "E618",
                f"the bespoke stage {stage.name} does not say what it needs and gives",
                ("pipeline", "stages", index),
                remedy,
                "K7",
            )


def _official_modules(port: Port, pipeline: Pipeline) -> Iterator[Diagnostic]:
    definition = port.official.find(pipeline.definition)
    if definition is None or definition.kind != "class" or definition.takes_anything:
        return
    official = {p.name for p in definition.parameters if p.required}
    optional = {p.name for p in definition.parameters} - official
    for name in sorted(official - set(pipeline.modules)):
        message = f"the official pipeline is built from {name}, which is not a required module"
        remedy = f"Add {name} to `modules`; without it the official pipeline cannot be run beside the port."
        yield port.complain("E622", message, ("pipeline", "modules"), remedy, "K7", key=True)
    for index, name in enumerate(pipeline.modules):
        if name not in official | optional:
            message = f"the official pipeline is not built from {name}"
            remedy = did_you_mean(
                name, official, f"It is built from {', '.join(sorted(official))}."
            )
            yield port.complain("E622", message, ("pipeline", "modules", index), remedy, "K7")


def _class_name(port: Port, pipeline: Pipeline) -> Iterator[Diagnostic]:
    published = pipeline.definition.rpartition(":")[2]
    pinned = all(entry.pin_pipeline for entry in port.spec.registry)
    if pipeline.class_ != published and not pinned:
        message = f"checkpoints say {published}, and the pipeline is called {pipeline.class_}"
        remedy = f"Call it {published}, since it is found by that name, or pin it in each registry entry."
        yield port.complain("E623", message, ("pipeline", "class"), remedy, "K1")
