"""PORT_STATUS.md: the port's state file, with every section of FastVideo's port_state contract.

Sections and columns follow `.agents/skills/add-model/contracts/port_state.md` of hao-ai-lab/FastVideo at
commit 2f3d4074064e4d86f99dc784ebbaa296e6f5925f. Ids are the spec's and never change; results come from
the gates.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from portspec.cache import content_sha
from portspec.codegen.emitters import Context
from portspec.codegen.emitters.conversion_script import script_path
from portspec.edits import Edit
from portspec.gates.result import GateResult

_STATUS = {
    "pass": "non_skip_pass",
    "fail": "debug_red",
    "inconclusive": "scaffold_skip",
    "blocked": "blocked",
    "not_run": "scaffold_skip",
}
_PIPELINE_GATES = (
    ("pipeline smoke", "pipeline.smoke"),
    ("pipeline parity", "pipeline.parity"),
    ("example", "example"),
)

REPORTS = True


def applies(context: Context) -> bool:
    """Every port that is built."""
    return not context.port.spec.abstract


def emit(context: Context) -> Iterator[Edit]:
    """Yield the file."""
    spec = context.port.spec
    yield context.file(
        __file__,
        f"{context.names.tests}/PORT_STATUS.md",
        "port_status.md.jinja",
        "spec",
        phase=_phase(context),
        components=[_component(context, name) for name in spec.components],
        conversion=_conversion(context),
        commands=[*_component_commands(context), *pipeline_rows(context)],
        official_ref=", ".join(spec.official.packages) or spec.official.repository,
        spec_sha=content_sha(spec.model_dump_json())[:12],  # what it says, however it is laid out
    )


def _result(context: Context, gate: str) -> GateResult | None:
    return context.results.get(gate)


def component_status(context: Context, name: str) -> str:
    """Return a component's parity status in the contract's words."""
    result = _result(context, f"parity.{name}")
    return _STATUS[result.status] if result else "scaffold_skip"


def evidence(context: Context, gate: str) -> str:
    """Sum up what a gate saw: its basis, and the largest difference as a bound that does not wobble."""
    result = _result(context, gate)
    if result is None or result.status != "pass":
        return result.message.replace("|", "\\|")[:120] if result and result.message else "—"
    worst = [
        v
        for k, v in result.metrics.items()
        if k.endswith(".max_abs") and isinstance(v, (int, float))
    ]
    parts = [result.basis] if result.basis else []
    if worst:
        parts.append(f"max abs difference {decade(max(worst))}")
    if "sight.tensors" in result.metrics:
        tensors = int(result.metrics["sight.tensors"])
        blind = [b for b in str(result.metrics.get("sight.blind", "")).split(", ") if b]
        parts.append(f"{tensors - len(blind)} of {tensors} tensors seen")
    return "; ".join(parts) or "—"


def decade(value: float) -> str:
    """Bound a difference by a power of ten, so that another machine's rounding changes nothing.

    Example:
        >>> decade(0.0), decade(3.2e-6)
        ('0', '< 1e-05')
    """
    return "0" if value == 0 else f"< {10.0 ** (math.floor(math.log10(value)) + 1):.0e}"


def command(context: Context, test: str) -> str:
    """Return how a reviewer runs a test."""
    return f"{context.names.model_dir_env}={_weights(context)} pytest {test} -v -s"


def _weights(context: Context) -> str:
    weights = context.port.spec.weights
    return weights.directory if weights else ""


def pipeline_rows(context: Context) -> list[dict[str, str]]:
    """Return a row per pipeline-level check that the port has."""
    spec = context.port.spec
    commands = {
        "pipeline.smoke": command(context, context.names.smoke_test),
        "pipeline.parity": f"DISABLE_SP=1 {command(context, context.names.pipeline_parity_test)}",
        "example": f"python {spec.examples[0].file}" if spec.examples else "",
    }
    rows = []
    for scope, gate in _PIPELINE_GATES:
        if commands[gate] and spec.pipeline:
            result = _result(context, gate)
            status = _STATUS[result.status] if result else "scaffold_skip"
            rows.append(
                {
                    "scope": scope,
                    "command": commands[gate],
                    "status": status,
                    "evidence": evidence(context, gate),
                }
            )
    return rows


def _component_commands(context: Context) -> Iterator[dict[str, str]]:
    for name in context.port.spec.components:
        yield {
            "scope": name,
            "command": command(context, context.names.component_test(name)),
            "status": component_status(context, name),
            "evidence": evidence(context, f"parity.{name}"),
        }


def _component(context: Context, name: str) -> dict[str, str]:
    component = context.port.components[name]
    definition, instantiation = component.definition, component.spec.instantiation
    surfaces, load = _result(context, "surfaces"), _result(context, "strict_load")
    issues = [
        i
        for i, issue in context.port.spec.issues.items()
        if issue.component == name and issue.status == "open"
    ]
    where = f" ({definition.file}:{definition.line}-{definition.end_line})" if definition else ""
    decision = "port" if component.spec.port else "reuse" if component.spec.reuse else "passthrough"
    stateless = not component.is_stateful
    return {
        "name": name,
        "kind": component.spec.kind,
        "decision": decision,
        "definition": f"`{component.spec.definition}`{where}",
        "instantiation": f"`{instantiation.at}`" if instantiation else "unknown",
        "target": f"`{component.native}`" if component.native else "FastVideo's loader",
        "prototype": "stateless" if stateless else _short(surfaces, "surfaces match"),
        "conversion": "stateless" if stateless else _short(load, "strict load"),
        "parity": component_status(context, name),
        "issues": ", ".join(issues) or "none",
    }


def _short(result: GateResult | None, what: str) -> str:
    return what if result and result.status == "pass" else (result.status if result else "not_run")


def _conversion(context: Context) -> dict[str, str]:
    spec = context.port.spec
    load = _result(context, "strict_load")
    stateless = [n for n, c in context.port.components.items() if not c.is_stateful]
    needed = bool(spec.weights and spec.weights.needs_conversion)
    converted = any(c.spec.conversion for c in context.port.components.values())
    return {
        "script": script_path(context.port) if converted else "not_needed",
        "directory": f"converted_weights/{context.port.family}" if needed else "not_needed",
        "layout": spec.weights.layout if spec.weights else "unknown",
        "strict_load": load.status if load else "not_run",
        "passthrough": ", ".join(stateless) or "none",
    }


def _phase(context: Context) -> dict[str, Any]:
    results = context.results
    if not results:
        return {"phase": "2 parity scaffolds", "status": "in_progress", "owner": "parity"}
    if all(r.status == "pass" for r in results.values()):
        published = any(r.basis.startswith("given weights") for r in results.values())
        if published:
            return {"phase": "11 handoff", "status": "complete", "owner": "orchestrator"}
        waits = "whoever has the published weights: build with --weights"
        return {"phase": "11 handoff", "status": "in_progress", "owner": waits}
    first = next(r for r in results.values() if r.status != "pass")
    phase = (
        "6 component parity" if not first.gate.startswith(("pipeline", "example")) else "7 pipeline"
    )
    blocked = first.status in ("fail", "blocked")
    return {
        "phase": phase,
        "status": "blocked" if blocked else "in_progress",
        "owner": f"gate {first.gate}",
    }
