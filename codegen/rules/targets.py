"""Native classes and configs exist, fit their kind, and take the published config key for key."""

from __future__ import annotations

from collections.abc import Iterator

from portspec.codegen.facts import KINDS, LOADER_KEYS
from portspec.codegen.index import FastVideoIndex
from portspec.codegen.index.configs import arch_class, config_fields
from portspec.errors import Diagnostic
from portspec.port import Port, ResolvedComponent
from portspec.provenance import same
from portspec.pyfacts import literal
from portspec.suggest import did_you_mean
from portspec.tree import ClassRef, Tree

_OFFICIAL_LIBRARIES = ("diffusers", "transformers")


def check(port: Port, index: FastVideoIndex) -> Iterator[Diagnostic]:
    """E410-E412 config fields, E413-E415 classes, E416 file, E417 trivial parity, E418 class name."""
    for component in port.components.values():
        path = ("components", component.name)
        yield from _native(port, index, component)
        config = _config(index.tree, component)
        if component.spec.config and config is None and not component.spec.port:
            yield _not_found(port, index.tree, component.spec.config, (*path, "config"), "E414")
        if config is None:
            continue
        base = KINDS[component.spec.kind].config_base
        if base and not index.tree.is_subclass(config, [base]):
            message = f"{config.facts.name} is no {base}, so the {component.spec.kind} loader cannot use it"
            remedy = (
                f"Name a config from fastvideo/configs/models/{KINDS[component.spec.kind].bucket}/."
            )
            yield port.complain("E415", message, (*path, "config"), remedy)
        arch = arch_class(index.tree, config)
        if arch and component.is_stateful:
            yield from _fields(port, index.tree, component, arch)


def _config(tree: Tree, component: ResolvedComponent) -> ClassRef | None:
    return tree.find_class(component.spec.config) if component.spec.config else None


def _native(
    port: Port, index: FastVideoIndex, component: ResolvedComponent
) -> Iterator[Diagnostic]:
    path, spec = ("components", component.name), component.spec
    if spec.reuse:
        found = index.tree.find_class(spec.reuse)
        if found is None:
            yield _not_found(port, index.tree, spec.reuse, (*path, "reuse"), "E413")
        elif _wraps(index.tree, found, (spec.definition or ":").rpartition(":")[2]):
            message = f"{found.facts.name} is itself a subclass of the official class"
            remedy = (
                "Comparing it with its own base proves nothing; name another reference, or port it."
            )
            yield port.complain("E417", message, (*path, "reuse"), remedy, "K10")
    if spec.port and spec.port.file not in port.scaffolds and not index.tree.exists(spec.port.file):
        message = f"the network {spec.port.file} is not in the tree"
        remedy = "Write it there, or name the file to install as `port.source`."
        yield port.complain("E416", message, (*path, "port", "file"), remedy)
    yield from _class_name(port, index, component)
    if component.is_stateful and not spec.config and not spec.port:
        remedy = f"Add `config:`, a {KINDS[spec.kind].config_base} of the tree."
        yield port.complain(
            "E414", f"{component.name} names no config class", path, remedy, key=True
        )


def _class_name(
    port: Port, index: FastVideoIndex, component: ResolvedComponent
) -> Iterator[Diagnostic]:
    """The class name in the checkpoint must lead to the native class and not to another family's."""
    pipeline = port.spec.pipeline
    replaced = pipeline and pipeline.scheduler and pipeline.scheduler.component == component.name
    if not component.spec.reuse or replaced or KINDS[component.spec.kind].table is None:
        return
    native, leads_to = (
        index.tree.find_class(component.spec.reuse),
        index.model_class(component.class_name),
    )
    if native and leads_to and native.ref != leads_to.ref:
        message = f"checkpoints of class {component.class_name} load as {leads_to.ref}, not as {native.ref}"
        remedy = "Reuse the class that is loaded, or name the checkpoint's class otherwise with `class_name`."
        yield port.complain("E418", message, ("components", component.name, "reuse"), remedy, "K1")


def _wraps(tree: Tree, found: ClassRef, official: str) -> bool:
    """Tell whether the native class, or a base of it, derives from the official class itself."""
    for base in tree.bases(found):
        imported = tree.module(base.path).imported
        for name in base.facts.bases:
            source = imported.get(name.split(".")[0])
            outside = source and source.module.split(".")[0] in _OFFICIAL_LIBRARIES
            if outside and source and official in (source.symbol, name.split(".")[-1]):
                return True
    return False


def _not_found(
    port: Port, tree: Tree, ref: str, path: tuple[str | int, ...], code: str
) -> Diagnostic:
    module, _, name = ref.partition(":")
    file = tree.path_of(module)
    if file is None:
        parent = module.rpartition(".")[0]
        siblings = [
            p.removesuffix(".py").replace("/", ".")
            for p in tree.paths(parent.replace(".", "/") + "/")
        ]
        remedy = did_you_mean(module, siblings, "Give the module as it is imported in the tree.")
        return port.complain(code, f"the target has no module {module}", path, remedy)
    remedy = did_you_mean(
        name, tree.module(file).classes, f"{file} defines {', '.join(tree.module(file).classes)}."
    )
    return port.complain(code, f"{module} does not define {name}", path, remedy)


def _fields(
    port: Port, tree: Tree, component: ResolvedComponent, arch: ClassRef
) -> Iterator[Diagnostic]:
    """Hold the published config against the fields it is loaded into, in both directions."""
    instantiation, definition = component.spec.instantiation, component.constructor
    if instantiation is None:
        return
    fields = {n: f for n, f in config_fields(tree, arch).items() if f.annotated}
    base = ("components", component.name, "instantiation")
    for name in instantiation.args:
        if name not in fields and name not in instantiation.absent and name not in LOADER_KEYS:
            remedy = did_you_mean(
                name,
                fields,
                f"FastVideo drops unknown keys silently; say under `absent` why {name} may be dropped.",
            )
            message = f"{arch.facts.name} has no field for the published {name}"
            yield port.complain("E410", message, (*base, "args", name), remedy, "K3", key=True)
    for name in instantiation.absent:
        if name in fields:
            message = f"{arch.facts.name} does have a field {name}"
            yield port.complain(
                "E411", message, (*base, "absent", name), "Take it off `absent`.", "K3", key=True
            )
        elif name not in instantiation.args:
            message = f"{name} is absent from the target, and its published value is not stated"
            yield port.complain(
                "E411", message, (*base, "absent", name), "Add it to `args`.", "K3", key=True
            )
    for parameter in definition.parameters if definition else ():
        field = fields.get(parameter.name)
        if field is None or parameter.name in instantiation.args or parameter.name in LOADER_KEYS:
            continue
        try:
            official, native = literal(parameter.default), literal(field.default)
        except ValueError:
            continue
        if not same(official, native):
            name = arch.facts.name
            message = f"{parameter.name} is not stated: officially it is {official!r}, in {name} {native!r}"
            remedy = f"Add `{parameter.name}` to `args` with the published value."
            yield port.complain("E412", message, (*base, "args"), remedy, "K3", key=True)
