"""What a gate is, what it found, and what that is worth.

A skip is never a pass: it is `inconclusive`, and a build with one does not succeed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Status = Literal["pass", "fail", "inconclusive", "blocked", "not_run"]
STATUSES: tuple[Status, ...] = ("pass", "fail", "inconclusive", "blocked", "not_run")


@dataclass(frozen=True)
class Gate:
    """One proof, before it is run.

    `after` names the gates that must have passed. `module` has `run(args) -> Outcome` and is imported in a
    process of its own. `inputs` are digests of everything the gate reads, by a name for people: while they
    stay the same, its evidence stays valid. `files` are emitted files that it runs, `produces` are files that
    later gates read. A `fresh` gate gets an interpreter that has imported nothing.
    """

    name: str
    title: str
    module: str
    args: Mapping[str, Any] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    basis: str = ""
    files: tuple[str, ...] = ()
    produces: tuple[str, ...] = ()
    timeout: float = 600.0
    fresh: bool = False


@dataclass(frozen=True)
class Outcome:
    """What a gate's own code concludes. `metrics` are the numbers that were seen."""

    status: Status
    message: str = ""
    metrics: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class GateResult:
    """The outcome of one gate, with the evidence's basis and the run that made it.

    `seconds` and `log` belong to one run on one machine and are not evidence.
    """

    gate: str
    status: Status
    basis: str = ""
    message: str = ""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    log: str = ""
    cached: bool = False

    def evidence(self) -> dict[str, Any]:
        """Return what is worth committing: nothing that differs between two runs on one machine."""
        return {
            "status": self.status,
            "basis": self.basis,
            "message": self.message,
            "metrics": dict(sorted(self.metrics.items())),
        }

    def as_json(self) -> dict[str, Any]:
        """Return everything."""
        return asdict(self)


def in_order(gates: Mapping[str, Gate]) -> list[Gate]:
    """Sort gates so that each comes after those it waits for, and otherwise as they were declared."""
    depths: dict[str, int] = {}

    def depth(name: str) -> int:
        if name not in depths:
            before = [depth(other) for other in gates[name].after if other in gates]
            depths[name] = 1 + max(before, default=-1)
        return depths[name]

    return sorted(gates.values(), key=lambda gate: depth(gate.name))
