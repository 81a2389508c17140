"""Laws that hold for every kind of edit, on FastVideo's real files."""

from __future__ import annotations

import ast
import json
import re
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from libcst.metadata import MetadataWrapper, PositionProvider

import portspec.edits as package
from portspec.codegen.format import style_of
from portspec.edits import Anchored, apply_edits, record, remove_edits, restore
from portspec.edits.call_statement import CallStatement
from portspec.edits.class_field import ClassField
from portspec.edits.dict_entry import DictEntry
from portspec.edits.import_name import ImportName
from portspec.edits.list_item import ListItem
from portspec.edits.source import Source, code, edited
from portspec.edits.table_row import TableRow
from portspec.edits.yaml_entry import YamlEntry
from portspec.errors import EmitError
from portspec.render import format_python
from portspec.tree import Tree

REGISTRY = "fastvideo/registry.py"
MODELS = "fastvideo/models/registry.py"
EXPORTS = "fastvideo/configs/pipelines/__init__.py"
SAMPLING = "fastvideo/api/sampling_param.py"
CALL = """register_configs(
    sampling_param_cls=None,
    pipeline_config_cls=FooConfig,
    workload_types=(WorkloadType.T2V, ),
    hf_model_paths=["Org/Foo"],
    model_family="foo",
    default_preset="foo_base",
)"""
FOO = (("hf_model_paths", '["Org/Foo"]'), ("default_preset", '"foo_base"'))
PRESETS = "fastvideo.pipelines.basic.foo.presets"

CASES: dict[str, Anchored] = {
    "dict entry": DictEntry(
        MODELS, "_TEXT_TO_VIDEO_DIT_MODELS", "FooTransformer", '("dits", "foo", "Foo")', "x"
    ),
    "dict entry in a short dict": DictEntry(
        MODELS, "_UPSAMPLERS", "FooUp", '("upsamplers", "foo", "Foo")', "x"
    ),
    "export": ListItem(EXPORTS, "__all__", '"FooConfig"', "x"),
    "item inside a function": ListItem(
        REGISTRY, "all_preset_groups", "FOO_PRESETS", "x", "_register_presets"
    ),
    "import": ImportName(
        REGISTRY,
        "fastvideo.configs.pipelines.foo",
        "FooConfig",
        "from fastvideo.configs.pipelines.foo import FooConfig",
        "x",
    ),
    "import inside a function": ImportName(
        REGISTRY,
        PRESETS,
        "ALL_PRESETS as FOO_PRESETS",
        f"from {PRESETS} import (\n    ALL_PRESETS as FOO_PRESETS, )",
        "x",
        "_register_presets",
    ),
    "call at the end": CallStatement(
        REGISTRY, "_register_configs", "register_configs", FOO, CALL, "x", "Foo"
    ),
    "call before another": CallStatement(
        REGISTRY,
        "_register_configs",
        "register_configs",
        FOO,
        CALL,
        "x",
        "Foo",
        before=(("default_preset", '"wan_t2v_1_3b"'),),
    ),
    "call before the first": CallStatement(
        REGISTRY,
        "_register_configs",
        "register_configs",
        FOO,
        CALL,
        "x",
        before=(("default_preset", '"mmaudio_large_44k_v2"'),),
    ),
    "argument of a parser": CallStatement(
        SAMPLING,
        "SamplingParam.add_cli_args",
        "parser.add_argument",
        (("", '"--foo"'),),
        'parser.add_argument(\n    "--foo",\n    type=float,\n    default=SamplingParam.foo,\n)',
        "x",
        blank_line=False,
    ),
    "field": ClassField(SAMPLING, "SamplingParam", "foo", "float | None", "None", "x"),
    "field with a comment": ClassField(
        SAMPLING, "SamplingParam", "foo", "int", "3", "x", "how many"
    ),
}
MATRIX = """# Models

| Family | HuggingFace Model ID | Workloads | Example |
|---|---|---|---|
| cosmos | `nvidia/Cosmos` | T2V | — |
| wan | `Wan-AI/Wan2.1` | T2V | — |

Text after the table | with a bar.
"""
INVENTORY = """surfaces:
  sampling_param_base:
    moved:
      fps: request.sampling.fps
    preset_owned:
      # a comment of a person's
      t_thresh: request.stage_overrides.refine.t_thresh
      camera:
        target: request.extensions.camera
    internal_only:
      callback: "not public"
"""
TEXT_CASES: dict[str, tuple[Anchored, str]] = {
    "row in the middle": (
        TableRow(
            "m.md", ("Family", "HuggingFace Model ID"), ("foo", "`Org/Foo`", "T2V", "—"), 1, "x"
        ),
        MATRIX,
    ),
    "row at the start": (
        TableRow(
            "m.md", ("Family", "HuggingFace Model ID"), ("aaa", "`Org/Aaa`", "T2V", "—"), 1, "x"
        ),
        MATRIX,
    ),
    "YAML entry": (
        YamlEntry(
            "i.yaml", ("surfaces", "sampling_param_base", "preset_owned"), "foo", "request.foo", "x"
        ),
        INVENTORY,
    ),
}


