"""Laws of every operation on tensors: types, bytes and undoing agree with what torch computes."""

from __future__ import annotations

from collections.abc import Callable
from pkgutil import iter_modules
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from portspec.spec import ConversionRule
from portspec.weights.conversion import engine_rule
from portspec.weights.engine import ops
from portspec.weights.engine.ops import Operation
from portspec.weights.engine.ops.add import Add
from portspec.weights.engine.ops.cast import Cast
from portspec.weights.engine.ops.concat import Concat
from portspec.weights.engine.ops.flatten import Flatten
from portspec.weights.engine.ops.interleave import Interleave
from portspec.weights.engine.ops.permute import Permute
from portspec.weights.engine.ops.reshape import Reshape
from portspec.weights.engine.ops.rotary import Rotary
from portspec.weights.engine.ops.scale import Scale
from portspec.weights.engine.ops.split import Split
from portspec.weights.engine.ops.stack import Stack
from portspec.weights.engine.ops.swap_halves import SwapHalves
from portspec.weights.engine.ops.tie import Tie
from portspec.weights.engine.ops.transpose import Transpose
from portspec.weights.engine.ops.unflatten import Unflatten
from portspec.weights.engine.ops.unstack import Unstack
from portspec.weights.engine.ops.weight_norm import WeightNorm
from portspec.weights.engine.ranges import Run
from portspec.weights.engine.rules import Join, Rule
from portspec.weights.engine.tensors import TORCH_NAMES, TensorType, WeightsError
from portspec.weights.operations import JOINS, operations, resolved
from portspec.weights.script import _operations as operations_of

Case = tuple[Operation, list[torch.Tensor]]
CODES = {getattr(torch, name): code for code, name in TORCH_NAMES.items()}
ROUNDING = ("add", "scale")  # undone up to the last bits
ONE_WAY = ("cast", "weight_norm")
SHARED = ("tie",)  # undone by forgetting names
COMPUTED = ("add", "cast", "interleave", "permute", "rotary", "scale", "transpose", "weight_norm")


@st.composite
def tensors(draw: st.DrawFn, shape: list[int] | None = None) -> torch.Tensor:
    """A tensor of up to four axes in one of three element types."""
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)) if shape is None else shape
    seed = draw(st.integers(0, 2**31))
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return values.to(draw(st.sampled_from([torch.float32, torch.bfloat16, torch.float16])))


@st.composite
def with_axis(draw: st.DrawFn, factor: int = 1) -> tuple[torch.Tensor, int]:
    """A tensor, and an axis whose size is a multiple."""
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    axis = draw(st.integers(0, len(shape) - 1))
    shape[axis] *= factor
    return draw(tensors(shape)), draw(st.sampled_from([axis, axis - len(shape)]))


