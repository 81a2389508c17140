"""Our mapping engine and FastVideo 0.2.1's own code, on every table of the release and many real keys.

FastVideo runs in a process of its own. It says which tables there are, where each name goes in each of them,
and what becomes of small tensors. Keys are those of official classes at their full size, of checkpoints in
their original names, and names made up from the patterns themselves.

FastVideo keeps the last of two tensors that go to one place, and forgets a group that misses a part. Ours
refuses both; all the rest is compared name by name and bit by bit.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from portspec.codegen.gates import environment_variables
from portspec.weights.engine.alike import Row
from portspec.weights.engine.compute import Files
from portspec.weights.engine.rules import Mapped, Rule, RuleSet
from portspec.weights.engine.sources import read_tensors
from portspec.weights.importers.fastvideo import rules_from
from tests import surfaces
from tests.test_mapping_corpus import pairs, written

ATTRIBUTES = ("param_names_mapping", "lora_param_names_mapping", "reverse_param_names_mapping")
# Runs inside FastVideo: FOLDER ATTRIBUTES; FOLDER holds a file of tensors for each set of keys.
THEIRS = """
import dataclasses, functools, importlib, inspect, json, pkgutil, sys
from pathlib import Path
from safetensors.torch import load_file, save_file
import fastvideo.configs.models as models
from fastvideo.models.loader import utils

folder, attributes = Path(sys.argv[1]), sys.argv[2].split()
tables = {}
for info in pkgutil.walk_packages(models.__path__, models.__name__ + "."):
    module = importlib.import_module(info.name)
    for name, cls in vars(module).items():
        if inspect.isclass(cls) and cls.__module__ == info.name and dataclasses.is_dataclass(cls):
            made = cls()
            for attribute in attributes:
                label = f"{info.name.rpartition('.')[2]}.{name}.{attribute}"
                tables[label] = getattr(made, attribute, None)

found = {"file": utils.__file__, "tables": {}, "routes": {}}
sets = {path.stem: load_file(path) for path in sorted(folder.glob("*.safetensors"))}
seen = {}
for label, table in tables.items():
    if not table or any(list(table.items()) == other for other in seen.values()):
        continue
    seen[label] = list(table.items())
    found["tables"][label] = seen[label]
    mapping = functools.cache(utils.get_param_names_mapping(table))
    merged = {}
    for name, tensors in sets.items():
        routes = {key: mapping(key) for key in tensors}
        changed = {key: route for key, route in routes.items() if route != (key, None, None)}
        found["routes"][f"{label}/{name}"] = changed
        if changed:
            state, _ = utils.hf_to_custom_state_dict(tensors, routes.__getitem__)
            merged |= {f"{name}/{key}": tensor.clone() for key, tensor in state.items()}
    (folder / label).mkdir()
    save_file(merged, folder / label / "merged")
