"""What a spec that is built must say, and whether its names of variants and presets meet."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from portspec.errors import Diagnostic
from portspec.port import Port
from portspec.suggest import did_you_mean

_REQUIRED = ("scope", "weights", "pipeline", "presets", "registry", "examples", "quality")
_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)


def check(port: Port) -> Iterator[Diagnostic]:
    """E110 missing section, E111 and E112 variants, E113 and W114 presets, E142 weights."""
    spec = port.spec
    if spec.abstract:
        return
    only = bool(spec.scope and spec.scope.component_only)
    for name in ("scope", "weights") if only else _REQUIRED:
        if not getattr(spec, name):
            remedy = f"Add `{name}:`; docs/language.md shows what goes there. Each spec says this for itself."
            yield port.complain("E110", f"a spec that is built says `{name}`", (), remedy)
    yield from _variants(port)
    if spec.registry or only:
        yield from _checkpoints(port)
    yield from _presets(port)
    yield from _hub_ids(port)
    registered = [hub for entry in spec.registry for hub in entry.hub]
    if spec.weights and registered and spec.weights.hub not in registered:
        message = f"no registry entry has the hub id {spec.weights.hub}"
        remedy = did_you_mean(spec.weights.hub, registered, f"Registered: {', '.join(registered)}.")
        yield port.complain("E142", message, ("weights", "hub"), remedy, "K1")


def _variants(port: Port) -> Iterator[Diagnostic]:
    spec = port.spec
    known = spec.scope.variants if spec.scope else {}
    named: list[tuple[tuple[str | int, ...], str]] = [
        (("presets", name, "variant"), preset.variant) for name, preset in spec.presets.items()
    ]
    named += [(("registry", i, "variant"), entry.variant) for i, entry in enumerate(spec.registry)]
    named += [
        (("examples", i, "variant"), example.variant) for i, example in enumerate(spec.examples)
    ]
    if spec.quality and spec.quality.ssim:
        named.append((("quality", "ssim", "variant"), spec.quality.ssim.variant))
    for path, name in named:
        if known and name not in known:
            remedy = did_you_mean(name, known, f"Variants: {', '.join(known)}.")
            yield port.complain("E111", f'there is no variant "{name}"', path, remedy)
    if spec.registry:
        registered = {entry.variant for entry in spec.registry}
        for name in known:
            if name not in registered:
                remedy = "Add an entry to `registry`, or take the variant out of `scope`."
                message = f'the variant "{name}" is covered but no registry entry leads to it'
                yield port.complain(
                    "E112", message, ("scope", "variants", name), remedy, "K1", key=True
                )
    for name, variant in known.items():
        for component in variant.components:
            if component not in spec.components:
                remedy = did_you_mean(
                    component, spec.components, f"Components: {', '.join(spec.components)}."
                )
                path = ("scope", "variants", name, "components", component)
                yield port.complain(
                    "E111", f'there is no component "{component}"', path, remedy, key=True
                )


def _checkpoints(port: Port) -> Iterator[Diagnostic]:
    """What users and tests run must have a checkpoint to load."""
    spec = port.spec
    published = {entry.variant for entry in spec.registry if entry.hub}
    shown: list[tuple[tuple[str | int, ...], str]] = [
        (("examples", i, "variant"), example.variant) for i, example in enumerate(spec.examples)
    ]
    if spec.quality and spec.quality.ssim:
        shown.append((("quality", "ssim", "variant"), spec.quality.ssim.variant))
    for path, name in shown:
        if name not in published and spec.scope and name in spec.scope.variants:
            message = f'no registry entry has a hub id for the variant "{name}", which is run here'
            remedy = "Add `hub` to its entry, or show a variant whose checkpoint is published."
            yield port.complain("E112", message, path, remedy, "K1")


def _presets(port: Port) -> Iterator[Diagnostic]:
    spec = port.spec
    for index, entry in enumerate(spec.registry):
        preset = spec.presets.get(entry.preset)
        if preset is None:
            remedy = did_you_mean(
                entry.preset, spec.presets, f"Presets: {', '.join(spec.presets) or 'none'}."
            )
            message = f'there is no preset "{entry.preset}"'
            yield port.complain("E113", message, ("registry", index, "preset"), remedy, "K1")
        elif preset.variant != entry.variant:
            message = f'the preset "{entry.preset}" belongs to the variant "{preset.variant}"'
            remedy = f"Give the variant {entry.variant} a preset of its own."
            yield port.complain("E113", message, ("registry", index, "preset"), remedy, "K1")
    used = {entry.preset for entry in spec.registry}
    for name in spec.presets:
        if spec.registry and name not in used:
            message = f'no registry entry gives anybody the preset "{name}"'
            remedy = "It can still be chosen by name; make it some entry's preset if it should be a default."
            yield port.complain("W114", message, ("presets", name), remedy, "K1", key=True)


def _hub_ids(port: Port) -> Iterator[Diagnostic]:
    spec = port.spec
    ids = Counter(hub for entry in spec.registry for hub in entry.hub)
    named: list[tuple[tuple[str | int, ...], str]] = [
        (("registry", index, "hub", position), hub)
        for index, entry in enumerate(spec.registry)
        for position, hub in enumerate(entry.hub)
    ]
    for path, hub in named:
        if ids[hub] > 1:
            remedy = "Keep it in the entry whose preset and config its users should get."
            yield port.complain(
                "E116", f'"{hub}" is registered {ids[hub]} times', path, remedy, "K1"
            )
    if spec.weights:
        named.append((("weights", "hub"), spec.weights.hub))
    for path, hub in named:
        if not _HUB_ID.fullmatch(hub):
            remedy = "A hub id is `organisation/name`; local folders are found by detection."
            yield port.complain("E115", f'"{hub}" is not a hub id', path, remedy, "K1")
