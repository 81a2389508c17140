"""JSON Schemas: of the language, made from its models, and of every JSON that a command prints.

Pydantic's schema is true but noisy in an editor: `anyOf` with null for every optional field, a title for
every property, aliases as definitions. Here it is made plain, so that the YAML language server offers keys,
choices and descriptions and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from portspec.gates.result import STATUSES

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_HOME = "https://github.com/portspec/portspec/blob/main/schemas"
_WHOLE = frozenset({"Sourced"})  # a value without its source, or the reverse, is never meant
_WHERE = {
    "file": {
        "type": "string",
        "description": "Path as shown to people; `<command line>` for options.",
    },
    "line": {
        "type": "integer",
        "minimum": 0,
        "description": "Counted from 1; 0 means the whole file.",
    },
    "column": {
        "type": "integer",
        "minimum": 0,
        "description": "Counted from 1; 0 means the whole line.",
    },
}


def schemas() -> dict[str, dict[str, Any]]:
    """Return every schema by its file name in `schemas/`."""
    return {
        "port.v1.json": port_schema(),
        "findings.v1.json": findings_schema(),
        "gates.v1.json": gates_schema(),
        "bench.v1.json": bench_schema(),
        "status.v1.json": status_schema(),
    }


def dump(schema: dict[str, Any]) -> str:
    """Return a schema as the text of its file."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def port_schema(*, complete: bool = False) -> dict[str, Any]:
    """Return the schema of `port.yaml`, version 1.

    Args:
        complete: Demand what a spec says together with all that it extends. An editor sees one file, so
            there only what is never inherited can be demanded.
    """
    from portspec.spec import PortSpec

    raw = PortSpec.model_json_schema(by_alias=True)
    schema = _plain(raw if complete else _relaxed(raw), top=True)
    head = {
        "$schema": _DRAFT,
        "$id": f"{_HOME}/port.v1.json",
        "title": "portspec port.yaml, version 1",
    }
    return {**head, **schema}


def _relaxed(raw: dict[str, Any]) -> dict[str, Any]:
    """Demand nothing in sections that a spec may inherit, and allow null, which takes a value away."""
    fields = raw["properties"]
    inheritable = {name for name, field in fields.items() if field.get("inherit") != "never"}
    reached: set[str] = set()
    todo = [fields[name] for name in inheritable]
    while todo:
        for name in _references(todo.pop()) - reached:
            reached.add(name)
            todo.append(raw["$defs"][name])
    definitions = {
        name: _removable(model, whole=name in _WHOLE) if name in reached else model
        for name, model in raw["$defs"].items()
    }
    properties = {n: _or_null(f) if n in inheritable else f for n, f in fields.items()}
    required = [name for name in raw["required"] if name not in inheritable]
    return {**raw, "$defs": definitions, "properties": properties, "required": required}


def _removable(model: dict[str, Any], *, whole: bool) -> dict[str, Any]:
    """Allow null for a section and for what it inherits."""
    if whole:
        return _or_null(model)
    fields = {
        name: field if field.get("inherit") == "never" else _or_null(field)
        for name, field in model["properties"].items()
    }
    kept = {k: v for k, v in model.items() if k != "required"}
    return _or_null({**kept, "properties": fields})


def _or_null(node: dict[str, Any]) -> dict[str, Any]:
    """Allow null without `anyOf`, for which editors have no words."""
    node = _without_null(node)
    if "enum" in node:
        node = {**node, "enum": [*node["enum"], None]}
    if isinstance(node.get("type"), str):
        node = {**node, "type": [node["type"], "null"]}
    if node.get("inherit") == "replace":
        return node
    if isinstance(values := node.get("additionalProperties"), dict):
        node = {**node, "additionalProperties": _or_null(values)}
    if values := node.get("patternProperties"):
        node = {**node, "patternProperties": {k: _or_null(v) for k, v in values.items()}}
    return node


def _references(node: Any) -> set[str]:
    """Return the definitions that a schema node mentions, outside lists, which are replaced as a whole."""
    if isinstance(node, list):
        return {name for item in node for name in _references(item)}
    if not isinstance(node, dict):
        return set()
    found = {name for key, value in node.items() if key != "items" for name in _references(value)}
    return found | (
        {node["$ref"].rpartition("/")[2]} if isinstance(node.get("$ref"), str) else set()
    )


