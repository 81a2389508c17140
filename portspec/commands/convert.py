"""`portspec convert`: published weights in any layout -> a folder that the framework loads."""

from __future__ import annotations

import argparse
import json
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
        "--verify", action="store_true", help="read everything again, and write hashes beside it"
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
    target_option(parser)
    format_option(parser, ("text", "json"))


def run(options: argparse.Namespace, console: Console) -> int:
    """Plan, and write unless only the plan was asked for."""
    from portspec.errors import UsageError, errors_in
    from portspec.weights.conversion import plan_conversion, variant_of
    from portspec.weights.engine.convert import outside
    from portspec.weights.engine.hub import place
    from portspec.weights.engine.layout import SHARD_BYTES
    from portspec.weights.report import raised

    if options.out is None and not options.plan:
        raise UsageError("--out is missing", "Name the folder to write, or ask for the --plan.")
    port = port_of(options.spec, settings_of(argparse.Namespace(target=options.target)))
    variant = variant_of(port, options.variant)
    with raised():
        weights = place(options.weights)
        if options.out:
            outside(options.out, weights)
        found, findings = plan_conversion(port, variant, weights, options.shard_size or SHARD_BYTES)
    console.findings(findings, "text")
    if errors_in(findings):
        return FINDINGS
    if options.plan:
        console.out(
            json.dumps(_ledger(found), indent=2) + "\n"
            if options.format == "json"
            else _text(found)
        )
        return CLEAN
    with raised():
        _write(options, found, console)
    return CLEAN


def _write(options: argparse.Namespace, found: Plan, console: Console) -> None:
    from portspec.weights.engine.write import write
    from portspec.weights.progress import Meter
    from portspec.weights.verify import manifest

    with Meter(found.job.nbytes, console, "written") as meter:
        write(found.job, options.out, meter.add, options.jobs)
    if options.verify:
        with Meter(found.job.nbytes, console, "verified") as meter:
            manifest(found.job, options.out, meter.add)
    console.say(f"{options.out}: {found.job.nbytes:,} bytes")


def _text(found: Plan) -> str:
    return "".join(f"{_line(component)}\n" for component in found.components) + (
        f"{found.job.nbytes:,} bytes in {len(found.job.shards) + len(found.job.texts)} files\n"
    )


def _line(component: Converted) -> str:
    copied = sum(v.type.nbytes for v in component.outputs.values() if v.runs is not None)
    total = sum(v.type.nbytes for v in component.outputs.values())
    return (
        f"{component.name}: {len(component.source):,} tensors become {len(component.outputs):,}, "
        f"{len(component.mapped.dropped):,} dropped; {copied:,} bytes copied, {total - copied:,} computed"
    )


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
        "shape": list(value.type.shape),
        "how": "computed" if value.runs is None else "copied",
    }
