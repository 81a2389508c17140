"""The only module that prints: results to standard output, progress and complaints to standard error."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

from portspec.errors import Diagnostic
from portspec.gates.result import GateResult
from portspec.report import findings, gates

if TYPE_CHECKING:
    from rich.console import Console as Rich

    from portspec.plan import Plan

_WIDTH = 160
_SIGNS = {
    "create": "+",
    "change": "~",
    "delete": "-",
    "conflict": "!",
    "kept": "=",
    "unchanged": " ",
}


class Console:
    """Standard output and standard error, with colour where somebody looks at it."""

    def __init__(self, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self._out, self._err = out or sys.stdout, err or sys.stderr

    @property
    def colour(self) -> bool:
        """Somebody looks, and does not mind."""
        return self._out.isatty() and not os.environ.get("NO_COLOR")

    def out(self, text: str) -> None:
        """Print text that ends as it should."""
        self._out.write(text)
        self._out.flush()

    def say(self, line: str) -> None:
        """Print a line of progress."""
        self._err.write(f"{line}\n")
        self._err.flush()

    def findings(self, found: Sequence[Diagnostic], form: str = "text") -> None:
        """Print findings."""
        self.out(findings.render(found, form, colour=self.colour))

    def complain(self, found: Sequence[Diagnostic]) -> None:
        """Print why a command cannot go on."""
        colour = self._err.isatty() and not os.environ.get("NO_COLOR")
        self._err.write(findings.render(found, "text", colour=colour))
        self._err.flush()

    def plan(self, plan: Plan, form: str = "text", *, everything: bool = False) -> None:
        """Print what would happen to each file, and why."""
        shown = [c for c in plan.changes if everything or c.kind != "unchanged"]
        if form == "json":
            names = ("path", "kind", "ownership", "cause")
            rows = [{name: getattr(change, name) for name in names} for change in shown]
            self.out(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
            return
        for change in shown:
            self.out(f"{_SIGNS[change.kind]} {change.path}  ({change.ownership}: {change.cause})\n")
        changed = sum(1 for _ in plan.writes())
        self.out(f"{changed} of {len(plan.changes)} files would change\n")

    def gates(self, results: Sequence[GateResult], form: str = "text") -> None:
        """Print gate results; as text, in a table."""
        match form:
            case "json":
                self.out(gates.dumps(results))
            case "md":
                self.out(gates.markdown(results))
            case _:
                self._table(results)

    def _table(self, results: Sequence[GateResult]) -> None:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE, pad_edge=False)
        for name in gates.COLUMNS:
            table.add_column(
                name, justify="right" if name == "seconds" else "left", no_wrap=name == "gate"
            )
        for row in gates.rows(results):
            cells = [Text(cell) for cell in row]
            cells[1].stylize(gates.COLOURS[row[1]])
            table.add_row(*cells)
        self._rich(self._out).print(table)

    def _rich(self, stream: TextIO) -> Rich:
        from rich.console import Console as Rich

        width = None if stream.isatty() else _WIDTH
        return Rich(file=stream, width=width, highlight=False, soft_wrap=False)

    def progress(self, total: int) -> Progress:
        """Return a display of gates as they run."""
        return Progress(self, total)


class Progress:
    """Tells of gates as they start and end, one line each."""

    def __init__(self, console: Console, total: int) -> None:
        self._console, self._total, self._done = console, total, 0

    def __call__(self, gate: str, result: GateResult | None) -> None:
        """Take an event of the runner."""
        if result is None:
            self._console.say(f"        {gate} ...")
            return
        self._done += 1
        tail = f": {result.message}" if result.message else ""
        if result.log and result.status in ("fail", "inconclusive"):
            tail += f"\n        log: {result.log}"
        time = "as before" if result.cached else f"{result.seconds:.1f} s"
        count = f"[{self._done:>2}/{self._total}]"
        self._console.say(f"{count} {gate}: {result.status} ({time}){tail}")
