"""What is left out was agreed to, and what is registered is what was promised."""

from __future__ import annotations

from collections.abc import Iterator

from portspec.errors import Diagnostic
from portspec.port import Port

_NOBODY = frozenset({"tbd", "todo", "nobody", "none", "me", "self", "agent", "n/a", "unknown", "?"})
_WORKLOAD_OUTPUT = {"V": "video", "I": "image", "A": "audio"}


def check(port: Port) -> Iterator[Diagnostic]:
    """E119 nobody agreed, E120 workloads that do not fit."""
    scope = port.spec.scope
    if scope is None:
        return
    for index, dropped in enumerate(scope.dropped):
        if dropped.approved_by.strip().lower() in _NOBODY:
            remedy = "Name the person or the discussion where it was agreed, or support it."
            message = f'"{dropped.what}" is dropped and nobody is named who agreed'
            yield port.complain("E119", message, ("scope", "dropped", index, "approved_by"), remedy)
    shims = {shim.declared for shim in scope.workload_shims}
    for index, workload in enumerate(scope.workloads):
        output = _WORKLOAD_OUTPUT[workload[-1]]
        if output not in scope.outputs and workload not in shims:
            message = (
                f"{workload} promises {output}, and the outputs are {', '.join(scope.outputs)}"
            )
            remedy = "Correct one of them, or declare a `workload_shims` entry with its rationale."
            yield port.complain("E120", message, ("scope", "workloads", index), remedy)
    for index, entry in enumerate(port.spec.registry):
        for position, workload in enumerate(entry.workloads):
            if workload not in scope.workloads:
                message = f"{workload} is registered but not in scope"
                remedy = "Add it to `scope.workloads`, or do not offer it."
                yield port.complain(
                    "E120", message, ("registry", index, "workloads", position), remedy
                )
    for name, preset in port.spec.presets.items():
        if preset.workload not in scope.workloads:
            message = f"the preset is for {preset.workload}, which is not in scope"
            remedy = f"Workloads in scope: {', '.join(scope.workloads)}."
            yield port.complain("E120", message, ("presets", name, "workload"), remedy)
