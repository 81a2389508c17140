"""Operations as a spec writes them: one key, the operation's name, over its arguments.

What operations there are, and their arguments, is read from the modules of `engine/ops`: a new one needs
no more than a file there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields
from functools import lru_cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from portspec.suggest import did_you_mean
from portspec.weights.engine import ops
from portspec.weights.engine.names import evaluate
from portspec.weights.engine.ops import Operation

JOINS = ("concat", "stack", "weight_norm")  # what a rule's `join` does; these take several tensors
_STORED = {"fp32": "F32", "bf16": "BF16", "fp16": "F16"}


@lru_cache(maxsize=1)
def every_operation() -> Mapping[str, type[Operation]]:
    """Return every operation by the name of its module."""
    found = {}
    for info in iter_modules(ops.__path__):
        module = import_module(f"{ops.__name__}.{info.name}")
        found[info.name] = getattr(module, "".join(word.title() for word in info.name.split("_")))
    return {name: found[name] for name in sorted(found)}


def operations() -> Mapping[str, type[Operation]]:
    """Return the operations that a rule's `ops` can name: those on one tensor."""
    return {name: cls for name, cls in every_operation().items() if name not in JOINS}


def resolved(name: str, given: Mapping[str, Any], values: Mapping[str, int]) -> dict[str, Any]:
    """Return an operation's arguments from what a spec says; a whole number may be arithmetic.

    Raises:
        ValueError: There is no such operation or argument, an argument is missing, or of another kind.
    """
    known = operations()
    if name not in known:
        hint = did_you_mean(name, known, f"There are {', '.join(known)}.")
        raise ValueError(f"there is no operation {name}. {hint}")
    wanted: dict[str, Field[Any]] = {field.name: field for field in fields(known[name])}  # type: ignore[arg-type]
    for key in given:
        if key not in wanted:
            hint = did_you_mean(key, wanted, f"It takes {', '.join(wanted)}.")
            raise ValueError(f"{name} takes no {key}. {hint}")
    for key, field in wanted.items():
        if key not in given and field.default is MISSING:
            raise ValueError(f"{name} needs {key}")
    return {key: _argument(wanted[key], given[key], values) for key in given}


def _argument(field: Field[Any], given: Any, values: Mapping[str, int]) -> Any:
    if field.type == "int" and isinstance(given, (int, str)) and not isinstance(given, bool):
        return evaluate(given, values)
    if field.type == "tuple[int, ...]" and isinstance(given, list):
        return tuple(evaluate(item, values) for item in given)
    if field.type == "float" and isinstance(given, (int, float)) and not isinstance(given, bool):
        return float(given)
    if field.type == "bool" and isinstance(given, bool):
        return given
    if field.name == "dtype" and given in _STORED:
        return _STORED[given]
    raise ValueError(f"{field.name} cannot be {given!r}")


def stored(precision: str) -> str:
    """Return safetensors' name of a precision."""
    return _STORED[precision]


def schema() -> dict[str, Any]:
    """Return the JSON Schema of one operation."""
    return {
        "type": "object",
        "minProperties": 1,
        "maxProperties": 1,
        "additionalProperties": False,
        "properties": {name: _described(cls) for name, cls in operations().items()},
    }


def _described(cls: type[Operation]) -> dict[str, Any]:
    arguments = fields(cls)  # type: ignore[arg-type]
    return {
        "type": "object",
        "description": summary(cls),
        "additionalProperties": False,
        "required": [field.name for field in arguments if field.default is MISSING],
        "properties": {field.name: _argument_schema(field) for field in arguments},
    }


def _argument_schema(field: Field[Any]) -> dict[str, Any]:
    kind = _TYPES.get(field.name, _TYPES[field.type])
    return {"description": ARGUMENTS[field.name], **kind}


ARGUMENTS = {
    "axis": "The axis, counted from 0; a negative one from the back.",
    "blocks": "Equal parts of the axis, each of which is dealt on its own.",
    "count": "How many tensors or parts; for `unflatten`, a negative one is the size of a part.",
    "dtype": "The element type to store.",
    "factor": "The number to multiply by.",
    "first": "One axis.",
    "groups": "How many groups there are to deal from.",
    "heads": "Number of attention heads.",
    "order": "The old axis that comes to each place.",
    "parts": "Number of equal parts.",
    "second": "The other axis.",
    "shape": "The new shape; one size may be -1.",
    "sizes": "Size of each part.",
    "undo": "Do the reverse.",
    "value": "The number to add.",
}
_TYPES: Mapping[Any, dict[str, Any]] = {
    "int": {"type": ["integer", "string"]},
    "tuple[int, ...]": {"type": "array", "items": {"type": ["integer", "string"]}},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "dtype": {"enum": list(_STORED)},
    "str": {"type": "string"},
}


def summary(cls: type[Operation]) -> str:
    """Return what an operation does, in one line."""
    text = import_module(cls.__module__).__doc__ or ""
    return " ".join(text.partition("\n\n")[0].split())


def reference() -> Iterator[str]:
    """Yield the lines of a table of all operations for docs/language.md."""
    yield from ("| operation | arguments | |", "|---|---|---|")
    for name, cls in operations().items():
        told = ", ".join(f"`{text}`" for text in _arguments(cls))
        yield f"| `{name}` | {told} | {summary(cls)} |"


def _arguments(cls: type[Operation]) -> Iterator[str]:
    for field in fields(cls):  # type: ignore[arg-type]
        given = "" if field.default is MISSING else f" = {_plain(field.default)}"
        yield f"{field.name}{given}"


def _plain(value: Any) -> str:
    return (
        str(value).lower()
        if isinstance(value, bool)
        else str(list(value) if isinstance(value, tuple) else value)
    )