@pytest.fixture(params=[*CASES, *TEXT_CASES])
def case(request: pytest.FixtureRequest, tree: Tree) -> tuple[Anchored, str]:
    if request.param in CASES:
        edit = CASES[request.param]
        return edit, tree.text(edit.path)
    return TEXT_CASES[request.param]


def test_every_kind_has_a_case() -> None:
    kinds = {info.name for info in iter_modules(package.__path__)} - {"source", "lazy"}
    edits = [*CASES.values(), *(edit for edit, _ in TEXT_CASES.values())]
    assert {type(e).__module__.rpartition(".")[2] for e in edits} == kinds


def test_applied_twice_is_applied_once(case: tuple[Anchored, str]) -> None:
    edit, text = case
    once = apply_edits(text, [edit])
    assert once != text
    assert apply_edits(once, [edit]) == once


def test_taking_it_out_restores_every_byte(case: tuple[Anchored, str]) -> None:
    edit, text = case
    assert remove_edits(apply_edits(text, [edit]), [edit]) == text


def test_nothing_else_is_touched(case: tuple[Anchored, str]) -> None:
    """What is added is one run of characters; a comma may go in before it."""
    edit, text = case
    after = apply_edits(text, [edit])
    common = len(_shared(text, after))
    tail = len(_shared(text[common:][::-1], after[common:][::-1]))
    assert common + tail == len(text)


