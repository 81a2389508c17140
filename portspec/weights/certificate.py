"""The certificate of a mapping: what it does to every key and byte of a surface, proved before one is moved.

It is drawn from names, shapes and element types alone. What they cannot decide, such as which of two equal
projections is the query, is listed with the keys that it is about.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from portspec.suggest import nearest
from portspec.weights.collapse import collapsed
from portspec.weights.engine.rules import Mapped, Problem, RuleSet, Value
from portspec.weights.engine.tensors import Shape, Tensor, WeightsError

Surface = Mapping[str, Tensor]
Routes = Mapping[str, tuple[int, tuple[str, ...]]]  # published name -> its rule and its names


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about a mapping, with the keys and bytes it concerns; `rule` is the rule at fault, or -1."""

    code: str
    message: str
    rule: int = -1
    keys: tuple[str, ...] = ()
    nbytes: int = 0


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a mapping does to a surface. It holds when there are no findings whose code starts with E."""

    keys: int
    nbytes: int
    dropped_keys: int
    dropped_bytes: int
    renamed: int
    computed: int
    findings: tuple[Finding, ...]
    look_alikes: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Every element has one source and one fate."""
        return not any(finding.code.startswith("E") for finding in self.findings)


def certify(source: Surface, target: Mapping[str, Shape] | None, rules: RuleSet) -> Certificate:
    """Apply rules to a surface and prove what follows.

    Args:
        source: The published tensors.
        target: Names and shapes that must come out; None when only the rules are to be judged.
        rules: The mapping.
    """
    mapped = rules.apply(source)
    findings = [*_problems(mapped)]
    if target is not None:
        findings += against(mapped.outputs, mapped.routes, target)
    findings += [*_rules(mapped, source, rules), *_sides(mapped, rules), *_one_way(mapped)]
    findings += _scales(mapped, source)
    dropped = [source[name] for name in mapped.dropped]
    outputs = mapped.outputs
    return Certificate(
        len(source),
        _bytes(source.values()),
        len(dropped),
        _bytes(dropped),
        sum(value.names != (name,) for name, value in outputs.items()),
        sum(value.runs is None for value in outputs.values()),
        tuple(findings),
        tuple(look_alikes({name: value.type.shape for name, value in outputs.items()})),
    )


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.type.nbytes for tensor in tensors)


def listed(names: Iterable[str], most: int = 3) -> str:
    """Return names in short, exactly; of many, how many more there are."""
    lines = collapsed(names)
    more = f" and {len(lines) - most} more" if len(lines) > most else ""
    return ", ".join(lines[:most]) + more


def _problems(mapped: Mapped) -> Iterator[Finding]:
    """Yield what applying the rules has met, one finding for each code and rule."""
    groups: dict[tuple[str, int], list[Problem]] = defaultdict(list)
    for problem in mapped.problems:
        groups[problem.code, problem.rule].append(problem)
    for (code, rule), problems in groups.items():
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        yield Finding(code, problems[0].message + more, rule)


def against(
    outputs: Mapping[str, Value], routes: Routes, target: Mapping[str, Shape]
) -> Iterator[Finding]:
    """Compare what comes out with what must; `routes` say which rule is at fault."""
    missing = [name for name in target if name not in outputs]
    strangers: dict[int, list[str]] = defaultdict(list)
    unlike: dict[int, list[str]] = defaultdict(list)
    for name, value in outputs.items():
        rule = routes.get(value.names[0], (-1, ()))[0]
        if name not in target:
            strangers[rule].append(name)
        elif value.type.shape != target[name]:
            unlike[rule].append(name)
    for rule, names in unlike.items():
        first = outputs[names[0]]
        others = f" (and {len(names) - 1:,} more of this rule)" if len(names) > 1 else ""
        message = (
            f"{names[0]} is {list(target[names[0]])}, and {', '.join(first.names)} "
            f"gives {list(first.type.shape)}{others}"
        )
        keys = tuple(key for name in names for key in outputs[name].names)
        yield Finding("E504", message, rule, keys, sum(outputs[n].type.nbytes for n in names))
    for rule, names in strangers.items():
        values = [outputs[name] for name in names]
        close = nearest(names[0], missing)
        hint = f"; the nearest there is {close}" if close else ""
        message = f"{listed(names)}: the target has no such name{hint}"
        keys = tuple(key for value in values for key in value.names)
        yield Finding("E501", message, rule, keys, sum(v.type.nbytes for v in values))
    if missing:
        message = f"nothing is written to {listed(missing)}"
        yield Finding("E502", message, -1, tuple(missing))


def _rules(mapped: Mapped, source: Surface, rules: RuleSet) -> Iterator[Finding]:
    """Find rules that no key meets, that others take the keys of, or that change nothing."""
    users: dict[int, list[str]] = defaultdict(list)
    for name in source:
        known = mapped.routes.get(name)
        users[known[0] if known else rules.number_of(name)].append(name)
    for index, rule in enumerate(rules.rules):
        if index not in users:
            yield _never_runs(index, source, rules)
        elif not (rule.reason or rule.join or rule.operations) and all(
            mapped.routes.get(name, (-1, ()))[1] == (name,) for name in users[index]
        ):
            message = (
                f"'{rule.match}' changes none of the {len(users[index])} names that it matches"
            )
            yield Finding("W506", message, index, tuple(users[index]))


