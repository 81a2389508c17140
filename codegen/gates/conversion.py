"""Conversion: a small release in the authors' layout goes through the emitted script and into both loaders.

The release has the published names; the official class, at reduced size, says which of them and in which
shapes. What the script writes must hold the values that torch makes of them, load strictly into the official
class, and arrive unchanged through FastVideo's production loader. The configs that the script writes for the
published sizes must be such that FastVideo's configs take every key, which it would not itself complain of.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any
from unittest import mock

from portspec.cache import sha256
from portspec.codegen.classes import LIBRARY_KEYS, distinct, official
from portspec.codegen.emitters.conversion_script import script_path
from portspec.codegen.gates import GateContext, load_ref, plain
from portspec.codegen.gates.mapping import key_map
from portspec.codegen.gates.strict_load import compare
from portspec.codegen.gates.surfaces import pipeline_part, surfaces_path
from portspec.gates.result import Gate, Outcome
from portspec.port import Port, ResolvedComponent
from portspec.weights.conversion import configs, declaration
from portspec.weights.engine.convert import Component, declared
from portspec.weights.engine.layout import json_text
from portspec.weights.engine.rules import Value, cast
from portspec.weights.engine.tensors import TORCH_NAMES, Tensor, WeightsError
from portspec.weights.operations import every_operation
from portspec.weights.release import Part, drawn, evaluated, named, reduced, write_release
from portspec.weights.surface import read_surface


def declare(context: GateContext) -> Iterator[Gate]:
    """Yield the gate, for a port whose spec knows the published names of all that it converts."""
    converted = [c for c in context.port.components.values() if _has_files(c)]
    surfaces = context.port.surfaces
    if not converted or any(c.name not in surfaces for c in converted):
        return
    script, helper = script_path(context.port), f"{context.names.tests}/parity.py"
    args = _told(context, [c.name for c in converted])
    yield Gate(
        "conversion",
        "published names, through the emitted script, into both loaders",
        __name__,
        {"script": script, "helper": helper.removesuffix(".py").replace("/", "."), **args},
        after=("mapping",),
        files=(script, helper),
        inputs=context.inputs(
            script=context.index.tree.sha(script),
            helper=context.index.tree.sha(helper),
            names=sha256(*(path.read_bytes() for path in surfaces.values())),
        ),
        env={**context.test_env, context.names.model_dir_env: args["out"]},
        basis="published names, reduced random weights, fp32",
    )


def _told(context: GateContext, converted: Sequence[str]) -> dict[str, Any]:
    """Return what the gate needs of the port, as JSON."""
    port, work = context.port, context.local / "conversion"
    variant = next(e.variant for e in port.spec.registry if context.hub in e.hub)
    small = _small(port, variant)
    # FastVideo decides by words in the whole path, so the folder's name is that of a download.
    out = work / f"models--{context.hub.replace('/', '--')}" / "snapshots" / "converted"
    return {
        "surfaces": str(surfaces_path(context)),
        "variant": variant,
        "hub": context.hub,
        "work": str(work),
        "out": str(out),
        "configs": configs(small, variant),
        "published": configs(port, variant),
        "assets": {c.name: declaration(c, variant) for c in _with_assets(port)},
        "components": [
            _component(port.components[name], small.components[name], variant)
            | {"surface": str(port.surfaces[name].resolve())}
            for name in converted
        ],
    }


def _has_files(component: ResolvedComponent) -> bool:
    return bool(component.spec.conversion and component.spec.conversion.files)


def _with_assets(port: Port) -> Iterator[ResolvedComponent]:
    for component in port.components.values():
        if component.spec.conversion and component.spec.conversion.assets:
            yield component


def _small(port: Port, variant: str) -> Port:
    """Return the port with its components' arguments at reduced size."""
    components = {
        n: replace(c, args={**c.args, variant: c.reduced_args} if c.is_stateful else c.args)
        for n, c in port.components.items()
    }
    return replace(port, components=components)


