"""Paths in a spec are hostile until shown to stay inside the tree."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from portspec.errors import Diagnostic
from portspec.load import KeyPath
from portspec.port import Port


def why_unsafe(path: str, root: Path) -> str | None:
    """Return why a relative path must not be written or read below `root`, or None when it may."""
    pure = PurePosixPath(path)
    if not path or path != path.strip() or "\0" in path:
        return "it is not a path"
    if len(path) > 1000 or any(len(part.encode()) > 200 for part in pure.parts):
        return "it is too long for a file system"
    if pure.is_absolute() or path.startswith("~") or path[1:2] == ":":
        return "it is absolute"
    if "\\" in path:
        return "it has a backslash"
    if ".." in pure.parts:
        return "it climbs out with `..`"
    if ".git" in pure.parts or ".portspec" in pure.parts:
        return "it reaches into a folder that is not for sources"
    current = root
    for part in pure.parts:
        current = current / part
        if current.is_symlink() and not current.resolve().is_relative_to(root.resolve()):
            return f"{part} is a link that leads out of the tree"
    return None


def check(port: Port) -> Iterator[Diagnostic]:
    """E118 a path that leaves the tree."""
    for path, value in _paths(port):
        why = why_unsafe(value, port.tree.root)
        if why:
            remedy = "Give a path relative to the target tree's root, with forward slashes."
            yield port.complain("E118", f'the path "{value}" is refused: {why}', path, remedy)
    for name, component in port.spec.components.items():
        if component.port and component.port.source:
            place: KeyPath = ("components", name, "port", "source")
            yield from _beside(port, component.port.source, port.loaded.path.parent, place)
        if component.conversion and component.conversion.surface:
            place = ("components", name, "conversion", "surface")
            yield from _beside(port, component.conversion.surface, port.surface_folder(name), place)


def _beside(port: Port, file: str, folder: Path, place: KeyPath) -> Iterator[Diagnostic]:
    why = why_unsafe(file, folder)
    if why:
        remedy = "Put the file beside the spec and give its name."
        yield port.complain("E118", f'the path "{file}" is refused: {why}', place, remedy)


def _paths(port: Port) -> Iterator[tuple[tuple[str | int, ...], str]]:
    spec = port.spec
    if spec.weights:
        yield ("weights", "directory"), spec.weights.directory
    if spec.official.directory:
        yield ("official", "directory"), spec.official.directory
    for index, example in enumerate(spec.examples):
        yield ("examples", index, "file"), example.file
    for name, component in spec.components.items():
        if component.port:
            yield ("components", name, "port", "file"), component.port.file
        conversion = component.conversion
        for field in ("files", "assets"):
            for index, glob in enumerate(getattr(conversion, field, ())):
                yield ("components", name, "conversion", field, index), glob
        if component.instantiation and component.instantiation.config:
            yield ("components", name, "instantiation", "config"), component.instantiation.config
