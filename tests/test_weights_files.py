"""Files of weights: good ones are described as torch describes them, bad ones are refused with a code."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from portspec.errors import PortspecError
from portspec.weights.engine.safetensors_file import make_header, storage_order
from portspec.weights.engine.sources import read_several, read_tensors
from portspec.weights.engine.tensors import BITS, TORCH_NAMES, Tensor, TensorType, WeightsError
from portspec.weights.report import raised

DTYPES = sorted(TORCH_NAMES)
INDEX = "model.safetensors.index.json"
Rows = Mapping[str, Any]
Described = dict[str, Tensor]


def row(dtype: str, shape: Any, start: Any, end: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def as_file(header: Rows | bytes, data: bytes = b"") -> bytes:
    """The bytes of a safetensors file with this header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def code_of(path: Path) -> str:
    """The code of the error that reading gives; the folder must be as it was."""
    before = sorted(path.parent.rglob("*"))
    with pytest.raises(WeightsError) as caught:
        read_tensors(path)
    assert sorted(path.parent.rglob("*")) == before
    assert caught.value.message
    return caught.value.code


def filled(dtype: str, shape: tuple[int, ...]) -> torch.Tensor:
    """A tensor whose bytes differ from their neighbours'."""
    kind = getattr(torch, TORCH_NAMES[dtype])
    size = prod(shape) * BITS[dtype] // 8
    raw = bytearray(i % 2 if dtype == "BOOL" else 1 + i * 7 % 250 for i in range(size))
    flat = torch.frombuffer(raw, dtype=kind) if raw else torch.empty(0, dtype=kind)
    return flat.reshape(shape)


def raw_bytes(tensor: torch.Tensor) -> bytes:
    flat = tensor.detach().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""


def elements(tensor: Tensor) -> bytes:
    """The elements in order, read from the file by what its description says."""
    width = BITS[tensor.dtype] // 8
    strides = tensor.strides
    if strides is None:
        length = tensor.type.nbytes
    else:
        length = width * (1 + sum((n - 1) * s for n, s in zip(tensor.shape, strides, strict=True)))
    with Path(tensor.file).open("rb") as file:
        file.seek(tensor.start)
        data = file.read(length)
    assert len(data) == length
    if strides is None:
        return data
    flat = torch.frombuffer(bytearray(data), dtype=getattr(torch, TORCH_NAMES[tensor.dtype]))
    return raw_bytes(flat.as_strided(tensor.shape, strides))


def agrees(found: Described, tensors: Mapping[str, torch.Tensor]) -> None:
    """The description is torch's, and what it points to are the tensors' elements."""
    assert sorted(found) == sorted(tensors)
    for name, tensor in tensors.items():
        assert f"torch.{TORCH_NAMES[found[name].dtype]}" == str(tensor.dtype)
        assert found[name].shape == tuple(tensor.shape)
        assert elements(found[name]) == raw_bytes(tensor), name


# Good input


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(2, 3, 4), (), (0,), (3, 0, 2), (1, 5)], ids=str)
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_every_element_type_and_shape(
    dtype: str, shape: tuple[int, ...], suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"model{suffix}"
    tensors = {"first": filled("U8", (3,)), "x": filled(dtype, shape), "y": filled(dtype, (2,))}
    (save_file if suffix == ".safetensors" else torch.save)(tensors, path)
    found = read_tensors(path)
    agrees(found, tensors)
    assert all(tensor.strides is None for tensor in found.values())


def base() -> torch.Tensor:
    return filled("F32", (4, 6))


VIEWS: dict[str, Callable[[], torch.Tensor]] = {
    "rows": lambda: base()[1:3],
    "columns": lambda: base()[:, 2:4],
    "every second": lambda: base()[::2, 1::2],
    "transposed": lambda: base().t(),
    "permuted": lambda: filled("BF16", (2, 3, 4)).permute(2, 0, 1),
    "expanded": lambda: filled("F16", (3, 1)).expand(3, 5),
    "diagonal": lambda: base().diagonal(),
    "one element": lambda: base()[2, 3],
    "channels last": lambda: filled("F32", (2, 3, 4, 5)).to(memory_format=torch.channels_last),
    "an axis of one": lambda: base()[:, 1:2],
    "nothing of it": lambda: base()[4:],
    "fp8 columns": lambda: filled("F8_E4M3", (4, 6))[:, 1:3],
    "bool transposed": lambda: filled("BOOL", (4, 6)).t(),
    "real parts": lambda: filled("C64", (2, 3)).real,
}


@pytest.mark.parametrize("kind", VIEWS)
def test_views(kind: str, tmp_path: Path) -> None:
    tensors = {"whole": filled("I16", (5,)), "view": VIEWS[kind]()}
    torch.save(tensors, tmp_path / "model.pt")
    agrees(read_tensors(tmp_path / "model.pt"), tensors)


def test_only_what_is_out_of_order_has_strides(tmp_path: Path) -> None:
    tensors = {"rows": base()[1:3], "columns": base()[:, 2:4], "turned": base().t()}
    torch.save(tensors, tmp_path / "model.pt")
    found = read_tensors(tmp_path / "model.pt")
    assert found["rows"].strides is None
    assert found["columns"].strides == (6, 1)
    assert found["turned"].strides == (1, 6)


def test_tied_tensors_lie_in_one_place(tmp_path: Path) -> None:
    whole = base()
    tensors = {"embed": whole, "head": whole, "part": whole[2:]}
    torch.save(tensors, tmp_path / "model.pt")
    found = read_tensors(tmp_path / "model.pt")
    agrees(found, tensors)
    assert found["embed"] == found["head"]
    assert found["part"].start == found["embed"].start + 2 * 6 * 4


def test_a_state_dict_of_a_module(tmp_path: Path) -> None:
    """An OrderedDict with an attribute `_metadata`, and beside it the parameters themselves."""
    module = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.BatchNorm2d(3))
    state = module.state_dict()
    assert isinstance(state, OrderedDict)
    torch.save(state, tmp_path / "state.pt")
    agrees(read_tensors(tmp_path / "state.pt"), state)
    parameters = dict(module.named_parameters())
    torch.save(parameters, tmp_path / "parameters.pth")
    agrees(read_tensors(tmp_path / "parameters.pth"), parameters)


