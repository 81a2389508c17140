"""The checkpoint: made small by the official library itself and saved as published, or given and inspected.

Every parameter is drawn at random, since those that start at zero hide errors, with a spread that keeps
activations near one, since saturated ones hide errors too.
"""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from portspec.codegen.gates import GateContext, load_ref, plain
from portspec.gates.result import Gate, Outcome

MARKER = "portspec_checkpoint.json"
# What the libraries write into every config, whatever the checkpoint.
_LIBRARY_KEYS = frozenset(
    {"_class_name", "_diffusers_version", "architectures", "model_type", "dtype", "torch_dtype"}
    | {"transformers_version"}
)


def recipe(context: GateContext) -> dict[str, Any]:
    """Describe the small checkpoint, as JSON from which it can be made."""
    spec = context.port.spec
    assert spec.pipeline is not None
    return {
        "pipeline": spec.pipeline.definition,
        "components": [_component(context, name) for name in spec.pipeline.modules],
        "characters": _characters(context),
    }


def _component(context: GateContext, name: str) -> dict[str, Any]:
    component = context.port.components[name]
    instantiation = component.spec.instantiation
    return {
        "name": name,
        "kind": component.spec.kind,
        "stateful": component.is_stateful,
        "class_name": component.class_name,
        "definition": component.spec.definition,
        "config_class": instantiation.config_class if instantiation else None,
        "args": plain(component.reduced_args),
        "published": plain(instantiation.args) if instantiation else {},
        "length": (instantiation.flags if instantiation else {}).get("max_length"),
    }


def _characters(context: GateContext) -> str:
    """Collect what the prompts are made of, so that a small tokenizer knows every character."""
    pipeline = context.port.spec.pipeline
    texts = [t for c in context.port.spec.components.values() for t in c.parity.prompts]
    texts += [pipeline.parity.prompt, pipeline.parity.negative_prompt] if pipeline else []
    return "".join(sorted(set("".join(texts).lower() + "abcdefghijklmnopqrstuvwxyz.,") - {" "}))


def declare(context: GateContext) -> Iterator[Gate]:
    """Yield the gate; it makes the checkpoint when it is not there."""
    yield Gate(
        "checkpoint",
        "checkpoint in the published layout",
        __name__,
        {
            "recipe": context.recipe,
            "path": str(context.checkpoint),
            "weights": str(context.weights) if context.weights else None,
        },
        after=("environment",),
        inputs=context.weighed(),
        basis=context.basis,
        produces=(str(context.checkpoint / "model_index.json"),),
        timeout=900,
    )


def run(args: Mapping[str, Any]) -> Outcome:
    """Make or link the checkpoint, then look at what is on disk."""
    path = Path(args["path"])
    if path.is_symlink() or path.exists():
        _remove(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if args["weights"]:
        path.symlink_to(Path(args["weights"]).resolve(), target_is_directory=True)
    else:
        _make(args["recipe"], path)
    reference = path.parent.parent / "refs" / "main"
    reference.parent.mkdir(exist_ok=True)
    reference.write_text(path.name, encoding="utf-8")
    return _inspect(args["recipe"], path)


def _remove(path: Path) -> None:
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path)


