"""`portspec map`: what a spec's rules do to the names of a checkpoint, proved before a byte is moved."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portspec.commands import (
    CLEAN,
    FINDINGS,
    format_option,
    port_of,
    settings_of,
    spec_argument,
    target_of,
    target_option,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from portspec.console import Console
    from portspec.errors import Diagnostic
    from portspec.port import Port, ResolvedComponent
    from portspec.weights.certificate import Certificate
    from portspec.weights.conversion import Rules
    from portspec.weights.engine.tensors import Tensor
    from portspec.weights.suggestion import Suggestion

HELP = "prove what rename rules do to a checkpoint, show or compare them, or find them"
EXAMPLE = "portspec map check specs/skyreels_v2.yaml transformer --source official.safetensors"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verbs."""
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, text in (
        ("check", "prove that every tensor has one source and one fate, or say which has not"),
        ("show", "list where each tensor goes, and by which rule"),
        ("diff", "say which tensors two specs send to different places"),
    ):
        verb = _verb(verbs, name, text)
        spec_argument(verb)
        if name == "diff":
            verb.add_argument(
                "other", metavar="OTHER", type=Path, help="the port.yaml to compare with"
            )
        verb.add_argument(
            "component", metavar="COMPONENT", help="the component whose rules are meant"
        )
        verb.add_argument(
            "--source",
            metavar="WHERE",
            help="a published checkpoint, or a kept surface; by default the one that the spec names",
        )
        if name == "check":
            text = "what must come out: a checkpoint, a kept surface, or `official` for the official class"
            verb.add_argument("--against", metavar="WHERE", help=text)
            text = "prove the native class's own tables, from the official class on, and not the conversion"
            verb.add_argument("--native", action="store_true", help=text)
        verb.add_argument(
            "--variant", metavar="NAME", help="variant of the spec; the first if left out"
        )
        target_option(verb)
        format_option(verb, ("text", "json"))

    verb = _verb(verbs, "suggest", _SUGGEST)
    for side in ("source", "target"):
        verb.add_argument(
            side, metavar=side.upper(), help=f"the {side}'s checkpoint, or kept surface"
        )
    text = "both hold the same weights: compare elements where names and shapes leave a choice"
    verb.add_argument("--values", action="store_true", help=text)
    format_option(verb, ("text", "json"))


