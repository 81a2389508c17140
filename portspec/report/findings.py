"""Findings in five forms: for a terminal, and as JSON, Markdown, SARIF and GitHub annotations."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from portspec.errors import Diagnostic, Place

FORMATS = ("text", "json", "md", "sarif", "github")
_SHOWN = 25  # of one code: one mistake can have a hundred consequences
_SARIF_LEVELS = {"error": "error", "warning": "warning", "note": "note"}
_COLOURS = {"error": "31", "warning": "33", "note": "36"}


def render(found: Sequence[Diagnostic], form: str, *, colour: bool = False) -> str:
    """Return findings in one of the `FORMATS`; the text ends with a line break, if it holds anything."""
    match form:
        case "json":
            return json.dumps([as_json(d) for d in found], indent=1, ensure_ascii=False) + "\n"
        case "md":
            return markdown(found)
        case "sarif":
            return json.dumps(sarif(found), indent=1, ensure_ascii=False) + "\n"
        case "github":
            return "".join(f"{_annotation(d)}\n" for d in found)
    return text(found, colour=colour)


def text(found: Sequence[Diagnostic], *, colour: bool = False) -> str:
    """Return one paragraph per finding and a line that counts them."""
    if not found:
        return ""
    counts: Counter[str] = Counter()
    rows: list[str] = []
    for diagnostic in found:
        counts[diagnostic.code] += 1
        if counts[diagnostic.code] <= _SHOWN:
            rows.append(_paragraph(diagnostic, colour))
    hidden = [f"{n - _SHOWN} more {code}" for code, n in counts.items() if n > _SHOWN]
    if hidden:
        rows.append(f"... and {', '.join(hidden)}; `--format json` has them all\n")
    return "".join(rows) + f"{summary(found)}\n"


def summary(found: Sequence[Diagnostic]) -> str:
    """Count findings, and say how to learn more of the first.

    Example:
        >>> summary([Diagnostic("E101", "no such key", Place("a.yaml", 1, 1))])
        '1 error; `portspec explain E101` tells more'
    """
    counts = Counter(d.severity for d in found)
    parts = [f"{n} {kind}{'s' if n != 1 else ''}" for kind, n in counts.items()]
    return f"{', '.join(parts)}; `portspec explain {found[0].code}` tells more"


def _paragraph(diagnostic: Diagnostic, colour: bool) -> str:
    code = f"{diagnostic.code} [{diagnostic.check}]" if diagnostic.check else diagnostic.code
    if colour:
        code = f"\033[{_COLOURS[diagnostic.severity]}m{code}\033[0m"
    rows = [f"{diagnostic.place}: {code} {diagnostic.message}"]
    rows += [f"    {what}: {place}" for what, place in diagnostic.related]
    if diagnostic.remedy:
        rows.append(f"    hint: {diagnostic.remedy}")
    return "\n".join(rows) + "\n"


def as_json(diagnostic: Diagnostic) -> dict[str, Any]:
    """Return a finding as the JSON interface has it; see schemas/findings.v1.json."""
    place = diagnostic.place
    return {
        "code": diagnostic.code,
        "check": diagnostic.check or None,
        "severity": diagnostic.severity,
        "file": place.file,
        "line": place.line,
        "column": place.column,
        "message": diagnostic.message,
        "remedy": diagnostic.remedy,
        "related": [
            {"message": what, "file": other.file, "line": other.line, "column": other.column}
            for what, other in diagnostic.related
        ],
    }


def markdown(found: Sequence[Diagnostic]) -> str:
    """Return a table for a pull request."""
    if not found:
        return "No findings.\n"
    rows = ["| Place | Code | Finding | Remedy |", "|---|---|---|---|"]
    for d in found:
        code = f"{d.code} ({d.check})" if d.check else d.code
        rows.append(f"| `{d.place}` | {code} | {_cell(d.message)} | {_cell(d.remedy)} |")
    return "\n".join(rows) + f"\n\n{summary(found)}\n"


def _cell(words: str) -> str:
    return words.replace("|", "\\|").replace("\n", " ")


def sarif(found: Sequence[Diagnostic]) -> dict[str, Any]:
    """Return a SARIF 2.1.0 log (https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html)."""
    codes = sorted({d.code for d in found})
    rules = [{"id": code, "properties": {"checks": _checks(code, found)}} for code in codes]
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": {"name": "portspec", "rules": rules}},
                "results": [_result(d, codes.index(d.code)) for d in found],
            }
        ],
    }


def _checks(code: str, found: Sequence[Diagnostic]) -> list[str]:
    return sorted({d.check for d in found if d.code == code and d.check})


def _result(diagnostic: Diagnostic, rule: int) -> dict[str, Any]:
    return {
        "ruleId": diagnostic.code,
        "ruleIndex": rule,
        "level": _SARIF_LEVELS[diagnostic.severity],
        "message": {"text": _words(diagnostic)},
        "locations": [{"physicalLocation": _physical(diagnostic.place)}],
    }


def _physical(place: Place) -> dict[str, Any]:
    from urllib.parse import quote

    location: dict[str, Any] = {"artifactLocation": {"uri": quote(place.file)}}
    if place.line:
        region = {"startLine": place.line}
        location["region"] = {**region, "startColumn": place.column} if place.column else region
    return location


def _annotation(diagnostic: Diagnostic) -> str:
    """Return a workflow command, escaped as GitHub asks for."""
    kind = "notice" if diagnostic.severity == "note" else diagnostic.severity
    place = diagnostic.place
    values = {"file": place.file, "line": place.line, "col": place.column, "title": diagnostic.code}
    given = ",".join(f"{k}={_property(str(v))}" for k, v in values.items() if v)
    return f"::{kind} {given}::{_data(_words(diagnostic))}"


def _words(diagnostic: Diagnostic) -> str:
    """Return the finding and its remedy as sentences."""
    remedy = f". {diagnostic.remedy}" if diagnostic.remedy else ""
    return f"{diagnostic.message}{remedy}"


def _data(words: str) -> str:
    return words.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(words: str) -> str:
    return _data(words).replace(":", "%3A").replace(",", "%2C")
