r"""Pairs of surfaces at full published size, and where FastVideo sends each key: `tests/data/surfaces/*.txt`.

A file has three parts. `source` and `target` hold names and shapes in the order of the module: a line that
ends in a range, as `blocks.{0-29}.`, repeats what is indented below it. `mapping` says where the rows come
from, then `pattern -> template`, with `[part/count]` where several tensors become one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

FOLDER = Path(__file__).parent / "data" / "surfaces"
Shape = tuple[int, ...]
Surface = dict[str, Shape]

_NUMBERED = re.compile(r"(.*?(?:^|\.))(\d+)\.(.+)")
_RANGE = re.compile(r"(.*)\{(\d+)-(\d+)\}\.")
_ROW = re.compile(r"(?P<match>\S+) -> (?P<to>\S+)(?: \[(?P<part>\d+)/(?P<count>\d+)\])?")
_FEW = 3


@dataclass(frozen=True)
class Row:
    match: str
    to: str
    part: tuple[int, int] | None = None


@dataclass(frozen=True)
class Pair:
    name: str
    source: Surface
    target: Surface
    origin: str  # of the mapping
    mapping: tuple[Row, ...]

    def truth(self, name: str) -> tuple[str, tuple[int, int] | None] | None:
        """Return where a key goes, and which part of how many it is; None when the target has no such key."""
        for row in self.mapping:
            if re.match(row.match, name):
                found = re.sub(row.match, row.to, name)
                return (found, row.part) if found in self.target else None
        return (name, None) if name in self.target else None


def names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.txt"))


def read(name: str) -> Pair:
    parts: dict[str, list[str]] = {}
    origin = ""
    for line in (FOLDER / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        if not line.startswith(" "):
            key, _, rest = line.partition(" ")
            parts[key] = lines = []
            origin = rest or origin
        else:
            lines.append(line[1:])
    source = dict(_expanded(parts["source"]))
    target = dict(_expanded(parts["target"])) if "target" in parts else source
    return Pair(name, source, target, origin, tuple(_row(line) for line in parts["mapping"]))


def _row(line: str) -> Row:
    found = _ROW.fullmatch(line)
    assert found, line
    part = (int(found["part"]), int(found["count"])) if found["part"] else None
    return Row(found["match"], found["to"], part)


def _expanded(lines: list[str]) -> Iterator[tuple[str, Shape]]:
    for index, line in enumerate(lines):
        header = _RANGE.fullmatch(line)
        if header and not line.startswith(" "):
            below = _below(lines[index + 1 :])
            for number in range(int(header[2]), int(header[3]) + 1):
                yield from ((f"{header[1]}{number}.{n}", s) for n, s in _expanded(below))
        elif not line.startswith(" "):
            name, _, shape = line.partition(" ")
            yield name, tuple(int(size) for size in shape.split("x") if size)


def _below(lines: list[str]) -> list[str]:
    end = next((i for i, line in enumerate(lines) if not line.startswith(" ")), len(lines))
    return [line[1:] for line in lines[:end]]


def written(rows: Iterable[tuple[str, Shape]]) -> Iterator[str]:
    """Yield lines that `_expanded` reads back, in the same order."""
    for prefix, group in groupby(rows, key=lambda row: _split(row[0])[0]):
        if not prefix:
            yield from (f"{name} {'x'.join(map(str, shape))}".rstrip() for name, shape in group)
            continue
        chunks = [
            (int(number), [(_split(name)[2], shape) for name, shape in chunk])
            for number, chunk in groupby(group, key=lambda row: _split(row[0])[1])
        ]
        for first, last, content in _repeats(chunks):
            lines = list(written(content))
            if first == last and len(content) <= _FEW:
                yield from (f"{prefix[:-1]}{first}.{line}" for line in lines)
            else:
                yield f"{prefix[:-1]}{{{first}-{last}}}."
                yield from (f" {line}" for line in lines)


def _split(name: str) -> tuple[str, str, str]:
    """Return what stands before the first number, marked so that it is never empty, the number, the rest."""
    found = _NUMBERED.fullmatch(name)
    return (found[1] + "#", found[2], found[3]) if found else ("", "", name)


def _repeats(
    chunks: list[tuple[int, list[tuple[str, Shape]]]],
) -> Iterator[tuple[int, int, list[tuple[str, Shape]]]]:
    first, last, content = chunks[0][0], chunks[0][0], chunks[0][1]
    for number, other in chunks[1:]:
        if number == last + 1 and other == content:
            last = number
        else:
            yield first, last, content
            first, last, content = number, number, other
    yield first, last, content