def _component(full: ResolvedComponent, small: ResolvedComponent, variant: str) -> dict[str, Any]:
    instantiation = full.spec.instantiation
    return {
        "name": full.name,
        "kind": full.spec.kind,
        "library": full.library,
        "definition": full.spec.definition,
        "config_class": instantiation.config_class if instantiation else None,
        "class_name": full.class_name,
        "args": plain(small.args[variant]),
        "absent": list(instantiation.absent) if instantiation else [],
        "unused": list(full.spec.unused),
        "whole": {k: True for k in full.spec.config_fields if k.startswith("load_")},
        "full": declaration(full, variant),
        "small": declaration(small, variant),
    }


def run(args: Mapping[str, Any]) -> Outcome:
    """Make the release, convert it with the emitted script, and compare and load what comes out."""
    work, out = Path(args["work"]), Path(args["out"])
    shutil.rmtree(work, ignore_errors=True)
    try:
        sources = {c["name"]: _source(c) for c in args["components"]}
    except WeightsError as error:
        return Outcome("fail", f"{error.code} {error.message}")
    release = work / "release"
    parts = {
        c["name"]: declared(c["name"], c["small"], every_operation()) for c in args["components"]
    }
    write_release(
        [Part(parts[n].files, parts[n].prefix, tensors) for n, tensors in sources.items()], release
    )
    _write_assets(args["assets"], release)
    script = _script(Path(args["script"]))
    problem = _other_than_the_spec(args, script) or _refused(args, script.CONFIGS[args["variant"]])
    if problem:
        return Outcome("fail", problem)
    status = _converted(args, script, release, out)
    if status:
        return Outcome("fail", f"{args['script']} ends with {status}; its words are in the log")
    problem = _layout(args["assets"], release, out)
    if problem:
        return Outcome("fail", problem)
    metrics: dict[str, Any] = {}
    for component in args["components"]:
        name = component["name"]
        problem = _compared(component, parts[name], sources[name], args, metrics)
        if problem:
            return Outcome("fail", f"{name}: {problem}", metrics)
    return Outcome(
        "pass", f"{sum(metrics.values())} tensors converted and loaded on both sides", metrics
    )


def _source(component: Mapping[str, Any]) -> dict[str, Any]:
    """Draw the tensors of a component's release."""
    import torch

    operations = every_operation()
    full, small = (declared("", component[size], operations) for size in ("full", "small"))
    published = read_surface(Path(component["surface"]))
    own = {
        n.removeprefix(full.prefix): t for n, t in published.items() if n.startswith(full.prefix)
    }
    with torch.device("meta"):
        tensors = distinct(_official(component))[0]
    wanted = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    return drawn(reduced(own, full.rule_set, small.rule_set, wanted))


def _official(component: Mapping[str, Any]) -> Any:
    config_class = load_ref(component["config_class"]) if component["config_class"] else None
    return official(load_ref(component["definition"]), config_class, component["args"])


def _write_assets(assets: Mapping[str, Mapping[str, Any]], release: Path) -> None:
    """Write a small file for each pattern of files that are copied as they are."""
    for name, table in assets.items():
        for glob in table["assets"]:
            path = release / named(glob, f"{name}.txt")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{glob} of {name}\n", encoding="utf-8")


def _script(path: Path) -> Any:
    """Import the emitted script."""
    spec = spec_from_file_location("emitted_conversion_script", path.resolve())
    assert spec and spec.loader
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


def _other_than_the_spec(args: Mapping[str, Any], script: Any) -> str:
    """Compare what the script declares and is not run here, as sizes differ, with what the spec says."""
    variant = args["variant"]
    for component in args["components"]:
        declared_there = script.COMPONENTS[variant][component["name"]]
        if component["small"] != component["full"] and not _same(declared_there, component["full"]):
            return f"E510 {component['name']}: the script's rules are not those of the spec"
    for file, config in args["published"].items():
        if file not in _checked(args) and not _same(script.CONFIGS[variant].get(file), config):
            return f"E510 {file} in the script is not that of the spec"
    return ""


def _checked(args: Mapping[str, Any]) -> set[str]:
    return {f"{component['name']}/config.json" for component in args["components"]}


def _same(one: Any, other: Any) -> bool:
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _converted(args: Mapping[str, Any], script: Any, release: Path, out: Path) -> int:
    """Run the script's own command line at the reduced size; return its exit status."""
    variant = args["variant"]
    script.CONFIGS = {variant: args["configs"]}
    tables = dict(script.COMPONENTS[variant])
    for component in args["components"]:
        if component["small"] != component["full"]:  # rules whose sizes are those of the network
            tables[component["name"]] = component["small"]
    script.COMPONENTS = {variant: tables}
    given = ["--weights", str(release), "--out", str(out), "--variant", variant]
    with mock.patch.object(sys, "argv", [args["script"], *given]):
        return int(script.main())


