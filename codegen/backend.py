"""The FastVideo back end, as the compiler sees it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portspec.backend import GatePlan, GateSettings, SourceDistribution
from portspec.codegen.facts import PACKAGES

if TYPE_CHECKING:
    from portspec.codegen.index import FastVideoIndex
    from portspec.edits import Edit
    from portspec.errors import Diagnostic
    from portspec.gates.result import GateResult
    from portspec.port import Port
    from portspec.tree import Tree


class FastVideo:
    """FastVideo 0.2, as released or as a git checkout."""

    name = "fastvideo"
    default_target = SourceDistribution(
        "fastvideo==0.2.1",
        "733ce33f4d7a90ff84c8e25532058ec658c6766bed43cc130401c44b9cda141a",
        "fastvideo-0.2.1",
    )
    codes = Path(__file__).parent / "codes"
    packages = PACKAGES

    def __init__(self) -> None:
        self._indexes: dict[Tree, FastVideoIndex] = {}

    def _index(self, tree: Tree) -> FastVideoIndex:
        """Return the index of a tree, one for each, since several steps ask."""
        from portspec.codegen.index import FastVideoIndex

        if tree not in self._indexes:
            self._indexes[tree] = FastVideoIndex(tree)
        return self._indexes[tree]

    def recognises(self, tree: Tree) -> bool:
        """FastVideo is known by its registry."""
        return tree.exists("fastvideo/registry.py")

    def check(self, port: Port) -> Iterator[Diagnostic]:
        """Hold a port against its target tree."""
        from portspec.codegen.rules import check_port

        yield from check_port(port, self._index(port.tree))

    def audit(self, tree: Tree) -> Iterator[Diagnostic]:
        """Find what is wrong in a tree."""
        from portspec.codegen.checks import audit

        yield from audit(self._index(tree))

    def compare(self, before: Tree, after: Tree, port: Port) -> Iterator[Diagnostic]:
        """Find what goes wrong, and what changes for other families."""
        from portspec.codegen.checks import new_findings
        from portspec.codegen.compare import compare

        yield from new_findings(self._index(before), self._index(after))
        yield from compare(self._index(before), self._index(after), port.family)

    def emit(self, port: Port) -> Iterator[Edit]:
        """Return the edits that make the port."""
        from portspec.codegen.emitters import Context, emit_all

        yield from emit_all(Context(port, self._index(port.tree)), reports=False)

    def report(self, port: Port, results: Mapping[str, GateResult]) -> Iterator[Edit]:
        """Return README.md and PORT_STATUS.md of the family."""
        from portspec.codegen.emitters import Context, emit_all

        yield from emit_all(Context(port, self._index(port.tree), results), reports=True)

    def gates(self, port: Port, settings: GateSettings) -> GatePlan:
        """Return the gates of a port."""
        from portspec.codegen import gates

        context = gates.GateContext(port, self._index(port.tree), settings.local, settings.weights)
        variables = gates.environment_variables(port.tree.root)
        return GatePlan(tuple(gates.declare_all(context)), variables, gates.PRELOAD)

    def look_at(
        self, root: Path, reference: str, config: Mapping[str, Any], out: Path, tables: Path
    ) -> GatePlan:
        """Return a gate that builds a class on the meta device."""
        from portspec.codegen import gates
        from portspec.gates.result import Gate

        args = {
            "reference": reference,
            "config": dict(config),
            "out": str(out),
            "tables": str(tables),
        }
        env = {"MASTER_PORT": "0"}  # alone in its process group, it takes any
        gate = Gate("surface", reference, "portspec.codegen.classes", args, env=env)
        return GatePlan((gate,), gates.environment_variables(root), ())

    def skeleton(self, family: str) -> str:
        """Return a commented spec."""
        from portspec.render import render

        return render(Path(__file__).parent / "skeleton.yaml.jinja", {"family": family})


backend = FastVideo()
