"""The stage chain: classes of the catalogue, arguments they take, and an order that can work."""

from __future__ import annotations

from collections.abc import Iterator

from portspec.codegen.facts import PIPELINE_ATTRIBUTES, STAGE_NEEDS, STAGE_ORDER
from portspec.codegen.index import FastVideoIndex
from portspec.errors import Diagnostic
from portspec.port import Port
from portspec.pyfacts import Parameter
from portspec.spec import Stage
from portspec.suggest import did_you_mean, nearest
from portspec.tree import ClassRef, Tree

_CATALOGUE = "fastvideo.pipelines.stages"


def check(port: Port, index: FastVideoIndex) -> Iterator[Diagnostic]:
    """E613 unknown stage, E614 arguments, E617 order, E618 name, E619 stage left out."""
    pipeline = port.spec.pipeline
    if pipeline is None or pipeline.reuse:
        return
    roles: list[set[str]] = []
    for position, stage in enumerate(pipeline.stages):
        path = ("pipeline", "stages", position)
        found = index.tree.find_class(stage.use)
        if stage.name in PIPELINE_ATTRIBUTES:
            remedy = "A stage becomes an attribute of the pipeline; choose a name ending in _stage."
            message = f'"{stage.name}" is already an attribute of pipelines'
            yield port.complain("E618", message, (*path, "name"), remedy, "K7")
        if found is None:
            roles.append(set())
            if not (stage.bespoke and index.tree.path_of(stage.use.partition(":")[0]) is None):
                yield _unknown(port, index.tree, stage, (*path, "use"))
            continue
        roles.append({base.facts.name for base in index.tree.bases(found)})
        yield from _arguments(port, index.tree, stage, found, path)
    yield from _order(port, roles)


def _unknown(port: Port, tree: Tree, stage: Stage, path: tuple[str | int, ...]) -> Diagnostic:
    module, _, name = stage.use.partition(":")
    file = tree.path_of(module) or tree.path_of(_CATALOGUE)
    facts = tree.module(file) if file else None
    found = nearest(name, [*facts.classes, *facts.imported]) if facts else None
    place = module if tree.path_of(module) else _CATALOGUE
    remedy = f"Shared stages are exported by {_CATALOGUE}."
    remedy = f'Did you mean "{place}:{found}"?' if found else remedy
    return port.complain("E613", f"the target has no stage {stage.use}", path, remedy, "K7")


def _arguments(
    port: Port, tree: Tree, stage: Stage, found: ClassRef, path: tuple[str | int, ...]
) -> Iterator[Diagnostic]:
    parameters = _constructor(tree, found)
    names = [p.name for p in parameters]
    for name in stage.args:
        if name not in names:
            remedy = did_you_mean(name, names, f"It takes {', '.join(names) or 'nothing'}.")
            message = f"{found.facts.name} takes no argument {name}"
            yield port.complain("E614", message, (*path, "args", name), remedy, "K7", key=True)
    for parameter in parameters:
        if parameter.required and parameter.name not in stage.args:
            message = f"{found.facts.name} needs the argument {parameter.name}"
            remedy = f"Add it to `args`, as ${parameter.name} if that is a module."
            yield port.complain("E614", message, path, remedy, "K7")


def _constructor(tree: Tree, found: ClassRef) -> list[Parameter]:
    for base in tree.bases(found):
        function = base.facts.methods.get("__init__")
        if function:
            return [p for p in function.parameters if p.name != "self"]
    return []


def _order(port: Port, roles: list[set[str]]) -> Iterator[Diagnostic]:
    def position(role: str) -> int | None:
        return next((i for i, names in enumerate(roles) if role in names), None)

    for earlier, later in STAGE_ORDER:
        a, b = position(earlier), position(later)
        if a is not None and b is not None and a > b:
            message = f"{later} stands before {earlier}, whose results it reads"
            remedy = f"Move {earlier} above it."
            yield port.complain("E617", message, ("pipeline", "stages", b), remedy, "K7")
    last = position("DecodingStage")
    if last is None and position("DenoisingStage") is not None and not _has_bespoke(port):
        message = "nothing decodes what DenoisingStage provides: users would get latents"
        remedy = "Add a DecodingStage after it."
        yield port.complain("E619", message, ("pipeline", "stages"), remedy, "K7", key=True)
    for role, needed in STAGE_NEEDS.items():
        own = position(role)
        if own is None or any(not names for names in roles) or _has_bespoke(port):
            continue  # a bespoke stage may do an absent one's work, and says so in `provides`
        for other in needed:
            if position(other) is None:
                message = f"{role} needs what {other} provides, and no such stage is there"
                remedy = f"Add a {other} before it."
                yield port.complain("E619", message, ("pipeline", "stages", own), remedy, "K7")


def _has_bespoke(port: Port) -> bool:
    return bool(port.spec.pipeline and any(stage.bespoke for stage in port.spec.pipeline.stages))
