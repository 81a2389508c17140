"""Where to build and what to prove it with: the command line, then the environment, then `portspec.yaml`.

The file is optional and stands in the working folder:

    target: ../FastVideo          # a checkout; without one, a released source tree is fetched into build/
    weights: official_weights/x   # a checkpoint for the gates, in place of a small one made on the spot
    jobs: 2                       # gates at a time
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portspec.errors import Diagnostic, SpecError, UsageError

FILE = "portspec.yaml"
_WANTED: Mapping[str, str] = {
    "target": "a path",
    "weights": "a path",
    "jobs": "a whole number above 0",
}


@dataclass(frozen=True)
class Settings:
    """What was decided; None means the default."""

    target: Path | None = None
    weights: Path | None = None
    jobs: int = 2


def read_settings(options: Mapping[str, Any], folder: Path) -> Settings:
    """Join the command line's options with the environment and the file in `folder`.

    Raises:
        SpecError: E020 an unknown key; E021 a value that cannot be.
        UsageError: E901 an option that cannot be.
    """
    if (jobs := options.get("jobs")) is not None and jobs < 1:
        raise UsageError(f"--jobs cannot be {jobs}", f"Give {_WANTED['jobs']}.")
    path = folder / FILE
    chosen: dict[str, Any] = _read(path) if path.is_file() else {}
    for name in ("target", "weights"):
        if value := os.environ.get(f"PORTSPEC_{name.upper()}"):
            chosen[name] = value
    chosen |= {k: v for k, v in options.items() if k in _WANTED and v is not None}
    return Settings(
        _path(chosen.get("target")),
        _path(chosen.get("weights")),
        chosen.get("jobs", 2),
    )


def _path(value: Any) -> Path | None:
    return Path(value).expanduser() if value else None


def _read(path: Path) -> dict[str, Any]:
    from portspec.load import read_document, read_text
    from portspec.suggest import did_you_mean

    if not any(line.partition("#")[0].strip() for line in read_text(path, path.name).splitlines()):
        return {}  # comments alone settle nothing
    root = read_document(path, path.name).root
    problems: list[Diagnostic] = []
    values: dict[str, Any] = {}
    for key, entry in root.value.items():
        value = entry.node.plain()
        if key not in _WANTED:
            remedy = did_you_mean(key, _WANTED, f"Keys: {', '.join(_WANTED)}.")
            problems.append(
                Diagnostic("E020", f'there is no setting "{key}"', entry.key_place, remedy)
            )
        elif not _fits(key, value):
            message, remedy = f"{key} cannot be {value!r}", f"Give {_WANTED[key]}."
            problems.append(Diagnostic("E021", message, entry.node.place, remedy))
        else:
            values[key] = value
    if problems:
        raise SpecError(problems)
    return values


def _fits(key: str, value: Any) -> bool:
    if key == "jobs":
        return type(value) is int and value > 0  # true is an int, too
    return isinstance(value, str) and value != ""
