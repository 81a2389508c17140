"""What speaks for a pair besides its own names: the modules around it, and by how much it beats others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import sqrt

from portspec.weights.suggestion.names import ancestors, last_word
from portspec.weights.suggestion.units import Unit

_ROUNDS = 4
_SHARPNESS = 4
_SIBLING = 0.3  # what a tensor of the same module tells about another
_SMALL = 4  # units; what is not certain about a module this small only echoes the pair that asks

Pair = tuple[Unit, Unit]
Cell = tuple[int, int]  # a pair, by the places of its units
Module = tuple[str, str]


class Evidence:
    """What modules say about pairs, given the pairs that are settled; these may become more."""

    def __init__(
        self, sources: Sequence[Unit], targets: Sequence[Unit], pairs: Sequence[Pair]
    ) -> None:
        self._sources = sources
        self._targets = targets
        self._pairs = pairs
        self._above = [ancestors(unit.name) for unit in sources]
        self._below = [ancestors(unit.name) for unit in targets]

    def supports(self, worth: Mapping[Cell, float]) -> dict[Cell, float]:
        """Return how much the modules around speak for each pair, from 0 to 1."""
        known: dict[Module, float] = defaultdict(float)
        for source, target in self._pairs:
            _vote(known, ancestors(source.name), ancestors(target.name), 1.0)
        mine = self._sizes(self._above, {i for i, _ in worth}, 0)
        theirs = self._sizes(self._below, {j for _, j in worth}, 1)
        siblings = self._siblings(worth)
        supports = dict.fromkeys(worth, 0.0)
        for _ in range(_ROUNDS):
            scores = {pair: alone + supports[pair] for pair, alone in worth.items()}
            votes = defaultdict(float, known)
            for (i, j), sureness in _sureness(scores).items():
                above = [module for module in self._above[i] if mine[module] > _SMALL]
                below = [module for module in self._below[j] if theirs[module] > _SMALL]
                _vote(votes, above, below, sureness)
            bonds = {(a, b): vote / sqrt(mine[a] * theirs[b]) for (a, b), vote in votes.items()}
            supports = {
                (i, j): _support(self._above[i], self._below[j], bonds) + siblings[i, j]
                for i, j in worth
            }
        return supports

    def _siblings(self, worth: Mapping[Cell, float]) -> dict[Cell, float]:
        """Return what the tensors of the same module say: the bias follows the weight."""
        taken: dict[str, set[str]] = defaultdict(set)
        given: dict[str, set[str]] = defaultdict(set)
        for source, target in self._pairs:
            mine, theirs = parent(source), parent(target)
            taken[mine].add(theirs)
            given[theirs].add(mine)
        found = {}
        for i, j in worth:
            mine, theirs = parent(self._sources[i]), parent(self._targets[j])
            strangers = bool(taken[mine] - {theirs}) + bool(given[theirs] - {mine})
            found[i, j] = _SIBLING if theirs in taken[mine] else -_SIBLING / 2 * strangers
        return found

    def _sizes(self, above: Sequence[Sequence[str]], live: set[int], side: int) -> dict[str, float]:
        """Count the units in each module that are matched, or may be."""
        sizes: dict[str, float] = defaultdict(float)
        for i in sorted(live):
            for module in above[i]:
                sizes[module] += 1
        for pair in self._pairs:
            for module in ancestors(pair[side].name):
                sizes[module] += 1
        return sizes


def parent(unit: Unit) -> str:
    """Return the module that a tensor is in, or its own name when it is no weight and no bias."""
    return unit.name.rpartition(".")[0] if last_word(unit.name) else unit.name


def _vote(votes: dict[Module, float], above: Sequence[str], below: Sequence[str], x: float) -> None:
    for a in above:
        for b in below:
            votes[a, b] += x


def _support(above: Sequence[str], below: Sequence[str], bonds: Mapping[Module, float]) -> float:
    mine = sum(max(bonds.get((a, b), 0.0) for b in below) for a in above[1:])
    theirs = sum(max(bonds.get((a, b), 0.0) for a in above) for b in below[1:])
    return (mine + theirs) / max(1, len(above) + len(below) - 2)


def _sureness(scores: Mapping[Cell, float]) -> dict[Cell, float]:
    """Return how surely each pair is the one, were these scores all that is known."""
    powers = {pair: max(score, 0.0) ** _SHARPNESS for pair, score in scores.items()}
    rows: dict[int, float] = defaultdict(float)
    columns: dict[int, float] = defaultdict(float)
    for (i, j), power in powers.items():
        rows[i] += power
        columns[j] += power
    return {
        (i, j): power / sqrt(rows[i] * columns[j]) if power else 0.0
        for (i, j), power in powers.items()
    }


def margins(scores: Mapping[Cell, float]) -> dict[Cell, float]:
    """Return by how much each pair beats all others of its units."""
    rows: dict[int, list[float]] = defaultdict(list)
    columns: dict[int, list[float]] = defaultdict(list)
    for (i, j), score in scores.items():
        rows[i].append(score)
        columns[j].append(score)
    best = {id(found): sorted(found)[-2:] for found in (*rows.values(), *columns.values())}
    return {
        (i, j): min(_ahead(score, best[id(rows[i])]), _ahead(score, best[id(columns[j])]))
        for (i, j), score in scores.items()
    }


def _ahead(score: float, best: Sequence[float]) -> float:
    if score < best[-1]:
        return score - best[-1]
    return score - best[-2] if len(best) > 1 else score
