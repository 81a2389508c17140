r"""Rename rules that real projects declare, imported, and held against what their own engines do with them.

The corpus: FastVideo 0.2.1's tables, the string tables of diffusers' converters (58eb52c), the conversion
mapping of transformers 5.23.0, and the mappings of Megatron-Bridge (067f987). A line is a row, or the name of
the table that the rows below it are from; an expression is an empty object.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from itertools import groupby, permutations
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from portspec.weights.engine.compute import Files, computed
from portspec.weights.engine.rules import Rule, RuleSet, Value
from portspec.weights.engine.sources import read_tensors
from portspec.weights.importers import Imported, diffusers, fastvideo, megatron, transformers
from portspec.weights.importers.chains import chained, rules_for

FOLDER = Path(__file__).parent / "data/mapping_corpus"
VALUES = {
    "num_attention_heads": 2,
    "num_experts": 3,
    "num_query_groups": 3,
    "index_offset": 5,
    "mtp_layers_per_block": 4,
}

Row = dict[str, Any]


def lines(name: str) -> Iterator[tuple[str, Any]]:
    """Yield the rows of a file, each with the name of its table."""
    table = ""
    for line in (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if isinstance(row, str):
            table = row
        else:
            yield table, row


def pairs(name: str) -> list[Row]:
    return [{"table": table, "src": row[0], "dst": row[1]} for table, row in lines(name)]


def conversions() -> list[Row]:
    """Return transformers' rows; a pair is a rename."""
    rows = []
    for table, row in lines("transformers"):
        if isinstance(row, list):
            row = {"type": "WeightRenaming", "src": row[:1], "dst": row[1:]}
        rows.append({"table": table, "ops": [], **row})
    return rows


CORPORA: Mapping[str, tuple[list[Row], Callable[[list[Row]], Imported]]] = {
    "fastvideo": (pairs("fastvideo"), fastvideo.rules_from),
    "diffusers": (pairs("diffusers"), diffusers.rules_from),
    "transformers": (conversions(), lambda rows: transformers.rules_from(rows, VALUES)),
    "megatron_mappings": (
        [row for _, row in lines("megatron_mappings")],
        lambda rows: megatron.rules_from(rows, VALUES),
    ),
    "megatron_pairs": (pairs("megatron_pairs"), megatron.rules_from),
}


def imported(name: str) -> Imported:
    rows, rules_from = CORPORA[name]
    return rules_from(rows)


def translated(name: str) -> Iterator[tuple[Row, tuple[Rule, ...]]]:
    """Yield the rows that become rules, each with its own."""
    rows, rules_from = CORPORA[name]
    result = rules_from(rows)
    skipped = {skip.row for skip in (*result.left_out, *result.inexpressible)}
    for number, row in enumerate(rows):
        if number not in skipped:
            yield row, rules_from([row]).rules


def written(text: str) -> list[str]:
    """Return some texts that a regular expression may match; what it only looks at is left out."""
    parser = import_module("re._parser" if hasattr(re, "_parser") else "sre_parse")
    return list(dict.fromkeys(_text(parser.parse(text), variant) for variant in range(4)))


def _text(tree: Any, variant: int) -> str:
    return "".join(_piece(str(op), argument, variant) for op, argument in tree)


def _piece(op: str, argument: Any, variant: int) -> str:
    match op:
        case "LITERAL":
            return chr(argument)
        case "IN":
            return _piece(str(argument[0][0]), argument[0][1], variant)
        case "RANGE":
            return chr(min(argument[0] + variant, argument[1]))
        case "CATEGORY":
            return str(variant) if "DIGIT" in str(argument) else "w"
        case "MAX_REPEAT" | "MIN_REPEAT":
            low, high, inner = argument
            text = "x" if str(inner[0][0]) == "ANY" else _text(inner, variant)
            return text * min(max(low, 1 + variant % 2), high)
        case "SUBPATTERN":
            return _text(argument[3], variant)
        case "BRANCH":
            return _text(argument[1][variant % len(argument[1])], variant)
        case "ANY":
            return "."
    return ""  # a place, or what must or must not stand there


