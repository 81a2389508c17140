"""Component parity: the emitted test of every component, reused ones too, against the official class."""

from __future__ import annotations

from collections.abc import Iterator

from portspec.codegen.gates import GateContext, emitted_test
from portspec.gates.result import Gate
from portspec.port import ResolvedComponent


def declare(context: GateContext) -> Iterator[Gate]:
    """Yield a gate per component."""
    for component in context.port.components.values():
        expects, metrics = _expected(context, component)
        yield emitted_test(
            context,
            f"parity.{component.name}",
            f"{component.name} against {(component.spec.definition or ':').rpartition(':')[2]}",
            context.names.component_test(component.name),
            expects=expects,
            metrics=metrics,
            after=("strict_load",),
            basis=context.basis,
        )


def _expected(context: GateContext, component: ResolvedComponent) -> tuple[list[str], list[str]]:
    """Return the tests that must run and the numbers that they must record."""
    stem = f"test_{context.names.family}_{component.name}"
    parity = component.spec.parity
    match component.spec.kind:
        case "tokenizer" | "processor":
            flags = component.spec.instantiation.flags if component.spec.instantiation else {}
            length = [f"{stem}_length"] if flags.get("max_length") else []
            return [f"{stem}_parity", *length, f"{stem}_sight"], ["tokens.compared"]
        case "scheduler":
            tests = [f"{stem}_grid[{n}]" for n in parity.steps]
            tests += [f"{stem}_steps_parity[{n}]" for n in parity.steps]
            return [*tests, f"{stem}_sight"], [f"steps_{n}.max_abs" for n in parity.steps]
    tests = [f"{stem}_{call}_parity" for call in parity.calls]
    return [*tests, f"{stem}_sight"], [*(f"{c}.max_abs" for c in parity.calls), "sight.tensors"]
