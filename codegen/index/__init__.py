"""What a FastVideo tree says, read by parsing: one facade over the readers beside it."""

from __future__ import annotations

from functools import cached_property

from portspec.codegen.index.configs import LoaderRow, read_loaders
from portspec.codegen.index.models import (
    MODELS,
    EntryClass,
    ModelRow,
    read_entry_classes,
    read_model_rows,
)
from portspec.codegen.index.pipelines import PipelineClass, read_pipelines
from portspec.codegen.index.presets import Preset, PresetGroup, read_preset_groups, read_presets
from portspec.codegen.index.registrations import REGISTRY, Registration, read_registrations
from portspec.tree import ClassRef, Tree


class FastVideoIndex:
    """The registrations, classes, presets and tables of one tree, each read once and on demand."""

    def __init__(self, tree: Tree) -> None:
        tree.list_files()
        self.tree = tree

    @cached_property
    def registrations(self) -> tuple[Registration, ...]:
        """Registrations, in order of detection."""
        return read_registrations(self.tree)

    @cached_property
    def presets(self) -> tuple[Preset, ...]:
        """Presets of all families, registered or not."""
        return read_presets(self.tree)

    @cached_property
    def preset_groups(self) -> tuple[PresetGroup, ...]:
        """Families whose presets the registry imports."""
        return read_preset_groups(self.tree)

    @cached_property
    def pipelines(self) -> tuple[PipelineClass, ...]:
        """Pipeline classes that the framework discovers."""
        return read_pipelines(self.tree)

    @cached_property
    def model_rows(self) -> tuple[ModelRow, ...]:
        """Rows of the model registry's tables."""
        return read_model_rows(self.tree)

    @cached_property
    def entry_classes(self) -> tuple[EntryClass, ...]:
        """Model classes declared with `EntryClass`."""
        return read_entry_classes(self.tree, MODELS, defining=True)

    @cached_property
    def loaders(self) -> dict[str, LoaderRow]:
        """Component name -> loader."""
        return read_loaders(self.tree)

    @property
    def registered_presets(self) -> tuple[Preset, ...]:
        """Presets that the registry really registers."""
        modules = {g.module for g in self.preset_groups if g.used}
        return tuple(p for p in self.presets if p.listed and _module(p.path) in modules)

    @cached_property
    def class_names(self) -> dict[str, PipelineClass]:
        """Pipeline classes by name; a later duplicate wins, as in the framework."""
        return {p.name: p for p in self.pipelines}

    @cached_property
    def _model_refs(self) -> dict[str, str]:
        rows = {row.key: row.ref for row in self.model_rows}
        return rows | {e.name: f"{_module(e.path)}:{e.name}" for e in self.entry_classes}

    def model_ref(self, class_name: str) -> tuple[str, str] | None:
        """Return (module, name) of the native class that a checkpoint's `_class_name` leads to."""
        ref = self._model_refs.get(class_name)
        return self.tree.locate(ref) if ref else None

    def model_class(self, class_name: str) -> ClassRef | None:
        """Find the native class that a checkpoint's `_class_name` leads to."""
        ref = self._model_refs.get(class_name)
        return self.tree.find_class(ref) if ref else None

    def config_class(self, registration: Registration) -> ClassRef | None:
        """Find the pipeline config class of a registration."""
        if registration.config is None:
            return None
        module = REGISTRY.removesuffix(".py").replace("/", ".")
        return self.tree.find_class(f"{module}:{registration.config}")


def _module(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
