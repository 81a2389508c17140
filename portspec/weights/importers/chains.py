r"""Tables whose rows are applied one after the other -> rules of which the first that matches wins.

In general there is no such set of rules: one replacement may make the text that the next one looks for, at
any number of places, so that the rows that apply to a name, and where, depend on all of it. But a table is a
function of names, and a checkpoint has finitely many. So a chain is translated for a set of names, for which
the rules are exact. Names that differ only in numbers which the chain carries along share a rule; a number
that decides where a name goes is written out. Nothing is claimed of names of another form.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from portspec.weights.engine.rules import Rule, RuleSet

_NUMBER = re.compile(r"[0-9]+")

Form = tuple[str, ...]  # the texts between the numbers of a name
Numbers = tuple[str, ...]
Row = tuple[Numbers, Form, Numbers]  # the numbers of a name, and the new name


def chained(stages: Sequence[Sequence[Rule]], names: Sequence[str]) -> dict[str, str]:
    r"""Return where names go when several sets of renames are applied in turn.

    Example:
        >>> stages = [[Rule("^a(.*)", (r"b\1",))], [Rule("^b(.*)", (r"c\1",))]]
        >>> chained(stages, ["a.0", "b.1", "d"])
        {'a.0': 'c.0', 'b.1': 'c.1', 'd': 'd'}
    """
    new = list(names)
    for stage in stages:
        routes = RuleSet(stage).routes(new)
        new = [texts[0] if texts else name for name, (_, *texts) in zip(new, routes, strict=True)]
    return dict(zip(names, new, strict=True))


def rules_for(pairs: Mapping[str, str]) -> tuple[Rule, ...]:
    r"""Return rules that send each name to its new one; names that stay as they are need none.

    Example:
        >>> for rule in rules_for({f"up.{i}.w": "mid.w" if i == 0 else f"up.{i}.u" for i in range(9)}):
        ...     print(rule.match, *rule.to)
        ^up\.0\.w$ mid.w
        ^up\.([0-9]+)\.w$ up.\g<1>.u
    """
    forms: dict[Form, list[Row]] = defaultdict(list)
    for old, new in pairs.items():
        row = _numbers(old), tuple(_NUMBER.split(new)), _numbers(new)
        forms[tuple(_NUMBER.split(old))].append(row)
    return tuple(rule for form, rows in forms.items() for rule in _families(form, rows))


def _numbers(name: str) -> Numbers:
    return tuple(_NUMBER.findall(name))


def _families(form: Form, rows: Sequence[Row], masked: bool = False) -> Iterator[Rule]:
    """Yield one rule for rows that are renamed alike, or first those that a number decides otherwise.

    `masked` tells that a later rule would take these names, so that even those that stay need a rule.
    """
    columns = [
        list(dict.fromkeys(column)) for column in zip(*[row[0] for row in rows], strict=True)
    ]
    varying = [index for index, column in enumerate(columns) if len(column) > 1]
    shown = ["([0-9]+)" if index in varying else c[0] for index, c in enumerate(columns)]
    match = f"^{_woven([re.escape(text) for text in form], shown)}$"
    decides = min(varying, key=lambda index: len(columns[index]), default=0)
    usual, others = _usual(rows, decides)
    target = _target(usual, varying)
    if target is None:
        usual, others = [], list(rows)
    masked = masked or any(_woven(new, numbers) != _woven(form, old) for old, new, numbers in usual)
    for number in dict.fromkeys(old[decides] for old, _, _ in others):
        yield from _families(form, [row for row in others if row[0][decides] == number], masked)
    if target is not None and masked:
        yield Rule(match, (target,))


def _usual(rows: Sequence[Row], decides: int) -> tuple[list[Row], list[Row]]:
    """Return the rows whose number goes with the most usual form of the new names alone, and the others."""
    (form, _), *_ = Counter(new for _, new, _ in rows).most_common(1)
    deciding = {old[decides] for old, new, _ in rows if new != form and old}
    usual = [
        row for row in rows if row[1] == form and not deciding.intersection(row[0][decides:][:1])
    ]
    if not usual:
        return list(rows), []
    kept = set(usual)
    return usual, [row for row in rows if row not in kept]


def _target(rows: Sequence[Row], varying: Sequence[int]) -> str | None:
    """Return the new names as one template, if there is one."""
    if len({form for _, form, _ in rows}) > 1:
        return None
    carried = [_carried(index, varying, rows) for index in range(len(rows[0][2]))]
    known = [text for text in carried if text is not None]
    return _woven(rows[0][1], known) if len(known) == len(carried) else None


def _carried(index: int, varying: Sequence[int], rows: Sequence[Row]) -> str | None:
    """Return what a number of the new names is: the same in all, or one of the old name's; or None."""
    if len({new[index] for _, _, new in rows}) == 1:
        return rows[0][2][index]
    for group, column in enumerate(varying, 1):
        if all(new[index] == old[column] for old, _, new in rows):
            return rf"\g<{group}>"
    return None


def _woven(texts: Iterable[str], numbers: Iterable[str]) -> str:
    left = iter(numbers)
    return "".join(text + next(left, "") for text in texts)
