"""Every component says what it is officially, how it is built, and why the native class is the same."""

from __future__ import annotations

from collections.abc import Iterator

from portspec.errors import Diagnostic
from portspec.port import Port, ResolvedComponent

_PASSES_THROUGH = ("tokenizer", "processor")
_MIN_EVIDENCE = 20


def check(port: Port) -> Iterator[Diagnostic]:
    """E121 no definition, E122 no instantiation, E123 no decision, E124 no evidence, E135 mapping."""
    for component in port.components.values():
        yield from _component(port, component)


def _component(port: Port, component: ResolvedComponent) -> Iterator[Diagnostic]:
    spec, path = component.spec, ("components", component.name)
    if spec.definition is None:
        remedy = "Add `definition: module:Class`, the official class."
        yield port.complain(
            "E121", f"{component.name} names no official definition", path, remedy, key=True
        )
    if spec.instantiation is None:
        remedy = "Add `instantiation:` with the call site `at` and the published `args`."
        yield port.complain(
            "E122", f"{component.name} names no official instantiation", path, remedy, key=True
        )
    if spec.reuse and spec.port:
        remedy = "Keep the one that is meant; `reuse: ~` takes an inherited class away."
        message = f"{component.name} is both reused and ported"
        yield port.complain("E123", message, (*path, "port"), remedy, key=True)
    if not spec.reuse and not spec.port and spec.kind not in _PASSES_THROUGH:
        remedy = "Add `reuse: module:Class` for a class of the target, or `port:` for one written by hand."
        yield port.complain(
            "E123", f"{component.name} is neither reused nor ported", path, remedy, key=True
        )
    if spec.reuse and len(spec.evidence or "") < _MIN_EVIDENCE:
        remedy = "Say in `evidence` what was compared: graph, normalisation, activations, positions, state."
        message = f"{component.name} is reused without saying why that is right"
        at = (*path, "evidence" if spec.evidence else "reuse")
        yield port.complain("E124", message, at, remedy)
    if spec.mapping and not spec.port:
        remedy = "A reused class brings its own mapping; port the class to give it another."
        message = f"{component.name} is reused, so a mapping here would never be read"
        yield port.complain("E135", message, (*path, "mapping"), remedy, key=True)
    if spec.port and not spec.mapping and component.spec.kind == "dit":
        remedy = "Add `mapping:`; for a class that keeps the official names, one rule `'^(.*)$'` to `'\\1'`."
        message = f"{component.name} is ported and has no mapping"
        yield port.complain("E135", message, (*path, "port"), remedy, key=True)