WRAPPED: dict[str, Callable[[Any], Any]] = {
    "state_dict": lambda state: {"state_dict": state},
    "beside counters": lambda state: {"epoch": 3, "lr": 1e-4, "model": state, "note": "x"},
    "model_state": lambda state: {"model_state": state, "best": None, "shape": torch.Size([2])},
    "twice": lambda state: {"module": {"state_dict": state}},
    "beside other values": lambda state: {**state, "version": 2, "dtype": torch.bfloat16},
}


@pytest.mark.parametrize("kind", WRAPPED)
@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".ckpt"])
def test_a_table_around_the_state_dict_is_left_out(kind: str, suffix: str, tmp_path: Path) -> None:
    state = {"a.weight": base(), "b": filled("I64", ())}
    torch.save(WRAPPED[kind](state), tmp_path / f"model{suffix}")
    agrees(read_tensors(tmp_path / f"model{suffix}"), state)


def test_nested_tables_have_names_with_dots(tmp_path: Path) -> None:
    torch.save({"unet": {"in": {0: base()}}, "vae": {"w": base()}}, tmp_path / "model.pt")
    agrees(read_tensors(tmp_path / "model.pt"), {"unet.in.0": base(), "vae.w": base()})


@pytest.mark.parametrize("protocol", range(2, 6))
def test_every_pickle_protocol(protocol: int, tmp_path: Path) -> None:
    tensors = {"a": base(), "b": filled("BF16", (2, 2))}
    torch.save(tensors, tmp_path / "model.pt", pickle_protocol=protocol)
    agrees(read_tensors(tmp_path / "model.pt"), tensors)


def test_an_archive_without_checksums(tmp_path: Path) -> None:
    """torch can leave them out to save time, and reads such files."""
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"a": base()}, tmp_path / "model.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    assert torch.load(tmp_path / "model.pt")["a"].equal(base())
    agrees(read_tensors(tmp_path / "model.pt"), {"a": base()})


def sharded(folder: Path, where: Mapping[str, str]) -> dict[str, torch.Tensor]:
    """Write the shards, each with the tensors that the index lists for it, and the index."""
    tensors = {name: filled("F32", (2, i + 1)) for i, name in enumerate(where)}
    for file in set(where.values()):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        save_file({n: tensors[n] for n in where if where[n] == file}, folder / file)
    write_index(folder, where)
    return tensors


def write_index(folder: Path, where: Any) -> None:
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": where}), "utf-8")


def test_an_index_and_its_folder(tmp_path: Path) -> None:
    tensors = sharded(tmp_path, {"a": "1.safetensors", "b": "2.safetensors", "c": "1.safetensors"})
    agrees(read_tensors(tmp_path / INDEX), tensors)
    agrees(read_tensors(tmp_path), tensors)


def test_an_index_of_torch_shards(tmp_path: Path) -> None:
    tensors = {"a": base(), "b": filled("F16", (2,))}
    torch.save({"a": tensors["a"]}, tmp_path / "1.bin")
    torch.save({"b": tensors["b"]}, tmp_path / "2.bin")
    table = {"weight_map": {"a": "1.bin", "b": "2.bin"}}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(table), "utf-8")
    agrees(read_tensors(tmp_path), tensors)


def test_shards_in_a_folder_below(tmp_path: Path) -> None:
    tensors = sharded(tmp_path, {"a": "parts/1.safetensors", "b": "parts/2.safetensors"})
    agrees(read_tensors(tmp_path), tensors)


def test_a_link_within_the_folder(tmp_path: Path) -> None:
    tensors = sharded(tmp_path, {"a": "1.safetensors"})
    (tmp_path / "1.safetensors").rename(tmp_path / "blob")
    (tmp_path / "1.safetensors").symlink_to("blob")
    agrees(read_tensors(tmp_path / INDEX), tensors)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth", ".bin", ".ckpt"])
def test_a_folder_with_one_file(suffix: str, tmp_path: Path) -> None:
    tensors = {"a": base()}
    path = tmp_path / f"model{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(tensors, path)
    (tmp_path / "config.json").write_text("{}", "utf-8")
    agrees(read_tensors(tmp_path), tensors)


# The header that portspec writes is the one that safetensors writes

