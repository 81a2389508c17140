"""A spec's one layout: it is reached at once, it changes no meaning, and no comment gets lost."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from portspec.commands import CLEAN, FINDINGS, PENDING
from portspec.errors import SpecError
from portspec.fmt import format_spec
from portspec.load import parse
from tests.conftest import ROOT, SPEC, run

SPECS = sorted(ROOT.glob("specs/*.yaml")) + sorted(ROOT.glob("examples/*/port.yaml"))
HEAD = "portspec: 1\nfamily: fam\n"
UNTIDY = """\
# yaml-language-server: $schema=../schemas/port.v1.json
#
# About the family.
family: fam
# about the version
portspec: 1   # the first

components:
    vae:
        # read side by side
        evidence:   same blocks   # and same names
        # what it is
        kind: vae
        # a list of calls
        parity:
            steps: [4,8]
            scope: both

    # the network
    dit: {evidence: none yet, kind: dit}
official:
    packages:
    - diffusers==0.42.1   # the source
    # for the encoder
    - transformers==5.15.1
# the end
"""
TIDY = """\
# yaml-language-server: $schema=../schemas/port.v1.json
#
# About the family.
# about the version
portspec: 1   # the first
family: fam

official:
  packages:
    - diffusers==0.42.1   # the source
    # for the encoder
    - transformers==5.15.1
components:
  vae:
    # what it is
    kind: vae
    # read side by side
    evidence: same blocks # and same names
    # a list of calls
    parity:
      scope: both
      steps: [4, 8]

  # the network
  dit: {kind: dit, evidence: none yet}
