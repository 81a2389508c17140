"""What `audit` finds in a real tree, that each finding is where it says, and that no tree can harm it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from portspec.cache import Cache
from portspec.codegen.backend import backend
from portspec.codegen.checks import new_findings
from portspec.codegen.facts import REGISTRY
from portspec.codegen.index import FastVideoIndex
from portspec.commands import CLEAN, FINDINGS
from portspec.errors import Diagnostic
from portspec.tree import Tree
from tests.conftest import ROOT, run

GOLDEN = ROOT / "tests/golden/audit-0.2.1.txt"
UPDATE = bool(os.environ.get("UPDATE_GOLDEN"))
HARMLESS = "fastvideo/pipelines/basic/wan/wan_pipeline.py"


def audit(folder: Path, cache: Cache) -> list[Diagnostic]:
    """Audit a tree as the command does, in the order of discovery."""
    return list(backend.audit(Tree(folder, cache)))


def lines(found: list[Diagnostic]) -> list[str]:
    ordered = sorted(set(found), key=Diagnostic.sort_key)
    return [f"{d.code} {d.place.file}:{d.place.line} {d.message}" for d in ordered]


@pytest.fixture(scope="module")
def found(released: Path, cache: Cache) -> list[Diagnostic]:
    return audit(released, cache)


# --- the released tree -----------------------------------------------------------------------------


def test_the_findings_in_the_released_tree_are_known(found: list[Diagnostic]) -> None:
    text = "".join(f"{line}\n" for line in lines(found))
    if UPDATE:
        GOLDEN.write_text(text, encoding="utf-8")
    assert text == GOLDEN.read_text("utf-8")


# What a finding is about, as its message names it; it stands on the line that the finding points to.
SUBJECTS: dict[str, tuple[str, Callable[[str], str]]] = {
    "E320": (r"the row for (\w+)", lambda name: f'"{name}"'),
    "E330": (r"a cached snapshot of (\S+)", lambda hub: f'"{hub}"'),
    "E331": (r"a cached snapshot of (\S+)", lambda hub: f'"{hub}"'),
    "E350": (r"there is no module (\S+)", lambda module: f"{module.rpartition(chr(46))[2]} import"),
    "W314": (r"the preset (\w+)", lambda name: f"{name.upper()} = "),
    "W316": (r"a local (\w+) checkpoint", lambda name: f"class {name}("),
    "W317": (r"declares (\w+) first", lambda name: f'"{name}"'),
}


def test_every_finding_points_to_the_line_that_it_is_about(
    found: list[Diagnostic], released: Path
) -> None:
    for finding in found:
        pattern, quoted = SUBJECTS[finding.code]
        subject = re.search(pattern, finding.message)
        assert subject, finding
        rows = (released / finding.place.file).read_text("utf-8").splitlines()
        assert 1 <= finding.place.line <= len(rows), finding
        row = rows[finding.place.line - 1]
        assert quoted(subject[1]) in row, finding
        if finding.place.column:
            assert row[finding.place.column - 1 :].startswith(("from ", "import ")), finding


def test_every_finding_has_a_remedy_and_a_check(found: list[Diagnostic]) -> None:
    assert all(d.remedy and re.fullmatch(r"K\d+", d.check) for d in found)


def test_other_entries_that_findings_name_are_there(found: list[Diagnostic], tree: Tree) -> None:
    """A message that names a line of the registry names the registration that stands there."""
    named = [
        re.search(r"entry of (\w+) \(line (\d+)\)", d.message) for d in found if d.code == "E331"
    ]
    assert named
    rows = tree.text(REGISTRY).splitlines()
    for match in named:
        assert match
        call = "\n".join(rows[int(match[2]) - 1 : int(match[2]) + 40]).split("register_configs(")[1]
        assert f'default_preset="{match[1]}"' in call


# --- on what it depends ----------------------------------------------------------------------------


def test_what_a_change_makes_wrong_is_found_wherever_it_shows(
    tree: Tree, found: list[Diagnostic]
) -> None:
    """In the file itself, and in one that nobody touched and that imports what is gone."""
    config = "fastvideo/configs/models/dits/wanvideo.py"
    wrong = {HARMLESS: f"{tree.text(HARMLESS)}from fastvideo.nowhere import nothing\n"}
    assert _new(tree, wrong) == [("E350", HARMLESS)]
    gone = {config: tree.text(config).replace("class WanVideoConfig(", "class Renamed(")}
    assert ("E351", "fastvideo/configs/models/dits/__init__.py") in _new(tree, gone)
    deleted = _new(tree, {config: None})
    assert ("E350", "fastvideo/configs/models/dits/__init__.py") in deleted
    assert not {path for _, path in deleted} & {d.place.file for d in found if d.check == "K13"}


def _new(tree: Tree, changes: dict[str, str | None]) -> list[tuple[str, str]]:
    before, after = FastVideoIndex(tree), FastVideoIndex(tree.overlay(changes))
    return sorted({(d.code, d.place.file) for d in new_findings(before, after)})


def test_twice_gives_the_same_in_the_same_order(
    released: Path, cache: Cache, found: list[Diagnostic]
) -> None:
    assert audit(released, cache) == found


class _Backwards:
    """`os.scandir`, with its entries in the other order."""

    def __init__(self, scan: Callable[[str], os._ScandirIterator[str]], path: str) -> None:
        with scan(path) as entries:
            self._entries = sorted(entries, key=lambda entry: entry.name, reverse=True)

    def __enter__(self) -> Iterator[os.DirEntry[str]]:
        return iter(self._entries)

    def __exit__(self, *_error: object) -> None: ...


def test_the_order_in_which_the_disk_lists_files_means_nothing(
    released: Path, cache: Cache, found: list[Diagnostic], monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = os.scandir
    tree = Tree(released, cache)
    monkeypatch.setattr(os, "scandir", lambda path: _Backwards(scan, path))
    tree.list_files()
    monkeypatch.undo()
    listed = tree.__dict__["_disk"]
    forwards = Tree(released, cache)
    forwards.list_files()
    assert list(listed) != list(forwards.__dict__["_disk"]), "the order was not changed"
    assert list(backend.audit(tree)) == found


def test_the_cache_means_nothing(released: Path, tmp_path: Path, found: list[Diagnostic]) -> None:
    """An empty one, and what it holds after."""
    for _ in range(2):
        cache = Cache(tmp_path)
        assert audit(released, cache) == found
        cache.save()


def test_a_damaged_cache_means_nothing(
    released: Path, tmp_path: Path, found: list[Diagnostic]
) -> None:
    (tmp_path / "index.sqlite").write_text("this is no database\n" * 100, encoding="utf-8")
    assert audit(released, Cache(tmp_path)) == found


def test_a_run_in_progress_does_not_keep_another_from_remembering(tmp_path: Path) -> None:
    """A build that runs its gates for minutes has learnt things that it has not saved yet."""
    slow, quick = Cache(tmp_path), Cache(tmp_path)
    slow.put("kind", "slow", 1)
    quick.put("kind", "quick", 2)
    quick.save()
    assert Cache(tmp_path).get("kind", "quick") == 2
    assert (slow.get("kind", "slow"), quick.get("kind", "slow")) == (1, None)
    slow.save()
    assert [Cache(tmp_path).get("kind", key) for key in ("slow", "quick")] == [1, 2]


_WITNESS = """
import json, sys
from portspec.cli import main
status = main(sys.argv[1:])
foreign = [m for m in sys.modules if m.partition(".")[0] in ("fastvideo", "torch", "diffusers")]
sys.stderr.write(json.dumps([status, foreign]))
"""


def test_nothing_of_the_tree_is_imported(released: Path, found: list[Diagnostic]) -> None:
    """Not even where `import fastvideo` would work."""
    command = [sys.executable, "-c", _WITNESS, "audit", "--target", str(released), "--json"]
    environment = {**os.environ, "PYTHONPATH": str(released), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        command, cwd=released, env=environment, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stderr) == [FINDINGS, []]
    assert len(json.loads(done.stdout)) == len(lines(found))


# --- trees that mean harm --------------------------------------------------------------------------

_SPY = "__import__('pathlib').Path({marker!r}).touch()"
_DETECTORS = (
    "lambda path: {spy} or True",
    "lambda path: any({spy} for _ in 'x')",
    "lambda path, spy={spy}: True",
    "lambda path: ().__class__.__base__.__subclasses__()",
    "lambda path: 'a' * 10 ** 12 in path",
    "lambda path: path.format(path)",
    "(lambda path: [f for f in (lambda: {spy},)][0]())",
)


@pytest.mark.parametrize("detector", _DETECTORS)
def test_a_detector_that_does_more_than_look_is_not_run(
    tree: Tree, tmp_path: Path, detector: str
) -> None:
    marker = tmp_path / "marker"
    source = detector.format(spy=_SPY.format(marker=str(marker)))
    own = 'model_detectors=[lambda path: "glmimage" in path.lower() or "glm-image" in path.lower()]'
    text = tree.text(REGISTRY)
    assert own in text
    changed = tree.overlay({REGISTRY: text.replace(own, f"model_detectors=[{source}]")})
    opaque = [d for d in backend.audit(changed) if d.code == "W330"]
    assert len(opaque) == 1
    assert not marker.exists()


@pytest.mark.parametrize(
    "text",
    [
        "def broken(:\n",
        "    import os\n",
        "x = '\x00'\n",
        "(" * 500 + ")" * 500 + "\n",
        "x = " + "-" * 20_000 + "1\n",
        "x = (" + "1 + " * 20_000 + "1)\n",
    ],
    ids=["syntax", "indent", "null", "parentheses", "signs", "terms"],
)
@pytest.mark.parametrize("path", ["fastvideo/pipelines/basic/wan/broken.py", HARMLESS, REGISTRY])
def test_a_file_that_does_not_parse_is_a_finding(
    tree: Tree, tmp_path: Path, capsys: pytest.CaptureFixture[str], path: str, text: str
) -> None:
    """Found in place of what it hides; whether Python can parse the last ones depends on its version."""
    found = _audited(tree.overlay({path: text}))
    told = [d for d in found if d.code == "E302" and d.place.file == path]
    try:
        compile(text, path, "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        assert len(told) == 1, lines(found)
        assert told[0].place.line >= 1
    else:
        assert not told


def _audited(tree: Tree) -> list[Diagnostic]:
    """Audit as the command does: findings, or those that stop it."""
    from portspec.errors import PortspecError

    try:
        return list(backend.audit(tree))
    except PortspecError as error:
        return list(error.diagnostics)


def _dangling(folder: Path) -> None:
    (folder / "fastvideo" / ".#registry.py").symlink_to("somebody@somewhere.1234")


def _link_to_a_file_outside(folder: Path) -> None:
    outside = folder.parent / "outside.py"
    outside.write_text("import fastvideo.secret_of_the_outside\n", encoding="utf-8")
    (folder / "fastvideo" / "linked.py").symlink_to(outside)


def _link_to_a_folder_outside(folder: Path) -> None:
    outside = folder.parent / "outside"
    outside.mkdir()
    (outside / "module.py").write_text("import fastvideo.secret_of_the_outside\n", "utf-8")
    (folder / "fastvideo" / "pipelines" / "basic" / "outside").symlink_to(outside)


def _link_to_itself(folder: Path) -> None:
    (folder / "fastvideo" / "self").symlink_to(folder)
    (folder / "fastvideo" / "loop.py").symlink_to("loop.py")


def _not_utf8(folder: Path) -> None:
    (folder / "fastvideo" / "latin1.py").write_bytes(b'name = "caf\xe9"\n')


def _not_utf8_where_it_matters(folder: Path) -> None:
    path = folder / REGISTRY
    path.write_bytes(path.read_bytes() + b"# caf\xe9\n")


def _not_utf8_name(folder: Path) -> None:
    Path(os.fsdecode(os.fsencode(folder / "fastvideo") + b"/caf\xe9.py")).write_text("x = 1\n")


def _huge(folder: Path) -> None:
    (folder / "fastvideo" / "huge.py").write_text("x = 1\n" * 200_000, encoding="utf-8")


def _huge_line(folder: Path) -> None:
    text = f'"""{"import fastvideo.x, " * 200_000}"""\n'
    (folder / "fastvideo" / "huge.py").write_text(text, encoding="utf-8")


def _folder_named_like_a_file(folder: Path) -> None:
    (folder / "fastvideo" / "folder.py").mkdir()


def _pipe(folder: Path) -> None:
    os.mkfifo(folder / "fastvideo" / "pipe.py")


def _deep(folder: Path) -> None:
    deep = folder / "fastvideo" / "/".join(["d"] * 300)
    deep.mkdir(parents=True)
    (deep / "module.py").write_text("x = 1\n", encoding="utf-8")


def _files_are_gone(folder: Path) -> None:
    for path in ("fastvideo/models/registry.py", "pyproject.toml", HARMLESS):
        (folder / path).unlink()


# What is done to a tree, and the codes of findings that it may add.
HARM: dict[Callable[[Path], None], set[str]] = {
    _dangling: set(),
    _link_to_a_file_outside: {"E350"},
    _link_to_a_folder_outside: set(),
    _link_to_itself: set(),
    _not_utf8: {"E301"},
    _not_utf8_where_it_matters: {"E301"},
    _not_utf8_name: set(),
    _huge: set(),
    _huge_line: set(),
    _folder_named_like_a_file: set(),
    _pipe: set(),
    _deep: set(),
    _files_are_gone: {"E330", "E350"},
}


@pytest.mark.parametrize("harm", HARM, ids=lambda harm: harm.__name__.strip("_"))
def test_a_hostile_tree_is_audited_all_the_same(
    harm: Callable[[Path], None],
    copy: Path,
    found: list[Diagnostic],
    capsys: pytest.CaptureFixture[str],
) -> None:
    harm(copy)
    assert run("audit", "--target", copy, "--json") in (CLEAN, FINDINGS)
    captured = capsys.readouterr()
    rows = json.loads(captured.out) if captured.out else []
    known = {(d.code, d.message) for d in found}
    new = {row["code"] for row in rows if (row["code"], row["message"]) not in known}
    told = new | set(re.findall(r": ([EWN]\d{3})\b", captured.err))
    assert told <= HARM[harm]
    assert told or not HARM[harm]
