"""`portspec surface`: what a checkpoint holds, from headers alone."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from portspec.commands import CLEAN, format_option

if TYPE_CHECKING:
    from portspec.console import Console
    from portspec.weights.engine.tensors import Tensor

HELP = "list the tensors of a checkpoint: name, element type, shape"
EXAMPLE = "portspec surface weights/transformer"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    text = "a .safetensors, .pth, .pt, .bin or .ckpt file, an index of shards, or a folder with one of them"
    parser.add_argument("path", metavar="PATH", type=Path, help=text)
    format_option(parser, ("text", "json"))


def run(options: argparse.Namespace, console: Console) -> int:
    """Print every tensor, in the order of the file, and their sum."""
    from portspec.weights.report import raised

    with raised():
        from portspec.weights.engine.sources import read_tensors

        tensors = read_tensors(options.path)
    if options.format == "json":
        rows = {name: {"dtype": t.dtype, "shape": list(t.shape)} for name, t in tensors.items()}
        console.out(json.dumps(rows, indent=2) + "\n")
        return CLEAN
    console.out("".join(f"{_line(name, tensor)}\n" for name, tensor in tensors.items()))
    console.say(_sum(tensors))
    return CLEAN


def _line(name: str, tensor: Tensor) -> str:
    from portspec.weights.report import shown

    return f"{tensor.dtype:8} {list(tensor.shape)!s:24} {shown(name)}"


def _sum(tensors: dict[str, Tensor]) -> str:
    nbytes = sum(tensor.type.nbytes for tensor in tensors.values())
    return f"{len(tensors):,} tensors, {nbytes:,} bytes"