def route(rules: Sequence[Rule], name: str) -> str:
    _, *texts = RuleSet(rules, VALUES).route(name)
    return texts[0] if texts else name


# --- how many -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "rows", "rules", "left_out", "inexpressible"),
    [
        ("fastvideo", 426, 426, 0, 0),
        ("diffusers", 1403, 1293, 110, 0),
        ("transformers", 1087, 1116, 0, 7),
        ("megatron_mappings", 553, 482, 242, 34),
        ("megatron_pairs", 741, 741, 0, 0),
    ],
)
def test_every_row_is_accounted_for(
    name: str, rows: int, rules: int, left_out: int, inexpressible: int
) -> None:
    result = imported(name)
    assert len(CORPORA[name][0]) == rows
    assert len(result.rules) == rules
    assert len(result.left_out) == left_out
    assert len(result.inexpressible) == inexpressible
    assert len(list(translated(name))) == rows - left_out - inexpressible


def test_the_share_that_cannot_be_expressed() -> None:
    results = [imported(name) for name in CORPORA]
    lost = sum(len(result.inexpressible) for result in results)
    rows = sum(len(CORPORA[name][0]) for name in CORPORA)
    told = rows - sum(len(result.left_out) for result in results)
    assert (lost, told) == (41, 3858)
    assert lost / told < 0.02


def test_what_cannot_be_expressed() -> None:
    reasons = Counter(skip.reason for name in CORPORA for skip in imported(name).inexpressible)
    assert reasons == {
        "the parts of one tensor would go to several places of one join": 12,
        "the row takes one slice of a tensor, other rows the others": 6,
        "only some of the parts are reordered after a split": 4,
        "GPTOSSMLPDownProjMapping is code of one model": 4,
        "GPTOSSMLPGateUpProjMapping is code of one model": 4,
        "ErnieFuseAndSplitTextVisionExperts was made for one model": 2,
        "the row does not say the sizes of the parts": 1,
        "_OffsetGatedMLPMapping is code of one model": 1,
        "_OffsetRowParallelMapping is code of one model": 1,
        "_MTPFlatteningMapping is code of one model": 1,
        "GDNLinearMapping is code of one model": 1,
        "a gate stands behind what is joined: one tensor would need two joins": 1,
        "MiMoV2FlashQKVMapping is code of one model": 1,
        "_Gemma4QKVMapping is code of one model": 1,
        "_MTPFlatteningQKVMapping is code of one model": 1,
    }


def test_what_is_no_rule() -> None:
    reasons = Counter(skip.reason for name in CORPORA for skip in imported(name).left_out)
    assert reasons == {
        "a name is worked out when it runs": 242,
        "the value is a table or an expression": 63,
        "the table holds other values than names": 47,
    }


def test_a_number_that_the_row_does_not_say_is_asked_for() -> None:
    rows, _ = CORPORA["transformers"]
    reasons = Counter(skip.reason for skip in transformers.rules_from(rows).inexpressible)
    assert reasons["the row does not say num_attention_heads"] == 2
    assert reasons["the row does not say index_offset"] == 1
    row = {"op": "KVMapping", "kw": {"megatron_param": "m", "k": "k", "v": "v"}}
    (skip,) = megatron.rules_from([row]).inexpressible
    assert skip.reason == "the row does not say num_query_groups"


def test_the_corpus_stays_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 400_000


# --- FastVideo ------------------------------------------------------------------------------------------


def test_fastvideo_rows_rename_as_they_do_there() -> None:
    for row, rules in translated("fastvideo"):
        target, *part = [row["dst"]] if isinstance(row["dst"], str) else row["dst"]
        for name in written(row["src"]):
            assert re.match(row["src"], name), row
            _, *texts = RuleSet(rules).route(name)
            assert texts == [re.sub(row["src"], target, name), *map(str, part[:1])], row


# --- diffusers ------------------------------------------------------------------------------------------


def contexts(text: str) -> list[str]:
    """Return names that have a text once, twice, at the end, and not quite."""
    return [
        text,
        f"model.{text}.weight",
        f"{text}{text}",
        f"a.{text}.b.{text}",
        text[1:],
        f"x{text[:-1]}",
    ]


