"""What every emitted file has in common, and what every emitter promises about its edits."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pytest
from yapf.yapflib.yapf_api import FormatCode

import portspec.codegen.emitters as package
from portspec.apply import write_all
from portspec.backend import Target
from portspec.cache import Cache, content_sha
from portspec.codegen.emitters import Context, emit_all
from portspec.codegen.format import is_formatted
from portspec.codegen.index import FastVideoIndex
from portspec.edits import Edit
from portspec.judge import judge
from portspec.plan import Plan, make_plan, undone
from portspec.state import FOLDER, OwnedFile, State, read_state
from portspec.tree import Tree
from tests.conftest import ROOT
from tests.trees import ARGUMENT, SPECS, Port, contents, documentation, port

EMITTERS = sorted(info.name for info in iter_modules(package.__path__))


@pytest.fixture(params=SPECS)
def built(
    request: pytest.FixtureRequest, released: Path, tmp_path_factory: pytest.TempPathFactory
) -> Port:
    return port(request.param, released, tmp_path_factory)


def python(files: dict[str, str]) -> dict[str, str]:
    return {path: text for path, text in files.items() if path.endswith(".py")}


# --- files -----------------------------------------------------------------------------------------


def test_emitted_python_compiles_without_a_warning(built: Port) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for path, text in python({**built.created, **built.edited}).items():
            compile(text, path, "exec", dont_inherit=True)


def test_emitted_python_knows_nothing_of_portspec(built: Port) -> None:
    """A port stands alone: whoever has FastVideo and the official library can run it."""
    for path, text in python(built.created).items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                modules = [node.module or ""]
            else:
                continue
            assert not [m for m in modules if m.partition(".")[0] == "portspec"], path


def test_the_tree_s_own_formatter_leaves_emitted_python_alone(built: Port) -> None:
    """YAPF as FastVideo runs it: its settings, and the files that its pre-commit does not leave out."""
    settings = str(built.folder / "pyproject.toml")
    files = {p: t for p, t in python(built.created).items() if is_formatted(p)}
    files |= {p: t for p, t in built.edited.items() if is_formatted(p) and _is_stable(built, p)}
    assert "fastvideo/registry.py" in files
    assert len(files) >= 4
    for path, text in files.items():
        if text:
            assert FormatCode(text, style_config=settings)[0] == text, path


def _is_stable(built: Port, path: str) -> bool:
    before = built.before[path].decode()
    formatted, _ = FormatCode(before, style_config=str(built.folder / "pyproject.toml"))
    return bool(formatted == before)


def test_the_tree_s_own_linter_finds_nothing_in_emitted_python(built: Port) -> None:
    """Ruff as FastVideo runs it, with the rules of its pyproject.toml."""
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format=concise"]
    done = subprocess.run(
        [*command, *python(built.created)],
        cwd=built.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "All checks passed!\n", done.stdout + done.stderr


def test_emitted_files_are_tidy(built: Port) -> None:
    for path, text in built.created.items():
        assert "\t" not in text and "\r" not in text, path
        assert not re.search(r"[ \t]+$", text, re.MULTILINE), path
        assert text == "" or (text.endswith("\n") and not text.endswith("\n\n")), path


def test_nothing_of_this_machine_or_moment_is_written(built: Port) -> None:
    """Neither into the port nor into the record of it, which is committed too."""
    here = {str(built.folder), str(ROOT), str(Path.home()), sys.prefix}
    here |= {os.uname().nodename} - {"localhost"}
    spec = (ROOT / SPECS[built.family]).read_text("utf-8")
    for path, text in {**built.created, **built.record}.items():
        for word in here:
            assert not re.search(rf"(?<![\w.-]){re.escape(word)}(?![\w.-])", text), (path, word)
        assert not re.search(r"\d\d:\d\d:\d\d", text), path
        assert not re.search(r"(?<![0-9a-fA-F])1[5-9]\d{8}(?![0-9a-fA-F])", text), path
        for date in re.findall(r"\d{4}-\d\d-\d\d", text):
            assert date in spec, (path, date)


_ELSEWHERE = """
import sys
from portspec.cli import main
status = [main(["build", spec, "--target", folder, "--no-gates"])
          for spec, folder in zip(sys.argv[1::2], sys.argv[2::2])]