(folder / "found.json").write_text(json.dumps(found))
"""

Route = tuple[str, int | None, int | None]  # the new name, and which part of how many it is


@dataclass(frozen=True)
class World:
    """What FastVideo says: its tables, and in each where the names of each set go."""

    folder: Path
    file: Path
    tables: Mapping[str, tuple[Rule, ...]]
    routes: Mapping[str, Mapping[str, Route]]

    def sets(self) -> list[str]:
        return sorted(path.stem for path in self.folder.glob("*.safetensors"))

    def pairs(self) -> Iterator[tuple[str, str, Mapping[str, Route]]]:
        """Yield each table with each set of names, and where all of these go."""
        for name in self.sets():
            keys = list(read_tensors(self.folder / f"{name}.safetensors"))
            for label in self.tables:
                changed = self.routes[f"{label}/{name}"]
                yield label, name, {k: tuple(changed.get(k, (k, None, None))) for k in keys}


def key_sets() -> Iterator[tuple[str, list[str]]]:
    """Yield sets of names: of classes, of checkpoints, and for each table what its patterns describe."""
    for name in surfaces.names():
        yield f"surface {name}", list(surfaces.read(name).source)
    whole = surfaces.read("hunyuanvideo_transformer").source
    yield "surface without keys", [name for name in whole if ".to_k." not in name]
    for path in sorted((Path(__file__).parent / "conversions").glob("*.json")):
        yield f"checkpoint {path.stem}", list(json.loads(path.read_text(encoding="utf-8")))
    tables: dict[str, list[str]] = defaultdict(list)
    for row in pairs("fastvideo"):
        tables[row["table"]] += written(row["src"])
    for table, names in tables.items():
        yield f"patterns {table.replace(':', ' ')}", list(dict.fromkeys(names))


@pytest.fixture(scope="module")
def world(released: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("mappings")
    for name, members in key_sets():
        tensors = {k: torch.arange(1 + n % 3) * 104729 + n for n, k in enumerate(members)}
        save_file(tensors, folder / f"{name}.safetensors")
    environment = {**os.environ, **environment_variables(released), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", THEIRS, str(folder), " ".join(ATTRIBUTES)]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((folder / "found.json").read_text(encoding="utf-8"))
    tables = {label: rules_of(rows) for label, rows in found["tables"].items()}
    return World(folder, Path(found["file"]), tables, found["routes"])


def rules_of(table: list[Any]) -> tuple[Rule, ...]:
    return rules_from([{"src": match, "dst": target} for match, target in table]).rules


def collisions(routes: Mapping[str, Route]) -> tuple[set[str], set[str]]:
    """Return the places that several tensors take from each other, and those that miss a part."""
    parts: dict[str, list[Route]] = defaultdict(list)
    for route in routes.values():
        parts[route[0]].append(route)
    taken, incomplete = set(), set()
    for target, rows in parts.items():
        indexes = [index for _, index, _ in rows if index is not None]
        if indexes and sorted(indexes) != list(range(rows[0][2] or 0)):
            incomplete.add(target)
        if len(rows) - len(indexes) + bool(indexes) > 1:
            taken.add(target)
    return taken, incomplete


# --- the tables -----------------------------------------------------------------------------------------


def test_the_released_code_was_asked(world: World, released: Path) -> None:
    assert world.file == released / "fastvideo/models/loader/utils.py"


def test_no_table_of_the_release_is_missed(world: World, released: Path) -> None:
    """Every pattern that stands in a table in the source is in a table that was asked."""
    declared = {p for path in (released / "fastvideo").rglob("*.py") for p in patterns_in(path)}
    asked = {rule.match for rules in world.tables.values() for rule in rules}
    assert len(declared) > 250
    assert declared <= asked


def patterns_in(path: Path) -> Iterator[str]:
    """Yield the keys of the dictionaries that are assigned to a table in a file."""
    text = path.read_text(encoding="utf-8")
    if "tests" in path.parts or not any(name in text for name in ATTRIBUTES):
        return
    for node in ast.walk(ast.parse(text)):
        targets = node.targets if isinstance(node, ast.Assign) else []
        targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
        names = {getattr(t, "id", getattr(t, "attr", "")) for t in targets}
        if names & set(ATTRIBUTES) and isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value:
            for inner in ast.walk(node.value):
                if isinstance(inner, ast.Dict):
                    yield from (k.value for k in inner.keys if isinstance(k, ast.Constant))


def test_there_is_much_to_compare(world: World) -> None:
    """So that sameness below is not that of nothing."""
    changing = {
        label for label in world.tables if any(world.routes[f"{label}/{n}"] for n in world.sets())
    }
    merging = {label for label, rules in world.tables.items() if any(rule.join for rule in rules)}
    assert (len(world.tables), len(changing), len(merging)) == (24, 20, 3)
    assert sum(len(routes) for routes in world.routes.values()) > 40_000


def test_every_row_of_every_table_is_met(world: World) -> None:
    met: dict[str, set[int]] = defaultdict(set)
    for label, _, expected in world.pairs():
        met[label].update(rule for rule, *_ in RuleSet(world.tables[label]).routes(list(expected)))
    idle = {
        (label, rule.match)
        for label, rules in world.tables.items()
        for number, rule in enumerate(rules)
        if number not in met[label]
    }
    assert idle == set()


# --- names ----------------------------------------------------------------------------------------------


def test_every_name_goes_where_fastvideo_sends_it(world: World) -> None:
    for label, name, expected in world.pairs():
        rules = RuleSet(world.tables[label])
        for (key, route), found in zip(expected.items(), rules.routes(list(expected)), strict=True):
            assert ours(rules, key, found) == route, (label, name, key)


def ours(rules: RuleSet, key: str, found: Row) -> Route:
    number, *texts = found
    join = rules.rules[number].join if number >= 0 else None
    if join is None:
        return (texts[0] if texts else key, None, None)
    return texts[0], int(texts[-1]), join.count


# --- tensors --------------------------------------------------------------------------------------------


def test_every_tensor_is_what_fastvideo_makes_of_it(world: World) -> None:
    compared = 0
    expected = {label: load_file(world.folder / label / "merged") for label in world.tables}
    for label, name, routes in world.pairs():
        if not world.routes[f"{label}/{name}"]:
            continue
        mapped = applied(world, label, name)
        taken, incomplete = collisions(routes)
        prefix = f"{name}/"
        theirs = {
            k.removeprefix(prefix): t for k, t in expected[label].items() if k.startswith(prefix)
        }
        assert mapped.outputs.keys() - taken == theirs.keys() - taken - incomplete, (label, name)
        compared += compare(mapped, theirs, taken)
    assert compared > 50_000


def applied(world: World, label: str, name: str) -> Mapped:
    return RuleSet(world.tables[label]).apply(read_tensors(world.folder / f"{name}.safetensors"))


def compare(mapped: Mapped, theirs: Mapping[str, torch.Tensor], taken: set[str]) -> int:
    """Compare bit by bit, and return how many tensors."""
    with Files() as files:
        for target in mapped.outputs.keys() - taken:
            value = mapped.outputs[target]
            assert value.runs is not None
            assert value.type.shape == theirs[target].shape, target
            assert files.read(value.runs) == theirs[target].numpy().tobytes(), target
    return len(mapped.outputs.keys() - taken)


def test_what_fastvideo_loses_is_refused(world: World) -> None:
    """Two keys to one place are E503 and a group without a part is E505, and nothing else is."""
    refused: dict[str, int] = defaultdict(int)
    for label, name, routes in world.pairs():
        if not world.routes[f"{label}/{name}"]:
            continue
        taken, incomplete = collisions(routes)
        problems = applied(world, label, name).problems
        found = {code: targets(problems, code) for code in ("E503", "E505")}
        assert found == {"E503": taken, "E505": incomplete}, (label, name)
        assert {problem.code for problem in problems} <= found.keys()
        for code, names in found.items():
            refused[code] += len(names)
    assert refused["E503"] > 0
    assert refused["E505"] > 0


def targets(problems: Any, code: str) -> set[str]:
    return {problem.message.split(" is ")[0] for problem in problems if problem.code == code}