NAMES = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    st.text(st.sampled_from("\"\\'/.\x00\x1f\x7f\n\t\u2028é中😀 "), max_size=6),
    st.from_regex(r"\A(blocks|norm)\.\d\d?\.(weight|bias)\Z"),
).filter(lambda name: name != "__metadata__")
SHAPES = st.lists(st.integers(0, 3), max_size=3).map(tuple)
TYPES = st.builds(TensorType, st.sampled_from(DTYPES), SHAPES)


@given(st.dictionaries(NAMES, TYPES, max_size=8))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_the_header_is_the_one_of_safetensors(
    tmp_path_factory: pytest.TempPathFactory, types: dict[str, TensorType]
) -> None:
    path = tmp_path_factory.getbasetemp() / "header.safetensors"
    tensors = {name: filled(kind.dtype, kind.shape) for name, kind in types.items()}
    save_file(tensors, path, metadata={"format": "pt"})
    raw = path.read_bytes()
    header = make_header(storage_order(types), types)
    assert raw[: len(header)] == header
    assert len(raw) == len(header) + sum(kind.nbytes for kind in types.values())
    agrees(read_tensors(path), tensors)


# Bad safetensors files

F32 = row("F32", [2], 0, 8)
BAD: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "E520"),
    "seven bytes": (bytes(7), "E520"),
    "no header": (bytes(8), "E520"),
    "a header of one byte": (as_file(b"{"), "E520"),
    "a header that no program reads": ((2**63).to_bytes(8, "little") + b"{}", "E520"),
    "a header longer than the file": ((1000).to_bytes(8, "little") + b"{}", "E521"),
    "a header one byte longer than the file": ((3).to_bytes(8, "little") + b"{}", "E521"),
    "not JSON": (as_file(b"{'a': 1}"), "E520"),
    "not UTF-8": (as_file(b'{"\xff": 1}'), "E520"),
    "JSON and more": (as_file(b"{} {}"), "E520"),
    "deep JSON": (as_file(b"[" * 100_000), "E520"),
    "a long number": (as_file(b'{"a": ' + b"9" * 10_000 + b"}"), "E520"),
    "a list": (as_file(b"[]"), "E520"),
    "a number": (as_file(b"17"), "E520"),
    "a row that is a number": (as_file({"a": 1}), "E520"),
    "a row that is a list": (as_file({"a": []}), "E520"),
    "a row that is a text": (as_file({"a": "F32"}), "E520"),
    "a row without offsets": (as_file({"a": {"dtype": "F32", "shape": [2]}}), "E520"),
    "three offsets": (as_file({"a": {**F32, "data_offsets": [0, 4, 8]}}, bytes(8)), "E520"),
    "offsets as text": (as_file({"a": row("F32", [2], "0", "8")}, bytes(8)), "E520"),
    "a shape that is a number": (as_file({"a": row("F32", 2, 0, 8)}, bytes(8)), "E520"),
    "an element type that is a list": (as_file({"a": {**F32, "dtype": []}}, bytes(8)), "E520"),
    "cut off": (as_file({"a": F32}, bytes(7)), "E521"),
    "cut off before its tensors": (as_file({"a": F32}), "E521"),
    "trailing bytes": (as_file({"a": F32}, bytes(9)), "E521"),
    "trailing bytes and no tensor": (as_file({}, b"x"), "E521"),
    "overlap": (as_file({"a": F32, "b": row("F32", [2], 4, 12)}, bytes(12)), "E522"),
    "twice the same bytes": (as_file({"a": F32, "b": F32}, bytes(8)), "E522"),
    "a gap": (as_file({"a": F32, "b": row("F32", [2], 12, 20)}, bytes(20)), "E522"),
    "a gap at the start": (as_file({"a": row("F32", [2], 4, 12)}, bytes(12)), "E522"),
    "more bytes than the shape": (as_file({"a": row("F32", [2], 0, 12)}, bytes(12)), "E522"),
    "fewer bytes than the shape": (as_file({"a": row("F32", [2], 0, 4)}, bytes(4)), "E522"),
    "the end before the start": (as_file({"a": row("F32", [2], 8, 0)}, bytes(8)), "E522"),
    "a negative start": (as_file({"a": row("F32", [2], -8, 0)}, bytes(8)), "E522"),
    "a negative size": (as_file({"a": row("F32", [-2], 0, 8)}, bytes(8)), "E523"),
    "two negative sizes": (as_file({"a": row("F32", [-1, -2], 0, 8)}, bytes(8)), "E523"),
    "a size that is a truth value": (as_file({"a": row("F32", [True], 0, 4)}, bytes(4)), "E523"),
    "a size that is no whole number": (as_file({"a": row("F32", [2.0], 0, 8)}, bytes(8)), "E523"),
    "a size that is nothing": (as_file({"a": row("F32", [None], 0, 8)}, bytes(8)), "E523"),
    "a size beyond 64 bits": (as_file({"a": row("F32", [2**64], 0, 8)}, bytes(8)), "E523"),
    "sizes that wrap around": (as_file({"a": row("F32", [2**31] * 3, 0, 8)}, bytes(8)), "E523"),
    "sizes that wrap to nothing": (as_file({"a": row("U8", [2**32] * 2, 0, 0)}), "E523"),
    "an unknown element type": (as_file({"a": row("F12", [2], 0, 3)}, bytes(3)), "E523"),
    "an element type in lower case": (as_file({"a": row("f32", [2], 0, 8)}, bytes(8)), "E523"),
    "half a byte": (as_file({"a": row("F4", [3], 0, 1)}, bytes(1)), "E523"),
    "a name twice": (
        as_file(b'{"a":%b,"a":%b}' % ((json.dumps(F32).encode(),) * 2), bytes(8)),
        "E524",
    ),
    "a name twice, once escaped": (
        as_file(b'{"a":%b,"\\u0061":%b}' % ((json.dumps(F32).encode(),) * 2), bytes(8)),
        "E524",
    ),
    "a field twice": (
        as_file(b'{"a":{"dtype":"F32","dtype":"I32","shape":[2],"data_offsets":[0,8]}}', bytes(8)),
        "E524",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_safetensors_file(kind: str, tmp_path: Path) -> None:
    raw, code = BAD[kind]
    path = tmp_path / "model.safetensors"
    path.write_bytes(raw)
    assert code_of(path) == code
    if code != "E524":  # which the format forbids, and which safetensors' own reader lets pass
        with pytest.raises(SafetensorError):
            by_the_library(path)


# What safetensors' own reader refuses, and what would go wrong later if it were let through.
REFUSED: dict[str, bytes] = {
    "a shape that is a table": as_file({"a": row("F32", {}, 0, 4)}, bytes(4)),
    "a shape that is a text": as_file({"a": row("F32", "", 0, 4)}, bytes(4)),
    "offsets that are no whole numbers": as_file({"a": row("F32", [2], 0.0, 8.0)}, bytes(8)),
    "offsets that are truth values": as_file({"a": row("U8", [1], False, True)}, bytes(1)),
    "a name of half a character": as_file(b'{"\\ud800":%b}' % json.dumps(F32).encode(), bytes(8)),
    "a header in UTF-16": as_file(json.dumps({"a": F32}).encode("utf-16"), bytes(8)),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_safetensors_refuses_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(REFUSED[kind])
    with pytest.raises(SafetensorError):
        by_the_library(path)
    assert code_of(path) in ("E520", "E522", "E523")


@pytest.mark.parametrize("missing", range(1, 40, 3))
def test_a_truncated_shard(missing: int, tmp_path: Path) -> None:
    sharded(tmp_path, {"a": "1.safetensors", "b": "2.safetensors"})
    shard = tmp_path / "2.safetensors"
    shard.write_bytes(shard.read_bytes()[:-missing])
    assert code_of(tmp_path / INDEX) == "E521"


# Bad indexes, and folders


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "3",
        '"weight_map"',
        "{}",
        '{"weight_map": null}',
        '{"weight_map": ["1.safetensors"]}',
        '{"weight_map": {"a": 1}}',
        '{"weight_map": {"a": null}}',
        "[" * 100_000,
        '{"metadata": {"total_size": 8}}',
    ],
    ids=lambda text: text[:40],
)
def test_no_index(text: str, tmp_path: Path) -> None:
    (tmp_path / INDEX).write_text(text, "utf-8")
    assert code_of(tmp_path / INDEX) == "E527"