Draw = Callable[[Any], Any]
FACTORS = st.floats(0.25, 4, width=16)
STORED = st.sampled_from(["F64", "F32", "F16", "BF16", "F8_E4M3"])
GROUPS = st.sampled_from([1, 2, 4])
# By name: an operation with tensors that it fits, made from a tensor and an axis that 4 divides.
MAKERS: dict[str, Callable[[Draw, torch.Tensor, int], Case]] = {
    "add": lambda draw, t, axis: (Add(draw(FACTORS)), [t]),
    "scale": lambda draw, t, axis: (Scale(draw(FACTORS)), [t]),
    "cast": lambda draw, t, axis: (Cast(draw(STORED)), [t]),
    "transpose": lambda draw, t, axis: (Transpose(axis, draw(st.integers(0, t.dim() - 1))), [t]),
    "permute": lambda draw, t, axis: (Permute(tuple(draw(st.permutations(range(t.dim()))))), [t]),
    "reshape": lambda draw, t, axis: (
        Reshape(draw(st.sampled_from([(-1,), (2, -1), (1, -1, 2), (t.numel(),)]))),
        [t],
    ),
    "flatten": lambda draw, t, axis: (
        Flatten(draw(st.sampled_from([axis % t.dim(), axis % t.dim() - t.dim() - 1]))),
        [torch.stack([t, t.flip(0), t], dim=axis % t.dim() + draw(st.integers(0, 1)))],
    ),
    "unflatten": lambda draw, t, axis: (
        Unflatten(draw(st.sampled_from([1, 2, 4, -1, -2, -4])), axis),
        [t],
    ),
    "swap_halves": lambda draw, t, axis: (SwapHalves(axis), [t]),
    "interleave": lambda draw, t, axis: (
        Interleave(axis, draw(GROUPS), 1, draw(st.booleans())),
        [t],
    ),
    "rotary": lambda draw, t, axis: (
        Rotary(draw(st.sampled_from([1, 2])), axis, draw(st.booleans())),
        [t],
    ),
    "split": lambda draw, t, axis: (
        draw(st.sampled_from([Split(0, (1, t.shape[axis] - 1), axis), Split(4, (), axis)])),
        [t],
    ),
    "unstack": lambda draw, t, axis: (Unstack(t.shape[axis], axis), [t]),
    "tie": lambda draw, t, axis: (Tie(draw(st.integers(1, 3))), [t]),
    "concat": lambda draw, t, axis: (Concat(3, axis), [t, torch.cat([t, t], dim=axis), t]),
    "stack": lambda draw, t, axis: (Stack(2, axis % t.dim()), [t, t.flip(0)]),
    "weight_norm": lambda draw, t, axis: (
        WeightNorm(axis),
        [torch.rand(t.shape[axis]).to(t.dtype), t],
    ),
}


@st.composite
def cases(draw: st.DrawFn, name: str) -> Case:
    """An operation with tensors that it fits."""
    tensor, axis = draw(with_axis(4))
    return MAKERS[name](draw, tensor, axis)


NAMES = [info.name for info in iter_modules(ops.__path__)]
every = pytest.mark.parametrize("name", NAMES)
few = settings(max_examples=40, deadline=None)


def kinds(tensors: list[torch.Tensor]) -> list[TensorType]:
    return [TensorType(CODES[t.dtype], tuple(t.shape)) for t in tensors]


def raw(tensor: torch.Tensor) -> bytes:
    flat = torch.cat([tensor.reshape(-1)])  # a copy whose elements lie side by side
    return bytes(flat.view(torch.uint8).tolist())


@every
@few
@given(data=st.data())
def test_types_are_those_that_torch_gives(name: str, data: st.DataObject) -> None:
    operation, inputs = data.draw(cases(name))
    assert len(inputs) == operation.arity
    assert operation.infer(kinds(inputs)) == kinds(operation.apply(inputs))


@every
@few
@given(data=st.data())
def test_ranges_hold_the_bytes_that_torch_gives(name: str, data: st.DataObject) -> None:
    operation, inputs = data.draw(cases(name))
    files = {str(index): raw(tensor) for index, tensor in enumerate(inputs)}
    whole = [[Run(file, 0, len(content))] for file, content in files.items()]
    ranges = operation.ranges(kinds(inputs), whole)
    assert (ranges is None) == (name in COMPUTED)
    if ranges is not None:
        found = [b"".join(files[f][a : a + n] for f, a, n in runs) for runs in ranges]
        assert found == [raw(tensor) for tensor in operation.apply(inputs)]


@every
@few
@given(data=st.data())
def test_undoing_gives_back_what_was(name: str, data: st.DataObject) -> None:
    operation, inputs = data.draw(cases(name))
    undo = operation.inverse(kinds(inputs))
    if name in (*ONE_WAY, *SHARED):
        assert undo is None
        return
    assert undo is not None
    back = undo.apply(operation.apply(inputs))
    assert kinds(back) == kinds(inputs)
    for old, new in zip(inputs, back, strict=True):
        if name in ROUNDING:
            torch.testing.assert_close(old, new, atol=0.1, rtol=0.1)
        else:
            assert raw(old) == raw(new)


