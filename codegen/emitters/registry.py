"""Registrations: the config import, the presets, and one call per entry, in an order that works.

Order is meaning in `_register_configs`: the first detector that fires wins. So the entries are tried in
every order, at the end and before the first registration that would take one of their checkpoints, and
the first arrangement is used in which all of them are found and nobody else's checkpoint moves.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice, permutations

from portspec.codegen.emitters import Context
from portspec.codegen.facts import REGISTRY
from portspec.codegen.format import formatted_statement
from portspec.codegen.index.predicates import compile_predicate
from portspec.codegen.index.registrations import Registration
from portspec.codegen.resolver import NEUTRAL_PATH, Resolver, probes
from portspec.edits import Edit
from portspec.edits.call_statement import CallStatement, Identity
from portspec.edits.import_name import ImportName
from portspec.edits.list_item import ListItem
from portspec.render import python
from portspec.spec import RegistryEntry

_MAX_ORDERS = 720


def applies(context: Context) -> bool:
    """A port with registry entries is registered."""
    return bool(context.port.spec.registry)


def emit(context: Context) -> Iterator[Edit]:
    """Yield the edits of registry.py."""
    names, spec = context.names, context.port.spec
    assert spec.pipeline is not None
    for class_name in sorted({_config_class(context, entry) for entry in spec.registry}):
        statement = f"from {names.config_module} import {class_name}"
        yield ImportName(
            REGISTRY, names.config_module, class_name, statement, "pipeline.config.class"
        )
    yield from _calls(context)
    if spec.presets:
        alias = f"ALL_PRESETS as {names.presets_alias}"
        statement = f"from {names.presets_module} import (\n    {alias}, )"
        function = "_register_presets"
        yield ImportName(REGISTRY, names.presets_module, alias, statement, "presets", function)
        yield ListItem(REGISTRY, "all_preset_groups", names.presets_alias, "presets", function)


def _config_class(context: Context, entry: RegistryEntry) -> str:
    spec = context.port.spec
    assert spec.pipeline is not None
    variant = spec.scope.variants.get(entry.variant) if spec.scope else None
    return variant.config.class_ if variant and variant.config else spec.pipeline.config.class_


def _calls(context: Context) -> Iterator[CallStatement]:
    entries = context.port.spec.registry
    order, before = arrange(context)
    follower = _identity_of(context, before) if before is not None else None
    group = ", ".join(entries[index].variant for index in order)
    for index in order:
        entry = entries[index]
        statement = formatted_statement(context.index.tree, call_source(context, entry), 4)
        yield CallStatement(
            REGISTRY,
            "_register_configs",
            "register_configs",
            _identity(context, entry),
            statement,
            f"registry[{index}]",
            comment=_comment(context, entry),
            before=follower,
            group=group,
        )


def _comment(context: Context, entry: RegistryEntry) -> str:
    title, summary = context.names.title, _summary(context, entry)
    return summary if summary.startswith(title) else f"{title}: {summary}"


def _summary(context: Context, entry: RegistryEntry) -> str:
    scope = context.port.spec.scope
    return scope.variants[entry.variant].summary if scope else entry.variant


def _identity(context: Context, entry: RegistryEntry) -> Identity:
    rows: list[tuple[str, str]] = []
    if entry.hub:
        rows.append(("hf_model_paths", python(entry.hub)))
    return (
        *rows,
        ("model_family", python(context.port.family)),
        ("default_preset", python(entry.preset)),
    )


def call_source(context: Context, entry: RegistryEntry) -> str:
    """Return the registration as source, in FastVideo's canonical keyword order."""
    rows = [
        "sampling_param_cls=None",
        f"pipeline_config_cls={_config_class(context, entry)}",
        f"workload_types={_workloads(entry)}",
    ]
    if entry.hub:
        rows.append(
            "hf_model_paths=[\n" + "".join(f"        {python(h)},\n" for h in entry.hub) + "    ]"
        )
    detectors = list(detector_sources(entry))
    if detectors:
        rows.append("model_detectors=[\n" + "".join(f"        {d},\n" for d in detectors) + "    ]")
    rows += [
        f"model_family={python(context.port.family)}",
        f"default_preset={python(entry.preset)}",
    ]
    pipeline = context.port.spec.pipeline
    if entry.pin_pipeline and pipeline:
        rows.append(f"pipeline_cls_name={python(pipeline.class_)}")
    return "register_configs(\n" + "".join(f"    {row},\n" for row in rows) + ")"


def _workloads(entry: RegistryEntry) -> str:
    names = [f"WorkloadType.{w}" for w in entry.workloads]
    return f"({names[0]}, )" if len(names) == 1 else f"({', '.join(names)})"


def detector_sources(entry: RegistryEntry) -> Iterator[str]:
    """Yield the detectors as lambdas: the words of a path, and the exact names of classes."""
    detect = entry.detect
    terms = [_every(detect.all), _some(detect.any), _no(detect.none)]
    if detect.all or detect.any:
        yield "lambda path: " + " and ".join(t for t in terms if t)
    for name in entry.class_names:
        yield f"lambda path: path.lower() == {python(name.lower())}"


