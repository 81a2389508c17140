"""The pipeline config: a dataclass with every default that the spec states, and nothing inherited unseen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from portspec.codegen.emitters import Context
from portspec.codegen.facts import KINDS, PIPELINE_CONFIG_BASE
from portspec.codegen.imports import Imports
from portspec.codegen.index.configs import ConfigField, config_fields
from portspec.edits import Edit
from portspec.edits.import_name import ImportName
from portspec.edits.list_item import ListItem
from portspec.port import ResolvedComponent
from portspec.render import python
from portspec.spec import Sourced
from portspec.tree import ClassRef

_EXPORTS = "fastvideo/configs/pipelines/__init__.py"


@dataclass(frozen=True)
class Field:
    """One line of the dataclass."""

    name: str
    annotation: str
    default: str
    note: str = ""


def applies(context: Context) -> bool:
    """A port with a pipeline has a config."""
    return context.port.spec.pipeline is not None


def emit(context: Context) -> Iterator[Edit]:
    """Yield the module, and its exports from the bucket."""
    pipeline = context.port.spec.pipeline
    assert pipeline is not None
    base_ref = pipeline.config.base or PIPELINE_CONFIG_BASE
    base = context.index.tree.find_class(base_ref)
    assert base is not None, "rule E414 has seen to it"
    known = config_fields(context.index.tree, base)
    imports = Imports(context.names.config_module)
    imports.add("dataclasses", "dataclass")
    imports.add_ref(base_ref)
    groups = list(_groups(context, known, imports, base))
    subclasses = list(_subclasses(context, known, imports))
    yield context.file(
        __file__,
        context.names.config_path,
        "pipeline_config.py.jinja",
        "pipeline.config",
        imports=imports.render(),
        class_name=pipeline.config.class_,
        base=base.facts.name,
        groups=groups,
        post_init=list(_post_init(context)),
        subclasses=subclasses,
    )
    for name in (pipeline.config.class_, *(s["class_name"] for s in subclasses)):
        module = context.names.config_module
        statement = f"from {module} import {name}"
        yield ImportName(_EXPORTS, module, name, statement, "pipeline.config.class")
        yield ListItem(_EXPORTS, "__all__", python(name), "pipeline.config.class")


def _groups(
    context: Context, known: dict[str, ConfigField], imports: Imports, base: ClassRef
) -> Iterator[list[Field]]:
    """Yield the fields in blocks: one per component, then the pipeline's own."""
    pipeline = context.port.spec.pipeline
    assert pipeline is not None
    own = dict(pipeline.config.fields)
    encoders = [c for c in context.port.components.values() if c.spec.kind == "text_encoder"]
    for component in context.port.components.values():
        facts = KINDS[component.spec.kind]
        if component.spec.kind == "text_encoder" or facts.pipeline_field not in known:
            continue
        yield list(_component_fields(context, component, known, imports, base, own))
    if encoders:
        yield list(_encoder_fields(context, encoders, known, imports, base))
    rest = [_own(name, value, known, imports, base) for name, value in own.items()]
    if rest:
        yield rest


def _component_fields(
    context: Context,
    component: ResolvedComponent,
    known: dict[str, ConfigField],
    imports: Imports,
    base: ClassRef,
    own: dict[str, Sourced],
) -> Iterator[Field]:
    facts, spec = KINDS[component.spec.kind], component.spec
    config = _config_class(context, component, imports)
    assert facts.pipeline_field is not None
    imports.add("dataclasses", "field")
    annotation = imports.annotation(known[facts.pipeline_field], context.index.tree)
    yield Field(facts.pipeline_field, annotation, f"field(default_factory={config})")
    if spec.precision and facts.precision_field in known:
        yield Field(facts.precision_field, "str", python(spec.precision.value))
    if spec.decode_precision and "vae_decode_precision" in known:
        yield _own("vae_decode_precision", spec.decode_precision, known, imports, base)
    prefix = f"{component.name}_"
    for name in [n for n in own if n.startswith(prefix)]:
        yield _own(name, own.pop(name), known, imports, base)


def _config_class(context: Context, component: ResolvedComponent, imports: Imports) -> str:
    from portspec.codegen.emitters.arch_config import config_ref

    return imports.add_ref(component.spec.config or config_ref(context, component))


def _encoder_fields(
    context: Context,
    encoders: list[ResolvedComponent],
    known: dict[str, ConfigField],
    imports: Imports,
    base: ClassRef,
) -> Iterator[Field]:
    """Yield the four tuples that must be of equal length."""
    tree = context.index.tree
    configs = [f"{_config_class(context, e, imports)}()" for e in encoders]
    precisions = [python(e.spec.precision.value) for e in encoders if e.spec.precision]
    pre = [imports.add_ref(e.spec.preprocess or f"{base.module}:preprocess_text") for e in encoders]
    post = [
        imports.add_ref(e.spec.postprocess or f"{base.module}:postprocess_text") for e in encoders
    ]
    rows = {
        "text_encoder_configs": configs,
        "text_encoder_precisions": precisions,
        "preprocess_text_funcs": pre,
        "postprocess_text_funcs": post,
    }
    for name, values in rows.items():
        if name in known and values:
            default = f"field(default_factory=lambda: {_tuple(values)})"
            yield Field(name, imports.annotation(known[name], tree), default)


def _tuple(values: list[str]) -> str:
    return f"({values[0]}, )" if len(values) == 1 else f"({', '.join(values)})"


def _own(
    name: str, sourced: Sourced, known: dict[str, ConfigField], imports: Imports, base: ClassRef
) -> Field:
    field = known[name]
    annotation = imports.annotation(field, None, fallback_module=base.module)
    value: Any = sourced.value
    if isinstance(value, (list, dict)):
        imports.add("dataclasses", "field")
        return Field(
            name, annotation, f"field(default_factory=lambda: {python(value)})", _note(sourced)
        )
    return Field(name, annotation, python(value), _note(sourced))


def _note(sourced: Sourced) -> str:
    """Say where a value comes from, unless it is a decision of the spec."""
    if sourced.source.startswith("https://"):
        return sourced.source
    module, _, rest = sourced.source.partition(":")
    return f"{rest} ({module})" if rest else f"decision {module} in PORT_STATUS.md"


def _post_init(context: Context) -> Iterator[str]:
    for component in context.port.components.values():
        target = KINDS[component.spec.kind].pipeline_field
        for name, value in component.spec.config_fields.items():
            if component.spec.kind == "text_encoder":
                encoders = [
                    c.name
                    for c in context.port.components.values()
                    if c.spec.kind == "text_encoder"
                ]
                target = f"text_encoder_configs[{encoders.index(component.name)}]"
            yield f"self.{target}.{name} = {python(value)}"


def _subclasses(
    context: Context, known: dict[str, ConfigField], imports: Imports
) -> Iterator[dict[str, Any]]:
    pipeline, scope = context.port.spec.pipeline, context.port.spec.scope
    assert pipeline is not None
    base = context.index.tree.find_class(pipeline.config.base or PIPELINE_CONFIG_BASE)
    assert base is not None
    for variant in (scope.variants if scope else {}).values():
        if variant.config:
            rows = [_own(n, v, known, imports, base) for n, v in variant.config.fields.items()]
            yield {"class_name": variant.config.class_, "summary": variant.summary, "fields": rows}
