"""Conversions hold on the published names and shapes, where the spec knows them (K15)."""

from __future__ import annotations

from collections.abc import Iterator

from portspec.errors import Diagnostic
from portspec.port import Port, ResolvedComponent
from portspec.rules.paths import why_unsafe
from portspec.spec import Conversion


def check(port: Port) -> Iterator[Diagnostic]:
    """E540 no surface, and what a certificate finds: E503, E505 to E507, E530 to E532."""
    for component in port.components.values():
        conversion = component.spec.conversion
        if conversion and conversion.surface and not port.spec.abstract:
            yield from _surface(port, component, conversion)


def _surface(
    port: Port, component: ResolvedComponent, conversion: Conversion
) -> Iterator[Diagnostic]:
    from portspec.weights.certificate import certify
    from portspec.weights.conversion import own_names, rules_of
    from portspec.weights.engine.tensors import WeightsError
    from portspec.weights.surface import read_surface

    assert conversion.surface
    path = ("components", component.name, "conversion", "surface")
    if why_unsafe(conversion.surface, port.surface_folder(component.name)):
        return  # another rule says so
    try:
        surface = own_names(read_surface(port.surfaces[component.name]), component)
    except WeightsError as error:
        yield port.complain(
            error.code, f"{conversion.surface}: {error.message}", path, error.remedy
        )
        return
    for variant in component.args:
        try:
            rules = rules_of(component, variant)
            found = certify(surface, None, rules.set)
        except ValueError:
            return  # E149 says so
        for finding in found.findings:
            if finding.code.startswith("E"):
                place = rules.paths[finding.rule] if finding.rule >= 0 else path
                remedy = "`portspec map show` lists where each tensor goes."
                yield port.complain(finding.code, finding.message, place, remedy, "K15")