def replaced(row: Row, name: str) -> str:
    """What a converter does with a row."""
    if "*" not in row["src"]:
        names = [row["dst"]] if isinstance(row["dst"], str) else row["dst"]
        return name.replace(row["src"], names[0])
    target, added = (row["dst"], 0) if isinstance(row["dst"], str) else row["dst"]
    for number in range(12):
        text = row["src"].replace("*", str(number))
        name = name.replace(text, target.replace("*", str(number + added)))
    return name


def test_diffusers_rows_replace_as_they_do_there() -> None:
    for row, rules in translated("diffusers"):
        for name in contexts(row["src"].replace("*", "7")):
            assert route(rules, name) == replaced(row, name), row


def test_diffusers_tables_are_chains() -> None:
    """Each table over the names of all its rows: in turn, and as one set of rules for these names."""
    tables = [
        (table, list(rows))
        for table, rows in groupby(translated("diffusers"), lambda r: r[0]["table"])
    ]
    assert len(tables) > 90
    for table, rows in tables:
        sources = [row["src"].replace("*", str(i)) for row, _ in rows for i in range(3)]
        names = [f"{a}.{i}.{b}" for a, b in permutations(sources[:8], 2) for i in (0, 1, 12)]
        names = list(dict.fromkeys([*names, *[n for source in sources for n in contexts(source)]]))
        expected = dict(zip(names, names, strict=True))
        for row, _ in rows:
            expected = {name: replaced(row, new) for name, new in expected.items()}
        found = chained([rules for _, rules in rows], names)
        assert found == expected, table
        assert chained([rules_for(found)], names) == expected, table


def test_a_chain_becomes_few_rules_where_numbers_are_carried_along() -> None:
    names = [f"up_blocks.{i}.resnets.{j}.conv1.weight" for i in range(4) for j in range(50)]
    stages = [
        rules
        for row, rules in translated("diffusers")
        if row["table"] == "convert_ltx_to_diffusers:VAE_KEYS_RENAME_DICT"
    ]
    found = chained(stages, names)
    assert found["up_blocks.0.resnets.7.conv1.weight"] == "mid_block.resnets.7.conv1.weight"
    assert (
        found["up_blocks.2.resnets.7.conv1.weight"]
        == "up_blocks.1.upsamplers.0.resnets.7.conv1.weight"
    )
    assert len(rules_for(found)) <= 4


# --- transformers ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def theirs() -> Any:
    """The engine itself, of a release whose patterns mean the same."""
    return import_module("transformers.core_model_loading")


def examples(row: Row) -> Iterator[tuple[int, str]]:
    """Yield names for each of a row's patterns: with something before and after, and without."""
    for number, source in enumerate(row["src"]):
        for text in written(re.sub(r"(\\?\.|(?<=_))\*\.", r"\1\\d\\.", source)):
            yield number, text
            yield number, f"{text}weight"
            if not source.startswith("^"):
                yield number, f"outer.0.{text}.tail"


def test_transformers_rows_rename_as_they_do_there(theirs: Any) -> None:
    for row, rules in translated("transformers"):
        if row["ops"] or row["type"].endswith("IndexOffsetWeightRename"):
            continue
        make = theirs.GroupWeightRename if len(row["dst"]) > 1 else theirs.WeightRenaming
        engine = make(list(row["src"]), list(row["dst"]))
        matched = set()
        for number, name in examples(row):
            expected, source = engine.rename_source_key(name)
            assert route(rules, name) == expected, (row, name)
            matched |= {number} if source else set()
        assert matched == set(range(len(row["src"]))), row


def test_an_offset_is_added_to_the_number() -> None:
    (row,) = [row for row in conversions() if row["type"].endswith("IndexOffsetWeightRename")]
    rules = transformers.rules_from([row], VALUES).rules
    assert route(rules, "model.attn_res.attn_queries.3") == "model.layers.8.attention_input.query"


