"""The language as text: places of values, what is refused, and the laws of `extends`."""

from __future__ import annotations

import ast
import copy
import json
import math
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from portspec.backend import Target
from portspec.cache import Cache
from portspec.errors import Diagnostic, PortspecError, SpecError
from portspec.extend import merge
from portspec.judge import judge
from portspec.language import MAX_DEPTH, load_spec
from portspec.load import MAX_NESTING, MAX_SPEC_BYTES, Document, Node, parse, read_document
from tests.conftest import ROOT, SPEC

SPECS = sorted(ROOT.glob("specs/*.yaml")) + sorted(ROOT.glob("examples/*/port.yaml"))
HEAD = "portspec: 1\nfamily: fam\n"


def found_in(text: str | bytes, folder: Path, name: str = "port.yaml") -> list[Diagnostic]:
    """Return what is found in a spec that stands alone, or beside others in `folder`."""
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    try:
        load_spec(path)
    except SpecError as error:
        return list(error.diagnostics)
    return []


def refused(text: str) -> list[tuple[str, int, int]]:
    """Return the codes and places of everything that keeps a text from being read."""
    with pytest.raises(SpecError) as caught:
        parse(text, "x.yaml")
    return [(d.code, d.place.line, d.place.column) for d in caught.value.diagnostics]


def leaves(node: Node) -> Iterator[Node]:
    children = [e.node for e in node.value.values()] if isinstance(node.value, dict) else node.value
    if isinstance(children, list):
        for child in children:
            yield from leaves(child)
    else:
        yield node


# --- places -------------------------------------------------------------------------------------------


def keys_of(node: Node) -> Iterator[tuple[str, Any]]:
    if isinstance(node.value, dict):
        for key, entry in node.value.items():
            yield key, entry.key_place
            yield from keys_of(entry.node)
    elif isinstance(node.value, list):
        for item in node.value:
            yield from keys_of(item)