def _every(words: Sequence[str]) -> str:
    if len(words) > 2:
        return f"all(token in path.lower() for token in {python(tuple(words))})"
    return " and ".join(f"{python(w)} in path.lower()" for w in words)


def _some(words: Sequence[str]) -> str:
    if len(words) == 1:
        return f"{python(words[0])} in path.lower()"
    return f"any(token in path.lower() for token in {python(tuple(words))})" if words else ""


def _no(words: Sequence[str]) -> str:
    if len(words) > 2:
        return f"not any(token in path.lower() for token in {python(tuple(words))})"
    return " and ".join(f"{python(w)} not in path.lower()" for w in words)


def arrange(context: Context) -> tuple[tuple[int, ...], Registration | None]:
    """Find an order of the entries, and the registration that they must precede, if any.

    Returns:
        Indexes of the spec's entries in the order to register them, and the follower; when no
        arrangement works, the spec's own order at the end, and the checks on the result say why.
    """
    others = [r for r in context.index.registrations if r.family != context.port.family]
    entries = [_as_registration(context, i, e) for i, e in enumerate(context.port.spec.registry)]
    orders = list(islice(permutations(range(len(entries))), _MAX_ORDERS))
    for position in _positions(context, entries, others):
        for order in orders:
            arranged = [*others[:position], *(entries[i] for i in order), *others[position:]]
            if _is_sound(context, arranged, others):
                follower = others[position] if position < len(others) else None
                return order, follower
    return tuple(range(len(entries))), None


def _positions(
    context: Context, entries: Sequence[Registration], others: Sequence[Registration]
) -> Iterator[int]:
    """Yield where to try: the end, then before the first that would take one of our checkpoints."""
    yield len(others)
    texts = [
        text.lower()
        for entry in context.port.spec.registry
        for hub in entry.hub
        for probe in probes(hub, _class_name(context))
        for text in (probe.path, probe.class_name)
    ]
    taker = next(
        (i for i, other in enumerate(others) if any(other.fires_on(t) for t in texts)), None
    )
    if taker is not None and entries:
        yield taker
    yield 0


def _class_name(context: Context) -> str:
    pipeline = context.port.spec.pipeline
    return pipeline.definition.rpartition(":")[2] if pipeline else ""


def _as_registration(context: Context, index: int, entry: RegistryEntry) -> Registration:
    detectors = [ast.parse(source, mode="eval").body for source in detector_sources(entry)]
    pipeline = context.port.spec.pipeline
    return Registration(
        index=index,
        line=0,
        config=_config_class(context, entry),
        workloads=tuple(entry.workloads),
        hub=tuple((hub, 0) for hub in entry.hub),
        detectors=tuple(compile_predicate(d, {}) for d in detectors),
        family=context.port.family,
        preset=entry.preset,
        pipeline=pipeline.class_ if entry.pin_pipeline and pipeline else None,
        sampling=None,
    )


def _is_sound(
    context: Context, arranged: Sequence[Registration], others: Sequence[Registration]
) -> bool:
    resolver = Resolver([replace(r, index=i) for i, r in enumerate(arranged)])
    class_name = _class_name(context)
    for entry in context.port.spec.registry:
        wanted = (context.port.family, entry.preset)
        found = [
            resolver.resolve(p.path, p.class_name)
            for hub in entry.hub
            for p in probes(hub, class_name)
        ]
        found += [resolver.resolve(NEUTRAL_PATH, name) for name in entry.class_names]
        if any(r is None or (r.family, r.preset) != wanted for r in found):
            return False
    before = Resolver([replace(r, index=i) for i, r in enumerate(others)])
    for path, name in _foreign_probes(context, others):
        old, new = before.resolve(path, name), resolver.resolve(path, name)
        if old is not None and (new is None or new.effect != old.effect):
            return False
    return True


def _foreign_probes(context: Context, others: Sequence[Registration]) -> Iterator[tuple[str, str]]:
    for other in others:
        for hub, _ in other.hub:
            for probe in probes(hub, ""):
                yield probe.path, probe.class_name
    for name in context.index.class_names:
        if name != _class_name(context):
            yield NEUTRAL_PATH, name


def _identity_of(context: Context, registration: Registration) -> Identity:
    """Describe an existing call by all of its plain keywords, so that no other call fits."""
    for node in ast.walk(context.index.tree.ast(REGISTRY)):
        if isinstance(node, ast.Call) and node.lineno == registration.line:
            plain = (
                "pipeline_config_cls",
                "hf_model_paths",
                "model_family",
                "default_preset",
                "pipeline_cls_name",
            )
            return tuple((k.arg, ast.unparse(k.value)) for k in node.keywords if k.arg in plain)
    return (("default_preset", python(registration.preset)),)
