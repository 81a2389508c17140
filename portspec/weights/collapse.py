"""Many names as few lines, without a lie: `blocks.{0-28,30}.attn.weight` holds just those names.

Other tools print ranges that hide a missing layer, or products of numbers that never stood together. Here a
set of numbers is written out exactly, and numbers that vary together are written together only where every
combination is there.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from math import prod

Row = tuple[str, ...]

_NUMBER = re.compile(r"(?<![0-9])[0-9]+")


def collapsed(names: Iterable[str]) -> list[str]:
    """Return lines that together stand for just these names, in the order of their first name.

    Example:
        >>> collapsed([f"blocks.{i}.w" for i in range(30) if i != 7] + ["head"])
        ['blocks.{0-6,8-29}.w', 'head']
        >>> collapsed(["0.e.1", "1.e.2"])
        ['0.e.1', '1.e.2']
    """
    forms: dict[Row, list[Row]] = defaultdict(list)
    for name in names:
        forms[tuple(_NUMBER.split(name))].append(tuple(_NUMBER.findall(name)))
    return [_filled(form, columns) for form, rows in forms.items() for columns in _products(rows)]


def _products(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Take rows of numbers apart into products of columns that together hold just these rows."""
    columns = [tuple(dict.fromkeys(column)) for column in zip(*rows, strict=True)]
    if prod(len(column) for column in columns) == len(set(rows)):
        yield columns
        return
    widest = max(range(len(columns)), key=lambda i: len(columns[i]))
    numbers_of: dict[Row, list[str]] = defaultdict(list)
    for row in rows:
        numbers_of[row[:widest] + row[widest + 1 :]].append(row[widest])
    alike: dict[Row, list[Row]] = defaultdict(list)
    for others, numbers in numbers_of.items():
        alike[tuple(numbers)].append(others)
    for common, several in alike.items():
        for rest in _products(several):
            yield [*rest[:widest], common, *rest[widest:]]


def _filled(form: Row, columns: Sequence[Row]) -> str:
    text = form[0]
    for numbers, rest in zip(columns, form[1:], strict=True):
        text += (numbers[0] if len(numbers) == 1 else f"{{{_ranges(numbers)}}}") + rest
    return text


def _ranges(numbers: Iterable[str]) -> str:
    """Write numbers as ranges; those with leading zeros stand alone."""
    found: list[tuple[int, int] | str] = []
    for text in sorted(set(numbers), key=lambda n: (int(n), n)):
        number = int(text)
        last = found[-1] if found else None
        if str(number) != text:
            found.append(text)
        elif isinstance(last, tuple) and last[1] == number - 1:
            found[-1] = (last[0], number)
        else:
            found.append((number, number))
    return ",".join(
        row if isinstance(row, str) else str(row[0]) if row[0] == row[1] else f"{row[0]}-{row[1]}"
        for row in found
    )
