"""The environment: the pinned official libraries and the target's own FastVideo import."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from portspec.codegen.gates import GateContext, load_ref
from portspec.gates.result import Gate, Outcome


def declare(context: GateContext) -> Iterator[Gate]:
    """Every gate waits for this one."""
    port = context.port
    yield Gate(
        "environment",
        "official libraries and FastVideo import",
        __name__,
        {
            "pins": {p.name: p.pinned for p in port.official.packages},
            "definitions": sorted(
                d.ref for d in port.definitions.values() if "." not in d.ref.partition(":")[2]
            ),
            "stubs": [stub.module for stub in port.spec.official.stubs],
        },
        inputs=context.inputs(),
        timeout=300,
    )


def run(args: Mapping[str, Any]) -> Outcome:
    """Import both sides, in a process that was started for this build, and compare versions and places."""
    from importlib.metadata import version

    found = {name: version(name) for name in args["pins"]}
    wrong = [
        f"{n} {found[n]} is installed, {pin} is pinned"
        for n, pin in args["pins"].items()
        if found[n] != pin
    ]
    if wrong:
        return Outcome("fail", "; ".join(wrong), found)
    missing = [name for name in args["stubs"] if not _imports(name)]
    for ref in args["definitions"]:
        load_ref(ref)
    import fastvideo
    import torch

    root = Path(fastvideo.__file__).resolve().parent.parent
    if root != Path.cwd().resolve():
        return Outcome("fail", f"fastvideo was imported from {root}, not from the target")
    import_module("fastvideo.registry")
    metrics = {
        **found,
        "torch": torch.__version__,
        "python": sys.version.split()[0],
        "stubbed": ", ".join(missing),
    }
    return Outcome("pass", ", ".join(f"{k} {v}" for k, v in metrics.items() if v), metrics)


def _imports(module: str) -> bool:
    try:
        import_module(module)
    except ImportError:
        return False
    return True
