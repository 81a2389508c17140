"""What the port would register meets nothing that is there already, and every module can be loaded."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from portspec.codegen.facts import REGISTRY
from portspec.codegen.index import FastVideoIndex
from portspec.codegen.names import Names, names_of
from portspec.errors import Diagnostic
from portspec.port import Port
from portspec.state import read_state
from portspec.suggest import did_you_mean

_STATE_ID = re.compile(r"^\|\s*([QIED]\d{3})\s*\|", re.MULTILINE)


def check(port: Port, index: FastVideoIndex) -> Iterator[Diagnostic]:
    """E146 a record deleted, E303 no FastVideo, E620-E625 loaders and names, E626 detectors."""
    if not index.tree.exists(REGISTRY):
        remedy = "Give the root of a FastVideo checkout, 0.2.0 or later, with --target."
        yield port.complain("E303", f"{index.tree.root} has no {REGISTRY}", (), remedy)
        return
    if port.spec.abstract or port.spec.pipeline is None:
        return
    names = names_of(port)
    yield from _loaders(port, index)
    yield from _taken(port, index, names)
    yield from _detectors(port)
    yield from _kept_records(port, names)


def _loaders(port: Port, index: FastVideoIndex) -> Iterator[Diagnostic]:
    assert port.spec.pipeline is not None
    for position, name in enumerate(port.spec.pipeline.modules):
        path = ("pipeline", "modules", position)
        component, loader = port.components.get(name), index.loaders.get(name)
        if loader is None:
            remedy = did_you_mean(
                name, index.loaders, f"There are loaders for {', '.join(index.loaders)}."
            )
            yield port.complain("E620", f"the target has no loader for {name}", path, remedy, "K1")
        elif component and component.library not in (loader.library, "fastvideo"):
            message = f"{name} is loaded from {loader.library}, and its definition is in {component.library}"
            remedy = f"Name the {loader.library} class that model_index.json has for {name}."
            yield port.complain("E621", message, ("components", name, "definition"), remedy, "K1")


def _taken(port: Port, index: FastVideoIndex, names: Names) -> Iterator[Diagnostic]:
    pipeline = port.spec.pipeline
    assert pipeline is not None
    known = index.class_names.get(pipeline.class_)
    if known and known.path != names.pipeline_path and not pipeline.reuse:
        remedy = f"Reuse it (`pipeline.reuse`), or name this one otherwise; {known.path}:{known.line} has it."
        message = f"{pipeline.class_} exists in the target already"
        yield port.complain("E624", message, ("pipeline", "class"), remedy, "K1")
    if pipeline.reuse and index.tree.find_class(pipeline.reuse) is None:
        message = f"the target has no pipeline {pipeline.reuse}"
        remedy = did_you_mean(
            pipeline.reuse.rpartition(":")[2], index.class_names, "Check the module and the name."
        )
        yield port.complain("E413", message, ("pipeline", "reuse"), remedy)
    for preset in index.presets:
        if (
            preset.path != names.presets_path
            and preset.name in port.spec.presets
            and preset.family == port.family
        ):
            message = (
                f"the preset {preset.name} of {preset.family} exists in {preset.path}:{preset.line}"
            )
            remedy = "Choose another name: FastVideo does not start with two of the same."
            yield port.complain("E625", message, ("presets", preset.name), remedy, "K1", key=True)
    hubs = {hub: r for r in index.registrations for hub, _ in r.hub if r.family != port.family}
    for position, entry in enumerate(port.spec.registry):
        for number, hub in enumerate(entry.hub):
            if hub in hubs:
                message = f"{hub} is registered by {hubs[hub].label} ({REGISTRY}:{hubs[hub].line})"
                remedy = "One id leads to one entry; the later registration would win."
                yield port.complain(
                    "E116", message, ("registry", position, "hub", number), remedy, "K1"
                )


def _detectors(port: Port) -> Iterator[Diagnostic]:
    for position, entry in enumerate(port.spec.registry):
        for group in ("all", "any", "none"):
            for number, token in enumerate(getattr(entry.detect, group)):
                path = ("registry", position, "detect", group, number)
                if not token.strip():
                    message = "an empty word says nothing about a path"
                    yield port.complain("E626", message, path, "Leave it out.", "K2")
                elif token != token.lower():
                    message = (
                        f'"{token}" never matches: paths are lower-cased before they are compared'
                    )
                    yield port.complain("E626", message, path, f'Write "{token.lower()}".', "K2")
        if entry.detect.none and not (entry.detect.all or entry.detect.any):
            message = "words that a path must not hold do not say which paths are meant"
            remedy = "Add `all` or `any` beside `none`."
            yield port.complain("E626", message, ("registry", position, "detect"), remedy, "K2")
        empty = not (entry.detect.all or entry.detect.any or entry.class_names)
        if empty and not entry.hub:
            message = "nothing leads to this entry: no hub id, no words, no class name"
            yield port.complain(
                "E626", message, ("registry", position), "Give it a way to be found.", "K1"
            )


def _is_private(root: Path, path: str) -> bool:
    """Tell whether a file stands in a git repository and was never committed: nobody can refer to it."""
    git = shutil.which("git")
    if git is None or not (root / ".git").exists():
        return False
    command = [git, "-C", str(root), "ls-files", "--error-unmatch", path]
    return subprocess.run(command, capture_output=True, check=False).returncode == 1


def _kept_records(port: Port, names: Names) -> Iterator[Diagnostic]:
    """A question or issue once recorded in PORT_STATUS.md may be resolved but not removed.

    The port's tree is without the port, so an untouched report is read from the record of the last build.
    """
    path = f"{names.tests}/PORT_STATUS.md"
    written = read_state(port.tree.root, port.family).files.get(path)
    base = (written.base if written else None) or ""
    text = port.tree.text(path) if port.tree.exists(path) else base
    spec = port.spec
    known = {*spec.questions, *spec.issues, *spec.escape_hatches, *spec.decisions}
    gone = sorted(set(_STATE_ID.findall(text)) - known)
    if gone and _is_private(port.tree.root, path):
        return
    for name in gone:
        section = {"Q": "questions", "I": "issues", "E": "escape_hatches", "D": "decisions"}[
            name[0]
        ]
        message = f"{name} is recorded in {path} and gone from the spec"
        remedy = f"Put it back under `{section}`, and say there what became of it."
        yield port.complain("E146", message, (section,), remedy, key=True)
