"""Every code has a page, every page has an example, and every example leads to its code."""

from __future__ import annotations

import contextlib
import doctest
import os
import re
import shlex
from pathlib import Path

import pytest

from portspec.backend import Target
from portspec.cache import Cache
from portspec.cli import main
from portspec.errors import Diagnostic, SpecError, added
from portspec.judge import judge
from portspec.report.findings import text
from portspec.tree import Tree
from tests.conftest import ROOT
from tests.pages import Page, apply_diff, pages

PAGES = list(pages())
UPDATE = bool(os.environ.get("UPDATE_GOLDEN"))
_CODE = re.compile(r"\"([EWN]\d{3})[\" ]")


def _codes_in_source() -> set[str]:
    files = [p for folder in ("portspec", "codegen") for p in (ROOT / folder).rglob("*.py")]
    return {
        code
        for p in files
        if p.parent.name != "runtime"
        for code in _CODE.findall(p.read_text("utf-8"))
    }


def test_every_code_has_a_page_and_every_page_a_code() -> None:
    assert {page.code for page in PAGES} == _codes_in_source()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.code)
def test_page_is_well_formed(page: Page) -> None:
    first = page.text.splitlines()[0]
    assert re.fullmatch(rf"# {page.code}: [a-z`].*[^.]", first), first
    assert "## Why" in page.text
    assert "## Example" in page.text
    assert "## Instead" in page.text
    assert page.blocks("console") or page.blocks("python"), "no example"


@pytest.mark.parametrize(
    "page", [p for p in PAGES if p.blocks("python")], ids=lambda page: page.code
)
def test_python_example(page: Page, tree: Tree, cache: Cache, tmp_path: Path) -> None:
    names = {"tree": tree, "cache": cache, "folder": tmp_path}
    parser = doctest.DocTestParser()
    body = "\n".join(page.blocks("python"))
    example = parser.get_doctest(body, names, page.code, str(page.path), 0)
    assert example.examples
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    runner.run(example, out=report.append)
    assert not runner.failures, "".join(report)
    assert page.code in body


@pytest.mark.parametrize(
    "page", [p for p in PAGES if p.blocks("console")], ids=lambda page: page.code
)
def test_console_example(
    page: Page, target: Target, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = _run(page, target, workspace, capsys)
    assert page.code in output, output or "nothing was found"
    if UPDATE and output != page.output:
        page.path.write_text(page.rewritten(output), encoding="utf-8")
        return
    assert output == page.output
    if page.command.startswith("portspec check specs/"):
        _has_place_and_remedy(output, page.code)


def _has_place_and_remedy(output: str, code: str) -> None:
    assert re.search(rf"^[\w./-]+:\d+:\d+: {code}\b", output, re.MULTILINE), "no line and column"
    assert "hint: " in output, "no remedy"


def _run(page: Page, target: Target, workspace: Path, capsys: pytest.CaptureFixture[str]) -> str:
    tree = target.tree

    def read(path: str) -> str | None:
        if path.startswith("specs/") or path == "portspec.yaml":
            file = workspace / path
            return file.read_text(encoding="utf-8") if file.is_file() else None
        return tree.text(path) if tree.exists(path) else None

    changes: dict[str, str] = {}
    for diff in page.blocks("diff"):
        changes |= apply_diff(diff, read)
    for path in [p for p in changes if p.startswith("specs/") or p == "portspec.yaml"]:
        file = workspace / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(changes.pop(path), encoding="utf-8")
    words = shlex.split(page.command)
    if words[1] == "check" and "--target" not in words:
        return text(
            _of(page.code, _check(Path(words[2]), Target(tree.overlay(changes), target.cache)))
        )
    if words[1] == "audit":
        overlaid = tree.overlay(changes)
        before, after = target.backend.audit(tree), target.backend.audit(overlaid)
        return text(_of(page.code, added(before, after)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "100")
        with contextlib.suppress(SystemExit):
            main(words[1:])
    captured = capsys.readouterr()
    return re.sub(re.escape(str(workspace)) + "/?", "", captured.out + captured.err)


def _check(path: Path, target: Target) -> list[Diagnostic]:
    try:
        return list(judge(path, target).diagnostics)
    except SpecError as error:
        return list(error.diagnostics)


def _of(code: str, found: object) -> list[Diagnostic]:
    """Keep the findings that the page is about, without their order of discovery."""
    return sorted((d for d in found if d.code == code), key=Diagnostic.sort_key)  # type: ignore[attr-defined]
