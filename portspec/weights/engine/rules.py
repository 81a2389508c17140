"""Where every tensor goes: rules over names, and over the elements of what they name."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from portspec.weights.engine.alike import Row
from portspec.weights.engine.names import Names
from portspec.weights.engine.ops import Operation
from portspec.weights.engine.ops.cast import Cast
from portspec.weights.engine.ops.concat import Concat
from portspec.weights.engine.ops.stack import Stack
from portspec.weights.engine.ops.weight_norm import WeightNorm
from portspec.weights.engine.ranges import Run
from portspec.weights.engine.tensors import TORCH_NAMES, Tensor, TensorType, WeightsError

_HALF_OR_MORE = frozenset({"F64", "F32", "F16", "BF16"})


@dataclass(frozen=True, slots=True)
class Join:
    r"""Which part of a joined tensor a rule gives.

    `part` is a number, or a template such as `\2`; `count` is how many must come, 0 for as many as do. What
    is joined goes through the operations `after`, each of which gives one tensor.
    """

    how: str
    part: str
    count: int = 0
    axis: int = 0
    after: tuple[Operation, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """What happens to the tensors whose names a pattern matches.

    The operations are applied in order; the last may give several tensors, one for each name in `to`, or for
    each `i` of a single name. A rule with a `reason` drops what it matches.
    """

    match: str
    to: tuple[str, ...] = ()
    operations: tuple[Operation, ...] = ()
    join: Join | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """A tensor that is not there yet: its type, and the runs of bytes or the computation that give it."""

    type: TensorType
    names: tuple[str, ...]  # of the tensors that it is made of
    runs: tuple[Run, ...] | None
    tensor: Tensor | None = None  # set where it is a tensor of a file
    operation: Operation | None = None
    inputs: tuple[Value, ...] = ()
    index: int = 0


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with where the tensors go. `rule` is the rule at fault, or -1."""

    code: str
    message: str
    rule: int = -1


