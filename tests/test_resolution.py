"""FastVideo's own code, run in a built tree and in the released one: who gets which entry.

Nothing here is simulated but the checkpoints, which are folders with a manifest. They are laid out as in the
hub's cache and as users do, below a working folder whose name no detector sees.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from portspec.cache import Cache
from portspec.codegen.checks.k02_resolution import check
from portspec.codegen.gates import environment_variables
from portspec.codegen.index import FastVideoIndex
from portspec.codegen.index.registrations import Registration
from portspec.codegen.resolver import SNAPSHOT, Resolver
from portspec.commands import CLEAN
from portspec.language import load_spec
from portspec.spec import PortSpec
from portspec.tree import Tree
from tests.conftest import ROOT, SPEC, run

HUB_CACHE = ".cache/huggingface/hub"
NOT_OURS = "UnheardOfPipeline"
CLASS = "SkyReelsV2Pipeline"


@dataclass(frozen=True)
class Probe:
    """What a user passes as a model: `hub` is the id that it is a copy of, if any."""

    form: str
    path: str
    class_name: str
    hub: str = ""


def probes_of(hub: str, class_name: str) -> Iterator[Probe]:
    """Yield the ways in which one checkpoint may be named."""
    short = hub.split("/")[-1]
    snapshot = f"models--{hub.replace('/', '--')}/snapshots/{SNAPSHOT}"
    yield Probe("hub id", hub, class_name, hub)
    yield Probe("cache path", f"{HUB_CACHE}/{snapshot}", class_name, hub)
    yield Probe("cache path with a slash", f"{HUB_CACHE}/{snapshot}/", class_name, hub)
    yield Probe("local folder", f"data/{short}", class_name, hub)
    yield Probe("folder in a folder of that name", f"data/{short}/last", class_name, hub)
    yield Probe("lower-case folder", f"lower/{short.lower()}", class_name, hub)
    yield Probe("cache path alone", f"mirror/{snapshot}", NOT_OURS, hub)


def lay_out(folder: Path, probes: list[Probe]) -> None:
    """Make the checkpoints: manifests, and what the hub's cache needs to find them by id."""
    for probe in probes:
        if probe.form != "hub id":
            path = folder / probe.path
            path.mkdir(parents=True, exist_ok=True)
            manifest = {"_class_name": probe.class_name, "_diffusers_version": "0.36.0"}
            (path / "model_index.json").write_text(json.dumps(manifest), encoding="utf-8")
    for repository in (folder / HUB_CACHE).iterdir():
        (repository / "refs").mkdir()
        (repository / "refs/main").write_text(SNAPSHOT, encoding="utf-8")


def class_of(entry: Registration, names: list[str]) -> str:
    """Choose a pipeline class that may be in the manifest of an entry's checkpoints."""
    fires = (name for name in names if entry.fires_on(name.lower()))
    return next(fires, entry.pipeline or "WanPipeline")


@dataclass(frozen=True)
class World:
    """Both trees, the checkpoints, and what FastVideo says about them in each."""

    released: Tree
    built: Tree
    ours: list[Probe]
    others: list[Probe]
    neutral: Probe
    before: dict[str, Any]
    after: dict[str, Any]
    spec: PortSpec

    def index(self, name: str) -> FastVideoIndex:
        return FastVideoIndex(self.released if name == "released" else self.built)

    def answers(self, name: str) -> dict[str, dict[str, Any]]:
        found = self.before if name == "released" else self.after
        return dict(found["answers"])


