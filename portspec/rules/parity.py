"""K10: every component is compared, on inputs that can tell a difference, and closely enough."""

from __future__ import annotations

import re
from collections.abc import Iterator

from portspec.errors import Diagnostic
from portspec.inputs import TensorInput, parse_input
from portspec.load import KeyPath
from portspec.port import Port, ResolvedComponent
from portspec.provenance import add_decision
from portspec.spec import Call, PipelineParity, Tolerance
from portspec.suggest import did_you_mean

_LOOSEST = {
    "dit": (1e-2, 1e-2),
    "vae": (5e-2, 5e-2),
    "audio_vae": (5e-2, 5e-2),
    "vocoder": (5e-2, 5e-2),
    "text_encoder": (1e-3, 1e-3),
    "image_encoder": (1e-3, 1e-3),
}
_LOOSEST_OTHER = (1e-4, 1e-4)
_LOOSEST_PIPELINE = (1e-2, 1e-2)
_KINDS = "One of: randn[sizes], randint[sizes] < bound, const[sizes] = value, ones, zeros, mask = lengths."
_OUTPUT = re.compile(
    r"^([A-Za-z_]\w*(\(\))?|\[-?\d+\]|\[\"\w+\"\])?(\.[A-Za-z_]\w*(\(\))?|\[-?\d+\]|\[\"\w+\"\])*$"
)


def check(port: Port) -> Iterator[Diagnostic]:
    """E128 too loose, E129 nothing compared, E130-E132 bad inputs, E134 guidance off."""
    for component in port.components.values():
        yield from _compared(port, component)
        yield from _calls(port, component)
        limit = _LOOSEST.get(component.spec.kind, _LOOSEST_OTHER)
        path = ("components", component.name, "parity", "tolerance")
        yield from _tolerance(port, path, component.spec.parity.tolerance, limit)
    if port.spec.pipeline:
        yield from _pipeline(port, port.spec.pipeline.parity)


def _pipeline(port: Port, parity: PipelineParity) -> Iterator[Diagnostic]:
    path = ("pipeline", "parity")
    yield from _tolerance(port, (*path, "tolerance"), parity.tolerance, _LOOSEST_PIPELINE)
    if parity.guidance_scale <= 1:
        remedy = (
            "Use the value that users get; with guidance off, half of the sampler is not tested."
        )
        message = f"guidance is off at {parity.guidance_scale}"
        yield port.complain("E134", message, (*path, "guidance_scale"), remedy, "K10")


def _compared(port: Port, component: ResolvedComponent) -> Iterator[Diagnostic]:
    parity, kind = component.spec.parity, component.spec.kind
    path = ("components", component.name)
    wants = {"tokenizer": "prompts", "processor": "prompts", "scheduler": "steps"}.get(
        kind, "calls"
    )
    if not getattr(parity, wants):
        remedy = f"Add `parity.{wants}`: a component that is not compared is not proved, reused ones too."
        yield port.complain(
            "E129", f"{component.name} is compared with nothing", path, remedy, "K10", key=True
        )
    if kind in ("vae", "audio_vae"):
        methods = {call.method for call in parity.calls.values()}
        fields = component.spec.config_fields
        for method in ("encode", "decode"):
            if parity.calls and method not in methods and fields.get(f"load_{method}r", True):
                remedy = f"Add a call with `method: {method}`."
                message = f"the {method} side of {component.name} is not compared"
                yield port.complain(
                    "E129", message, (*path, "parity", "calls"), remedy, "K10", key=True
                )
    if (
        kind == "scheduler"
        and parity.grid
        and parity.grid.follows == "target"
        and not parity.grid.decision
    ):
        remedy = "Name the `decision` that says which source of truth was chosen, and why."
        message = "the port leaves the official grid without a decision"
        yield port.complain("E126", message, (*path, "parity", "grid"), remedy, "K10", key=True)
    if parity.grid and parity.grid.decision and parity.grid.decision not in port.spec.decisions:
        message = f"there is no decision {parity.grid.decision}"
        remedy = add_decision(port)
        yield port.complain("E126", message, (*path, "parity", "grid", "decision"), remedy)


def _calls(port: Port, component: ResolvedComponent) -> Iterator[Diagnostic]:
    for name, call in component.spec.parity.calls.items():
        base = ("components", component.name, "parity", "calls", name)
        yield from _inputs(port, component, call, base)
        yield from _outputs(port, call, base)
        yield from _renamed_inputs(port, call, base)


def _inputs(
    port: Port, component: ResolvedComponent, call: Call, base: KeyPath
) -> Iterator[Diagnostic]:
    known = _config_keys(component)
    parsed: list[TensorInput] = []
    for name, line in call.inputs.items():
        path = (*base, "inputs", name)
        try:
            parsed.append(parse_input(line))
        except ValueError as error:
            yield port.complain("E130", f"{name}: {error}", path, _KINDS, "K10")
            continue
        for word in parsed[-1].names:
            if word not in known:
                remedy = did_you_mean(word, known, f"Config keys: {', '.join(known)}.")
                message = f"{word} is no key of the component's config"
                yield port.complain("E131", message, path, remedy)
    if parsed and not any(isinstance(i.batch, int) and i.batch >= 2 for i in parsed):
        remedy = "Make the first size 2: many errors of broadcasting and position show only then."
        message = f"{base[-1]} is compared at batch 1 only"
        yield port.complain("E132", message, (*base, "inputs"), remedy, "K10", key=True)


def _outputs(port: Port, call: Call, base: KeyPath) -> Iterator[Diagnostic]:
    for side in ("official", "native"):
        chain = getattr(call.output, side)
        if not _OUTPUT.match(chain):
            remedy = "Write attributes, calls and indexes: `sample`, `latent_dist.mode()`, `[0]`."
            message = f"{chain!r} leads to no output"
            yield port.complain("E130", message, (*base, "output", side), remedy)


def _renamed_inputs(port: Port, call: Call, base: KeyPath) -> Iterator[Diagnostic]:
    named: list[tuple[KeyPath, str]] = [
        *(((*base, "native", name), mine) for name, mine in call.native.items()),
        *(((*base, "drop_native", i), mine) for i, mine in enumerate(call.drop_native)),
    ]
    for path, mine in named:
        if mine not in call.inputs:
            remedy = did_you_mean(mine, call.inputs, f"Inputs: {', '.join(call.inputs)}.")
            yield port.complain("E131", f"{mine} is no input of this call", path, remedy)


def _config_keys(component: ResolvedComponent) -> list[str]:
    keys = list(component.reduced_args)
    definition = component.constructor
    return keys + [
        p.name for p in (definition.parameters if definition else ()) if p.name not in keys
    ]


def _tolerance(
    port: Port, path: tuple[str | int, ...], given: Tolerance, limit: tuple[float, float]
) -> Iterator[Diagnostic]:
    if given.atol <= limit[0] and given.rtol <= limit[1]:
        return
    approved = any(
        hatch.decision_type == "blocker" and hatch.status == "approved"
        for hatch in port.spec.escape_hatches.values()
    )
    if not approved:
        message = (
            f"the tolerance {given.atol:g}/{given.rtol:g} is looser than {limit[0]:g}/{limit[1]:g}"
        )
        remedy = "Find the cause, or get an escape hatch of type `blocker` approved and recorded."
        yield port.complain("E128", message, path, remedy, "K10")
