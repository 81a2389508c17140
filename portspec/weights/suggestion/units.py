"""Tensors whose names differ in numbers only, taken together."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations, product

from portspec.weights.engine.tensors import Shape
from portspec.weights.suggestion.names import SLOT, words

Row = tuple[int, ...]

_NUMBER = re.compile(r"[0-9]+")
_FEW_PARTS = 4
_FEWEST = 5  # values of a number inside a word, as in `block3`; of fewer, each is a name of its own
_FAMILIES = (("q", "k", "v"), ("k", "v"), ("gate", "up"))


@dataclass(frozen=True, eq=False)
class Unit:
    """Tensors of one form: `name` with the numbers of each row in its slots.

    A fused unit stands for its `parts`, which lie one behind the other along the first axis.
    """

    name: str
    shapes: Mapping[Row, Shape]
    position: int
    parts: tuple[Unit, ...] = ()

    @property
    def slots(self) -> int:
        """How many numbers vary."""
        return self.name.count(SLOT)

    @property
    def keys(self) -> list[str]:
        """All names."""
        return [self.key(row) for row in self.shapes]

    def key(self, row: Row) -> str:
        """Return one name."""
        pieces = self.name.split(SLOT)
        return "".join(a + b for a, b in zip(pieces, [*map(str, row), ""], strict=True))

    def values(self, slot: int) -> list[int]:
        """Return the numbers that stand in a slot."""
        return sorted({row[slot] for row in self.shapes})


def units(surface: Mapping[str, Shape]) -> list[Unit]:
    """Take names together that differ in numbers only, in order of appearance."""
    forms: dict[tuple[str, ...], dict[Row, tuple[int, Shape]]] = defaultdict(dict)
    alone = []
    for position, (name, shape) in enumerate(surface.items()):
        texts = _NUMBER.findall(name)
        if any(text != str(int(text)) for text in texts):
            alone.append(Unit(name, {(): tuple(shape)}, position))
        else:
            row = tuple(int(text) for text in texts)
            forms[tuple(_NUMBER.split(name))][row] = position, tuple(shape)
    found = [unit for form, rows in forms.items() for unit in _units(form, rows)]
    return sorted([*found, *alone], key=lambda unit: unit.position)


def _units(form: tuple[str, ...], rows: Mapping[Row, tuple[int, Shape]]) -> Iterator[Unit]:
    """Write numbers out that do not vary, or that are part of a word and take few values."""
    for slot in range(len(form) - 1):
        values = sorted({row[slot] for row in rows})
        inside = form[slot][-1:] not in ("", ".") or form[slot + 1][:1] not in ("", ".")
        if len(values) == 1 or (inside and len(values) < _FEWEST):
            for value in values:
                yield from _units(*_written(form, rows, slot, value))
            return
    shapes = {row: shape for row, (_, shape) in rows.items()}
    yield Unit(SLOT.join(form), shapes, min(position for position, _ in rows.values()))


def _written(
    form: tuple[str, ...], rows: Mapping[Row, tuple[int, Shape]], slot: int, value: int
) -> tuple[tuple[str, ...], dict[Row, tuple[int, Shape]]]:
    joined = f"{form[slot]}{value}{form[slot + 1]}"
    kept = {
        row[:slot] + row[slot + 1 :]: found for row, found in rows.items() if row[slot] == value
    }
    return (*form[:slot], joined, *form[slot + 2 :]), kept


def pieces(unit: Unit) -> list[Unit]:
    """Write the numbers out of the slot that takes the fewest values."""
    if not unit.slots:
        return [unit]
    slot = min(range(unit.slots), key=lambda i: (len(unit.values(i)), -i))
    form = tuple(unit.name.split(SLOT))
    rows = {row: (unit.position, shape) for row, shape in unit.shapes.items()}
    found = []
    for value in unit.values(slot):
        one, kept = _written(form, rows, slot, value)
        shapes = {row: shape for row, (_, shape) in kept.items()}
        found.append(Unit(SLOT.join(one), shapes, unit.position))
    return found


def shifts(source: Unit, target: Unit) -> tuple[int, ...] | None:
    """Return what to add to each number of the source to get the target's; None when they do not fit.

    One side may lack some numbers of the other: a layer that is dropped, say.
    """
    if source.slots != target.slots:
        return None
    found = []
    for slot in range(source.slots):
        mine, theirs = source.values(slot), target.values(slot)
        shift = theirs[0] - mine[0] if len(mine) == len(theirs) else 0
        moved = {value + shift for value in mine}
        if not (moved >= set(theirs) or moved <= set(theirs)):
            return None
        found.append(shift)
    moves = tuple(found)
    return moves if _agree(source, target, moves) else None


def _agree(source: Unit, target: Unit, moves: tuple[int, ...]) -> bool:
    rows = [(row, moved(row, moves)) for row in source.shapes]
    both = [(mine, theirs) for mine, theirs in rows if theirs in target.shapes]
    return bool(both) and all(source.shapes[a] == target.shapes[b] for a, b in both)


def moved(row: Row, moves: Sequence[int]) -> Row:
    """Return a row with each number shifted."""
    return tuple(number + move for number, move in zip(row, moves, strict=True))


def fused(found: Sequence[Unit]) -> Iterator[Unit]:
    """Yield what families such as query, key and value would be as one tensor."""
    roles: dict[str, dict[str, Unit]] = defaultdict(dict)
    for unit in found:
        for role, blank in _roles(unit.name):
            roles[blank].setdefault(role, unit)
    for blank, members in roles.items():
        for family in _FAMILIES:
            if all(role in members for role in family):
                name = "gate_up" if "up" in family else "".join(family)
                whole = together(blank.replace("@", name), [members[r] for r in family])
                if whole:
                    yield whole


def _roles(name: str) -> Iterator[tuple[str, str]]:
    """Yield the role that a module has by its name, and the name without it."""
    parts = name.split(".")
    for index, part in enumerate(parts):
        for token in part.split("_"):
            role = words(token)[:1]
            if role and role[0] in ("q", "k", "v", "gate", "up"):
                blank = "_".join("@" if piece == token else piece for piece in part.split("_"))
                yield role[0], ".".join([*parts[:index], blank, *parts[index + 1 :]])


def together(name: str, parts: Sequence[Unit]) -> Unit | None:
    """Return units as one, joined along the first axis; None when they do not fit together."""
    first = parts[0]
    if any(part.shapes.keys() != first.shapes.keys() for part in parts):
        return None
    shapes = {}
    for row, shape in first.shapes.items():
        several = [part.shapes[row] for part in parts]
        if not shape or any(one[1:] != shape[1:] or not one for one in several):
            return None
        shapes[row] = (sum(one[0] for one in several), *shape[1:])
    return Unit(name, shapes, min(part.position for part in parts), tuple(parts))


def sizes(whole: Unit) -> tuple[int, ...]:
    """Return how long the parts of a unit are, or nothing when that varies from row to row."""
    found = {tuple(part.shapes[row][0] for part in whole.parts) for row in whole.shapes}
    return found.pop() if len(found) == 1 else ()


def is_fused(name: str) -> bool:
    """Tell whether a name says that several tensors lie in one."""
    text = "_".join(words(name))
    return bool(re.search(r"(?:^|_)(qkv|kv|in_proj|gate_up)(?:_|$)", text))


def subsets(found: Sequence[Unit], target: Unit, in_any_order: bool = False) -> list[Unit]:
    """Return the ways to make a unit of several others, in their order of appearance or, if few, in any."""
    ways = []
    for choice in product((True, False), repeat=len(found)):
        chosen = [unit for unit, taken in zip(found, choice, strict=True) if taken]
        free = in_any_order and len(chosen) <= _FEW_PARTS
        for order in permutations(chosen) if free else (chosen,):
            whole = together(chosen[0].name, order) if len(order) > 1 else None
            if whole and shifts(whole, target) is not None:
                ways.append(whole)
    return ways
