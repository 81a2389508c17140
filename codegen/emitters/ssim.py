"""The SSIM test, in the form that FastVideo's CI can read: a literal dict of cases and a plain GPU count."""

from __future__ import annotations

from collections.abc import Iterator

from portspec.codegen.emitters import Context
from portspec.edits import Edit


def applies(context: Context) -> bool:
    """Ports whose spec asks for one."""
    quality = context.port.spec.quality
    return bool(quality and quality.ssim)


def emit(context: Context) -> Iterator[Edit]:
    """Yield the test."""
    spec = context.port.spec
    assert spec.quality is not None
    ssim = spec.quality.ssim
    assert ssim is not None
    entry = next(e for e in spec.registry if e.variant == ssim.variant and e.hub)
    defaults = {k: d.value for k, d in spec.presets[entry.preset].defaults.items()}
    geometry = ("height", "width", "num_frames", "fps", "num_inference_steps", "guidance_scale")
    full = {k: defaults[k] for k in geometry if k in defaults}
    full["seed"] = ssim.params.get("seed", 1024)
    yield context.file(
        __file__,
        context.names.ssim_test,
        "ssim.py.jinja",
        "quality.ssim",
        ssim=ssim,
        hub=entry.hub[0],
        label=entry.hub[0].split("/")[-1],
        quick={**full, **ssim.params},
        full=full,
        negative_prompt=defaults.get("negative_prompt", ""),
        extension=".mp4" if spec.scope and "video" in spec.scope.outputs else ".png",
    )