def _layout(assets: Mapping[str, Mapping[str, Any]], release: Path, out: Path) -> str:
    """Look for the manifest and the folders as FastVideo does, and for every file that is only copied."""
    from fastvideo.utils import verify_model_config_and_directory

    verify_model_config_and_directory(str(out))
    for name, table in assets.items():
        for path in (path for glob in table["assets"] for path in release.glob(glob)):
            copied = out / name / path.name
            if not copied.is_file() or copied.read_bytes() != path.read_bytes():
                return f"E502 {name}/{path.name} is not the file of the release"
    return ""


def _compared(
    component: Mapping[str, Any],
    rules: Component,
    source: Mapping[str, Any],
    args: Mapping[str, Any],
    metrics: dict[str, Any],
) -> str:
    """Compare what was written with what torch makes of the source, and load it on both sides."""
    name = component["name"]
    folder = Path(args["out"]) / name
    written = _loaded(folder)
    expected = _expected(rules, source)
    if written.keys() != expected.keys():
        odd = min(written.keys() ^ expected.keys())
        return f"E502 {odd} is {'not expected' if odd in written else 'missing'}"
    for key, tensor in expected.items():
        if not _equal(written[key], tensor):
            return f"E510 {key} does not hold the values that the rules make of the release"
    module = _official(component)
    aliases = distinct(module)[1]
    module.load_state_dict({**written, **{a: written[first] for a, first in aliases.items()}})
    helper = import_module(args["helper"])
    native = helper.load_native(name, component["library"], component["whole"])
    surface = json.loads(Path(args["surfaces"]).read_text("utf-8"))[f"{args['variant']}.{name}"]
    metrics[f"{name}.tensors"] = len(written)
    print(f"{name}: {len(source)} published tensors became {len(written)}")
    return compare(
        written, distinct(native)[0], key_map(surface), component["unused"], helper.DTYPE
    )


def _equal(one: Any, other: Any) -> bool:
    """Compare by bytes: torch cannot compare every element type."""
    import torch

    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    flat = (tensor.contiguous().reshape(-1).view(torch.uint8) for tensor in (one, other))
    return torch.equal(*flat)


def _loaded(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return {
        n: t for path in sorted(folder.glob("*.safetensors")) for n, t in load_file(path).items()
    }


def _expected(rules: Component, source: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the rules make of the source, computed in memory."""
    names = {f"torch.{torch_name}": name for name, torch_name in TORCH_NAMES.items()}
    tensors = {n: Tensor(names[str(t.dtype)], tuple(t.shape), "", 0) for n, t in source.items()}
    outputs = rules.rule_set.apply(tensors).outputs
    if rules.cast:
        rows = cast(outputs, rules.cast, rules.keep_fp32)
        outputs = {name: value for name, value in rows if isinstance(value, Value)}
    return {name: evaluated(value, source) for name, value in outputs.items()}


def _refused(args: Mapping[str, Any], emitted: Mapping[str, Any]) -> str:
    """Send the emitted configs the way FastVideo's loaders do; return what it would lose in silence."""
    from fastvideo.registry import get_pipeline_config_cls_from_name

    pipeline_config = get_pipeline_config_cls_from_name(args["hub"])()
    for component in args["components"]:
        config = pipeline_part(pipeline_config, component)
        published = emitted[f"{component['name']}/config.json"]
        given = {k: v for k, v in published.items() if k[0] != "_" and k not in LIBRARY_KEYS}
        known = {field.name for field in fields(config.arch_config)}
        unknown = sorted(given.keys() - known - set(component["absent"]))
        if unknown:
            return f"E410 {component['name']}/config.json says {unknown[0]}, which FastVideo's config has not"
        config.update_model_arch(given)
        for key in sorted(given.keys() & known):
            made = getattr(config.arch_config, key)
            if json_text({key: made}) != json_text({key: given[key]}):
                return f"E410 {component['name']}: FastVideo's config makes {made!r} of {key}"
    return ""