def _plain(node: Any, *, top: bool = False) -> Any:
    """Take the noise out of a schema node and everything below it."""
    if isinstance(node, list):
        return [_plain(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = _without_null(node)
    kept: dict[str, Any] = {}
    for key, value in node.items():
        if key in ("properties", "$defs", "patternProperties"):
            kept[key] = {name: _plain(child) for name, child in value.items()}
        elif (
            key == "inherit" or (key == "title" and not top) or (key == "default" and value is None)
        ):
            continue
        else:
            kept[key] = _plain(value)
    if "patternProperties" in kept:
        kept["additionalProperties"] = False  # names have a form
    return _inherited(kept, node.get("inherit"))


def _without_null(node: dict[str, Any]) -> dict[str, Any]:
    """Turn `anyOf: [X, null]` into X: leaving a key out says the same."""
    choices = node.get("anyOf")
    if not isinstance(choices, list):
        return node
    real = [choice for choice in choices if choice.get("type") != "null"]
    if len(real) == len(choices) or len(real) != 1:
        return node
    rest = {k: v for k, v in node.items() if k != "anyOf"}
    return {**real[0], **rest}


def _inherited(node: dict[str, Any], policy: str | None) -> dict[str, Any]:
    """Say in the description how `extends` treats the value, where that is not key by key."""
    note = {
        "never": " Not inherited through `extends`.",
        "replace": " A spec that extends another replaces it as a whole.",
    }.get(policy or "")
    if note and "description" in node:
        node["description"] += note
    return node


def findings_schema() -> dict[str, Any]:
    """Return the schema of `check --format json` and `audit --format json`."""
    related = {"message": {"type": "string"}, **_WHERE}
    finding = {
        "code": {
            "type": "string",
            "pattern": "^[EWN][0-9]{3}$",
            "description": "Its page: `portspec explain CODE`.",
        },
        "check": {
            "type": ["string", "null"],
            "pattern": "^K[0-9]+$",
            "description": "The check of the catalogue that it belongs to, if any.",
        },
        "severity": {"enum": ["error", "warning", "note"]},
        **_WHERE,
        "message": {"type": "string", "description": "What is wrong."},
        "remedy": {"type": "string", "description": "What to do about it; may be empty."},
        "related": {"type": "array", "items": _object(related)},
    }
    return _file("findings.v1.json", "Findings of check and audit", _array(finding))


def _gate() -> dict[str, Any]:
    return {
        "gate": {"type": "string"},
        "status": {"enum": list(STATUSES)},
        "basis": {
            "type": "string",
            "description": "What the evidence rests on: weights, dtype, device.",
        },
        "message": {"type": "string"},
        "metrics": {"type": "object", "description": "Numbers that were seen, by name."},
        "seconds": {
            "type": "number",
            "minimum": 0,
            "description": "Wall time of the last run here.",
        },
        "log": {
            "type": "string",
            "description": "Path of that run's log, or empty.",
        },
        "cached": {
            "type": "boolean",
            "description": "An earlier run's evidence still holds.",
        },
    }


def gates_schema() -> dict[str, Any]:
    """Return the schema of `gate list`, `gate run` and `build` with `--format json`."""
    return _file("gates.v1.json", "Gate results", _array(_gate()))


def status_schema() -> dict[str, Any]:
    """Return the schema of `status --format json`."""
    change = {
        "path": {"type": "string"},
        "change": {"enum": ["create", "change", "delete", "conflict", "unchanged", "kept"]},
        "ownership": {"enum": ["generated", "anchored", "scaffold"]},
        "cause": {"type": "string", "description": "The part of the spec that asks for it."},
    }
    return _file(
        "status.v1.json",
        "State of a port in a target",
        _object({"files": _array(change), "gates": _array(_gate())}),
    )


def bench_schema() -> dict[str, Any]:
    """Return the schema of what `BENCH_JSON=path make bench` writes."""
    row = {
        "name": {"type": "string"},
        "ratio": {
            "type": "number",
            "minimum": 0,
            "description": "Measured time over the peer's.",
        },
        "bar": {
            "type": "number",
            "minimum": 0,
            "description": "The largest ratio that is good enough.",
        },
        "ok": {"type": "boolean"},
        "seconds": {"type": "number", "minimum": 0},
        "peer": {"type": "string", "description": "What it was measured beside."},
    }
    return _file("bench.v1.json", "Benchmark ratios", _array(row))


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _array(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": _object(properties)}


def _file(name: str, title: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"$schema": _DRAFT, "$id": f"{_HOME}/{name}", "title": title, **schema}


def reference() -> str:
    """Return docs/language.md: every section and field of the language, from the models."""
    from portspec.weights.operations import reference as operations

    schema = port_schema(complete=True)
    intro = (Path(__file__).parent / "reference.md").read_text(encoding="utf-8")
    lines = [
        *_section("port.yaml", schema, schema["$defs"]),
    ]
    for name in sorted(schema["$defs"]):
        lines += _section(name, schema["$defs"][name], schema["$defs"])
    lines += ["## Operations", "", _OPERATIONS, "", *operations(), ""]
    return intro + "\n".join(lines).rstrip() + "\n"


_OPERATIONS = """What `ops` of a conversion rule can do, in order; the last one may give several tensors.
A whole number may be arithmetic over constructor arguments, as `num_attention_heads * attention_head_dim`."""


def _section(name: str, schema: dict[str, Any], definitions: dict[str, Any]) -> Iterator[str]:
    yield f"## {name}"
    yield ""
    if schema.get("description"):
        yield schema["description"]
        yield ""
    yield "| key | type | | |"
    yield "|---|---|---|---|"
    required = schema.get("required", ())
    for key, field in schema.get("properties", {}).items():
        target = str(field.get("$ref", "")).rpartition("/")[2]
        text = str(field.get("description") or definitions.get(target, {}).get("description", ""))
        marks = ["required"] if key in required else []
        for note, mark in ((" Not inherited", "own"), (" A spec that extends", "whole")):
            if note in text:
                text = text.partition(note)[0]
                marks.append(f"*{mark}*")
        yield f"| `{key}` | {_type(field)} | {', '.join(marks)} | {_cell(text)} |"
    yield ""


def _type(field: dict[str, Any]) -> str:
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "enum" in field:
        return " \\| ".join(f"`{value}`" for value in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    if field.get("type") == "array":
        return f"list of {_type(field.get('items', {}))}"
    if field.get("type") == "object":
        named = list(field.get("patternProperties", {}).values())
        values: Any = field.get("additionalProperties") or (named[0] if named else None)
        return f"mapping of {_type(values) if isinstance(values, dict) else 'anything'}"
    names = {
        "string": "text",
        "integer": "whole number",
        "number": "number",
        "boolean": "true or false",
    }
    return names.get(str(field.get("type")), "anything")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