def test_an_index_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / INDEX).write_bytes(b'{"weight_map": {"\xff": "a"}}')
    assert code_of(tmp_path / INDEX) == "E527"


INDEXES: dict[str, dict[str, str]] = {
    "a missing shard": {"a": "1.safetensors", "b": "2.safetensors", "c": "3.safetensors"},
    "another shard": {"a": "2.safetensors", "b": "2.safetensors"},
    "the shards exchanged": {"a": "2.safetensors", "b": "1.safetensors"},
    "a tensor that is not listed": {"b": "2.safetensors", "d": "1.safetensors"},
    "a listed tensor in no shard": {
        "a": "1.safetensors",
        "b": "2.safetensors",
        "c": "1.safetensors",
    },
    "a shard that is a folder": {"a": "1.safetensors", "b": "."},
    "a shard that is the index": {"a": INDEX},
    "a shard without a name": {"a": ""},
    "a name that no file can have": {"a": "1\0.safetensors"},
    "a name of half a character": {"a": "\ud800.safetensors"},
}


@pytest.mark.parametrize("kind", INDEXES)
def test_an_index_that_says_something_else(kind: str, tmp_path: Path) -> None:
    sharded(tmp_path, {"a": "1.safetensors", "b": "2.safetensors"})
    write_index(tmp_path, INDEXES[kind])
    assert code_of(tmp_path / INDEX) in ("E520", "E527")


def test_a_tensor_in_two_shards(tmp_path: Path) -> None:
    sharded(tmp_path, {"a": "1.safetensors", "b": "2.safetensors"})
    save_file({"a": base(), "b": base()}, tmp_path / "2.safetensors")
    assert code_of(tmp_path / INDEX) == "E524"


