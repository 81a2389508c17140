"""What becomes of each unit of the source, and the rules that would say so."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from portspec.weights.engine.ops import Operation
from portspec.weights.engine.ops.split import Split
from portspec.weights.engine.rules import Join, Rule
from portspec.weights.suggestion.names import SLOT
from portspec.weights.suggestion.units import Unit, moved, shifts, sizes

Route = tuple[tuple[str, ...], str]  # names, and which part of the first or what is done

_SPECIAL = re.compile(r"([.^$*+?{}\[\]\\|()])")
_MEANINGFUL = "{}\\"  # in a replacement


@dataclass(frozen=True, eq=False)
class Link:
    """One unit of the source, what it becomes, and what to add to its numbers."""

    source: Unit
    targets: tuple[Unit, ...]
    moves: tuple[int, ...]
    join: Join | None = None
    operations: tuple[Operation, ...] = ()

    def routes(self) -> Iterator[tuple[str, Route]]:
        """Yield where each name goes; those that the target has no number for go nowhere."""
        part = part_of(self.join, self.operations)
        for row in self.source.shapes:
            theirs = moved(row, self.moves)
            if all(theirs in target.shapes for target in self.targets):
                yield self.source.key(row), (tuple(t.key(theirs) for t in self.targets), part)


def part_of(join: Join | None, operations: Sequence[Operation]) -> str:
    """Return what of a name's tensor goes on, so that equal names alone are not the same route."""
    return join.part if join else " ".join(map(repr, operations))


@dataclass(frozen=True)
class Candidate:
    """A rule that may be suggested, and how readable it is: the less, the better."""

    rule: Rule
    cost: tuple[
        bool, bool, bool, int
    ]  # whether it does not say how names begin, cuts words, ends hard


def links(pairs: Sequence[tuple[Unit, Unit]]) -> Iterator[Link]:
    """Yield what becomes of each unit, the parts of fused ones apart."""
    for source, target in pairs:
        moves = shifts(source, target) or ()
        if source.parts:
            for index, part in enumerate(source.parts):
                join = Join("concat", str(index), len(source.parts))
                yield Link(part, (target,), moves, join)
        elif target.parts:
            lengths = sizes(target)
            split = Split(len(lengths)) if len(set(lengths)) == 1 else Split(0, lengths)
            yield Link(source, target.parts, moves, None, (split,))
        else:
            yield Link(source, (target,), moves)


def candidates(link: Link) -> Iterator[Candidate]:
    """Yield rules that send a unit where it goes, from the most general to the most special."""
    source, targets = link.source.name, [target.name for target in link.targets]
    if any(character in _MEANINGFUL for name in targets for character in name):
        return
    for cut in _cuts(source, targets):
        heads = [source[: len(source) - cut], *(name[: len(name) - cut] for name in targets)]
        if any(link.moves[heads[0].count(SLOT) :]):
            continue
        yield _anchored(link, heads, link.moves, cut)
        numbers = [_literal_numbers(head) for head in heads]
        if numbers[0] and not any(link.moves) and all(n == numbers[0] for n in numbers):
            loose = [_loosened(head) for head in heads]
            yield _anchored(link, loose, (0,) * loose[0].count(SLOT), cut)
        yield from _open(link, heads, cut)


def exact(link: Link, names: Collection[str]) -> Iterator[Rule]:
    """Yield a rule for each of some names alone, for what no pattern of several says."""
    for name, (targets, _) in link.routes():
        if name in names and not any(c in _MEANINGFUL for target in targets for c in target):
            yield Rule(f"^{_pattern(name)}$", targets, link.operations, link.join)


def _cuts(source: str, targets: Sequence[str]) -> Iterator[int]:
    """Yield how much of the end of the names to leave as it is, the longest first.

    Modules stay whole; only the longest common end may start inside a word, after an underscore.
    """
    common = 0
    shortest = min(len(source), *map(len, targets))
    while common < shortest and all(t[-common - 1] == source[-common - 1] for t in targets):
        common += 1
    before = [
        [("." + name)[len(name) - cut] for name in (source, *targets)] for cut in range(common + 1)
    ]
    inner = [cut for cut in range(1, common + 1) if set(before[cut]) <= {".", "_"}]
    for cut in reversed(inner):
        if set(before[cut]) == {"."} or cut == inner[-1]:
            yield cut
    yield 0


def _literal_numbers(head: str) -> list[str]:
    return [part for part in head.split(".") if part.isdigit()]


def _loosened(head: str) -> str:
    return ".".join(SLOT if part.isdigit() else part for part in head.split("."))


def _anchored(link: Link, heads: Sequence[str], moves: Sequence[int], cut: int) -> Candidate:
    """Return a rule that says how a name begins."""
    end, last = _end(heads[0].count(SLOT), cut)
    to = tuple(_filled(head, moves, 1) + last for head in heads[1:])
    rule = Rule(f"^{_pattern(heads[0])}{end}", to, link.operations, link.join)
    return Candidate(rule, (False, _cuts_words(heads), not cut, len(heads[0])))


def _open(link: Link, heads: Sequence[str], cut: int) -> Iterator[Candidate]:
    """Yield rules that leave the beginning of a name as it is."""
    common = 0
    while all(common < len(h) and h[common] == heads[0][common] for h in heads):
        common += 1
    for start in range(common, 0, -1):
        if heads[0][start - 1] != "." or start == len(heads[0]):
            continue
        skipped = heads[0][:start].count(SLOT)
        if not any(link.moves[:skipped]):
            middles = [head[start:] for head in heads]
            end, last = _end(middles[0].count(SLOT) + 1, cut)
            moves = link.moves[skipped:]
            to = tuple(r"\1." + _filled(middle, moves, 2) + last for middle in middles[1:])
            rule = Rule(rf"^(.*)\.{_pattern(middles[0])}{end}", to, link.operations, link.join)
            yield Candidate(rule, (True, _cuts_words(heads), not cut, -len(middles[0])))


def _cuts_words(heads: Sequence[str]) -> bool:
    return any(head.endswith("_") for head in heads)


def _end(groups: int, cut: int) -> tuple[str, str]:
    return ("(.*)$", rf"\{groups + 1}") if cut else ("$", "")


def _pattern(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", text).replace(SLOT, r"(\d+)")


def _filled(text: str, moves: Sequence[int], first: int) -> str:
    """Put references to groups, from the first on, in the place of numbers that vary."""
    pieces = text.split(SLOT)
    found = pieces[0]
    for index, piece in enumerate(pieces[1:]):
        move = moves[index]
        group = rf"\{first + index}"
        found += (f"{{{group} {'+' if move > 0 else '-'} {abs(move)}}}" if move else group) + piece
    return found
