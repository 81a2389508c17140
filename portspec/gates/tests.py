"""A gate that is an emitted test file, run with plain pytest in the target's tree.

pytest's own summary is not enough: a file with no tests, a test that skips, or a test that somebody took
out must not look like a pass. So the report is read test by test.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from portspec.gates.result import Outcome


@dataclass(frozen=True)
class Case:
    """One test of the report."""

    name: str
    verdict: str  # passed, failed or skipped
    message: str
    properties: tuple[tuple[str, str], ...]


def run(args: Mapping[str, Any]) -> Outcome:
    """Run `args["file"]` and judge it.

    Args:
        args: `file` relative to the working folder; `report`, where pytest writes its XML; `expects`, parts
            of the names of tests that must have run; `metrics`, numbers that must have been recorded.
    """
    import pytest

    report = Path(args["report"])
    report.unlink(missing_ok=True)
    pytest.main([args["file"], "-q", "-s", "-p", "no:cacheprovider", f"--junitxml={report}"])
    if not report.is_file():
        return Outcome("fail", "pytest could not run the file; see the log")
    return judge(list(read_report(report)), args["expects"], args["metrics"])


def read_report(path: Path) -> Iterator[Case]:
    """Yield the cases of a JUnit XML report."""
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        problems = [*case.findall("failure"), *case.findall("error")]
        skips = case.findall("skipped")
        first = next(iter(problems or skips), None)
        yield Case(
            case.get("name", ""),
            "failed" if problems else "skipped" if skips else "passed",
            (first.get("message") or "") if first is not None else "",
            tuple((p.get("name", ""), p.get("value", "")) for p in case.iter("property")),
        )


def judge(cases: list[Case], expects: Iterable[str], metrics: Iterable[str]) -> Outcome:
    """Turn the cases of a report into an outcome.

    Example:
        >>> judge([Case("test_a", "skipped", "no weights", ())], ["test_a"], []).status
        'inconclusive'
    """
    found = _metrics(cases)
    failed = [case for case in cases if case.verdict == "failed"]
    if failed:
        return Outcome("fail", f"{failed[0].name}: {_first_line(failed[0].message)}", found)
    skipped = [case for case in cases if case.verdict == "skipped"]
    if skipped:
        return Outcome(
            "inconclusive", f"{skipped[0].name} skipped: {_first_line(skipped[0].message)}", found
        )
    if not cases:
        return Outcome("inconclusive", "the file holds no test", found)
    for name in expects:
        if not any(name in case.name for case in cases):
            return Outcome("inconclusive", f"no test {name} was run", found)
    for name in metrics:
        if name not in found:
            return Outcome("inconclusive", f"no test recorded {name}", found)
    return Outcome("pass", "", {**found, "tests": len(cases)})


def _metrics(cases: Iterable[Case]) -> dict[str, Any]:
    """Collect recorded properties: of numbers recorded several times, the largest; of lists, the union."""
    found: dict[str, Any] = {}
    for name, text in (pair for case in cases for pair in case.properties):
        value = _number(text)
        known = found.get(name)
        if known is None:
            found[name] = value
        elif isinstance(known, (int, float)) and isinstance(value, (int, float)):
            found[name] = max(known, value)
        else:
            words = {w for v in (known, value) for w in str(v).split(", ") if w}
            found[name] = ", ".join(sorted(words))
    return found


def _number(text: str) -> float | int | str:
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


def _first_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[0][:240] if lines else ""
