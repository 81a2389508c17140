"""Seeded faults, and the check or gate that must catch each one.

A fault is put into the spec, into the built tree or into the checkpoint, as a porter, a merge or a careless
edit would put it there. Most are caught without running anything; each of the others must be caught by the
one gate that is named here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
from ruamel.yaml import YAML

from portspec.backend import Target
from portspec.build import prepare
from portspec.errors import Diagnostic, SpecError
from portspec.gates.result import GateResult
from portspec.gates.runner import Environment, Runner
from portspec.judge import judge
from portspec.settings import Settings
from tests.conftest import ROOT, SPEC, Built

pytestmark = pytest.mark.xdist_group("proven")  # one build with its gates serves all of them

# --- in the spec: `portspec check` refuses it ---------------------------------------------------------

WAN, NATIVE = "specs/wan.yaml", "examples/ported_network/port.yaml"
PRESET = "presets.skyreels_v2_t2v_14b_540p"
STAGES = "pipeline.stages"


def swapped(one: int, other: int) -> Callable[[list[Any]], None]:
    def change(items: list[Any]) -> None:
        items[one], items[other] = items[other], items[one]

    return change


def without(index: int) -> Callable[[list[Any]], None]:
    return lambda items: items.pop(index)


@dataclass(frozen=True)
class SpecFault:
    """Set a value of a spec, or change a list in place; `code` must be found when `checked` is checked."""

    name: str
    code: str
    path: str
    value: Any
    file: str = SPEC
    checked: str = SPEC

    def plant(self, folder: Path) -> None:
        yaml = YAML()
        yaml.preserve_quotes = True
        document = yaml.load((folder / self.file).read_text("utf-8"))
        *head, last = (int(k) if k.isdigit() else k for k in self.path.split("."))
        node = document
        for key in head:
            node = node[key]
        if callable(self.value):
            self.value(node[last])
        else:
            node[last] = self.value
        yaml.dump(document, folder / self.file)


SPEC_FAULTS = [
    SpecFault("wrong shift", "E605", "pipeline.config.fields.flow_shift.value", 5.0),
    SpecFault("wrong step count", "E605", f"{PRESET}.defaults.num_inference_steps.value", 30),
    SpecFault("wrong guidance", "E605", f"{PRESET}.defaults.guidance_scale.value", 5.0),
    SpecFault("wrong precision", "E605", "components.transformer.precision.value", "fp16"),
    SpecFault("wrong class name", "E623", "pipeline.class", "SkyReelsV2T2VPipeline"),
    SpecFault("missing required module", "E615", "pipeline.modules", without(2), WAN),
    SpecFault("a stage left out", "E619", STAGES, without(3), WAN),
    SpecFault("wrong stage order", "E617", STAGES, swapped(1, 5), WAN),
    SpecFault("guidance off in the comparison", "E134", "pipeline.parity.guidance_scale", 1.0, WAN),
    SpecFault(
        "a token",
        "E117",
        "docs.notes",
        lambda notes: notes.append("use " + "hf_" + "a1B2" * 8 + "Zz"),
    ),
    SpecFault("a hostile path", "E118", "weights.directory", "../../etc/skyreels_v2"),
    SpecFault(
        "a hub id twice", "E116", "registry.1.hub", ["Skywork/SkyReels-V2-T2V-14B-540P-Diffusers"]
    ),
    SpecFault(
        "a hub id of another family", "E116", "registry.1.hub", ["Wan-AI/Wan2.1-T2V-14B-Diffusers"]
    ),
    SpecFault("a detector that takes everything", "E345", "registry.0.detect", {"all": ["t2v"]}),
    SpecFault(
        "a detector that never speaks", "E330", "registry.1.detect", {"all": ["skyreels3", "720p"]}
    ),
    SpecFault(
        "a constructor argument that is none",
        "E405",
        "components.transformer.instantiation.args.depth",
        4,
    ),
]


@pytest.mark.parametrize("fault", SPEC_FAULTS, ids=lambda fault: fault.name)
def test_check_catches(fault: SpecFault, workspace: Path, target: Target) -> None:
    copytree(ROOT / "examples", workspace / "examples")
    fault.plant(workspace)
    assert fault.code in {d.code for d in _check(workspace / fault.checked, target)}


def _check(path: Path, target: Target) -> list[Diagnostic]:
    try:
        return list(judge(path.relative_to(Path.cwd()), target).diagnostics)
    except SpecError as error:
        return list(error.diagnostics)


def test_there_are_enough_of_them() -> None:
    assert len(SPEC_FAULTS) + len(STATIC_FAULTS) + len(GATE_FAULTS) >= 50


def test_without_a_fault_nothing_is_found(workspace: Path, target: Target) -> None:
    copytree(ROOT / "examples", workspace / "examples")
    for path in (SPEC, NATIVE):
        assert not _check(workspace / path, target)


# --- in the tree: the audit of what was built, or its comparison with what was there before, finds it -----

CONFIG = "fastvideo/configs/pipelines/skyreels_v2.py"
PIPELINE = "fastvideo/pipelines/basic/skyreels_v2/skyreels_v2_pipeline.py"
PRESETS = "fastvideo/pipelines/basic/skyreels_v2/presets.py"
REGISTRY = "fastvideo/registry.py"
MODELS = "fastvideo/models/registry.py"
EXPORTS = "fastvideo/configs/pipelines/__init__.py"
WAN_CONFIG = "fastvideo/configs/models/dits/wanvideo.py"
WAN_DIT = "fastvideo/models/dits/wanvideo.py"
WAN_VAE = "fastvideo/models/vaes/wanvae.py"
WAN_VAE_CONFIG = "fastvideo/configs/models/vaes/wanvae.py"
T5_CONFIG = "fastvideo/configs/models/encoders/t5.py"
T5 = "fastvideo/models/encoders/t5.py"
UNIPC = "fastvideo/models/schedulers/scheduling_flow_unipc_multistep.py"
LOADER = "fastvideo/models/loader/utils.py"
DECODING = "fastvideo/pipelines/stages/decoding.py"
DENOISING = "fastvideo/pipelines/stages/denoising.py"
TESTS = "tests/local_tests/skyreels_v2"
TRANSFORMER_TEST = f"{TESTS}/test_skyreels_v2_transformer_parity.py"
SMOKE_TEST = "tests/local_tests/pipelines/test_skyreels_v2_pipeline_smoke.py"
SCRIPT = "scripts/checkpoint_conversion/skyreels_v2_to_diffusers.py"
EXAMPLE = "examples/inference/basic/basic_skyreels_v2.py"


@dataclass(frozen=True)
class TreeFault:
    """Replace a text that stands once in a file; `caught_by` is a code, or a gate with what it must say."""

    name: str
    caught_by: str
    path: str
    old: str
    new: str
    says: str = ""
    status: str = "fail"

    def planted(self, text: str) -> str:
        assert text.count(self.old) == 1, (
            f"{self.path} holds this {text.count(self.old)} times: {self.old}"
        )
        return text.replace(self.old, self.new)


STATIC_FAULTS = [
    TreeFault(
        "a detector that shadows another family",
        "E345",
        REGISTRY,
        'lambda path: "mmaudio" in path.lower() or "mmaudiopipeline" in path.lower(),',
        'lambda path: "m" in path.lower(),',
    ),
    TreeFault(
        "a detector that is shadowed",
        "E330",
        REGISTRY,
        'lambda path: all(token in path.lower() for token in ("skyreels", "v2", "t2v", "720p")),',
        'lambda path: "skyreels-v2-t2v-14b-720p-local" in path.lower(),',
    ),
    TreeFault(
        "a duplicate preset key",
        "E317",
        PRESETS,
        'name="skyreels_v2_t2v_14b_720p"',
        'name="skyreels_v2_t2v_14b_540p"',
    ),
    TreeFault(
        "a preset that nobody can choose",
        "E318",
        PRESETS,
        "    SKYREELS_V2_T2V_14B_720P,\n)",
        ")",
    ),
    TreeFault("a missing export", "E340", EXPORTS, '"SkyReelsV2T2VConfig"', '"SkyReelsV2Config"'),
    TreeFault(
        "an import that was lost",
        "E351",
        CONFIG,
        "PipelineConfig, preprocess_text\n",
        "PipelineConfig, preprocess_texts as preprocess_text\n",
    ),
    TreeFault(
        "a hub id registered twice",
        "E310",
        REGISTRY,
        '            "Skywork/SkyReels-V2-T2V-14B-720P-Diffusers",\n',
        '            "Skywork/SkyReels-V2-T2V-14B-540P-Diffusers",\n',
    ),
    TreeFault(
        "an edit of another family's registration",
        "E345",
        REGISTRY,
        '"mmaudio" in path.lower() or "mmaudiopipeline" in path.lower()',
        '"mmaudio2" in path.lower()',
    ),
    TreeFault(
        "an edit of another family's preset",
        "E347",
        "fastvideo/pipelines/basic/mmaudio/presets.py",
        '"num_inference_steps": 25',
        '"num_inference_steps": 50',
    ),
    TreeFault(
        "an edit of another family's config",
        "E346",
        "fastvideo/configs/pipelines/sd35.py",
        "embedded_cfg_scale: float = 0.0",
        "embedded_cfg_scale: float = 1.0",
    ),
    TreeFault(
        "an edit of another family's model class",
        "E349",
        MODELS,
        '"Kandinsky5Transformer3DModel": ("dits", "kandinsky5", "Kandinsky5Transformer3DModel")',
        '"Kandinsky5Transformer3DModel": ("dits", "wanvideo", "WanTransformer3DModel")',
    ),
    TreeFault(
        "a model class that leads nowhere",
        "E320",
        MODELS,
        '"SkyReelsV2Transformer3DModel": ("dits", "wanvideo", "WanTransformer3DModel")',
        '"SkyReelsV2Transformer3DModel": ("dits", "skyreels", "WanTransformer3DModel")',
    ),
    TreeFault(
        "a required module without a loader",
        "E322",
        PIPELINE,
        '"transformer", "scheduler"]',
        '"denoiser", "scheduler"]',
    ),
    TreeFault(
        "an entry without its preset",
        "E314",
        REGISTRY,
        'default_preset="skyreels_v2_t2v_14b_720p"',
        'default_preset="skyreels_v2_720p"',
    ),
    TreeFault(
        "an entry without its config",
        "E313",
        CONFIG,
        "class SkyReelsV2T2VConfig(",
        "class SkyReelsV2Config(",
    ),
]


@pytest.mark.parametrize("fault", STATIC_FAULTS, ids=lambda fault: fault.name)
def test_audit_or_comparison_catches(fault: TreeFault, target: Target, workspace: Path) -> None:
    judgement = judge(Path(SPEC), target)
    before, built = target.tree, judgement.staged
    compare = target.backend.compare
    assert not list(compare(before, built, judgement.port))
    broken = built.overlay({fault.path: fault.planted(built.text(fault.path))})
    assert fault.caught_by in {d.code for d in compare(before, broken, judgement.port)}


def test_a_field_without_annotation_is_caught(target: Target, workspace: Path) -> None:
    """`text_len = 512` in a dataclass is no field: a published value for it would be dropped silently."""
    text = target.tree.text(WAN_CONFIG)
    assert text.count("    ffn_dim: int = 13824\n") == 1
    bare = text.replace("    ffn_dim: int = 13824\n", "    ffn_dim = 13824\n")
    broken = Target(target.tree.overlay({WAN_CONFIG: bare}), target.cache)
    assert "E410" in {d.code for d in judge(Path(SPEC), broken).diagnostics}


# --- in the built tree or the checkpoint: a gate finds it by running the code ----------------------------

LAST_LINES = """\
        # https://github.com/SkyworkAI/SkyReels-V2/blob/abed76fec91103e4543c747eee45334137b3a558/generate_video.py#L81
        "negative_prompt": _NEGATIVE_PROMPT,
    },
)

