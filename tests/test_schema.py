"""The JSON Schemas: up to date, valid, of one mind with the compiler, and plain enough for an editor."""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from portspec.backend import backends
from portspec.commands import CLEAN, PENDING
from portspec.language import load_spec
from portspec.load import parse
from portspec.schema import port_schema, schemas
from portspec.spec import PortSpec
from tests.conftest import ROOT, SPEC, run

SPECS = sorted(ROOT.glob("specs/*.yaml")) + sorted(ROOT.glob("examples/*/port.yaml"))
NAMES = sorted(path.name for path in ROOT.glob("schemas/*.json"))
PORT = json.loads((ROOT / "schemas/port.v1.json").read_text("utf-8"))
EDITOR = Draft202012Validator(PORT)
COMPLETE = Draft202012Validator(port_schema(complete=True))
WHOLE = load_spec(ROOT / SPEC).root.plain()


def plain(path: Path) -> Any:
    return parse(path.read_text("utf-8"), path.name).plain()


def walk(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    yield path, node
    if isinstance(node, (dict, list)):
        for key in node if isinstance(node, dict) else range(len(node)):
            yield from walk(node[key], (*path, key))


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    result = copy.deepcopy(value)
    node = result
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = new
    return result


def test_the_files_are_up_to_date(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    assert run("schema", "--check") == CLEAN
    assert capsys.readouterr() == ("", "")


def test_write_makes_what_check_wants(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("schema", "--check") == PENDING
    assert not list(tmp_path.iterdir()), "checking writes nothing"
    assert run("schema", "--write") == CLEAN
    assert run("schema", "--check") == CLEAN
    for path in [p for p in tmp_path.rglob("*") if p.is_file()]:
        assert path.read_bytes() == (ROOT / path.relative_to(tmp_path)).read_bytes()
    (tmp_path / "schemas/port.v1.json").write_text("{}", encoding="utf-8")
    capsys.readouterr()
    assert run("schema", "--check") == PENDING
    assert capsys.readouterr().err == "schemas/port.v1.json is out of date\n"


@pytest.mark.parametrize("name", NAMES)
def test_each_is_a_schema_of_its_draft(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("schema", name) == CLEAN
    text = capsys.readouterr().out
    assert text == (ROOT / "schemas" / name).read_text("utf-8")
    schema = json.loads(text)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"].endswith(f"/schemas/{name}")
    assert schema["title"]
    Draft202012Validator.check_schema(schema)


def test_every_schema_has_a_file() -> None:
    assert sorted(schemas()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_object_says_all_its_keys(name: str) -> None:
    """What a program reads is either closed, or a mapping whose values are described."""
    for path, node in walk(json.loads((ROOT / "schemas" / name).read_text("utf-8"))):
        if isinstance(node, dict) and "properties" in node and path[-1:] != ("properties",):
            assert node["additionalProperties"] is False, path


# --- port.yaml ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SPECS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_spec_is_as_the_schema_says(path: Path) -> None:
    """One file alone, as an editor sees it, and with all that it extends."""
    assert not list(EDITOR.iter_errors(plain(path)))
    assert not list(COMPLETE.iter_errors(load_spec(path).root.plain()))


def test_the_skeleton_of_init_is_as_the_schema_says() -> None:
    text = backends()[0].skeleton("new_family")
    assert not list(COMPLETE.iter_errors(parse(text, "new_family.yaml").plain()))


@pytest.mark.parametrize("path", SPECS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_spec_names_its_schema(path: Path) -> None:
    """The first line is for the YAML language server; it leads to the file, wherever the spec stands."""
    line = path.read_text("utf-8").splitlines()[0]
    found = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", line)
    assert found
    assert (path.parent / found[1]).resolve() == ROOT / "schemas/port.v1.json"


SECTIONS = [path for path, node in walk(WHOLE) if isinstance(node, dict)]
FREE = re.compile(
    r"\.(args|reduced|config_fields|flags|params|unused|absent|blind|inputs|derived)$"
)


def where(path: tuple[Any, ...]) -> str:
    return "." + ".".join(str(key) for key in path)


@pytest.mark.parametrize("path", [p for p in SECTIONS if not FREE.search(where(p))], ids=where)
def test_an_unknown_key_is_refused(path: tuple[Any, ...]) -> None:
    """In every section, by the schema and by the compiler; names of components and such are free."""
    spec = changed(WHOLE, (*path, "no such key"), 1)
    assert not COMPLETE.is_valid(spec)
    with pytest.raises(ValidationError):
        PortSpec.model_validate(spec)


def test_the_schema_and_the_compiler_are_of_one_mind() -> None:
    """On the same changes: an editor shows what `check` would, and nothing else."""
    draw = random.Random(0)
    others = ["x", "", [], {}, True, 0, -1, 7.5, ["x"], {"x": "y"}, {"X-1": 1}, "T2V", [[]]]
    paths = [path for path, _ in walk(WHOLE) if path]
    for path in draw.sample(paths, 120):
        spec = changed(WHOLE, path, other := draw.choice(others))
        errors = [(list(e.absolute_path), e.message) for e in COMPLETE.iter_errors(spec)]
        try:
            PortSpec.model_validate(spec)
            assert not errors, (path, other)
        except ValidationError as error:
            assert errors, (path, other, str(error))


@pytest.mark.parametrize(
    "path",
    [
        ("components",),
        ("components", "vae"),
        ("components", "vae", "reuse"),
        ("components", "vae", "kind"),
        ("components", "vae", "parity"),
        ("components", "vae", "parity", "scope"),
        ("components", "vae", "parity", "tolerance"),
        ("components", "vae", "precision"),
        ("components", "vae", "unused", "x"),
        ("pipeline",),
        ("pipeline", "stages"),
        ("official", "references"),
    ],
    ids=where,
)
def test_null_takes_away_what_may_be_inherited(path: tuple[Any, ...]) -> None:
    spec = {"portspec": 1, "family": "fam", "extends": "base"}
    node: dict[str, Any] = spec
    for key in path[:-1]:
        node = node.setdefault(key, {})
    node[path[-1]] = None
    assert not list(EDITOR.iter_errors(spec))


@pytest.mark.parametrize("key", ["portspec", "family", "title", "scope", "presets", "decisions"])
def test_null_is_nothing_for_what_is_never_inherited(key: str) -> None:
    spec = {"portspec": 1, "family": "fam", "extends": "base", key: None}
    assert not EDITOR.is_valid(spec)


def test_a_spec_that_extends_none_needs_its_sections() -> None:
    alone = {"portspec": 1, "family": "fam"}
    assert EDITOR.is_valid(alone), "an editor cannot know what is inherited"
    missing = {error.message for error in COMPLETE.iter_errors(alone)}
    assert missing == {f"'{key}' is a required property" for key in ("official", "components")}
    assert not EDITOR.is_valid({"portspec": 1})
    assert not EDITOR.is_valid({"family": "fam"})


def test_everything_is_described() -> None:
    for name, section in PORT["$defs"].items():
        assert section["description"].endswith("."), name
    for path, node in walk(PORT):
        if path[-2:-1] == ("properties",) and path[-3:-2] != ("properties",):
            text = node.get("description") or PORT["$defs"][node["$ref"].rpartition("/")[2]]
            assert text, path
            assert "TODO" not in str(text), path


def test_there_is_no_noise() -> None:
    """No choice between a value and null, no titles that repeat a key, no defaults that say nothing."""
    for path, node in walk(PORT):
        if not isinstance(node, dict) or path[-1:] == ("properties",):
            continue
        assert not {"anyOf", "oneOf", "allOf"} & set(node), path
        assert node.get("type") != "null", path
        assert "title" not in node or not path, path
        assert node.get("default", 0) is not None, path
        assert "inherit" not in node, path


def test_every_definition_is_used_and_there() -> None:
    used = {n["$ref"] for _, n in walk(PORT) if isinstance(n, dict) and "$ref" in n}
    assert used == {f"#/$defs/{name}" for name in PORT["$defs"]}


def test_what_is_not_inherited_is_said() -> None:
    notes = {key for key, field in PORT["properties"].items() if "Not inherited" in str(field)}
    inheritable = {"official", "components", "pipeline"}
    assert notes == set(PORT["properties"]) - inheritable