@dataclass(slots=True)
class Mapped:
    """The result of applying rules to a surface."""

    outputs: dict[str, Value] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)  # name -> reason
    routes: dict[str, tuple[int, tuple[str, ...]]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def leaf(name: str, tensor: Tensor) -> Value:
    """Return a tensor of a file as a value."""
    run = Run(tensor.file, tensor.start, tensor.type.nbytes)
    return Value(tensor.type, (name,), None if tensor.strides else (run,), tensor)


def applied(operation: Operation, inputs: Sequence[Value]) -> list[Value]:
    """Return the results of an operation, uncomputed.

    Raises:
        WeightsError: E530 it does not fit the inputs.
    """
    kinds = [value.type for value in inputs]
    results = operation.infer(kinds)
    runs = [value.runs for value in inputs if value.runs is not None]
    ranges = operation.ranges(kinds, runs) if len(runs) == len(inputs) else None
    if ranges is None and any(kind.dtype not in TORCH_NAMES for kind in (*kinds, *results)):
        raise WeightsError("E530", f"{kinds[0]} can be moved whole, and not computed with")
    names = tuple(dict.fromkeys(name for value in inputs for name in value.names))
    return [
        Value(kind, names, tuple(ranges[i]) if ranges else None, None, operation, tuple(inputs), i)
        for i, kind in enumerate(results)
    ]


class RuleSet:
    """Ordered rules; names that none of them matches keep their name."""

    def __init__(self, rules: Sequence[Rule], values: Mapping[str, int] | None = None) -> None:
        self.rules = tuple(rules)
        parts = [(rule.join.part,) if rule.join else () for rule in rules]
        texts = [(*rule.to, *part) for rule, part in zip(rules, parts, strict=True)]
        self._numbered = [len(rule.to) == 1 and _has_number(rule.to[0]) for rule in rules]
        several = zip(rules, texts, self._numbered, strict=True)
        self._names = Names([(r.match, t[1:] if n else t) for r, t, n in several], values)
        self._indexed = Names([(r.match, r.to) for r in rules], values)

    def route(self, name: str) -> Row:
        """Return the rule that a name meets, or -1, and its names with the part of a join."""
        return self._names.route(name)

    def routes(self, names: Sequence[str]) -> list[Row]:
        """Route many names, in order."""
        return self._names.routes(names)

    def apply(self, source: Mapping[str, Tensor]) -> Mapped:
        """Send every tensor where it goes; what is wrong is collected."""
        found = Mapped()
        joins: dict[tuple[str, str, int], list[tuple[int, int, Value]]] = defaultdict(list)
        for (name, tensor), route in zip(source.items(), self._routed(list(source)), strict=True):
            if isinstance(route, ValueError):
                rule = self.number_of(name)
                found.problems.append(Problem("E531", f"{name}: {route}", rule))
                continue
            try:
                self._send(name, tensor, route, found, joins)
            except WeightsError as error:
                found.problems.append(Problem(error.code, f"{name}: {error.message}", route[0]))
            except ValueError as error:
                found.problems.append(Problem("E531", f"{name}: {error}", route[0]))
        for (target, how, axis), parts in joins.items():
            self._join(target, how, axis, parts, found)
        return found

    def _routed(self, names: Sequence[str]) -> Iterator[Row | ValueError]:
        """Route all names, or say of each what makes its arithmetic impossible."""
        try:
            yield from self._names.routes(names)
        except ValueError:
            for name in names:
                try:
                    yield self._names.route(name)
                except ValueError as error:
                    yield error

    def number_of(self, name: str) -> int:
        """Return the first rule that matches a name, or -1."""
        matching = (i for i, rule in enumerate(self.rules) if re.match(rule.match, name))
        return next(matching, -1)

    def _send(
        self,
        name: str,
        tensor: Tensor,
        route: Row,
        found: Mapped,
        joins: dict[tuple[str, str, int], list[tuple[int, int, Value]]],
    ) -> None:
        number, *texts = route
        value = leaf(name, tensor)
        if number < 0:
            found.routes[name] = (-1, (name,))
            self._place(name, value, -1, found)
            return
        rule = self.rules[number]
        if rule.reason:
            found.dropped[name] = rule.reason
            found.routes[name] = (number, ())
            return
        values = [value]
        for operation in rule.operations:
            if len(values) != 1:
                raise WeightsError("E530", "only the last operation may give several tensors")
            values = applied(operation, values)
        part = int(texts[-1]) if rule.join else 0
        targets = tuple(texts[: len(rule.to)])
        if self._numbered[number]:
            targets = self._indexed.numbered(name, number, len(values))
        if len(targets) != len(values):
            message = f"the rule gives {len(values)} tensors and names {len(targets)}"
            raise WeightsError("E530", message)
        found.routes[name] = (number, targets)
        for target, result in zip(targets, values, strict=True):
            if rule.join:
                joins[target, rule.join.how, rule.join.axis].append((part, number, result))
            else:
                self._place(target, result, number, found)

    def _place(self, target: str, value: Value, rule: int, found: Mapped) -> None:
        if not target or target == "__metadata__":
            message = f"{', '.join(value.names)} would be a tensor named {target!r}"
            found.problems.append(Problem("E531", message, rule))
            return
        if target in found.outputs:
            others = ", ".join((*found.outputs[target].names, *value.names))
            found.problems.append(Problem("E503", f"{target} is written by {others}", rule))
            return
        found.outputs[target] = value

    def _join(
        self, target: str, how: str, axis: int, parts: list[tuple[int, int, Value]], found: Mapped
    ) -> None:
        parts.sort(key=lambda row: row[0])
        numbers = [part for part, _, _ in parts]
        rule = parts[0][1]
        joins = [join for _, n, _ in parts if (join := self.rules[n].join)]
        wrong = _disagreement(numbers, joins)
        if wrong:
            names = ", ".join(name for _, _, value in parts for name in value.names)
            found.problems.append(
                Problem("E505", f"{target} is joined from {wrong}: {names}", rule)
            )
            return
        operation: Operation
        if how == "concat":
            operation = Concat(len(parts), axis)
        elif how == "stack":
            operation = Stack(len(parts), axis)
        else:
            operation = WeightNorm(axis)
        try:
            (value,) = applied(operation, [value for _, _, value in parts])
            for later in joins[0].after:
                value = _one(applied(later, [value]))
        except WeightsError as error:
            found.problems.append(Problem(error.code, f"{target}: {error.message}", rule))
            return
        self._place(target, value, rule, found)


def _has_number(template: str) -> bool:
    return any(re.search(r"\bi\b", found) for found in re.findall(r"\{([^{}]*)\}", template))


def _disagreement(numbers: Sequence[int], joins: Sequence[Join]) -> str:
    """Say what parts are no whole, or are to become different ones; nothing when all is well."""
    counts = sorted({join.count for join in joins})
    count = counts[-1] or len(numbers)
    if numbers != list(range(count)) or len(counts) != 1:
        wanted = f"{count} parts" if len(counts) == 1 else f"{counts} parts"
        return f"{wanted} and gets {_counted(numbers)}"
    if len({join.after for join in joins}) != 1:
        return "parts whose rules do different things after the join"
    return ""


def _one(values: Sequence[Value]) -> Value:
    if len(values) != 1:
        raise WeightsError("E530", "after a join, an operation must give one tensor")
    return values[0]


def _counted(numbers: Sequence[int]) -> str:
    return ", ".join(f"part {number}" for number in numbers)


def cast(
    outputs: Mapping[str, Value], dtype: str, keep: Sequence[str]
) -> Iterator[tuple[str, Value | Problem]]:
    """Yield every output in the element type to store, fp32 where one of the patterns `keep` matches.

    Integers stay what they are. Quantised values mean nothing without their scale, so they are refused.
    """
    patterns = [re.compile(pattern) for pattern in keep]
    for name, value in outputs.items():
        wanted = "F32" if any(p.match(name) for p in patterns) else dtype
        if value.type.dtype.startswith(("F8", "F4", "F6")):
            message = (
                f"{name} is quantised ({value.type.dtype}), and its scale would be lost by a cast"
            )
            yield name, Problem("E532", message)
        elif value.type.dtype in _HALF_OR_MORE and value.type.dtype != wanted:
            yield name, applied(Cast(wanted), [value])[0]
        else:
            yield name, value
