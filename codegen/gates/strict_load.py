"""Strict load: FastVideo's production loader reads the checkpoint, and every tensor arrives with its bytes.

FastVideo's VAE loader ignores missing and unexpected keys, so that loading without an error shows little.
Here each native tensor is compared with the published ones that the mapping says it is made of.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from portspec.codegen.classes import distinct
from portspec.codegen.gates import GateContext
from portspec.codegen.gates.mapping import key_map
from portspec.codegen.gates.surfaces import surfaces_path
from portspec.codegen.mapping import KeyMap
from portspec.gates.result import Gate, Outcome


def declare(context: GateContext) -> Iterator[Gate]:
    """Yield the gate."""
    stateful = [c for c in context.port.components.values() if c.is_stateful]
    yield Gate(
        "strict_load",
        "production loader, tensor by tensor",
        __name__,
        {
            "helper": f"{context.names.tests}/parity".replace("/", "."),
            "checkpoint": str(context.checkpoint),
            "surfaces": str(surfaces_path(context)),
            "variant": _variant(context),
            "components": [
                {
                    "name": c.name,
                    "library": c.library,
                    "unused": list(c.spec.unused),
                    "whole": {k: True for k in c.spec.config_fields if k.startswith("load_")},
                }
                for c in stateful
            ],
        },
        after=("checkpoint", "mapping"),
        files=(f"{context.names.tests}/parity.py",),
        inputs=context.weighed(helper=context.index.tree.sha(f"{context.names.tests}/parity.py")),
        env=context.test_env,
        basis=context.basis,
    )


def _variant(context: GateContext) -> str:
    """Return the variant that the checkpoint is one of."""
    return next(e.variant for e in context.port.spec.registry if context.hub in e.hub)


def run(args: Mapping[str, Any]) -> Outcome:
    """Load every component and compare every tensor."""
    helper = import_module(args["helper"])
    surfaces = json.loads(Path(args["surfaces"]).read_text(encoding="utf-8"))
    metrics: dict[str, Any] = {}
    for component in args["components"]:
        name = component["name"]
        module = helper.load_native(name, component["library"], component["whole"])
        keys = key_map(surfaces[f"{args['variant']}.{name}"])
        published = _published(Path(args["checkpoint"]) / name)
        problem = compare(published, distinct(module)[0], keys, component["unused"], helper.DTYPE)
        if problem:
            return Outcome("fail", f"{name}: {problem}", metrics)
        metrics[f"{name}.tensors"] = len(published)
        print(f"{name}: {len(published)} tensors arrived unchanged")
    return Outcome("pass", f"{sum(metrics.values())} tensors arrived unchanged", metrics)


def _published(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    state: dict[str, Any] = {}
    for path in sorted(folder.glob("*.safetensors")):
        state.update(load_file(str(path)))
    return state


def compare(
    published: Mapping[str, Any],
    loaded: Mapping[str, Any],
    keys: KeyMap,
    unused: list[str],
    dtype: Any,
) -> str:
    """Return the first difference between what was published and what was loaded, or an empty text.

    Args:
        published: Tensors of the checkpoint, by name.
        loaded: Tensors of the native module, by name.
        keys: The mapping between the two.
        unused: Patterns of published names that are not read.
        dtype: The dtype that was loaded into; published tensors are cast to it first.
    """
    import re

    import torch

    native = {name: tuple(tensor.shape) for name, tensor in loaded.items()}
    parts: dict[str, dict[int, Any]] = defaultdict(dict)
    for name, tensor in published.items():
        if any(re.match(pattern, name) for pattern in unused):
            continue
        route = keys.route(name, native)
        if route.target not in native:
            return f"E501 {name} has no place: {route.target} is not in the loaded module"
        parts[route.target][route.part[0] if route.part else 0] = tensor
    for target, tensor in loaded.items():
        if target not in parts:
            return f"E502 {target} was not loaded from the checkpoint"
        expected = torch.cat([parts[target][i] for i in sorted(parts[target])]).to(dtype)
        actual = tensor.detach().cpu()
        if expected.shape != actual.shape:
            return f"E504 {target} is {list(actual.shape)}, published as {list(expected.shape)}"
        if not torch.equal(expected, actual.to(dtype)):
            return f"E510 {target} does not hold the published values"
    return ""
