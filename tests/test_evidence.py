"""Evidence stands while all that its gate read is the same, and not a moment longer."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from portspec import build as building
from portspec.backend import Target
from portspec.build import Prepared, apply, prepare, prove, still_valid
from portspec.cache import Cache
from portspec.gates.result import GateResult
from portspec.judge import judge
from portspec.official import OfficialSource
from portspec.settings import Settings
from portspec.tree import Tree
from tests.conftest import ROOT, SPEC

TESTS = "tests/local_tests/skyreels_v2"


def inputs(target: Target, settings: Settings | None = None) -> dict[str, dict[str, str]]:
    prepared = prepare(judge(Path(SPEC), target), settings or Settings())
    return {gate.name: dict(gate.inputs) for gate in prepared.gates.gates}


def changed(before: dict[str, dict[str, str]], after: dict[str, dict[str, str]]) -> set[str]:
    return {name for name in before if before[name] != after.get(name)}


def edit(path: Path, change: Callable[[Any], None]) -> None:
    yaml = YAML()
    document = yaml.load(path.read_text("utf-8"))
    change(document)
    yaml.dump(document, path)


def test_what_a_variant_changes_is_proved_again(workspace: Path, target: Target) -> None:
    before = inputs(target)
    args = {"transformer": {"args": {"num_layers": 48}}}
    edit(Path(SPEC), lambda d: d["scope"]["variants"]["t2v_14b_720p"].update(components=args))
    assert {"surfaces", "mapping"} <= changed(before, inputs(target))


def test_another_spelling_of_a_sentence_is_not_proved_again(
    workspace: Path, target: Target
) -> None:
    before = inputs(target)
    edit(Path(SPEC), lambda d: d["docs"]["notes"].append("One more note."))
    assert not changed(before, inputs(target))


@pytest.mark.parametrize(
    "path", ["tests/local_tests/__init__.py", f"{TESTS}/__init__.py", f"{TESTS}/parity.py"]
)
def test_files_that_a_test_runs_are_read(
    path: str, copy: Path, workspace: Path, cache: Cache
) -> None:
    target = Target(Tree(copy, cache), cache)
    apply(prepare(judge(Path(SPEC), target), Settings()))
    built = Target(Tree(copy, cache), cache)
    before = inputs(built)
    file = copy / path
    text = file.read_text("utf-8") if file.exists() else ""
    file.write_text(f"{text}\nimport torch\n", encoding="utf-8")
    gates = changed(before, inputs(Target(Tree(copy, cache), cache)))
    assert "parity.transformer" in gates


def test_surfaces_of_other_arguments_are_another_file(workspace: Path, target: Target) -> None:
    def written() -> tuple[str, ...]:
        gates = prepare(judge(Path(SPEC), target), Settings()).gates.gates
        return next(g.produces for g in gates if g.name == "surfaces")

    before = written()
    args = {"transformer": {"args": {"num_layers": 48}}}
    edit(Path(SPEC), lambda d: d["scope"]["variants"]["t2v_14b_720p"].update(components=args))
    assert written() != before


def test_weights_behind_a_link_are_seen(workspace: Path, target: Target, tmp_path: Path) -> None:
    real, given = tmp_path / "real", tmp_path / "given"
    real.mkdir()
    given.mkdir()
    weights = real / "model.safetensors"
    weights.write_bytes(b"a" * 100)
    (given / "transformer").symlink_to(real)
    (given / "again").symlink_to(given)  # a loop must not hang
    before, stat = inputs(target, Settings(weights=given)), weights.stat()
    weights.write_bytes(b"b" * 100)
    os.utime(weights, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert "strict_load" in changed(before, inputs(target, Settings(weights=given)))


@pytest.mark.parametrize("file", ["model.py", "layers.py"])
def test_a_patched_official_package_is_seen(file: str, tmp_path: Path, cache: Cache) -> None:
    """Its version stays; the class, or what it is made of, does not."""
    package = tmp_path / "official"
    package.mkdir()
    (package / "model.py").write_text(
        "from official.layers import Layer\nclass Model: pass\n", "utf-8"
    )
    (package / "layers.py").write_text("class Layer: theta = 10000\n", "utf-8")

    def digest() -> str:
        return OfficialSource({}, tmp_path, cache).sources_digest(["official.model:Model"])

    before = digest()
    (package / file).write_text((package / file).read_text("utf-8") + "# patched\n", "utf-8")
    assert digest() != before


# --- people work while gates run ---------------------------------------------------------------------


@pytest.fixture
def prepared(copy: Path, workspace: Path, cache: Cache) -> Prepared:
    done = prepare(judge(Path(SPEC), Target(Tree(copy, cache), cache)), Settings())
    apply(done)
    return done


def _pass_all(monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], None]) -> None:
    """Let every gate pass at once, with somebody at work meanwhile."""

    def run(_self: object, gates: Any, known: Any, _event: object) -> dict[str, GateResult]:
        meanwhile()
        return {g.name: known.get(g.name) or GateResult(g.name, "pass", g.basis) for g in gates}

    monkeypatch.setattr(building.Runner, "run", run)


def _valid(prepared: Prepared) -> set[str]:
    tree = prepared.judgement.target.tree
    return set(still_valid(prepared.gates, tree.root, "skyreels_v2"))


def test_undisturbed_passes_are_evidence(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    _pass_all(monkeypatch, lambda: None)
    results = prove(prepared, Settings(), lambda _name, _result: None)
    assert {r.status for r in results.values()} == {"pass"}
    assert _valid(prepared) == set(results)


@pytest.mark.parametrize("file", ["specs/wan.yaml", "FastVideo/fastvideo/models/dits/wanvideo.py"])
def test_a_pass_is_no_evidence_when_files_changed_meanwhile(
    file: str, prepared: Prepared, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = workspace / file
    _pass_all(
        monkeypatch, lambda: path.write_text(path.read_text("utf-8") + "# more\n", "utf-8") and None
    )
    results = prove(prepared, Settings(), lambda _name, _result: None)
    assert {r.status for r in results.values()} == {"inconclusive"}
    assert not _valid(prepared)


def test_an_edit_made_while_gates_run_stays(
    prepared: Prepared, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = copy / "fastvideo/configs/pipelines/skyreels_v2.py"
    _pass_all(
        monkeypatch,
        lambda: config.write_text(config.read_text("utf-8") + "# mine\n", "utf-8") and None,
    )
    prove(prepared, Settings(), lambda _name, _result: None)
    assert config.read_text("utf-8").endswith("# mine\n")


def test_what_had_passed_before_an_interruption_is_kept(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(_self: object, _gates: Any, _known: Any, event: Any) -> None:
        event("environment", GateResult("environment", "pass"))
        raise KeyboardInterrupt

    monkeypatch.setattr(building.Runner, "run", run)
    with pytest.raises(KeyboardInterrupt):
        prove(prepared, Settings(), lambda _name, _result: None)
    assert _valid(prepared) == {"environment"}


def test_a_hand_written_network_is_not_put_back_by_the_report(
    copy: Path, workspace: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    from shutil import copytree

    copytree(ROOT / "examples", workspace / "examples")
    spec = Path("examples/ported_network/port.yaml")
    ported = prepare(judge(spec, Target(Tree(copy, cache), cache)), Settings())
    apply(ported)
    network = copy / "fastvideo/models/dits/skyreels_native.py"
    _pass_all(monkeypatch, lambda: network.write_text("# all mine\n", "utf-8") and None)
    prove(ported, Settings(), lambda _name, _result: None)
    assert network.read_text("utf-8") == "# all mine\n"
