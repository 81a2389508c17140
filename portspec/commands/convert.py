"""`portspec convert`: published weights in any layout -> a folder that the framework loads."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portspec.commands import (
    CLEAN,
    FINDINGS,
    format_option,
    port_of,
    positive,
    settings_of,
    spec_argument,
    target_option,
)

if TYPE_CHECKING:
    from portspec.console import Console
    from portspec.errors import Diagnostic
    from portspec.port import Port
    from portspec.weights.engine.convert import Converted, Plan
    from portspec.weights.engine.rules import Value

HELP = "convert published weights as a spec says"
EXAMPLE = (
    "portspec convert specs/skyreels_v2.yaml --weights official_weights/skyreels --out converted"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    spec_argument(parser)
    parser.add_argument(
        "--weights",
        metavar="WHERE",
        required=True,
        help="the published release: a folder, or hf://owner/name, which is read without staging it",
    )
    parser.add_argument(
        "--out", metavar="PATH", type=Path, help="folder to write, which must not be there yet"
    )
    parser.add_argument(
        "--variant", metavar="NAME", help="variant of the spec; the first when left out"
    )
    parser.add_argument(
        "--plan", action="store_true", help="show what would be written, and write nothing"
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="hold it against the official classes, read everything again, and write hashes beside it",
    )
    parser.add_argument(
        "--shard-size",
        metavar="BYTES",
        type=positive,
        help="largest file of weights (default 10 GB)",
    )
    parser.add_argument(
        "--jobs", metavar="N", type=positive, default=2, help="files to write at a time (default 2)"
    )
    text = "write the files as tasks of a Ray cluster that shares the folders: auto, local or HOST:PORT"
    parser.add_argument("--ray", metavar="ADDRESS", help=text)
    target_option(parser)
    format_option(parser, ("text", "json"))


def run(options: argparse.Namespace, console: Console) -> int:
    """Plan, and write unless only the plan was asked for."""
    from portspec.errors import UsageError, errors_in
    from portspec.report.findings import as_json
    from portspec.weights.conversion import plan_conversion, variant_of
    from portspec.weights.engine.convert import outside
    from portspec.weights.engine.hub import place
    from portspec.weights.engine.layout import SHARD_BYTES
    from portspec.weights.report import raised

    if options.out is None and not options.plan:
        raise UsageError("--out is missing", "Name the folder to write, or ask for the --plan.")
    if options.plan and options.verify:
        raise UsageError("a plan has nothing to verify", "Leave out --plan or --verify.")
    port = port_of(options.spec, settings_of(argparse.Namespace(target=options.target)))
    variant = variant_of(port, options.variant)
    with raised():
        weights = place(options.weights)
        if options.ray:  # nodes have working folders of their own
            weights = weights.absolute()
            options.out = options.out and options.out.absolute()
        if options.out:
            outside(options.out, weights)
        found, findings = plan_conversion(port, variant, weights, options.shard_size or SHARD_BYTES)
        if options.verify and not errors_in(findings):
            findings += _strict(port, variant, found)
    if errors_in(findings):
        console.findings(findings, options.format)
        return FINDINGS
    if options.format == "text":
        console.findings(findings)
    if not options.plan:
        with raised():
            _write(options, found, console)
    if options.format == "json":
        told = {**_ledger(found), "findings": [as_json(one) for one in findings]}
        console.out(json.dumps(told, indent=2) + "\n")
    elif options.plan:
        console.out(_text(found))
    return CLEAN


def _strict(port: Port, variant: str, found: Plan) -> list[Diagnostic]:
    """Compare what will come out with what the official classes take, which are built without memory.

    Raises:
        WeightsError: E541 an official class cannot be built here.
    """
    from portspec.backend import backends
    from portspec.weights.built import built
    from portspec.weights.certificate import against
    from portspec.weights.conversion import REMEDIES, rules_of

    wrong = []
    for converted in found.components:
        component = port.components[converted.name]
        base = ("components", component.name, "conversion")
        args = component.args.get(variant, {})
        reference = component.spec.definition or ""
        official = built(backends()[0], Path.cwd(), reference, args).surface
        shapes = {name: tensor.shape for name, tensor in official.items()}
        rules = rules_of(component, variant).paths
        for finding in against(converted.outputs, converted.mapped.routes, shapes):
            path = rules[finding.rule] if finding.rule >= 0 else base
            remedy = REMEDIES.get(finding.code, "")
            wrong.append(port.complain(finding.code, finding.message, path, remedy, "K15"))
    return wrong


def _write(options: argparse.Namespace, found: Plan, console: Console) -> None:
    from portspec.weights.cluster import on_cluster
    from portspec.weights.engine.write import threads, write
    from portspec.weights.progress import Meter
    from portspec.weights.verify import MANIFEST, flush, manifest

    def finish(draft: Path) -> None:
        if options.verify:
            manifest(found.job, draft, Meter(found.job.nbytes, console, "verified").add)

    written = Meter(found.job.nbytes, console, "written")
    nodes: set[str] = set()
    shards = on_cluster(options.ray, nodes.add) if options.ray else threads(options.jobs)
    try:
        write(found.job, options.out, written.add, shards, finish)
    except KeyboardInterrupt:
        console.say(f"what is written is kept in .{options.out.name}.draft; run again to go on")
        raise
    console.say(f"{options.out}: {found.job.nbytes:,} bytes")
    if nodes:
        console.say(f"written by {len(nodes)} nodes of the cluster")
    if options.verify:
        flush(options.out.absolute().parent)
        count = sum(len(shard.names) for shard in found.job.shards.values())
        console.say(
            f"verified: {count:,} tensors as the official classes take them, each with the bytes of "
            f"its source; hashes in {MANIFEST}"
        )


def _text(found: Plan) -> str:
    return "".join(f"{_line(component)}\n" for component in found.components) + (
        f"{found.job.nbytes:,} bytes in {len(found.job.shards) + len(found.job.texts)} files\n"
    )


def _line(component: Converted) -> str:
    copied = sum(v.type.nbytes for v in component.outputs.values() if v.runs is not None)
    total = sum(v.type.nbytes for v in component.outputs.values())
    casts = Counter(
        f"{dtype} to {value.type.dtype}"
        for value in component.outputs.values()
        for dtype in _dtypes(value) - {value.type.dtype}
    )
    narrowed = "".join(f"; {count:,} from {what}" for what, count in sorted(casts.items()))
    return (
        f"{component.name}: {len(component.source):,} tensors become {len(component.outputs):,}, "
        f"{len(component.mapped.dropped):,} dropped; {copied:,} bytes copied, {total - copied:,} computed"
        f"{narrowed}"
    )


def _dtypes(value: Value) -> set[str]:
    """Return the element types of the tensors that a value is made of."""
    if value.operation is None:
        return {value.type.dtype}
    return {dtype for item in value.inputs for dtype in _dtypes(item)}


def _ledger(found: Plan) -> dict[str, Any]:
    return {
        "bytes": found.job.nbytes,
        "components": {
            c.name: {
                "tensors": {name: _row(value) for name, value in c.outputs.items()},
                "dropped": c.mapped.dropped,
                "files": {shard.file: shard.size for shard in c.shards},
            }
            for c in found.components
        },
    }


def _row(value: Value) -> dict[str, Any]:
    return {
        "from": list(value.names),
        "dtype": value.type.dtype,
        "from_dtypes": sorted(_dtypes(value)),
        "shape": list(value.type.shape),
        "how": "computed" if value.runs is None else "copied",
    }
