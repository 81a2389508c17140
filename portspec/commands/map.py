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
    target_option,
)

if TYPE_CHECKING:
    from portspec.console import Console
    from portspec.port import Port, ResolvedComponent
    from portspec.weights.conversion import Rules
    from portspec.weights.engine.ops import Operation
    from portspec.weights.engine.rules import Rule
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
        verb = verbs.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        spec_argument(verb)
        if name == "diff":
            verb.add_argument(
                "other", metavar="OTHER", type=Path, help="the port.yaml to compare with"
            )
        verb.add_argument(
            "component", metavar="COMPONENT", help="the component whose rules are meant"
        )
        verb.add_argument(
            "--source", metavar="PATH", type=Path, required=True, help="a published checkpoint"
        )
        if name == "check":
            text = "a checkpoint with the names and shapes that must come out"
            verb.add_argument("--against", metavar="PATH", type=Path, help=text)
        verb.add_argument(
            "--variant", metavar="NAME", help="variant of the spec; the first if left out"
        )
        target_option(verb)
        format_option(verb, ("text", "json"))

    verb = verbs.add_parser("suggest", help=_SUGGEST, description=f"{_SUGGEST.capitalize()}.")
    for side in ("source", "target"):
        verb.add_argument(side, metavar=side.upper(), type=Path, help=f"the {side}'s checkpoint")
    format_option(verb, ("text", "json"))


_SUGGEST = "find the rules that turn the names of one checkpoint into those of another"


def run(options: argparse.Namespace, console: Console) -> int:
    """Run the verb."""
    verb = {"check": _check, "show": _show, "diff": _diff, "suggest": _suggest}[options.verb]
    return verb(options, console)


def _check(options: argparse.Namespace, console: Console) -> int:
    from portspec.errors import Diagnostic, errors_in
    from portspec.weights.certificate import certify
    from portspec.weights.conversion import own_names

    port, component, rules = _rules(options, options.spec)
    source = own_names(_surface(options.source), component)
    against = _surface(options.against) if options.against else None
    shapes = None if against is None else {n: tensor.shape for n, tensor in against.items()}
    certificate = certify(source, shapes, rules.set)
    base = ("components", component.name, "conversion")
    found = [
        Diagnostic(
            f.code, f.message, port.at(*(rules.paths[f.rule] if f.rule >= 0 else base)), "", "K8"
        )
        for f in certificate.findings
    ]
    console.findings(found, options.format)
    if options.format == "text":
        console.say(
            f"{certificate.keys:,} tensors, {certificate.nbytes:,} bytes: "
            f"{certificate.renamed:,} renamed, {certificate.computed:,} computed, "
            f"{certificate.dropped_keys:,} dropped ({certificate.dropped_bytes:,} bytes)"
        )
        for line in certificate.look_alikes:
            console.say(f"only numbers can tell apart: {line}")
    return FINDINGS if errors_in(found) else CLEAN


def _show(options: argparse.Namespace, console: Console) -> int:
    from portspec.weights.conversion import own_names
    from portspec.weights.report import shown

    _, component, rules = _rules(options, options.spec)
    mapped = rules.set.apply(own_names(_surface(options.source), component))
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

    _, component, old = _rules(options, options.spec)
    _, _, new = _rules(options, options.other)
    source = own_names(_surface(options.source), component)
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
    from portspec.weights.certificate import listed
    from portspec.weights.suggestion import suggest

    source = {name: tensor.shape for name, tensor in _surface(options.source).items()}
    target = {name: tensor.shape for name, tensor in _surface(options.target).items()}
    found = suggest(source, target)
    if options.format == "json":
        console.out(json.dumps(_suggested(found), indent=2) + "\n")
        return CLEAN
    for rule in found.rules:
        console.out(f"- {_as_yaml(rule)}\n")
    for question in found.questions:
        console.say(f"question: {question.text}")
    for side, names in (("source", found.unmatched_source), ("target", found.unmatched_target)):
        if names:
            console.say(f"without a counterpart in the {side}: {listed(names)}")
    return CLEAN


def _suggested(found: Suggestion) -> dict[str, Any]:
    return {
        "rules": [_row(rule) for rule in found.rules],
        "questions": [
            {"about": list(q.about), "candidates": list(q.candidates), "text": q.text}
            for q in found.questions
        ],
        "unmatched_source": list(found.unmatched_source),
        "unmatched_target": list(found.unmatched_target),
    }


def _row(rule: Rule) -> dict[str, Any]:
    """Return a rule as a spec says it."""
    row: dict[str, Any] = {
        "match": rule.match,
        "to": rule.to[0] if len(rule.to) == 1 else list(rule.to),
    }
    if rule.operations:
        row["ops"] = [_operation(operation) for operation in rule.operations]
    if rule.join and rule.join.how == "concat" and not rule.join.axis:
        row["fuse"] = [int(rule.join.part), rule.join.count]
    elif rule.join:
        join = rule.join
        row["join"] = {
            "how": join.how,
            "part": join.part,
            "count": str(join.count),
            "axis": join.axis,
        }
    return row


def _operation(operation: Operation) -> dict[str, Any]:
    from dataclasses import asdict

    name = type(operation).__module__.rpartition(".")[2]
    given = asdict(operation)  # type: ignore[call-overload]
    return {name: {k: list(v) if isinstance(v, tuple) else v for k, v in given.items() if v}}


def _as_yaml(rule: Rule) -> str:
    """Write a rule on one line, in the quotes in which YAML leaves backslashes alone."""
    return _flow(_row(rule))


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(item) for item in value) + "]"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return json.dumps(value)


def _told(targets: tuple[str, ...]) -> str:
    return ", ".join(targets) or "dropped"


def _rules(options: argparse.Namespace, spec: Path) -> tuple[Port, ResolvedComponent, Rules]:
    from portspec.errors import UsageError
    from portspec.suggest import did_you_mean
    from portspec.weights.conversion import rules_of, variant_of

    port = port_of(spec, settings_of(argparse.Namespace(target=options.target)))
    component = port.components.get(options.component)
    if component is None or component.spec.conversion is None:
        known = [name for name, c in port.components.items() if c.spec.conversion]
        hint = did_you_mean(options.component, known, f"There are {', '.join(known) or 'none'}.")
        raise UsageError(f"{spec} converts no {options.component}", hint)
    try:
        return port, component, rules_of(component, variant_of(port, options.variant))
    except ValueError as error:  # only where the named variant lacks what another has
        raise UsageError(f"{spec}: {error}", "portspec check says where.") from error


def _surface(path: Path) -> dict[str, Tensor]:
    from portspec.weights.engine.sources import read_tensors
    from portspec.weights.report import raised

    with raised():
        return read_tensors(path)
