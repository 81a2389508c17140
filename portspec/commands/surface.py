"""`portspec surface`: what a checkpoint or a class holds, without reading or making a tensor."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from portspec.commands import CLEAN, format_option, settings_of, target_of, target_option

if TYPE_CHECKING:
    from portspec.console import Console
    from portspec.weights.engine.tensors import Tensor

HELP = "list the tensors of a checkpoint or of a class: name, element type, shape"
EXAMPLE = "portspec surface hf://Wan-AI/Wan2.1-T2V-1.3B/Wan2.1_VAE.pth"
_WHERE = (
    "a .safetensors, .pth, .pt, .bin or .ckpt file, an index of shards, a folder with one of them, "
    "any of these as hf://owner/name[@revision]/path, or a class as module:Class"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("where", metavar="WHERE", help=_WHERE)
    text = "config.json that a class is built with; its own defaults if left out"
    parser.add_argument("--config", metavar="PATH", type=Path, help=text)
    target_option(parser)
    format_option(parser, ("text", "json"))


def run(options: argparse.Namespace, console: Console) -> int:
    """Print every tensor, in the order of the file, and their sum."""
    tensors = _tensors(options, console)
    if options.format == "json":
        rows = {name: {"dtype": t.dtype, "shape": list(t.shape)} for name, t in tensors.items()}
        console.out(json.dumps(rows, indent=2) + "\n")
        return CLEAN
    console.out("".join(f"{_line(name, tensor)}\n" for name, tensor in tensors.items()))
    console.say(_sum(tensors))
    return CLEAN


def _tensors(options: argparse.Namespace, console: Console) -> dict[str, Tensor]:
    from portspec.errors import UsageError
    from portspec.weights.built import REFERENCE, built, is_installed, read_config
    from portspec.weights.report import raised
    from portspec.weights.surface import surface_at

    with raised():
        if not REFERENCE.fullmatch(options.where):
            if options.config:
                raise UsageError(
                    "a checkpoint takes no --config", "Only classes are built with one."
                )
            return surface_at(options.where)
        config = read_config(options.config)
        if options.target is None and is_installed(options.where):
            from portspec.backend import backends

            return built(backends()[0], Path.cwd(), options.where, config).surface
        target = target_of(settings_of(options), console)
        return built(target.backend, target.tree.root, options.where, config).surface


def _line(name: str, tensor: Tensor) -> str:
    from portspec.weights.report import shown

    return f"{tensor.dtype:8} {list(tensor.shape)!s:24} {shown(name)}"


def _sum(tensors: dict[str, Tensor]) -> str:
    nbytes = sum(tensor.type.nbytes for tensor in tensors.values())
    return f"{len(tensors):,} tensors, {nbytes:,} bytes"
