"""Checkpoints written by `torch.save`, read without torch and without running what they hold.

Such a file is a zip archive of a pickle, which describes the tensors, and of one uncompressed file for each
storage. A pickle is a program; this reader knows the few calls that describe a tensor and refuses all others.
"""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, NamedTuple

from portspec.weights.engine.hub import Location
from portspec.weights.engine.tensors import BITS, TORCH_NAMES, Shape, Tensor, WeightsError, checked

_STORAGES = {
    "BoolStorage": "BOOL",
    "ByteStorage": "U8",
    "CharStorage": "I8",
    "ShortStorage": "I16",
    "IntStorage": "I32",
    "LongStorage": "I64",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "FloatStorage": "F32",
    "DoubleStorage": "F64",
    "ComplexFloatStorage": "C64",
    "UntypedStorage": "U8",
}
_KNOWN = frozenset(_STORAGES.values())
_DTYPES = {torch_name: name for name, torch_name in TORCH_NAMES.items()}
_LOCAL_HEADER = 30  # bytes of a zip entry's header before its name
_WRAPPERS = ("state_dict", "model_state", "model_state_dict", "model", "module")
_SIGNATURE = b"PK\x03\x04"
_ENCRYPTED = 1 | 1 << 5 | 1 << 6  # encrypted, patched, strongly encrypted
_DEEPEST = 40  # tables in tables
_AGAIN = "Fetch the file again; another program may be writing it."
_TRUST = (
    "Convert the file to safetensors where you trust it; portspec runs no code of a checkpoint."
)


class _Storage(NamedTuple):
    dtype: str
    key: str


class _View(NamedTuple):
    """A tensor as the pickle describes it; offset and strides are in elements."""

    storage: _Storage
    offset: int
    shape: Shape
    strides: Shape


def read_torch(path: Location) -> dict[str, Tensor]:
    """Read what a file holds, by name, without reading a tensor.

    Tensors in nested tables and lists are named with dots. A table around everything, as trainers save it
    beside counters and settings, is left out of the names.

    Raises:
        WeightsError: E525 it is no such archive, or damaged; E526 its pickle would run code; E521 a storage
            is cut off; E523 a tensor cannot exist; E524 two have one name.
        OSError: It cannot be opened.
    """
    shown = str(path)
    with path.open("rb") as file:
        try:
            entries = _entries(file, shown)
            described = _described(file, entries, shown)
            return _located(described, entries, shown)
        except WeightsError:
            raise
        except zipfile.BadZipFile as error:
            message = "this is no archive that torch.save wrote, or it is cut off"
            remedy = "Fetch the file again. If it is whole, it is of another kind."
            raise WeightsError("E525", message, shown, remedy) from error
        except Exception as error:  # a damaged archive or pickle can fail in any way
            message = f"this is no archive that torch.save wrote, or it is damaged: {error}"
            raise WeightsError("E525", message, shown, _TRUST) from error


class _Entry(NamedTuple):
    """Where the bytes of an entry of the archive lie."""

    start: int
    size: int
    checksum: int


def _entries(file: BinaryIO, shown: str) -> dict[str, _Entry]:
    """Return the archive's entries by their names below its one folder."""
    with zipfile.ZipFile(file) as archive:
        listed = archive.infolist()
    found: dict[str, _Entry] = {}
    end = file.seek(0, 2)
    for info in listed:
        name = info.filename.partition("/")[2]
        if name in found:
            raise WeightsError("E524", f"{info.filename} is in the archive twice", shown, _TRUST)
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & _ENCRYPTED:
            raise WeightsError("E525", f"{info.filename} is compressed or locked", shown, _TRUST)
        found[name] = _entry(file, info, end, shown)
    return found


def _entry(file: BinaryIO, info: zipfile.ZipInfo, end: int, shown: str) -> _Entry:
    """Find an entry's bytes behind its own header, which must agree with the archive's list."""
    file.seek(info.header_offset)
    header = file.read(_LOCAL_HEADER)
    length, extra = struct.unpack("<HH", header[26:30])
    name = file.read(length)
    start = info.header_offset + _LOCAL_HEADER + length + extra
    file.seek(start + info.file_size)
    behind = file.read(2)  # another entry, or what is said of this one, or the archive's list
    agrees = header[:4] == _SIGNATURE and name == info.orig_filename.encode() and behind == b"PK"
    if not agrees or start + info.file_size > end:
        raise WeightsError("E525", f"{info.filename} is not where the archive says", shown, _TRUST)
    return _Entry(start, info.file_size, info.CRC)


def _described(file: BinaryIO, entries: Mapping[str, _Entry], shown: str) -> Any:
    """Read the pickle."""
    order = _content(file, entries["byteorder"]) if "byteorder" in entries else b"little"
    if "data.pkl" not in entries or order.strip() != b"little":
        what = "the numbers stand in another byte order" if "data.pkl" in entries else "no data.pkl"
        raise WeightsError("E525", f"the archive cannot be read: {what}", shown, _TRUST)
    try:
        return _Reader(io.BytesIO(_content(file, entries["data.pkl"]))).load()
    except WeightsError as error:
        raise WeightsError(error.code, error.message, shown, error.remedy) from error


def _content(file: BinaryIO, entry: _Entry) -> bytes:
    file.seek(entry.start)
    data = file.read(entry.size)
    if entry.checksum and zlib.crc32(data) != entry.checksum:  # torch can be told to write none
        raise ValueError("a checksum is wrong")
    return data


