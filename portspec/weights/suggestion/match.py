"""Which unit of the source becomes which of the target: names speak first, then the modules around them.

A pair is worth as much as its names are alike and as the modules that it is in become each other, which other
pairs tell. The surest pairs are taken first, and the rest is judged again. Where no pair is surer than
another, the order of appearance decides and a tie is noted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from portspec.weights.suggestion.evidence import Cell, Evidence, Pair, margins, parent
from portspec.weights.suggestion.names import in_common, last_word, likeness, rarities
from portspec.weights.suggestion.units import (
    Unit,
    fused,
    is_fused,
    moved,
    pieces,
    shifts,
    sizes,
    subsets,
)


class Contents(Protocol):
    """What tensors hold, where that may be looked at."""

    def agree(self, source: Unit, target: Unit) -> bool:
        """Tell whether nothing in two units, whose shapes fit, is known to differ."""

    def prove(self, source: Unit, target: Unit) -> bool:
        """Tell whether they hold the same and could not by accident."""


_STEPS = (0.3, 0.15, 0.07, 0.03)  # by how much a pair must beat all others to be taken
_PROVED = 2.0  # what equal contents are worth: more than any names
_SUPPORTED = 0.3  # by the modules around, where the names themselves say nothing
_FAINT = 0.5  # a score below which a vector is asked about
_LARGEST_SPLIT = 8
_MOST_PARTS = 8


@dataclass
class Tie:
    """Units that nothing but their order tells apart, and what was settled along with them."""

    sources: list[Unit]
    targets: list[Unit]
    settled: list[Pair] = field(default_factory=list)

    @property
    def all_sources(self) -> list[Unit]:
        """The units that tie, and those that were settled along with them."""
        return [*self.sources, *(source for source, _ in self.settled)]

    @property
    def all_targets(self) -> list[Unit]:
        """As above, of the target."""
        return [*self.targets, *(target for _, target in self.settled)]


@dataclass
class Matching:
    """What was found: pairs, those for which little speaks but a shape or an order, and ties."""

    pairs: list[Pair] = field(default_factory=list)
    by_shape: list[Pair] = field(default_factory=list)
    faint: list[Pair] = field(default_factory=list)  # vectors whose names say little
    by_order: list[Pair] = field(default_factory=list)
    ties: list[Tie] = field(default_factory=list)
    sources: list[Unit] = field(default_factory=list)  # left over
    targets: list[Unit] = field(default_factory=list)
    exact: bool = (
        False  # contents decide, so that nothing is a layer more on one side by its numbers alone
    )


def match(
    sources: Sequence[Unit], targets: Sequence[Unit], values: Contents | None = None
) -> Matching:
    """Match two sides; `values` rule out pairs whose shapes fit and whose contents do not."""
    found = Matching(sources=list(sources), targets=list(targets), exact=values is not None)
    names = [unit.name for unit in (*sources, *targets)]
    weights = rarities(names + [unit.name for unit in (*fused(sources), *fused(targets))])
    _identities(found, values)
    while found.sources and found.targets:
        _Search(found, weights, values).run()
        if not _whole_from_parts(found, values) and not _split_up(found, values):
            break
    modules = [(parent(source), parent(target)) for source, target in found.pairs]
    found.faint = [p for p in found.faint if modules.count((parent(p[0]), parent(p[1]))) < 2]
    return found


def _take(found: Matching, source: Unit, target: Unit) -> None:
    """Note a pair; the parts of a fused unit are no longer to be had, nor what it is a part of."""
    found.pairs.append((source, target))
    gone = {id(unit) for unit in (source, *source.parts, target, *target.parts)}
    mine, theirs = _rest(source, target) if found.exact else ([], [])
    found.sources = [unit for unit in found.sources if id(unit) not in gone] + mine
    found.targets = [unit for unit in found.targets if id(unit) not in gone] + theirs


def _rest(source: Unit, target: Unit) -> tuple[list[Unit], list[Unit]]:
    """Return the rows of a pair that have no counterpart in it, as units that are still to be matched."""
    if source.parts or target.parts:
        return [], []
    moves = shifts(source, target) or ()
    left, free = dict(source.shapes), dict(target.shapes)
    for row in source.shapes:
        theirs = moved(row, moves)
        if theirs in free:
            del left[row], free[theirs]
    sides = ((source, left), (target, free))
    mine, other = ([Unit(u.name, rows, u.position)] if rows else [] for u, rows in sides)
    return mine, other


def _agree(values: Contents | None, source: Unit, target: Unit) -> bool:
    return values is None or values.agree(source, target)


def _identities(found: Matching, values: Contents | None) -> None:
    by_name = {unit.name: unit for unit in found.targets}
    for source in list(found.sources):
        target = by_name.get(source.name)
        if target and shifts(source, target) is not None and _agree(values, source, target):
            _take(found, source, target)


class _Search:
    """Matches what is left, units of one form with units of one form."""

    def __init__(
        self, found: Matching, weights: Mapping[str, float], values: Contents | None
    ) -> None:
        self._found = found
        self._worth: dict[Cell, float] = {}
        self._sources = [*found.sources, *fused(found.sources)]
        self._targets = [*found.targets, *fused(found.targets)]
        for i, source in enumerate(self._sources):
            for j, target in enumerate(self._targets):
                if _possible(source, target) and _agree(values, source, target):
                    self._worth[i, j] = likeness(source.name, target.name, weights)
                    if values and values.prove(source, target):
                        self._worth[i, j] += _PROVED
        self._evidence = Evidence(self._sources, self._targets, found.pairs)
        self._scores: dict[Cell, float] = {}
        self._tie: Tie | None = None

    def run(self) -> None:
        """Take pairs until there are none."""
        while self._worth:
            supports = self._evidence.supports(self._worth)
            self._scores = {pair: worth + supports[pair] for pair, worth in self._worth.items()}
            if not self._take_surest() and not self._take_first():
                return

    def _take_surest(self) -> bool:
        ahead = margins(self._scores)
        for step in _STEPS:
            sure = [pair for pair, margin in ahead.items() if margin >= step]
            for i, j in [pair for pair in sure if self._speaks_for(pair)]:
                if (i, j) in self._worth:
                    self._settle(i, j)
            if sure and any(pair not in self._worth for pair in sure):
                return True
        return False

    def _speaks_for(self, pair: Cell) -> bool:
        """Tell whether more than the shape speaks for a pair."""
        source, target = self._sources[pair[0]], self._targets[pair[1]]
        support = self._scores[pair] - self._worth[pair]
        proved = self._worth[pair] >= _PROVED
        return proved or in_common(source.name, target.name) or support >= _SUPPORTED

    def _take_first(self) -> bool:
        """Let the order of appearance decide about the best of the pairs that tie."""
        said = {pair: s for pair, s in self._scores.items() if self._speaks_for(pair)}
        if not said:
            return self._take_by_shape()
        top = max(said.values())
        i, j = min(pair for pair, score in said.items() if score > top - _STEPS[-1])
        sources, targets = _tied(said, i, j)
        self._tie = Tie([self._sources[k] for k in sources], [self._targets[k] for k in targets])
        self._found.ties.append(self._tie)
        self._settle(sources[0], targets[0] if (sources[0], targets[0]) in said else j)
        return True

    def _take_by_shape(self) -> bool:
        """Take a pair that has no rivals, though the names have nothing in common."""
        rows: dict[int, int] = defaultdict(int)
        columns: dict[int, int] = defaultdict(int)
        for i, j in self._scores:
            rows[i] += 1
            columns[j] += 1
        for i, j in self._scores:
            if rows[i] == columns[j] == 1 and _rank(self._sources[i]) > 1:
                self._tie = None
                self._found.by_shape.append((self._sources[i], self._targets[j]))
                self._settle(i, j)
                return True
        return False

    def _settle(self, i: int, j: int) -> None:
        source, target = self._sources[i], self._targets[j]
        if self._tie:
            self._tie.settled.append((source, target))
        elif self._scores[i, j] < _FAINT and _rank(source) < 2:
            self._found.faint.append((source, target))
        _take(self._found, source, target)
        used = {id(unit) for unit in (source, *source.parts)}
        taken = {id(unit) for unit in (target, *target.parts)}
        for a, b in list(self._worth):
            one, other = self._sources[a], self._targets[b]
            if {id(one), *map(id, one.parts)} & used or {id(other), *map(id, other.parts)} & taken:
                del self._worth[a, b]


def _rank(unit: Unit) -> int:
    return max(len(shape) for shape in unit.shapes.values())


def _possible(source: Unit, target: Unit) -> bool:
    """Tell whether shapes allow a pair; a weight never becomes a bias."""
    if len({last_word(source.name), last_word(target.name)} - {""}) > 1:
        return False
    if source.parts and (target.parts or not is_fused(target.name)):
        return False
    if target.parts and not (is_fused(source.name) and sizes(target)):
        return False
    return shifts(source, target) is not None


def _tied(scores: Mapping[Cell, float], i: int, j: int) -> tuple[list[int], list[int]]:
    """Return the sources that are alike to every target of a pair's rivals, and these targets."""
    floor = scores[i, j] - _STEPS[-1]
    sources = sorted({a for (a, b), score in scores.items() if b == j and score > floor})
    targets = sorted({b for (a, b), score in scores.items() if a == i and score > floor})
    if len(sources) > 1:
        targets = [b for b in _partners(scores, 1) if _alike(scores, [(a, b) for a in sources])]
        targets = [b for b in targets if scores[i, b] > scores[i, j] / 2]
    elif len(targets) > 1:
        sources = [a for a in _partners(scores, 0) if _alike(scores, [(a, b) for b in targets])]
        sources = [a for a in sources if scores[a, j] > scores[i, j] / 2]
    return sources, targets


