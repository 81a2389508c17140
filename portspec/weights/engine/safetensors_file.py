"""The safetensors format: eight bytes of header length, a JSON header, the tensors without a gap.

Format: https://github.com/huggingface/safetensors/blob/24b0b2857fef49be734b9ab72ce97c09bb25f5b9/README.md#format
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, BinaryIO

from portspec.weights.engine.hub import Location
from portspec.weights.engine.tensors import BITS, Tensor, TensorType, WeightsError, checked

LONGEST_HEADER = 100_000_000
_BROKEN = "Fetch the file again; what it holds cannot be told."


def read_safetensors(path: Location) -> dict[str, Tensor]:
    """Read what a file holds, by name, without reading a tensor.

    Raises:
        WeightsError: E520 it is no such file; E521 it is cut off, or longer than it says; E522 tensors
            overlap or leave a gap; E523 a tensor cannot exist; E524 a name stands twice.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        return parse_header(read_header(file, size, str(path)), size, str(path))


def read_header(file: BinaryIO, size: int, shown: str) -> bytes:
    """Return the eight bytes and the header of a file of `size` bytes.

    Raises:
        WeightsError: E520 or E521, as above.
    """
    start = file.read(8)
    length = int.from_bytes(start, "little")
    if len(start) < 8 or length < 2 or length > LONGEST_HEADER:
        raise WeightsError("E520", "this is not a safetensors file", shown, _BROKEN)
    if size < 8 + length:
        message = f"the header takes {length:,} bytes, and the file has {size:,}"
        raise WeightsError("E521", message, shown, _BROKEN)
    return start + file.read(length)


def parse_header(header: bytes, size: int, shown: str) -> dict[str, Tensor]:
    """Return the tensors that a header lists, in the order of their bytes.

    Raises:
        WeightsError: E520 to E524, as above.
    """
    try:
        text = header[8:].decode()
        rows = json.loads(text, object_pairs_hook=lambda pairs: _unique(pairs, shown))
    except (ValueError, RecursionError) as error:
        raise WeightsError("E520", "the header is not JSON", shown, _BROKEN) from error
    if not isinstance(rows, dict):
        raise WeightsError("E520", "the header is not a table", shown, _BROKEN)
    notes = rows.pop("__metadata__", {})
    if not isinstance(notes, dict) or not all(isinstance(note, str) for note in notes.values()):
        raise WeightsError("E520", "the header's notes are no table of texts", shown, _BROKEN)
    found = [_row(name, row, shown) for name, row in rows.items()]
    found.sort(key=lambda row: (row[1], row[2]))
    position = 0
    tensors: dict[str, Tensor] = {}
    for name, start, end, kind in found:
        if start != position or end - start != kind.nbytes:
            what = "overlaps another" if start < position else "leaves a gap before it"
            if start == position:
                what = f"is {kind}, which takes {kind.nbytes:,} bytes and not {end - start:,}"
            raise WeightsError("E522", f"{name} {what}", shown, _BROKEN)
        tensors[name] = Tensor(kind.dtype, kind.shape, shown, len(header) + start)
        position = end
    if size != len(header) + position:
        message = (
            f"the file has {size:,} bytes, and its header speaks of {len(header) + position:,}"
        )
        raise WeightsError("E521", message, shown, _BROKEN)
    return tensors


def _unique(pairs: list[tuple[str, Any]], shown: str) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise WeightsError("E524", f"{twice} stands twice in the header", shown, _BROKEN)
    return table


def _row(name: str, row: Any, shown: str) -> tuple[str, int, int, TensorType]:
    try:
        dtype, shape, offsets = row["dtype"], row["shape"], row["data_offsets"]
        name.encode()
        told = isinstance(dtype, str) and isinstance(shape, list) and isinstance(offsets, list)
        start, end = offsets
        told = told and all(type(offset) is int for offset in (start, end))
    except (TypeError, KeyError, ValueError):
        told = False
    if not told:
        raise WeightsError("E520", f"the header does not describe {name!r}", shown, _BROKEN)
    kind = checked(dtype, tuple(shape), name, shown)
    if not 0 <= start <= end:
        raise WeightsError("E522", f"{name} ends before it starts", shown, _BROKEN)
    return name, start, end, kind


def storage_order(types: Mapping[str, TensorType]) -> list[str]:
    """Return names in the order in which safetensors' own writer lays tensors out: wide elements first."""
    return sorted(types, key=lambda name: (-_RANK[types[name].dtype], name))


_RANK = {name: rank for rank, name in enumerate(BITS)}


def make_header(names: Iterable[str], types: Mapping[str, TensorType]) -> bytes:
    """Return the eight bytes and the header of a file with these tensors, as safetensors' own writer does."""
    rows: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    position = 0
    for name in names:
        dtype, shape = types[name]
        end = position + types[name].nbytes
        rows[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [position, end]}
        position = end
    text = json.dumps(rows, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
