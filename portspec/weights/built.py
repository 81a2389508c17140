"""Surfaces of classes: built in a process of their own, since only there may a framework be imported."""

from __future__ import annotations

import importlib.util
import json
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from portspec.backend import Backend
from portspec.gates.runner import Environment, Runner
from portspec.weights.engine.tensors import Tensor, WeightsError
from portspec.weights.surface import read_surface

REFERENCE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def is_installed(reference: str) -> bool:
    """Tell whether the package of a class is there without a target tree."""
    return importlib.util.find_spec(re.split("[.:]", reference)[0]) is not None


class Built(NamedTuple):
    """The tensors of a class, each once, and the tables by which it renames what it loads."""

    surface: dict[str, Tensor]
    tables: dict[str, list[Any]]


def built(backend: Backend, root: Path, reference: str, config: Mapping[str, Any]) -> Built:
    """Build a class on torch's meta device at the size that a config says.

    Args:
        backend: It knows how its framework's classes are built.
        root: The target tree, which the class may be one of.
        reference: The class, as `module:Class`.
        config: A published config, as `config.json` holds it.

    Raises:
        WeightsError: E541 it cannot be built.
    """
    with tempfile.TemporaryDirectory(prefix="portspec-") as folder:
        out = Path(folder) / "surface.json"
        tables = out.with_name("tables.json")
        plan = backend.look_at(root, reference, config, out, tables)
        environment = Environment(root, plan.variables, plan.preload, Path(folder), jobs=1)
        with Runner(environment) as runner:
            results = runner.run(plan.gates, {}, lambda _gate, _result: None)
        result = results[plan.gates[0].name]
        if result.status != "pass":
            remedy = "Look at the reference and at the config; --target names the tree of a native class."
            raise WeightsError("E541", f"it cannot be built: {result.message}", reference, remedy)
        return Built(read_surface(out), json.loads(tables.read_text(encoding="utf-8")))


def read_config(path: Path | None) -> dict[str, Any]:
    """Read a published config; without a file, a class is built with its defaults.

    Raises:
        WeightsError: E541 it is no table.
    """
    if path is None:
        return {}
    try:
        table: Any = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        table = error
    if not isinstance(table, dict):
        raise WeightsError("E541", "this is no config", str(path), "Give a config.json.")
    return table