def _make(recipe: Mapping[str, Any], path: Path) -> None:
    parts = {c["name"]: _build(c, recipe) for c in recipe["components"]}
    draft = path.with_name(f"{path.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    load_ref(recipe["pipeline"])(**parts).save_pretrained(str(draft), safe_serialization=True)
    for component in recipe["components"]:
        _publish_config(draft / component["name"], component)
    (draft / MARKER).write_text(json.dumps({"basis": "reduced random weights"}), encoding="utf-8")
    draft.rename(path)


def _build(component: Mapping[str, Any], recipe: Mapping[str, Any]) -> Any:
    cls = load_ref(component["definition"])
    if component["kind"] in ("tokenizer", "processor"):
        return _tokenizer(cls, component, recipe)
    args = component["args"]
    config_class = component["config_class"]
    part = cls(load_ref(config_class)(**args)) if config_class else cls(**args)
    if component["kind"] != "scheduler":
        randomise(part)
    return part


def randomise(module: Any) -> None:
    """Draw every parameter, by its name, so that adding one changes no other."""
    import torch

    with torch.no_grad():
        for name, parameter in module.named_parameters():
            generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() > 1:
                parameter.copy_(noise * max(parameter[0].numel(), 1) ** -0.5)
            else:
                parameter.copy_(noise * 0.2 + (1.0 if name.endswith("weight") else 0.0))


def _tokenizer(cls: Any, component: Mapping[str, Any], recipe: Mapping[str, Any]) -> Any:
    """Make a tokenizer of the official class over single characters; no hub is needed."""
    length = component["length"] or 512
    characters = ["▁", *recipe["characters"]]
    match cls.__name__:
        case "T5Tokenizer" | "T5TokenizerFast":
            pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
            pieces += [(c, -2.0 - i / 100) for i, c in enumerate(characters)]
            return cls(vocab=pieces, extra_ids=0, model_max_length=length)
    raise NotImplementedError(
        f"no small {cls.__name__} can be made here; give real weights with --weights"
    )


def _publish_config(folder: Path, component: Mapping[str, Any]) -> None:
    """Keep the keys that the published config has: later library versions write more of them."""
    for name in ("config.json", "scheduler_config.json"):
        path = folder / name
        if path.is_file() and component["published"]:
            config = json.loads(path.read_text(encoding="utf-8"))
            kept = {
                k: v for k, v in config.items() if k in component["published"] or k in _LIBRARY_KEYS
            }
            path.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _inspect(recipe: Mapping[str, Any], path: Path) -> Outcome:
    """Check the layout: manifest, folders, class names, configs, and that headers can be read."""
    from safetensors import SafetensorError, safe_open

    manifest_path = path / "model_index.json"
    if not manifest_path.is_file():
        return Outcome("inconclusive", f"there is no model_index.json in {path.resolve()}")
    manifest = _read_json(manifest_path)
    wanted = recipe["pipeline"].rpartition(":")[2]
    if manifest.get("_class_name") != wanted:
        return Outcome(
            "fail", f"model_index.json says {manifest.get('_class_name')}, the spec {wanted}"
        )
    tensors = nbytes = 0
    sizes = set()
    for component in recipe["components"]:
        folder = path / component["name"]
        if not folder.is_dir():
            return Outcome("inconclusive", f"the checkpoint has no {component['name']}")
        files = sorted(folder.glob("*.safetensors"))
        if component["stateful"] and not (files and (folder / "config.json").is_file()):
            return Outcome("fail", f"{component['name']}/ has no config.json or no *.safetensors")
        for file in files:
            try:
                with safe_open(file, framework="pt") as opened:
                    tensors += len(list(opened.keys()))
            except SafetensorError as error:
                name = file.relative_to(path)
                return Outcome("fail", f"{name} is damaged, or is no safetensors file: {error}")
            nbytes += file.stat().st_size
        sizes |= _size(folder, component)
    metrics = {"tensors": tensors, "bytes": nbytes, "size": ", ".join(sorted(sizes))}
    unknown = [s for s in sizes if s not in ("reduced", "published")]
    if unknown:
        return Outcome("fail", unknown[0], metrics)
    message = f"{tensors} tensors, {nbytes / 1e6:.1f} MB, {metrics['size']} size"
    return Outcome("pass", message, metrics)


def _read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; of one that cannot be read, the error names the file."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path.parent.name}/{path.name} is not JSON: {error}") from error
    return found if isinstance(found, dict) else {}


def _size(folder: Path, component: Mapping[str, Any]) -> set[str]:
    """Tell whether a component's config is the published one or the reduced one."""
    path = folder / "config.json"
    if not path.is_file():
        return set()
    config = _read_json(path)
    said = config.get("_class_name") or component["class_name"]
    if said != component["class_name"]:
        return {f"{component['name']}/config.json says {said}, the spec {component['class_name']}"}
    published, reduced = component["published"], {**component["published"], **component["args"]}
    wrong = {
        k: config[k]
        for k in published
        if k in config and config[k] not in (published[k], reduced[k])
    }
    if wrong:
        key, value = next(iter(wrong.items()))
        return {f"{component['name']}/config.json says {key}: {value}, the spec {published[key]}"}
    full = all(config.get(k, v) == v for k, v in published.items())
    return {"published" if full else "reduced"}