ALL_PRESETS"""
GATE_FAULTS = [
    TreeFault(
        "wrong shift",
        "pipeline.smoke",
        CONFIG,
        "float | None = 8.0",
        "float | None = 5.0",
        "pipeline_config",
    ),
    TreeFault(
        "wrong precision",
        "pipeline.smoke",
        CONFIG,
        'dit_precision: str = "bf16"',
        'dit_precision: str = "fp16"',
        "pipeline_config",
    ),
    TreeFault(
        "wrong step count",
        "pipeline.smoke",
        PRESETS,
        '"num_inference_steps": 50,\n' + LAST_LINES,
        '"num_inference_steps": 30,\n' + LAST_LINES,
        "presets",
    ),
    TreeFault(
        "missing required module",
        "pipeline.smoke",
        PIPELINE,
        '["text_encoder", "tokenizer", "vae",',
        '["text_encoder", "tokenizer",',
        "pipeline_class",
    ),
    TreeFault(
        "swapped q and k",
        "parity.transformer",
        WAN_CONFIG,
        r'to_q\.(.*)$": r"blocks.\1.to_q.\2"',
        r'to_q\.(.*)$": r"blocks.\1.to_k.\2"',
        "parity",
    ),
    TreeFault(
        "a dropped mapping row",
        "mapping",
        WAN_CONFIG,
        r"""            r"^blocks\.(\d+)\.attn1\.to_out\.0\.(.*)$": r"blocks.\1.to_out.\2",