# the end
"""


def plain(text: str) -> str:
    return json.dumps(parse(text, "x.yaml").plain(), sort_keys=True)


def comments(text: str) -> list[str]:
    """Every comment of a text that has no `#` in its values."""
    return sorted(found.rstrip() for found in re.findall(r"#.*", text))


@pytest.mark.parametrize("path", SPECS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_the_repository_s_specs_are_laid_out(path: Path) -> None:
    text = path.read_text("utf-8")
    assert format_spec(text, path.name) == text


def test_keys_stand_in_the_order_of_the_language_with_their_comments() -> None:
    result = format_spec(UNTIDY, "x.yaml")
    words = [re.sub(r" +#", " #", line) for line in result.splitlines()]
    assert words == [re.sub(r" +#", " #", line) for line in TIDY.splitlines()]
    assert format_spec(result, "x.yaml") == result


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("title: x", "title: x\n"),
        ("title: x\n\n\n", "title: x\n"),
        ("title:    x   \n", "title: x\n"),
        ("title: 'x'\n", "title: 'x'\n"),
        ('title: "x"\n', 'title: "x"\n'),
        ("---\ntitle: x\n", "title: x\n"),
        ("title: x\n...\n", "title: x\n"),
        ("# one\n---\n# two\ntitle: x\n", "# one\n# two\ntitle: x\n"),
        ("title: one\n  two\n", "title: one two\n"),
        ("title: >-\n    one\n    two\n", "title: >-\n  one\n  two\n"),
        ("docs: {a: 1,b: 2}\n", "docs: {a: 1, b: 2}\n"),
        ("x: 1\ntitle: x\n", "title: x\nx: 1\n"),
        ("title: x\n\n# why\n\nfamily: y\n", "# why\n\nfamily: y\n\ntitle: x\n"),
        ("docs:\n- a\n- b\n", "docs:\n  - a\n  - b\n"),
    ],
)
def test_one_way_to_write_it(text: str, result: str) -> None:
    assert format_spec(text, "x.yaml") == result


@pytest.mark.parametrize(
    "value",
    [
        *("0x1F", "0o17", "0b11", "1_000", "010", "+12", "1e-5", "1.0e-06", "1.", ".5", "1.10"),
        *("1e400", ".nan", "-.INF", "~", "null", "", "True", "FALSE", "no", "2026-11-21"),
        *("2026-13-45", "12:30:45", "=", "'='", "'1'", '"a\\tb"', "größe 😀", "{}", "[]"),
        *("|\n  kept  \n  as it is", "|+\n  kept\n\n", "|-\n  # no comment", ">\n  a\n    b\n  c"),
        *("'it''s'", "'x: y'", "'x #y'", "'- x'", "'&x'", "[a, [b, c]]", "x # why"),
        f"a {'long ' * 60}text",
        f"[{', '.join(['T2V'] * 60)}]",
    ],
)
def test_values_stay_as_they_are_written(value: str) -> None:
    text = f"{HEAD}title: {value}\n"
    result = format_spec(text, "x.yaml")
    assert plain(result) == plain(text)
    assert format_spec(result, "x.yaml") == result
    assert re.sub(r"\s+", "", result) == re.sub(r"\s+", "", text), "only white space has changed"


@pytest.mark.parametrize("path", SPECS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_windows_line_ends_and_a_missing_last_one_are_mended(path: Path) -> None:
    text = path.read_text("utf-8")
    assert format_spec(text.replace("\n", "\r\n"), path.name) == text
    assert format_spec(text.rstrip("\n"), path.name) == text
    assert format_spec(text + "\n\n", path.name) == text


def test_a_comment_inside_a_list_stays() -> None:
    """It cannot be laid out without losing the comment, so it stands as it did."""
    text = HEAD + "docs:\n  notes: [one,   # why\n    two]\n"
    assert format_spec(text, "x.yaml") == text


CHANGES = st.lists(
    st.tuples(st.sampled_from("cbtswm"), st.integers(0, 10_000), st.integers(0, 10_000)), max_size=6
)


def disturbed(text: str, changes: list[tuple[str, int, int]]) -> str:
    """Put in comments, blank lines and trailing white space; swap lines and move blocks of them."""
    lines = text.rstrip("\n").split("\n")
    for kind, a, b in changes:
        i, j = a % len(lines), b % len(lines)
        depth = len(lines[i]) - len(lines[i].lstrip())
        match kind:
            case "c":
                lines.insert(i, " " * (depth + b % 2 * 2) + f"# comment {b}")
            case "b":
                lines.insert(i, "")
            case "t":
                lines[i] += f"  # behind {b}"
            case "s":
                lines[i] += "  "
            case "w":
                lines[i], lines[j] = lines[j], lines[i]
            case "m":
                block = lines[i : i + 1 + b % 12]
                del lines[i : i + 1 + b % 12]
                lines[j:j] = block
    return "\n".join(lines)


@given(st.sampled_from(["tidy", "port"]), CHANGES)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_once_is_enough_and_nothing_gets_lost(
    base: str, changes: list[tuple[str, int, int]]
) -> None:
    text = disturbed(UNTIDY if base == "tidy" else SMALL, changes)
    try:
        before = plain(text)
    except SpecError:
        assume(False)
    result = format_spec(text, "x.yaml")
    assert plain(result) == before
    assert comments(result) == comments(text)
    assert format_spec(result, "x.yaml") == result


SMALL = re.sub(r" *#.*", "", (ROOT / "examples/new_checkpoint/port.yaml").read_text("utf-8"))


# --- the command --------------------------------------------------------------------------------------


def test_check_tells_and_writes_nothing(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = workspace / "specs/untidy.yaml"
    path.write_text(UNTIDY, encoding="utf-8")
    assert run("fmt", "--check", SPEC, path) == PENDING
    assert capsys.readouterr() == ("", f"{path} would be laid out anew\n")
    assert path.read_text("utf-8") == UNTIDY
    assert run("fmt", SPEC, path) == CLEAN
    assert capsys.readouterr().err == f"{path} was laid out anew\n"
    assert run("fmt", "--check", SPEC, path) == CLEAN
    assert capsys.readouterr() == ("", "")


def test_what_is_laid_out_is_not_touched(workspace: Path) -> None:
    before = (workspace / SPEC).stat()
    assert run("fmt", *sorted((workspace / "specs").glob("*.yaml"))) == CLEAN
    after = (workspace / SPEC).stat()
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)


def test_modes_and_links_stay(workspace: Path) -> None:
    path, link = workspace / "specs/untidy.yaml", workspace / "link.yaml"
    path.write_text(UNTIDY, encoding="utf-8")
    path.chmod(0o640)
    link.symlink_to("specs/untidy.yaml")
    assert run("fmt", link) == CLEAN
    assert link.is_symlink()
    assert path.read_text("utf-8") != UNTIDY
    assert path.stat().st_mode & 0o777 == 0o640
    assert not list(workspace.rglob("*.draft"))


@pytest.mark.parametrize("text", ["a: b: c\n", "- a\n", "", "a: &x 1\n", "a: 1\na: 2\n"])
def test_what_cannot_be_read_is_left_alone(
    text: str, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = workspace / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    assert run("fmt", path) == FINDINGS
    assert re.match(r"\S*bad\.yaml:\d+:\d+: E00\d ", capsys.readouterr().err)
    assert path.read_text("utf-8") == text


def test_a_byte_order_mark_goes(workspace: Path) -> None:
    path = workspace / "bom.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + HEAD.encode())
    assert run("fmt", path) == CLEAN
    assert run("fmt", "--check", path) == CLEAN
