r"""The tables of diffusers' converters: text to be replaced wherever it stands in a name, row after row.

A row alone is one rule that holds for every name: `a` becomes `((?:(?!a).)*)a`, which matches a name that
has `a` in it, and is replaced wherever it matches. A `*` is a number, and a number beside the new name is
added to it. A list of names takes a tensor apart into as many.

Tables whose values are numbers, or are missing, are not about names, and neither are element types, devices
and headings of nested tables.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from portspec.weights.engine.ops.split import Split
from portspec.weights.engine.rules import Rule
from portspec.weights.importers import Imported, Row, UntranslatedError, translated


def rules_from(rows: Iterable[Row]) -> Imported:
    """Translate rows with `table`, `src` and `dst`."""
    rows = list(rows)
    others = {row["table"] for row in rows if row["dst"] is None or isinstance(row["dst"], int)}
    return translated(rows, lambda row: _rules(row, others))


def _rules(row: Row, others: set[str]) -> list[Rule]:
    if row["table"] in others:
        raise UntranslatedError("the table holds other values than names", is_rule=False)
    if isinstance(row["dst"], dict):
        raise UntranslatedError("the value is a table or an expression", is_rule=False)
    if not row["src"]:
        raise UntranslatedError("no text is replaced")
    names, added = _names(row["dst"])
    text = r"(\d+)".join(re.escape(part) for part in row["src"].split("*"))
    before = text.replace(r"(\d+)", r"\d+")
    match = rf"((?:(?!{before}).)*){text}"
    operations = (Split(len(names)),) if len(names) > 1 else ()
    return [Rule(match, tuple(_template(name, added) for name in names), operations)]


def _names(value: Any) -> tuple[list[str], int]:
    """Return the new names, and what is added to the number in them."""
    if isinstance(value, str):
        return [value], 0
    if isinstance(value[-1], int):
        return value[:-1], value[-1]
    return value, 0


def _template(name: str, added: int) -> str:
    number = rf"{{\2 + {added}}}" if added else r"\g<2>"
    return r"\g<1>" + name.replace("*", number)