""",
        "",
        "to_out",
    ),
    TreeFault(
        "an extra mapping row",
        "mapping",
        WAN_CONFIG,
        r"""            r"^blocks\.(\d+)\.attn1\.to_v\.(.*)$": r"blocks.\1.to_v.\2",
""",
        r"""            r"^blocks\.(\d+)\.attn1\.to_v\.(.*)$": r"blocks.\1.to_v.\2",
            r"^blocks\.(\d+)\.attn2\.to_v\.(.*)$": r"blocks.\1.attn2.to_k.\2",
""",
        "attn2",
    ),
    TreeFault(
        "a transposed tensor",
        "strict_load",
        LOADER,
        "        custom_param_sd[target_param_name] = full_tensor\n",
        "        square = full_tensor.ndim == 2 and full_tensor.shape[0] == full_tensor.shape[1]\n"
        "        custom_param_sd[target_param_name] = full_tensor.T if square else full_tensor\n",
        "E510",
    ),
    TreeFault(
        "another GELU",
        "parity.transformer",
        WAN_DIT,
        'act_type="gelu_pytorch_tanh") if text_embed_dim',
        'act_type="gelu") if text_embed_dim',
        "parity",
    ),
    TreeFault(
        "a test that skips",
        "parity.transformer",
        TRANSFORMER_TEST,
        'COMPONENT = "transformer"\n',
        'pytest.skip("not today", allow_module_level=True)\nCOMPONENT = "transformer"\n',
        "not today",
        "inconclusive",
    ),
    TreeFault(
        "a test that is expected to fail",
        "parity.transformer",
        TRANSFORMER_TEST,
        "def test_skyreels_v2_transformer_forward_parity(",
        '@pytest.mark.xfail(reason="flaky")\ndef test_skyreels_v2_transformer_forward_parity(',
        "",
        "inconclusive",
    ),
    TreeFault(
        "a test that was taken out",
        "parity.transformer",
        TRANSFORMER_TEST,
        "def test_skyreels_v2_transformer_sight(",
        "def skyreels_v2_transformer_sight(",
        "sight",
        "inconclusive",
    ),
    TreeFault(
        "a test that is blind to a tensor",
        "parity.transformer",
        TRANSFORMER_TEST,
        '"encoder_hidden_states": torch.randn(2, 512, config["text_dim"], generator=generator)',
        '"encoder_hidden_states": torch.zeros(2, 512, config["text_dim"])',
        "text_embedder",
    ),
    TreeFault(
        "a VAE that normalises otherwise",
        "parity.vae",
        WAN_VAE,
        "* self.scale * self.gamma + self.bias",
        "* self.gamma + self.bias",
        "parity",
    ),
    TreeFault(
        "tokenizer length",
        "parity.tokenizer",
        T5_CONFIG,
        '"max_length": self.text_len',
        '"max_length": 226',
        "length",
    ),
    TreeFault(
        "another solver order",
        "parity.scheduler",
        UNIPC,
        "solver_order: int = 2,",
        "solver_order: int = 1,",
        "parity",
    ),
    TreeFault(
        "latent mean",
        "pipeline.parity",
        DECODING,
        "return latents * latents_std + latents_mean",
        "return latents * latents_std - latents_mean",
        "decoded_video",
    ),
    TreeFault(
        "latent standard deviation",
        "pipeline.parity",
        DECODING,
        "return latents * latents_std + latents_mean",
        "return latents / latents_std + latents_mean",
        "decoded_video",
    ),
    TreeFault(
        "scale factor",
        "pipeline.parity",
        WAN_VAE_CONFIG,
        "self.spatial_compression_ratio = self.scale_factor_spatial",
        "self.spatial_compression_ratio = self.scale_factor_spatial * 2",
        "parity",
    ),
    TreeFault(
        "a shift that the config does not decide",
        "pipeline.parity",
        PIPELINE,
        "shift=fastvideo_args.pipeline_config.flow_shift",
        "shift=5.0",
        "latents_parity",
    ),
    TreeFault(
        "guidance off",
        "pipeline.parity",
        DENOISING,
        "noise_pred = noise_pred_uncond + current_guidance_scale * (noise_pred_text -\n",
        "noise_pred = noise_pred_uncond + 1.0 * (noise_pred_text -\n",
        "latents_parity",
    ),
    TreeFault(
        "wrong stage order",
        "pipeline.parity",
        PIPELINE,
        """        self.add_stage(stage_name="conditioning_stage", stage=ConditioningStage())

        self.add_stage(stage_name="timestep_preparation_stage",
                       stage=TimestepPreparationStage(scheduler=self.get_module("scheduler")))
