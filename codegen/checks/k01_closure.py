"""K1: everything that is registered exists, is registered once, and everything that exists is reachable."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from portspec.codegen.facts import MODEL_REGISTRY, REGISTRY
from portspec.codegen.index import FastVideoIndex
from portspec.errors import Diagnostic
from portspec.suggest import did_you_mean


def check(index: FastVideoIndex) -> Iterator[Diagnostic]:
    """E310-E322, W314, W316 and W317; each has its page."""
    yield from _ids(index)
    yield from _entries(index)
    yield from _presets(index)
    yield from _model_rows(index)
    yield from _pipelines(index)


def _found(
    index: FastVideoIndex, code: str, message: str, path: str, line: int, remedy: str
) -> Diagnostic:
    return Diagnostic(code, message, index.tree.place(path, line), remedy, "K1")


def _ids(index: FastVideoIndex) -> Iterator[Diagnostic]:
    owners: dict[str, int] = {}
    short: dict[str, tuple[str, tuple[str | None, ...]]] = {}
    for entry in index.registrations:
        for hub, line in entry.hub:
            if hub in owners:
                message = f"{hub} is registered on line {owners[hub]} too, and this one wins"
                remedy = "Keep the id in one entry."
                yield _found(index, "E310", message, REGISTRY, line, remedy)
            owners[hub] = line
            if hub.count("/") != 1 or hub.startswith(("/", ".", "~")):
                remedy = "Register `organisation/name`; local folders are found by detection."
                yield _found(index, "E311", f'"{hub}" is not a hub id', REGISTRY, line, remedy)
            name = hub.split("/")[-1].lower()
            other = short.setdefault(name, (hub, entry.effect))
            if other[0] != hub and other[1] != entry.effect:
                message = f"{hub} and {other[0]} have the same last part and different entries"
                remedy = "A local folder of that name gets the longer id's entry; tell them apart by name."
                yield _found(index, "E312", message, REGISTRY, line, remedy)


def _entries(index: FastVideoIndex) -> Iterator[Diagnostic]:
    presets = {(p.family, p.name) for p in index.registered_presets}
    names = [p.name for p in index.presets]
    for entry in index.registrations:
        if index.config_class(entry) is None:
            message = f"the config {entry.config} of {entry.label} cannot be found"
            yield _found(
                index,
                "E313",
                message,
                REGISTRY,
                entry.line,
                "Import it in registry.py from the module that defines it.",
            )
        if entry.preset and (entry.family, entry.preset) not in presets:
            message = (
                f"{entry.label}: no preset {entry.preset} of family {entry.family} is registered"
            )
            remedy = did_you_mean(
                entry.preset, names, "Every request for these ids fails until it is."
            )
            yield _found(index, "E314", message, REGISTRY, entry.line, remedy)
        if entry.pipeline and entry.pipeline not in index.class_names:
            message = f"{entry.label} pins the pipeline {entry.pipeline}, which no file declares"
            remedy = did_you_mean(
                entry.pipeline, index.class_names, "Pin the name of an EntryClass."
            )
            yield _found(index, "E315", message, REGISTRY, entry.line, remedy)
        if not entry.hub and not entry.detectors:
            message = f"nothing leads to {entry.label}: no hub id and no detector"
            yield _found(
                index, "E316", message, REGISTRY, entry.line, "Give it one of them, or remove it."
            )


def _presets(index: FastVideoIndex) -> Iterator[Diagnostic]:
    counts = Counter(p.key for p in index.registered_presets)
    registered = {g.module for g in index.preset_groups if g.used}
    for preset in index.presets:
        module = preset.path.removesuffix(".py").replace("/", ".")
        if counts[preset.key] > 1:
            message = f"the preset {preset.name} of {preset.family} is registered {counts[preset.key]} times"
            yield _found(
                index,
                "E317",
                message,
                preset.path,
                preset.line,
                "FastVideo does not start with two of the same; rename one.",
            )
        if not preset.listed:
            message = f"the preset {preset.name} is not in ALL_PRESETS, so nobody can choose it"
            yield _found(
                index,
                "E318",
                message,
                preset.path,
                preset.line,
                "Add it to ALL_PRESETS, or remove it.",
            )
        elif module not in registered:
            message = f"the preset {preset.name} is not registered: registry.py does not register its family"
            remedy = "Import ALL_PRESETS in _register_presets() and add it to all_preset_groups."
            yield _found(index, "W314", message, preset.path, preset.line, remedy)
    for group in index.preset_groups:
        if not group.used:
            message = f"{group.alias} is imported and not in all_preset_groups, so its presets do not exist"
            yield _found(
                index, "E318", message, REGISTRY, group.line, "Add it to all_preset_groups."
            )


def _model_rows(index: FastVideoIndex) -> Iterator[Diagnostic]:
    seen: dict[tuple[str, str], int] = {}
    declared = {e.name: e for e in index.entry_classes}
    for row in index.model_rows:
        key = (row.table, row.key)
        if key in seen:
            message = (
                f'"{row.key}" stands in {row.table} on line {seen[key]} already; this one wins'
            )
            yield _found(index, "E319", message, MODEL_REGISTRY, row.line, "Keep one of them.")
        seen[key] = row.line
        module = row.ref.partition(":")[0]
        winner = declared.get(row.key)
        if winner and index.tree.locate(row.ref) != index.model_ref(row.key):
            message = f"this row is never used: {winner.path} declares {row.key} first"
            yield _found(
                index,
                "W317",
                message,
                MODEL_REGISTRY,
                row.line,
                f"Remove it, or the EntryClass, whichever is not meant ({row.ref}).",
            )
        elif not winner and not index.tree.has_symbol(row.ref):
            missing = module if index.tree.path_of(module) is None else row.ref
            message = f"the row for {row.key} leads to {missing}, which does not exist"
            yield _found(
                index,
                "E320",
                message,
                MODEL_REGISTRY,
                row.line,
                "A checkpoint of that class fails to load; correct or remove the row.",
            )


def _pipelines(index: FastVideoIndex) -> Iterator[Diagnostic]:
    pinned = {entry.pipeline for entry in index.registrations}
    owner: dict[str, str] = {}
    for pipeline in index.pipelines:
        if pipeline.name in owner:
            message = f"{pipeline.name} is declared in {owner[pipeline.name]} too; one of them is never used"
            yield _found(
                index, "E321", message, pipeline.path, pipeline.line, "Rename one of them."
            )
        owner.setdefault(pipeline.name, pipeline.path)
        for module in pipeline.modules or ():
            if index.loaders and module not in index.loaders and module not in _GENERIC_MODULES:
                message = f"{pipeline.name} requires {module}, for which there is no loader"
                remedy = "It is loaded as None and start-up fails; add a row to module_loaders."
                yield _found(index, "E322", message, pipeline.path, pipeline.line, remedy)
        fires = any(entry.fires_on(pipeline.name.lower()) for entry in index.registrations)
        if index.registrations and not fires and pipeline.name not in pinned:
            message = (
                f"a local {pipeline.name} checkpoint in a neutrally named folder finds no entry"
            )
            remedy = f'Register it, or let a detector accept "{pipeline.name.lower()}".'
            yield _found(index, "W316", message, pipeline.path, pipeline.line, remedy)


# Null in every published manifest that names them, which takes them off the required modules.
_GENERIC_MODULES = frozenset({"safety_checker"})
