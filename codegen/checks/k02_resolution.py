"""K2: every registered id leads to its own entry, whichever way a user names the checkpoint.

The three forms are the hub id itself, a snapshot in the hub's cache, and a local folder. The cache path
is the one that goes wrong unseen: its last part is a hash, so only detectors can tell what it holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from portspec.codegen.facts import REGISTRY
from portspec.codegen.index import FastVideoIndex
from portspec.codegen.index.registrations import Registration
from portspec.codegen.resolver import Resolver, cache_path
from portspec.errors import Diagnostic


def check(index: FastVideoIndex) -> Iterator[Diagnostic]:
    """E330 unreachable, E331 shadowed, W330 opaque detector."""
    resolver = Resolver(index.registrations)
    for entry in index.registrations:
        yield from _detectors(index, entry)
        for hub, line in entry.hub:
            yield from _cache_path(index, resolver, entry, hub, line)


def _detectors(index: FastVideoIndex, entry: Registration) -> Iterator[Diagnostic]:
    behind = sum(1 for other in index.registrations[entry.index + 1 :] if other.hub)
    for detector in entry.detectors:
        place = index.tree.place(REGISTRY, detector.line)
        if detector.is_opaque:
            # A port that is registered behind it changes the number, so that its build says so.
            message = (
                f"{entry.label}: portspec cannot read this detector, "
                f"which may take what {behind} later entries register: {detector.source}"
            )
            remedy = (
                "Write it with `in`, `not in`, `any`, `all`, `and`, `or` over string constants."
            )
            yield Diagnostic("W330", message, place, remedy, "K2")


def _cache_path(
    index: FastVideoIndex, resolver: Resolver, entry: Registration, hub: str, line: int
) -> Iterator[Diagnostic]:
    path = cache_path(hub)
    by_path = resolver.resolve(path, "")
    place = index.tree.place(REGISTRY, line)
    if _is_opaque(index.registrations[: by_path.index if by_path else None]):
        return
    if by_path is not None and by_path.effect != entry.effect:
        message = (
            f"a cached snapshot of {hub} gets the entry of {by_path.label} (line {by_path.line})"
        )
        remedy = f"Make that detector refuse it, or register {entry.label} before it with a narrower one."
        yield Diagnostic("E331", message, place, remedy, "K2")
        return
    if by_path is not None:
        return
    reached = [resolver.resolve(path, name) for name in _class_names(index, entry)]
    if any(r is not None and r.effect == entry.effect for r in reached):
        return
    why = "it has no detector" if not entry.detectors else "no detector accepts its path"
    message = f"a cached snapshot of {hub} can never get its own entry {entry.label}: {why}"
    remedy = (
        f'Add a detector that accepts "{path.split("/")[-3].lower()}" and no other family\'s ids.'
    )
    yield Diagnostic("E330", message, place, remedy, "K2")


def _is_opaque(entries: Sequence[Registration]) -> bool:
    """Tell whether one of these may fire and nobody can say on what."""
    return any(d.is_opaque for entry in entries for d in entry.detectors)


def _class_names(index: FastVideoIndex, entry: Registration) -> list[str]:
    """Return the class names that a manifest of this entry may carry.

    An entry that pins its pipeline is free to use a marker that no class has (LingBot-Video does); then
    any word of its own detectors may be that marker. Every other manifest names a real class.
    """
    words = (
        [w for d in entry.detectors for w in re.findall(r"'([^']+)'", d.source)]
        if entry.pipeline
        else []
    )
    return [*index.class_names, *words, "".join(words)]
