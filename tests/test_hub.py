"""Repositories of the hub: listed, and read by ranges of bytes, with nothing staged."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from portspec.weights.engine import hub as client
from portspec.weights.engine.hub import HubPath, place
from tests.hub import COMMIT, Hub, hub
from tests.test_convert import SPEC, hashes, release, small

__all__ = ["release", "small"]


@pytest.fixture
def serving(release: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The release of the conversion's tests, on a hub."""
    with hub(release) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        yield server


def portspec(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run in a process of its own: huggingface_hub reads its endpoint when it is imported."""
    command = [sys.executable, "-m", "portspec", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("where", ["Wan2.1_VAE.pth", "model-1-of-2.safetensors"])
def test_a_surface_is_that_of_the_file(serving: Hub, release: Path, where: str) -> None:
    there = portspec("surface", f"hf://someone/model/{where}", "--json")
    assert there.returncode == 0, there.stderr
    assert there.stdout == portspec("surface", str(release / where), "--json").stdout


@pytest.fixture
def large(release: Path) -> str:
    """A file of which a header is a small part."""
    (release / "extra").mkdir()
    tensors = {f"layer.{i}": torch.zeros(1 << 20) for i in range(4)}
    save_file(tensors, release / "extra/large.safetensors")
    torch.save(tensors, release / "extra/large.pth")
    return "hf://someone/model/extra/large"


@pytest.mark.parametrize("ending", [".safetensors", ".pth"])
def test_a_surface_is_read_from_headers_alone(serving: Hub, large: str, ending: str) -> None:
    assert portspec("surface", large + ending).returncode == 0
    assert 0 < serving.served < 1 << 20


def test_a_whole_release_is_converted_without_staging_it(
    serving: Hub, small: Path, workspace: Path
) -> None:
    there = portspec(
        "convert", SPEC, "--weights", "hf://someone/model", "--out", "there", "--verify"
    )
    here = portspec("convert", SPEC, "--weights", "release", "--out", "here", "--verify")
    assert (there.returncode, here.returncode) == (0, 0), there.stderr
    assert hashes(workspace / "there") == hashes(workspace / "here")
    assert {path.name for path in workspace.iterdir()} == {"specs", "release", "there", "here"}


def test_the_emitted_script_reads_the_hub_too(serving: Hub, workspace: Path) -> None:
    from portspec.commands import port_of
    from portspec.settings import Settings
    from portspec.weights.script import script

    Path("convert.py").write_text(
        script(port_of(Path(SPEC), Settings()), "# head"), encoding="utf-8"
    )
    for where, out in (("hf://someone/model", "there"), ("release", "here")):
        command = [sys.executable, "convert.py", "--weights", where, "--out", out]
        subprocess.run(command, check=True, capture_output=True)
    assert hashes(workspace / "there") == hashes(workspace / "here")


def test_what_the_hub_stops_giving_goes_on_in_the_next_run(serving: Hub, workspace: Path) -> None:
    command = ["convert", SPEC, "--weights", "hf://someone/model", "--out", "there", "--jobs", "1"]
    portspec(*command[:-4], "--out", "whole")
    every = len(serving.ranges)
    serving.fails_after = every + every // 2 + every // 4
    broken = portspec(*command)
    assert broken.returncode != 0
    assert "E529" in broken.stderr
    assert not (workspace / "there").exists()
    assert (workspace / ".there.draft").is_dir()
    serving.fails_after = -1
    assert portspec(*command).returncode == 0
    assert hashes(workspace / "there") == hashes(workspace / "whole")


def test_a_server_that_ignores_ranges_is_refused(serving: Hub, large: str) -> None:
    serving.whole = True
    told = portspec("surface", f"{large}.safetensors")
    assert told.returncode != 0
    assert "E529" in told.stderr
    assert "bytes were asked for" in told.stderr


@pytest.mark.parametrize(
    ("where", "code"),
    [
        ("hf://someone/other/model.safetensors", "E529"),
        ("hf://someone", "E529"),
        ("hf://someone/model/../../etc/model.safetensors", "E529"),
        ("hf://someone/model/missing.safetensors", "E520"),
    ],
)
def test_what_is_not_there_is_an_error(serving: Hub, where: str, code: str) -> None:
    told = portspec("surface", where)
    assert told.returncode != 0
    assert code in told.stderr
    assert "Traceback" not in told.stderr


def test_a_token_is_sent_and_never_shown(serving: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_averysecretone")
    told = portspec("surface", "hf://someone/model/Wan2.1_VAE.pth")
    serving.fails_after = 0
    refused = portspec("surface", "hf://someone/model/Wan2.1_VAE.pth")
    assert serving.tokens == {"Bearer hf_averysecretone"}
    assert refused.returncode != 0
    assert "averysecret" not in told.stdout + told.stderr + refused.stdout + refused.stderr


# --- paths ----------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HubPath:
    """A repository whose files are known, so that nothing is asked for."""
    files = ["a.safetensors", "b.txt", "vae/c.pth", "vae/deep/d.bin"]
    known = {name: client.RemoteStat(len(name), name) for name in files}
    monkeypatch.setattr(client, "_listed", lambda repository, commit: known)
    found = place(f"hf://o/n@{COMMIT}")
    assert isinstance(found, HubPath)
    return found


PATTERNS = [
    "*",
    "*.txt",
    "**/*",
    "vae/*",
    "vae/**/*.bin",
    "**/*.pth",
    "*/deep/?.bin",
    "[ab].*",
    "vae",
]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_mean_what_they_mean_on_disk(
    folder: HubPath, tmp_path: Path, pattern: str
) -> None:
    for name in folder._files():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    disk = {str(p.relative_to(tmp_path)) for p in tmp_path.glob(pattern) if p.is_file()}
    assert {path.inner for path in folder.glob(pattern)} == disk
    below = {str(p.relative_to(tmp_path)) for p in (tmp_path / "vae").glob(pattern) if p.is_file()}
    assert {path.inner for path in (folder / "vae").glob(pattern)} == below


def test_folders_and_files(folder: HubPath) -> None:
    assert [path.name for path in folder.iterdir()] == ["a.safetensors", "b.txt", "vae"]
    assert [path.inner for path in (folder / "vae").iterdir()] == ["vae/c.pth", "vae/deep"]
    vae = folder / "vae"
    assert (vae.is_dir(), vae.is_file(), vae.exists()) == (True, False, True)
    assert (folder / "vae/c.pth").stat().st_size == len("vae/c.pth")
    assert not (folder / "va").exists()
    assert str(vae) == f"hf://o/n@{COMMIT}/vae"
    assert place(str(vae / "c.pth")) == vae / "c.pth"
    assert vae.parent == folder


# --- classes --------------------------------------------------------------------------------------------


def test_a_diffusers_class_is_built_at_the_size_of_its_config(tmp_path: Path) -> None:
    config = {"base_dim": 8, "z_dim": 4, "_class_name": "AutoencoderKLWan"}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    reference = "diffusers.models.autoencoders.autoencoder_kl_wan:AutoencoderKLWan"
    told = portspec("surface", reference, "--config", str(tmp_path / "config.json"), "--json")
    assert told.returncode == 0, told.stderr
    found = json.loads(told.stdout)
    assert len(found) == 194
    assert found["quant_conv.weight"] == {"dtype": "F32", "shape": [8, 8, 1, 1, 1]}


def test_a_transformers_class_is_built_from_its_config(tmp_path: Path) -> None:
    config = {"d_model": 16, "d_ff": 8, "d_kv": 4, "num_heads": 2, "num_layers": 1, "vocab_size": 9}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    for reference in ("transformers:", "transformers.models.umt5.modeling_umt5:"):
        given = (
            f"{reference}UMT5EncoderModel",
            "--config",
            str(tmp_path / "config.json"),
            "--json",
        )
        told = portspec("surface", *given)
        assert told.returncode == 0, told.stderr
        assert json.loads(told.stdout)["shared.weight"]["shape"] == [9, 16]


def test_a_native_class_shows_the_names_that_rules_must_lead_to(
    released: Path, tmp_path: Path
) -> None:
    config = {"num_attention_heads": 2, "attention_head_dim": 16, "num_layers": 1, "ffn_dim": 32}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    told = portspec(
        "surface",
        "fastvideo.models.dits.wanvideo:WanTransformer3DModel",
        "--config",
        str(tmp_path / "config.json"),
        "--target",
        str(released),
        "--json",
    )
    assert told.returncode == 0, told.stderr
    found = json.loads(told.stdout)
    assert found["blocks.0.to_q.weight"]["shape"] == [32, 32]
    assert not any(name.startswith("blocks.1.") for name in found)


def test_a_class_that_cannot_be_built_is_an_error() -> None:
    told = portspec("surface", "diffusers.models.nothing:Nothing")
    assert told.returncode != 0
    assert "E541" in told.stderr
    assert "Traceback" not in told.stderr


def test_hub_files_are_read_where_torch_reads_them(serving: Hub, release: Path) -> None:
    """The bytes that a range gives are those of the file, at every offset."""
    code = (
        "import sys; from portspec.weights.engine.hub import place\n"
        "file = place('hf://someone/model/Wan2.1_VAE.pth').open()\n"
        "for start, size in ((0, 10), (100000, 70000), (5, 3), (99999, 2)):\n"
        "    file.seek(start); sys.stdout.buffer.write(file.read(size))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    data = (release / "Wan2.1_VAE.pth").read_bytes()
    assert done.stdout == data[:10] + data[100000:170000] + data[5:8] + data[99999:100001]
