"""Rules as a spec writes them."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from portspec.weights.engine.ops import Operation
from portspec.weights.engine.rules import Rule


def as_row(rule: Rule) -> dict[str, Any]:
    """Return a rule as a spec says it."""
    told: dict[str, Any] = {
        "match": rule.match,
        "to": rule.to[0] if len(rule.to) == 1 else list(rule.to),
    }
    if rule.operations:
        told["ops"] = [_operation(operation) for operation in rule.operations]
    join = rule.join
    if join and join.how == "concat" and join.part.isdecimal() and not (join.axis or join.after):
        told["fuse"] = [int(join.part), join.count]
    elif join:
        told["join"] = {
            "how": join.how,
            "part": join.part,
            "count": str(join.count),
            "axis": join.axis,
        }
        if join.after:
            told["join"]["after"] = [_operation(operation) for operation in join.after]
    return told


def _operation(operation: Operation) -> dict[str, Any]:
    name = type(operation).__module__.rpartition(".")[2]
    given = asdict(operation)  # type: ignore[call-overload]
    return {name: {k: list(v) if isinstance(v, tuple) else v for k, v in given.items() if v}}


def as_yaml(rule: Rule) -> str:
    """Write a rule on one line, in the quotes in which YAML leaves backslashes alone."""
    return _flow(as_row(rule))


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(item) for item in value) + "]"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return json.dumps(value)
