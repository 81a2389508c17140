"""Rename tables of other projects -> rules: one module for each ecosystem.

A row is translated by itself, and its rules do to every name, and to the tensors, what the row does in its
own engine when it stands alone. Where an engine applies several rows to one name, one after the other, its
table is more than its rows: `chains` says what can be made of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from portspec.weights.engine.rules import Rule

Row = Mapping[str, Any]


class UntranslatedError(Exception):
    """A row cannot become a rule; `is_rule` tells whether it is one at all."""

    def __init__(self, reason: str, is_rule: bool = True) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_rule = is_rule


@dataclass(frozen=True, slots=True)
class Skipped:
    """A row that gave no rule: its number, and why."""

    row: int
    reason: str


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of rows: rules, rows that are no rules for names, and rules that cannot be expressed."""

    rules: tuple[Rule, ...]
    left_out: tuple[Skipped, ...]
    inexpressible: tuple[Skipped, ...]


def translated(rows: Iterable[Row], translate: Callable[[Row], Sequence[Rule]]) -> Imported:
    """Translate rows one by one, and keep count of those that give no rule."""
    rules: list[Rule] = []
    skipped: dict[bool, list[Skipped]] = {True: [], False: []}
    for number, row in enumerate(rows):
        try:
            rules += translate(row)
        except UntranslatedError as error:
            skipped[error.is_rule].append(Skipped(number, error.reason))
    return Imported(tuple(rules), tuple(skipped[False]), tuple(skipped[True]))


def needed(values: Mapping[str, int], name: str) -> int:
    """Return a number of the model's config that a row takes for granted.

    Raises:
        UntranslatedError: It is not given.
    """
    if name not in values:
        raise UntranslatedError(f"the row does not say {name}")
    return values[name]
