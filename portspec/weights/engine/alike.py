"""Names that rules cannot tell apart, though their numbers differ.

Names of a checkpoint differ mostly in their numbers, and patterns mostly take any number. What is found out
for one name holds for every name with numbers of the same length at the same places, but for the numbers that
a pattern names: `ffn.0` is not `ffn.2`.
"""

from __future__ import annotations

import importlib
import re
from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

Key = TypeVar("Key", bound=Hashable)
Row = tuple[Any, ...]  # a rule's number, and its templates filled
Make = Callable[[Hashable, Sequence[str]], Iterable[Row]]

_MERGED = bytes.maketrans(b"123456789", b"000000000")
_RUN = re.compile(rb"0+")
_DIGITS = range(ord("0"), ord("9") + 1)
_PARSER: Any = getattr(re, "_parser", None) or importlib.import_module("sre_parse")  # before 3.11

Item = tuple[Any, Any]  # what a parsed pattern is made of: its kind, and what belongs to it


class Alike:
    """Groups of names for which all of the patterns give matches at the same places."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._lengths = _lengths(patterns)

    def spread(self, names: Sequence[str], make: Make) -> Iterator[Row]:
        """Give names that read alike to `make` together, and yield its rows in the order of the names.

        `make` takes what the names have in common and the names, and gives one row for each.
        """
        forms = _forms(names)
        return _in_order(forms, names, lambda form, some: self._of_form(form, some, make))

    def _of_form(self, form: bytes, names: Sequence[str], make: Make) -> Iterable[Row]:
        """Part names of one form by the digits that matter, which mostly are the same in all of them."""
        places = self._places(form)
        if not places:
            return make(form, names)
        if not form.isascii() or b"\n" in form:  # bytes are not characters, or lines not names
            return _in_order(names, names, make)
        table = "\n".join(names).encode()
        columns = [table[place :: len(form) + 1] for place in places]
        telling = [column for column in columns if column.count(column[0]) < len(names)]

        def alike(_: object, some: Sequence[str]) -> Iterable[Row]:
            return make((form, *(some[0][place] for place in places)), some)

        if not telling:
            return alike(None, names)
        keys = telling[0] if len(telling) == 1 else list(zip(*telling, strict=True))
        return _in_order(keys, names, alike)

    def _places(self, form: bytes) -> list[int]:
        """Return where the digits of numbers lie that a pattern may know by name."""
        if self._lengths == frozenset():
            return []
        return [
            place
            for found in _RUN.finditer(form)
            if self._lengths is None or len(found[0]) in self._lengths
            for place in range(*found.span())
        ]


def _in_order(
    keys: Sequence[Key], names: Sequence[str], make: Callable[[Key, Sequence[str]], Iterable[Row]]
) -> Iterator[Row]:
    """Give names with equal keys to `make`, and yield the rows in the order of the names.

    It is all done inside of C functions, which is what makes a million names a matter of half a second.
    """
    groups: dict[Key, list[str]] = defaultdict(list)
    deque(map(list.append, map(groups.__getitem__, keys), names), maxlen=0)
    rows = {key: iter(make(key, some)) for key, some in groups.items()}
    return map(next, map(rows.__getitem__, keys))


def _forms(names: Sequence[str]) -> list[bytes]:
    """Return each name with all its digits made equal."""
    forms = "\0".join(names).encode(errors="surrogatepass").translate(_MERGED).split(b"\0")
    if len(forms) == len(names):
        return forms
    return [name.encode(errors="surrogatepass").translate(_MERGED) for name in names]


def _lengths(patterns: Iterable[str]) -> frozenset[int] | None:
    """Return the lengths of the numbers that patterns know by name; None when they see digits otherwise.

    A number in a pattern counts only as a whole one, with something that is no digit on both sides. A pattern
    without a digit takes all digits alike, whatever else is in it.
    """
    found: set[int] = set()
    for pattern in patterns:
        lengths = _known(list(_PARSER.parse(pattern)), False, False)
        if lengths is None:
            return None
        found |= lengths
    return frozenset(found)


def _known(items: Sequence[Item], before: bool, behind: bool) -> set[int] | None:
    """Return the lengths of the numbers in a sequence; None when digits are seen otherwise.

    `before` and `behind` say whether something that is no digit surely stands around the sequence.
    """
    found: set[int] = set()
    index = 0
    while index < len(items):
        end = index
        while end < len(items) and _is_digit(items[end]):
            end += 1
        own: set[int] | None = {end - index}
        left = _ends(items[index - 1], True) if index else before
        following = end if end > index else index + 1
        right = _ends(items[following], False) if following < len(items) else behind
        if end == index:
            own = _inside(items[index], left, right)
        elif not (left and right):
            own = None
        if own is None:
            return None
        found |= own
        index = following
    return found


def _is_digit(item: Item) -> bool:
    """Tell whether an item takes exactly one digit, and not any."""
    kind, told = str(item[0]), item[1]
    if kind == "LITERAL":
        return told in _DIGITS
    return kind == "IN" and not _any_alike(told) and all(_only_digits(part) for part in told)


def _inside(item: Item, before: bool, behind: bool) -> set[int] | None:
    """Return what `_known` does of a single item that takes no digit of its own."""
    kind, told = str(item[0]), item[1]
    if kind in ("ANY", "AT", "LITERAL"):
        return set()
    if kind == "NOT_LITERAL":
        return None if told in _DIGITS else set()
    if kind == "IN":
        return set() if _any_alike(told) else None
    if kind in ("SUBPATTERN", "ATOMIC_GROUP"):
        return _known(list(told[-1] if kind == "SUBPATTERN" else told), before, behind)
    if kind == "BRANCH":
        every = [_known(list(branch), before, behind) for branch in told[1]]
        known = [one for one in every if one is not None]
        return set().union(*known) if len(known) == len(every) else None
    if kind in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
        return _known(list(told[2]), False, False)
    if kind in ("ASSERT", "ASSERT_NOT"):
        return _known(list(told[1]), False, False)
    return None  # a comparison of two texts, or what later versions of Python may have


def _any_alike(members: Sequence[Item]) -> bool:
    """Tell whether a class has all digits or none."""
    for kind, told in members:
        if str(kind) == "LITERAL" and told in _DIGITS:
            return False
        if str(kind) == "RANGE":
            low, high = told
            inside = [digit for digit in _DIGITS if low <= digit <= high]
            if inside and len(inside) < len(_DIGITS):
                return False
    return True


def _only_digits(member: Item) -> bool:
    kind, told = str(member[0]), member[1]
    if kind == "RANGE":
        return told[0] in _DIGITS and told[1] in _DIGITS
    return kind == "LITERAL" and told in _DIGITS


def _ends(item: Item, last: bool) -> bool:
    """Tell whether an item surely ends, or begins, with something that is there and no digit."""
    kind, told = str(item[0]), item[1]
    if kind == "LITERAL":
        return told not in _DIGITS
    if kind == "AT":
        return str(told).startswith("AT_BEGINNING" if last else "AT_END")
    if kind == "IN":
        return all(str(k) == "LITERAL" and t not in _DIGITS for k, t in told)
    if kind == "SUBPATTERN":
        return bool(told[-1]) and _ends(list(told[-1])[-1 if last else 0], last)
    if kind == "BRANCH":
        return all(branch and _ends(list(branch)[-1 if last else 0], last) for branch in told[1])
    return False
