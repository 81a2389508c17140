"""Judge: a spec and a target -> the plan of its build, and everything that speaks against it.

Runs every step that only reads, in order, and stops where the next one could not make sense. `check`,
`build` and `plan` are this function with different endings.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from portspec.backend import Target
from portspec.edits import Edit
from portspec.errors import Diagnostic, EmitError, errors_in
from portspec.language import LoadedSpec, load_spec
from portspec.plan import Plan, make_plan, undone
from portspec.port import Port, resolve
from portspec.recall import metadata_files
from portspec.rules import check_spec
from portspec.state import State, lock_files, read_evidence, read_state, state_folder
from portspec.tree import Tree


@dataclass(frozen=True)
class Judgement:
    """What a build would do, and what speaks against it.

    `port` is resolved against the tree without the port. `edits` leave out the reports on gates, which `plan`
    holds as they were last. Both are empty when the spec has errors.
    """

    loaded: LoadedSpec
    target: Target
    state: State
    port: Port
    edits: tuple[Edit, ...]
    plan: Plan
    diagnostics: tuple[Diagnostic, ...]

    @property
    def is_sound(self) -> bool:
        """Nothing speaks against building."""
        return not errors_in(self.diagnostics)

    @property
    def reads(self) -> list[Path]:
        """Files outside the target tree that the judgement depends on, whether or not they exist."""
        folder = state_folder(self.target.tree.root, self.port.family)
        beside = [self.loaded.path.parent / name for name in self.port.scaffold_sources]
        beside += self.port.surfaces.values()
        packages = metadata_files(p.name for p in self.port.official.packages)
        records = [
            *lock_files(self.target.tree.root),
            folder / "lock.json",
            folder / "evidence.json",
        ]
        specs = [*self.loaded.paths, *self.loaded.tried]
        return [*specs, *beside, *sorted(self.port.official.files), *packages, *records]

    @property
    def staged(self) -> Tree:
        """The tree as it would be after the build."""
        return self.target.tree.overlay(self.plan.overlay())

    def planned_again(self, edits: Iterable[Edit], give_up: Sequence[str] = ()) -> Judgement:
        """Return the judgement with a plan for these edits besides its own."""
        every = (*self.edits, *edits)
        return replace(
            self, plan=make_plan(every, self.state, self.target.tree, self.target.cache, give_up)
        )


def judge(path: Path, target: Target, give_up: Sequence[str] = ()) -> Judgement:
    """Judge the spec at `path` against a target.

    Raises:
        SpecError: The spec cannot be read or does not fit the language.
        TargetError: The target or the record of earlier builds cannot be read.
    """
    loaded = load_spec(path, target.cache)
    tree, backend, cache = target.tree, target.backend, target.cache
    tree.list_files()
    state = read_state(tree.root, loaded.spec.family)
    bare = tree.overlay(undone(tree, state, cache))
    port = resolve(loaded, bare, cache)
    found = [*check_spec(port), *backend.check(port)]
    if errors_in(found) or loaded.spec.abstract:
        return Judgement(loaded, target, state, port, (), Plan((), (), (), ()), _sorted(found))
    try:
        edits = tuple(backend.emit(port))
        recorded = {n: r for n, (r, _) in read_evidence(tree.root, port.family).items()}
        reports = tuple(backend.report(port, recorded))
        plan = make_plan((*edits, *reports), state, tree, cache, give_up)
    except EmitError as error:
        found += error.diagnostics
        return Judgement(loaded, target, state, port, (), Plan((), (), (), ()), _sorted(found))
    found += plan.diagnostics
    if plan.conflicts:
        return Judgement(loaded, target, state, port, edits, plan, _sorted(found))
    staged = tree.overlay(plan.overlay())
    found += _traced(backend.compare(bare, staged, port), edits, port)
    return Judgement(loaded, target, state, port, edits, plan, _sorted(found))


def _sorted(found: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    return tuple(sorted(set(found), key=Diagnostic.sort_key))


def _traced(found: Iterable[Diagnostic], edits: Iterable[Edit], port: Port) -> Iterator[Diagnostic]:
    """Point from a place in the tree back to the part of the spec that the file comes from."""
    items: Mapping[str, str] = {port.tree.place(edit.path).file: edit.item for edit in edits}
    for diagnostic in found:
        item = items.get(diagnostic.place.file)
        if item is None:
            yield diagnostic
        else:
            origin = (f"from {item}", port.marks.at(*_path_of(item)))
            yield replace(diagnostic, related=(*diagnostic.related, origin))


def _path_of(item: str) -> tuple[str | int, ...]:
    """Split an address such as `registry[0].hub` into keys and indexes."""
    parts = re.findall(r"[^.\[\]]+", item)
    return tuple(int(p) if p.isdigit() else p for p in parts)