@pytest.mark.parametrize("how", ["..", "absolute", "link", "linked folder", "far link"])
def test_a_shard_outside_the_folder(how: str, tmp_path: Path) -> None:
    """The shard that it leads to is whole, and would be read if it were followed."""
    folder = tmp_path / "folder"
    folder.mkdir()
    outside = tmp_path / "outside" / "1.safetensors"
    outside.parent.mkdir()
    save_file({"a": base()}, outside)
    (folder / "link.safetensors").symlink_to(outside)
    (folder / "linked").symlink_to(outside.parent)
    (folder / "far.safetensors").symlink_to(folder / "linked" / "1.safetensors")
    names = {
        "..": "../outside/1.safetensors",
        "absolute": str(outside),
        "link": "link.safetensors",
        "linked folder": "linked/1.safetensors",
        "far link": "far.safetensors",
    }
    write_index(folder, {"a": names[how]})
    assert code_of(folder / INDEX) == "E528"
    with pytest.raises(WeightsError, match=r"^E528"):
        read_several([folder / names[how]], folder)


def test_an_absolute_path_within_the_folder_is_no_way_out(tmp_path: Path) -> None:
    sharded(tmp_path, {"a": "1.safetensors"})
    write_index(tmp_path, {"a": "/etc/passwd"})
    assert code_of(tmp_path / INDEX) == "E528"


