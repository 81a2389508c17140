"""Gates: what is run to prove a port, one a file, found by looking in this folder.

A gate module has `declare(context)`, which yields gates and touches nothing, and `run(args)`, which does
the work in a process of its own. Only `run` may import torch, the official library or FastVideo.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from portspec import weights
from portspec.cache import sha256
from portspec.codegen.facts import PACKAGES
from portspec.codegen.index import FastVideoIndex
from portspec.codegen.names import Names, names_of
from portspec.gates import runner
from portspec.gates.result import Gate
from portspec.port import Port

_MAKERS = ("official packages", "official definitions", "installed packages", "gate programs")
DTYPE = "fp32"  # rounding to bf16 would hide what parity is there to show
RUNTIME = Path(__file__).parent.parent / "runtime"


@dataclass(frozen=True)
class GateContext:
    """What a gate may know when it is declared.

    `index` reads the tree as it is when the gates run; `local` is the folder for what gates make; `weights`
    is a checkpoint that the user gave, in place of the reduced one.
    """

    port: Port
    index: FastVideoIndex
    local: Path
    weights: Path | None = None

    @property
    def names(self) -> Names:
        """Names and places of what the port adds."""
        return names_of(self.port)

    @property
    def hub(self) -> str:
        """The hub id whose checkpoint the gates stand for."""
        weights = self.port.spec.weights
        assert weights is not None, "rule E110 has seen to it"
        return weights.hub

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """Everything that determines the checkpoint the gates run on, as JSON."""
        from portspec.codegen.gates.checkpoint import recipe

        return recipe(self)

    @cached_property
    def checkpoint_digest(self) -> str:
        """Identify the checkpoint: by what makes it, or by names, sizes and times of the files given."""
        if self.weights is None:
            return sha256(repr(self.recipe), *(self.shared_inputs[name] for name in _MAKERS))
        return sha256(*_listing(self.weights))

    @property
    def hub_cache(self) -> Path:
        """The folder laid out as the hub's own cache, so that a hub id finds the checkpoint offline."""
        return self.local / "hub"

    @property
    def checkpoint(self) -> Path:
        """The checkpoint, at the path where a download of the hub id would put it.

        FastVideo decides by words in the whole path, so the path must be one that users have.
        """
        folder = self.hub_cache / f"models--{self.hub.replace('/', '--')}"
        return folder / "snapshots" / self.checkpoint_digest[:40]

    @property
    def basis(self) -> str:
        """What evidence from the checkpoint rests on."""
        kind = "reduced random weights" if self.weights is None else "given weights"
        return f"{kind}, {DTYPE}"

    @cached_property
    def shared_inputs(self) -> dict[str, str]:
        """Digests of what every gate reads."""
        official = self.port.official
        return {
            "FastVideo's sources": self.index.tree.digest("fastvideo/"),
            "official packages": " ".join(f"{p.name}=={p.installed}" for p in official.packages),
            "official definitions": official.sources_digest(self.port.definitions),
            "installed packages": " ".join(f"{n}=={_version(n)}" for n in PACKAGES),
            "interpreter": f"{platform.python_implementation()} {platform.python_version()}",
            "machine": f"{platform.machine()}{' with an NVIDIA GPU' if has_gpu() else ''}",
            "gate programs": _programs_digest(),
        }

    def inputs(self, **own: str) -> dict[str, str]:
        """Return the inputs of a gate: the shared ones and what it adds."""
        return {**self.shared_inputs, **own}

    def weighed(self, **own: str) -> dict[str, str]:
        """Return the inputs of a gate that reads the checkpoint."""
        return self.inputs(checkpoint=self.checkpoint_digest, **own)

    @property
    def test_env(self) -> dict[str, str]:
        """Environment variables of the emitted tests."""
        constant = self.names.constant
        return {
            self.names.model_dir_env: str(self.checkpoint),
            f"{constant}_PARITY_DTYPE": DTYPE,
            "HF_HUB_CACHE": str(self.hub_cache),
            "HF_HUB_OFFLINE": "1",
        }

    @property
    def component_gates(self) -> tuple[str, ...]:
        """Names of the component parity gates: no pipeline gate runs before all of them have passed."""
        return tuple(f"parity.{name}" for name in self.port.components)


