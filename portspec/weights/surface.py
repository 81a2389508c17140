"""A surface kept beside a spec: the published names, element types and shapes, without the weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from portspec.weights.engine.hub import SCHEME, place
from portspec.weights.engine.sources import INDEX, read_tensors
from portspec.weights.engine.tensors import Tensor, WeightsError, checked


def read_surface(path: Path) -> dict[str, Tensor]:
    """Read what `portspec surface --json` has printed.

    Raises:
        WeightsError: E540 it is not there, or something else; E523 a tensor cannot exist.
    """
    remedy = "Make it with `portspec surface PATH --json`."
    try:
        table: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError("E540", f"it cannot be read: {error}", str(path), remedy) from error
    if not isinstance(table, dict) or not all(_is_row(row) for row in table.values()):
        message = "it is no table of names with element type and shape"
        raise WeightsError("E540", message, str(path), remedy)
    rows = {n: checked(r["dtype"], tuple(r["shape"]), n, str(path)) for n, r in table.items()}
    return {name: Tensor(kind.dtype, kind.shape, str(path), 0) for name, kind in rows.items()}


def surface_at(where: str) -> dict[str, Tensor]:
    """Return what a checkpoint holds: a file, an index, a folder, `hf://owner/name/...`, or a kept surface.

    Raises:
        WeightsError: As `read_tensors`, `place` and `read_surface` do.
    """
    if is_kept(where):
        return read_surface(Path(where))
    return read_tensors(place(where))


def is_kept(where: str) -> bool:
    """Tell whether this is a surface that was kept, and no checkpoint."""
    return where.endswith(".json") and not where.endswith(INDEX) and not where.startswith(SCHEME)


def _is_row(row: Any) -> bool:
    return (
        isinstance(row, Mapping)
        and row.keys() == {"dtype", "shape"}
        and isinstance(row["dtype"], str)
        and isinstance(row["shape"], list)
    )
