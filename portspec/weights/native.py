"""The tables by which a native class renames what it loads, as rules that can be proved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from portspec.weights.certificate import Finding, Surface, listed
from portspec.weights.engine.rules import Rule, RuleSet
from portspec.weights.importers.fastvideo import rules_from, stacked_rules

Tables = Mapping[str, Sequence[Sequence[Any]]]


def native_rules(tables: Tables, unused: Mapping[str, str]) -> RuleSet:
    """Return what a class does to published names: its renames or, where it has none, its stacks.

    `unused` gives patterns of names that it does not read, each with the reason.
    """
    dropped = [Rule(pattern, reason=reason) for pattern, reason in unused.items()]
    rules = _renames(tables, "param_names_mapping")
    return RuleSet([*dropped, *(rules or stacked_rules(tables.get("stacked_params_mapping", ())))])


def _renames(tables: Tables, name: str) -> tuple[Rule, ...]:
    return rules_from({"src": src, "dst": dst} for src, dst in tables.get(name, ())).rules


def returning(published: Surface, rules: RuleSet, tables: Tables) -> Iterator[Finding]:
    """Send every name there and back by the class's reverse table, and find those that do not come home.

    Fused tensors have no single name to come home to, so they are left out.
    """
    reverse = _renames(tables, "reverse_param_names_mapping")
    if not reverse:
        return
    mapped = rules.apply(published)
    there = {t: v.names[0] for t, v in mapped.outputs.items() if len(v.names) == 1}
    back = zip(there, RuleSet(reverse).routes(list(there)), strict=True)
    lost = [there[t] for t, (_, *texts) in back if (texts[0] if texts else t) != there[t]]
    if lost:
        message = f"{listed(lost)}: reverse_param_names_mapping does not lead back to them"
        yield Finding("E508", message, -1, tuple(lost))