sys.exit(any(status))
"""


@pytest.fixture(scope="module")
def again(released: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each port built once more: another process, folder, hash seed, cache, time zone and home."""
    folder = tmp_path_factory.mktemp("again")
    arguments = []
    for family, spec in SPECS.items():
        shutil.copytree(released, folder / family)
        arguments += [str(ROOT / spec), family]
    elsewhere = {"PYTHONHASHSEED": "7", "PORTSPEC_CACHE": str(folder / "cache")}
    elsewhere |= {"TZ": "Asia/Tokyo", "HOME": str(folder), "LC_ALL": "C"}
    command = [sys.executable, "-c", _ELSEWHERE, *arguments]
    subprocess.run(command, cwd=folder, env={**os.environ, **elsewhere}, check=True)
    return folder


def test_a_port_is_the_same_wherever_it_is_built(built: Port, again: Path) -> None:
    found = contents(again / built.family)
    assert found.keys() == built.after.keys()
    assert [path for path in found if found[path] != built.after[path]] == []


# --- and back --------------------------------------------------------------------------------------


def test_a_whole_port_can_be_thought_away(built: Port, cache: Cache) -> None:
    """`undone` is what the next build starts from; only what a person owns is left."""
    tree = Tree(built.folder, cache)
    state = read_state(built.folder, built.family)
    texts = undone(tree, state, cache)
    left = {path for path, owned in state.files.items() if owned.ownership == "scaffold"}
    assert {path for path, text in texts.items() if text is None} == built.created.keys() - left
    for path, text in texts.items():
        if text is not None:
            assert text.encode() == built.before[path], path
    assert texts.keys() == (built.created.keys() - left) | built.edited.keys()


@dataclass(frozen=True)
class Case:
    """A port that makes emitters speak, judged against a tree that nobody has written to."""

    context: Context
    tree: Tree

    def edits(self, name: str) -> list[Edit]:
        emitter = import_module(f"{package.__name__}.{name}")
        return list(emitter.emit(self.context)) if emitter.applies(self.context) else []


def case(spec: Path, tree: Tree) -> Case:
    judgement = judge(spec, Target(tree, tree.cache))
    assert judgement.is_sound, judgement.diagnostics
    return Case(Context(judgement.port, FastVideoIndex(judgement.port.tree)), tree)


