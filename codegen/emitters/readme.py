"""The family's README.md under tests/local_tests: set-up, assets and the log of verification."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from portspec.codegen.emitters import Context
from portspec.codegen.emitters.port_status import command, component_status, evidence, pipeline_rows
from portspec.edits import Edit

REPORTS = True


def applies(context: Context) -> bool:
    """Every port that is built."""
    return not context.port.spec.abstract


def emit(context: Context) -> Iterator[Edit]:
    """Yield the file."""
    spec = context.port.spec
    yield context.file(
        __file__,
        f"{context.names.tests}/README.md",
        "readme.md.jinja",
        "spec",
        components=[_component(context, name) for name in spec.components],
        pipeline_rows=pipeline_rows(context),
        references=spec.official.references,
        packages=spec.official.packages,
    )


def _component(context: Context, name: str) -> dict[str, Any]:
    component = context.port.components[name]
    tolerance = component.spec.parity.tolerance
    return {
        "name": name,
        "scope": component.spec.parity.scope,
        "test": context.names.component_test(name).rpartition("/")[2],
        "tolerance": f"{tolerance.atol:g} / {tolerance.rtol:g}",
        "status": component_status(context, name),
        "evidence": evidence(context, f"parity.{name}"),
        "command": command(context, context.names.component_test(name)),
    }
