"""The pipeline class: required modules, the scheduler it builds, and its stages in order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from portspec.codegen.emitters import Context
from portspec.codegen.imports import Imports
from portspec.edits import CreateFile, Edit
from portspec.render import python
from portspec.spec import Pipeline, Stage


def applies(context: Context) -> bool:
    """A reused pipeline class needs none."""
    pipeline = context.port.spec.pipeline
    return pipeline is not None and not pipeline.reuse


def emit(context: Context) -> Iterator[Edit]:
    """Yield the module; the package's `__init__.py`, without which it is not found, comes with presets."""
    pipeline = context.port.spec.pipeline
    assert pipeline is not None
    imports = Imports(context.names.pipeline_module)
    imports.add("fastvideo.fastvideo_args", "FastVideoArgs")
    imports.add("fastvideo.pipelines", "ComposedPipelineBase")
    bases = ["ComposedPipelineBase"]
    if pipeline.lora:
        bases.insert(0, imports.add("fastvideo.pipelines", "LoRAPipeline"))
    scheduler = _scheduler(context, pipeline, imports)
    stages = [_stage(stage, imports) for stage in pipeline.stages]
    yield context.file(
        __file__,
        context.names.pipeline_path,
        "pipeline.py.jinja",
        "pipeline",
        imports=imports.render(),
        pipeline=pipeline,
        bases=", ".join(bases),
        lora=pipeline.lora,
        scheduler=scheduler,
        stages=stages,
    )


def _scheduler(context: Context, pipeline: Pipeline, imports: Imports) -> dict[str, str] | None:
    if pipeline.scheduler is None:
        return None
    component = context.port.components[pipeline.scheduler.component]
    name = imports.add_ref(component.native or "")
    args = ", ".join(f"{k}={_argument(v)}" for k, v in pipeline.scheduler.args.items())
    return {
        "module": component.name,
        "call": f"{name}({args})",
        "source": pipeline.scheduler.source,
    }


def _argument(value: Any) -> str:
    if isinstance(value, str) and value.startswith("$"):
        return f"fastvideo_args.pipeline_config.{value[1:]}"
    return python(value)


def _stage(stage: Stage, imports: Imports) -> dict[str, str]:
    name = imports.add_ref(stage.use)
    args = ", ".join(f"{key}={_binding(value)}" for key, value in stage.args.items())
    return {"name": stage.name, "call": f"{name}({args})"}


def _binding(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_binding(v) for v in value) + "]"
    if value == "$self":
        return "self"
    if isinstance(value, str) and value.startswith("$"):
        optional = value.endswith("?")
        name = python(value[1:].removesuffix("?"))
        return f"self.get_module({name}, None)" if optional else f"self.get_module({name})"
    return python(value)


def package_marker(context: Context) -> CreateFile:
    """Return the `__init__.py` that makes the package exist for FastVideo's discovery."""
    path = f"{context.names.package}/__init__.py"
    return CreateFile(path, "# SPDX-License-Identifier: Apache-2.0\n", "pipeline")
