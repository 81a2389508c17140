"""The command line: what every command promises, exit statuses, forms of output, and how it ends."""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlparse

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from portspec import cli, commands
from portspec.cli import build_parser
from portspec.commands import (
    CLEAN,
    FINDINGS,
    INTERNAL,
    INTERRUPTED,
    PENDING,
    USAGE,
    command_modules,
    explain,
)
from portspec.commands.explain import code_pages
from portspec.console import Console
from portspec.errors import Diagnostic, Place, PortspecBug
from portspec.gates.result import GateResult
from portspec.language import load_spec
from portspec.report.findings import FORMATS
from portspec.report.findings import text as as_text
from tests.conftest import ROOT, SPEC, run

COMMANDS = dict(command_modules())
NAMES = ["audit", "build", "check", "completion", "convert", "explain", "fmt", "gate", "init"]
NAMES += ["map", "schema", "show", "status", "surface"]
BROKEN = "specs/broken.yaml"


@pytest.fixture
def broken(workspace: Path) -> Path:
    """A spec with two findings in it, one of which the check of the source makes."""
    text = (workspace / SPEC).read_text("utf-8")
    text = text.replace("value: 8.0", "value: 5.0").replace("token_env: HF_TOKEN", "revision: v1")
    text = text.replace("approved_by: SkyReels-V2 port, first", "approved_by: nobody #", 1)
    (workspace / BROKEN).write_text(text, encoding="utf-8")
    return workspace / BROKEN


def schema(name: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads((ROOT / "schemas" / name).read_text("utf-8")))


def portspec(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run `python -m portspec` as a shell would, with output that is kept back until it is flushed."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-m", "portspec", *map(str, arguments)]
    how = {"text": True, "check": False, "env": environment, "stdin": subprocess.DEVNULL}
    return subprocess.run(command, **{**how, **options})


# --- every command ------------------------------------------------------------------------------------


def test_these_are_the_commands() -> None:
    assert list(COMMANDS) == NAMES


@pytest.mark.parametrize(("name", "module"), COMMANDS.items(), ids=list(COMMANDS))
def test_help_describes_and_shows_an_example(
    name: str, module: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(name, "--help") == CLEAN
    out = capsys.readouterr().out
    words = " ".join(out.split())
    assert " ".join(module.HELP.split())[1:] in words
    assert f"example:\n  {module.EXAMPLE}\n" in out


@pytest.mark.parametrize(("name", "module"), COMMANDS.items(), ids=list(COMMANDS))
def test_the_example_parses(name: str, module: ModuleType) -> None:
    program, *words = shlex.split(module.EXAMPLE.partition(">")[0])
    options = build_parser().parse_args(words)
    assert (program, options.command) == ("portspec", name)


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from parsers(child)


@pytest.mark.parametrize("parser", list(parsers(build_parser())), ids=lambda parser: parser.prog)
def test_every_option_says_what_it_does(parser: argparse.ArgumentParser) -> None:
    assert parser.description
    assert parser.description.endswith(".")
    for action in parser._actions:
        if not isinstance(action, argparse._SubParsersAction):
            assert action.help, action.dest


# --- exit statuses ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("--version", CLEAN),
        ("check specs/skyreels_v2.yaml --target TREE", CLEAN),
        ("check specs/skyreels_v2.yaml specs/broken.yaml --target TREE", FINDINGS),
        ("check specs/nowhere.yaml --target TREE", FINDINGS),
        ("check specs --target TREE", FINDINGS),
        ("check specs/skyreels_v2.yaml --target nowhere", USAGE),
        ("check specs/skyreels_v2.yaml --target TREE --format xml", USAGE),
        ("check", USAGE),
        ("", USAGE),
        ("chekc specs/skyreels_v2.yaml", USAGE),
        ("audit --target TREE", FINDINGS),
        ("build specs/nowhere.yaml --target EMPTY --no-gates", FINDINGS),
        ("build specs/skyreels_v2.yaml --target TREE --jobs 0", USAGE),
        ("gate", USAGE),
        ("gate list specs/skyreels_v2.yaml no_such_gate --target TREE", USAGE),
        ("status specs/skyreels_v2.yaml --target TREE --exit-code", PENDING),
        ("status specs/broken.yaml --target TREE", FINDINGS),
        ("show specs/skyreels_v2.yaml", CLEAN),
        ("show specs/skyreels_v2.yaml no.such.key", USAGE),
        ("show specs/nowhere.yaml", FINDINGS),
        ("fmt specs/nowhere.yaml", FINDINGS),
        ("schema", CLEAN),
        ("schema no_such_schema", USAGE),
        ("schema --check", PENDING),
        ("explain", CLEAN),
        ("explain E999", USAGE),
        ("completion fish", USAGE),
        ("init new_family", CLEAN),
        ("init New-Family", USAGE),
        ("init new_family --output specs/skyreels_v2.yaml", USAGE),
        ("init new_family --output specs/skyreels_v2.yaml/x/y.yaml", USAGE),
    ],
)
def test_exit_status(
    line: str,
    status: int,
    broken: Path,
    released: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "empty").mkdir()
    words = line.replace("TREE", str(released)).replace("EMPTY", str(tmp_path / "empty")).split()
    assert run(*words) == status
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    if status == USAGE and line:
        assert re.search(r"\bE90\d\b", captured.err), "a complaint has a code"


