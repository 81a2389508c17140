"""The pipeline parity test: denoised latents of the emitted pipeline against the official one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from portspec.codegen.emitters import Context
from portspec.codegen.emitters.component_parity import helper_import
from portspec.edits import Edit
from portspec.port import Port


def applies(context: Context) -> bool:
    """Ports with a pipeline."""
    return context.port.spec.pipeline is not None and not context.port.spec.abstract


def emit(context: Context) -> Iterator[Edit]:
    """Yield the test."""
    spec = context.port.spec
    assert spec.pipeline is not None
    module, _, name = spec.pipeline.definition.partition(":")
    yield context.file(
        __file__,
        context.names.pipeline_parity_test,
        "pipeline_parity.py.jinja",
        "pipeline.parity",
        pipeline=spec.pipeline,
        official_module=module,
        official=name,
        stages=[(s.name, s.use.rpartition(":")[2]) for s in spec.pipeline.stages],
        **_scheduler(context),
        parity=spec.pipeline.parity,
        helper_import=helper_import(
            context,
            [
                "DTYPE",
                "DTYPE_NAME",
                "MODEL_DIR",
                "assert_parity",
                "fastvideo_args",
                "local_device",
                "tolerance",
            ],
        ),
        max_length=_max_length(context),
        medium=medium(context.port),
        compared=["latents", *(["output"] if medium(context.port) else [])],
    )


def medium(port: Port) -> str:
    """Return what the pipeline's pictures are; empty when it makes none."""
    outputs = port.spec.scope.outputs if port.spec.scope else ()
    return next((name for name in ("video", "image") if name in outputs), "")


def _scheduler(context: Context) -> dict[str, Any]:
    component = context.port.components.get("scheduler")
    grid = component.spec.parity.grid if component else None
    module, _, name = ((component.spec.definition if component else None) or ":").partition(":")
    return {
        "scheduler_module": module,
        "scheduler": name,
        "takes_shift": bool(
            component and component.definition and component.definition.parameter("flow_shift")
        ),
        "follows_target": bool(grid and grid.follows == "target"),
        "decision": grid.decision if grid else None,
        "grid_bound": grid.max_timestep_difference if grid else 0.0,
    }


def _max_length(context: Context) -> int | None:
    for component in context.port.components.values():
        flags = component.spec.instantiation.flags if component.spec.instantiation else {}
        if component.spec.kind == "tokenizer" and "max_length" in flags:
            return int(flags["max_length"])
    return None
