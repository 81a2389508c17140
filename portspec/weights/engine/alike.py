"""Names that rules cannot tell apart, though their numbers differ.

Names of a checkpoint differ mostly in their numbers, and patterns mostly take any number. What is found out
for one name holds for every name with numbers of the same length at the same places, but for the numbers that
a pattern names: `ffn.0` is not `ffn.2`.
"""

from __future__ import annotations

import operator
import re
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence

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

    def groups(self, names: Sequence[str]) -> Iterator[tuple[Hashable, list[int], list[str]]]:
        """Yield names that read alike, with their indexes and what they have in common."""
        by_form: dict[bytes, list[int]] = defaultdict(list)
        for index, form in enumerate(_forms(names)):
            by_form[form].append(index)
        for form, indexes in by_form.items():
            some = [names[index] for index in indexes]
            places = self._places(form)
            if not places:
                yield form, indexes, some
            elif form.isascii():
                yield from _by_numbers(form, places, indexes, some)
            else:  # its places are those of bytes, not of characters
                yield from ((n, [i], [n]) for i, n in zip(indexes, some, strict=True))

    def _places(self, form: bytes) -> list[int | slice]:
        """Return where the numbers lie that a pattern may know by name."""
        if self._lengths == frozenset():
            return []
        spans = (found.span() for found in _RUN.finditer(form))
        return [
            start if stop == start + 1 else slice(start, stop)
            for start, stop in spans
            if self._lengths is None or stop - start in self._lengths
        ]


def _by_numbers(
    form: bytes, places: list[int | slice], indexes: list[int], names: list[str]
) -> Iterator[tuple[Hashable, list[int], list[str]]]:
    """Part names of one form by the numbers at some places, which mostly are the same."""
    numbers = list(map(operator.itemgetter(*places), names))
    if numbers.count(numbers[0]) == len(numbers):
        yield (form, numbers[0]), indexes, names
        return
    parts: dict[Hashable, tuple[list[int], list[str]]] = {}
    for told, index, name in zip(numbers, indexes, names, strict=True):
        part = parts.setdefault(told, ([], []))
        part[0].append(index)
        part[1].append(name)
    yield from (((form, told), *part) for told, part in parts.items())


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
