"""What FastVideo itself answers about checkpoints; runs inside its process, see test_resolution.py.

    python answers.py PATHS OUT

PATHS is a JSON list of what a user may pass as a model; OUT gets a JSON object with an answer for each.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def main() -> None:
    from fastvideo import registry
    from fastvideo.api.sampling_param import SamplingParam

    def entry(path: str) -> list[str | None]:
        """The fields of a registration, in the order of portspec's `Registration.effect`."""
        found = registry._get_config_info(path, raise_on_missing=False)
        if found is None:
            return []
        sampling = found.sampling_param_cls
        return [
            found.pipeline_config_cls.__name__,
            found.model_family,
            found.default_preset,
            found.pipeline_cls_name,
            sampling.__name__ if sampling else None,
        ]

    def info(path: str) -> list[str]:
        found = registry.get_model_info(path)
        return [_ref(getattr(found, field.name)) for field in dataclasses.fields(found)]

    def config(path: str) -> dict[str, Any]:
        return _plain(registry.get_pipeline_config_cls_from_name(path)())

    questions: dict[str, Callable[[str], Any]] = {
        "entry": entry,
        "info": info,
        "selection": lambda path: list(registry.get_preset_selection(path)),
        "sampling": lambda path: _plain(SamplingParam.from_pretrained(path)),
        "config": config,
    }
    paths = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    answers = {path: {name: _ask(ask, path) for name, ask in questions.items()} for path in paths}
    models = registry.get_registered_models_with_workloads()
    found = {"file": registry.__file__, "answers": answers, "models": models}
    Path(sys.argv[2]).write_text(json.dumps(found), encoding="utf-8")


def _ref(cls: type) -> str:
    return f"{cls.__module__}:{cls.__name__}"


def _plain(value: Any) -> dict[str, Any]:
    """The fields of a dataclass that JSON can hold; of others, their type."""
    fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return {name: _json(field) for name, field in fields.items()}


def _json(value: Any) -> Any:
    try:
        return json.loads(json.dumps(value))
    except TypeError:
        return _ref(type(value))


def _ask(ask: Callable[[str], Any], path: str) -> Any:
    """An error is an answer too, up to where it lists what would have been right."""
    try:
        return ask(path)
    except Exception as error:
        return f"{type(error).__name__}: {str(error).partition('. ')[0]}"


if __name__ == "__main__":
    main()
