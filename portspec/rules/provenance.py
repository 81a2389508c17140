"""K4: values that decide what a user sees name their source, and the source says so."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from portspec.errors import Diagnostic
from portspec.port import Port
from portspec.provenance import verify
from portspec.rules.placeholders import is_placeholder
from portspec.spec import Sourced


def check(port: Port) -> Iterator[Diagnostic]:
    """E126 unknown decision, E603-E608 sources that are malformed, absent, or say something else."""
    missing = {p.name.replace("-", "_") for p in port.official.packages if not p.installed}
    for path, sourced in _sourced(port):
        if any(sourced.source.startswith(f"{name}.") for name in missing):
            continue  # said once, for the package
        if is_placeholder(sourced.source):
            continue  # said by another rule
        yield from _verified(port, path, sourced.value, sourced.source)
    scheduler = port.spec.pipeline.scheduler if port.spec.pipeline else None
    if scheduler and re.match(r"https://|D\d{3}$", scheduler.source):  # code has no dict to compare
        yield from _verified(port, ("pipeline", "scheduler"), scheduler.args, scheduler.source)


def _verified(
    port: Port, path: tuple[str | int, ...], value: Any, source: str
) -> Iterator[Diagnostic]:
    verdict = verify(port, value, source)
    if verdict.code:
        yield port.complain(verdict.code, verdict.message, (*path, "source"), verdict.remedy, "K4")


def _sourced(port: Port) -> Iterator[tuple[tuple[str | int, ...], Sourced]]:
    spec = port.spec
    for name, component in spec.components.items():
        for field in ("precision", "decode_precision"):
            value = getattr(component, field)
            if value is not None:
                yield ("components", name, field), value
    if spec.pipeline:
        for name, value in spec.pipeline.config.fields.items():
            yield ("pipeline", "config", "fields", name), value
    for preset_name, preset in spec.presets.items():
        for name, value in preset.defaults.items():
            yield ("presets", preset_name, "defaults", name), value
    for variant_name, variant in (spec.scope.variants if spec.scope else {}).items():
        for name, value in (variant.config.fields if variant.config else {}).items():
            yield ("scope", "variants", variant_name, "config", "fields", name), value
