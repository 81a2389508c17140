"""Parity tests of every component, reused ones too, and the helper that they share.

The tests stand alone: they import FastVideo, the official library and pytest, and run wherever FastVideo
runs. Each compares real outputs and then proves its own sight, by perturbing one tensor at a time.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from typing import Any

from portspec.codegen.emitters import Context
from portspec.codegen.facts import LINE_LIMIT
from portspec.edits import CreateFile, Edit
from portspec.inputs import TensorInput, parse_input
from portspec.port import ResolvedComponent
from portspec.render import python
from portspec.spec import Call

_TEMPLATES = {
    "tokenizer": "tokenizer_parity.py.jinja",
    "processor": "tokenizer_parity.py.jinja",
    "scheduler": "scheduler_parity.py.jinja",
}


def applies(context: Context) -> bool:
    """Every port that is built has components to compare."""
    return not context.port.spec.abstract


def emit(context: Context) -> Iterator[Edit]:
    """Yield the package marker, the helper and one test per component."""
    names = context.names
    yield CreateFile(f"{names.tests}/__init__.py", "", "components")
    weights = context.port.spec.weights
    assert weights is not None
    yield context.file(
        __file__,
        f"{names.tests}/parity.py",
        "parity_helper.py.jinja",
        "components",
        weights=weights,
    )
    for component in context.port.components.values():
        template = _TEMPLATES.get(component.spec.kind, "module_parity.py.jinja")
        maker = {"tokenizer": _tokenizer, "processor": _tokenizer, "scheduler": _scheduler}.get(
            component.spec.kind, _module
        )
        yield context.file(
            __file__,
            names.component_test(component.name),
            template,
            f"components.{component.name}.parity",
            component=component,
            parity=component.spec.parity,
            **maker(context, component),
        )


def _split(ref: str | None) -> tuple[str, str]:
    module, _, name = (ref or ":").partition(":")
    return module, name


def _module(context: Context, component: ResolvedComponent) -> dict[str, Any]:
    module, name = _split(component.spec.definition)
    native_module, native = _split(component.native)
    config_module, config = _split(_config(context, component))
    calls = [_call(call_name, call) for call_name, call in component.spec.parity.calls.items()]
    return {
        "official_module": module,
        "official": name,
        "native_module": native_module,
        "native": native,
        "config_module": config_module,
        "config": config,
        "calls": calls,
        "implementations": _implementations(component),
        "helper_import": helper_import(context, _helpers(component)),
        "is_dit": component.spec.kind == "dit",
        "is_encoder": component.spec.kind in ("text_encoder", "image_encoder"),
        "overrides": {
            f"{k}": True
            for k in component.spec.config_fields
            if k in ("load_encoder", "load_decoder")
        },
    }


def _config(context: Context, component: ResolvedComponent) -> str | None:
    from portspec.codegen.emitters.arch_config import config_ref

    return component.spec.config or (
        config_ref(context, component) if component.spec.port else None
    )


def _implementations(component: ResolvedComponent) -> tuple[str, ...]:
    scope = component.spec.parity.scope
    both = ("production_loader", "implementation_subcomponent")
    return both if scope == "both" else (scope,)


def _helpers(component: ResolvedComponent) -> list[str]:
    build = ["build_native"] if "implementation_subcomponent" in _implementations(component) else []
    load = ["load_native"] if "production_loader" in _implementations(component) else []
    return [
        "assert_parity",
        "assert_sight",
        *build,
        "component_config",
        *load,
        "load_official",
        "to_device",
    ]


def _call(name: str, call: Call) -> dict[str, Any]:
    native = call.native
    renamed = set(native.values())
    passed = [i for i in call.inputs if i not in renamed and i not in call.drop_native]
    return {
        "name": name,
        "method": call.method,
        "inputs": [(key, tensor_source(parse_input(line))) for key, line in call.inputs.items()],
        "official_args": [f"{k}=inputs[{python(k)}]" for k in call.inputs],
        "native_args": [
            *(f"{k}=inputs[{python(k)}]" for k in passed),
            *(f"{k}=inputs[{python(v)}]" for k, v in native.items()),
        ],
        "official_output": _path(call.output.official),
        "native_output": _path(call.output.native),
    }


def _path(output: str) -> str:
    return f".{output}" if output and not output.startswith("[") else output


def helper_import(context: Context, names: list[str]) -> str:
    """Return the import of the parity helper, wrapped as FastVideo wraps long imports."""
    head = f"from tests.local_tests.{context.port.family}.parity import "
    line = head + ", ".join(names)
    if len(line) <= LINE_LIMIT:
        return line
    rows = textwrap.wrap(", ".join(names), LINE_LIMIT - len(head) - 2)
    return f"{head}({(chr(10) + ' ' * (len(head) + 1)).join(rows)})"


def tensor_source(parsed: TensorInput) -> str:
    """Return the torch expression for a parity input; `config` and `generator` are in scope there."""
    shape = ", ".join(_size(s) for s in parsed.shape)
    values = [_size(v) if isinstance(v, str) else repr(v) for v in parsed.value]
    match parsed.kind:
        case "randn":
            return f"torch.randn({shape}, generator=generator)"
        case "randint":
            return f"torch.randint(0, {values[0]}, ({shape}, ), generator=generator)"
        case "const":
            dtype = "torch.float32" if isinstance(parsed.value[0], float) else "torch.int64"
            return f"torch.full(({shape}, ), {values[0]}, dtype={dtype})"
        case "mask":
            lengths = f"torch.tensor([{', '.join(values)}]).unsqueeze(1)"
            return f"torch.arange({_size(parsed.shape[1])}).expand({shape}).lt({lengths}).long()"
    return f"torch.{parsed.kind}({shape}, dtype=torch.int64)"


def _size(size: int | float | str) -> str:
    return f"config[{python(size)}]" if isinstance(size, str) else repr(size)


def _tokenizer(context: Context, component: ResolvedComponent) -> dict[str, Any]:
    """Pair the tokenizer with the encoder of the same index, whose config carries its arguments."""
    encoders = [c for c in context.port.components.values() if c.spec.kind == "text_encoder"]
    wanted = component.name.replace("tokenizer", "text_encoder").replace(
        "processor", "text_encoder"
    )
    position = next((i for i, e in enumerate(encoders) if e.name == wanted), 0)
    flags = component.spec.instantiation.flags if component.spec.instantiation else {}
    module, name = _split(component.spec.definition)
    return {
        "official_module": module,
        "official": name,
        "position": position,
        "flags": flags,
        "max_length": flags.get("max_length"),
        "prompts": component.spec.parity.prompts,
    }


def _scheduler(context: Context, component: ResolvedComponent) -> dict[str, Any]:
    module, name = _split(component.spec.definition)
    native_module, native = _split(component.native)
    pipeline = context.port.spec.pipeline
    override = pipeline.scheduler if pipeline and pipeline.scheduler else None
    parity = component.spec.parity
    return {
        "official_module": module,
        "official": name,
        "native_module": native_module,
        "native": native,
        "native_args": ", ".join(
            f"{k}={_from_config(v)}" for k, v in (override.args if override else {}).items()
        ),
        "takes_shift": bool(component.definition and component.definition.parameter("flow_shift")),
        "native_shifts": "shift" in (override.args if override else {}),
        "steps": list(parity.steps),
        "follows_target": bool(parity.grid and parity.grid.follows == "target"),
        "grid_bound": parity.grid.max_timestep_difference if parity.grid else 0.0,
        "decision": parity.grid.decision if parity.grid else None,
    }


def _from_config(value: Any) -> str:
    if isinstance(value, str) and re.match(r"^\$\w+$", value):
        return f"config.{value[1:]}"
    return python(value)
