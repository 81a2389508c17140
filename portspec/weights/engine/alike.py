"""Names that rules cannot tell apart, though their numbers differ.

Names of a checkpoint differ mostly in their numbers, and patterns mostly take any number. What is found out
for one name holds for every name with numbers of the same length at the same places, but for the numbers that
a pattern names: `ffn.0` is not `ffn.2`.
"""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

Key = TypeVar("Key", bound=Hashable)
Row = tuple[Any, ...]  # a rule's number, and its templates filled
Make = Callable[[Hashable, Sequence[str]], Iterable[Row]]

_MERGED = bytes.maketrans(b"123456789", b"000000000")
_RUN = re.compile(rb"0+")
_CLASS = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]")
_DIGITS_ONLY = re.compile(r"\[[0-9]+\]")
_NUMBERS = re.compile(r"\((?:\?:)?([0-9]+(?:\|[0-9]+)*)\)|([0-9]+)")
# What stands before and behind a number that can only be a whole one: something that is there and no digit.
_BEFORE = re.compile(r"(?:\\\.|(?<!\\)[A-Za-z_\-/:]|^\^)$")
_BEHIND = re.compile(r"(?:\\\.|[A-Za-z_\-/:])(?![?*{])|\$")


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
        if (
            "(?P=" in pattern or r"\N" in pattern
        ):  # compares two texts, or names a digit by its name
            return None
        text = _CLASS.sub(_plain_class, pattern.replace(r"\d", "]"))
        for number in _NUMBERS.finditer(text):
            if not _BEFORE.search(text[: number.start()]) or not _BEHIND.match(
                text[number.end() :]
            ):
                return None
            found.update(len(part) for part in (number[1] or number[2]).split("|"))
    return frozenset(found)


def _plain_class(found: re.Match[str]) -> str:
    """Write a class of digits as one digit, one that treats all alike as a bracket, and leave others."""
    text = found[0].replace("0-9", "")
    if _DIGITS_ONLY.fullmatch(found[0]):
        return "0"
    return found[0] if any(c.isdigit() for c in text) else "]"
