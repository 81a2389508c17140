"""Config dataclasses: the fields they end up with, and the loader table that reads them."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from portspec.tree import ClassRef, Tree

LOADERS = "fastvideo/models/loader/component_loader.py"


@dataclass(frozen=True)
class ConfigField:
    """A field as the nearest class in the chain declares it; `annotated` is False for plain attributes."""

    name: str
    annotation: str | None
    default: str | None
    owner: str
    path: str
    line: int

    @property
    def annotated(self) -> bool:
        """A dataclass field proper, which `config.json` can overwrite."""
        return self.annotation is not None


def config_fields(tree: Tree, found: ClassRef) -> dict[str, ConfigField]:
    """Return the effective fields of a dataclass, base classes first, the nearest declaration winning."""
    fields: dict[str, ConfigField] = {}
    for base in reversed(list(tree.bases(found))):
        for field in base.facts.fields:
            earlier = fields.get(field.name)
            fields[field.name] = ConfigField(
                field.name,
                field.annotation or (earlier.annotation if earlier else None),
                field.value,
                base.facts.name,
                base.path,
                field.line,
            )
    return fields


def arch_class(tree: Tree, config: ClassRef) -> ClassRef | None:
    """Find the arch config that an outer config builds by default."""
    field = config_fields(tree, config).get("arch_config")
    if field is None or field.default is None:
        return None
    call = ast.parse(field.default, mode="eval").body
    names = [
        k.value.id
        for k in (call.keywords if isinstance(call, ast.Call) else ())
        if k.arg == "default_factory" and isinstance(k.value, ast.Name)
    ]
    if not names:
        return None
    owner = next(b for b in tree.bases(config) if b.facts.name == field.owner)
    return tree.find_class(f"{owner.module}:{names[0]}")


@dataclass(frozen=True)
class LoaderRow:
    """How a checkpoint's component is loaded: loader class, and the library token it insists on."""

    component: str
    loader: str
    library: str
    line: int


def read_loaders(tree: Tree) -> dict[str, LoaderRow]:
    """Read `module_loaders` from the component loader."""
    if not tree.exists(LOADERS):
        return {}
    for node in ast.walk(tree.ast(LOADERS)):
        match node:
            case ast.Assign(targets=[ast.Name(id="module_loaders")], value=ast.Dict() as table):
                return {row.component: row for row in _loader_rows(table)}
    return {}


def _loader_rows(table: ast.Dict) -> list[LoaderRow]:
    rows = []
    for key, value in zip(table.keys, table.values, strict=True):
        match key, value:
            case (
                ast.Constant(value=str(name)),
                ast.Tuple(elts=[ast.Name(id=loader), ast.Constant(value=str(library))]),
            ):
                rows.append(LoaderRow(name, loader, library, key.lineno))
    return rows
