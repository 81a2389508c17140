"""Resolve: a spec, the official source and the target tree -> a `Port`, in which nothing is left open.

After this step nobody asks "if the author said so": inheritance is done, each variant has its own full
arguments, every official reference has been looked up, and each value can still say where it came from.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from portspec.cache import Cache
from portspec.errors import Diagnostic, Place
from portspec.language import LoadedSpec
from portspec.load import Marks
from portspec.official import Definition, OfficialSource
from portspec.spec import Component, PortSpec, Rule
from portspec.tree import Tree


@dataclass(frozen=True)
class ResolvedComponent:
    """A component with what was found for it."""

    name: str
    spec: Component
    definition: Definition | None
    config_definition: Definition | None
    args: Mapping[str, Mapping[str, Any]]  # variant -> full published constructor arguments

    @property
    def constructor(self) -> Definition | None:
        """The definition whose parameters the published arguments are: a config class, or the class."""
        return self.config_definition or self.definition

    @property
    def is_stateful(self) -> bool:
        """It has weights."""
        return self.spec.kind not in ("tokenizer", "processor", "scheduler")

    @property
    def library(self) -> str:
        """The library token of model_index.json: the official class's top package."""
        return (self.spec.definition or "").partition(":")[0].partition(".")[0]

    @property
    def class_name(self) -> str:
        """Class name in the published checkpoint."""
        return self.spec.class_name or (self.spec.definition or ":").rpartition(":")[2]

    @property
    def native(self) -> str | None:
        """The native class, as `module:Class`, reused or ported."""
        if self.spec.port:
            module = self.spec.port.file.removesuffix(".py").replace("/", ".")
            return f"{module}:{self.spec.port.class_}"
        return self.spec.reuse

    @property
    def reduced_args(self) -> dict[str, Any]:
        """Constructor arguments of the small checkpoint."""
        instantiation = self.spec.instantiation
        return {**(instantiation.args if instantiation else {}), **self.spec.reduced}

    @property
    def mapping(self) -> tuple[Rule, ...]:
        """The spec's own rename rules; a reused class brings its own."""
        return tuple(self.spec.mapping)


@dataclass(frozen=True)
class Port:
    """Everything that is known before a byte is written."""

    loaded: LoadedSpec
    official: OfficialSource
    tree: Tree
    components: Mapping[str, ResolvedComponent]
    scaffolds: Mapping[str, str]  # path in the target -> text of the file beside the spec

    @property
    def spec(self) -> PortSpec:
        """The validated spec."""
        return self.loaded.spec

    @property
    def marks(self) -> Marks:
        """Where each value stands."""
        return self.loaded.marks

    @property
    def scaffold_sources(self) -> list[str]:
        """Files beside the spec that it installs, whether or not they are there."""
        ports = (component.port for component in self.spec.components.values())
        return [port.source for port in ports if port and port.source]

    @property
    def surfaces(self) -> dict[str, Path]:
        """Files that hold published names and shapes, by component, whether or not they are there."""
        return {
            name: self.surface_folder(name) / component.conversion.surface
            for name, component in self.spec.components.items()
            if component.conversion and component.conversion.surface
        }

    def surface_folder(self, component: str) -> Path:
        """Return where the surface of a component is looked for: beside the spec that names it."""
        return self.loaded.folder_of("components", component, "conversion", "surface")

    @property
    def family(self) -> str:
        """The family's name."""
        return self.spec.family

    @cached_property
    def definitions(self) -> dict[str, Definition]:
        """Every official definition that the spec names and that was found, by reference."""
        found = (self.official.find(ref) for _, ref in self.references())
        return {d.ref: d for d in found if d}

    def references(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """Yield (path in the spec, reference) for each official definition that the spec names."""
        for name, component in self.spec.components.items():
            base = ("components", name)
            if component.definition:
                yield (*base, "definition"), component.definition
            if component.instantiation:
                yield (*base, "instantiation", "at"), component.instantiation.at
                if component.instantiation.config_class:
                    yield (
                        (*base, "instantiation", "config_class"),
                        component.instantiation.config_class,
                    )
        if self.spec.pipeline:
            yield ("pipeline", "definition"), self.spec.pipeline.definition
            yield ("pipeline", "call"), self.spec.pipeline.call

    def at(self, *path: str | int) -> Place:
        """Return the place of a value."""
        return self.marks.at(*path)

    def complain(
        self,
        code: str,
        message: str,
        path: tuple[str | int, ...],
        remedy: str = "",
        check: str = "",
        *,
        key: bool = False,
    ) -> Diagnostic:
        """Make a diagnostic about a value of the spec, or about its key."""
        place = self.marks.key(*path) if key else self.marks.at(*path)
        return Diagnostic(code, message, place, remedy, check)


def resolve(loaded: LoadedSpec, tree: Tree, cache: Cache) -> Port:
    """Look up everything that the spec refers to; what is missing is for the rules to say."""
    spec = loaded.spec
    pins = dict(p.split("==", 1) for p in spec.official.packages)
    official = OfficialSource(pins, _clone(spec, tree), cache)
    components = {
        name: _component(name, component, spec, official)
        for name, component in spec.components.items()
    }
    return Port(loaded, official, tree, components, dict(_scaffolds(loaded)))


def _scaffolds(loaded: LoadedSpec) -> Iterator[tuple[str, str]]:
    """Read the hand-written files that stand beside the spec; missing ones are for the rules to report."""
    for component in loaded.spec.components.values():
        if component.port and component.port.source:
            path = loaded.path.parent / component.port.source
            with suppress(OSError, ValueError):
                yield component.port.file, path.read_text(encoding="utf-8")


def _clone(spec: PortSpec, tree: Tree) -> Path | None:
    folder = spec.official.directory
    if folder is None or Path(folder).is_absolute() or ".." in Path(folder).parts:
        return None
    path = tree.root / folder
    source = path / "src"
    return source if os.path.isdir(source) else path  # noqa: PTH112 - a name may be too long


def _component(
    name: str, component: Component, spec: PortSpec, official: OfficialSource
) -> ResolvedComponent:
    instantiation = component.instantiation
    published = instantiation.args if instantiation else {}
    variants = spec.scope.variants if spec.scope else {}
    args: dict[str, Mapping[str, Any]] = {}
    for variant_name, variant in variants.items():
        own = variant.components.get(name)
        args[variant_name] = {**published, **(own.args if own else {})}
    config_class = instantiation.config_class if instantiation else None
    return ResolvedComponent(
        name,
        component,
        official.find(component.definition) if component.definition else None,
        official.find(config_class) if config_class else None,
        args or {"": published},
    )