def _verb(verbs: Any, name: str, text: str) -> argparse.ArgumentParser:
    description = f"{text[0].upper()}{text[1:]}."
    made: argparse.ArgumentParser = verbs.add_parser(
        name,
        help=text,
        description=description,
        epilog=f"example:\n  portspec map {name} {_EXAMPLES[name]}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return made


_EXAMPLES = {
    "check": "specs/skyreels_v2.yaml transformer --against official",
    "show": "specs/skyreels_v2.yaml vae --source Wan2.1_VAE.pth",
    "diff": "specs/skyreels_v2.yaml edited.yaml vae",
    "suggest": "Wan2.1_VAE.pth converted/vae --values",
}
_SUGGEST = "find the rules that turn the names of one checkpoint into those of another"


def run(options: argparse.Namespace, console: Console) -> int:
    """Run the verb."""
    verb = {"check": _check, "show": _show, "diff": _diff, "suggest": _suggest}[options.verb]
    return verb(options, console)


def _check(options: argparse.Namespace, console: Console) -> int:
    from portspec.errors import Diagnostic
    from portspec.weights.certificate import certify
    from portspec.weights.conversion import REMEDIES, own_names
    from portspec.weights.report import weighed

    if options.native:
        return _check_native(options, console)
    port, component, rules = _rules(options, options.spec)
    source = own_names(_source(options, port), component)
    against = _against(options, port, component)
    shapes = None if against is None else {n: tensor.shape for n, tensor in against.items()}
    certificate = certify(source, shapes, rules.set)
    base = ("components", component.name, "conversion")
    found = [
        Diagnostic(
            f.code,
            weighed(f),
            port.at(*(rules.paths[f.rule] if f.rule >= 0 else base)),
            REMEDIES.get(f.code, ""),
            "K8",
        )
        for f in certificate.findings
    ]
    return _certified(options, console, certificate, found, _told_against(options, component))


def _told_against(options: argparse.Namespace, component: ResolvedComponent) -> str:
    return (
        str(component.spec.definition) if options.against == "official" else options.against or ""
    )


def _certified(
    options: argparse.Namespace,
    console: Console,
    certificate: Certificate,
    found: Sequence[Diagnostic],
    against: str,
) -> int:
    """Print a certificate and what it is worth."""
    from portspec.errors import errors_in
    from portspec.report.findings import as_json
    from portspec.weights.report import counted, summary

    failed = bool(errors_in(found))
    if options.format == "json":
        rows = [as_json(one) for one in found]
        told = {"proved": not failed, "against": against or None, "findings": rows}
        console.out(json.dumps({**told, **counted(certificate)}, indent=2) + "\n")
        return FINDINGS if failed else CLEAN
    console.findings(found, options.format)
    console.say(summary(certificate))
    for line in certificate.look_alikes:
        console.say(f"only parity.{options.component} can tell apart: {line}")
    if failed:
        console.say("not proved")
    elif against:
        console.say(f"proved: every element has one source and one fate, against {against}")
    else:
        console.say("proved of the source alone; --against official proves what must come out")
    return FINDINGS if failed else CLEAN


def _check_native(options: argparse.Namespace, console: Console) -> int:
    """Prove by what tables the native class renames what the official class publishes, there and back."""
    from portspec.errors import Diagnostic, Place, UsageError
    from portspec.weights.built import built
    from portspec.weights.certificate import certify
    from portspec.weights.conversion import REMEDIES, variant_of
    from portspec.weights.native import native_rules, returning
    from portspec.weights.report import raised, weighed

    if options.source or options.against:
        remedy = "Leave them out: it is from the official class to the native one."
        raise UsageError("--native takes no --source and no --against", remedy)
    port = port_of(options.spec, settings_of(options))
    component = _component(options, port)
    target = target_of(settings_of(options), console)
    args = component.args.get(variant_of(port, options.variant), {})
    references = (component.spec.definition or "", component.native or "")
    with raised():
        official, native = (built(target.backend, target.tree.root, r, args) for r in references)
    rules = native_rules(native.tables, component.spec.unused)
    shapes = {name: tensor.shape for name, tensor in native.surface.items()}
    certificate = certify(official.surface, shapes, rules)
    findings = [*certificate.findings, *returning(official.surface, rules, native.tables)]
    place = Place(references[1])
    # A class serves many checkpoints, so a row that this one does not meet is none of its faults.
    idle = {f.rule for f in findings if f.code in ("E506", "E507")}
    found = [
        Diagnostic(f.code, weighed(f), place, REMEDIES.get(f.code, ""), "K8")
        for f in findings
        if f.rule not in idle
    ]
    if idle and options.format == "text":
        console.say(f"{len(idle)} rows of its tables meet no name of this checkpoint")
    return _certified(options, console, certificate, found, references[1])


def _source(options: argparse.Namespace, port: Port) -> dict[str, Tensor]:
    """Return the published names: those of a checkpoint, or those that are kept beside the spec."""
    from portspec.errors import UsageError

    kept = port.surfaces.get(options.component)
    if options.source is None and kept is None:
        remedy = "Give a checkpoint with --source, or a surface with `conversion.surface`."
        raise UsageError(f"{options.spec} keeps no published names of {options.component}", remedy)
    return _surface(options.source or str(kept))


def _against(
    options: argparse.Namespace, port: Port, component: ResolvedComponent
) -> dict[str, Tensor] | None:
    """Return what must come out, if it is said."""
    from portspec.backend import backends
    from portspec.weights.built import built
    from portspec.weights.conversion import variant_of
    from portspec.weights.report import raised

    if options.against != "official":
        return _surface(options.against) if options.against else None
    args = component.args.get(variant_of(port, options.variant), {})
    with raised():
        return built(backends()[0], Path.cwd(), component.spec.definition or "", args).surface


def _show(options: argparse.Namespace, console: Console) -> int:
    from portspec.weights.conversion import own_names
    from portspec.weights.report import shown

    port, component, rules = _rules(options, options.spec)
    mapped = rules.set.apply(own_names(_source(options, port), component))
    rows = [
        {"from": name, "to": list(targets), "rule": _pattern(rules, rule)}
        for name, (rule, targets) in mapped.routes.items()
    ]
    if options.format == "json":
        console.out(json.dumps(rows, indent=2) + "\n")
        return CLEAN
    for row in rows:
        gone = mapped.dropped.get(str(row["from"]), "")
        told = f"dropped: {gone}" if gone else ", ".join(row["to"])
        console.out(f"{shown(str(row['from']))} -> {shown(told)}    [{row['rule'] or 'no rule'}]\n")
    return CLEAN


def _pattern(rules: Rules, rule: int) -> str:
    return rules.set.rules[rule].match if rule >= 0 else ""


def _diff(options: argparse.Namespace, console: Console) -> int:
    from portspec.weights.certificate import rerouted
    from portspec.weights.conversion import own_names
    from portspec.weights.report import shown

    port, component, old = _rules(options, options.spec)
    _, _, new = _rules(options, options.other)
    source = own_names(_source(options, port), component)
    changes = rerouted(source, old.set, new.set)
    if options.format == "json":
        rows: list[dict[str, Any]] = [
            {"name": name, "before": list(before), "after": list(after)}
            for name, (before, after) in changes.items()
        ]
        console.out(json.dumps(rows, indent=2) + "\n")
        return CLEAN
    nbytes = sum(source[name].type.nbytes for name in changes)
    for name, (before, after) in changes.items():
        console.out(f"{shown(name)}: {_told(before)} becomes {_told(after)}\n")
    console.say(f"{len(changes):,} of {len(source):,} tensors, {nbytes:,} bytes, go elsewhere")
    return CLEAN


def _suggest(options: argparse.Namespace, console: Console) -> int:
    from portspec.errors import UsageError
    from portspec.weights.certificate import certify, listed
    from portspec.weights.engine.rules import RuleSet
    from portspec.weights.report import raised, summary
    from portspec.weights.suggestion import suggest
    from portspec.weights.suggestion.values import Values
    from portspec.weights.surface import is_kept
    from portspec.weights.written import as_yaml

    for where in (options.source, options.target) if options.values else ():
        if is_kept(where):
            raise UsageError(
                f"{where} holds no values", "Give the checkpoints, or leave --values out."
            )
    source, target = _surface(options.source), _surface(options.target)
    mine, theirs = ({n: tensor.shape for n, tensor in side.items()} for side in (source, target))
    with raised():
        found = suggest(mine, theirs, Values(source, target) if options.values else None)
    certificate = certify(source, theirs, RuleSet(found.rules))
    if options.format == "json":
        console.out(json.dumps(_suggested(found, certificate), indent=2) + "\n")
        return CLEAN
    for rule in found.rules:
        console.out(f"- {as_yaml(rule)}\n")
    for question in found.questions:
        console.say(f"question: {question.text}")
    for side, names in (("source", found.unmatched_source), ("target", found.unmatched_target)):
        if names:
            console.say(f"without a counterpart in the {side}: {listed(names)}")
    console.say(summary(certificate))
    for finding in certificate.findings:
        console.say(f"still open, {finding.code}: {finding.message}")
    return CLEAN


def _suggested(found: Suggestion, certificate: Certificate) -> dict[str, Any]:
    from portspec.weights.report import counted
    from portspec.weights.written import as_row

    return {
        "certificate": {
            "holds": certificate.holds,
            "findings": [{"code": f.code, "message": f.message} for f in certificate.findings],
            **counted(certificate),
        },
        "rules": [as_row(rule) for rule in found.rules],
        "questions": [
            {"about": list(q.about), "candidates": list(q.candidates), "text": q.text}
            for q in found.questions
        ],
        "unmatched_source": list(found.unmatched_source),
        "unmatched_target": list(found.unmatched_target),
    }


def _told(targets: tuple[str, ...]) -> str:
    return ", ".join(targets) or "dropped"


def _rules(options: argparse.Namespace, spec: Path) -> tuple[Port, ResolvedComponent, Rules]:
    from portspec.errors import UsageError
    from portspec.weights.conversion import rules_of, variant_of

    port = port_of(spec, settings_of(argparse.Namespace(target=options.target)))
    component = _component(options, port, converted=True)
    try:
        return port, component, rules_of(component, variant_of(port, options.variant))
    except ValueError as error:  # only where the named variant lacks what another has
        raise UsageError(f"{spec}: {error}", "portspec check says where.") from error


def _component(
    options: argparse.Namespace, port: Port, converted: bool = False
) -> ResolvedComponent:
    """Return the component that is meant.

    Raises:
        UsageError: E901 there is none of that name, or it has not what is asked for.
    """
    from portspec.errors import UsageError
    from portspec.suggest import did_you_mean

    known = {n: c for n, c in port.components.items() if _suits(c, converted)}
    if options.component not in known:
        hint = did_you_mean(
            options.component, list(known), f"There are {', '.join(known) or 'none'}."
        )
        what = "converts no" if converted else "has no native class with weights for"
        raise UsageError(f"{options.spec} {what} {options.component}", hint)
    return known[options.component]


def _suits(component: ResolvedComponent, converted: bool) -> bool:
    conversion = component.spec.conversion
    if converted:
        return bool(conversion and conversion.files)
    return bool(component.is_stateful and component.native)


def _surface(where: str) -> dict[str, Tensor]:
    from portspec.weights.report import raised
    from portspec.weights.surface import surface_at

    with raised():
        return surface_at(where)