def _never_runs(index: int, source: Surface, rules: RuleSet) -> Finding:
    rule = rules.rules[index]
    taken = [name for name in source if re.match(rule.match, name)]
    if not taken:
        return Finding("E506", f"no published name matches '{rule.match}'", index)
    first = rules.rules[rules.number_of(taken[0])]
    message = f"'{first.match}' takes {listed(taken)} before '{rule.match}' can"
    return Finding("E507", message, index, tuple(taken))


def _sides(mapped: Mapped, rules: RuleSet) -> Iterator[Finding]:
    """Find names that are changed again when converted tensors are taken for published ones."""
    again: dict[int, list[str]] = defaultdict(list)
    names = list(mapped.outputs)
    try:
        routes = rules.routes(names)
    except (
        ValueError
    ):  # arithmetic over what is no number: a rule that cannot be applied to its own results
        return
    for name, (rule, *texts) in zip(names, routes, strict=True):
        if rule >= 0 and (rules.rules[rule].reason or texts != [name]):
            again[rule].append(name)
    for rule, changed in again.items():
        message = f"applied to what is converted already, this rule changes {listed(changed)}"
        yield Finding("N507", message, rule, tuple(changed))


def _scales(mapped: Mapped, source: Surface) -> Iterator[Finding]:
    """Find quantised tensors that are kept while the scale that gives them their meaning is dropped."""
    for name in mapped.dropped:
        kept = next((k for k in _scaled_by(name) if k in source and k not in mapped.dropped), None)
        if kept and source[kept].dtype.startswith(_QUANTISED):
            rule = mapped.routes[name][0]
            message = (
                f"{name} is dropped, and {kept} ({source[kept].dtype}) means nothing without it"
            )
            yield Finding("E532", message, rule, (name, kept), source[kept].type.nbytes)


_QUANTISED = ("F8", "F6", "F4", "I8", "U8")


def _scaled_by(name: str) -> Iterator[str]:
    """Yield the names of tensors that a scale of this name can belong to."""
    stem, _, leaf = name.rpartition(".")
    if leaf.startswith("scale"):
        yield f"{stem}.weight"
    for mark in ("_scale", ".scale"):
        if mark in name:
            yield name.rpartition(mark)[0]


def _one_way(mapped: Mapped) -> Iterator[Finding]:
    """Find outputs from which the published tensors cannot be made again."""
    lost = [name for name, value in mapped.outputs.items() if not _can_be_undone(value)]
    if lost:
        message = f"the published tensors cannot be made again from {listed(lost)}"
        yield Finding("N508", message, -1, tuple(lost))


def _can_be_undone(value: Value) -> bool:
    """Tell whether each operation knows its inverse, and the inverse gives back the types that it met."""
    if value.operation is None:
        return True
    kinds = [item.type for item in value.inputs]
    undo = value.operation.inverse(kinds)
    if undo is None:
        return False
    try:
        back = undo.infer(value.operation.infer(kinds))
    except WeightsError:
        return False
    return back == kinds and all(_can_be_undone(item) for item in value.inputs)


def look_alikes(target: Mapping[str, Shape]) -> list[str]:
    """List the sets of tensors that names and shapes cannot tell apart: query and key, scale and shift.

    They have one parent's parent, one last name and one shape. A mapping that exchanges two of them is as
    total and injective as the right one; only numbers can tell.

    Example:
        >>> look_alikes({f"b.{i}.to_{x}.weight": (4, 4) for i in range(3) for x in "qk"})
        ['b.{0-2}.(to_k | to_q).weight [4, 4]']
    """
    groups: dict[tuple[str, str, Shape], list[str]] = defaultdict(list)
    for name, shape in target.items():
        parent, _, leaf = name.rpartition(".")
        above, _, own = parent.rpartition(".")
        groups[above, leaf, shape].append(own)
    shapes: dict[str, Shape] = {}
    for (above, leaf, shape), members in groups.items():
        names = sorted({name for name in members if name and not name.isdigit()})
        if len(names) > 1:
            shapes[f"{above}{'.' if above else ''}({' | '.join(names)}).{leaf}"] = shape
    by_shape: dict[Shape, list[str]] = defaultdict(list)
    for text, shape in shapes.items():
        by_shape[shape].append(text)
    return [f"{line} {list(s)}" for s, texts in by_shape.items() for line in collapsed(texts)]


def side_of(names: Iterable[str], source: Iterable[str], target: Iterable[str]) -> str:
    """Tell which side's names these are: "source", "target", "both", "mixed" or "neither".

    Example:
        >>> side_of(["model.a"], ["model.a"], ["a"])
        'source'
    """
    given, old, new = set(names), set(source), set(target)
    if not given <= old | new:
        return "neither"
    if given <= old & new:
        return "both"
    if given <= old:
        return "source"
    return "target" if given <= new else "mixed"


def rerouted(
    source: Surface, old: RuleSet, new: RuleSet
) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """Return the names that two sets of rules send to different places, with both places."""
    before, after = old.apply(source).routes, new.apply(source).routes
    nowhere: tuple[int, tuple[str, ...]] = (-1, ())
    return {
        name: (before.get(name, nowhere)[1], after.get(name, nowhere)[1])
        for name in source
        if before.get(name, nowhere)[1] != after.get(name, nowhere)[1]
    }