def test_the_only_file_of_a_folder_leads_out(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    save_file({"a": base()}, tmp_path / "a.safetensors")
    (folder / "a.safetensors").symlink_to(tmp_path / "a.safetensors")
    assert code_of(folder) == "E528"


def test_several_files_with_one_tensor(tmp_path: Path) -> None:
    paths = [tmp_path / "a.safetensors", tmp_path / "b.pt"]
    save_file({"x": base()}, paths[0])
    torch.save({"x": base()}, paths[1])
    with pytest.raises(WeightsError, match=r"^E524"):
        read_several(paths, tmp_path)


@pytest.mark.parametrize(
    "files",
    [
        [],
        ["config.json", "model.txt"],
        ["a.safetensors", "b.safetensors"],
        ["a.pt", "b.pth"],
        ["a.ckpt", "b.bin"],
        ["a.safetensors.index.json", "b.safetensors.index.json"],
    ],
    ids=str,
)
def test_a_folder_with_no_checkpoint_or_several(files: list[str], tmp_path: Path) -> None:
    for file in files:
        (tmp_path / file).write_bytes(b"")
    assert code_of(tmp_path) == "E520"


def test_another_kind_of_file(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    assert code_of(tmp_path / "model.gguf") == "E520"


@pytest.mark.parametrize("file", ["model.safetensors", "model.pt", INDEX, "folder"])
def test_a_missing_file_is_missing(file: str, tmp_path: Path) -> None:
    """Whatever kind it would be of, the user is told that it is not there."""
    with pytest.raises(PortspecError) as caught, raised():
        read_tensors(tmp_path / file)
    (found,) = caught.value.diagnostics
    assert found.code == "E520"


# Bad torch files


class Harm:
    """Runs a command when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.marker}'",)


def test_the_harm_is_real(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Harm(tmp_path / "marker")))
    assert (tmp_path / "marker").exists()


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize("place", ["value", "key", "wrapped", "whole"])
def test_code_is_not_run(protocol: int, place: str, tmp_path: Path) -> None:
    harm = Harm(tmp_path / "marker")
    table: dict[str, Any] = {
        "value": {"a": base(), "harm": harm},
        "key": {harm: base()},
        "wrapped": {"state_dict": {"a": base()}, "args": [harm]},
        "whole": harm,
    }
    path = tmp_path / "model.pt"
    torch.save(table[place], path, pickle_protocol=protocol)
    assert code_of(path) == "E526"
    assert not (tmp_path / "marker").exists()


def _with(text: bytes) -> bytes:
    return b"X%b%b\x85R." % (len(text).to_bytes(4, "little"), text)


# Each calls os.system with a text, in the ways in which a pickle can call.
CALLS: dict[str, Callable[[bytes], bytes]] = {
    "reduce": lambda text: b"cposix\nsystem\n(S'%b'\ntR." % text,
    "inst": lambda text: b"(S'%b'\niposix\nsystem\n." % text,
    "obj": lambda text: b"(cposix\nsystem\nS'%b'\no." % text,
    "stack global": lambda text: b"\x80\x04\x8c\x05posix\x8c\x06system\x93" + _with(text),
    "a name with dots": lambda text: (
        b"\x80\x04\x8c\x0bcollections\x8c\x12OrderedDict.system\x93" + _with(text)
    ),
    "eval": lambda text: b'c__builtin__\neval\n(S\'__import__("os").system("%b")\'\ntR.' % text,
    "getattr": lambda text: b"c__builtin__\ngetattr\n(ccollections\nOrderedDict\nS'%b'\ntR." % text,
    "torch": lambda text: b"ctorch.hub\nload\n(S'%b'\ntR." % text,
    "built": lambda text: b"cposix\nsystem\n)\x81S'%b'\nb." % text,
}


@pytest.mark.parametrize("how", CALLS)
def test_no_way_of_calling_runs_code(how: str, tmp_path: Path) -> None:
    pickled = CALLS[how](f"touch {tmp_path / 'marker'}".encode())
    write_archive(tmp_path / "model.pt", pickled, {})
    assert code_of(tmp_path / "model.pt") == "E526"
    assert not (tmp_path / "marker").exists()


def test_a_whole_module(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "model.pt")
    assert code_of(tmp_path / "model.pt") == "E526"


def write_archive(path: Path, pickled: bytes, storages: Mapping[str, bytes]) -> None:
    """Write an archive as torch.save lays it out."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/byteorder", b"little")
        for key, data in storages.items():
            archive.writestr(f"archive/data/{key}", data)
        archive.writestr("archive/version", b"3\n")


class Stored:
    """A reference to a storage, or to whatever the id says."""

    def __init__(self, *pid: Any) -> None:
        self.pid = pid


class Call:
    """A call that unpickling makes."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


class Pickler(pickle.Pickler):
    """Writes storages as torch does."""

    def persistent_id(self, item: Any) -> Any:
        return item.pid if isinstance(item, Stored) else None


def pickled(table: Any) -> bytes:
    stream = io.BytesIO()
    Pickler(stream, protocol=2).dump(table)
    return stream.getvalue()


FLOATS = Stored("storage", torch.FloatStorage, "0", "cpu", 6)


def view(
    offset: Any = 0, shape: Any = (2, 3), strides: Any = (3, 1), storage: Any = FLOATS
) -> Call:
    rebuild = torch._utils._rebuild_tensor_v2
    return Call(rebuild, storage, offset, shape, strides, False, OrderedDict())


def untyped(dtype: Any) -> Call:
    rebuild = torch._utils._rebuild_tensor_v3
    storage = Stored("storage", torch.UntypedStorage, "0", "cpu", 24)
    return Call(rebuild, storage, 0, (2, 3), (3, 1), False, OrderedDict(), dtype)


def test_an_archive_made_by_hand_is_read(tmp_path: Path) -> None:
    """What the tests below change is good."""
    data = raw_bytes(filled("F32", (2, 3)))
    write_archive(
        tmp_path / "model.pt", pickled({"a": view(), "b": untyped(torch.int32)}), {"0": data}
    )
    found = read_tensors(tmp_path / "model.pt")
    assert {name: str(tensor.type) for name, tensor in found.items()} == {
        "a": "F32[2, 3]",
        "b": "I32[2, 3]",
    }
    assert elements(found["a"]) == elements(found["b"]) == data
    assert torch.load(tmp_path / "model.pt")["a"].equal(filled("F32", (2, 3)))


HOSTILE: dict[str, tuple[Any, set[str]]] = {
    "beyond its storage": (view(shape=(2, 4)), {"E521"}),
    "an offset beyond its storage": (view(offset=1), {"E521"}),
    "a huge offset": (view(offset=2**62), {"E521"}),
    "a negative offset": (view(offset=-1), {"E521"}),
    "a negative stride": (view(strides=(-3, 1)), {"E521"}),
    "a huge stride": (view(strides=(2**61, 1)), {"E521"}),
    "a huge shape": (view(shape=(2**40, 2**40), strides=(0, 0)), {"E523"}),
    "a negative size": (view(shape=(-2, 3)), {"E523"}),
    "a size that is a text": (view(shape=("2", 3)), {"E523", "E525"}),
    "a shape that is a number": (view(shape=6), {"E525"}),
    "too few strides": (view(strides=(1,)), {"E521", "E523", "E525"}),
    "too many strides": (view(strides=(3, 1, 1)), {"E521", "E523", "E525"}),
    "a stride that is a text": (view(strides=("3", 1)), {"E521", "E523", "E525"}),
    "a stride that is no whole number": (view(strides=(1.0, 2.0)), {"E521", "E523", "E525"}),
    "an offset that is a text": (view(offset="x"), {"E525"}),
    "no such storage": (
        view(storage=Stored("storage", torch.FloatStorage, "1", "cpu", 6)),
        {"E521"},
    ),
    "no storage": (view(storage="0"), {"E525", "E526"}),
    "a storage that is a tensor": (view(storage=view()), {"E525", "E526"}),
    "a reference to a module": (Stored("module", "x", "y"), {"E526"}),
    "a reference to a number": (Stored(3), {"E525", "E526"}),
    "a storage of a text": (view(storage=Stored("storage", "x", "0")), {"E526"}),
    "a storage of half bytes": (view(storage=Stored("storage", "F4", "0")), {"E523", "E526"}),
    "an element type that is a list": (untyped([]), {"E523", "E525"}),
    "an element type that is a text": (untyped("x"), {"E523", "E525"}),
    "too few arguments": (Call(torch._utils._rebuild_tensor_v2, FLOATS), {"E525"}),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_tensor_that_cannot_be_so(kind: str, tmp_path: Path) -> None:
    tensor, codes = HOSTILE[kind]
    write_archive(tmp_path / "model.pt", pickled({"a": tensor}), {"0": bytes(24)})
    assert code_of(tmp_path / "model.pt") in codes


def in_itself() -> dict[str, Any]:
    table: dict[str, Any] = {"a": view()}
    table["again"] = table
    return table


def wrapped_in_itself() -> dict[str, Any]:
    table: dict[str, Any] = {}
    table["state_dict"] = table
    return table


def deep() -> bytes:
    return b"}" + b"X\x01\x00\x00\x00a}" * 5000 + b"s" * 5000 + b"."


@pytest.mark.parametrize("make", [in_itself, wrapped_in_itself, deep])
def test_a_table_without_an_end(make: Callable[[], Any], tmp_path: Path) -> None:
    table = make()
    raw = table if isinstance(table, bytes) else pickled(table)
    write_archive(tmp_path / "model.pt", raw, {"0": bytes(24)})
    assert code_of(tmp_path / "model.pt") == "E525"


@pytest.mark.parametrize("table", [{1: view(), "1": view()}, {"a.b": view(), "a": {"b": view()}}])
def test_two_tensors_of_one_name(table: Any, tmp_path: Path) -> None:
    """None of them may be lost without a word."""
    write_archive(tmp_path / "model.pt", pickled(table), {"0": bytes(24)})
    assert code_of(tmp_path / "model.pt") == "E524"


LISTS: dict[str, Any] = {
    "a list": {"a": [view()]},
    "a tuple": {"a": (view(), view())},
    "no table": [view()],
}


@pytest.mark.parametrize("kind", LISTS)
def test_tensors_in_a_list_are_not_lost(kind: str, tmp_path: Path) -> None:
    write_archive(tmp_path / "model.pt", pickled(LISTS[kind]), {"0": bytes(24)})
    try:
        assert read_tensors(tmp_path / "model.pt")
    except WeightsError as error:
        assert error.code in ("E525", "E526")


LAZY: dict[str, Callable[[], torch.Tensor]] = {
    "conjugate": lambda: filled("C64", (3,)).conj(),
    "negative": lambda: filled("C64", (3,)).conj().imag,
}


@pytest.mark.parametrize("kind", LAZY)
def test_a_sign_that_is_kept_apart_is_not_lost(kind: str, tmp_path: Path) -> None:
    """torch stores the elements as they were, and a flag that changes their sign."""
    torch.save({"a": LAZY[kind]()}, tmp_path / "model.pt")
    assert code_of(tmp_path / "model.pt") in ("E525", "E526")


def test_not_a_zip_archive(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"<html>not found</html>")
    assert code_of(tmp_path / "model.pt") == "E525"
    (tmp_path / "model.pt").write_bytes(b"")
    assert code_of(tmp_path / "model.pt") == "E525"


def test_the_format_before_zip(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save({"a": base()}, path, _use_new_zipfile_serialization=False)
    assert code_of(path) == "E525"


def test_a_plain_pickle(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(pickle.dumps(Harm(tmp_path / "marker")))
    assert code_of(path) == "E525"
    assert not (tmp_path / "marker").exists()


def test_an_archive_without_a_pickle(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
        archive.writestr("archive/data/0", bytes(24))
    assert code_of(tmp_path / "model.pt") == "E525"


def test_an_archive_with_two_pickles(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
        archive.writestr("a/data.pkl", pickled({}))
        archive.writestr("b/data.pkl", pickled({}))
    assert code_of(tmp_path / "model.pt") == "E524"


def test_a_compressed_storage(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickled({"a": view()}))
        archive.writestr("archive/data/0", bytes(24))
    assert code_of(tmp_path / "model.pt") == "E525"


def test_big_endian_numbers(tmp_path: Path) -> None:
    """torch swaps their bytes as it loads; copied as they are they would be other numbers."""
    with zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
        archive.writestr("archive/data.pkl", pickled({"a": view()}))
        archive.writestr("archive/byteorder", b"big")
        archive.writestr("archive/data/0", bytes(24))
    assert code_of(tmp_path / "model.pt") == "E525"


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ["archive/data/0", "archive/data.pkl"])
def test_an_entry_that_is_there_twice(name: str, tmp_path: Path) -> None:
    """Readers differ in which one they take."""
    write_archive(tmp_path / "model.pt", pickled({"a": view()}), {"0": bytes(24)})
    with zipfile.ZipFile(tmp_path / "model.pt", "a") as archive:
        archive.writestr(name, pickled({"a": view()}) if name.endswith(".pkl") else b"\x01" * 24)
    assert code_of(tmp_path / "model.pt") in ("E524", "E525")


SMALL = {"a": filled("F32", (2, 3)), "b": filled("BF16", (2, 4)).t()}
SMALL_ELEMENTS = {name: raw_bytes(tensor) for name, tensor in SMALL.items()}


def small_torch_file(path: Path) -> bytes:
    torch.save(SMALL, path)
    return path.read_bytes()


def test_a_truncated_archive(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    raw = small_torch_file(path)
    for length in range(0, len(raw), 7):
        path.write_bytes(raw[:length])
        assert code_of(path) == "E525"


def local_entry(raw: bytes, name: str) -> int:
    """Where the header before an entry's data starts."""
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        return next(i.header_offset for i in archive.infolist() if i.filename.endswith(name))


def central_entry(raw: bytes, name: str) -> int:
    """Where an entry of the directory at the end of an archive starts."""
    starts = [i for i in range(len(raw)) if raw[i : i + 4] == b"PK\x01\x02"]
    for start in starts:
        (length,) = struct.unpack_from("<H", raw, start + 28)
        if raw[start + 46 : start + 46 + length].endswith(name.encode()):
            return start
    raise AssertionError(name)


@pytest.mark.parametrize("field", ["name length", "extra length", "place in the file"])
def test_a_damaged_entry_does_not_move_a_storage(field: str, tmp_path: Path) -> None:
    """Its header says where its data starts, so with a wrong one other bytes would be copied."""
    path = tmp_path / "model.pt"
    raw = bytearray(small_torch_file(path))
    local, central = local_entry(bytes(raw), "data/0"), central_entry(bytes(raw), "data/0")
    at = {"name length": local + 26, "extra length": local + 28, "place in the file": central + 42}
    raw[at[field]] ^= 1
    path.write_bytes(raw)
    assert code_of(path) == "E525"


@pytest.mark.parametrize(
    ("field", "offset"), [("version", 6), ("flags", 8), ("method", 10), ("utf-8 name", 9)]
)
@pytest.mark.parametrize("name", ["data.pkl", "data/0"])
def test_an_entry_that_needs_another_reader(
    name: str, field: str, offset: int, tmp_path: Path
) -> None:
    """Encrypted, compressed in another way, or of a newer version of the format."""
    path = tmp_path / "model.pt"
    raw = bytearray(small_torch_file(path))
    at = central_entry(bytes(raw), name)
    if field == "utf-8 name":
        raw[at + 46] = 0xFF
    raw[at + offset] = {"version": 99, "flags": raw[at + 8] | 1, "method": 77}.get(field, 8)
    path.write_bytes(raw)
    assert code_of(path) in ("E521", "E525")


# Damage of any kind

DAMAGE = st.tuples(
    st.sampled_from(["flip", "cut", "insert"]), st.floats(0, 1), st.binary(min_size=1, max_size=9)
)


def damaged(raw: bytes, how: str, where: float, piece: bytes) -> bytes:
    """Replace one byte, leave some out or put some in."""
    at = min(int(where * len(raw)), len(raw) - 1)
    if how == "flip":
        return raw[:at] + bytes([raw[at] ^ (piece[0] or 1)]) + raw[at + 1 :]
    if how == "cut":
        return raw[:at] + raw[at + len(piece) :]
    return raw[:at] + piece + raw[at:]


def by_the_library(path: Path) -> dict[str, tuple[str, list[int]]]:
    """What safetensors' own reader finds."""
    with safe_open(path, "pt") as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        return {name: (s.get_dtype(), s.get_shape()) for name, s in slices.items()}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes, Described]:
    """A small safetensors file, its bytes and its description."""
    path = tmp_path_factory.mktemp("damage") / "model.safetensors"
    save_file({"a": filled("F32", (2, 3)), "b": filled("BF16", (4,)), "c": filled("U8", ())}, path)
    return path, path.read_bytes(), read_tensors(path)


