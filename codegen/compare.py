"""K12: what a build changes for anybody but the port itself.

Both trees are reduced to what users of other families would notice: where every id leads in every form, the
effective fields of configs, presets, modules and stages, and which class a checkpoint loads as. Whatever
differs is a finding.
"""

from __future__ import annotations

from collections.abc import Iterator

from portspec.codegen.facts import MODEL_REGISTRY, PIPELINE_CONFIG_BASE, REGISTRY
from portspec.codegen.index import FastVideoIndex
from portspec.codegen.index.configs import config_fields
from portspec.codegen.index.registrations import Registration
from portspec.codegen.resolver import NEUTRAL_PATH, Resolver, probes
from portspec.errors import Diagnostic

Facts = dict[tuple[str, ...], str]
_SHARED = (PIPELINE_CONFIG_BASE, "fastvideo.api.sampling_param:SamplingParam")
_CODES = {
    "workloads": ("E345", REGISTRY, "Leave other families' registrations as they are."),
    "resolution": (
        "E345",
        REGISTRY,
        "Make this port's detectors narrower, or register it elsewhere.",
    ),
    "config": ("E346", REGISTRY, "Put the value into this port's own config."),
    "preset": ("E347", REGISTRY, "Give this port presets of its own."),
    "pipeline": ("E348", REGISTRY, "Give this port a pipeline class of its own."),
    "model class": ("E349", MODEL_REGISTRY, "Give this port's class another name."),
}


def compare(before: FastVideoIndex, after: FastVideoIndex, family: str) -> Iterator[Diagnostic]:
    """E345 resolution, E346 config, E347 presets, E348 pipelines, E349 model classes of other families."""
    old, new = facts(before, before, family), facts(before, after, family)
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) != new.get(key) and not _is_new_argument(key, old):
            yield _changed(after, key, old.get(key), new.get(key))


def _is_new_argument(key: tuple[str, ...], old: Facts) -> bool:
    """Tell whether a shared class has only gained a field, which is how a port adds an argument."""
    return key not in old and key[1] in {ref.partition(":")[2] for ref in _SHARED}


def _changed(
    after: FastVideoIndex, key: tuple[str, ...], old: str | None, new: str | None
) -> Diagnostic:
    code, path, remedy = _CODES[key[0]]
    what = " of ".join(reversed(key[1:]))
    message = f"the {key[0]} of {what} changes from {old or 'nothing'} to {new or 'nothing'}"
    return Diagnostic(code, message, after.tree.place(path), remedy, "K12")


def facts(known: FastVideoIndex, tree: FastVideoIndex, family: str) -> Facts:
    """Describe a tree for the families, classes and ids that were known before.

    Args:
        known: The tree before the build: it says what there is to be looked at.
        tree: The tree to describe.
        family: The family whose changes are meant.
    """
    return {
        **_resolution(known, tree, family),
        **_configs(known, tree),
        **_presets(known, tree, family),
        **_pipelines(known, tree),
        **_model_classes(known, tree),
    }


def _resolution(known: FastVideoIndex, tree: FastVideoIndex, family: str) -> Facts:
    resolver = Resolver(tree.registrations)
    found: Facts = {}
    others = [r for r in known.registrations if r.family != family]
    for registration in others:
        for hub, _ in registration.hub:
            for probe in probes(hub, ""):
                found["resolution", hub, probe.form] = _effect(resolver.resolve(*probe.names))
            listed = resolver.resolve(hub, "")
            found["workloads", hub, "listing"] = (
                ", ".join(listed.workloads) if listed else "nothing"
            )
    for name in known.class_names:
        found["resolution", name, "class name in a neutral folder"] = _effect(
            resolver.resolve(NEUTRAL_PATH, name)
        )
    return found


def _effect(entry: Registration | None) -> str:
    return " / ".join(part for part in entry.effect if part) if entry else "nothing"


def _configs(known: FastVideoIndex, tree: FastVideoIndex) -> Facts:
    """Describe the configs that registrations name, and the bases that every family shares."""
    configs = [known.config_class(registration) for registration in known.registrations]
    refs = dict.fromkeys(config.ref for config in configs if config)
    found: Facts = {}
    for ref in (*refs, *_SHARED):
        again = tree.tree.find_class(ref)
        for name, field in config_fields(tree.tree, again).items() if again else ():
            found["config", ref.partition(":")[2], name] = str(field.default)
    return found


def _presets(known: FastVideoIndex, tree: FastVideoIndex, family: str) -> Facts:
    keys = {p.key for p in known.presets if p.family != family}
    found: Facts = {}
    for preset in tree.presets:
        if preset.key in keys:
            for name, value in preset.defaults:
                found["preset", preset.name, name] = value
            registered = preset in tree.registered_presets
            found["preset", preset.name, "registration"] = (
                "registered" if registered else "unregistered"
            )
    return found


def _pipelines(known: FastVideoIndex, tree: FastVideoIndex) -> Facts:
    names = {p.name for p in known.pipelines}
    found: Facts = {}
    for pipeline in tree.pipelines:
        if pipeline.name in names:
            found["pipeline", pipeline.name, "file"] = pipeline.path
            found["pipeline", pipeline.name, "modules"] = ", ".join(pipeline.modules or ())
            stages = [f"{s.name}={s.stage}{_arguments(s.args)}" for s in pipeline.stages]
            found["pipeline", pipeline.name, "stages"] = "; ".join(stages)
    return found


def _arguments(args: tuple[tuple[str, str], ...]) -> str:
    return "(" + ", ".join(f"{k}={v}" if k else v for k, v in args) + ")"


def _model_classes(known: FastVideoIndex, tree: FastVideoIndex) -> Facts:
    names = {e.name for e in known.entry_classes} | {r.key for r in known.model_rows}
    found: Facts = {}
    for name in sorted(names):
        leads_to = tree.model_ref(name)
        found["model class", name, "checkpoints"] = ":".join(leads_to) if leads_to else "nothing"
    return found
