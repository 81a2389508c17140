"""The arch config of a ported component: the published config key for key, and the name mapping.

A reused component brings its own; then nothing is emitted here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from portspec.codegen.emitters import Context
from portspec.codegen.facts import KINDS
from portspec.codegen.imports import Imports
from portspec.edits import Edit
from portspec.edits.import_name import ImportName
from portspec.edits.list_item import ListItem
from portspec.port import ResolvedComponent
from portspec.render import python
from portspec.spec import Rule

_SUFFIX = {
    "dit": "DiT",
    "vae": "VAE",
    "text_encoder": "TextEncoder",
    "image_encoder": "ImageEncoder",
}
_TYPES = {bool: "bool", int: "int", float: "float", str: "str"}


def applies(context: Context) -> bool:
    """Only ported components need one."""
    return any(c.spec.port and c.is_stateful for c in context.port.components.values())


def config_ref(context: Context, component: ResolvedComponent) -> str:
    """Return where the outer config of a ported component goes, as `module:Class`."""
    module = context.names.arch_config_module(KINDS[component.spec.kind].bucket)
    return f"{module}:{_pascal(context)}{_SUFFIX.get(component.spec.kind, '')}Config"


def _pascal(context: Context) -> str:
    pipeline = context.port.spec.pipeline
    if pipeline and pipeline.class_.endswith("Pipeline"):
        return pipeline.class_.removesuffix("Pipeline")
    return "".join(word.capitalize() for word in context.port.family.split("_"))


def emit(context: Context) -> Iterator[Edit]:
    """Yield one module per ported component, and its export from the bucket."""
    for component in context.port.components.values():
        if component.spec.port and component.is_stateful:
            yield from _component(context, component)


def _component(context: Context, component: ResolvedComponent) -> Iterator[Edit]:
    facts = KINDS[component.spec.kind]
    module, _, name = (component.spec.config or config_ref(context, component)).partition(":")
    path = module.replace(".", "/") + ".py"
    arch = name.removesuffix("Config") + "ArchConfig"
    imports = Imports(module)
    imports.add("dataclasses", "dataclass")
    imports.add("dataclasses", "field")
    base_module = f"fastvideo.configs.models.{facts.bucket}.base"
    imports.add(base_module, facts.config_base)
    imports.add(base_module, facts.arch_base)
    port = component.spec.port
    assert port is not None
    item = f"components.{component.name}"
    yield context.file(
        __file__,
        path,
        "arch_config.py.jinja",
        item,
        imports=imports.render(),
        component=component,
        arch=arch,
        config=name,
        bases=facts,
        is_block=f"is_{context.port.family}_block",
        blocks=tuple(port.shard_blocks) if component.spec.kind == "dit" else (),
        mapping=[_row(rule) for rule in component.spec.mapping],
        fields=list(_fields(component)),
        derived=[(key, _with_self(component, text)) for key, text in port.derived.items()],
        prefix=port.prefix,
    )
    exports = f"fastvideo/configs/models/{facts.bucket}/__init__.py"
    yield ImportName(exports, module, name, f"from {module} import {name}", item)
    yield ListItem(exports, "__all__", python(name), item)


def _row(rule: Rule) -> tuple[str, str]:
    target = _raw(rule.to)
    return _raw(rule.match), f"({target}, {rule.fuse[0]}, {rule.fuse[1]})" if rule.fuse else target


def _raw(text: str) -> str:
    """Return a text as a raw string literal, as FastVideo writes patterns."""
    is_raw = not set('"\n') & set(text) and not text.endswith("\\")
    return f'r"{text}"' if is_raw else python(text)


def _fields(component: ResolvedComponent) -> Iterator[tuple[str, str, str]]:
    instantiation, definition = component.spec.instantiation, component.constructor
    for name, value in (instantiation.args if instantiation else {}).items():
        parameter = definition.parameter(name) if definition else None
        annotation = _annotation(value, parameter.annotation if parameter else None)
        if isinstance(value, list):
            value = tuple(value)
        if isinstance(value, dict):
            yield name, annotation, f"field(default_factory=lambda: {python(value)})"
        else:
            yield name, annotation, python(value)


def _annotation(value: Any, official: str | None) -> str:
    """Choose an annotation: the official one where it names builtins, else the value's own type."""
    text = (official or "").replace("typing.", "")
    text = re.sub(r"Optional\[(.+)\]$", r"\1 | None", text)
    text = re.sub(r"\b[Tt]uple\[(\w+)\]", r"tuple[\1, ...]", text)
    if text and re.fullmatch(
        r"(int|float|bool|str|tuple\[(int|float|bool|str), \.\.\.\])( \| None)?", text
    ):
        return text
    if isinstance(value, list):
        kinds = {type(v) for v in value}
        inner = _TYPES.get(kinds.pop(), "object") if len(kinds) == 1 else "object"
        return f"tuple[{inner}, ...]"
    if isinstance(value, dict):
        return "dict"
    return _TYPES.get(type(value), "object | None")


def _with_self(component: ResolvedComponent, expression: str) -> str:
    """Turn field names of a declared expression into attributes."""
    instantiation = component.spec.instantiation
    names = [
        *(instantiation.args if instantiation else {}),
        *(component.spec.port.derived if component.spec.port else {}),
    ]
    return re.sub(
        r"\b[A-Za-z_]\w*\b", lambda m: f"self.{m[0]}" if m[0] in names else m[0], expression
    )