def is_seen_or_harmless(path: Path, raw: bytes, undamaged: Described) -> bool:
    """Read damaged bytes: they are refused, or described as before, or another good file.

    A letter of a name that is changed makes such a file; then safetensors' own reader says the same of it.
    """
    path.write_bytes(raw)
    try:
        found = read_tensors(path)
    except WeightsError:
        return True
    told = {name: (tensor.dtype, list(tensor.shape)) for name, tensor in found.items()}
    return found == undamaged or told == by_the_library(path)


@given(damage=st.lists(DAMAGE, min_size=1, max_size=3))
@settings(max_examples=1000, deadline=None, derandomize=True)
def test_any_damage_of_a_safetensors_file(
    damage: list[tuple[str, float, bytes]], good: tuple[Path, bytes, Described]
) -> None:
    path, raw, undamaged = good
    for step in damage:
        raw = damaged(raw, *step)
    assert is_seen_or_harmless(path, raw, undamaged)


@pytest.mark.parametrize("mask", [0x01, 0x04, 0x20, 0x80])
def test_every_byte_of_a_safetensors_file(mask: int, good: tuple[Path, bytes, Described]) -> None:
    path, raw, undamaged = good
    for at in range(len(raw)):
        changed = raw[:at] + bytes([raw[at] ^ mask]) + raw[at + 1 :]
        assert is_seen_or_harmless(path, changed, undamaged), at


