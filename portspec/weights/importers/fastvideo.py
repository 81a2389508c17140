"""FastVideo's tables: a regular expression, and the new name, or the name, an index and a count to join.

Its engine is ours: the first pattern that matches at the start of a name wins, and parts are joined along the
first axis. A table is translated row by row into one set of rules that does the same.
"""

from __future__ import annotations

from collections.abc import Iterable

from portspec.weights.engine.rules import Join, Rule
from portspec.weights.importers import Imported, Row, translated


def rules_from(rows: Iterable[Row]) -> Imported:
    """Translate rows with `src` and `dst`."""
    return translated(rows, _rules)


def _rules(row: Row) -> list[Rule]:
    if isinstance(row["dst"], str):
        return [Rule(row["src"], (row["dst"],))]
    target, index, count = row["dst"]
    return [Rule(row["src"], (target,), (), Join("concat", str(index), count))]
