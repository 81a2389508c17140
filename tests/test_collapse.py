"""What is written short says no more and no less than the names it stands for."""

from __future__ import annotations

import itertools
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from portspec.weights.collapse import collapsed


def spelled_out(line: str) -> set[str]:
    """Write a line's names out again."""
    pieces = re.split(r"\{([^}]*)\}", line)
    choices = [[p] if i % 2 == 0 else _numbers(p) for i, p in enumerate(pieces)]
    return {"".join(parts) for parts in itertools.product(*choices)}


def _numbers(text: str) -> list[str]:
    found: list[str] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found += [part] if not last else [str(n) for n in range(int(first), int(last) + 1)]
    return found


numbers = st.sampled_from(["0", "1", "2", "3", "7", "11", "007", "1000000"])
names = st.builds(
    "{}.{}.{}.{}".format, st.sampled_from("ab"), numbers, st.sampled_from("xy"), numbers
)


@settings(max_examples=300, deadline=None)
@given(st.sets(names | st.just("plain"), min_size=1, max_size=30))
def test_lines_stand_for_just_the_names(texts: set[str]) -> None:
    lines = collapsed(sorted(texts))
    spelled = [name for line in lines for name in spelled_out(line)]
    assert sorted(spelled) == sorted(texts)


def test_a_missing_layer_is_seen() -> None:
    names = [f"layers.{i}.w" for i in range(30) if i != 17]
    assert collapsed(names) == ["layers.{0-16,18-29}.w"]


def test_a_missing_expert_is_seen() -> None:
    names = [f"l.{i}.e.{j}" for i in range(3) for j in range(4) if (i, j) != (1, 2)]
    assert collapsed(names) == ["l.{0,2}.e.{0-3}", "l.1.e.{0-1,3}"]
