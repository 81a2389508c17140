"""Questions, issues, decisions and escape hatches that contradict themselves."""

from __future__ import annotations

from collections.abc import Iterator

from portspec.errors import Diagnostic
from portspec.port import Port
from portspec.spec import EscapeHatch, Issue, Question, Weights


def check(port: Port) -> Iterator[Diagnostic]:
    """E127 resolved without a resolution, E143 conversion that is not there, W144 open blockers."""
    for section in ("questions", "issues", "escape_hatches"):
        for name, record in getattr(port.spec, section).items():
            yield from _status(port, (section, name), record)
    for name, issue in port.spec.issues.items():
        if issue.status == "open" and issue.severity == "blocker" and not port.spec.abstract:
            remedy = "Resolve it, or take what it blocks out of the scope."
            message = f"{name} blocks this port: {issue.issue}"
            yield port.complain("W144", message, ("issues", name), remedy, key=True)
    if port.spec.weights:
        yield from _conversion(port, port.spec.weights)


def _status(
    port: Port, path: tuple[str, str], record: Question | Issue | EscapeHatch
) -> Iterator[Diagnostic]:
    closed = record.status != "open"
    if closed and not record.resolution:
        remedy = "Say in `resolution` what was decided or done, so that the next reader knows."
        message = f"{path[1]} is {record.status} without a resolution"
        yield port.complain("E127", message, path, remedy, key=True)
    if not closed and record.resolution:
        remedy = "Set its status, or take the resolution away."
        message = f"{path[1]} has a resolution and is still open"
        yield port.complain("E127", message, path, remedy, key=True)


def _conversion(port: Port, weights: Weights) -> Iterator[Diagnostic]:
    if weights.needs_conversion != (weights.layout != "diffusers"):
        needed = "true" if weights.needs_conversion else "false"
        message = f"the layout {weights.layout} contradicts needs_conversion: {needed}"
        remedy = "A diffusers layout loads as it is; every other layout is converted first."
        yield port.complain("E143", message, ("weights", "needs_conversion"), remedy, "K15")
    if weights.needs_conversion:
        for name, component in port.components.items():
            if component.is_stateful and component.spec.conversion is None:
                remedy = "Add `conversion:` with its files and rules."
                message = f"{name} has weights, and nothing says how they are converted"
                yield port.complain("E143", message, ("components", name), remedy, "K15", key=True)
