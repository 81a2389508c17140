"""`portspec convert` and `portspec map`, on the authors' layout of a Wan release at reduced size."""

from __future__ import annotations

import ast
import hashlib
import json
import re
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import torch
from ruamel.yaml import YAML
from safetensors.torch import load_file, save_file

from portspec.commands import CLEAN, FINDINGS, USAGE, port_of
from portspec.settings import Settings
from portspec.weights import engine
from portspec.weights.script import script
from tests.conftest import run

FACTS = Path(__file__).parent / "conversions"
SPEC = "specs/skyreels_v2.yaml"


def tensors_of(name: str, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random tensors with the names and shapes that the authors' own class has."""
    kinds = json.loads((FACTS / f"{name}.json").read_text(encoding="utf-8"))
    made = torch.Generator().manual_seed(seed + zlib.crc32(name.encode()))
    return {key: torch.randn(shape, generator=made) for key, (_, shape) in kinds.items()}


@pytest.fixture
def release(workspace: Path) -> Path:
    """A release as the authors publish one: shards, two torch files, a tokenizer's folder."""
    folder = workspace / "release"
    (folder / "google/umt5-xxl").mkdir(parents=True)
    transformer = tensors_of("wan_t2v")
    names = sorted(transformer)
    for index, part in enumerate((names[: len(names) // 2], names[len(names) // 2 :])):
        save_file({n: transformer[n] for n in part}, folder / f"model-{index + 1}-of-2.safetensors")
    torch.save(tensors_of("wan_vae"), folder / "Wan2.1_VAE.pth")
    encoder = {n: t.bfloat16() for n, t in tensors_of("umt5").items()}
    torch.save(encoder, folder / "models_t5_umt5-xxl-enc-bf16.pth")
    (folder / "google/umt5-xxl/tokenizer.json").write_text("{}", encoding="utf-8")
    return folder


SIZES = {  # of the original classes that the facts were taken from
    "transformer": {
        "attention_head_dim": 12,
        "num_attention_heads": 2,
        "ffn_dim": 32,
        "freq_dim": 16,
        "in_channels": 4,
        "out_channels": 4,
        "num_layers": 2,
        "text_dim": 20,
    },
    "vae": {"base_dim": 4, "z_dim": 2},
    "text_encoder": {
        "d_ff": 24,
        "d_kv": 4,
        "d_model": 16,
        "num_heads": 4,
        "num_layers": 2,
        "relative_attention_num_buckets": 8,
        "vocab_size": 32,
    },
}


@pytest.fixture
def small(release: Path, workspace: Path) -> Path:
    """The release, and specs whose networks have its size."""
    yaml = YAML()
    for file in ("specs/wan.yaml", SPEC):
        spec = yaml.load(workspace / file)
        for name, sizes in SIZES.items():
            instantiation = spec["components"][name].get("instantiation", {})
            if "args" in instantiation:
                instantiation["args"].update(sizes)
        yaml.dump(spec, workspace / file)
    return release


def convert(*more: str) -> int:
    return run("convert", SPEC, "--weights", "release", *more)


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_release_becomes_a_folder_that_diffusers_reads(small: Path, workspace: Path) -> None:
    assert convert("--out", "converted", "--verify") == CLEAN
    out = workspace / "converted"
    manifest = json.loads((out / "model_index.json").read_text())
    assert manifest["_class_name"] == "SkyReelsV2Pipeline"
    assert manifest["text_encoder"] == ["transformers", "UMT5EncoderModel"]
    config = json.loads((out / "transformer/config.json").read_text())
    assert config["_class_name"] == "SkyReelsV2Transformer3DModel"
    assert config["num_layers"] == 2
    assert (out / "tokenizer/tokenizer.json").read_text() == "{}"
    told = json.loads((out / "portspec_manifest.json").read_text())
    assert told == {n: h for n, h in hashes(out).items() if n != "portspec_manifest.json"}


def test_a_tensor_without_a_number_is_doubted(
    small: Path, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = next(small.glob("model-1-*"))
    tensors = load_file(path)
    name = min(name for name in tensors if name.endswith(".weight"))
    tensors[name] = torch.full_like(tensors[name], float("nan"))
    save_file(tensors, path)
    assert convert("--out", "converted") == CLEAN
    told = capsys.readouterr().out
    assert "W542" in told
    assert f"{name}: every element is NaN" in told


def test_a_release_that_is_converted_already_is_recognised(
    small: Path, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert convert("--out", "converted") == CLEAN
    told = capsys.readouterr().out  # the release of these tests is a small one, which it says
    assert "W543 the release lacks names that wan_t2v_14b.json has: blocks.{2-39}" in told
    assert "W543 the release has other shapes than wan_vae.json" in told
    names = load_file(workspace / "converted/vae/diffusion_pytorch_model.safetensors")
    torch.save(names, small / "Wan2.1_VAE.pth")
    assert convert("--plan") == FINDINGS
    told = capsys.readouterr().out
    assert "W543 the release is converted already: " in told
    torch.save({**tensors_of("wan_vae"), "extra.weight": torch.ones(1)}, small / "Wan2.1_VAE.pth")
    convert("--plan")
    assert (
        "W543 the release has names that wan_vae.json has not: extra.weight"
        in capsys.readouterr().out
    )


def test_the_plan_is_a_ledger_of_element_types(
    release: Path, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = workspace / "specs/wan.yaml"
    text = path.read_text(encoding="utf-8").replace(
        "      files: [Wan2.1_VAE.pth]\n", "      files: [Wan2.1_VAE.pth]\n      cast: bf16\n"
    )
    path.write_text(text, encoding="utf-8")
    assert convert("--plan") == CLEAN
    assert "194 from F32 to BF16" in capsys.readouterr().out
    assert convert("--plan", "--json") == CLEAN
    rows = json.loads(capsys.readouterr().out)["components"]["vae"]["tensors"].values()
    assert {(*row["from_dtypes"], row["dtype"]) for row in rows} == {("F32", "BF16")}


def test_what_the_official_class_does_not_take_is_not_written(
    small: Path, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = workspace / SPEC
    path.write_text(path.read_text().replace("num_layers: 2", "num_layers: 3"), encoding="utf-8")
    assert convert("--out", "converted", "--verify") == FINDINGS
    told = capsys.readouterr().out
    assert "E502" in told
    assert "blocks.2" in told
    assert not (workspace / "converted").exists()


def test_every_tensor_arrives_under_its_official_name(release: Path, workspace: Path) -> None:
    assert convert("--out", "converted") == CLEAN
    encoder = load_file(workspace / "converted/text_encoder/model.safetensors")
    source = tensors_of("umt5")
    block = "encoder.block.1.layer"
    for old, new in {
        "token_embedding.weight": "shared.weight",
        "blocks.1.ffn.gate.0.weight": f"{block}.1.DenseReluDense.wi_0.weight",
        "blocks.1.norm2.weight": f"{block}.1.layer_norm.weight",
        "blocks.1.attn.o.weight": f"{block}.0.SelfAttention.o.weight",
        "norm.weight": "encoder.final_layer_norm.weight",
    }.items():
        assert torch.equal(encoder[new], source[old].bfloat16()), new
    assert len(encoder) == len(source)
    transformer = load_file(workspace / "converted/transformer/diffusion_pytorch_model.safetensors")
    raw = tensors_of("wan_t2v")
    assert len(transformer) == len(raw)
    assert torch.equal(transformer["blocks.0.norm2.weight"], raw["blocks.0.norm3.weight"])


def test_shards_and_jobs_change_only_the_files(release: Path, workspace: Path) -> None:
    assert convert("--out", "one", "--shard-size", "50000", "--jobs", "3") == CLEAN
    assert convert("--out", "two", "--shard-size", "50000") == CLEAN
    assert hashes(workspace / "one") == hashes(workspace / "two")
    folder = workspace / "one/transformer"
    index = json.loads((folder / "diffusion_pytorch_model.safetensors.index.json").read_text())
    loaded: Mapping[str, torch.Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        loaded = {**loaded, **load_file(file)}
    assert loaded.keys() == index["weight_map"].keys()


def test_a_plan_writes_nothing_and_says_all(
    release: Path, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = hashes(workspace)
    assert convert("--plan") == CLEAN
    assert "transformer: 69 tensors become 69, 0 dropped" in capsys.readouterr().out
    assert convert("--plan", "--json") == CLEAN
    told = json.loads(capsys.readouterr().out)
    row = told["components"]["transformer"]["tensors"]["blocks.0.norm2.weight"]
    assert row["from"] == ["blocks.0.norm3.weight"]
    assert row["how"] == "copied"
    assert hashes(workspace) == before


def test_what_is_missing_or_odd_is_said(
    release: Path, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert convert() == USAGE
    assert convert("--out", "x", "--variant", "none") == USAGE
    (release / "Wan2.1_VAE.pth").unlink()
    assert convert("--out", "x") == FINDINGS
    assert "E536" in capsys.readouterr().out
    assert not (workspace / "x").exists()


def test_two_files_of_one_name_are_refused(
    release: Path, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wan = workspace / "specs/wan.yaml"
    text = wan.read_text(encoding="utf-8")
    both = text.replace('["google/umt5-xxl/*"]', '["google/*/*"]')
    assert both != text
    wan.write_text(both, encoding="utf-8")
    (release / "google/other").mkdir()
    (release / "google/other/tokenizer.json").write_text("[]", encoding="utf-8")
    assert convert("--out", "x") == FINDINGS
    assert "E533" in capsys.readouterr().out
    assert not (workspace / "x").exists()


@pytest.mark.parametrize("pattern", ["/etc/*", "../*", "a/../../*"])
def test_a_pattern_that_leads_out_is_refused(
    pattern: str, release: Path, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wan = workspace / "specs/wan.yaml"
    text = wan.read_text(encoding="utf-8").replace('"google/umt5-xxl/*"', f'"{pattern}"')
    wan.write_text(text, encoding="utf-8")
    assert convert("--out", "x") == FINDINGS
    assert "E118" in capsys.readouterr().err


def lost_shard(release: Path) -> None:
    (release / "model-2-of-2.safetensors").unlink()


def link_to_nothing(release: Path) -> None:
    lost_shard(release)
    (release / "model-2-of-2.safetensors").symlink_to(release / "blob")


def lost_by_the_index(release: Path) -> None:
    (release / "model-1-of-2.safetensors").rename(release / "a.safetensors")
    (release / "model-2-of-2.safetensors").rename(release / "b.safetensors")
    index = {"weight_map": {"x": "a.safetensors", "y": "b.safetensors", "z": "c.safetensors"}}
    (release / "model.index.json").write_text(json.dumps(index), encoding="utf-8")


@pytest.mark.parametrize("harm", [lost_shard, link_to_nothing, lost_by_the_index])
def test_a_release_that_lacks_a_shard_is_refused(
    harm: Callable[[Path], None], release: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    harm(release)
    assert convert("--out", "x") == FINDINGS
    assert "E527" in capsys.readouterr().out


def test_what_is_converted_already_is_not_converted_again(
    release: Path, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No rule meets its names: they would pass through, and nobody would know."""
    assert convert("--out", "once") == CLEAN
    for file in release.glob("*.safetensors"):
        file.unlink()
    converted = workspace / "once/transformer/diffusion_pytorch_model.safetensors"
    converted.rename(release / "model.safetensors")
    assert convert("--out", "twice") == FINDINGS
    assert "E506" in capsys.readouterr().out


def test_the_release_is_not_written_into(release: Path) -> None:
    assert convert("--out", "release/converted") == FINDINGS
    assert not (release / "converted").exists()


@pytest.mark.parametrize(
    ("new", "code"),
    [
        ("{match: '^(conv1', to: x}", "E136"),
        ("{match: '^conv1', to: 'x.\\7'}", "E137"),
        ("{match: '^conv1', to: x, ops: [{nope: {}}]}", "E149"),
    ],
)
def test_rules_that_cannot_be_right_are_said_by_every_command(
    new: str, code: str, release: Path, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wan = workspace / "specs/wan.yaml"
    old = "{match: '^conv1\\.(\\w+)$', to: 'quant_conv.\\1'}"
    text = wan.read_text(encoding="utf-8")
    assert old in text
    wan.write_text(text.replace(old, new), encoding="utf-8")
    assert convert("--out", "x") == FINDINGS
    assert code in capsys.readouterr().err
    assert run("map", "show", SPEC, "vae", "--source", "release/Wan2.1_VAE.pth") == FINDINGS
    assert code in capsys.readouterr().err


def test_nothing_is_no_target(release: Path, workspace: Path) -> None:
    save_file({}, workspace / "none.safetensors")
    check = ("map", "check", SPEC, "vae", "--source", "release/Wan2.1_VAE.pth")
    assert run(*check, "--against", "none.safetensors") == FINDINGS


@pytest.mark.parametrize("option", ["--jobs", "--shard-size"])
@pytest.mark.parametrize("value", ["0", "-1", "x"])
def test_numbers_that_are_none(option: str, value: str, release: Path) -> None:
    assert convert("--out", "x", option, value) == USAGE


def test_a_damaged_file_is_named(
    release: Path, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shard = release / "model-1-of-2.safetensors"
    shard.write_bytes(shard.read_bytes()[:-10])
    assert convert("--out", "x") == FINDINGS
    told = capsys.readouterr().out
    assert "release/model-1-of-2.safetensors" in told
    assert "E521" in told
    assert not (workspace / "x").exists()


def test_the_certificate_holds_against_what_must_come_out(
    release: Path, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert convert("--out", "converted") == CLEAN
    capsys.readouterr()
    check = ("map", "check", SPEC, "vae", "--source", "release/Wan2.1_VAE.pth")
    assert run(*check, "--against", "converted/vae") == CLEAN
    said = capsys.readouterr()
    assert "194 tensors" in said.err
    assert "only parity.vae can tell apart" in said.err
    assert run(*check, "--against", "converted/transformer") == FINDINGS
    assert "E501" in capsys.readouterr().out


def test_kept_names_prove_the_rules_against_the_official_class(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("map", "check", SPEC, "transformer", "--against", "official") == CLEAN
    told = capsys.readouterr().err
    assert "1,095 tensors, 57,153,966,336 bytes: 1,093 renamed" in told
    assert (
        "only parity.transformer can tell apart: blocks.{0-39}.attn{1-2}.(norm_k | norm_q)" in told
    )


def test_a_native_class_proves_its_own_tables(
    workspace: Path, released: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for component in ("transformer", "vae", "text_encoder"):
        given = ("map", "check", SPEC, component, "--native", "--target", released)
        assert run(*given) == CLEAN
    told = capsys.readouterr().err
    assert "1,095 tensors, 57,153,966,336 bytes: 732 renamed" in told
    assert "242 tensors, 22,723,641,344 bytes: 24 renamed" in told


def test_a_row_that_is_missing_in_a_native_class_is_found(
    workspace: Path, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copy / "fastvideo/configs/models/dits/wanvideo.py"
    row = 'r"^blocks\\.(\\d+)\\.attn1\\.to_out\\.0\\.(.*)$": r"blocks.\\1.to_out.\\2",'
    text = path.read_text(encoding="utf-8")
    assert row in text
    path.write_text(text.replace(row, ""), encoding="utf-8")
    assert run("map", "check", SPEC, "transformer", "--native", "--target", copy) == FINDINGS
    told = capsys.readouterr().out
    assert "E501" in told
    assert "E502" in told
    assert "[80 tensors, 4,195,123,200 bytes]" in told


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("check", SPEC, "tokenizer"), "converts no tokenizer"),
        (("check", "specs/wan.yaml", "transformer"), "keeps no published names of transformer"),
        (("check", SPEC, "vae", "--native", "--against", "official"), "takes no --source"),
        (("check", SPEC, "scheduler"), "converts no scheduler"),
        (("check", SPEC, "scheduler", "--native"), "no native class with weights"),
    ],
)
def test_what_has_no_names_cannot_be_proved(
    workspace: Path, arguments: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("map", *arguments) == USAGE
    assert says in capsys.readouterr().err


def test_the_table_shows_every_tensor(release: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = ("--source", "release/Wan2.1_VAE.pth")
    assert run("map", "show", SPEC, "vae", *source) == CLEAN
    assert "conv1.weight -> quant_conv.weight    [^conv1" in capsys.readouterr().out
    assert run("map", "show", SPEC, "vae", *source, "--json") == CLEAN
    assert len(json.loads(capsys.readouterr().out)) == 194


def test_an_edit_of_a_rule_shows_what_it_re_routes(
    release: Path, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wan = workspace / "specs/wan.yaml"
    text = wan.read_text(encoding="utf-8")
    edited = text.replace("to: 'quant_conv.\\1'", "to: 'quant.\\1'")
    assert edited != text
    (workspace / "specs/wan_new.yaml").write_text(edited, encoding="utf-8")
    options = ("vae", "--source", "release/Wan2.1_VAE.pth")
    assert run("map", "diff", "specs/wan.yaml", "specs/wan_new.yaml", *options) == CLEAN
    said = capsys.readouterr()
    assert "conv1.weight: quant_conv.weight becomes quant.weight" in said.out
    assert "2 of 194 tensors" in said.err
    assert run("map", "diff", "specs/wan.yaml", "specs/wan.yaml", *options) == CLEAN
    assert not capsys.readouterr().out


def test_a_surface_is_told_as_text_and_json(
    release: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("surface", "release/Wan2.1_VAE.pth", "--json") == CLEAN
    told = json.loads(capsys.readouterr().out)
    assert told["conv1.weight"]["dtype"] == "F32"
    assert run("surface", "release/Wan2.1_VAE.pth") == CLEAN
    assert "194 tensors" in capsys.readouterr().err
    assert run("surface", "release/nothing.pth") == FINDINGS
    assert run("surface", "release") == FINDINGS


def test_rules_are_suggested_as_a_spec_writes_them(
    release: Path, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert convert("--out", "converted") == CLEAN
    capsys.readouterr()
    sides = ("release/models_t5_umt5-xxl-enc-bf16.pth", "converted/text_encoder")
    assert run("map", "suggest", *sides) == CLEAN
    rules = YAML(typ="safe").load(capsys.readouterr().out)
    assert {"match": r"^norm\.(.*)$", "to": r"encoder.final_layer_norm.\1"} in rules
    assert run("map", "suggest", *sides, "--json") == CLEAN
    told = json.loads(capsys.readouterr().out)
    assert told["rules"] == rules
    assert not told["unmatched_source"]


def test_the_emitted_script_writes_the_same_bytes(release: Path, workspace: Path) -> None:
    """It needs nothing but itself, and says the same of a release that is not whole."""
    text = script(port_of(workspace / SPEC, Settings()), "# made from skyreels_v2.yaml")
    assert "portspec" not in re.sub(r"portspec surface|\bportspec runs\b", "", text)
    path = workspace / "skyreels_v2_to_diffusers.py"
    path.write_text(text, encoding="utf-8")
    command = [sys.executable, "-I", str(path), "--weights", "release", "--shard-size", "60000"]
    assert convert("--out", "ours", "--shard-size", "60000") == CLEAN
    subprocess.run([*command, "--out", "theirs"], cwd=workspace, check=True)
    assert hashes(workspace / "ours") == hashes(workspace / "theirs")
    (release / "Wan2.1_VAE.pth").unlink()
    refused = subprocess.run(
        [*command, "--out", "more"], cwd=workspace, capture_output=True, text=True, check=False
    )
    assert refused.returncode == 1
    assert "E536" in refused.stdout
    assert not (workspace / "more").exists()


def test_no_two_modules_of_the_engine_use_one_name() -> None:
    """In an emitted script they stand in one file."""
    seen: dict[str, str] = {}
    for path in sorted(Path(engine.__file__).parent.rglob("*.py")):
        for name in _defined(ast.parse(path.read_text(encoding="utf-8"))):
            assert name not in seen, f"{name} in {seen[name]} and {path.name}"
            seen[name] = path.name


def _defined(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        targets = node.targets if isinstance(node, ast.Assign) else []
        yield from (t.id for t in targets if isinstance(t, ast.Name))
