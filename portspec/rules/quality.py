"""A regression test on output quality, or a reason why there is none yet."""

from __future__ import annotations

from collections.abc import Iterator

from portspec.errors import Diagnostic
from portspec.port import Port


def check(port: Port) -> Iterator[Diagnostic]:
    """E140 nothing said, E141 deferred without a reason, E145 a metric that does not fit the output."""
    quality, scope = port.spec.quality, port.spec.scope
    if quality is None or scope is None:
        return
    if not (quality.ssim or quality.audio or quality.deferred):
        remedy = (
            "Add `ssim:` for video and images, `audio:` for sound, or `deferred:` with the reason."
        )
        yield port.complain(
            "E140", "output quality is neither tested nor deferred", ("quality",), remedy, key=True
        )
    if quality.ssim and quality.ssim.references == "deferred" and not quality.ssim.reason:
        remedy = "Say in `reason` what is missing, such as a GPU to make the references on."
        yield port.complain(
            "E141",
            "the references are deferred without a reason",
            ("quality", "ssim", "references"),
            remedy,
        )
    if quality.ssim and not {"video", "image"} & set(scope.outputs):
        remedy = (
            "Use `audio:` with a metric for sound, or add `video` or `image` to `scope.outputs`."
        )
        yield port.complain(
            "E145",
            "SSIM compares pictures, and this port makes none",
            ("quality", "ssim"),
            remedy,
            key=True,
        )
    if quality.audio and "audio" not in scope.outputs:
        remedy = "Use `ssim:` for pictures, or add `audio` to `scope.outputs`."
        yield port.complain(
            "E145",
            "an audio metric for a port without audio",
            ("quality", "audio"),
            remedy,
            key=True,
        )
