"""Examples: scripts that a user runs first, with the story of who wants what."""

from __future__ import annotations

from collections.abc import Iterator

from portspec.codegen.emitters import Context
from portspec.edits import Edit


def applies(context: Context) -> bool:
    """Ports with examples."""
    return bool(context.port.spec.examples)


def emit(context: Context) -> Iterator[Edit]:
    """Yield one script per example."""
    spec = context.port.spec
    for index, example in enumerate(spec.examples):
        entry = next(e for e in spec.registry if e.variant == example.variant and e.hub)
        defaults = {k: d.value for k, d in spec.presets[entry.preset].defaults.items()}
        workload = spec.presets[entry.preset].workload.lower()
        extension = {"v": "mp4", "i": "png", "a": "wav"}[workload[-1]]
        yield context.file(
            __file__,
            example.file,
            "example.py.jinja",
            f"examples[{index}]",
            example=example,
            hub=entry.hub[0],
            preset=entry.preset,
            workload=workload,
            output=f"outputs/{context.port.family}/{example.variant}.{extension}",
            sampling=[
                (k, type(v).__name__)
                for k, v in defaults.items()
                if isinstance(v, (int, float)) and not isinstance(v, bool)
            ],
            summary=spec.scope.variants[example.variant].summary if spec.scope else "",
        )
