"""What the tests share: the real FastVideo trees, a cache, and a workspace with the specs in it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from portspec.backend import SourceDistribution, Target, backends
from portspec.cache import Cache
from portspec.judge import Judgement, judge
from portspec.state import local_folder
from portspec.target import fetch
from portspec.tree import Tree

ROOT = Path(__file__).parent.parent
SPEC = "specs/skyreels_v2.yaml"
OLDER = SourceDistribution(
    "fastvideo==0.2.0",
    "c37ec2adf7cf7bd6772f8579ef104c3c0cb4e9708728656013b4091f9bb8f311",
    "fastvideo-0.2.0",
)


@pytest.fixture(scope="session")
def cache() -> Cache:
    return Cache()


@pytest.fixture(scope="session")
def released() -> Path:
    """FastVideo 0.2.1 as it was released; nobody writes there."""
    return fetch(backends()[0].default_target, print)


@pytest.fixture(scope="session")
def older() -> Path:
    """FastVideo 0.2.0 as it was released; nobody writes there."""
    return fetch(OLDER, print)


@pytest.fixture(scope="session")
def tree(released: Path, cache: Cache) -> Tree:
    """The released tree."""
    found = Tree(released, cache)
    found.list_files()
    return found


@pytest.fixture(scope="session")
def target(tree: Tree, cache: Cache) -> Target:
    """The released tree with its back end."""
    return Target(tree, cache)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the repository's specs, which is also the working folder."""
    shutil.copytree(ROOT / "specs", tmp_path / "specs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def copy(released: Path, tmp_path: Path) -> Path:
    """A copy of the released tree that a test may change."""
    folder = tmp_path / "FastVideo"
    shutil.copytree(released, folder)
    return folder


@dataclass(frozen=True)
class Built:
    """A port that was built with all its gates: where, and what the command printed as its result."""

    folder: Path
    status: int
    output: str
    family: str = "skyreels_v2"

    @property
    def tree(self) -> Path:
        return self.folder / "FastVideo"

    @property
    def local(self) -> Path:
        return local_folder(self.tree, self.family)

    @property
    def checkpoint(self) -> Path:
        return next((self.local / "hub").glob("models--*/snapshots/*"))

    def judgement(self) -> Judgement:
        cache = Cache()
        return judge(self.folder / SPEC, Target(Tree(self.tree, cache), cache))


@pytest.fixture(scope="session")
def proven(released: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """SkyReels-V2 built into a copy of the released tree, with every gate run."""
    folder = tmp_path_factory.mktemp("proven").resolve()
    shutil.copytree(ROOT / "specs", folder / "specs")
    shutil.copytree(released, folder / "FastVideo")
    command = [sys.executable, "-m", "portspec", "build", SPEC, "--target", "FastVideo"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return Built(folder, done.returncode, done.stdout)


def run(*arguments: str) -> int:
    """Run the command line in this process and return its exit status."""
    from portspec.cli import main

    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as error:
        return int(error.code or 0)
