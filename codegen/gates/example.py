"""The example: run as a user would, by hub id, until a file is written that plays."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from portspec.codegen.gates import DTYPE, GateContext
from portspec.gates.result import Gate, Outcome

_STEPS = 2
# What FastVideo 0.2.1 logs before it generates (fastvideo/entrypoints/video_generator.py, line 756).
_LABELS = {
    "height": "height",
    "width": "width",
    "num_frames": "video_length",
    "num_inference_steps": "infer_steps",
    "guidance_scale": "guidance_scale",
}


def declare(context: GateContext) -> Iterator[Gate]:
    """Yield one gate over all examples."""
    spec = context.port.spec
    if not spec.examples or spec.pipeline is None:
        return
    tree = context.index.tree
    yield Gate(
        "example",
        "writes a real file",
        __name__,
        {
            "scripts": [_script(context, index) for index in range(len(spec.examples))],
            "hub": context.hub,
            "out": str(context.local / "example"),
        },
        after=("pipeline.parity", "pipeline.smoke"),
        files=tuple(e.file for e in spec.examples),
        inputs=context.weighed(**{e.file: tree.sha(e.file) for e in spec.examples}),
        env=context.test_env,
        basis=context.basis.replace(DTYPE, "production dtypes"),
        timeout=1200,
    )


def _script(context: GateContext, index: int) -> dict[str, Any]:
    """Return a script with the arguments that make it small; everything else is as a user has it."""
    spec = context.port.spec
    assert spec.pipeline is not None
    example, parity = spec.examples[index], spec.pipeline.parity
    entry = next(e for e in spec.registry if e.variant == example.variant and e.hub)
    small = {
        "height": parity.height,
        "width": parity.width,
        "num_frames": parity.num_frames,
        "num_inference_steps": _STEPS,
    }
    kept = {k: v for k, v in small.items() if k in spec.presets[entry.preset].defaults}
    workload = spec.presets[entry.preset].workload
    defaults = {k: d.value for k, d in spec.presets[entry.preset].defaults.items()}
    return {
        "file": example.file,
        "extension": {"V": "mp4", "I": "png", "A": "wav"}[workload[-1]],
        "hub": entry.hub[0],
        "arguments": [
            text for k, v in kept.items() for text in (f"--{k.replace('_', '-')}", str(v))
        ],
        "expected": {**kept, "fps": defaults.get("fps")},
        "logged": {_LABELS[k]: v for k, v in {**defaults, **kept}.items() if k in _LABELS},
    }


def run(args: Mapping[str, Any]) -> Outcome:
    """Run every script in a process of its own and look into what it wrote."""
    metrics: dict[str, Any] = {}
    for script in args["scripts"]:
        name = Path(script["file"]).stem
        output = Path(args["out"]) / f"{name}.{script['extension']}"
        output.parent.mkdir(parents=True, exist_ok=True)
        output.unlink(missing_ok=True)
        command = [sys.executable, script["file"], *script["arguments"], "--output", str(output)]
        if script["hub"] != args["hub"]:
            command += ["--model-path", args["hub"]]  # the checkpoint at hand is another variant's
        print("+", *command[1:], flush=True)
        code, printed = _run(command)
        if code:
            last = printed.rstrip().rpartition("\n")[2][:200]
            message = f"{script['file']} left with exit status {code}: {last}"
            return Outcome("fail", message, metrics)
        problem = defaults_in(printed, script["logged"])
        if problem:
            return Outcome("fail", f"{script['file']}: {problem}", metrics)
        if not output.is_file():
            return Outcome("fail", f"{script['file']} wrote nothing to --output", metrics)
        problem, seen = inspect(output, script["expected"])
        metrics |= {f"{name}.{k}": v for k, v in seen.items()}
        if problem:
            return Outcome("fail", f"{script['file']}: {problem}", metrics)
    shown = [f"{len(args['scripts'])} written"]
    frames = next((v for k, v in metrics.items() if k.endswith(".frames")), None)
    if frames:
        size = [
            next(v for k, v in metrics.items() if k.endswith(end)) for end in (".width", ".height")
        ]
        shown.append(f"{frames} frames of {size[0]}x{size[1]}")
    return Outcome("pass", ", ".join(shown), metrics)


def _run(command: list[str]) -> tuple[int, str]:
    """Run a command, showing what it prints as it comes; return its exit status and all of that."""
    lines: list[str] = []
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        print(line, end="", flush=True)
        lines.append(line)
    return process.wait(), "".join(lines)


def defaults_in(printed: str, logged: Mapping[str, Any]) -> str:
    r"""Compare what FastVideo says it samples with and what the preset says; return a problem, if any.

    Example:
        >>> defaults_in("  guidance_scale: 1.0\n  embedded_guidance_scale: 6.0", {"guidance_scale": 6.0})
        'it sampled with guidance_scale 1, the preset says 6'
    """
    for label, wanted in logged.items():
        found = re.search(rf"(?<!\w){label}: ([-\d.]+)\s*$", printed, re.MULTILINE)
        if found is None:
            return f"FastVideo does not say with which {label} it sampled"
        if float(found[1]) != float(wanted):
            return f"it sampled with {label} {float(found[1]):g}, the preset says {float(wanted):g}"
    return ""


def inspect(path: Path, expected: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Decode a video and compare it with what was asked for; return a problem, if any, and what was seen."""
    if path.suffix != ".mp4":
        return "", {"bytes": path.stat().st_size}
    import imageio.v3 as iio
    import numpy as np

    frames = np.asarray(iio.imread(path, plugin="FFMPEG"))
    fps = iio.immeta(path, plugin="FFMPEG").get("fps")
    count, height, width = frames.shape[:3]
    seen = {
        "frames": count,
        "height": height,
        "width": width,
        "fps": fps,
        "spread": float(frames.std()),
    }
    names = {"frames": "num_frames", "height": "height", "width": "width", "fps": "fps"}
    for name, wanted in names.items():
        if expected.get(wanted) is not None and seen[name] != expected[wanted]:
            return f"{name} is {seen[name]}, {expected[wanted]} was asked for", seen
    if not seen["spread"]:
        return "every pixel is the same", seen
    return "", seen
