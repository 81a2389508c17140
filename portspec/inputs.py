"""The small language of parity inputs: one line, one tensor.

    randn[2, 16, 3, 8, 8]        normal noise, fp32
    randint[2, 12] < vocab_size  whole numbers from 0 up to a bound, int64
    const[2] = 500               a constant; int64, or fp32 when written with a point
    ones[2, 12] · zeros[2, 12]   int64 masks of one kind
    mask[2, 12] = 12, 7          ones for the first 12 and 7 places of each row, then zeros, int64

A word in a shape or a bound is a key of the component's config.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_LINE = re.compile(
    r"^(?P<kind>randn|randint|const|ones|zeros|mask)\[(?P<shape>[^\]]+)\]"
    r"\s*(?:(?P<op>[<=])\s*(?P<value>[\w.,\s+-]+))?$"
)
_NEEDS = {"randint": "<", "const": "=", "mask": "=", "randn": None, "ones": None, "zeros": None}
Size = int | str


@dataclass(frozen=True, slots=True)
class TensorInput:
    """One parsed line. `value` holds the bound, the constant or the row lengths, as written."""

    kind: str
    shape: tuple[Size, ...]
    value: tuple[Size | float, ...]

    @property
    def names(self) -> Iterator[str]:
        """Keys of the component's config that the line uses."""
        return (size for size in (*self.shape, *self.value) if isinstance(size, str))

    @property
    def batch(self) -> Size:
        """Size of the first axis."""
        return self.shape[0]


def parse_input(line: str) -> TensorInput:
    """Parse a line.

    Raises:
        ValueError: It does not fit the language; the message says how.

    Example:
        >>> parse_input("randint[2, 12] < vocab_size")
        TensorInput(kind='randint', shape=(2, 12), value=('vocab_size',))
    """
    matched = _LINE.match(line.strip())
    if matched is None:
        raise ValueError(
            "it is not of the form `randn[2, 16]`, `const[2] = 500` or `randint[2, 8] < vocab_size`"
        )
    kind, needed = matched["kind"], _NEEDS[matched["kind"]]
    if matched["op"] != needed:
        wanted = f"`{kind}[...] {needed} value`" if needed else f"`{kind}[...]` alone"
        raise ValueError(f"write {wanted}")
    shape = tuple(_size(part) for part in matched["shape"].split(","))
    value = tuple(_value(part) for part in matched["value"].split(",")) if matched["value"] else ()
    if kind in ("randint", "const") and len(value) != 1:
        raise ValueError(f"`{kind}[...] {needed}` takes one value")
    if kind == "mask":
        _check_mask(shape, value)
    return TensorInput(kind, shape, value)


def _check_mask(shape: tuple[Size, ...], lengths: tuple[Size | float, ...]) -> None:
    if len(shape) != 2:
        raise ValueError("a mask has two sizes, its rows and their length")
    rows, columns = shape
    if len(lengths) != rows:
        raise ValueError(f"a mask of {rows} rows needs {rows} lengths")
    for length in lengths:
        if not isinstance(length, str) and isinstance(columns, int) and length > columns:
            raise ValueError(f"a row of {columns} has no {length} places")


def _size(text: str) -> Size:
    word = text.strip()
    if re.fullmatch(r"[A-Za-z_]\w*", word):
        return word
    if not word.isdigit() or int(word) == 0:
        raise ValueError(f"{word!r} is not a size")
    return int(word)


def _value(text: str) -> Size | float:
    word = text.strip()
    if re.fullmatch(r"[A-Za-z_]\w*", word):
        return word
    try:
        return float(word) if "." in word else int(word)
    except ValueError:
        raise ValueError(f"{word!r} is not a number") from None