@pytest.fixture(scope="module")
def cases(tree: Tree, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    """The repository's ports, and one with an argument of its own in a tree with documentation."""
    found = {family: case(ROOT / spec, tree) for family, spec in SPECS.items()}
    folder = tmp_path_factory.mktemp("specs")
    shutil.copytree(ROOT / "specs/surfaces", folder / "surfaces")
    for spec in (ROOT / "specs").glob("*.yaml"):
        text = spec.read_text("utf-8")
        extra = ARGUMENT if spec.stem == "skyreels_v2" else ""
        (folder / spec.name).write_text(text + extra, encoding="utf-8")
    documented = tree.overlay(documentation(tree))
    return {**found, "documented": case(folder / "skyreels_v2.yaml", documented)}


def plan_of(edits: Sequence[Edit], tree: Tree, state: State | None = None) -> Plan:
    plan = make_plan(edits, state or State(), tree, tree.cache)
    assert plan.conflicts == ()
    return plan


def state_of(plan: Plan) -> State:
    """What a build of this plan would record."""
    files = {
        file.path: OwnedFile(
            file.ownership,
            file.item,
            content_sha(file.text),
            file.text if file.ownership == "generated" else None,
        )
        for file in plan.files
    }
    return State(files, plan.entries)


def test_every_emitter_has_something_to_say_in_some_case(cases: dict[str, Case]) -> None:
    silent = [name for name in EMITTERS if not any(c.edits(name) for c in cases.values())]
    assert silent == []


@pytest.mark.parametrize("name", EMITTERS)
def test_what_an_emitter_puts_in_can_be_taken_out(cases: dict[str, Case], name: str) -> None:
    for found in cases.values():
        edits = found.edits(name)
        plan = plan_of(edits, found.tree)
        assert len(list(plan.writes())) == len({edit.path for edit in edits})
        staged = found.tree.overlay(plan.overlay())
        back = plan_of([], staged, state_of(plan))
        scaffolds = {file.path for file in plan.files if file.ownership == "scaffold"}
        assert {c.path for c in back.changes if c.kind == "kept"} == scaffolds
        for change in back.writes():
            before = found.tree.text(change.path) if found.tree.exists(change.path) else None
            assert change.after == before, change.path


@pytest.mark.parametrize("name", EMITTERS)
def test_an_emitter_changes_nothing_that_it_has_done_already(
    cases: dict[str, Case], name: str
) -> None:
    for found in cases.values():
        edits = found.edits(name)
        plan = plan_of(edits, found.tree)
        staged = found.tree.overlay(plan.overlay())
        assert list(plan_of(edits, staged, state_of(plan)).writes()) == []


@pytest.mark.parametrize("name", EMITTERS)
def test_an_emitter_says_the_same_twice(cases: dict[str, Case], name: str) -> None:
    for found in cases.values():
        assert found.edits(name) == found.edits(name)


def test_emitters_know_nothing_of_each_other(cases: dict[str, Case]) -> None:
    """So the order in which they run means nothing."""
    for found in cases.values():
        one = plan_of([e for name in EMITTERS for e in found.edits(name)], found.tree)
        two = plan_of([e for name in reversed(EMITTERS) for e in found.edits(name)], found.tree)
        assert one.overlay() == two.overlay()


def test_every_emitter_runs_either_before_the_gates_or_after(cases: dict[str, Case]) -> None:
    for found in cases.values():
        both = [*emit_all(found.context, reports=False), *emit_all(found.context, reports=True)]
        alone = [edit for name in EMITTERS for edit in found.edits(name)]
        assert sorted(map(repr, both)) == sorted(map(repr, alone))


def test_every_edit_says_which_part_of_the_spec_it_comes_from(cases: dict[str, Case]) -> None:
    for found in cases.values():
        spec = found.context.port.spec
        for name in EMITTERS:
            for edit in found.edits(name):
                assert _leads_somewhere(edit.item, spec), edit.item


def _leads_somewhere(item: str, spec: object) -> bool:
    """Follow `registry[0].hub` through the spec; `spec` is the whole of it."""
    value = spec
    for part in _parts(item):
        if isinstance(part, int):
            value = value[part]  # type: ignore[index]
        elif isinstance(value, dict):
            value = value[part]
        else:
            value = getattr(value, part, getattr(value, f"{part}_", None))
        if value is None:
            return False
    return True


def _parts(item: str) -> Iterator[str | int]:
    if item == "spec":
        return
    for part in re.findall(r"[^.\[\]]+", item):
        yield int(part) if part.isdigit() else part


def test_a_port_that_is_taken_out_of_the_tree_leaves_it_as_it_was(
    built: Port, tmp_path: Path
) -> None:
    """On disk, by what a build does when its spec shrinks to nothing."""
    folder = tmp_path / "FastVideo"
    shutil.copytree(built.folder, folder)
    cache = Cache()
    plan = make_plan([], read_state(folder, built.family), Tree(folder, cache), cache)
    write_all(folder, {change.path: change.after for change in plan.writes()})
    shutil.rmtree(folder / FOLDER)
    kept = {c.path for c in plan.changes if c.kind == "kept"}
    left = contents(folder)
    assert {path: left[path] for path in left if path not in kept} == built.before
    assert kept == ({"fastvideo/models/dits/skyreels_native.py"} & built.created.keys())
