"""The fewest rules, as a person would write them, that send every name where it was found to go.

The list is made from its end: a rule put before the others takes names from them. Each step puts in front the
rule that mends most, so that what holds for all comes last and the exceptions come first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from portspec.weights.engine.names import Template
from portspec.weights.engine.rules import Rule, RuleSet
from portspec.weights.suggestion.links import Candidate, Link, Route, candidates, exact, part_of

_HARM = 2  # a name that a rule breaks costs as much as this many that it mends
_ATTEMPTS = 8


def rules_for(
    found: Sequence[Link], source: Sequence[str], target: Mapping[str, object]
) -> tuple[tuple[Rule, ...], list[str]]:
    """Return rules that send every name where the links say, and names for which there are none.

    No other name of the source is sent to one that the target has.
    """
    wanted = {name: route for link in found for name, route in link.routes()}
    renamed = [link for link in found if any(r != ((n,), "") for n, r in link.routes())]
    if not renamed:
        return (), []
    proposed = _proposed([*renamed, *(link for link in found if link not in renamed)])
    watched = _samples(found, source, wanted)
    for _ in range(_ATTEMPTS):
        rules = _Cover(proposed, watched, wanted, target).rules()
        wrong = _wrong(rules, source, wanted, target)
        if not wrong:
            break
        more = {*watched, *wrong[: len(found)]}
        watched = [name for name in source if name in more]
    alone = [rule for link in found for rule in exact(link, wrong)]
    rules = (*alone, *rules)
    return rules, _wrong(rules, source, wanted, target) if alone else wrong


def _proposed(found: Sequence[Link]) -> list[Candidate]:
    by_rule = {candidate.rule: candidate for link in found for candidate in candidates(link)}
    return list(by_rule.values())


def _samples(
    found: Sequence[Link], source: Sequence[str], wanted: Mapping[str, Route]
) -> list[str]:
    """Return a few names of each unit, and those that go nowhere."""
    kept = {name for name in source if name not in wanted}
    for link in found:
        names = [name for name, _ in link.routes()]
        kept |= {names[0], names[-1]}
    return [name for name in source if name in kept]


def _wrong(
    rules: Sequence[Rule],
    source: Sequence[str],
    wanted: Mapping[str, Route],
    target: Mapping[str, object],
) -> list[str]:
    routes = zip(source, RuleSet(rules).routes(source), strict=True)
    return [
        name
        for name, (rule, *texts) in routes
        if not _right(
            _route(rules[rule], texts) if rule >= 0 else ((name,), ""), name, wanted, target
        )
    ]


def _route(rule: Rule, texts: Sequence[str]) -> Route:
    return tuple(texts[: len(rule.to)]), part_of(rule.join, rule.operations)


def _right(
    route: Route, name: str, wanted: Mapping[str, Route], target: Mapping[str, object]
) -> bool:
    """Tell whether a name goes where it should, or, where that is unknown, to no name of the target."""
    if name in wanted:
        return route == wanted[name]
    return route == ((name,), "") or not any(text in target for text in route[0])


class _Cover:
    """Chooses rules. Sets of watched names are kept as the bits of a number."""

    def __init__(
        self,
        proposed: Sequence[Candidate],
        watched: Sequence[str],
        wanted: Mapping[str, Route],
        target: Mapping[str, object],
    ) -> None:
        self._reached: dict[Rule, tuple[int, int]] = {}
        self._proposed = proposed
        self._plain = 0
        for bit, name in enumerate(watched):
            self._plain |= _right(((name,), ""), name, wanted, target) << bit
        for candidate in proposed:
            self._reached[candidate.rule] = self._reach(candidate.rule, watched, wanted, target)
        self._all = (1 << len(watched)) - 1

    def _reach(
        self,
        rule: Rule,
        watched: Sequence[str],
        wanted: Mapping[str, Route],
        target: Mapping[str, object],
    ) -> tuple[int, int]:
        """Return which names a rule matches, and which of these it sends where they should go."""
        pattern = re.compile(rule.match)
        templates = [Template(text) for text in rule.to]
        part = part_of(rule.join, rule.operations)
        matched = right = 0
        for bit, name in enumerate(watched):
            found = pattern.match(name)
            if found:
                matched |= 1 << bit
                texts = tuple(template.fill(found, {}) for template in templates)
                right |= _right((texts, part), name, wanted, target) << bit
        return matched, right

    def rules(self) -> tuple[Rule, ...]:
        """Return the chosen rules in their order."""
        chosen: list[Rule] = []
        right = self._plain
        while right != self._all:
            rule = self._best(right)
            if rule is None:
                break
            chosen.insert(0, rule)
            matched, good = self._reached[rule]
            right = right & ~matched | good
        return tuple(self._ordered(self._pruned(chosen)))

    def _best(self, right: int) -> Rule | None:
        best: tuple[object, ...] = ()
        found = None
        for candidate in self._proposed:
            matched, good = self._reached[candidate.rule]
            gain = (good & ~right).bit_count() - _HARM * (matched & right & ~good).bit_count()
            if gain > 0:
                key = (-gain, *candidate.cost)
                if not best or key < best:
                    best, found = key, candidate.rule
        return found

    def _outcome(self, rules: Sequence[Rule]) -> int:
        right = self._plain
        for rule in reversed(rules):
            matched, good = self._reached[rule]
            right = right & ~matched | good
        return right

    def _pruned(self, chosen: Sequence[Rule]) -> list[Rule]:
        """Leave out what later choices made superfluous."""
        kept, goal = list(chosen), self._outcome(chosen)
        for rule in reversed(chosen):
            rest = [other for other in kept if other is not rule]
            if self._outcome(rest) == goal:
                kept = rest
        return kept

    def _ordered(self, chosen: Sequence[Rule]) -> Iterator[Rule]:
        """Yield rules by the first name that they take, where their order makes no difference."""
        left = list(chosen)
        while left:
            free = [rule for i, rule in enumerate(left) if not self._meets(rule, left[:i])]
            first = min(free, key=lambda rule: self._first(rule))
            yield first
            left.remove(first)

    def _meets(self, rule: Rule, others: Sequence[Rule]) -> bool:
        return any(self._reached[rule][0] & self._reached[other][0] for other in others)

    def _first(self, rule: Rule) -> int:
        matched = self._reached[rule][0]
        return (matched & -matched).bit_length()
