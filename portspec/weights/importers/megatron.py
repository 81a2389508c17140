r"""The mappings of Megatron-Bridge: names with wildcards, and a class that says what is done.

`*` is a number and `**` is anything; a name is matched as a whole. Wildcards of both sides belong together in
the order in which they stand. Rules lead from the published names to Megatron's, at a tensor-parallel size of
one; what is done to distribute a tensor is no part of a checkpoint. A pair of names leads from the first to
the second; where the first has one wildcard more, numbers of blocks and of layers in a block become one.

A call whose names are worked out when it runs is code and no row. Not expressible:

- Query, key and value in one tensor: its parts cannot go to several places of one join.
- A gate behind query, key and value: one tensor is made by one join.
- A slice of a tensor whose other slices are in other rows, and rules that hold from a number on.
- Classes that one model's module defines with code of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from portspec.weights.engine.ops import Operation
from portspec.weights.engine.ops.add import Add
from portspec.weights.engine.ops.flatten import Flatten
from portspec.weights.engine.ops.permute import Permute
from portspec.weights.engine.ops.reshape import Reshape
from portspec.weights.engine.ops.split import Split
from portspec.weights.engine.ops.transpose import Transpose
from portspec.weights.engine.ops.unflatten import Unflatten
from portspec.weights.engine.ops.unstack import Unstack
from portspec.weights.engine.rules import Join, Rule
from portspec.weights.importers import Imported, Row, UntranslatedError, needed, translated

_ARGUMENTS = ("megatron_param", "hf_param")
_WILDCARD = re.compile(r"\*\*?")
_EXPERTS = "num_experts"
_LAYERS = "mtp_layers_per_block"
_HEADS = "num_attention_heads"
_GROUPS = "num_query_groups"
_GATE = "attention_output_gate"

# The class, and what it does to the one tensor that it takes.
_ONE: Mapping[str, tuple[Operation, ...]] = {
    "AutoMapping": (),
    "ReplicatedMapping": (),
    "ColumnParallelMapping": (),
    "RowParallelMapping": (),
    "SplitRowParallelMapping": (),
    "MambaInProjMapping": (),
    "MambaConv1dMapping": (),
    "GDNConv1dMapping": (),
    "_PPSafeAutoMapping": (),
    "_PPSafeReplicatedMapping": (),
    "_FullDimQKNormMapping": (),
    "_SqueezeBiasMapping": (Reshape((-1,)),),
    "RMSNorm2ZeroCenteredRMSNormMapping": (Add(-1.0),),
}
_STACKED = ("FusedExpertMapping", "FusedGatedExpertMapping", "StackedExpertAutoMapping")
_GATED = ("GatedMLPMapping", "_PPSafeGatedMLPMapping")
_GROUPED = ("QKVMapping", "KVMapping")
_REASONS = {
    "ConcatenatedQKVMapping": "the parts of one tensor would go to several places of one join",
    "QKVGMapping": "a gate stands behind what is joined: one tensor would need two joins",
    "_HCAlphaSecondaryMapping": "the row takes one slice of a tensor, other rows the others",
    "_ConcatBiasMapping": "the row takes one slice of a tensor, other rows the others",
}


def rules_from(rows: Iterable[Row], values: Mapping[str, int] | None = None) -> Imported:
    """Translate rows with `op`, and `args` or `kw`, or pairs of names with `src` and `dst`.

    Args:
        rows: The rows.
        values: Numbers of the model's config that operations need: `num_experts`, `num_query_groups`, and
            `num_attention_heads` where `attention_output_gate` is 1. Names may need `mtp_layers_per_block`,
            which the rules are given when they are applied.
    """
    return translated(rows, lambda row: _rules(row, values or {}))


def _rules(row: Row, values: Mapping[str, int]) -> list[Rule]:
    if "src" in row:
        return [_pair(row["src"], row["dst"])]
    told: dict[str, Any] = dict(zip(_ARGUMENTS, row.get("args", ()), strict=False))
    told |= row.get("kw", {})
    names = [value for key, value in told.items() if _is_name(key)]
    if not names or not all(isinstance(name, str) for name in names):
        raise UntranslatedError("a name is worked out when it runs", is_rule=False)
    return _mapping(row["op"], told, values)


def _is_name(key: str) -> bool:
    return key.startswith("megatron_") or key in ("hf_param", *"qkvg", "gate", "up", "qkvz", "ba")


def _mapping(op: str, told: Mapping[str, Any], values: Mapping[str, int]) -> list[Rule]:
    if op in _ONE:
        permute = (Permute(tuple(told["permute_dims"])),) if "permute_dims" in told else ()
        return [_rule(told["hf_param"], [told["megatron_param"]], (*_ONE[op], *permute))]
    if op in _GATED:
        return _gated(told, ())
    if op == "StackedExpertGatedMLPMapping":
        return _gated(told, (Unstack(needed(values, _EXPERTS)),))
    if op in _STACKED:
        unstack = Unstack(needed(values, _EXPERTS))
        return [_rule(told["hf_param"], [told["megatron_param"]], (unstack,))]
    if op == "_HCAlphaMapping":
        names = [told[f"megatron_{name}"] for name in ("pre", "post", "res")]
        return [_rule(told["hf_param"], names, (Split(3),))]
    if op in _GROUPED:
        return _grouped(told, values)
    raise UntranslatedError(_REASONS.get(op, f"{op} is code of one model"))


def _gated(told: Mapping[str, Any], operations: tuple[Operation, ...]) -> list[Rule]:
    to = [told["megatron_param"]]
    parts = enumerate((told["gate"], told["up"]))
    return [_rule(name, to, operations, Join("concat", str(i), 2)) for i, name in parts]


def _grouped(told: Mapping[str, Any], values: Mapping[str, int]) -> list[Rule]:
    """Return rules that lay query, key and value side by side, group by group."""
    by_group = (Unflatten(needed(values, _GROUPS)),)
    parts = [key for key in "qkv" if key in told]
    rules = []
    for index, key in enumerate(parts):
        gated = key == "q" and values.get(_GATE)
        operations = _gate_last(values) if gated else by_group
        join = Join("concat", str(index), len(parts), 1, (Flatten(0),))
        rules.append(_rule(told[key], [told["megatron_param"]], operations, join))
    return rules


def _gate_last(values: Mapping[str, int]) -> tuple[Operation, ...]:
    """Return what puts the gates, one behind each head's query, behind all queries of their group."""
    heads, groups = needed(values, _HEADS), needed(values, _GROUPS)
    split = (Unflatten(heads), Unflatten(2, 1), Unflatten(groups))
    return (*split, Transpose(1, 2), Flatten(1), Flatten(1))


