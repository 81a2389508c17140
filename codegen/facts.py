"""FastVideo's facts, as data: where things live, what they are called, what decides quality.

Read from FastVideo 0.2.1 (https://pypi.org/project/fastvideo/0.2.1/#files). A fact that a tree can be
asked for is asked of the tree instead (`index/`); what stands here is convention, which no tree states.
"""

from __future__ import annotations

from dataclasses import dataclass

REGISTRY = "fastvideo/registry.py"
MODEL_REGISTRY = "fastvideo/models/registry.py"
SAMPLING_PARAM = "fastvideo/api/sampling_param.py"
FORWARD_BATCH = "fastvideo/pipelines/pipeline_batch_info.py"
PIPELINE_CONFIG_BASE = "fastvideo.configs.pipelines.base:PipelineConfig"
INVENTORY = "docs/design/inference_schema_parity_inventory.yaml"
SUPPORT_MATRIX = "docs/inference/support_matrix.md"
LINE_LIMIT = 120
# Packages whose version decides what the gates compute, beside the official ones that a spec pins.
PACKAGES = ("torch", "numpy", "safetensors", "tokenizers", "accelerate", "torchvision")


@dataclass(frozen=True, slots=True)
class KindFacts:
    """Where components of a kind live, and which base classes their configs have."""

    bucket: str
    config_base: str
    arch_base: str
    pipeline_field: str | None
    precision_field: str | None
    table: str | None


KINDS: dict[str, KindFacts] = {
    "dit": KindFacts(
        "dits",
        "DiTConfig",
        "DiTArchConfig",
        "dit_config",
        "dit_precision",
        "_TEXT_TO_VIDEO_DIT_MODELS",
    ),
    "vae": KindFacts(
        "vaes", "VAEConfig", "VAEArchConfig", "vae_config", "vae_precision", "_VAE_MODELS"
    ),
    "audio_vae": KindFacts(
        "audio",
        "ModelConfig",
        "ArchConfig",
        "audio_decoder_config",
        "audio_decoder_precision",
        "_AUDIO_MODELS",
    ),
    "vocoder": KindFacts(
        "audio", "ModelConfig", "ArchConfig", "vocoder_config", "vocoder_precision", "_AUDIO_MODELS"
    ),
    "text_encoder": KindFacts(
        "encoders",
        "TextEncoderConfig",
        "TextEncoderArchConfig",
        "text_encoder_configs",
        "text_encoder_precisions",
        "_TEXT_ENCODER_MODELS",
    ),
    "image_encoder": KindFacts(
        "encoders",
        "ImageEncoderConfig",
        "ImageEncoderArchConfig",
        "image_encoder_config",
        "image_encoder_precision",
        "_IMAGE_ENCODER_MODELS",
    ),
    "conditioner": KindFacts(
        "encoders", "EncoderConfig", "EncoderArchConfig", None, None, "_TEXT_ENCODER_MODELS"
    ),
    "upsampler": KindFacts(
        "upsamplers",
        "UpsamplerConfig",
        "ArchConfig",
        "upsampler_config",
        "upsampler_precision",
        "_UPSAMPLERS",
    ),
    "tokenizer": KindFacts("", "", "", None, None, None),
    "processor": KindFacts("", "", "", None, None, None),
    "scheduler": KindFacts("schedulers", "", "", None, None, "_SCHEDULERS"),
}

# Defaults that decide what a user sees. Each is stated, with a source, per preset (by workload) or per
# pipeline config; inheriting one silently is an error (K4).
PRESET_QUALITY: dict[str, tuple[str, ...]] = {
    "V": (
        "height",
        "width",
        "num_frames",
        "fps",
        "guidance_scale",
        "num_inference_steps",
        "negative_prompt",
    ),
    "I": ("height", "width", "guidance_scale", "num_inference_steps", "negative_prompt"),
    "A": ("guidance_scale", "num_inference_steps", "negative_prompt"),
}
CONFIG_QUALITY = ("flow_shift",)
PRECISION_KINDS = ("dit", "vae", "audio_vae", "vocoder", "text_encoder", "image_encoder")

# Stages of FastVideo's catalogue must keep this order where both are present (the canonical order of
# the add-model workflow); names are those of the base class that a stage derives from.
STAGE_ORDER: tuple[tuple[str, str], ...] = (
    ("InputValidationStage", "TextEncodingStage"),
    ("InputValidationStage", "ImageEncodingStage"),
    ("TextEncodingStage", "ConditioningStage"),
    ("TextEncodingStage", "LatentPreparationStage"),
    ("ConditioningStage", "DenoisingStage"),
    ("TimestepPreparationStage", "DenoisingStage"),
    ("LatentPreparationStage", "DenoisingStage"),
    ("ImageVAEEncodingStage", "DenoisingStage"),
    ("DenoisingStage", "DecodingStage"),
)
# What a pipeline of shared stages cannot do without: what a later stage reads, an earlier one provides.
STAGE_NEEDS: dict[str, tuple[str, ...]] = {
    "DenoisingStage": (
        "InputValidationStage",
        "TextEncodingStage",
        "ConditioningStage",
        "TimestepPreparationStage",
        "LatentPreparationStage",
    ),
    "DecodingStage": ("DenoisingStage",),
}
# The attribute of a ForwardBatch that carries the public workload name of a preset.
WORKLOADS = ("T2V", "I2V", "T2I", "I2I", "V2A", "T2A")
PIPELINE_ATTRIBUTES = frozenset(
    {
        "modules",
        "forward",
        "fastvideo_args",
        "model_path",
        "stages",
        "train",
        "close",
        "post_init",
        "local_rank",
    }
)
# Keys that loaders take off a config.json before the config class sees it.
LOADER_KEYS = frozenset(
    {
        "_class_name",
        "_diffusers_version",
        "_name_or_path",
        "architectures",
        "transformers_version",
        "model_type",
        "tokenizer_class",
        "torch_dtype",
        "dtype",
    }
)


def preset_quality(workload: str) -> tuple[str, ...]:
    """Return the defaults that a preset for this workload must state."""
    return PRESET_QUALITY[workload[-1]]
