"""K11: lists that repeat what stands elsewhere are complete: exports, documentation, CI lanes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from portspec.codegen.facts import INVENTORY, PIPELINE_CONFIG_BASE, REGISTRY, SUPPORT_MATRIX
from portspec.codegen.index import FastVideoIndex
from portspec.codegen.index.configs import config_fields
from portspec.errors import Diagnostic
from portspec.load import Node, parse
from portspec.pyfacts import Module, literal
from portspec.suggest import did_you_mean

_SURFACES = {
    "pipeline_config_base": PIPELINE_CONFIG_BASE,
    "sampling_param_base": "fastvideo.api.sampling_param:SamplingParam",
}
_BUCKETS = ("dits", "vaes", "encoders", "audio", "upsamplers")
_SSIM = "fastvideo/tests/ssim/"
_REQUIRED_GPUS = re.compile(r"^REQUIRED_GPUS\s*=\s*\d+\s*(#.*)?$", re.MULTILINE)
_CODE = re.compile(r"`([^`/]+/[^`]+)`")


def check(index: FastVideoIndex) -> Iterator[Diagnostic]:
    """E340 exports, E341 support matrix, E342 CI lanes, E343 inventory of arguments."""
    yield from _exports(index)
    yield from _support_matrix(index)
    yield from _ssim_lanes(index)
    yield from _inventory(index)


def _exports(index: FastVideoIndex) -> Iterator[Diagnostic]:
    files = [f"fastvideo/configs/models/{bucket}/__init__.py" for bucket in _BUCKETS]
    for path in [*files, "fastvideo/configs/pipelines/__init__.py"]:
        if not index.tree.exists(path):
            continue
        facts = index.tree.module(path)
        listed = facts.assignment("__all__")
        try:
            names = list(literal(listed.value)) if listed else []
        except ValueError:
            continue
        for name in names:
            if not facts.defines(name) and not facts.is_dynamic:
                remedy = did_you_mean(name, facts.imported, "Import it, or take it off `__all__`.")
                message = f"__all__ promises {name}, which the package does not have"
                yield Diagnostic(
                    "E340",
                    message,
                    index.tree.place(path, listed.line if listed else 0),
                    remedy,
                    "K11",
                )


def _support_matrix(index: FastVideoIndex) -> Iterator[Diagnostic]:
    if not index.tree.exists(SUPPORT_MATRIX):
        return
    rows = _matrix_ids(index.tree.text(SUPPORT_MATRIX))
    registered = {hub: line for entry in index.registrations for hub, line in entry.hub}
    for hub, line in registered.items():
        if hub not in rows:
            message = f"{hub} is registered and not in {SUPPORT_MATRIX}"
            yield Diagnostic(
                "E341", message, index.tree.place(REGISTRY, line), "Add its row.", "K11"
            )
    for hub, line in rows.items():
        if hub not in registered:
            remedy = did_you_mean(hub, registered, "Register it, or remove the row.")
            message = f"the matrix lists {hub}, which is not registered"
            yield Diagnostic("E341", message, index.tree.place(SUPPORT_MATRIX, line), remedy, "K11")


def _matrix_ids(text: str) -> dict[str, int]:
    """Return the ids of the table of registered models, with their lines."""
    rows: dict[str, int] = {}
    inside = False
    for number, line in enumerate(text.splitlines(), 1):
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if cells[:2] == ["Family", "HuggingFace Model ID"]:
            inside = True
        elif inside and not line.startswith("|"):
            break
        elif inside and len(cells) > 1:
            rows.update(dict.fromkeys(_CODE.findall(cells[1]), number))
    return rows


def _ssim_lanes(index: FastVideoIndex) -> Iterator[Diagnostic]:
    """FastVideo's CI makes its tasks by reading each test file, so what it reads must be what runs."""
    for path in index.tree.paths(_SSIM):
        name = path.removeprefix(_SSIM)
        if not re.fullmatch(r"test_\w+_similarity\.py", name):
            continue
        facts = index.tree.module(path)
        assignment = facts.assignment("REQUIRED_GPUS")
        if assignment and not _REQUIRED_GPUS.search(index.tree.text(path)):
            place = index.tree.place(path, assignment.line)
            remedy = "Write `REQUIRED_GPUS = 2` at the start of a line; anything else counts as 1."
            message = "CI cannot read how many GPUs this test needs"
            yield Diagnostic("E342", message, place, remedy, "K11")
        quick, full = _lanes(facts)
        for model, line in full.items():
            if quick and model not in quick:
                place = index.tree.place(path, line)
                remedy = did_you_mean(model, quick, f"Its cases are {', '.join(quick)}.")
                message = f"CI makes a task for {model}, and the quick lane has no such case"
                yield Diagnostic("E342", message, place, remedy, "K11")


def _lanes(facts: Module) -> tuple[dict[str, int], dict[str, int]]:
    """Return the constant keys of the quick and of the full-quality tables, with their lines."""
    quick: dict[str, int] = {}
    full: dict[str, int] = {}
    for assignment in facts.assignments:
        if not assignment.name.endswith("MODEL_TO_PARAMS"):
            continue
        node = ast.parse(assignment.value or "0", mode="eval").body
        for key in node.keys if isinstance(node, ast.Dict) else ():
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                table = full if "FULL_QUALITY" in assignment.name else quick
                table[key.value] = assignment.line
    return quick, full


def _inventory(index: FastVideoIndex) -> Iterator[Diagnostic]:
    """FastVideo's inventory test wants every public field listed, and nothing else."""
    tree = index.tree
    if not tree.exists(INVENTORY):
        return
    listed: dict[str, dict[str, int]] = tree.derived(
        "inventory", INVENTORY, lambda: _listed_fields(tree.text(INVENTORY))
    )
    for surface, ref in _SURFACES.items():
        base = tree.find_class(ref)
        if base is None or surface not in listed:
            continue
        fields = {n: f for n, f in config_fields(tree, base).items() if f.annotated}
        for name, field in fields.items():
            if name not in listed[surface]:
                message = f"{base.facts.name}.{name} is not in the inventory"
                place = tree.place(field.path, field.line)
                remedy = f"List it under {surface} in {INVENTORY}."
                yield Diagnostic("E343", message, place, remedy, "K11")
        for name, line in listed[surface].items():
            if name not in fields:
                message = f"the inventory lists {name}, which {base.facts.name} does not have"
                remedy = did_you_mean(name, fields, "Remove it.")
                yield Diagnostic("E343", message, tree.place(INVENTORY, line), remedy, "K11")


def _listed_fields(text: str) -> dict[str, dict[str, int]]:
    """Return the fields of each surface with their lines, whatever their status."""
    surfaces = parse(text, INVENTORY, strict=False).value["surfaces"].node.value
    return {
        name: {
            field: line
            for status in entry.node.value.values()
            for field, line in _entries(status.node)
        }
        for name, entry in surfaces.items()
        if isinstance(entry.node.value, dict)
    }


def _entries(status: Node) -> Iterator[tuple[str, int]]:
    """Yield the fields of one status: keys with a target each, or a bare list."""
    if isinstance(status.value, dict):
        yield from ((field, row.key_place.line) for field, row in status.value.items())
    elif isinstance(status.value, list):
        yield from ((str(item.value), item.place.line) for item in status.value)