def _shared(a: str, b: str) -> str:
    size = next(
        (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
    )
    return a[:size]


def test_the_result_is_still_python(case: tuple[Anchored, str]) -> None:
    edit, text = case
    if edit.path.endswith(".py"):
        ast.parse(apply_edits(text, [edit]))


def test_the_tree_s_own_formatter_leaves_it_alone(tree: Tree) -> None:
    """A file that FastVideo's formatter leaves as it is stays so with our entries in it."""
    for path in (REGISTRY, EXPORTS):
        edits = [edit for name, edit in CASES.items() if edit.path == path and "before" not in name]
        text = tree.text(path)
        style = style_of(tree)
        assert format_python(text, style, tree.cache) == text, (
            "the released file is not in its own format"
        )
        after = apply_edits(text, edits)
        assert format_python(after, style, tree.cache) == after


def test_windows_line_ends_stay(case: tuple[Anchored, str]) -> None:
    edit, text = case
    text = text.replace("\n", "\r\n")
    after = apply_edits(text, [edit])
    assert not re.search(r"(?<!\r)\n", after)
    assert remove_edits(after, [edit]) == text


def test_it_can_be_recorded(case: tuple[Anchored, str]) -> None:
    edit, text = case
    again = restore(json.loads(json.dumps(record(edit))))
    assert again == edit
    assert again.is_in(apply_edits(text, [edit]))


@pytest.mark.parametrize(
    ("edit", "changed"),
    [
        (
            CASES["dict entry"],
            DictEntry(
                MODELS, "_TEXT_TO_VIDEO_DIT_MODELS", "FooTransformer", '("a", "b", "c")', "x"
            ),
        ),
        (
            CASES["call at the end"],
            CallStatement(
                REGISTRY,
                "_register_configs",
                "register_configs",
                FOO,
                CALL.replace("T2V", "I2V"),
                "x",
                "Foo",
            ),
        ),
        (CASES["field"], ClassField(SAMPLING, "SamplingParam", "foo", "int", "1", "x")),
    ],
)
def test_an_entry_that_says_something_else_is_refused(
    edit: Anchored, changed: Anchored, tree: Tree
) -> None:
    text = apply_edits(tree.text(edit.path), [changed])
    with pytest.raises(EmitError) as caught:
        apply_edits(text, [edit])
    assert caught.value.diagnostics[0].code == "E221"
    assert caught.value.diagnostics[0].place.line > 1


@pytest.mark.parametrize(
    "edit",
    [
        DictEntry(MODELS, "_NO_SUCH_TABLE", "Foo", "1", "x"),
        ListItem(EXPORTS, "__nothing__", '"Foo"', "x"),
        CallStatement(REGISTRY, "_no_such_function", "register_configs", FOO, CALL, "x"),
        ClassField(SAMPLING, "NoSuchClass", "foo", "int", "1", "x"),
        YamlEntry("i.yaml", ("surfaces", "nothing"), "foo", "bar", "x"),
        TableRow("m.md", ("No", "Such"), ("a", "b"), 0, "x"),
    ],
)
def test_a_missing_container_is_refused(edit: Anchored, tree: Tree) -> None:
    text = {"i.yaml": INVENTORY, "m.md": MATRIX}.get(edit.path) or tree.text(edit.path)
    with pytest.raises(EmitError) as caught:
        apply_edits(text, [edit])
    assert caught.value.diagnostics[0].code == "E222"


def test_a_neighbour_s_comment_stays() -> None:
    text = 'TABLE = {\n    # about a\n    "a": 1,  # one\n    # about b\n    "b": 2,\n}\n'
    entry = DictEntry("t.py", "TABLE", "a", "1", "x")
    assert (
        remove_edits(text, [entry]) == 'TABLE = {\n    # about a\n    # about b\n    "b": 2,\n}\n'
    )


def test_a_neighbour_of_tuples_stays() -> None:
    """The parentheses of a value are the value's, on one line or on many."""
    text = 'TABLE = {\n    "a": (1, 2),  # about a\n    "b": (3, 4),\n}\n'
    entry = DictEntry("t.py", "TABLE", "b", "(3, 4)", "x")
    assert remove_edits(text, [entry]) == 'TABLE = {\n    "a": (1, 2),  # about a\n}\n'
    assert remove_edits('TABLE = {"b": (3, 4)}\n', [entry]) == "TABLE = {}\n"
    assert apply_edits('TABLE = {"a": (1, 2)}\n', [entry]) == (
        'TABLE = {"a": (1, 2), "b": (3, 4)}\n'
    )
    item = ListItem("t.py", "NAMES", "(3, 4)", "x")
    assert remove_edits("NAMES = [(1, 2), (3, 4)]\n", [item]) == "NAMES = [(1, 2)]\n"


def test_the_first_of_several_leaves_the_others() -> None:
    text = "NAMES = [A, B]\nTABLE = {'a': 1, 'b': 2}\n"
    assert remove_edits(text, [ListItem("t.py", "NAMES", "A", "x")]).startswith("NAMES = [B]\n")
    assert remove_edits(text, [DictEntry("t.py", "TABLE", "a", "1", "x")]).endswith("{'b': 2}\n")


_LINES = """# a comment on top

import os; import sys

# about the class
@decorated
@twice(
    1)
# about its name
class Names:
    \"\"\"Two
    lines.\"\"\"

    first = 1; second = 2  # both

    async def method(self) -> None:  # stays
        # about the call
        call(
            1,
        )
        if self: pass

def short(): return 1
"""


def test_lines_of_statements_are_those_of_libcst(tree: Tree) -> None:
    """Python's parser counts them, a semicolon and a decorator as LibCST does."""
    for text in (_LINES, *(tree.text(path) for path in (REGISTRY, MODELS, SAMPLING))):
        source = Source(text)
        wrapper = MetadataWrapper(source.module, unsafe_skip_copy=True)
        positions = wrapper.resolve(PositionProvider)
        lines = source.statement_lines
        assert len(lines) > 5
        for node, found in lines.items():
            assert found == (positions[node].start.line, positions[node].end.line), code(node)


def test_form_feeds_and_separators_do_not_shift_lines() -> None:
    text = 'A = "\x0c\u2028"\n\nTABLE = {\n    "b": 2,\n}\n'
    entry = DictEntry("t.py", "TABLE", "c", "3", "x")
    assert apply_edits(text, [entry]) == text.replace("}", '    "c": 3,\n}')


def test_what_was_put_in_is_nobody_s_edit(case: tuple[Anchored, str]) -> None:
    edit, text = case
    assert not edited(edit, text)
    assert not edited(edit, apply_edits(text, [edit]))
    assert not edited(edit, apply_edits(text.replace("\n", "\r\n"), [edit]))


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("dict entry", '("dits", "foo", "Foo"),', '("dits", "foo", "Foo"),  # reviewed by Ann'),
        ("dict entry", '("dits", "foo", "Foo")', '("dits", "foo", "Bar")'),
        ("import", "import FooConfig", "import FooConfig  # noqa: F401"),
        (
            "call at the end",
            'model_family="foo",',
            '# reviewed by Ann\n        model_family="foo",',
        ),
        ("call at the end", 'model_family="foo",', 'model_family="bar",'),
        ("argument of a parser", '"--foo",', '"--foo",  # reviewed by Ann'),
        ("field", "foo: float | None = None", "foo: float | None = None  # reviewed by Ann"),
        ("field with a comment", "# how many", "# how many, and why"),
        ("YAML entry", "foo: request.foo", "foo: request.foo  # reviewed by Ann"),
        ("YAML entry", "foo: request.foo", "foo: request.bar"),
        ("row at the start", "| aaa |", "| abc |"),
    ],
)
def test_what_a_person_has_changed_in_it_is_seen(tree: Tree, name: str, old: str, new: str) -> None:
    edit, text = (CASES[name], tree.text(CASES[name].path)) if name in CASES else TEXT_CASES[name]
    after = apply_edits(text, [edit])
    assert after.count(old) == 1
    changed = after.replace(old, new)
    line = edited(edit, changed)
    assert 0 <= changed[: changed.index(new)].count("\n") + 1 - line <= len(CALL.splitlines())


