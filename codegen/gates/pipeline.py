"""The pipeline: smoke through the public entry point, then latents and pictures against the official one."""

from __future__ import annotations

from collections.abc import Iterator

from portspec.codegen.emitters.pipeline_parity import medium
from portspec.codegen.gates import DTYPE, GateContext, emitted_test
from portspec.gates.result import Gate

_SMOKE = (
    "resolution",
    "model_info",
    "presets",
    "pipeline_config",
    "pipeline_class",
    "load_and_generate",
)
_SIGHT = ("guidance_scale", "num_inference_steps", "seed", "prompt", "negative_prompt")


def declare(context: GateContext) -> Iterator[Gate]:
    """Yield both gates, which wait for every component."""
    names = context.names
    stem = f"test_{names.family}"
    yield emitted_test(
        context,
        "pipeline.smoke",
        "loads and generates",
        names.smoke_test,
        expects=[f"{stem}_{test}" for test in _SMOKE],
        metrics=[],
        after=context.component_gates,
        basis=context.basis.replace(DTYPE, "production dtypes"),
    )
    pictures = [name for name in (medium(context.port),) if name]
    parity = [f"{stem}_stages", f"{stem}_denoised_latents_parity"]
    parity += [f"{stem}_decoded_{name}_parity" for name in pictures]
    yield emitted_test(
        context,
        "pipeline.parity",
        "latents and pictures",
        names.pipeline_parity_test,
        expects=[*parity, *(f"{stem}_pipeline_sight[{change}]" for change in _SIGHT)],
        metrics=[f"{name}.max_abs" for name in ("latents", *pictures)],
        after=context.component_gates,
        basis=context.basis,
    )