""",
        """        self.add_stage(stage_name="timestep_preparation_stage",
                       stage=TimestepPreparationStage(scheduler=self.get_module("scheduler")))

        self.add_stage(stage_name="conditioning_stage", stage=ConditioningStage())
""",
        "stages",
    ),
    TreeFault(
        "a stage left out",
        "pipeline.parity",
        PIPELINE,
        """        self.add_stage(stage_name="conditioning_stage", stage=ConditioningStage())

""",
        "",
        "stages",
    ),
    TreeFault(
        "an example that asks for other values than the preset's",
        "example",
        EXAMPLE,
        """        generator.generate({
            "prompt": args.prompt,
            "sampling": {
                "seed": args.seed,
                **chosen
            },
            "output": {
                "output_path": str(output),
                "save_video": True,
                "return_frames": False
            },
        })
""",
        """        from fastvideo.api import GenerationRequest, OutputConfig, SamplingConfig

        generator.generate(
            GenerationRequest(
                prompt=args.prompt,
                sampling=SamplingConfig(seed=args.seed, **chosen),
                output=OutputConfig(output_path=str(output), save_video=True, return_frames=False),
            ))
""",
        "guidance_scale",
    ),
    TreeFault(
        "an official class at run time",
        "import_boundary",
        PIPELINE,
        "from fastvideo.fastvideo_args",
        "from diffusers import SkyReelsV2Transformer3DModel\nfrom fastvideo.fastvideo_args",
        "diffusers",
    ),
    TreeFault(
        "a buffer made at every step",
        "hot_path",
        PIPELINE,
        "EntryClass = ",
        "def denoise(steps, latents):\n    for step in range(steps):\n"
        "        latents = latents + torch.randn_like(latents)\n    return latents\n\n\nEntryClass = ",
        "E721",
    ),
    TreeFault(
        "a checkpoint of another pipeline",
        "pipeline.smoke",
        "checkpoint:model_index.json",
        '"_class_name": "SkyReelsV2Pipeline"',
        '"_class_name": "SkyReelsV2ImageToVideoPipeline"',
        "load_and_generate",
    ),
    TreeFault(
        "a rule of the conversion script that sends a layer elsewhere",
        "conversion",
        SCRIPT,
        r'[r"blocks.\1.norm2.\2"]',
        r'[r"blocks.\1.norm3.\2"]',
        "E502 blocks.0.norm2",
    ),
    TreeFault(
        "a conversion script that reads beside the tensor",
        "conversion",
        SCRIPT,
        "[view[done:]], run.start + done)",
        "[view[done:]], run.start + done - 2)",
        "E510",
    ),
    TreeFault(
        "a converted config with a key that FastVideo would lose",
        "conversion",
        SCRIPT,
        '"ffn_dim": 13824',
        '"ffn_width": 13824',
        "E410",
    ),
    TreeFault(
        "a scheduler's config that is not the spec's",
        "conversion",
        SCRIPT,
        '"prediction_type": "flow_prediction"',
        '"prediction_type": "epsilon"',
        "E510 scheduler/",
    ),
    TreeFault(
        "a tokenizer that is not copied",
        "conversion",
        SCRIPT,
        "shutil.copyfileobj(original, copy, REMOTE_STEP)",
        "copy.truncate()",
        "E502 tokenizer/",
    ),
    TreeFault(
        "a network of another class",
        "strict_load",
        "checkpoint:transformer/config.json",
        '"_class_name": "SkyReelsV2Transformer3DModel"',
        '"_class_name": "SkyReelsV3Transformer3DModel"',
        "ValueError",
    ),
]


@pytest.fixture(scope="session")
def runner(proven: Built) -> Iterator[Runner]:
    """A runner whose server has imported nothing of the tree, which is about to change."""
    plan = prepare(proven.judgement(), Settings()).gates
    preload = [name for name in plan.preload if not name.startswith("fastvideo")]
    environment = Environment(
        proven.tree, plan.variables, preload, proven.local / "mutants", jobs=1
    )
    with Runner(environment) as running:
        yield running


@pytest.fixture
def plant(proven: Built) -> Iterator[Callable[[TreeFault], None]]:
    """Change a file of the built tree or of its checkpoint until the test is over."""
    saved: dict[Path, bytes] = {}

    def change(fault: TreeFault) -> None:
        inside = fault.path.removeprefix("checkpoint:")
        path = (proven.tree if inside == fault.path else proven.checkpoint) / inside
        saved[path] = path.read_bytes()
        path.write_text(fault.planted(path.read_text("utf-8")), encoding="utf-8")

    yield change
    for path, content in saved.items():
        path.write_bytes(content)


@pytest.mark.parametrize("fault", GATE_FAULTS, ids=lambda fault: fault.name)
def test_gate_catches(
    fault: TreeFault, proven: Built, runner: Runner, plant: Callable[[TreeFault], None]
) -> None:
    plant(fault)
    result = _run(proven, runner, fault.caught_by)
    assert result.status == fault.status, result
    assert fault.says in result.message


@pytest.mark.parametrize("name", ["mapping", "conversion", "parity.transformer", "pipeline.parity"])
def test_without_a_fault_the_gate_passes(name: str, proven: Built, runner: Runner) -> None:
    """Run in the same way on what was built, it passes: it is the fault that it catches."""
    assert _run(proven, runner, name).status == "pass"


def _run(proven: Built, runner: Runner, name: str) -> GateResult:
    """Run one gate on the tree as it is now, without those that it usually waits for."""
    gates = {gate.name: gate for gate in prepare(proven.judgement(), Settings()).gates.gates}
    before = (
        ["surfaces"] if name in ("mapping", "conversion", "strict_load") else []
    )  # which they read
    chosen = [replace(gates[n], after=()) for n in (*before, name)]
    return runner.run(chosen, {}, lambda _name, _result: None)[name]
