"""The checkpoint gate: what a user gives is looked at, file by file, before anything is loaded from it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from portspec.codegen.gates.checkpoint import _inspect
from portspec.commands import USAGE
from tests.conftest import SPEC, run

RECIPE = {
    "pipeline": "official:TinyPipeline",
    "components": [
        {
            "name": "transformer",
            "stateful": True,
            "class_name": "Tiny",
            "published": {"num_layers": 40},
            "args": {"num_layers": 2},
        }
    ],
}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "transformer"
    folder.mkdir()
    (tmp_path / "model_index.json").write_text('{"_class_name": "TinyPipeline"}', encoding="utf-8")
    (folder / "config.json").write_text(
        '{"_class_name": "Tiny", "num_layers": 2}', encoding="utf-8"
    )
    save_file({"weight": torch.ones(2, 2)}, folder / "model.safetensors")
    return tmp_path


def _rewrite(name: str, **values: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | values), encoding="utf-8")

    return change


def _cut(folder: Path) -> None:
    path = folder / "transformer/model.safetensors"
    path.write_bytes(path.read_bytes()[:-3])


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "another pipeline": (_rewrite("model_index.json", _class_name="Other"), "says Other"),
    "another class": (_rewrite("transformer/config.json", _class_name="Big"), "says Big"),
    "another size": (_rewrite("transformer/config.json", num_layers=41), "num_layers: 41"),
    "a truncated file": (_cut, "transformer/model.safetensors is damaged"),
    "a pointer in place of a file": (
        lambda f: (f / "transformer/model.safetensors").write_text(
            "version https://git-lfs", "utf-8"
        ),
        "transformer/model.safetensors is damaged",
    ),
    "no config": (lambda f: (f / "transformer/config.json").unlink(), "no config.json"),
    "no weights": (lambda f: (f / "transformer/model.safetensors").unlink(), "no *.safetensors"),
    "no component": (
        lambda f: (f / "transformer").rename(f / "unet"),
        "the checkpoint has no transformer",
    ),
}


def test_a_sound_checkpoint_passes(checkpoint: Path) -> None:
    assert _inspect(RECIPE, checkpoint).status == "pass"


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_told_by_file(fault: str, checkpoint: Path) -> None:
    change, says = FAULTS[fault]
    change(checkpoint)
    outcome = _inspect(RECIPE, checkpoint)
    assert outcome.status != "pass"
    assert says in outcome.message


def test_json_that_cannot_be_read_is_named(checkpoint: Path) -> None:
    (checkpoint / "transformer/config.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"transformer/config\.json is not JSON"):
        _inspect(RECIPE, checkpoint)


@pytest.mark.parametrize("command", [("build", SPEC), ("gate", "run", SPEC)])
def test_weights_that_are_none_are_refused_at_once(
    command: tuple[str, ...], workspace: Path, released: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        run(*command, "--target", str(released), "--weights", str(workspace / "nowhere")) == USAGE
    )
    assert "E901" in capsys.readouterr().err
