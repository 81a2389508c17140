"""One suggestion, the best one, or none: a wrong suggestion is worse than silence."""

from __future__ import annotations

from collections.abc import Iterable


def distance(a: str, b: str) -> int:
    """Count the edits between two words, where swapping two neighbours is one edit.

    Example:
        >>> distance("dti", "dit"), distance("reuse", "reuse"), distance("kind", "kinds")
        (1, 0, 1)
    """
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        older, before, row = before, row, [i]
        for j, y in enumerate(b, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, older[j - 2] + 1)
            row.append(cost)
    return row[-1]


def nearest(word: str, candidates: Iterable[str]) -> str | None:
    """Return the candidate closest to `word`, if it is close enough to be what was meant.

    Of two that are as close, the one that starts more like it is taken; if there still are two, none is.

    Example:
        >>> nearest("dti", ["to", "dit", "vae"]), nearest("zebra", ["dit", "vae"])
        ('dit', None)
        >>> nearest("T2W", ["T2V", "T2I", "I2V"])
    """
    limit, word = max(1, len(word) // 3), word.lower()
    scored = sorted((distance(word, c.lower()), -_shared(word, c.lower()), c) for c in candidates)
    if not scored or scored[0][0] > limit:
        return None
    if len(scored) > 1 and scored[0][:2] == scored[1][:2]:
        return None
    return scored[0][2]


def _shared(a: str, b: str) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), len(a))


def did_you_mean(word: str, candidates: Iterable[str], otherwise: str = "") -> str:
    """Phrase a remedy around the nearest candidate, or fall back to `otherwise`."""
    found = nearest(word, candidates)
    return f'Did you mean "{found}"?' if found else otherwise