def tensors_of(row: Row, shape: tuple[int, ...]) -> dict[str, dict[str, torch.Tensor]]:
    """Return tensors for each pattern of a row, by name; for a pattern with a wildcard, eleven."""
    found: dict[str, dict[str, torch.Tensor]] = {}
    for source in row["src"]:
        plain = source.replace("\\.", ".").replace("\\", "")
        count = 11 if "*" in plain else 1
        names = [f"model.{plain.removeprefix('.').replace('*', str(i))}" for i in range(count)]
        found[source] = {name: torch.randn(shape) for name in names}
    return found


def operation(theirs: Any, text: str) -> Any:
    name, _, axis = text.partition("(dim=")
    if name == "PermuteForRope":
        return theirs.PermuteForRope(permute_layer_names=[""])
    return getattr(theirs, name)(*([int(axis[:-1])] if axis else []))


class Config:
    num_attention_heads = VALUES["num_attention_heads"]


def in_turn(
    theirs: Any, row: Row, given: Mapping[str, Mapping[str, torch.Tensor]]
) -> list[torch.Tensor]:
    """What its operations make of a converter's tensors, in the order of its targets."""
    collected: Any = {source: list(tensors.values()) for source, tensors in given.items()}
    for text in row["ops"]:
        told = {"source_patterns": row["src"], "target_patterns": row["dst"], "config": Config()}
        collected = operation(theirs, text).convert(collected, **told)
    found = [collected.get(target, next(iter(collected.values()))) for target in row["dst"]]
    return [tensor[0] if isinstance(tensor, list) else tensor for tensor in found]


def bytes_of(values: Mapping[str, Value]) -> dict[str, bytes]:
    with Files() as files:
        return {name: b"".join(computed(value, files)) for name, value in values.items()}


