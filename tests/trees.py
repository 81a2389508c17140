"""Trees beside the released one: a git checkout with its documentation, and ports that were built."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from portspec.codegen.facts import INVENTORY, PIPELINE_CONFIG_BASE, SUPPORT_MATRIX
from portspec.codegen.index import FastVideoIndex
from portspec.codegen.index.configs import config_fields
from portspec.commands import CLEAN
from portspec.state import FOLDER
from portspec.tree import Tree
from tests.conftest import ROOT, run

# An argument of a port's own, without which no build touches the inventory.
ARGUMENT = """
sampling_params:
  ar_step:
    type: int | None
    default: null
    help: Timesteps between two blocks of frames
    cli: true
"""
_MATRIX = """# Compatibility Matrix

Model IDs of `fastvideo/registry.py`, by family.

## Registered Model IDs

| Family | HuggingFace Model ID | Workloads | Example |
|--------|----------------------|-----------|---------|
{rows}
**Note (wan)**: text with a bar | and an id, `Org/Not-A-Row`.

## Models x Optimization

| Model Name | HuggingFace Model ID | Resolutions | Teacache |
|------------|----------------------|-------------|----------|
| FastWan | `FastVideo/FastWan2.1-T2V-1.3B-Diffusers` | 480P | no |
"""
_INVENTORY = """status_definitions:
  preset_owned: "Public field remains supported only through a model/preset-specific surface."

surfaces:
  fastvideo_args:
    moved:
      transformer_quant: generator.engine.quantization.transformer_quant
      transformer_quant: generator.engine.quantization.transformer_quant  # twice, as upstream

  pipeline_config_base:
    preset_owned:
{config}
  pipeline_config_extensions:
    preset_owned:
      precision:
        sources:
          - fastvideo.configs.pipelines.turbodiffusion.TurboDiffusionT2VConfig

  sampling_param_base:
    moved:
      prompt: request.prompt
    preset_owned:
      # a comment of a person's
{sampling}
    internal_only:
      data_type: "Derived."
"""

_SCRIPT = """from fastvideo.configs.pipelines.wan import WanT2V480PConfig

print(WanT2V480PConfig().flow_shift)
"""


def documentation(tree: Tree) -> dict[str, str]:
    """Return what a git checkout has and the released tree has not, complete for the tree."""
    index = FastVideoIndex(tree)
    rows = sorted(
        f"| {entry.family or 'flux'} | {'<br>'.join(f'`{hub}`' for hub, _ in entry.hub)} "
        f"| {', '.join(entry.workloads) or '—'} | — |\n"
        for entry in index.registrations
        if entry.hub
    )
    config = _fields(tree, PIPELINE_CONFIG_BASE)
    sampling = [
        name
        for name in _fields(tree, "fastvideo.api.sampling_param:SamplingParam")
        if name not in ("prompt", "data_type")
    ]
    inventory = _INVENTORY.format(config=_lines(config), sampling=_lines(sampling))
    return {
        SUPPORT_MATRIX: _MATRIX.format(rows="".join(rows)),
        INVENTORY: inventory,
        "scripts/checkpoint_conversion/wan_to_diffusers.py": _SCRIPT,
    }


def _fields(tree: Tree, ref: str) -> list[str]:
    found = tree.find_class(ref)
    assert found is not None
    return [name for name, field in config_fields(tree, found).items() if field.annotated]


def _lines(names: list[str]) -> str:
    return "\n".join(f"      {name}: request.{name}" for name in names)


def git_checkout(tree: Tree, folder: Path) -> Path:
    """Copy a released tree and add what only a checkout has."""
    shutil.copytree(tree.root, folder)
    for path, text in documentation(tree).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file under a folder, apart from the lock's."""
    files = (p for p in folder.rglob("*") if p.is_file() and p.name != "lock")
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


def stamps(folder: Path) -> dict[str, int]:
    """Return when every file under a folder was last written."""
    files = (p for p in folder.rglob("*") if p.is_file() and p.name != "lock")
    return {p.relative_to(folder).as_posix(): p.stat().st_mtime_ns for p in files}


SPECS = {
    "skyreels_v2": "specs/skyreels_v2.yaml",
    "wan_anime": "examples/new_checkpoint/port.yaml",
    "skyreels_native": "examples/ported_network/port.yaml",
}


@dataclass(frozen=True)
class Port:
    """One of the repository's ports in a tree of its own: every file before and after the build."""

    family: str
    folder: Path
    before: dict[str, bytes]
    after: dict[str, bytes]

    @property
    def created(self) -> dict[str, str]:
        """Files that the build made in the tree, the record of it left out."""
        new = self.after.keys() - self.before.keys()
        return {path: self.text(path) for path in sorted(new) if not path.startswith(FOLDER)}

    @property
    def record(self) -> dict[str, str]:
        """Files that the build made for itself."""
        return {path: self.text(path) for path in sorted(self.after) if path.startswith(FOLDER)}

    @property
    def edited(self) -> dict[str, str]:
        """Files of other people that the build put something into."""
        changed = (path for path, old in self.before.items() if self.after[path] != old)
        return {path: self.text(path) for path in sorted(changed)}

    def text(self, path: str) -> str:
        return self.after[path].decode()


_PORTS: dict[str, Port] = {}


def port(family: str, released: Path, factory: pytest.TempPathFactory) -> Port:
    """Build one of the repository's ports into a copy of the released tree, once for all tests."""
    if family not in _PORTS:
        folder = factory.mktemp(family) / "FastVideo"
        shutil.copytree(released, folder)
        before = contents(folder)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder.parent)
            assert run("build", ROOT / SPECS[family], "--target", folder, "--no-gates") == CLEAN
        _PORTS[family] = Port(family, folder, before, contents(folder))
    return _PORTS[family]
