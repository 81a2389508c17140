"""Rename rules that cannot be right, whatever the checkpoint holds."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from portspec.errors import Diagnostic
from portspec.port import Port, ResolvedComponent
from portspec.spec import ConversionRule, Rule

_GROUP = re.compile(r"\\([1-9]\d?)|\\g<(\w+)>")


def check(port: Port) -> Iterator[Diagnostic]:
    """E136 no regular expression, E137 no group, E138 half a fusion, E139 said twice, E149 operations."""
    for name, component in port.spec.components.items():
        base: tuple[str | int, ...] = ("components", name)
        yield from _rules(port, (*base, "mapping"), component.mapping)
        if component.conversion:
            conversion = (*base, "conversion")
            yield from _rules(port, (*conversion, "rules"), component.conversion.rules)
            for index, rule in enumerate(component.conversion.rules):
                yield from _operations(port, port.components[name], index, rule)
            for pattern in component.conversion.drop:
                yield from _pattern(port, (*conversion, "drop", pattern), pattern, key=True)
            for index, pattern in enumerate(component.conversion.keep_fp32):
                yield from _pattern(port, (*conversion, "keep_fp32", index), pattern)
        for pattern in component.unused:
            yield from _pattern(port, (*base, "unused", pattern), pattern, key=True)
        for pattern in component.parity.blind:
            yield from _pattern(port, (*base, "parity", "blind", pattern), pattern, key=True)


def _operations(
    port: Port, component: ResolvedComponent, index: int, rule: ConversionRule
) -> Iterator[Diagnostic]:
    """Try the operations of a rule at the constructor arguments of every variant that has the rule."""
    from portspec.weights.conversion import applies, engine_rule, integers

    path = ("components", component.name, "conversion", "rules", index)
    for args in component.args.values():
        if not applies(rule, args):
            continue
        try:
            engine_rule(rule, integers(args))
        except ValueError as error:
            remedy = "docs/language.md lists the operations and their arguments."
            yield port.complain("E149", str(error), path, remedy, "K15")
            return


def _rules(
    port: Port, base: tuple[str | int, ...], rules: Sequence[Rule | ConversionRule]
) -> Iterator[Diagnostic]:
    seen: dict[str, int] = {}
    for index, rule in enumerate(rules):
        path = (*base, index)
        problems = list(_pattern(port, (*path, "match"), rule.match))
        yield from problems
        if not problems:
            yield from _groups(port, path, rule)
        if rule.match in seen and not getattr(rule, "when", None):
            message = (
                f"rule {seen[rule.match] + 1} has the same pattern and wins; this one never runs"
            )
            yield port.complain("E139", message, (*path, "match"), "Remove one of the two.", "K8")
        seen.setdefault(rule.match, index)
    yield from _fusions(port, base, rules)


def _pattern(
    port: Port, path: tuple[str | int, ...], pattern: str, *, key: bool = False
) -> Iterator[Diagnostic]:
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        position = getattr(error, "pos", None)
        where = f" at character {position + 1}" if position is not None else ""
        remedy = (
            "Close what is opened, and put a backslash before a bracket that is meant as itself."
        )
        yield port.complain(
            "E136",
            f"not a regular expression{where}: {getattr(error, 'msg', error)}",
            path,
            remedy,
            "K8",
            key=key,
        )


def _groups(
    port: Port, path: tuple[str | int, ...], rule: Rule | ConversionRule
) -> Iterator[Diagnostic]:
    texts = [rule.to] if isinstance(rule.to, str) else rule.to
    for text in texts:
        yield from _group(port, path, re.compile(rule.match), text)


def _group(
    port: Port, path: tuple[str | int, ...], pattern: re.Pattern[str], text: str
) -> Iterator[Diagnostic]:
    for found in _GROUP.finditer(text):
        group = found[1] or found[2]
        if int(group) > pattern.groups if group.isdigit() else group not in pattern.groupindex:
            remedy = f"The pattern has {pattern.groups} group{'s' if pattern.groups != 1 else ''}."
            message = f"the replacement uses group {group}, which the pattern does not have"
            yield port.complain("E137", message, (*path, "to"), remedy, "K8")
            return
    if "\\" in _GROUP.sub("", text):
        message = "the replacement has a backslash that leads to no group"
        remedy = "Write names as they are; only a group has a backslash, as `\\1`."
        yield port.complain("E137", message, (*path, "to"), remedy, "K8")


def _fusions(
    port: Port, base: tuple[str | int, ...], rules: Sequence[Rule | ConversionRule]
) -> Iterator[Diagnostic]:
    groups: dict[str, list[int]] = {}
    for index, rule in enumerate(rules):
        if rule.fuse and isinstance(rule.to, str):
            groups.setdefault(rule.to, []).append(index)
    for target, members in groups.items():
        counts = {rules[i].fuse[1] for i in members if rules[i].fuse}  # type: ignore[index]
        indexes = sorted(rules[i].fuse[0] for i in members if rules[i].fuse)  # type: ignore[index]
        # Several sets of rules may fuse into parameters of one name, such as double and single blocks.
        sets = Counter(indexes)
        whole = sorted(sets) == list(range(min(counts))) and len(set(sets.values())) == 1
        if len(counts) != 1 or not whole:
            parts = ", ".join(str(i) for i in indexes)
            count = " or ".join(str(c) for c in sorted(counts))
            message = f"{target} is fused from parts {parts} of {count}"
            remedy = "Give every part an index from 0 to count - 1, and the same count."
            yield port.complain("E138", message, (*base, members[0], "fuse"), remedy, "K8")
