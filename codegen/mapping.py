"""FastVideo's renaming of checkpoint keys, replayed on names and shapes, and the proof of a bijection.

Semantics of `get_param_names_mapping` and `hf_to_custom_state_dict` (fastvideo/models/loader/utils.py) and
of the encoders' `load_weights` (fastvideo/models/encoders/t5.py), FastVideo 0.2.1: the first pattern that
`re.match`es wins and is applied with `re.sub`; names that nothing matches keep their name; parts of a fused
tensor are concatenated along the first axis in the order of their index.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

Shape = tuple[int, ...]
Surface = Mapping[str, Shape]


@dataclass(frozen=True, slots=True)
class RenameRow:
    """One row of `param_names_mapping`; `part` is (index, count) when the target is fused."""

    pattern: str
    replacement: str
    part: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class StackRow:
    """One row of `stacked_params_mapping`: the fused name, the name in the checkpoint, and its part."""

    fused: str
    single: str
    index: int
    count: int


@dataclass(frozen=True, slots=True)
class Route:
    """Where a checkpoint key goes; `rule` is the index of the row that sent it there, or -1."""

    target: str
    part: tuple[int, int] | None
    rule: int


@dataclass(frozen=True, slots=True)
class Problem:
    """What keeps a mapping from being a bijection, with the code of its page."""

    code: str
    message: str


@dataclass(frozen=True)
class KeyMap:
    """The rules of one component; `aliases` are further names of native tensors that are tied."""

    renames: Sequence[RenameRow] = ()
    stacks: Sequence[StackRow] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)

    def route(self, name: str, native: Surface) -> Route:
        """Return where a key goes."""
        route = self._route(name, native)
        return replace(route, target=self.aliases.get(route.target, route.target))

    def _route(self, name: str, native: Surface) -> Route:
        for index, row in enumerate(self.renames):
            if re.match(row.pattern, name):
                return Route(re.sub(row.pattern, row.replacement, name), row.part, index)
        for index, stack in enumerate(self.stacks):
            fused = name.replace(stack.single, stack.fused)
            if stack.single in name and fused in native:
                return Route(fused, (stack.index, stack.count), index)
        return Route(name, None, -1)


def certify(
    official: Surface, native: Surface, keys: KeyMap, unused: Sequence[str]
) -> Iterator[Problem]:
    """Yield what is wrong; nothing means that every element has exactly one source and one fate.

    Args:
        official: Published keys with their shapes.
        native: Keys of the native module with their shapes.
        keys: The rules.
        unused: Patterns of published keys that are declared not to be read.
    """
    arrivals: dict[str, list[tuple[str, Route]]] = defaultdict(list)
    for name in official:
        if any(re.match(pattern, name) for pattern in unused):
            continue
        route = keys.route(name, native)
        if route.target in native:
            arrivals[route.target].append((name, route))
        else:
            yield Problem(
                "E501", f"{name} goes to {route.target}, which the native class does not have"
            )
    for name in native:
        if name not in arrivals:
            yield Problem("E502", f"nothing is written to {name}")
    for target, sources in arrivals.items():
        yield from _arrival(target, native[target], sources, official)
    yield from _rules(official, native, keys)
    yield from _unused(official, unused)


def _arrival(
    target: str, shape: Shape, sources: Sequence[tuple[str, Route]], official: Surface
) -> Iterator[Problem]:
    parts = [route.part for _, route in sources if route.part]
    names = ", ".join(name for name, _ in sources)
    if not parts and len(sources) > 1:
        yield Problem("E503", f"{target} is written by {names}")
        return
    if parts:
        count = parts[0][1]
        if len(parts) != len(sources) or sorted(p[0] for p in parts) != list(range(count)):
            yield Problem("E505", f"{target} is fused from {count} parts and gets {names}")
            return
    shapes = [official[name] for name, _ in sources]
    arrived = (sum(s[0] for s in shapes), *shapes[0][1:]) if parts else shapes[0]
    if arrived != shape or any(s[1:] != shapes[0][1:] for s in shapes):
        yield Problem("E504", f"{target} is {list(shape)}, and {names} gives {list(arrived)}")


def _rules(official: Surface, native: Surface, keys: KeyMap) -> Iterator[Problem]:
    """Find renames that never run, or that run and change nothing."""
    used: dict[int, bool] = {}
    for name in official:
        route = keys.route(name, native)
        used[route.rule] = (
            used.get(route.rule, False) or route.target != name or route.part is not None
        )
    for index, row in enumerate(keys.renames):
        if index in used:
            continue
        earlier = next((r for r in keys.renames[:index] if _takes(r, row, official)), None)
        if earlier:
            message = (
                f"the rule {row.pattern!r} never runs: {earlier.pattern!r} takes its keys first"
            )
            yield Problem("E507", message)


def _takes(earlier: RenameRow, row: RenameRow, official: Surface) -> bool:
    mine = [name for name in official if re.match(row.pattern, name)]
    return bool(mine) and all(re.match(earlier.pattern, name) for name in mine)


def _unused(official: Surface, unused: Sequence[str]) -> Iterator[Problem]:
    for pattern in unused:
        if not any(re.match(pattern, name) for name in official):
            yield Problem("E509", f"no published key matches {pattern!r}, which is declared unused")


def dead_rules(official: Surface, native: Surface, keys: KeyMap) -> list[str]:
    """List the renames that no published key meets; a table shared by several models has some."""
    used = {keys.route(name, native).rule for name in official}
    return [row.pattern for index, row in enumerate(keys.renames) if index not in used]


def look_alikes(native: Surface) -> int:
    """Count tensors that names alone cannot tell apart: same parent, same shape, another of the same kind.

    A mapping that swaps two of them is still a bijection; only numbers can tell, so the numeric gates must
    see them.
    """
    groups: dict[tuple[str, str, Shape], int] = defaultdict(int)
    for name, shape in native.items():
        parent, _, leaf = name.rpartition(".")
        groups[(parent.rpartition(".")[0], leaf, shape)] += 1
    return sum(size for size in groups.values() if size > 1)