def test_transformers_converters_compute_what_they_do_there(theirs: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    for row, rules in translated("transformers"):
        if not row["ops"]:
            continue
        shape = (
            (24, 3)
            if "PermuteForRope" in row["ops"] or "dim=1" not in str(row["ops"])
            else (2, 24, 3)
        )
        given = tensors_of(row, shape)
        save_file({name: t for tensors in given.values() for name, t in tensors.items()}, path)
        mapped = RuleSet(rules).apply(read_tensors(path))
        assert not mapped.problems, row
        expected = in_turn(theirs, row, given)
        assert [v.type.shape for v in mapped.outputs.values()] == [t.shape for t in expected], row
        raw = [tensor.contiguous().numpy().tobytes() for tensor in expected]
        assert list(bytes_of(mapped.outputs).values()) == raw, row


# --- Megatron-Bridge --------------------------------------------------------------------------------------


def filled(name: str, texts: Sequence[str]) -> str:
    left = iter(texts)
    return re.sub(r"\*\*?", lambda _: next(left, ""), name)


def fillings(name: str) -> Iterator[list[str]]:
    """Yield texts for the wildcards of a name."""
    wild = re.findall(r"\*\*?", name)
    for number in (0, 7, 61):
        yield [f"a.{number}.b" if text == "**" else str(number + i) for i, text in enumerate(wild)]


def test_megatron_pairs_lead_from_one_name_to_the_other() -> None:
    for row, rules in translated("megatron_pairs"):
        for texts in fillings(row["src"]):
            wanted = texts
            if row["src"].count("*") > row["dst"].count("*"):
                wanted = [
                    str(int(texts[0]) * VALUES["mtp_layers_per_block"] + int(texts[1])),
                    *texts[2:],
                ]
            assert route(rules, filled(row["src"], texts)) == filled(row["dst"], wanted), row
            assert (
                route(rules, f"x.{filled(row['src'], texts)}") == f"x.{filled(row['src'], texts)}"
            )


def published(row: Row) -> list[str]:
    """Return the published names of a call."""
    told = dict(zip(("megatron_param", "hf_param"), row.get("args", ()), strict=False)) | row.get(
        "kw", {}
    )
    return [told[key] for key in ("hf_param", "gate", "up", "q", "k", "v") if key in told]


def own(row: Row) -> list[str]:
    """Return Megatron's names of a call."""
    told = {"megatron_param": row["args"][0]} if row.get("args") else row["kw"]
    return [value for key, value in told.items() if key.startswith("megatron_")]


def test_megatron_mappings_lead_to_the_names_of_the_call(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    for row, rules in translated("megatron_mappings"):
        for texts in list(fillings(published(row)[0]))[:2]:
            names = [filled(name, texts) for name in published(row)]
            save_file({name: torch.randn(3, 2) for name in names}, path)
            mapped = RuleSet(rules, VALUES).apply(read_tensors(path))
            assert not mapped.problems, row
            more = range(3) if own(row)[0].count("*") > len(texts) else range(1)
            wanted = {filled(name, [*texts, str(i)]) for name in own(row) for i in more}
            assert mapped.outputs.keys() == wanted, row


def mapped_bytes(
    row: Row,
    tensors: Mapping[str, torch.Tensor],
    path: Path,
    values: Mapping[str, int] = VALUES,
) -> dict[str, bytes]:
    save_file(dict(tensors), path)
    rules = megatron.rules_from([row], values).rules
    return bytes_of(RuleSet(rules, values).apply(read_tensors(path)).outputs)


def raw(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().numpy().tobytes()


def test_megatron_operations(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    a, b = torch.randn(3, 4, 2), torch.randn(3, 4, 2)
    one = {"megatron_param": "m", "hf_param": "h"}
    gated = {"megatron_param": "m*", "gate": "g", "up": "u"}
    found = mapped_bytes(
        {"op": "StackedExpertGatedMLPMapping", "kw": gated}, {"g": a, "u": b}, path
    )
    assert found == {f"m{i}": raw(torch.cat([a[i], b[i]])) for i in range(3)}
    found = mapped_bytes(
        {"op": "FusedExpertMapping", "kw": {**one, "megatron_param": "m*"}}, {"h": a}, path
    )
    assert found == {f"m{i}": raw(a[i]) for i in range(3)}
    found = mapped_bytes(
        {"op": "AutoMapping", "kw": {**one, "permute_dims": [1, 0]}}, {"h": a[0]}, path
    )
    assert found == {"m": raw(a[0].T)}
    found = mapped_bytes(
        {"op": "RMSNorm2ZeroCenteredRMSNormMapping", "args": ["m", "h"]}, {"h": a[0, 0]}, path
    )
    assert found == {"m": raw(a[0, 0] - 1)}


def by_group(parts: Sequence[torch.Tensor], groups: int) -> torch.Tensor:
    """Lay equal shares of tensors side by side, group by group."""
    shares = zip(*[part.chunk(groups) for part in parts], strict=True)
    return torch.cat([piece for group in shares for piece in group])


@pytest.mark.parametrize("more", [(), (5,)], ids=["bias", "weight"])
@pytest.mark.parametrize(("groups", "heads"), [(1, 4), (2, 4), (4, 4)])
def test_megatron_groups(tmp_path: Path, groups: int, heads: int, more: tuple[int, ...]) -> None:
    """With three elements a head; the gates lie behind all queries of their group, and before its key."""
    path = tmp_path / "model.safetensors"
    q, k, v = (torch.randn(3 * n, *more) for n in (heads, groups, groups))
    tensors = {"q": q, "k": k, "v": v}
    values = {"num_query_groups": groups}
    told = {"megatron_param": "m", "q": "q", "k": "k", "v": "v"}
    row = {"op": "QKVMapping", "kw": told}
    wanted = {"m": raw(by_group([q, k, v], groups))}
    assert mapped_bytes(row, tensors, path, values) == wanted

    own = {key: told[key] for key in ("megatron_param", "k", "v")}
    found = mapped_bytes({"op": "KVMapping", "kw": own}, {"k": k, "v": v}, path, values)
    assert found == {"m": raw(by_group([k, v], groups))}

    gate = torch.randn(3 * heads, *more)
    gated = {**values, "num_attention_heads": heads, "attention_output_gate": 1}
    found = mapped_bytes(row, {**tensors, "q": by_group([q, gate], heads)}, path, gated)
    assert found == {"m": raw(by_group([q, gate, k, v], groups))}
