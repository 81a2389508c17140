"""Where to build and what to prove it with: the command line, then the environment, then `portspec.yaml`.

The file is optional and stands in the working folder:

    target: ../FastVideo          # a checkout; without one, a released source tree is fetched into build/
    weights: official_weights/x   # a checkpoint for the gates, in place of a small one made on the spot
    dtype: fp32                   # or bf16
    jobs: 2                       # gates at a time
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portspec.errors import Diagnostic, SpecError

FILE = "portspec.yaml"
_KINDS: Mapping[str, type] = {"target": str, "weights": str, "dtype": str, "jobs": int}
DTYPES = ("fp32", "bf16")


@dataclass(frozen=True)
class Settings:
    """What was decided; None means the default."""

    target: Path | None = None
    weights: Path | None = None
    dtype: str = "fp32"
    jobs: int = 2


def read_settings(options: Mapping[str, Any], folder: Path) -> Settings:
    """Join the command line's options with the environment and the file in `folder`.

    Raises:
        SpecError: E020 an unknown key; E021 a value that cannot be.
    """
    path = folder / FILE
    chosen: dict[str, Any] = _read(path) if path.is_file() else {}
    for name in ("target", "weights"):
        if value := os.environ.get(f"PORTSPEC_{name.upper()}"):
            chosen[name] = value
    chosen |= {k: v for k, v in options.items() if k in _KINDS and v is not None}
    return Settings(
        _path(chosen.get("target")),
        _path(chosen.get("weights")),
        chosen.get("dtype", "fp32"),
        chosen.get("jobs", 2),
    )


def _path(value: Any) -> Path | None:
    return Path(value).expanduser() if value else None


def _read(path: Path) -> dict[str, Any]:
    from portspec.load import read_document
    from portspec.suggest import did_you_mean

    root = read_document(path, path.name).root
    problems: list[Diagnostic] = []
    values: dict[str, Any] = {}
    for key, entry in root.value.items():
        value = entry.node.plain()
        if key not in _KINDS:
            remedy = did_you_mean(key, _KINDS, f"Keys: {', '.join(_KINDS)}.")
            problems.append(
                Diagnostic("E020", f'there is no setting "{key}"', entry.key_place, remedy)
            )
        elif (
            type(value) is not _KINDS[key] or (key == "dtype" and value not in DTYPES) or value == 0
        ):
            wanted = " or ".join(DTYPES) if key == "dtype" else f"a {_KINDS[key].__name__}"
            message = f"{key} cannot be {value!r}"
            problems.append(Diagnostic("E021", message, entry.node.place, f"Give {wanted}."))
        else:
            values[key] = value
    if problems:
        raise SpecError(problems)
    return values
