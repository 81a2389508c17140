"""Gate results in the forms that people and programs read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from portspec.gates.result import GateResult

FORMATS = ("text", "json", "md")
COLOURS = {
    "pass": "green",
    "fail": "red",
    "inconclusive": "yellow",
    "blocked": "yellow",
    "not_run": "dim",
}
COLUMNS = ("gate", "status", "basis", "evidence", "seconds")


def as_json(results: Iterable[GateResult]) -> list[dict[str, Any]]:
    """Return results as the JSON interface has them; see schemas/gates.v1.json."""
    return [result.as_json() for result in results]


def dumps(results: Iterable[GateResult]) -> str:
    """Return the JSON text."""
    return json.dumps(as_json(results), indent=1, ensure_ascii=False) + "\n"


def rows(results: Iterable[GateResult]) -> list[tuple[str, ...]]:
    """Return the cells of the table, by `COLUMNS`."""
    return [
        (r.gate, r.status, r.basis, r.message or highlights(r.metrics), seconds(r)) for r in results
    ]


def seconds(result: GateResult) -> str:
    """Return how long the gate took; in parentheses when that was an earlier run whose evidence holds."""
    shown = f"{result.seconds:.1f}" if result.seconds else "—"
    return f"({shown})" if result.cached and result.seconds else shown


def highlights(metrics: Mapping[str, Any]) -> str:
    """Sum up what a gate saw in a few words.

    Example:
        >>> highlights({"forward.max_abs": 1.24e-05, "sight.tensors": 69, "sight.blind": "", "tests": 4})
        'max abs difference 1.2e-05, 69 of 69 tensors seen'
    """
    numbers = {k: v for k, v in metrics.items() if isinstance(v, (int, float))}
    worst = [v for k, v in numbers.items() if k.endswith(".max_abs")]
    parts = []
    if "tokens.compared" in numbers:
        parts.append(f"{numbers['tokens.compared']} tokens equal")
    elif worst:
        parts.append(f"max abs difference {max(worst):.2g}")
    if "sight.tensors" in numbers:
        blind = [b for b in str(metrics.get("sight.blind", "")).split(", ") if b]
        total = int(numbers["sight.tensors"])
        parts.append(f"{total - len(blind)} of {total} tensors seen")
    if not parts and "tests" in numbers:
        parts.append(f"{numbers['tests']} tests")
    grids = [v for k, v in numbers.items() if k.endswith(".timesteps.max_abs_difference")]
    if grids:
        parts.append(f"grids up to {max(grids):g} timesteps apart")
    return ", ".join(parts)


def markdown(results: Sequence[GateResult]) -> str:
    """Return a table for a pull request."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    lines += ["| " + " | ".join(c.replace("|", "\\|") for c in row) + " |" for row in rows(results)]
    return "\n".join(lines) + "\n"
