"""A mapping suggested from two surfaces alone: rules to start from, and questions that they cannot answer.

Nothing is guessed in silence. What names and shapes decide becomes rules, what they do not decide becomes a
question that says what was assumed, and what has no counterpart is listed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from portspec.weights.collapse import collapsed
from portspec.weights.engine.rules import Rule
from portspec.weights.engine.tensors import Shape
from portspec.weights.suggestion.evidence import Pair
from portspec.weights.suggestion.links import Link, links
from portspec.weights.suggestion.match import Matching, Tie, match
from portspec.weights.suggestion.names import in_common
from portspec.weights.suggestion.rules import rules_for
from portspec.weights.suggestion.units import Unit, units
from portspec.weights.suggestion.values import Values

Pairs = tuple[list[Unit], list[Unit]]


@dataclass(frozen=True)
class Question:
    """What names and shapes cannot decide: about which names, between what, and what was assumed."""

    about: tuple[str, ...]
    candidates: tuple[str, ...]
    text: str


@dataclass(frozen=True)
class Suggestion:
    """Rules, open questions, where each name goes, and the names that go nowhere or get nothing."""

    rules: tuple[Rule, ...]
    questions: tuple[Question, ...]
    assigned: Mapping[str, tuple[str, ...]]
    unmatched_source: tuple[str, ...]
    unmatched_target: tuple[str, ...]


def suggest(
    source: Mapping[str, Shape], target: Mapping[str, Shape], values: Values | None = None
) -> Suggestion:
    r"""Suggest the rules that make one surface of another.

    Args:
        source: Published names and shapes, in the order of the file or of the module.
        target: Names and shapes that must come out.
        values: The contents of both, if they hold the same weights, for what names and shapes leave open.

    Example:
        >>> found = suggest({"layers.0.q.weight": (8, 4)}, {"blocks.0.to_q.weight": (8, 4)})
        >>> found.rules[0].match, found.rules[0].to
        ('^layers\\.0\\.q\\.(.*)$', ('blocks.0.to_q.\\1',))
    """
    found = match(units(source), units(target), values)
    known = list(links(found.pairs))
    if values:
        known += _turned(found, values)
        _decided(found, values)
    rules, failed = rules_for(known, list(source), target)
    routes = {name: names for link in known for name, (names, _) in link.routes()}
    assigned = {n: routes[n] for n in source if n in routes and n not in set(failed)}
    reached = {name for names in assigned.values() for name in names}
    unmatched = tuple(name for name in source if name not in assigned)
    known_by = "names, shapes and values" if values else "names and shapes"
    questions = [*_questions(found, known_by), *_clashes(unmatched, reached)]
    left = tuple(name for name in target if name not in reached)
    return Suggestion(rules, tuple(questions), assigned, unmatched, left)


def _turned(found: Matching, values: Values) -> Iterator[Link]:
    """Yield what becomes of units that are left over because their shape changes, and take them out."""
    for source in list(found.sources):
        for target in found.targets:
            operation = values.turned(source, target) if _as_large(source, target) else None
            if operation:
                found.sources.remove(source)
                found.targets.remove(target)
                yield Link(source, (target,), (0,) * source.slots, None, (operation,))
                break


def _decided(found: Matching, values: Values) -> None:
    """Forget doubts about pairs that hold the same values, unless these are constants."""
    for doubts in (found.by_shape, found.faint, found.by_order):
        doubts[:] = [(a, b) for a, b in doubts if not values.prove(a, b)]


def _questions(found: Matching, known_by: str) -> Iterator[Question]:
    for ties in _grouped(found.ties):
        sources = [unit for tie in ties for unit in tie.all_sources]
        targets = [unit for tie in ties for unit in tie.all_targets]
        text = f"{known_by} do not say which is which; taken in their order of appearance"
        yield _question(sources, targets, text)
    for source, target in found.by_shape:
        text = "their names have nothing in common; taken because no other shape fits"
        yield _question([source], [target], text)
    for source, target in found.faint:
        text = "their names have little in common; taken because nothing else fits better"
        yield _question([source], [target], text)
    for sources, targets in _joined(found.by_order):
        text = "the sizes add up; the parts are taken in their order of appearance"
        yield _question(sources, targets, text)
    for source in found.sources:
        targets = [t for t in found.targets if _reshaped(source, t)]
        if targets:
            text = "as many elements in another shape; left out, for it may be a transpose"
            yield _question([source], targets, text)


def _clashes(unmatched: Sequence[str], reached: Collection[str]) -> Iterator[Question]:
    """Ask about names that nothing was found for, and that another takes."""
    for name in unmatched:
        if name in reached:
            text = f"{name}: another tensor takes this name in the target; drop it?"
            yield Question((name,), (name,), text)


def _question(sources: Sequence[Unit], targets: Sequence[Unit], text: str) -> Question:
    about, candidates = _keys(sources), _keys(targets)
    names = f"{', '.join(collapsed(about))} -> {', '.join(collapsed(candidates))}"
    return Question(about, candidates, f"{names}: {text}")


def _keys(found: Iterable[Unit]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(key for unit in found for key in unit.keys))


def _grouped(ties: Sequence[Tie]) -> list[list[Tie]]:
    """Put ties together that are about the same units."""
    groups: list[list[Tie]] = []
    for tie in ties:
        mine = {id(unit) for unit in tie.all_sources}
        near = [g for g in groups if any(id(u) in mine for t in g for u in t.all_sources)]
        groups = [group for group in groups if group not in near]
        groups.append([*(other for group in near for other in group), tie])
    return groups


def _joined(pairs: Sequence[Pair]) -> list[Pairs]:
    """Put the weights and biases of the same modules together."""
    groups: dict[tuple[str, ...], Pairs] = {}
    for source, target in pairs:
        sources, targets = source.parts or (source,), target.parts or (target,)
        key = tuple(unit.name.rpartition(".")[0] for unit in (*sources, *targets))
        mine, theirs = groups.setdefault(key, ([], []))
        mine += sources
        theirs += targets
    return list(groups.values())


def _reshaped(source: Unit, target: Unit) -> bool:
    """Tell whether a left-over unit could be another one in a different shape."""
    return in_common(source.name, target.name) and _as_large(source, target)


def _as_large(source: Unit, target: Unit) -> bool:
    if source.slots != target.slots:
        return False
    rows = [row for row in source.shapes if row in target.shapes]
    return bool(rows) and all(prod(source.shapes[r]) == prod(target.shapes[r]) for r in rows)
