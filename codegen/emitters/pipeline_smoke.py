"""The pipeline smoke test: what FastVideo resolves, and one generation through its front door."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from portspec.codegen.emitters import Context
from portspec.codegen.emitters.registry import _config_class
from portspec.edits import Edit
from portspec.render import python


def applies(context: Context) -> bool:
    """Ports with a pipeline."""
    return context.port.spec.pipeline is not None and not context.port.spec.abstract


def emit(context: Context) -> Iterator[Edit]:
    """Yield the test."""
    spec = context.port.spec
    assert spec.pipeline is not None
    entries = [
        {
            "hub": list(entry.hub),
            "preset": entry.preset,
            "config": _config_class(context, entry),
            "workloads": [w.lower() for w in entry.workloads],
            "class_names": list(entry.class_names),
        }
        for entry in spec.registry
    ]
    yield context.file(
        __file__,
        context.names.smoke_test,
        "pipeline_smoke.py.jinja",
        "pipeline",
        pipeline=spec.pipeline,
        pipeline_module=(spec.pipeline.reuse or f"{context.names.pipeline_module}:").partition(":")[
            0
        ],
        entries=entries,
        config_classes=sorted({e["config"] for e in entries}),
        expected=list(_expected_config(context)),
        presets={n: {k: d.value for k, d in p.defaults.items()} for n, p in spec.presets.items()},
        parity=spec.pipeline.parity,
        scheduler=_scheduler(context),
    )


def _expected_config(context: Context) -> Iterator[tuple[str, str]]:
    """Yield (attribute, expected source) of the pipeline config."""
    spec = context.port.spec
    assert spec.pipeline is not None
    for name, sourced in spec.pipeline.config.fields.items():
        yield name, python(sourced.value)
    precisions: list[Any] = []
    for component in spec.components.values():
        if component.precision and component.kind == "dit":
            yield "dit_precision", python(component.precision.value)
        if component.precision and component.kind == "vae":
            yield "vae_precision", python(component.precision.value)
        if component.precision and component.kind == "text_encoder":
            precisions.append(component.precision.value)
    if precisions:
        yield "text_encoder_precisions", python(tuple(precisions))


def _scheduler(context: Context) -> str | None:
    pipeline = context.port.spec.pipeline
    if not pipeline or not pipeline.scheduler:
        return None
    native = context.port.components[pipeline.scheduler.component].native
    return native.rpartition(":")[2] if native else None