@pytest.mark.parametrize("name", ["add", "scale", "cast"])
@few
@given(data=st.data())
def test_elementwise_operations_can_be_computed_in_pieces(name: str, data: st.DataObject) -> None:
    operation, (tensor,) = data.draw(cases(name))
    assert operation.elementwise
    flat = tensor.reshape(-1)
    middle = flat.numel() // 2
    pieces = [operation.apply([part])[0] for part in (flat[:middle], flat[middle:])]
    assert raw(torch.cat(pieces)) == raw(operation.apply([tensor])[0])


@pytest.mark.parametrize("wanted", ["F64", "F32", "F16", "BF16"])
@pytest.mark.parametrize("given_", ["F64", "F32", "F16", "BF16"])
def test_casting_bytes_rounds_as_torch_does(given_: str, wanted: str) -> None:
    """On every bf16 and fp16 pattern, and on fp32 values between them; a NaN stays one."""
    bits = torch.arange(2**16, dtype=torch.int32)
    patterns = [(bits << 16) + step for step in (0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF)]
    values = torch.cat(patterns).view(torch.float32).to(getattr(torch, TORCH_NAMES[given_]))
    cast = Cast(wanted)
    quick = cast.on_bytes(bytearray(raw(values)), given_)
    if quick is None:
        assert {given_, wanted} not in ({"F32", "BF16"}, {"F32", "F16"}, {"F64", "F32"})
        return
    found = torch.frombuffer(bytearray(quick), dtype=getattr(torch, TORCH_NAMES[wanted]))
    (right,) = cast.apply([values])
    same = found.isnan() & right.isnan() | (found == right)
    assert bool(same.all())
    numbers = ~right.isnan()
    assert raw(found[numbers]) == raw(right[numbers])


MISFITS: list[tuple[Operation, list[TensorType]]] = [
    (SwapHalves(), [TensorType("F32", (3, 2))]),
    (SwapHalves(2), [TensorType("F32", (4, 2))]),
    (Split(2), [TensorType("F32", (3,))]),
    (Split(0, (1, 1)), [TensorType("F32", (3,))]),
    (Split(0, (4, -1)), [TensorType("F32", (3,))]),
    (Split(), [TensorType("F32", (3,))]),
    (Split(1, (3,)), [TensorType("F32", (3,))]),
    (Concat(2), [TensorType("F32", (3,)), TensorType("BF16", (3,))]),
    (Concat(2), [TensorType("F32", (3, 2)), TensorType("F32", (3, 1))]),
    (Concat(2), [TensorType("F32", (3, 2)), TensorType("F32", (3,))]),
    (Stack(2), [TensorType("F32", (3,)), TensorType("F32", (4,))]),
    (Stack(1, 2), [TensorType("F32", (3,))]),
    (Unstack(2), [TensorType("F32", (3,))]),
    (Reshape((2, 2)), [TensorType("F32", (3,))]),
    (Reshape((-1, -1)), [TensorType("F32", (4,))]),
    (Reshape((-1, 0)), [TensorType("F32", (4,))]),
    (Flatten(1), [TensorType("F32", (3, 2))]),
    (Flatten(-1), [TensorType("F32", (3, 2))]),
    (Flatten(0), [TensorType("F32", ())]),
    (Unflatten(2), [TensorType("F32", (3, 2))]),
    (Unflatten(-2), [TensorType("F32", (3, 2))]),
    (Unflatten(0), [TensorType("F32", (3, 2))]),
    (Unflatten(2, 2), [TensorType("F32", (3, 2))]),
    (Permute((0, 0)), [TensorType("F32", (3, 3))]),
    (Transpose(0, 2), [TensorType("F32", (3, 3))]),
    (Interleave(0, 2, 2), [TensorType("F32", (6,))]),
    (Interleave(0, 0), [TensorType("F32", (6,))]),
    (Rotary(4), [TensorType("F32", (6,))]),
    (Cast("F32"), [TensorType("I64", (6,))]),
    (Cast("I64"), [TensorType("F32", (6,))]),
    (Add(1), [TensorType("I32", (6,))]),
    (Scale(2), [TensorType("F8_E4M3", (6,))]),
    (Cast("F32"), [TensorType("F8_E4M3", (6,))]),
    (WeightNorm(), [TensorType("F32", (3,)), TensorType("F32", (4, 2))]),
]


