# SPDX-License-Identifier: Apache-2.0
"""SkyReels-V2's transformer: Wan's blocks under the name that its checkpoints carry."""

from typing import Any

from fastvideo.configs.models.dits import SkyReelsV2DiTConfig
from fastvideo.models.dits.wanvideo import WanTransformer3DModel


class SkyReelsV2Transformer3DModel(WanTransformer3DModel):
    _fsdp_shard_conditions = SkyReelsV2DiTConfig()._fsdp_shard_conditions
    _compile_conditions = SkyReelsV2DiTConfig()._compile_conditions
    param_names_mapping = SkyReelsV2DiTConfig().param_names_mapping
    reverse_param_names_mapping = SkyReelsV2DiTConfig().reverse_param_names_mapping

    def __init__(self, config: Any, hf_config: dict[str, Any]) -> None:
        if config.arch_config.inject_sample_info:
            raise ValueError(
                "frame-rate conditioning belongs to diffusion forcing, which this port leaves out"
            )
        # Wan's second timestep embedding is off in every published checkpoint.
        config.arch_config.r_embedder = False
        config.arch_config.r_embedder_fusion = "additive"
        config.arch_config.r_embedder_gate_value = 0.25
        config.arch_config.r_embedder_deltatime_type = "r"
        super().__init__(config=config, hf_config=hf_config)


EntryClass = SkyReelsV2Transformer3DModel
