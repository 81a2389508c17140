"""Classes of the official library and of FastVideo, built on torch's meta device to be looked at.

`run` is called in a process of its own, as a gate is.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_type_hints

from portspec.gates.result import Outcome

# What loaders take out of a config before the arch config sees it
# (fastvideo/models/loader/component_loader.py).
LIBRARY_KEYS = (
    "_name_or_path",
    "transformers_version",
    "model_type",
    "tokenizer_class",
    "torch_dtype",
)

TABLES = ("param_names_mapping", "reverse_param_names_mapping", "lora_param_names_mapping")
STACKS = "stacked_params_mapping"


def run(args: Mapping[str, Any]) -> Outcome:
    """Build a class from a config, and write the names, element types and shapes of its tensors."""
    import torch

    from portspec.codegen.gates import load_ref
    from portspec.weights.engine.tensors import TORCH_NAMES

    cls, config = load_ref(args["reference"]), args["config"]
    own = args["reference"].startswith("fastvideo.")
    if own:
        from fastvideo.distributed import maybe_init_distributed_environment_and_model_parallel

        maybe_init_distributed_environment_and_model_parallel(1, 1)
    with torch.device("meta"):
        module = _native(cls, config) if own else official(cls, _config_class(cls), _plain(config))
    names = {f"torch.{torch_name}": name for name, torch_name in TORCH_NAMES.items()}
    rows = {
        name: {"dtype": names[str(tensor.dtype)], "shape": list(tensor.shape)}
        for name, tensor in distinct(module)[0].items()
    }
    Path(args["out"]).write_text(json.dumps(rows), encoding="utf-8")
    Path(args["tables"]).write_text(json.dumps(_tables(module) if own else {}), encoding="utf-8")
    return Outcome("pass", f"{len(rows)} tensors")


def _tables(module: Any) -> dict[str, list[Any]]:
    """Return the tables by which a native class renames what it loads, as rows."""
    found = {name: list(getattr(module, name, None) or {}) for name in TABLES}
    rows = {
        name: [[key, getattr(module, name)[key]] for key in keys] for name, keys in found.items()
    }
    arch = getattr(getattr(module, "config", None), "arch_config", None)
    stacks = getattr(arch, "stacked_params_mapping", None) or ()
    return {**rows, STACKS: [list(row) for row in stacks]}


def official(cls: Any, config_class: Any, args: Mapping[str, Any]) -> Any:
    """Build an official class from constructor arguments, or from those of its config class."""
    return cls(config_class(**args)) if config_class else cls(**args)


def _config_class(cls: Any) -> Any:
    """Return the config class of a transformers model; diffusers' classes take their arguments themselves."""
    return getattr(cls, "config_class", None)


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in config.items() if k[0] != "_" and k not in LIBRARY_KEYS}


def _native(cls: Any, published: Mapping[str, Any]) -> Any:
    """Build a class of FastVideo as its loaders do, from the config class that its constructor names."""
    config_class: Any = get_type_hints(cls.__init__).get("config")
    if not hasattr(config_class, "update_model_arch"):
        raise TypeError(f"the constructor of {cls.__name__} does not say which config it takes")
    config = config_class()
    config.update_model_arch(_plain(published))
    if "hf_config" in inspect.signature(cls).parameters:
        return cls(config=config, hf_config=dict(published))
    return cls(config)


def distinct(module: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """Return a module's tensors, each once, and the further names of those that are tied."""
    first: dict[int, str] = {}
    tensors: dict[str, Any] = {}
    aliases: dict[str, str] = {}
    for name, tensor in module.state_dict(keep_vars=True).items():
        if id(tensor) in first:
            aliases[name] = first[id(tensor)]
        else:
            first[id(tensor)] = name
            tensors[name] = tensor
    return tensors, aliases