def _rule(
    source: str,
    targets: Sequence[str],
    operations: tuple[Operation, ...] = (),
    join: Join | None = None,
) -> Rule:
    return Rule(_pattern(source), tuple(_template(source, to) for to in targets), operations, join)


def _pattern(name: str) -> str:
    """Return the regular expression of a name with wildcards."""
    text, position = "^", 0
    for found in _WILDCARD.finditer(name):
        group = "(.+)" if found[0] == "**" else r"(\d+)"
        text += re.escape(name[position : found.start()]) + group
        position = found.end()
    return text + re.escape(name[position:]) + "$"


def _template(source: str, target: str) -> str:
    """Return the new name; a wildcard that the old one lacks is the number of a part."""
    groups = [rf"\g<{number + 1}>" for number in range(len(_WILDCARD.findall(source)))]
    left = iter([*groups, "{i}"])
    return _WILDCARD.sub(lambda _: next(left), target)


def _pair(source: str, target: str) -> Rule:
    given, asked = (len(_WILDCARD.findall(name)) for name in (source, target))
    if given == asked:
        return _rule(source, [target])
    if given != asked + 1:
        raise UntranslatedError("the two names have different wildcards")
    left = iter(
        [rf"{{\1 * {_LAYERS} + \2}}", *[rf"\g<{number}>" for number in range(3, given + 1)]]
    )
    return Rule(_pattern(source), (_WILDCARD.sub(lambda _: next(left), target),))
