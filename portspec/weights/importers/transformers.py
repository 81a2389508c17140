r"""The conversion mapping of transformers 5: regular expressions to search for, and operations.

All renames that match are applied in turn, then at most one converter. What a pattern finds first in a name
is replaced, once; the rest of the name stays. A rule of ours spells that out: the text before and after the
pattern are groups. Only where a pattern looks behind itself do the two differ: transformers then replaces the
first text that reads like what was found, and we what was found.

A transposition does not say which axes it exchanges; in the mapping it is always the last two.

A group of renames that holds only where a first one has matched is translated without that condition: it is
right for published names, and the certificate's N507 tells of it for others.

Not expressible:

- Taking a tensor apart and then reordering only some of the parts: only the last operation gives several.
- Parts of sizes that the row does not say, and the operations made for one model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from portspec.weights.engine.ops import Operation
from portspec.weights.engine.ops.flatten import Flatten
from portspec.weights.engine.ops.interleave import Interleave
from portspec.weights.engine.ops.rotary import Rotary
from portspec.weights.engine.ops.split import Split
from portspec.weights.engine.ops.transpose import Transpose
from portspec.weights.engine.ops.unflatten import Unflatten
from portspec.weights.engine.rules import Join, Rule
from portspec.weights.importers import Imported, Row, UntranslatedError, needed, translated

_RENAMES = ("WeightRenaming", "PrefixChange")
_GLOB = re.compile(r"(\\?\.|(?<=_))\*\.")
_OFFSET = "index_offset"
_HEADS = "num_attention_heads"

Step = tuple[str, int]  # an operation and its axis


def rules_from(rows: Iterable[Row], values: Mapping[str, int] | None = None) -> Imported:
    """Translate rows with `type`, lists `src` and `dst`, and perhaps `ops`.

    Args:
        rows: The rows.
        values: Numbers of the model's config that operations need: `num_attention_heads`, `index_offset`.
    """
    return translated(rows, lambda row: _rules(row, values or {}))


def _rules(row: Row, values: Mapping[str, int]) -> list[Rule]:
    if row["type"] in _RENAMES:
        return [_rule(source, row["dst"]) for source in row["src"]]
    if row["type"] == "GroupWeightRename":
        return [_rule(s, [to]) for s, to in zip(row["src"], row["dst"], strict=True)]
    if row["type"] == "WeightConverter":
        return _converter(row["src"], row["dst"], [_step(text) for text in row["ops"]], values)
    if row["type"].endswith("IndexOffsetWeightRename"):
        number = rf"{{\1 + {needed(values, _OFFSET)}}}"
        return [_rule(row["src"][0], [row["dst"][0].replace(r"\1", number)])]
    raise UntranslatedError(f"{row['type']} is unknown")


def _step(text: str) -> Step:
    name, _, axis = text.partition("(dim=")
    return name, int(axis.rstrip(")") or 0)


def _converter(
    sources: Sequence[str], targets: Sequence[str], steps: Sequence[Step], values: Mapping[str, int]
) -> list[Rule]:
    match [name for name, _ in steps]:
        case ["MergeModulelist"] if len(sources) == 1:
            return [_rule(sources[0], targets, (), _numbered("stack", steps[0][1]))]
        case ["Concatenate"] if len(sources) == 1:
            return [_rule(sources[0], targets, (), _numbered("concat", steps[0][1]))]
        case ["Concatenate"]:
            count, axis = len(sources), steps[0][1]
            joins = [Join("concat", str(index), count, axis) for index in range(count)]
            return [_rule(s, targets, (), j) for s, j in zip(sources, joins, strict=True)]
        case ["MergeModulelist", "Concatenate"]:
            return _joined_stacks(sources, targets, [axis for _, axis in steps])
        case ["Chunk", "PermuteForRope"]:
            raise UntranslatedError("only some of the parts are reordered after a split")
    operations = tuple(_operation(step, len(targets), values) for step in steps)
    return [_rule(source, targets, operations) for source in sources]


def _joined_stacks(
    sources: Sequence[str], targets: Sequence[str], axes: Sequence[int]
) -> list[Rule]:
    """Return rules for stacks that are joined along their second axis: one stack, in turn from each."""
    if list(axes) != [0, 1]:
        raise UntranslatedError(f"stacks along axis {axes[0]} are joined along axis {axes[1]}")
    count = len(sources)
    after = (Unflatten(-count), Flatten(1))
    parts = [rf"{{\g<part> * {count} + {index}}}" for index in range(count)]
    joins = [Join("stack", part, 0, 0, after) for part in parts]
    return [_rule(s, targets, (), j) for s, j in zip(sources, joins, strict=True)]


def _numbered(how: str, axis: int) -> Join:
    return Join(how, r"\g<part>", 0, axis)


def _operation(step: Step, parts: int, values: Mapping[str, int]) -> Operation:
    name, axis = step
    match name:
        case "Chunk":
            return Split(parts, (), axis)
        case "Interleave":
            return Interleave(axis, 2, 1, undo=True)
        case "Transpose":
            return Transpose(-2, -1)
        case "PermuteForRope":
            return Rotary(needed(values, _HEADS), 0, undo=True)
        case "Split":
            raise UntranslatedError("the row does not say the sizes of the parts")
    raise UntranslatedError(f"{name} was made for one model")


def _rule(
    source: str,
    targets: Sequence[str],
    operations: tuple[Operation, ...] = (),
    join: Join | None = None,
) -> Rule:
    """Return a rule that replaces what a pattern finds first, once."""
    number = r"(?P<part>\d+)" if join and not join.part.isdigit() else ".*"
    pattern = _GLOB.sub(lambda found: re.escape(found[1][-1:]) + number + r"\.", source)
    match = rf"^(?P<before>.*?)(?:{pattern})(?P<after>.*)$"
    return Rule(match, tuple(_template(to) for to in targets), operations, join)


def _template(target: str) -> str:
    """Return the new name; the groups of the pattern follow that of the text before it."""
    text = target.removeprefix("^").removesuffix("$").replace(r"\.", ".")
    text = re.sub(r"\\(\d)", lambda group: rf"\g<{int(group[1]) + 1}>", text)
    return rf"\g<before>{text}\g<after>"