@pytest.fixture(scope="module")
def torch_file(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes, Described]:
    """A small torch file, its bytes and its description."""
    path = tmp_path_factory.mktemp("damage") / "model.pt"
    raw = small_torch_file(path)
    return path, raw, read_tensors(path)


def is_still_right(path: Path, raw: bytes, undamaged: Described) -> bool:
    """Read damaged bytes: they are refused or described as before.

    A tensor may lie elsewhere only if its elements do, too: bytes may stand before an archive.
    """
    path.write_bytes(raw)
    try:
        found = read_tensors(path)
    except WeightsError:
        return True
    if found == undamaged:
        return True
    moved = {name: tensor._replace(start=undamaged[name].start) for name, tensor in found.items()}
    if moved != undamaged:
        return False
    return {n: elements(t) for n, t in found.items()} == SMALL_ELEMENTS


@given(damage=DAMAGE)
@settings(max_examples=1000, deadline=None, derandomize=True)
def test_any_damage_of_a_torch_file(
    damage: tuple[str, float, bytes], torch_file: tuple[Path, bytes, Described]
) -> None:
    path, raw, undamaged = torch_file
    assert is_still_right(path, damaged(raw, *damage), undamaged)


@pytest.mark.parametrize("mask", [0x01, 0x04, 0x20, 0x80])
def test_every_byte_of_a_torch_file(mask: int, torch_file: tuple[Path, bytes, Described]) -> None:
    path, raw, undamaged = torch_file
    for at in range(len(raw)):
        changed = raw[:at] + bytes([raw[at] ^ mask]) + raw[at + 1 :]
        assert is_still_right(path, changed, undamaged), at