def has_gpu() -> bool:
    """Tell whether an NVIDIA device is there, without importing torch."""
    return Path("/dev/nvidiactl").exists()


def environment_variables(root: Path) -> dict[str, str]:
    """Return the variables that every gate's process starts with."""
    before = os.environ.get("PYTHONPATH", "")
    path = [str(RUNTIME), str(root.resolve()), *([before] if before else [])]
    return {
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "FASTVIDEO_ATTENTION_BACKEND": "TORCH_SDPA",
        "MASTER_ADDR": "localhost",
        "RANK": "0",
        "LOCAL_RANK": "0",
        "WORLD_SIZE": "1",
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }


PRELOAD = (
    "torch",
    "pytest",
    "transformers",
    "diffusers",
    "fastvideo.registry",
    "fastvideo.models.loader.component_loader",
    "fastvideo.entrypoints.video_generator",
)


def emitted_test(
    context: GateContext,
    name: str,
    title: str,
    test: str,
    *,
    expects: Sequence[str],
    metrics: Sequence[str],
    after: tuple[str, ...],
    basis: str,
) -> Gate:
    """Return the gate that runs an emitted test file with pytest and judges its report.

    Args:
        context: The port.
        name: Name of the gate.
        title: One line for people.
        test: The emitted file.
        expects: Parts of the names of tests that must have run.
        metrics: Numbers that the tests must have recorded.
        after: Gates that must have passed.
        basis: What the evidence rests on.
    """
    tree, own = context.index.tree, context.names.tests
    files = (test, f"{own}/parity.py", f"{own}/__init__.py")
    packages = [p for p in _packages_of(test) if p not in files and tree.exists(p)]
    read = {"test": test, "test helper": files[1], **{path: path for path in (*packages, files[2])}}
    return Gate(
        name,
        title,
        "portspec.gates.tests",
        {
            "file": test,
            "expects": list(expects),
            "metrics": list(metrics),
        },
        after=after,
        files=files,
        inputs=context.weighed(**{name: tree.sha(path) for name, path in read.items()}),
        env=context.test_env,
        basis=basis,
        timeout=1200,
    )


def declare_all(context: GateContext) -> Iterator[Gate]:
    """Yield the gates of every module of this folder; what a gate is told is one of its inputs."""
    for info in sorted(iter_modules(__path__), key=lambda m: m.name):
        for gate in import_module(f"{__name__}.{info.name}").declare(context):
            told = json.dumps([gate.args, gate.env, gate.basis], sort_keys=True, default=str)
            for path in filter(None, (context.weights, context.local)):
                told = told.replace(str(path), "")  # where things are does not matter
            yield replace(gate, inputs={**gate.inputs, "arguments": sha256(told)})


def load_ref(ref: str) -> Any:
    """Import what `module:Name` means; for gates' `run` only."""
    module, _, name = ref.partition(":")
    return getattr(import_module(module), name)


def plain(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON copy of a mapping that the spec froze."""
    return {
        key: list(value) if isinstance(value, tuple) else value for key, value in mapping.items()
    }


def _packages_of(test: str) -> list[str]:
    """Return the `__init__.py` files that importing a test runs."""
    return [f"{folder}/__init__.py" for folder in map(str, Path(test).parents) if folder != "."]


def _listing(weights: Path) -> Iterator[str]:
    """Yield a line per file of a checkpoint; folders are often links to where the large files are."""
    seen: set[str] = set()
    for folder, folders, names in os.walk(weights, followlinks=True):
        real = os.path.realpath(folder)
        folders[:] = sorted(folders) if real not in seen else []
        seen.add(real)
        for name in sorted(names):
            path = Path(folder, name)
            stat = path.stat()
            times = f"{stat.st_mtime_ns} {stat.st_ctime_ns} {stat.st_ino}"
            yield f"{path.relative_to(weights)} {stat.st_size} {times}"


def _programs_digest() -> str:
    """Hash what runs gates, judges them, and what they run: a changed proof proves anew."""
    folders = (Path(runner.__file__).parent, Path(__file__).parent, RUNTIME, RUNTIME.parent)
    files = sorted(path for folder in folders for path in folder.glob("*.py"))
    files += sorted(Path(weights.__file__).parent.rglob("*.py"))
    return sha256(*(path.read_bytes() for path in files))


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"