@pytest.mark.parametrize("path", SPECS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_key_and_value_keeps_its_place(path: Path) -> None:
    """Through `extends`, too: a place leads to the text, in whichever file it stands."""
    root = load_spec(path).root
    files: dict[str, list[str]] = {}

    def text_at(place: Any) -> str:
        lines = files.setdefault(place.file, (ROOT / place.file).read_text("utf-8").splitlines())
        return lines[place.line - 1][place.column - 1 :]

    keys = list(keys_of(root))
    assert len(keys) > 100
    for key, place in keys:
        assert text_at(place).startswith((f"{key}:", f'"{key}":', f"'{key}':")), place
    for leaf in leaves(root):
        text = text_at(leaf.place)
        if isinstance(leaf.value, str):
            assert text[0] in "\"'>|" or leaf.value.startswith(re.split(r"\W", text)[0]), leaf.place
        elif leaf.value is not None:
            assert YAML(typ="safe").load(re.split(r"[,\]}#]", text)[0]) == leaf.value, leaf.place
    if "extends" in root.value:
        assert len(files) > 1


@pytest.mark.parametrize("path", SPECS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_remembered_document_is_the_same(path: Path, tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    fresh = read_document(path, "x.yaml")
    assert read_document(path, "x.yaml", cache) == fresh
    assert read_document(path, "x.yaml", cache) == fresh
    assert cache.get("yaml", fresh.files[0][1]), "it was remembered"


def test_marks_find_the_nearest_value() -> None:
    text = "a:\n  b:\n    - c: 1\n"
    marks = Document(parse(text, "x.yaml")).marks()
    assert str(marks.at("a", "b", 0, "c")) == "x.yaml:3:10"
    assert str(marks.key("a", "b", 0, "c")) == "x.yaml:3:7"
    assert str(marks.at("a", "b", 7, "d")) == str(marks.at("a", "b")) == "x.yaml:3:5"
    assert str(marks.at("nothing")) == "x.yaml:1:1"


# --- YAML ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("off", "off"),
        ("yes", "yes"),
        ("y", "y"),
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("", None),
        ("null", None),
        ("010", 10),
        ("0o17", 15),
        ("0x1F", 31),
        ("-0x10", -16),
        ("0b11", 3),
        ("1_000", 1000),
        ("+12", 12),
        ("-0", 0),
        ("0o8", "0o8"),
        ("1e-5", 1e-5),
        ("1.0e-5", 1e-5),
        ("1e5", 1e5),
        ("1.", 1.0),
        (".5", 0.5),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("1.2.3", "1.2.3"),
        ("12:30:45", "12:30:45"),
        ("2026-11-21", "2026-11-21"),
        ("=", "="),
        ("'1'", "1"),
        ("a#b", "a#b"),
        ("a # b", "a"),
        ("'größe 😀'", "größe 😀"),
        ('"\\u00e9\\t\\n"', "é\t\n"),
        (">-\n  one\n  two", "one two"),
        ("|\n  one\n  two\n", "one\ntwo\n"),
    ],
)
def test_plain_values_mean_what_yaml_1_2_says(text: str, value: object) -> None:
    read = parse(f"key: {text}\n", "x.yaml").plain()["key"]
    assert (read, type(read)) == (value, type(value))


def test_not_a_number_is_a_number() -> None:
    assert math.isnan(parse("key: .nan", "x.yaml").plain()["key"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a:\n\tb: 1\n", [("E002", 2, 1)]),
        ("a: b: c\n", [("E002", 1, 5)]),
        ('a: "\\q"\n', [("E002", 1, 6)]),
        ("a: [1, 2\n", [("E002", 2, 1)]),
        ("a: 1\n  b: 2\n", [("E002", 2, 4)]),
        ("a: *x\n", [("E002", 1, 4)]),
        ("a: 1\nb: \x07\n", [("E002", 2, 0)]),
        ('a: "\\0"\n', [("E002", 1, 4)]),
        ('a: "\\ud83d"\n', [("E002", 1, 4)]),
        ('"\\e": 1\n', [("E002", 1, 1)]),
        ("a: x\u2028y\n", [("E002", 1, 4)]),
        ("a: 0x_\n", [("E002", 1, 4)]),
        (f"a: {'9' * 5000}\n", [("E002", 1, 4)]),
        ("a: 1\nb: 2\na: 3\n", [("E003", 3, 1)]),
        ('a: 1\n"a": 2\n', [("E003", 2, 1)]),
        ("a: {b: 1, c: 2, b: 3}\n", [("E003", 1, 17)]),
        ("a: &x 1\n", [("E004", 1, 4)]),
        ("a: &x {}\nb: *x\n", [("E004", 1, 4)]),
        ("a: &x 1\nb: &x 2\n", [("E004", 1, 4), ("E004", 2, 4)]),
        ("a: &x [*x]\n", [("E004", 1, 4)]),
        ("&x a: 1\n", [("E004", 1, 1)]),
        ("a: {c: 1}\n<<: {b: 1}\n", [("E004", 2, 1)]),
        ("a: !!python/object:os.system x\n", [("E004", 1, 4)]),
        ("a: !!str 1\n", [("E004", 1, 4)]),
        ("a: !mine {}\n", [("E004", 1, 4)]),
        ("a: !!set {b}\n", [("E004", 1, 4)]),
        ("a: !!binary aGk=\n", [("E004", 1, 4)]),
        ("!!str a: 1\n", [("E004", 1, 1)]),
        ("%YAML 1.1\n---\na: no\n", [("E004", 1, 1)]),
        ("# c\n%YAML 1.3\n---\na: 1\n", [("E004", 2, 1)]),
        ("%TAG ! tag:me,2026:\n---\na: 1\n", [("E004", 1, 1)]),
        ("", [("E005", 1, 1)]),
        ("# only a comment\n", [("E005", 1, 1)]),
        ("~\n", [("E005", 1, 1)]),
        ("- a\n- b\n", [("E005", 1, 1)]),
        ("hello\n", [("E005", 1, 1)]),
        ("a: 1\n---\nb: 2\n", [("E005", 3, 1)]),
        ("? [a, b]\n: 1\n", [("E005", 1, 3)]),
        ("? {a: b}\n: 1\n", [("E005", 1, 3)]),
    ],
)
@pytest.mark.filterwarnings("error")
def test_what_a_spec_does_not_have_is_refused(
    text: str, expected: list[tuple[str, int, int]]
) -> None:
    assert refused(text) == expected


@pytest.mark.parametrize("brackets", ["[]", "{}"])
@pytest.mark.parametrize("depth", [MAX_NESTING + 1, 400, 1000])
def test_nesting_has_an_end(brackets: str, depth: int) -> None:
    left, right = ("[", "]") if brackets == "[]" else ("{a: ", "}")
    (found,) = refused(f"a: {left * depth}1{right * depth}\n")
    assert found[0] == "E002"
    parse(f"a: {left * 40}1{right * 40}\n", "x.yaml")


def test_a_repeated_key_names_the_first() -> None:
    with pytest.raises(SpecError) as caught:
        parse("a:\n  b: 1\n  c: 2\n  b: 3\n", "x.yaml")
    (found,) = caught.value.diagnostics
    assert "on line 2" in found.message
    assert [(what, place.line) for what, place in found.related] == [("the first", 2)]


@pytest.mark.parametrize("path", SPECS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_line_ends_and_byte_order_marks_mean_nothing(path: Path, tmp_path: Path) -> None:
    plain = read_document(path, "x.yaml").root
    text = path.read_bytes()
    for variant in (text.replace(b"\n", b"\r\n"), b"\xef\xbb\xbf" + text, text.rstrip(b"\n")):
        (tmp_path / "x.yaml").write_bytes(variant)
        assert read_document(tmp_path / "x.yaml", "x.yaml").root == plain


@pytest.mark.parametrize(
    ("raw", "line", "said"),
    [
        (b"a: 1\nb: \xff\n", 2, "UTF-8"),
        ("a: 1\n".encode("utf-16"), 1, "UTF-8"),
        (b"a: " + b"x" * MAX_SPEC_BYTES, 0, "too much"),
    ],
)
def test_a_file_that_is_no_text_is_refused(
    raw: bytes, line: int, said: str, tmp_path: Path
) -> None:
    (found,) = found_in(raw, tmp_path)
    assert (found.code, found.place.line) == ("E001", line)
    assert said in found.message


# --- content ------------------------------------------------------------------------------------------


def changed(old: str, new: str, folder: Path) -> list[Diagnostic]:
    """Return what is found in SkyReels-V2's spec when one text in it is another."""
    text = (ROOT / SPEC).read_text("utf-8")
    assert old in text
    shutil.copy(ROOT / "specs/wan.yaml", folder)
    return found_in(text.replace(old, new, 1), folder)


@pytest.mark.parametrize(
    ("old", "new", "wrong", "meant"),
    [
        ("title: SkyReels", "titel: SkyReels", "titel", "title"),
        ("  workloads: [T2V]", "  workload: [T2V]", "workload", "workloads"),
        ("      summary: SkyReels", "      sumary: SkyReels", "sumary", "summary"),
        ("    - what: image", "    - waht: image", "waht", "what"),
        ("      commit: abed", "      comit: abed", "comit", "commit"),
        ("    evidence: >-", "    evidense: >-", "evidense", "evidence"),
        ("      absent:", "      absnet:", "absnet", "absent"),
        ("{max_timestep_d", "{max_timesteps_d", "max_timesteps", "max_timestep_difference"),
        ("{value: fp32, source: D002}", "{value: fp32, sourec: D002}", "sourec", "source"),
        ("none: [720p]", "non: [720p]", "non", "none"),
        ("    min_ssim", "    min_sim", "min_sim", "min_ssim"),
    ],
)
def test_an_unknown_key_gets_a_suggestion(
    old: str, new: str, wrong: str, meant: str, tmp_path: Path
) -> None:
    found = next(d for d in changed(old, new, tmp_path) if d.code == "E101")
    assert found.remedy == f'Did you mean "{meant}"?'
    lines = (tmp_path / "port.yaml").read_text("utf-8").splitlines()
    assert lines[found.place.line - 1][found.place.column - 1 :].startswith(wrong)


def test_a_key_like_no_other_gets_the_list(tmp_path: Path) -> None:
    (found,) = changed("min_ssim: 0.93", "min_ssim: 0.93\n    zebra: 1", tmp_path)
    assert found.code == "E101"
    assert found.remedy.startswith("Keys that may stand here: variant, prompts, min_ssim")


@pytest.mark.parametrize(
    ("old", "new", "code", "said"),
    [
        ("portspec: 1", "portspec: 2", "E104", "Choices: 1."),
        ("portspec: 1", 'portspec: "1"', "E104", "without quotes"),
        ("needs_conversion: false", "needs_conversion: no", "E103", "yes, no, on and off"),
        ("workloads: [T2V]", "workloads: T2V", "E103", "[value]"),
        ("workloads: [T2V]", "workloads: [T2W]", "E104", "Choices: T2V, I2V"),
        ("workloads: [T2V]", "workloads: [TV]", "E104", 'Did you mean "T2V"?'),
        ("workloads: [T2V]", "workloads: []", "E106", ""),
        ("  layout: diffusers\n", "", "E102", "Add `layout:`"),
        ("title: SkyReels-V2", "title: 2", "E103", "Quote"),
        ("title: SkyReels-V2", 'title: "Sky\\nReels"', "E105", ""),
        ("  hub: Sky", "  hub: [Sky]\n  x: ", "E103", ""),
        ("commit: abed76", "commit: main-", "E105", ""),
        ("required_gpus: 1", "required_gpus: 1.5", "E103", ""),
        ("scope:\n", "scope: 3\nx_scope:\n", "E103", ""),
    ],
)
def test_what_does_not_fit_has_a_place_and_a_remedy(
    old: str, new: str, code: str, said: str, tmp_path: Path
) -> None:
    found = [d for d in changed(old, new, tmp_path) if d.code == code]
    assert found
    assert any(said in d.remedy for d in found)
    for diagnostic in found:
        assert diagnostic.remedy
        assert diagnostic.place.line > 0
        assert diagnostic.place.column > 0


def test_a_wrong_section_is_one_finding(tmp_path: Path) -> None:
    """What stands inside a value of the wrong type is not complained about as well."""
    (found,) = changed("weights:\n  hub:", "weights:\n  - hub:", tmp_path)[:1]
    assert found.code in ("E002", "E103")
    (found,) = found_in(HEAD + "official: {}\ncomponents: [a, b]\n", tmp_path)
    assert (found.code, found.place.line) == ("E103", 4)


VARIANTS = """\
portspec: 1
family: fam
extends: base
scope:
  variants:
    small:
      summary: The small one
      components:
        transformer:
          args: {num_layers: 2, anything: [1, null, {a: b}]}
    large:
      summary: The large one
      config:
        class: LargeConfig
        fields:
          flow_shift: {value: 7.0, source: D001}
  workloads: [T2V]
  inputs: [text]
  outputs: [video]
"""


def test_a_variant_says_only_what_differs(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(VARIANTS.replace("extends: base\n", "") + COMPONENTS)
    assert not found_in(VARIANTS, tmp_path)
    spec = load_spec(tmp_path / "port.yaml").spec
    assert spec.scope
    small, large = (spec.scope.variants[name] for name in ("small", "large"))
    assert small.components["transformer"].args == {
        "num_layers": 2,
        "anything": [1, None, {"a": "b"}],
    }
    assert small.config is None
    assert large.components == {}
    assert large.config
    assert large.config.fields["flow_shift"].value == 7.0
    (found,) = found_in(VARIANTS.replace("args:", "arg:"), tmp_path)
    assert (found.code, found.place.line) == ("E101", 10)
    assert 'Did you mean "args"?' in found.remedy


COMPONENTS = """\
official: {packages: [diffusers==0.42.1]}
components:
  transformer:
    kind: dit
    evidence: read side by side
    reduced: {num_layers: 2, width: 8}
    instantiation: {at: "a:B", args: {num_layers: 20, width: 80}}
    mapping: [{match: a, to: b}]
"""


# --- extends ------------------------------------------------------------------------------------------


def tree_of(value: Any) -> Document:
    return Document(parse(json.dumps(value), "x.yaml"))


def merged(*specs: Any) -> Any:
    """Lay specs over each other, the nearest first, as a chain of `extends` does."""
    document = tree_of(specs[-1])
    for spec in reversed(specs[:-1]):
        document = merge(tree_of(spec), document)
    return document.root.plain()


def documented(mark: str) -> set[tuple[str, str]]:
    """Return the (section, key) pairs that docs/language.md marks."""
    found, section = set(), ""
    for line in (ROOT / "docs/language.md").read_text("utf-8").splitlines():
        if line.startswith("## "):
            section = line[3:]
        elif (row := re.match(r"\| `(\w+)` \|", line)) and f"*{mark}*" in line:
            found.add((section, row[1]))
    return found


def test_an_empty_spec_is_what_it_extends_without_what_is_its_own(workspace: Path) -> None:
    """`own` in the reference is the whole of the difference."""
    wan = read_document(workspace / "specs/wan.yaml", "wan.yaml")
    empty = Document(parse(HEAD + "extends: wan\n", "x.yaml"))
    result, base = merge(empty, wan).root.plain(), wan.root.plain()
    own = documented("own")
    sections = {"port.yaml": base, "Pipeline": base["pipeline"]}
    sections["ConfigClass"] = base["pipeline"]["config"]
    taken = [(s, k) for s, section in sections.items() for k in section if (s, k) in own]
    assert {("port.yaml", "family"), ("Pipeline", "class")} <= set(taken)
    for section, key in taken:
        del sections[section][key]
    assert result == {"portspec": 1, "family": "fam", "extends": "wan", **base}


@pytest.mark.parametrize(
    ("base", "override", "result"),
    [
        ({"evidence": "a"}, {}, {"evidence": "a"}),
        ({"evidence": "a"}, {"evidence": "b"}, {"evidence": "b"}),
        ({"evidence": "a"}, {"evidence": None}, {}),
        ({"evidence": "a"}, {"evidence": {"x": 1}}, {"evidence": {"x": 1}}),
        ({"unused": {"x": 1}}, {"unused": {"y": 2}}, {"unused": {"x": 1, "y": 2}}),
        ({"unused": {"x": 1, "y": 2}}, {"unused": {"x": None}}, {"unused": {"y": 2}}),
        ({"unused": {"x": 1}}, {"unused": {}}, {"unused": {"x": 1}}),
        ({"unused": {"x": 1}}, {"unused": 3}, {"unused": 3}),
        ({"reduced": {"r": {"a": 1}}}, {"reduced": {"r": {"b": 2}}}, {"reduced": {"r": {"b": 2}}}),
        ({"parity": {"steps": [1, 2]}}, {"parity": {"steps": [3]}}, {"parity": {"steps": [3]}}),
        ({"mapping": [1]}, {"mapping": []}, {"mapping": []}),
        (
            {"instantiation": {"at": "a", "args": {"x": 1}}},
            {"instantiation": {"args": {"y": None}}},
            {"instantiation": {"at": "a", "args": {"y": None}}},
        ),
        (
            {"parity": {"calls": {"f": {"method": "m", "inputs": {"x": 1}}, "g": {}}}},
            {"parity": {"calls": {"f": {"inputs": {"y": 2}}}}},
            {"parity": {"calls": {"f": {"method": "m", "inputs": {"y": 2}}, "g": {}}}},
        ),
    ],
)
def test_mappings_are_merged_and_all_else_is_replaced(
    base: Any, override: Any, result: Any
) -> None:
    spec = merged({"components": {"vae": override}}, {"components": {"vae": base, "dit": base}})
    assert spec == {"components": {"vae": result, "dit": base}}


def test_null_takes_a_component_or_a_section_away() -> None:
    base = {"components": {"vae": {"kind": "vae"}, "dit": {"kind": "dit"}}, "pipeline": {"lora": 1}}
    override = {"components": {"vae": None}, "pipeline": None}
    assert merged(override, base) == {"components": {"dit": {"kind": "dit"}}}


VALUES = st.sampled_from([1, "a", True, 2.5])
MAPPING = st.dictionaries(st.sampled_from("xyz"), VALUES, max_size=2)


def section(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


CALLS = st.dictionaries(st.sampled_from("fg"), section(method=VALUES, inputs=MAPPING), max_size=2)
COMPONENT = section(
    kind=VALUES,
    unused=MAPPING,
    mapping=st.lists(VALUES, max_size=2),
    instantiation=section(at=VALUES, args=MAPPING, flags=MAPPING),
    parity=section(calls=CALLS, tolerance=section(atol=VALUES, rtol=VALUES)),
)
SPEC_TREES = section(
    family=VALUES,
    title=VALUES,
    official=section(packages=st.lists(VALUES, max_size=2), references=MAPPING),
    components=st.dictionaries(st.sampled_from(["vae", "dit"]), COMPONENT, max_size=2),
    pipeline=section(lora=VALUES, reuse=VALUES, config=section(base=VALUES, fields=MAPPING)),
    presets=st.dictionaries(st.sampled_from("pq"), MAPPING, max_size=2),
)


@given(SPEC_TREES, SPEC_TREES, SPEC_TREES)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_extending_twice_is_extending_once_with_both(a: Any, b: Any, c: Any) -> None:
    assert merged(a, b, c) == merged(a, merged(b, c)) == merged(merged(a, b), c)


@given(SPEC_TREES, SPEC_TREES)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_saying_again_what_is_inherited_changes_nothing(a: Any, b: Any) -> None:
    assert merged(a, a) == a
    once = merged(a, b)
    assert merged(once, b) == once
    inherited = merged({}, b)
    assert merged({}, inherited) == inherited


def test_a_chain_of_three(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    loaded = load_spec(Path("examples/ported_network/port.yaml"))
    names = ["examples/ported_network/port.yaml", SPEC, "specs/wan.yaml"]
    assert [name for name, _ in loaded.files] == names
    assert list(loaded.paths) == [ROOT / name for name in names]
    marks = loaded.marks
    for path, file in (
        (("components", "transformer", "port"), names[0]),
        (("components", "transformer", "definition"), names[1]),
        (("components", "transformer", "kind"), names[2]),
    ):
        assert marks.at(*path).file == file
        assert loaded.states(*path) == (file == names[0])
    assert loaded.spec.components["transformer"].reuse is None, "`reuse: null` took it away"


def write(folder: Path, **specs: str) -> Path:
    """Write specs that extend each other, by name; return the first."""
    for name, extends in specs.items():
        text = HEAD + (f"extends: {extends}\n" if extends else "") + COMPONENTS
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return folder / f"{next(iter(specs))}.yaml"


@pytest.mark.parametrize(
    ("specs", "circle"),
    [
        ({"a": "a"}, "a -> a"),
        ({"a": "./a.yaml"}, "a -> a"),
        ({"a": "b", "b": "a"}, "a -> b -> a"),
        ({"a": "b", "b": "c", "c": "b"}, "a -> b -> c -> b"),
        ({"a": "../FOLDER/b.yaml", "b": "a"}, "a -> b -> a"),
    ],
)
def test_a_circle_is_told(specs: dict[str, str], circle: str, tmp_path: Path) -> None:
    specs = {k: v.replace("FOLDER", tmp_path.name) for k, v in specs.items()}
    with pytest.raises(SpecError) as caught:
        load_spec(write(tmp_path, **specs))
    (found,) = caught.value.diagnostics
    assert found.code == "E011"
    assert found.message.endswith(f": {circle}")
    assert (found.place.line, found.place.column) == (3, 10)


def test_a_circle_through_a_link_is_told(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").symlink_to("a.yaml")
    with pytest.raises(SpecError) as caught:
        load_spec(write(tmp_path, a="b"))
    assert caught.value.diagnostics[0].code == "E011"


def test_a_chain_has_an_end(tmp_path: Path) -> None:
    names = [f"s{i}" for i in range(MAX_DEPTH + 2)]
    chain = dict(zip(names, [*names[1:], ""], strict=True))
    write(tmp_path, **chain)
    assert len(load_spec(tmp_path / "s1.yaml").files) == MAX_DEPTH + 1
    with pytest.raises(SpecError) as caught:
        load_spec(tmp_path / "s0.yaml")
    assert caught.value.diagnostics[0].code == "E011"


@pytest.mark.parametrize("extends", ["base", "base.yaml", "./base.yaml", "../near/base.yaml"])
@pytest.mark.parametrize("at", ["near/base.yaml", "base.yaml", "specs/base.yaml"])
def test_where_a_name_is_looked_for(extends: str, at: str, tmp_path: Path) -> None:
    """Beside the spec, above it, and in `specs/` above that; a path is taken as it stands."""
    folder = tmp_path / "top" / "near"
    folder.mkdir(parents=True)
    base = tmp_path / ("top" if not at.startswith("specs") else "") / at
    base.parent.mkdir(exist_ok=True)
    write(base.parent, base="")
    if extends != "base" and at != "near/base.yaml":
        with pytest.raises(SpecError) as caught:
            load_spec(write(folder, a=extends))
        assert caught.value.diagnostics[0].code == "E010"
    else:
        assert load_spec(write(folder, a=extends)).paths[1] == base


@pytest.mark.parametrize(
    ("extends", "hint"),
    [
        ("bsae", 'Did you mean "base"?'),
        ("zebra", ": base."),
        ("[base]", "extends: wan"),
        ("3", "extends: wan"),
        ("''", "base"),
        ("..", "base"),
        ("x" * 300, "base"),
    ],
)
def test_what_is_not_there_cannot_be_extended(extends: str, hint: str, tmp_path: Path) -> None:
    write(tmp_path, base="")
    with pytest.raises(SpecError) as caught:
        load_spec(write(tmp_path, a=extends))
    (found,) = caught.value.diagnostics
    assert (found.code, found.place.line, found.place.column) == ("E010", 3, 10)
    assert hint in found.remedy


def test_a_fault_in_what_is_extended_is_shown_there(tmp_path: Path) -> None:
    write(tmp_path, base="")
    text = (tmp_path / "base.yaml").read_text("utf-8")
    (tmp_path / "base.yaml").write_text(text.replace("kind:", "knid:"), encoding="utf-8")
    found = found_in(HEAD + "extends: base\n", tmp_path)
    assert {Path(d.place.file).name for d in found if d.code == "E101"} == {"base.yaml"}


# --- anything at all ----------------------------------------------------------------------------------

PIECES = st.lists(
    st.sampled_from(
        [
            *" \n\t:-?[]{},&*!|>'\"%@`#~=<0a\\",
            *("\n  ", "- ", ": ", "---\n", "...\n", "<<: ", "&a ", "*a ", "!!int ", "%YAML 1.1\n"),
            *(
                "portspec: 1\n",
                "family: a\n",
                "extends: ",
                "components:\n",
                "scope:\n  ",
                "0x",
                "1e",
            ),
            *("\ufeff", "\u2028", "\x85", "\x00", "é", "😀", "\\ud800", "\r\n", "null", ".nan"),
        ]
    ),
    max_size=40,
).map("".join)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the repository's specs and the network that one of them installs."""
    path = tmp_path_factory.mktemp("anything")
    shutil.copytree(ROOT / "specs", path / "specs")
    shutil.copytree(ROOT / "examples", path / "examples")
    return path


def is_told(found: list[Diagnostic]) -> bool:
    return all(d.code.startswith("E") and d.message and d.place.file for d in found)


@given(raw=st.one_of(PIECES.map(str.encode), st.text(max_size=60).map(str.encode), st.binary()))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_any_bytes_are_read_or_refused(raw: bytes, folder: Path) -> None:
    found = found_in(raw, folder / "specs")
    assert found, "nothing this short is a spec"
    assert is_told(found)


@given(start=st.integers(0, 10_000), length=st.integers(0, 60), new=PIECES)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_any_change_of_a_text_is_read_or_refused(
    start: int, length: int, new: str, folder: Path
) -> None:
    text = (ROOT / SPEC).read_text("utf-8")
    assert is_told(found_in(text[:start] + new + text[start + length :], folder / "specs"))


GONE = object()
HOSTILE = [
    "",
    "x",
    "x y",
    "$x",
    "../../etc",
    'a"b',
    '""" x\nimport os\n',
    "{{ x }}",
    "q\\",
    "x" * 300,
]
OTHERS = [GONE, None, 0, -1, 2.5, math.inf, 10**30, True, [], ["x"], [None], {}, {"a": 1}, *HOSTILE]


def paths_in(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    if isinstance(value, (dict, list)):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from paths_in(value[key], (*path, key))


def mutated(spec: Any, path: tuple[Any, ...], value: Any) -> Any:
    result = copy.deepcopy(spec)
    node = result
    for key in path[:-1]:
        node = node[key]
    if value is GONE:
        del node[path[-1]]
    else:
        node[path[-1]] = value
    return result


def judged(file: str, folder: Path, target: Target) -> Callable[[tuple[Any, ...], Any], None]:
    """Return a function that judges one change of a spec: either it is told, or the result is Python."""
    spec = YAML(typ="safe").load((ROOT / file).read_text("utf-8"))
    path = (folder / file).with_name("changed.yaml")

    def check(where: tuple[Any, ...], value: Any) -> None:
        text = json.dumps(mutated(spec, where, value)).replace("Infinity", ".inf")
        path.write_text(text, encoding="utf-8")
        try:
            judgement = judge(path, target)
        except PortspecError as error:
            assert is_told(list(error.diagnostics))
            return
        for change in judgement.plan.changes:
            if change.path.endswith(".py"):
                ast.parse(change.after or "")

    return check


@pytest.mark.parametrize("file", [SPEC, "examples/ported_network/port.yaml"])
def test_any_change_of_one_value_is_judged(file: str, folder: Path, target: Target) -> None:
    spec = YAML(typ="safe").load((ROOT / file).read_text("utf-8"))
    check = judged(file, folder, target)
    changes = given(st.sampled_from(list(paths_in(spec))), st.sampled_from(OTHERS))
    settings(max_examples=30, deadline=None, derandomize=True)(changes(check))()


REPORTED = [
    (SPEC, ("registry", 0, "hub"), [], "E112"),
    (SPEC, ("title",), 'Sky """ Reels', "E105"),
    (SPEC, ("scope", "variants", "t2v_14b_540p", "summary"), 'SkyReels "540p"', "E105"),
    (SPEC, ("pipeline", "scheduler", "args", "shift"), "$flow_shfit", "E611"),
    (SPEC, ("pipeline", "scheduler", "args", "shift"), "$flow_shift; import os", "E611"),
    (SPEC, ("examples", 0, "file"), "x" * 300, "E118"),
    (SPEC, ("weights", "directory"), 'x") + print("', ""),
    (SPEC, ("examples", 0, "story"), 'I want """quotes""" and \\ backslashes.', ""),
    (SPEC, ("presets", "skyreels_v2_t2v_14b_540p", "defaults", "fps", "value"), math.inf, "E605"),
]
NATIVE = "examples/ported_network/port.yaml"
PORT = ("components", "transformer", "port")
REPORTED += [
    (NATIVE, (*PORT, "derived", "hidden_size"), "in_channels *", "E105"),
    (NATIVE, (*PORT, "derived", "hidden_size"), "in_channel * 2", "E105"),
    (NATIVE, (*PORT, "derived", "hidden_size"), "1\n        import os", "E105"),
    (NATIVE, (*PORT, "derived", "hidden_size"), "__import__('os').system('x')", "E105"),
    (NATIVE, (*PORT, "derived", "hidden_size"), "max(in_channels, 8) // 2", ""),
    (NATIVE, (*PORT, "file"), "fastvideo/models/dits/a b.py", "E105"),
    (NATIVE, (*PORT, "source"), "x" * 300, "E118"),
    (NATIVE, ("components", "transformer", "mapping", 0, "to"), "patch\n.\\1", ""),
]


@pytest.mark.parametrize(("file", "where", "value", "code"), REPORTED)
def test_a_text_that_becomes_code_is_code_or_refused(
    file: str, where: tuple[Any, ...], value: Any, code: str, folder: Path, target: Target
) -> None:
    judged(file, folder, target)(where, value)
    path = (folder / file).with_name("changed.yaml")
    try:
        found = judge(path, target).diagnostics
    except PortspecError as error:
        found = error.diagnostics
    assert code in {d.code for d in found} or not code


@pytest.mark.parametrize(
    ("kind", "good"),
    [("float | None", True), ("list[int]", True), ("x y", False), ("os.PathLike", False)],
)
def test_a_new_argument_has_a_plain_type(
    kind: str, good: bool, folder: Path, target: Target
) -> None:
    parameter = {"type": kind, "default": None, "help": "What it does."}
    judged(SPEC, folder, target)(("sampling_params",), {"strength": parameter})
    found = judge(folder / "specs/changed.yaml", target).diagnostics
    assert ("E105" in {d.code for d in found}) != good
