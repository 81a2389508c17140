"""FastVideo's tables: a regular expression, and the new name, or the name, an index and a count to join.

Its engine is ours: the first pattern that matches at the start of a name wins, and parts are joined along the
first axis. A table is translated row by row into one set of rules that does the same.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from portspec.weights.engine.rules import Join, Rule
from portspec.weights.importers import Imported, Row, translated


def rules_from(rows: Iterable[Row]) -> Imported:
    """Translate rows with `src` and `dst`."""
    return translated(rows, _rules)


def stacked_rules(rows: Sequence[Sequence[object]]) -> list[Rule]:
    r"""Translate `stacked_params_mapping`: (fused name, name of a part, which), in the order of the parts.

    Example:
        >>> rule = stacked_rules([(".qkv_proj", ".q_proj", "q"), (".qkv_proj", ".k_proj", "k")])[1]
        >>> rule.match, rule.to, rule.join.part, rule.join.count
        ('^(.*?)\\.k_proj(.*)$', ('\\1.qkv_proj\\2',), '1', 2)
    """
    counts = Counter(str(row[0]) for row in rows)
    seen: Counter[str] = Counter()
    found = []
    for fused, single, *_ in rows:
        part = Join("concat", str(seen[str(fused)]), counts[str(fused)])
        seen[str(fused)] += 1
        found.append(Rule(rf"^(.*?){re.escape(str(single))}(.*)$", (rf"\1{fused}\2",), (), part))
    return found


def _rules(row: Row) -> list[Rule]:
    if isinstance(row["dst"], str):
        return [Rule(row["src"], (row["dst"],))]
    target, index, count = row["dst"]
    return [Rule(row["src"], (target,), (), Join("concat", str(index), count))]