@pytest.mark.parametrize("misfit", MISFITS, ids=str)
def test_what_does_not_fit_is_refused(misfit: tuple[Operation, list[TensorType]]) -> None:
    operation, inputs = misfit
    with pytest.raises(WeightsError) as caught:
        operation.infer(inputs)
    assert caught.value.code == "E530"


def test_every_operation_can_be_written_in_a_spec() -> None:
    """But those that take several tensors: a rule's `join` names them."""
    assert set(NAMES) == set(operations()) | set(JOINS)


def make(name: str, arguments: dict[str, Any], values: dict[str, int]) -> Operation:
    given = resolved(name, arguments, values)
    return operations()[name](**given)


def test_a_spec_s_operation_is_the_engine_s() -> None:
    values = {"heads": 4, "head_dim": 8}
    assert make("split", {"sizes": ["heads * head_dim", 8]}, values) == Split(0, (32, 8))
    assert make("rotary", {"heads": "heads"}, values) == Rotary(4)
    assert make("cast", {"dtype": "bf16"}, values) == Cast("BF16")
    assert make("add", {"value": 1}, values) == Add(1.0)
    assert make("unflatten", {"count": "-head_dim", "axis": 1}, values) == Unflatten(-8, 1)


def joined(after: list[dict[str, Any]]) -> ConversionRule:
    join = {"how": "concat", "part": r"\1", "count": "3", "axis": 1, "after": after}
    ops = [{"unflatten": {"count": "groups"}}]
    return ConversionRule.model_validate({"match": "(.)", "to": "all", "ops": ops, "join": join})


def test_a_spec_says_what_comes_after_a_join() -> None:
    found = engine_rule(joined([{"flatten": {"axis": 0}}, {"add": {"value": 1}}]), {"groups": 2})
    join = Join("concat", r"\1", 3, 1, (Flatten(0), Add(1.0)))
    assert found == Rule("(.)", ("all",), (Unflatten(2),), join)
    with pytest.raises(ValueError, match="axis"):
        engine_rule(joined([{"flatten": {}}]), {"groups": 2})


def test_a_script_has_the_operations_that_come_after_a_join() -> None:
    join = ("concat", r"\1", 3, 1, [("flatten", {"axis": 0})])
    rule = ("(.)", ["all"], [("unflatten", {"count": 2})], join)
    assert list(operations_of({"x": {"rules": [rule]}})) == ["unflatten", "flatten"]


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("swap_halfs", {}, "swap_halves"),
    ("split", {"size": [1]}, "sizes"),
    ("rotary", {}, "needs heads"),
    ("rotary", {"heads": "layers"}, "layers"),
    ("rotary", {"heads": True}, "True"),
    ("rotary", {"heads": "2 ** 70"}, "arithmetic"),
    ("split", {"sizes": 3}, "sizes"),
    ("cast", {"dtype": "fp8"}, "fp8"),
    ("add", {"value": "1"}, "'1'"),
    ("interleave", {"undo": 1}, "undo"),
]


@pytest.mark.parametrize(("name", "arguments", "said"), BAD, ids=lambda v: str(v)[:30])
def test_a_wrong_operation_says_what_is_wrong(
    name: str, arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        make(name, arguments, {"heads": 4})
    assert said in str(caught.value)
