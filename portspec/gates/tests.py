"""A gate that is an emitted test file, run with plain pytest in the target's tree.

pytest's own summary is not enough: a file with no tests, a test that skips or is expected to fail, or one
that somebody took out must not look like a pass. So what became of it is kept test by test.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from portspec.gates.result import Outcome

# Nothing but the file decides what is run: no configuration, no conftest.py, no plugin, no cache.
_OPTIONS = ("-q", "-s", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir=.", "--noconftest")


@dataclass(frozen=True)
class Case:
    """One test, or one file that could not be collected."""

    name: str
    verdict: str  # passed, failed or skipped
    message: str
    properties: tuple[tuple[str, object], ...] = ()


class Collector:
    """A pytest plugin that keeps what became of every test."""

    def __init__(self) -> None:
        self.cases: dict[str, Case] = {}

    def pytest_collectreport(self, report: Any) -> None:
        """Keep a file that fails, or skips itself, while it is read."""
        if report.outcome != "passed":
            self._keep(report, report.outcome, _reason(report))

    def pytest_deselected(self, items: Iterable[Any]) -> None:
        """Keep a test that somebody has chosen not to run."""
        for item in items:
            self.cases[item.nodeid] = Case(item.name, "skipped", "it was deselected")

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Keep a test; what its set-up or tear-down did counts when it did not pass."""
        if hasattr(report, "wasxfail"):
            self._keep(report, "skipped", f"marked as expected to fail: {report.wasxfail}")
        elif report.when == "call" or report.outcome != "passed":
            self._keep(report, report.outcome, _reason(report))

    def _keep(self, report: Any, verdict: str, message: str) -> None:
        known = self.cases.get(report.nodeid)
        if known is None or known.verdict == "passed":
            name = report.nodeid.rpartition("::")[2] or report.nodeid
            properties = tuple(getattr(report, "user_properties", ()))
            self.cases[report.nodeid] = Case(name, verdict, message, properties)


def _reason(report: Any) -> str:
    """Return why a test failed or skipped; of a file that does not import, pytest's last line marked E."""
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash:
        return str(crash.message)
    text = str(report.longrepr or "")
    marked = [line[1:].strip() for line in text.splitlines() if line.startswith("E ")]
    return marked[-1] if marked else text


def run(args: Mapping[str, Any]) -> Outcome:
    """Run `args["file"]` and judge it.

    Args:
        args: `file` relative to the working folder; `expects`, parts of the names of tests that must have
            run; `metrics`, numbers that must have been recorded.
    """
    import pytest

    for name in [name for name in os.environ if name.startswith("PYTEST_")]:
        del os.environ[name]
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    collector = Collector()
    status = pytest.main([args["file"], *_OPTIONS], plugins=[collector])
    outcome = judge(list(collector.cases.values()), args["expects"], args["metrics"])
    if outcome.status == "pass" and status:
        return Outcome("fail", f"pytest left with status {int(status)}; see the log")
    return outcome


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
    for name, recorded in (pair for case in cases for pair in case.properties):
        value = recorded if isinstance(recorded, (int, float)) else str(recorded)
        known = found.get(name)
        if known is None:
            found[name] = value
        elif isinstance(known, (int, float)) and isinstance(value, (int, float)):
            found[name] = max(known, value)
        else:
            words = {w for v in (known, value) for w in str(v).split(", ") if w}
            found[name] = ", ".join(sorted(words))
    return found


def _first_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[0][:240] if lines else ""
