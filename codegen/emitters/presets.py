"""Presets: the sampling defaults of each variant, with where each came from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from portspec.codegen.emitters import Context
from portspec.codegen.emitters.pipeline import package_marker
from portspec.edits import Edit
from portspec.render import python
from portspec.spec import Preset, Sourced

_LONG = 60


def applies(context: Context) -> bool:
    """A port with presets has the file."""
    return bool(context.port.spec.presets)


def emit(context: Context) -> Iterator[Edit]:
    """Yield the package marker and the module."""
    presets = context.port.spec.presets
    constants = _shared_texts(presets)
    stages = _stage_specs(presets)
    rows = [_row(context, name, preset, constants, stages) for name, preset in presets.items()]
    yield package_marker(context)
    yield context.file(
        __file__,
        context.names.presets_path,
        "presets.py.jinja",
        "presets",
        constants=[(name, text) for text, name in constants.items()],
        stages=[(name, sorted(overrides)) for overrides, name in stages.items()],
        presets=rows,
        all_presets="".join(f"{row['variable']}, " for row in rows).strip(),
    )


def _shared_texts(presets: dict[str, Preset]) -> dict[str, str]:
    """Give a long text that several presets use, or that would fill the dict, a constant."""
    texts = Counter(
        default.value
        for preset in presets.values()
        for default in preset.defaults.values()
        if isinstance(default.value, str) and len(default.value) > _LONG
    )
    names = [
        f"_NEGATIVE_PROMPT_{i}" if len(texts) > 1 else "_NEGATIVE_PROMPT"
        for i in range(1, len(texts) + 1)
    ]
    return dict(zip(texts, names, strict=True))


def _stage_specs(presets: dict[str, Preset]) -> dict[tuple[str, ...], str]:
    """Give each set of permitted overrides a stage specification."""
    sets = list(dict.fromkeys(tuple(sorted(preset.overrides)) for preset in presets.values()))
    names = (
        ["_DENOISE_STAGE"]
        if len(sets) == 1
        else [f"_DENOISE_STAGE_{i}" for i in range(1, len(sets) + 1)]
    )
    return dict(zip(sets, names, strict=True))


def _row(
    context: Context,
    name: str,
    preset: Preset,
    constants: dict[str, str],
    stages: dict[tuple[str, ...], str],
) -> dict[str, Any]:
    defaults = [
        (key, _value(default, constants), source_note(default))
        for key, default in preset.defaults.items()
    ]
    return {
        "variable": name.upper(),
        "name": name,
        "family": context.port.family,
        "summary": preset.summary,
        "workload": preset.workload.lower(),
        "stage": stages[tuple(sorted(preset.overrides))],
        "defaults": defaults,
    }


def _value(default: Sourced, constants: dict[str, str]) -> str:
    known = constants.get(default.value) if isinstance(default.value, str) else None
    return known or python(default.value)


def source_note(sourced: Sourced) -> str:
    """Shorten a source for a comment at the end of a line."""
    if sourced.source.startswith("https://"):
        return sourced.source
    module, _, rest = sourced.source.partition(":")
    return (
        f"{module.rpartition('.')[2]}: {rest}" if rest else f"decision {module} in PORT_STATUS.md"
    )
