"""The official source: installed at the pinned version, and saying what the spec says it does."""

from __future__ import annotations

from collections.abc import Iterator

from portspec.errors import Diagnostic
from portspec.official import REF
from portspec.port import Port, ResolvedComponent
from portspec.suggest import did_you_mean


def check(port: Port) -> Iterator[Diagnostic]:
    """E401-E404 where the source is, E405-E407 its signatures, E408 environment, E148 own arguments."""
    yield from _packages(port)
    missing = {p.name for p in port.official.packages if not p.installed}
    for path, ref in port.references():
        yield from _reference(port, path, ref, missing)
    for component in port.components.values():
        yield from _arguments(port, component)
        yield from _own_arguments(port, component.name)


def _own_arguments(port: Port, name: str) -> Iterator[Diagnostic]:
    """A class of its own has published arguments of its own; another model's would prove another size."""
    states = port.loaded.states
    instantiation = port.spec.components[name].instantiation
    own = states("components", name, "instantiation", "args")
    if (
        states("components", name, "definition")
        and instantiation
        and instantiation.args
        and not own
    ):
        message = (
            f"{name} is a class of its own, and takes its published arguments from another spec"
        )
        remedy = "State `instantiation.args` from this model's own config.json."
        path = ("components", name, "definition")
        yield port.complain("E148", message, path, remedy, "K4")


def _packages(port: Port) -> Iterator[Diagnostic]:
    official = port.spec.official
    if not official.packages and not official.repository:
        remedy = "Add `packages: [name==version]`, or `repository` with `commit` and `directory`."
        yield port.complain("E401", "no official source is named", ("official",), remedy, key=True)
    if official.repository and not (official.commit and official.directory):
        remedy = (
            "Pin `commit` and name the clone's `directory`, so that everybody reads the same code."
        )
        message = "the official repository is not pinned"
        yield port.complain("E402", message, ("official", "repository"), remedy)
    if official.environment == "blocked":
        remedy = "Make the official code import, or list its private dependencies as `stubs`."
        message = "the official code does not import, so nothing can be proved against it"
        yield port.complain("E408", message, ("official", "environment"), remedy)
    for index, package in enumerate(port.official.packages):
        path = ("official", "packages", index)
        if package.installed is None:
            remedy = f'Install it beside portspec: pip install "{package.name}=={package.pinned}".'
            yield port.complain("E401", f"{package.name} is not installed here", path, remedy)
        elif package.installed != package.pinned:
            install = f'pip install "{package.name}=={package.pinned}"'
            remedy = f"Run {install}, or pin {package.installed} after reading what changed."
            message = (
                f"{package.name} {package.installed} is installed, the spec pins {package.pinned}"
            )
            yield port.complain("E402", message, path, remedy)


def _reference(
    port: Port, path: tuple[str | int, ...], ref: str, missing: set[str]
) -> Iterator[Diagnostic]:
    if any(ref.startswith(name.replace("-", "_")) for name in missing):
        return  # said once, for the package
    found = port.official.find(ref)
    matched = REF.match(ref)
    if found is None and not port.official.has_module(ref):
        remedy = (
            "Give the module as Python imports it, from the packages or the clone under `official`."
        )
        yield port.complain(
            "E403", f"the official source has no module {ref.partition(':')[0]}", path, remedy
        )
    elif found is None:
        module, _, symbol = ref.partition(":")
        symbols = port.official.symbols(ref)
        name = symbol.partition("(")[0]
        remedy = did_you_mean(name, symbols, f"It defines {', '.join(symbols[:8])}.")
        yield port.complain("E404", f"{module} does not define {name}", path, remedy)
    elif matched and matched["parameter"] and not found.parameter(matched["parameter"]):
        names = [p.name for p in found.parameters]
        remedy = did_you_mean(matched["parameter"], names, f"Its parameters: {', '.join(names)}.")
        message = f"{found.ref} has no parameter {matched['parameter']}"
        yield port.complain("E407", message, path, remedy)


def _arguments(port: Port, component: ResolvedComponent) -> Iterator[Diagnostic]:
    """Check the published arguments, the variants' and the reduced ones against the signature."""
    definition, instantiation = component.constructor, component.spec.instantiation
    if definition is None or instantiation is None or definition.kind != "class":
        return
    names = [p.name for p in definition.parameters]
    base: tuple[str | int, ...] = ("components", component.name)
    groups: list[tuple[tuple[str | int, ...], list[str]]] = [
        ((*base, "instantiation", "args"), list(instantiation.args)),
        ((*base, "reduced"), list(component.spec.reduced)),
    ]
    for variant_name, variant in (port.spec.scope.variants if port.spec.scope else {}).items():
        own = variant.components.get(component.name)
        if own:
            groups.append(
                (
                    ("scope", "variants", variant_name, "components", component.name, "args"),
                    list(own.args),
                )
            )
    for path, given in groups:
        for name in given:
            if name not in names and not definition.takes_anything:
                remedy = did_you_mean(name, names, f"It takes {', '.join(names)}.")
                message = f"{definition.ref.partition(':')[2]} takes no argument {name}"
                yield port.complain("E405", message, (*path, name), remedy, key=True)
    if not component.is_stateful:
        return
    for parameter in definition.parameters:
        if parameter.required and parameter.name not in instantiation.args:
            message = f"{definition.ref.partition(':')[2]} needs the argument {parameter.name}"
            remedy = "Add it to `args` with the published value."
            yield port.complain("E406", message, (*base, "instantiation", "args"), remedy, key=True)
    for name in component.spec.reduced:
        if name not in instantiation.args and name in names:
            message = f"{name} is reduced although its published value is not stated"
            remedy = "Reduce what the published config holds; if that has it, add it to `instantiation.args`."
            yield port.complain("E133", message, (*base, "reduced", name), remedy, key=True)
