"""Renaming of checkpoint keys: the same as FastVideo's, only faster."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portspec.weights.engine.names import Names, evaluate

Rules = Sequence[tuple[str, str]]


def plainly(rules: Rules, name: str) -> tuple[int, str]:
    """What the rules mean, one name at a time."""
    for index, (pattern, replacement) in enumerate(rules):
        if re.match(pattern, name):
            return index, re.sub(pattern, replacement, name)
    return -1, name


def routed(rules: Rules, names: Sequence[str]) -> list[tuple[int, str]]:
    found = Names([(pattern, [replacement]) for pattern, replacement in rules]).routes(names)
    return [
        (rule, texts[0] if texts else n) for n, (rule, *texts) in zip(names, found, strict=True)
    ]


# Patterns that look at digits in every way that a pattern can.
PATTERNS = [
    (r"^blocks\.(\d+)\.attn\.(.*)$", r"layers.\1.\2"),
    (r"^blocks\.(0|1)\.(.*)$", r"first.\1.\2"),
    (r"^blocks\.([0-4])\.(.*)$", r"low.\1.\2"),
    (r"^blocks\.([5-9]+)(.*)$", r"high\1\2"),
    (r"^(\d+)\.(\d+)\.\2", r"\1-\2"),
    (r"^(?P<a>\w+)\.(?P=a)", r"\g<a>!"),
    (r"^(\d)(\d)", r"\2\1"),
    (r"^(\d{2})\.", r"two\1"),
    (r"^(.*)(\d+)$", r"\2\1"),
    (r"(\d+)", r"<\1>"),
    (r"^a?(b)?", r"[\1]"),
    (r"x*", "-"),
    (r"^100%\.(\d+)", r"%s.\1%"),
    (r"^[\d.]+$", "numbers"),
    (r"^[+-9]\.", "range"),
    (r"^\x31", "one"),
    (r"^a\.[^1]", "not one"),
    (r"^(?:(\d+)|([a-z]+))\.", r"\1\2:"),
    (r"^\w+\.\d+(?=\.7)", "seven"),
    (r"^.{4}", "four"),
    # What stands beside a digit is no proof of a whole number.
    (r"^up\d*(?:2_|b)w$", "two"),
    (r"^blocks\.\d*(?:2x)", "two"),
    (r"^a\d*(?i:2x)", "two"),
    (r"^x[a2b]\d*", "class"),
    (r"^x[+-5a]\d*", "range"),
    (r"^a\\.2b", "escaped"),
    (r"^a\[0-9]", "bracket"),
    (r"(?x)^\d*a2b ?", "verbose"),
    (r"^(?:a\.)+1\.", "repeated"),
    (r"^(?:a|x)\.(10|12|3)\.", r"some.\1."),
    (r"^a\.(?=1\.)", "ahead"),
    (r"^(a\.|x)1(\.|$)", r"\1one\2"),
]
AROUND = [
    ("up", "_w"),
    ("up", "w"),
    ("blocks.", "x"),
    ("a", "x"),
    ("a", "2X"),
    ("x", ""),
    ("x", "+"),
]
AROUND += [
    ("a\\", "b"),
    ("a\\z", "b"),
    ("a[", "-9]"),
    ("a[0-", "]"),
    ("", "a2b"),
    ("3a", "b"),
    ("a.a.", ".c"),
]
AROUND += [("x.", ".y"), ("a.", "."), ("x", ".z"), ("x", "x")]
names = st.from_regex(
    r"(blocks|a|b|ab|100%|x|)(\.?[0-9]{1,3}|\.attn|\.b|\.[0-9]){0,4}", fullmatch=True
)


@settings(max_examples=300, deadline=None)
@given(
    rules=st.lists(st.sampled_from(PATTERNS), max_size=4),
    texts=st.lists(names, min_size=1, max_size=12),
)
def test_many_names_at_once_are_each_name_alone(rules: Rules, texts: list[str]) -> None:
    assert routed(rules, texts) == [plainly(rules, text) for text in texts]


@pytest.mark.parametrize("rule", PATTERNS, ids=lambda rule: rule[0])
def test_digits_that_look_alike_are_not_confused(rule: tuple[str, str]) -> None:
    """All numbers below 120, in every place, in one call: each is still itself."""
    texts = [f"blocks.{i}.attn.{j}.7" for i in range(12) for j in range(12)]
    texts += [f"{i}.{j}.{j}" for i in range(12) for j in range(12)]
    texts += [f"{i}" for i in range(120)] + [f"a.{i}" for i in range(12)]
    texts += [f"{head}{i}{tail}" for i in range(24) for head, tail in AROUND]
    assert routed([rule], texts) == [plainly([rule], text) for text in texts]


def test_names_may_hold_anything() -> None:
    texts = ["blocks.1.attn.é", "blocks.2.attn.\n", "", "100%.3", "\u0661.x", "a\0.1", "\ud800.2"]
    rules = [(r"^blocks\.(\d+)\.attn\.(.*)", r"%d\1\2"), (r"^(\d)\.", r"\1")]
    assert routed(rules, texts) == [plainly(rules, text) for text in texts]


def test_arithmetic_in_a_replacement() -> None:
    rules = [(r"^up\.(\d+)\.(?P<rest>.*)$", [r"up.{\1 // 4}.{\1 % 4 + shift}.\g<rest>"])]
    found = Names(rules, {"shift": 1}).routes([f"up.{i}.w" for i in range(8)])
    assert [text for _, text in found] == [f"up.{i // 4}.{i % 4 + 1}.w" for i in range(8)]


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("heads / 2", "/"),
        ("heads ** 2", "**"),
        ("layers", "layers"),
        ("flag", "flag"),
        ("1 // 0", "zero"),
        ("1 +", "arithmetic"),
        ("__import__('os')", "__import__"),
        ("1.5", "1.5"),
        ("True", "True"),
        ("(" * 400, "arithmetic"),
    ],
)
def test_what_is_no_arithmetic_is_refused(expression: str, said: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        evaluate(expression, {"heads": 4, "flag": True})
    assert said in str(caught.value)
