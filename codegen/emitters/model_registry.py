"""Model class aliases: a row where the checkpoint's `_class_name` is not the native class's name."""

from __future__ import annotations

from collections.abc import Iterator

from portspec.codegen.emitters import Context
from portspec.codegen.facts import KINDS, MODEL_REGISTRY
from portspec.edits import Edit
from portspec.edits.dict_entry import DictEntry
from portspec.port import ResolvedComponent


def applies(context: Context) -> bool:
    """Only checkpoints of classes that the target does not know need a row."""
    return any(_needs_row(context, c) for c in context.port.components.values())


def emit(context: Context) -> Iterator[Edit]:
    """Yield a row for each."""
    for component in context.port.components.values():
        if _needs_row(context, component):
            native = context.index.tree.find_class(component.native or "")
            assert native is not None, "rule E413 has seen to it"
            bucket, _, module = native.module.removeprefix("fastvideo.models.").partition(".")
            value = f'("{bucket}", "{module}", "{native.facts.name}")'
            table = KINDS[component.spec.kind].table
            assert table is not None
            yield DictEntry(
                MODEL_REGISTRY, table, component.class_name, value, f"components.{component.name}"
            )


def _needs_row(context: Context, component: ResolvedComponent) -> bool:
    """A row is needed when no file declares the name; a row of our own from an earlier build stays."""
    pipeline = context.port.spec.pipeline
    replaced = pipeline and pipeline.scheduler and pipeline.scheduler.component == component.name
    if not component.spec.reuse or KINDS[component.spec.kind].table is None or replaced:
        return False
    if component.class_name in {e.name for e in context.index.entry_classes}:
        return False
    return component.class_name != component.spec.reuse.rpartition(":")[2]