def test_of_two_calls_with_one_identity_the_same_one_is_meant() -> None:
    """Taking out the one without an id must not take out the one with it."""
    one, two = 'add(id="a", preset="p")', 'add(preset="p")'
    text = f"def f():\n    {one}\n    {two}\n"
    call = CallStatement("t.py", "f", "add", (("preset", '"p"'),), two, "x", blank_line=False)
    assert call.is_in(text)
    assert remove_edits(text, [call]) == f"def f():\n    {one}\n"


NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)


@given(
    st.lists(NAMES, unique=True, min_size=1, max_size=6),
    st.lists(NAMES, unique=True, max_size=6),
    st.data(),
)
@settings(max_examples=150, deadline=None)
def test_many_entries_in_any_order(new: list[str], old: list[str], data: st.DataObject) -> None:
    """Whatever a dict holds and however it is laid out: all in, twice the same, out again without a trace."""
    layout = data.draw(
        st.sampled_from(
            ['    "{k}": {v},\n', '    "{k}": {v},  # note\n', '    "{k}":\n    {v},\n']
        )
    )
    rows = "".join(layout.format(k=key, v=i) for i, key in enumerate(old))
    text = f"X = 1\nTABLE = {{\n{rows}}}\nY = 2\n" if old else "X = 1\nTABLE = {}\nY = 2\n"
    edits = [
        DictEntry("t.py", "TABLE", key, str(100 + i), "x")
        for i, key in enumerate(new)
        if key not in old
    ]
    if not edits or (not old and len(edits) > 1):
        edits = edits[:1]
    after = apply_edits(text, edits)
    assert apply_edits(after, edits) == after
    assert remove_edits(after, edits) == text
    expected = {**{key: i for i, key in enumerate(old)}, **{e.key: int(e.value) for e in edits}}
    names: dict[str, object] = {}
    exec(after, names)
    assert names["TABLE"] == expected


def test_edit_modules_name_one_class_each() -> None:
    """`restore` finds a class by its file's name."""
    for info in iter_modules([str(Path(package.__file__).parent)]):
        if info.name not in ("source", "lazy"):
            name = "".join(word.capitalize() for word in info.name.split("_"))
            assert hasattr(import_module(f"portspec.edits.{info.name}"), name)