def test_the_statuses_are_told_where_they_are_made() -> None:
    numbers = [v for k, v in vars(commands).items() if k.isupper() and type(v) is int]
    assert sorted(numbers) == [int(n) for n in re.findall(r"^(\d+) ", cli.__doc__ or "", re.M)]


def test_a_missing_spec_names_those_that_are_there(
    workspace: Path, released: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("check", "specs/skyreels.yaml", "--target", released)
    out = capsys.readouterr().out
    assert out.startswith("specs/skyreels.yaml: E001 cannot read it: No such file")
    assert "skyreels_v2.yaml" in out


def test_as_a_module_and_its_version() -> None:
    done = portspec("--version", capture_output=True)
    assert (done.returncode, done.stderr) == (CLEAN, "")
    assert done.stdout == f"portspec {version('portspec')}\n"


def test_without_a_command_it_says_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == USAGE
    out = capsys.readouterr().out
    assert all(re.search(rf"^ +{name}\b", out, re.MULTILINE) for name in NAMES)


def raising(error: BaseException) -> Any:
    def command(*_arguments: object) -> int:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (
            KeyboardInterrupt(),
            INTERRUPTED,
            "interrupted; nothing is half-written under a final name\n",
        ),
        (PortspecBug("no way"), INTERNAL, "this is a bug in portspec, please report it: no way\n"),
    ],
)
def test_what_stops_a_command_is_one_line(
    error: BaseException,
    status: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(explain, "run", raising(error))
    assert run("explain") == status
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", said)


# --- what is loaded -----------------------------------------------------------------------------------

LOADED = "import sys; from portspec.cli import main\n"
LOADED += "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
LOADED += "print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"


def loaded(*arguments: object) -> set[str]:
    """Return the packages that a command has imported by its end."""
    command = [sys.executable, "-c", LOADED, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "Traceback" not in done.stderr
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize("line", ["--help", "check --help", "build --help", "explain", "nothing"])
def test_help_costs_nothing(line: str) -> None:
    heavy = {"libcst", "pydantic", "ruamel", "jinja2", "rich", "yapf", "torch", "sqlite3"}
    assert not heavy & loaded(*line.split())


@pytest.mark.parametrize(
    "line",
    [
        "check specs/skyreels_v2.yaml --target TREE",
        "audit --target TREE",
        "status specs/skyreels_v2.yaml --target TREE",
        "gate list specs/skyreels_v2.yaml --target TREE",
        "build specs/skyreels_v2.yaml --target COPY --no-gates",
        "show specs/skyreels_v2.yaml",
        "fmt specs/skyreels_v2.yaml",
        "schema",
        "init new_family",
        "completion bash",
    ],
)
def test_no_command_imports_what_it_judges(
    line: str, workspace: Path, released: Path, request: pytest.FixtureRequest
) -> None:
    copy = request.getfixturevalue("copy") if "COPY" in line else ""
    words = line.replace("TREE", str(released)).replace("COPY", str(copy)).split()
    assert not {"torch", "diffusers", "transformers", "fastvideo"} & loaded(*words)


# --- forms of output ----------------------------------------------------------------------------------

REPORTS = ["check", "audit"]
PRINTED: dict[tuple[str, ...], str] = {}


@pytest.fixture
def report(broken: Path, released: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Return a function that runs `check` of the broken spec, or `audit`, and returns the output."""

    def output(command: str, *options: str) -> str:
        if (command, *options) not in PRINTED:
            words = [command, *([BROKEN] if command == "check" else []), "--target", str(released)]
            assert run(*words, *options) == FINDINGS
            captured = capsys.readouterr()
            assert captured.err == ""
            PRINTED[(command, *options)] = captured.out
        return PRINTED[(command, *options)]

    return output


@pytest.mark.parametrize("command", REPORTS)
def test_json_is_as_its_schema_says(report: Callable[..., str], command: str) -> None:
    text = report(command, "--format", "json")
    found = json.loads(text)
    schema("findings.v1.json").validate(found)
    assert {row["code"] for row in found} >= ({"E605", "E119"} if command == "check" else {"E320"})
    assert report(command, "--json") == text


@pytest.mark.parametrize("command", REPORTS)
def test_sarif_has_what_it_must(report: Callable[..., str], command: str) -> None:
    found = json.loads(report(command, "--format", "json"))
    log = json.loads(report(command, "--format", "sarif"))
    assert log["version"] == "2.1.0"
    (sarif_run,) = log["runs"]
    rules = [rule["id"] for rule in sarif_run["tool"]["driver"]["rules"]]
    assert sarif_run["tool"]["driver"]["name"] == "portspec"
    assert len(rules) == len(set(rules))
    assert len(sarif_run["results"]) == len(found)
    for result, finding in zip(sarif_run["results"], found, strict=True):
        assert result["ruleId"] == rules[result["ruleIndex"]] == finding["code"]
        assert result["level"] == finding["severity"]
        assert finding["message"] in result["message"]["text"]
        (location,) = result["locations"]
        place = location["physicalLocation"]
        assert place["artifactLocation"]["uri"] == finding["file"]
        assert place.get("region", {}).get("startLine", 0) == finding["line"]


@pytest.mark.parametrize("command", REPORTS)
def test_github_shows_each_finding_on_its_line(report: Callable[..., str], command: str) -> None:
    found = json.loads(report(command, "--format", "json"))
    lines = report(command, "--format", "github").splitlines()
    assert len(lines) == len(found)
    for line, finding in zip(lines, found, strict=True):
        place = rf"file={re.escape(finding['file'])},line={finding['line']},col={finding['column']}"
        place = place.replace(",col=0", "").replace(",line=0", "")
        kind = {"note": "notice"}.get(finding["severity"], finding["severity"])
        assert re.match(rf"::{kind} {place},title={finding['code']}::\S", line), line
    assert any(line.startswith("::error file=") for line in lines)


@pytest.mark.parametrize("command", REPORTS)
def test_markdown_has_a_row_for_each(report: Callable[..., str], command: str) -> None:
    found = json.loads(report(command, "--format", "json"))
    head, _, *rows = report(command, "--format", "md").splitlines()
    rows = [row for row in rows if row.startswith("|")]
    assert len(rows) == len(found)
    for row, finding in zip(rows, found, strict=True):
        cells = re.split(r"(?<!\\)\|", row)
        assert len(cells) == len(head.split("|"))
        assert cells[2].split()[0] == finding["code"]


@pytest.mark.parametrize("command", REPORTS)
def test_text_has_a_place_a_code_and_a_count(report: Callable[..., str], command: str) -> None:
    found = json.loads(report(command, "--format", "json"))
    text = report(command)
    for row in found:
        place = Place(row["file"], row["line"], row["column"])
        assert re.search(rf"^{re.escape(str(place))}: {row['code']}\b", text, re.MULTILINE)
    errors = sum(row["severity"] == "error" for row in found)
    assert re.search(rf"^{errors} errors?\b.*`portspec explain \w+` tells more$", text, re.M)


STRANGE = Diagnostic("E101", "100% of\nit, a | b: c", Place("a b,c:d%.yaml", 3), "do: this")


def test_strange_texts_stay_whole_in_every_form() -> None:
    out = io.StringIO()
    shown = {}
    for form in FORMATS:
        out.truncate(out.seek(0))
        Console(out).findings([STRANGE], form)
        shown[form] = out.getvalue()
    assert shown["github"] == (
        "::error file=a b%2Cc%3Ad%25.yaml,line=3,title=E101::100%25 of%0Ait, a | b: c. do: this\n"
    )
    assert r"| 100% of it, a \| b: c | do: this |" in shown["md"]
    assert json.loads(shown["json"])[0]["message"] == STRANGE.message
    result = json.loads(shown["sarif"])["runs"][0]["results"][0]
    uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert uri == "a%20b%2Cc%3Ad%25.yaml"
    assert urlparse(uri).path == uri


@pytest.mark.parametrize(
    ("form", "said"), [("text", ""), ("json", "[]\n"), ("md", "No findings.\n"), ("github", "")]
)
def test_nothing_found_is_said_in_every_form(form: str, said: str) -> None:
    out = io.StringIO()
    Console(out).findings([], form)
    assert out.getvalue() == said


def test_a_spec_that_cannot_be_read_is_a_finding_like_others(
    workspace: Path, released: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("check", "nowhere.yaml", SPEC, "--json", "--target", released) == FINDINGS
    found = json.loads(capsys.readouterr().out)
    schema("findings.v1.json").validate(found)
    assert [(row["code"], row["file"], row["line"]) for row in found] == [
        ("E001", "nowhere.yaml", 0)
    ]


def test_gates_and_state_are_as_their_schemas_say(
    workspace: Path, released: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(released.iterdir())
    assert run("gate", "list", SPEC, "--target", released, "--format", "json") == CLEAN
    gates = json.loads(capsys.readouterr().out)
    schema("gates.v1.json").validate(gates)
    assert {row["status"] for row in gates} == {"not_run"}
    assert run("status", SPEC, "--target", released, "--format", "json") == CLEAN
    state = json.loads(capsys.readouterr().out)
    schema("status.v1.json").validate(state)
    assert state["gates"] == gates
    assert {row["change"] for row in state["files"]} == {"create", "change"}
    assert sorted(released.iterdir()) == before, "asking writes nothing"


def test_some_gates_by_pattern(
    workspace: Path, released: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("gate", "list", SPEC, "parity.*", "--target", released, "--json")
    names = [row["gate"] for row in json.loads(capsys.readouterr().out)]
    assert len(names) == 5
    assert all(name.startswith("parity.") for name in names)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "no_colour", "coloured"),
    [(Terminal, "", True), (Terminal, "1", False), (io.StringIO, "", False)],
)
def test_colour_only_where_somebody_looks_and_does_not_mind(
    stream: type[io.StringIO], no_colour: str, coloured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", no_colour)
    monkeypatch.setenv("TERM", "xterm")
    out, err = stream(), stream()
    console = Console(out, err)
    console.findings([STRANGE])
    console.complain([STRANGE])
    console.gates([GateResult("import_boundary", "fail")])
    colour = re.compile(r"\x1b\[(\d+;)*3[0-7]m")
    for text in (out.getvalue().partition("gate")[0], out.getvalue(), err.getvalue()):
        assert bool(colour.search(text)) == coloured
    if stream is io.StringIO:
        assert "\x1b" not in out.getvalue() + err.getvalue()


@pytest.mark.parametrize(
    ("line", "stderr"),
    [
        *(
            (line, subprocess.PIPE)
            for line in ("explain", "explain E101", "--help", "--version", "")
        ),
        *((line, subprocess.STDOUT) for line in ("explain", "explain E999", "--help")),
    ],
)
def test_a_reader_that_has_gone_is_no_error(line: str, stderr: int) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = portspec(*line.split(), stdout=writing, stderr=stderr)
    finally:
        os.close(writing)
    assert "Traceback" not in (done.stderr or "")
    assert "BrokenPipe" not in (done.stderr or "")
    assert done.returncode == CLEAN


# --- init, explain, show, completion ------------------------------------------------------------------


def test_init_writes_a_skeleton_that_check_can_read(
    workspace: Path, released: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("init", "new_family") == CLEAN
    assert "portspec check specs/new_family.yaml" in capsys.readouterr().err
    assert run("check", "specs/new_family.yaml", "--json", "--target", released) == FINDINGS
    found = json.loads(capsys.readouterr().out)
    lines = (workspace / "specs/new_family.yaml").read_text("utf-8").splitlines()
    marked = {n for n, line in enumerate(lines, 1) if "FILL" in line.partition("#")[0]}
    assert marked == {row["line"] for row in found if row["code"] == "E147"}
    unreadable = [row for row in found if row["code"] < "E110"]
    assert not unreadable, "the skeleton itself is well-formed"


def test_init_never_touches_what_is_there(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (workspace / SPEC).read_bytes()
    assert run("init", "skyreels_v2") == USAGE
    assert "is there already" in capsys.readouterr().err
    assert (workspace / SPEC).read_bytes() == before


def test_init_makes_the_folder(workspace: Path) -> None:
    assert run("init", "new_family", "--output", "some/where/port.yaml") == CLEAN
    assert load_spec(workspace / "some/where/port.yaml").spec.family == "new_family"


@pytest.mark.parametrize("family", ["New", "1st", "a-b", "a b", "", "_a", "../a", "a\n"])
def test_init_wants_a_name_in_snake_case(workspace: Path, family: str) -> None:
    before = sorted(workspace.rglob("*"))
    assert run("init", family) == USAGE
    assert sorted(workspace.rglob("*")) == before


@pytest.mark.parametrize(("code", "page"), code_pages().items(), ids=list(code_pages()))
def test_explain_knows_every_code(
    code: str, page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("explain", code.lower()) == CLEAN
    out = capsys.readouterr().out
    assert out == page.read_text("utf-8")
    assert out.startswith(f"# {code}: ")


def test_explain_lists_every_code(capsys: pytest.CaptureFixture[str]) -> None:
    run("explain")
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == sorted(code_pages())
    assert all(line.partition(": ")[2] for line in lines)


@pytest.mark.parametrize(
    ("word", "hint"),
    [("EE605", 'Did you mean "E605"?'), ("101", 'Did you mean "E101"?'), ("nothing", "explain.")],
)
def test_explain_suggests(word: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("explain", word) == USAGE
    assert hint in capsys.readouterr().err


SPECS = [SPEC, "specs/wan.yaml", *(f"examples/{p.name}/port.yaml" for p in ROOT.glob("examples/*"))]


@pytest.mark.parametrize("path", SPECS)
def test_show_prints_the_spec_with_all_it_inherits(
    path: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    whole = load_spec(ROOT / path).root.plain()
    assert run("show", path) == CLEAN
    assert YAML(typ="safe").load(capsys.readouterr().out) == whole
    assert run("show", path, "--json") == CLEAN
    assert json.loads(capsys.readouterr().out) == whole
    assert run("show", path, "components.vae") == CLEAN
    assert YAML(typ="safe").load(capsys.readouterr().out) == whole["components"]["vae"]


def test_show_says_where_each_value_comes_from(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("show", SPEC)
    lines = capsys.readouterr().out.splitlines()
    wan = (workspace / "specs/wan.yaml").read_text("utf-8").splitlines()
    origins = [re.fullmatch(r" *(\w+): (.+)  # (\S+):(\d+)", line) for line in lines]
    inherited = [found for found in origins if found]
    assert len(inherited) > 100
    for key, value, file, line in (found.groups() for found in inherited):
        assert file == "specs/wan.yaml"
        there = wan[int(line) - 1]
        assert f"{key}:" in there or value[0] in "[{", there
    assert 'family: "skyreels_v2"' in lines, "what the spec says itself has no mark"


def test_show_suggests_a_key(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show", SPEC, "components.vea") == USAGE
    assert 'Did you mean "vae"?' in capsys.readouterr().err


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_is_a_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("completion", shell) == CLEAN
    script = capsys.readouterr().out
    assert script.endswith("\n")
    assert all(name in script for name in (*NAMES, "--target", "--exit-code"))
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_bash_completes_commands_and_options() -> None:
    script = portspec("completion", "bash", capture_output=True).stdout
    ask = "COMP_WORDS=(portspec {0}); COMP_CWORD={1}; _shtab_portspec; echo ${{COMPREPLY[@]}}"
    for words, position, answers in (
        ("st", 1, "status"),
        ("status --ex", 2, "--exit-code"),
        ("gate wh", 2, "why"),
        ("check --format js", 3, "json"),
    ):
        code = script + ask.format(words, position)
        done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=False)
        assert done.stdout.split() == answers.split(), words


def test_a_finding_prints_as_its_page_promises() -> None:
    """One line of place, code and message, then the remedy, then how to learn more."""
    assert as_text([Diagnostic("E101", "no", Place("a.yaml", 1, 2), "do", "K1")]) == (
        "a.yaml:1:2: E101 [K1] no\n    hint: do\n1 error; `portspec explain E101` tells more\n"
    )