class _Reader(pickle.Unpickler):
    """An unpickler that can make tables, numbers, texts and descriptions of tensors, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        allowed = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _rebuilt,
            ("torch._utils", "_rebuild_tensor_v3"): _rebuilt_untyped,
            ("torch._utils", "_rebuild_parameter"): _parameter,
            ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
            ("torch", "Size"): tuple,
        }
        if (module, name) in allowed:
            return allowed[module, name]
        if module in ("torch", "torch.storage") and name in _STORAGES:
            return _STORAGES[name]
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        message = f"its pickle calls {module}.{name}, which describes no tensor"
        raise WeightsError("E526", message, "", _TRUST)

    def persistent_load(self, pid: Any) -> _Storage:
        if (
            not isinstance(pid, tuple)
            or len(pid) < 3
            or pid[0] != "storage"
            or pid[1] not in _KNOWN
        ):
            raise WeightsError(
                "E526", "its pickle refers to something that is no storage", "", _TRUST
            )
        return _Storage(pid[1], str(pid[2]))


def _rebuilt(storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> _View:
    """Take the place of `torch._utils._rebuild_tensor_v2`, whose last argument tells of signs kept apart."""
    numbers = (offset, *shape, *strides)
    if not isinstance(storage, _Storage) or len(shape) != len(strides):
        raise ValueError("a tensor is described that cannot be")
    if any(isinstance(n, bool) or not isinstance(n, int) for n in numbers):
        raise ValueError("a tensor is described with what is no number")
    if len(rest) > 2 and rest[2]:
        message = "a tensor's sign is kept apart from its numbers (conj or neg)"
        raise WeightsError("E525", message, "", "Save it after resolve_conj() and resolve_neg().")
    return _View(storage, offset, tuple(shape), tuple(strides))


def _rebuilt_untyped(storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> _View:
    """Take the element type from the call, as torch does for types that have no storage class."""
    if not isinstance(storage, _Storage) or not isinstance(rest[2], str) or rest[2] not in BITS:
        raise ValueError("a tensor is described that cannot be")
    return _rebuilt(_Storage(rest[2], storage.key), offset, shape, strides, *rest[:2], *rest[3:])


def _parameter(data: Any, *_: Any) -> Any:
    return data


def _located(described: Any, entries: Mapping[str, _Entry], shown: str) -> dict[str, Tensor]:
    """Return every described tensor by its name, with its place in the file."""
    found: dict[str, Tensor] = {}
    views = list(_views(described, (), set()))
    skip = _wrappers([path for path, _ in views])
    for path, view in views:
        name = ".".join(path[skip:])
        name.encode()  # a name that cannot be written down is damage
        if not name or name in found:
            what = "has no name" if not name else f"{name} is there twice"
            raise WeightsError("E524" if name else "E525", f"a tensor {what}", shown, _TRUST)
        found[name] = _tensor(name, view, entries, shown)
    return found


def _views(
    node: Any, path: tuple[str, ...], above: set[int]
) -> Iterator[tuple[tuple[str, ...], _View]]:
    """Yield the tensors of a table or list and of those in it."""
    if isinstance(node, _View):
        yield path, node
        return
    rows: Iterable[tuple[Any, Any]] = ()
    if isinstance(node, Mapping):
        rows = node.items()
    elif isinstance(node, (list, tuple)) and not isinstance(node, _Storage):
        rows = enumerate(node)
    if id(node) in above or len(path) > _DEEPEST:
        raise ValueError("a table lies in itself, or too deep")
    for key, value in rows:
        yield from _views(value, (*path, str(key)), above | {id(node)})


def _wrappers(paths: Sequence[tuple[str, ...]]) -> int:
    """Return how many tables stand around all tensors and have one of the names that trainers give them."""
    depth = 0
    while paths and all(len(p) > depth + 1 and p[depth] == paths[0][depth] for p in paths):
        if paths[0][depth] not in _WRAPPERS:
            break
        depth += 1
    return depth


def _tensor(name: str, view: _View, entries: Mapping[str, _Entry], shown: str) -> Tensor:
    kind = checked(view.storage.dtype, view.shape, name, shown)
    entry = entries.get(f"data/{view.storage.key}")
    if entry is None:
        raise WeightsError("E521", f"the storage of {name} is missing", shown, _AGAIN)
    width = BITS[kind.dtype] // 8
    last = view.offset + sum((n - 1) * s for n, s in zip(view.shape, view.strides, strict=True))
    empty = 0 in view.shape
    beyond = not empty and (last + 1) * width > entry.size
    if view.offset < 0 or min(view.strides, default=0) < 0 or beyond:
        raise WeightsError("E521", f"{name} reaches beyond its storage", shown, _AGAIN)
    strides = None if empty or view.strides == _row_major(view) else view.strides
    return Tensor(kind.dtype, kind.shape, shown, entry.start + view.offset * width, strides)


def _row_major(view: _View) -> Shape:
    """Return the strides of a tensor without gaps; those of axes of size 1 mean nothing."""
    strides: list[int] = []
    step = 1
    for size, given in zip(reversed(view.shape), reversed(view.strides), strict=True):
        strides.append(given if size == 1 else step)
        step *= size
    return tuple(reversed(strides))