def _partners(scores: Mapping[Cell, float], side: int) -> list[int]:
    return sorted({pair[side] for pair in scores})


def _alike(scores: Mapping[Cell, float], pairs: Sequence[Cell]) -> bool:
    """Tell whether all these pairs are there and none of them is better than another."""
    found = [scores[pair] for pair in pairs if pair in scores]
    return len(found) == len(pairs) and max(found) - min(found) < _STEPS[-1]


def _whole_from_parts(found: Matching, values: Contents | None) -> bool:
    """Join what is left of one block to what is left on the other side, when just one choice fits.

    The parts come in their order of appearance, unless what they hold says which.
    """
    free = values is not None
    for target in found.targets:
        every = (way for parts in _blocks(found.sources) for way in subsets(parts, target, free))
        ways = [way for way in every if _agree(values, way, target)]
        if len(ways) == 1:
            found.by_order.append((ways[0], target))
            _take(found, ways[0], target)
            return True
    for source in found.sources:
        every = (way for parts in _blocks(found.targets) for way in subsets(parts, source, free))
        ways = [way for way in every if _agree(values, source, way)]
        if len(ways) == 1 and sizes(ways[0]):
            found.by_order.append((source, ways[0]))
            _take(found, source, ways[0])
            return True
    return False


def _blocks(found: Sequence[Unit]) -> Iterator[list[Unit]]:
    """Yield units that lie in one numbered block and end in one word."""
    blocks: dict[tuple[str, str], list[Unit]] = defaultdict(list)
    for unit in found:
        if unit.slots:
            block = unit.name[: unit.name.rindex("\0")]
            blocks[block, unit.name.rpartition(".")[2]].append(unit)
    yield from (units for units in blocks.values() if 1 < len(units) <= _MOST_PARTS)


def _split_up(found: Matching, values: Contents | None) -> bool:
    """Write a number out in what is left, where it takes few values or what is meant can be looked up."""
    before = [*found.sources, *found.targets]
    found.sources = [piece for unit in found.sources for piece in _few(unit, values)]
    found.targets = [piece for unit in found.targets for piece in _few(unit, values)]
    return [*found.sources, *found.targets] != before


def _few(unit: Unit, values: Contents | None) -> list[Unit]:
    split = pieces(unit)
    return split if values or len(split) <= _LARGEST_SPLIT else [unit]