@pytest.fixture(scope="session")
def world(tree: Tree, tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    shutil.copytree(tree.root, folder / "FastVideo")
    options = ["--target", str(folder / "FastVideo"), "--no-gates"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run("build", str(ROOT / SPEC), *options) == CLEAN
    spec = load_spec(ROOT / SPEC).spec
    index = FastVideoIndex(tree)
    names = sorted(index.class_names)
    ours = [p for e in spec.registry for hub in e.hub for p in probes_of(hub, CLASS)]
    others = [
        probe
        for entry in index.registrations
        for hub, _ in entry.hub
        for probe in probes_of(hub, class_of(entry, names))
    ]
    others += [
        Probe("class name", f"checkpoints/{number}", name) for number, name in enumerate(names)
    ]
    others.append(Probe("neither name", "checkpoints/nothing", NOT_OURS))
    neutral = Probe("class name", "checkpoints/ours", CLASS)
    every = [*ours, *others, neutral]
    lay_out(folder, every)
    (folder / "paths.json").write_text(json.dumps([p.path for p in every]), encoding="utf-8")
    built = Tree(folder / "FastVideo", Cache())
    before, after = asked(folder, [tree.root, built.root])
    return World(tree, built, ours, others, neutral, before, after, spec)


def asked(folder: Path, roots: list[Path]) -> list[dict[str, Any]]:
    """Ask FastVideo in each tree, at the same time, with the environment of the gates and no network."""
    running = []
    for number, root in enumerate(roots):
        environment = {**os.environ, **environment_variables(root), "HF_HUB_OFFLINE": "1"}
        environment["HF_HUB_CACHE"] = str(folder / HUB_CACHE)
        script = [str(ROOT / "tests/answers.py"), "paths.json", f"answers.{number}.json"]
        with (folder / f"log.{number}").open("w") as log:
            command = [sys.executable, *script]
            running.append(
                subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
            )
    found = []
    for number, process in enumerate(running):
        assert process.wait(timeout=300) == 0, (folder / f"log.{number}").read_text("utf-8")[-3000:]
        found.append(json.loads((folder / f"answers.{number}.json").read_text("utf-8")))
    return found


def test_each_tree_answers_for_itself(world: World) -> None:
    for found, tree in ((world.before, world.released), (world.after, world.built)):
        assert Path(found["file"]) == tree.root / "fastvideo/registry.py"


# --- the new family --------------------------------------------------------------------------------


def entry_of(world: World, hub: str) -> Any:
    return next(entry for entry in world.spec.registry if hub in entry.hub)


def test_every_name_of_a_checkpoint_leads_to_the_new_entry(world: World) -> None:
    answers = world.answers("built")
    for probe in world.ours:
        preset = entry_of(world, probe.hub).preset
        answer = answers[probe.path]
        assert answer["selection"] == [preset, "skyreels_v2"], probe
        assert answer["entry"] == ["SkyReelsV2T2VConfig", "skyreels_v2", preset, None, None], probe


def test_the_new_pipeline_class_is_found_with_its_config(world: World) -> None:
    answers = world.answers("built")
    for probe in [*world.ours, world.neutral]:
        if probe.class_name == CLASS:
            assert answers[probe.path]["info"] == [
                f"fastvideo.pipelines.basic.skyreels_v2.skyreels_v2_pipeline:{CLASS}",
                "fastvideo.api.sampling_param:SamplingParam",
                "fastvideo.configs.pipelines.skyreels_v2:SkyReelsV2T2VConfig",
            ], probe


def test_a_folder_that_says_nothing_is_known_by_its_class_name(world: World) -> None:
    (entry,) = [e for e in world.spec.registry if CLASS in e.class_names]
    assert world.answers("built")[world.neutral.path]["selection"] == [entry.preset, "skyreels_v2"]


def test_without_the_port_none_of_them_is_known(world: World) -> None:
    answers = world.answers("released")
    for probe in [*world.ours, world.neutral]:
        assert answers[probe.path]["entry"] == [], probe


def test_presets_give_the_values_of_the_spec(world: World) -> None:
    answers = world.answers("built")
    assert {entry.preset for entry in world.spec.registry} == set(world.spec.presets)
    for probe in world.ours:
        defaults = world.spec.presets[entry_of(world, probe.hub).preset].defaults
        given = answers[probe.path]["sampling"]
        assert {name: given[name] for name in defaults} == {
            name: sourced.value for name, sourced in defaults.items()
        }, probe


def test_the_config_has_the_values_of_the_spec(world: World) -> None:
    config = world.answers("built")[world.ours[0].path]["config"]
    assert world.spec.pipeline
    for name, sourced in world.spec.pipeline.config.fields.items():
        assert config[name] == sourced.value
    components = world.spec.components
    precisions = {
        "dit_precision": components["transformer"].precision,
        "vae_precision": components["vae"].precision,
    }
    for name, precision in precisions.items():
        assert precision and config[name] == precision.value
    encoder = components["text_encoder"].precision
    assert encoder and config["text_encoder_precisions"] == [encoder.value]


def test_the_new_ids_are_listed_with_their_workloads(world: World) -> None:
    before, after = world.before["models"], world.after["models"]
    new = {row["id"]: row["workload_types"] for row in after if row not in before}
    assert new == {
        hub: [w.lower() for w in entry.workloads]
        for entry in world.spec.registry
        for hub in entry.hub
    }
    assert [row for row in after if row["id"] not in new] == before


# --- everybody else --------------------------------------------------------------------------------


def test_every_other_checkpoint_gets_what_it_got_before(world: World) -> None:
    """Entry, classes, preset, sampling values and config, or the same error; in each form."""
    before, after = world.answers("released"), world.answers("built")
    hubs = {probe.hub for probe in world.others} - {""}
    assert len(hubs) == len(world.before["models"])
    changed = [probe for probe in world.others if before[probe.path] != after[probe.path]]
    assert changed == []


def test_the_probes_reach_real_entries(world: World) -> None:
    """So that sameness above is not that of errors: hub ids always resolve, most others do."""
    answers = world.answers("released")
    for probe in world.others:
        if probe.form in ("hub id", "local folder"):
            assert answers[probe.path]["entry"], probe
        if probe.form == "hub id":
            assert isinstance(answers[probe.path]["config"], dict), probe
    classes = [p for p in world.others if p.form in ("hub id", "cache path")]
    loaded = [p for p in classes if isinstance(answers[p.path]["info"], list)]
    assert len(loaded) > len(classes) * 0.8


@pytest.mark.parametrize("name", ["released", "built"])
def test_portspec_foretells_every_answer(world: World, name: str) -> None:
    resolver = Resolver(world.index(name).registrations)
    answers = world.answers(name)
    for probe in [*world.ours, *world.others, world.neutral]:
        foretold = resolver.resolve(probe.path, probe.class_name)
        assert answers[probe.path]["entry"] == (list(foretold.effect) if foretold else []), probe


@pytest.mark.parametrize("name", ["released", "built"])
def test_portspec_foretells_workloads(world: World, name: str) -> None:
    models = (world.before if name == "released" else world.after)["models"]
    foretold = {
        hub: [w.lower() for w in entry.workloads]
        for entry in world.index(name).registrations
        for hub, _ in entry.hub
    }
    assert {row["id"]: row["workload_types"] for row in models} == foretold


def test_a_cached_snapshot_that_audit_calls_lost_is_lost_and_no_other_is(world: World) -> None:
    """E330 and E331, held against FastVideo; a manifest may name a class, or one that says nothing."""
    index, answers = world.index("released"), world.answers("released")
    called = {d.message.split("a cached snapshot of ")[1].split()[0] for d in check(index)}
    found = {
        probe.hub
        for probe in world.others
        if probe.form in ("cache path", "cache path alone")
        and answers[probe.path]["entry"] == answers[probe.hub]["entry"]
    }
    pinned = {hub for entry in index.registrations if entry.pipeline for hub, _ in entry.hub}
    hubs = {probe.hub for probe in world.others} - {""}
    assert called
    assert called <= hubs - found
    assert hubs - found - pinned <= called  # a pinned class may have a marker of its own
