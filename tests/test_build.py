"""Building into a real tree: what is written, what stays, and what happens when something is in the way."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from portspec import apply as applying
from portspec.apply import locked, roll_back, write_all
from portspec.cache import Cache
from portspec.commands import CLEAN, CONFLICT, FINDINGS, LOCKED, PENDING, USAGE
from portspec.edits.dict_entry import DictEntry
from portspec.errors import LockedError, TargetError
from portspec.plan import make_plan, undone
from portspec.state import State, read_state
from portspec.tree import Tree
from tests.conftest import run

SPEC = "specs/skyreels_v2.yaml"
CREATED = {
    "examples/inference/basic/basic_skyreels_v2.py",
    "fastvideo/configs/pipelines/skyreels_v2.py",
    "fastvideo/pipelines/basic/skyreels_v2/__init__.py",
    "fastvideo/pipelines/basic/skyreels_v2/presets.py",
    "fastvideo/pipelines/basic/skyreels_v2/skyreels_v2_pipeline.py",
    "fastvideo/tests/ssim/test_skyreels_v2_similarity.py",
    "scripts/checkpoint_conversion/skyreels_v2_to_diffusers.py",
    "tests/local_tests/pipelines/test_skyreels_v2_pipeline_parity.py",
    "tests/local_tests/pipelines/test_skyreels_v2_pipeline_smoke.py",
    *(
        f"tests/local_tests/skyreels_v2/{name}"
        for name in (
            "PORT_STATUS.md",
            "README.md",
            "__init__.py",
            "parity.py",
            "test_skyreels_v2_scheduler_parity.py",
            "test_skyreels_v2_text_encoder_parity.py",
            "test_skyreels_v2_tokenizer_parity.py",
            "test_skyreels_v2_transformer_parity.py",
            "test_skyreels_v2_vae_parity.py",
        )
    ),
}
CHANGED = {
    "fastvideo/configs/pipelines/__init__.py",
    "fastvideo/models/registry.py",
    "fastvideo/registry.py",
}
THEIRS = """\
    register_configs(
        sampling_param_cls=None,
        pipeline_config_cls=WanT2V480PConfig,
        workload_types=(),
        hf_model_paths=["Org/Other"],
        model_family="wan",
        default_preset="wan_t2v_1_3b",
    )
"""
REGISTRY = "fastvideo/registry.py"
PRESETS = "fastvideo/pipelines/basic/skyreels_v2/presets.py"


def build(target: Path, *options: str) -> int:
    return run("build", SPEC, "--target", target, "--no-gates", *options)


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.fixture
def repository(copy: Path) -> Path:
    """A copy of the released tree, committed."""
    git(copy, "init", "-q")
    git(copy, "add", "-A")
    git(copy, "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "released")
    return copy


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file with its time and content, apart from git's own and from what a lock leaves."""
    files = (
        p for p in folder.rglob("*") if p.is_file() and ".git" not in p.parts and p.name != "lock"
    )
    return {str(p.relative_to(folder)): (p.stat().st_mtime_ns, p.read_bytes()) for p in files}


def texts(folder: Path) -> dict[str, bytes]:
    return {
        name: content for name, (_, content) in snapshot(folder).items() if ".portspec" not in name
    }


def test_only_intended_files_change(repository: Path, workspace: Path) -> None:
    assert build(repository) == CLEAN
    status = git(repository, "status", "--porcelain", "--untracked-files=all").splitlines()
    changed = {line[3:] for line in status if line.startswith(" M")}
    created = {line[3:] for line in status if line.startswith("??")}
    state = {path for path in created if path.startswith(".portspec/")}
    assert changed == CHANGED
    assert created - state == CREATED
    assert ".portspec/skyreels_v2/lock.json" in state
    assert not [path for path in state if "/local/" in path]


def test_a_second_build_touches_nothing(copy: Path, workspace: Path) -> None:
    build(copy)
    before = snapshot(copy)
    assert build(copy) == CLEAN
    assert snapshot(copy) == before


def test_a_build_does_not_depend_on_what_is_remembered(
    copy: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(copy)
    before = snapshot(copy)
    monkeypatch.setenv("PORTSPEC_CACHE", str(workspace / "elsewhere"))
    assert build(copy) == CLEAN
    assert snapshot(copy) == before


def test_what_is_known_of_one_tree_serves_another_of_the_same_content(
    released: Path, workspace: Path
) -> None:
    """Findings name files as a tree is shown: those of one checkout are not new in another."""
    for name in ("one", "two"):
        shutil.copytree(released, workspace / name)
        assert build(workspace / name) == CLEAN


def test_the_order_of_keys_means_nothing(copy: Path, workspace: Path) -> None:
    from ruamel.yaml import YAML

    build(copy)
    before = texts(copy)
    spec = workspace / SPEC
    yaml = YAML()
    document = yaml.load(spec.read_text(encoding="utf-8"))
    for key in reversed(list(document)):
        document.move_to_end(key)
    yaml.dump(document, spec)
    assert build(copy) == CLEAN
    assert texts(copy) == before


def test_taking_a_variant_out_and_putting_it_back_restores_every_byte(
    copy: Path, workspace: Path
) -> None:
    build(copy)
    before = texts(copy)
    whole = (workspace / SPEC).read_text(encoding="utf-8")
    (workspace / SPEC).write_text(_without_720p(whole), encoding="utf-8")
    assert build(copy) == CLEAN
    less = texts(copy)
    assert b"SkyReels-V2-T2V-14B-720P" not in less["fastvideo/registry.py"]
    assert b"720p" not in less[PRESETS]
    (workspace / SPEC).write_text(whole, encoding="utf-8")
    assert build(copy) == CLEAN
    assert texts(copy) == before


def _without_720p(text: str) -> str:
    """Drop the 720P variant, its preset and its registry entry."""
    kept: list[str] = []
    dropping: int | None = None
    for line in text.splitlines(keepends=True):
        depth = len(line) - len(line.lstrip())
        if dropping is not None and line.strip() and depth <= dropping:
            dropping = None
        if dropping is None and "t2v_14b_720p" in line:
            dropping = depth
        if dropping is None:
            kept.append(line)
    return "".join(kept).replace("none: [720p]", "none: []")


@pytest.mark.parametrize("shared", [False, True], ids=["tried at home", "committed"])
def test_a_record_that_somebody_may_refer_to_is_not_deleted(
    shared: bool, repository: Path, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = workspace / SPEC
    text = spec.read_text(encoding="utf-8")
    decision = "{date: '2026-11-21', decision: Try something., rationale: To see how it looks.}"
    spec.write_text(f"{text.rstrip()}\n  D009: {decision}\n", encoding="utf-8")
    assert build(repository) == CLEAN
    if shared:
        git(repository, "add", "-A")
        git(repository, "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "port")
    spec.write_text(text, encoding="utf-8")
    assert build(repository) == (FINDINGS if shared else CLEAN)
    assert ("E146" in capsys.readouterr().err) == shared


def test_an_entry_that_was_there_before_stays_when_the_spec_drops_it(
    copy: Path, workspace: Path
) -> None:
    """`guidance_rescale` is FastVideo's own; a spec that names it does not come to own it."""
    spec = workspace / SPEC
    without = spec.read_text(encoding="utf-8")
    own = "{type: float, default: 0.0, help: How far guidance is scaled back., cli: false}"
    spec.write_text(f"{without}\nsampling_params:\n  guidance_rescale: {own}\n", encoding="utf-8")
    files = ("fastvideo/api/sampling_param.py", "fastvideo/pipelines/pipeline_batch_info.py")
    before = [(copy / path).read_bytes() for path in files]
    assert build(copy) == CLEAN
    spec.write_text(without, encoding="utf-8")
    assert build(copy) == CLEAN
    assert [(copy / path).read_bytes() for path in files] == before


def test_an_example_that_the_spec_drops_is_deleted(copy: Path, workspace: Path) -> None:
    build(copy)
    spec = workspace / SPEC
    text = spec.read_text(encoding="utf-8")
    renamed = text.replace("basic_skyreels_v2.py", "basic_skyreels.py")
    spec.write_text(renamed, encoding="utf-8")
    assert build(copy) == CLEAN
    assert not (copy / "examples/inference/basic/basic_skyreels_v2.py").exists()
    assert (copy / "examples/inference/basic/basic_skyreels.py").exists()


def test_an_edited_file_that_the_spec_drops_stays(
    copy: Path, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build(copy)
    example = copy / "examples/inference/basic/basic_skyreels_v2.py"
    example.write_text(example.read_text("utf-8") + "# mine\n", encoding="utf-8")
    spec = workspace / SPEC
    text = spec.read_text(encoding="utf-8")
    spec.write_text(text.replace("basic_skyreels_v2.py", "basic_skyreels.py"), encoding="utf-8")
    assert build(copy) == CLEAN
    assert example.read_text("utf-8").endswith("# mine\n")
    assert "N221" in capsys.readouterr().err


def test_an_edit_by_hand_stays_when_the_spec_has_not_changed(
    copy: Path, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build(copy)
    presets = copy / PRESETS
    presets.write_text(presets.read_text("utf-8") + "# mine\n", encoding="utf-8")
    assert build(copy) == CLEAN
    assert presets.read_text("utf-8").endswith("# mine\n")
    assert "W220" in capsys.readouterr().err


def test_an_edit_by_hand_in_the_way_is_a_conflict(
    copy: Path, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build(copy)
    presets = copy / PRESETS
    presets.write_text(presets.read_text("utf-8") + "# mine\n", encoding="utf-8")
    spec = workspace / SPEC
    text = spec.read_text(encoding="utf-8").replace(
        "summary: SkyReels-V2 T2V 14B at 720x1280\n    w", "summary: Other\n    w"
    )
    spec.write_text(text, encoding="utf-8")
    before = snapshot(copy)
    assert build(copy) == CONFLICT
    assert snapshot(copy) == before
    assert "E220" in capsys.readouterr().err
    assert build(copy, "--replace", PRESETS) == CLEAN
    assert "# mine" not in presets.read_text("utf-8")


def test_a_file_of_somebody_else_is_not_overwritten(
    copy: Path, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = copy / "examples/inference/basic/basic_skyreels_v2.py"
    theirs.write_text("print('mine')\n", encoding="utf-8")
    assert build(copy) == CONFLICT
    assert theirs.read_text("utf-8") == "print('mine')\n"
    assert "E210" in capsys.readouterr().err


def test_an_entry_changed_by_hand_is_a_conflict(
    copy: Path, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build(copy)
    registry = copy / "fastvideo/models/registry.py"
    text = registry.read_text("utf-8")
    mine = '"SkyReelsV2Transformer3DModel": ("dits", "mine", "Mine")'
    theirs = '"SkyReelsV2Transformer3DModel": ("dits", "wanvideo", "WanTransformer3DModel")'
    assert theirs in text
    registry.write_text(text.replace(theirs, mine), encoding="utf-8")
    assert build(copy) in (CONFLICT, FINDINGS)
    assert mine in registry.read_text("utf-8")
    assert "was written" in capsys.readouterr().err


HUB = "Skywork/SkyReels-V2-T2V-14B-540P-Diffusers"
STATUS = "tests/local_tests/skyreels_v2/PORT_STATUS.md"


def edit_registration(target: Path, old: str, new: str) -> str:
    """Change the 540p registration as a person would; return the registry's text."""
    registry = target / REGISTRY
    head, start, tail = registry.read_text("utf-8").partition("    # SkyReels-V2 T2V 14B at 544")
    assert old in tail
    edited = head + start + tail.replace(old, new, 1)
    registry.write_text(edited, encoding="utf-8")
    return edited


def rename_540p(workspace: Path) -> None:
    """Give the 540p checkpoint another id."""
    spec = workspace / SPEC
    text = spec.read_text("utf-8")
    spec.write_text(text.replace(HUB, "Skywork/Other-540P-Diffusers"), encoding="utf-8")


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (
            "model_detectors=[\n",
            'model_detectors=[\n            lambda path: "mine" in path,\n',
        ),
        ("workload_types=(WorkloadType.T2V, ),\n", "workload_types=(WorkloadType.I2V, ),\n"),
        (
            "workload_types=(WorkloadType.T2V, ),\n",
            "workload_types=(WorkloadType.T2V, ),\n        # reviewed by Ann\n",
        ),
    ],
)
def test_a_registration_that_a_person_edited_is_not_replaced(
    copy: Path, workspace: Path, capsys: pytest.CaptureFixture[str], ours: str, theirs: str
) -> None:
    """Its id changes in the spec, so it would go; left there, it would be registered twice."""
    build(copy)
    edit_registration(copy, ours, theirs)
    rename_540p(workspace)
    before = snapshot(copy)
    assert build(copy) == CONFLICT
    assert snapshot(copy) == before
    assert "E221" in capsys.readouterr().err


def test_a_comment_in_a_registration_stays_while_nothing_about_it_changes(
    copy: Path, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor is it in the way when the spec changes another entry."""
    build(copy)
    line = "model_family="
    commented = edit_registration(copy, line, f"# reviewed by Ann\n        {line}")
    assert build(copy) == CLEAN
    assert (copy / REGISTRY).read_text("utf-8") == commented
    spec = workspace / SPEC
    text = spec.read_text("utf-8")
    spec.write_text(text.replace("V2-T2V-14B-720P-Diff", "V2-Other-T2V-720P-Diff"), "utf-8")
    assert build(copy) == CLEAN
    changed = (copy / REGISTRY).read_text("utf-8")
    assert "# reviewed by Ann" in changed
    assert "V2-Other-T2V-720P-Diff" in changed
    assert "V2-T2V-14B-720P-Diff" not in changed


def test_an_entry_with_a_comment_may_move_within_the_spec(tree: Tree, cache: Cache) -> None:
    """It says what it said; only the place in the spec that it comes from is another."""
    row = DictEntry("t.py", "TABLE", "a", "(1, 2)", "components.one")
    commented = tree.overlay({"t.py": 'TABLE = {\n    "a": (1, 2),  # reviewed by Ann\n}\n'})
    state = State({}, (row,))
    moved = make_plan([replace(row, item="components.two")], state, commented, cache)
    assert [change.kind for change in moved.changes] == ["unchanged"]
    other = make_plan([replace(row, value="3")], state, commented, cache)
    assert [d.code for d in other.conflicts] == ["E221"]
    gone = make_plan([], state, commented, cache)
    assert [(d.code, d.place.line) for d in gone.conflicts] == [("E221", 2)]


def test_an_entry_that_was_edited_into_what_the_spec_wants_is_fine(
    tree: Tree, cache: Cache
) -> None:
    row = DictEntry("t.py", "TABLE", "a", "1", "x")
    edited = tree.overlay({"t.py": 'TABLE = {\n    "a": 2,\n}\n'})
    plan = make_plan([replace(row, value="2")], State({}, (row,)), edited, cache)
    assert plan.diagnostics == ()
    assert [change.kind for change in plan.changes] == ["unchanged"]


def test_an_entry_that_another_family_holds_is_shared(tree: Tree, cache: Cache) -> None:
    row = DictEntry("t.py", "TABLE", "a", "1", "x")
    text = 'TABLE = {\n    "a": 1,\n}\n'
    there = tree.overlay({"t.py": text})
    theirs = (replace(row, item="y"),)
    assert make_plan([row], State({}, (), theirs), there, cache).entries == (row,)
    assert make_plan([row], State(), there, cache).entries == ()
    assert undone(there, State({}, (row,), theirs), cache) == {"t.py": text}
    dropped = make_plan([], State({}, (row,), theirs), there, cache)
    assert [change.kind for change in dropped.changes] == ["unchanged"]
    other = (replace(row, value="2"),)  # a record of what is no longer there holds nothing
    assert undone(there, State({}, (row,), other), cache) == {"t.py": "TABLE = {\n}\n"}


def test_a_damaged_record_of_another_family_is_told(copy: Path) -> None:
    """What it held is unknown, so nothing may be taken out."""
    other = copy / ".portspec/other/lock.json"
    other.parent.mkdir(parents=True)
    other.write_text("{", encoding="utf-8")
    with pytest.raises(TargetError) as caught:
        read_state(copy, "skyreels_v2")
    assert caught.value.diagnostics[0].code == "E230"


def test_a_lost_record_is_made_again(copy: Path, workspace: Path) -> None:
    """The files say that portspec was here, so the entries are the port's own and can be replaced."""
    build(copy)
    lock = copy / ".portspec/skyreels_v2/lock.json"
    before = lock.read_bytes()
    shutil.rmtree(copy / ".portspec")
    assert build(copy, "--replace", STATUS) == CLEAN
    assert lock.read_bytes() == before
    rename_540p(workspace)
    assert build(copy) == CLEAN
    registry = (copy / REGISTRY).read_text("utf-8")
    assert registry.count('default_preset="skyreels_v2_t2v_14b_540p"') == 1
    assert "Skywork/Other-540P-Diffusers" in registry


def test_what_two_ports_need_goes_with_the_last_of_them(
    copy: Path, workspace: Path, released: Path
) -> None:
    shutil.copytree(Path(__file__).parent.parent / "examples", workspace / "examples")
    own = "{type: float, default: 0.0, help: How far the motion is pulled back., cli: false}"
    specs = [workspace / SPEC, workspace / "examples/new_checkpoint/port.yaml"]
    without = [spec.read_text("utf-8") for spec in specs]

    def built(index: int, extra: str) -> str:
        specs[index].write_text(without[index] + extra, encoding="utf-8")
        assert run("build", specs[index], "--target", copy, "--no-gates") == CLEAN
        return (copy / "fastvideo/api/sampling_param.py").read_text("utf-8")

    for index in range(2):
        assert "motion_pull" in built(index, f"\nsampling_params:\n  motion_pull: {own}\n")
    assert "motion_pull" in built(0, "")
    path = "fastvideo/api/sampling_param.py"
    assert built(1, "") == (released / path).read_text("utf-8")


def test_registrations_of_others_around_ours_stay_where_they_are(
    copy: Path, workspace: Path
) -> None:
    """Somebody adds a registration behind ours; our next build moves neither."""
    build(copy)
    registry = copy / "fastvideo/registry.py"
    text = registry.read_text("utf-8")
    theirs = THEIRS
    head, tail = text.split(
        "\n\nclass ModelInfo"
        if "\n\nclass ModelInfo" in text
        else "\n\n@dataclasses.dataclass\nclass ModelInfo",
        1,
    )
    registry.write_text(
        f"{head}\n{theirs}\n\n@dataclasses.dataclass\nclass ModelInfo{tail}", encoding="utf-8"
    )
    before = registry.read_text("utf-8")
    assert build(copy) == CLEAN
    assert registry.read_text("utf-8") == before


def test_a_spec_with_errors_writes_nothing(copy: Path, workspace: Path) -> None:
    spec = workspace / SPEC
    spec.write_text(
        spec.read_text("utf-8").replace("class: SkyReelsV2Pipeline", "class: Other"), "utf-8"
    )
    before = snapshot(copy)
    assert build(copy) == FINDINGS
    assert snapshot(copy) == before


def test_plan_shows_and_writes_nothing(
    copy: Path, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(copy)
    assert run("build", SPEC, "--target", copy, "--plan") == CLEAN
    assert snapshot(copy) == before
    out = capsys.readouterr().out
    for path in CREATED:
        assert f"+ {path}" in out
    for path in CHANGED:
        assert f"~ {path}" in out


def test_a_plan_is_data_when_asked(
    copy: Path, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("build", SPEC, "--target", copy, "--plan", "--json") == CLEAN
    kinds = {row["path"]: row["kind"] for row in json.loads(capsys.readouterr().out)}
    assert kinds == dict.fromkeys(CREATED, "create") | dict.fromkeys(CHANGED, "change")


def test_status_says_when_changes_are_pending(copy: Path, workspace: Path) -> None:
    assert run("status", SPEC, "--target", copy, "--exit-code") == PENDING
    build(copy)
    assert run("status", SPEC, "--target", copy, "--exit-code") == CLEAN


def test_an_abstract_spec_is_not_built(copy: Path, workspace: Path) -> None:
    assert run("build", "specs/wan.yaml", "--target", copy, "--no-gates") == FINDINGS


def test_no_such_target(workspace: Path) -> None:
    assert run("build", SPEC, "--target", workspace / "nowhere", "--no-gates") == USAGE
    assert run("build", SPEC, "--target", workspace, "--no-gates") == USAGE


# --- the journal -----------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "kept.txt").write_text("kept", encoding="utf-8")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "gone.txt").write_text("gone", encoding="utf-8")
    return tmp_path


WRITES: dict[str, str | None] = {"kept.txt": "new", "old/gone.txt": None, "a/b/made.txt": "made"}


def contents(folder: Path) -> dict[str, str]:
    found = (p for p in folder.rglob("*") if p.is_file() and ".portspec" not in p.parts)
    return {str(p.relative_to(folder)): p.read_text("utf-8") for p in found}


def test_everything_is_written(folder: Path) -> None:
    assert sorted(write_all(folder, WRITES)) == sorted(WRITES)
    assert contents(folder) == {"kept.txt": "new", "a/b/made.txt": "made"}
    assert not (folder / "old").exists()
    assert not (folder / ".portspec" / "journal").exists()


def test_what_is_as_it_should_be_is_left_alone(folder: Path) -> None:
    write_all(folder, WRITES)
    before = (folder / "kept.txt").stat().st_mtime_ns
    assert write_all(folder, WRITES) == []
    assert (folder / "kept.txt").stat().st_mtime_ns == before


def _failing(step: int) -> Iterator[None]:
    yield from (None for _ in range(step))
    raise KeyboardInterrupt


@pytest.mark.parametrize("step", range(3))
def test_an_interruption_takes_everything_back(
    folder: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    before, steps, perform = contents(folder), _failing(step), applying._perform

    def stopped(*args: object) -> None:
        next(steps)
        perform(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(applying, "_perform", stopped)
    with pytest.raises(KeyboardInterrupt):
        write_all(folder, WRITES)
    assert contents(folder) == before
    assert not (folder / ".portspec" / "journal").exists()


@pytest.mark.parametrize("step", range(4))
def test_a_killed_run_is_taken_back_by_the_next(folder: Path, step: int) -> None:
    """A child process dies without a chance to clean up; the next build finds its journal."""
    before = contents(folder)
    code = f"""
import os, pathlib
from portspec import apply

steps, perform = iter(range({step})), apply._perform
def killed(*args):
    next(steps, None) is None and os._exit(9)
    perform(*args)
apply._perform = killed
apply._finish = lambda root: os._exit(9)
apply.write_all(pathlib.Path({str(folder)!r}), {WRITES!r})
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    with locked(folder) as rolled_back:
        assert rolled_back
    assert contents(folder) == before


def test_a_journal_that_was_not_finished_does_not_count(folder: Path) -> None:
    journal = folder / ".portspec" / "journal"
    journal.mkdir(parents=True)
    (journal / "0.new").write_text("half", encoding="utf-8")
    before = contents(folder)
    assert not roll_back(folder)
    assert contents(folder) == before


def test_paths_that_leave_the_tree_are_refused(folder: Path) -> None:
    outside = folder.parent / "outside.txt"
    (folder / "link").symlink_to(folder.parent)
    for path in ("../outside.txt", "/tmp/outside.txt", "link/outside.txt", ".git/config"):
        with pytest.raises(TargetError) as caught:
            write_all(folder, {path: "no"})
        assert caught.value.diagnostics[0].code == "E118"
    assert not outside.exists()


def test_a_link_stays_a_link(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "link.txt").symlink_to("kept.txt")
    write_all(folder, {"link.txt": "through"})
    assert contents(folder)["kept.txt"] == "through"
    perform = applying._perform

    def stopped(root: Path, index: int, path: str, text: str | None) -> None:
        perform(root, index, path, text)
        raise KeyboardInterrupt

    monkeypatch.setattr(applying, "_perform", stopped)
    with pytest.raises(KeyboardInterrupt):
        write_all(folder, {"link.txt": "never"})
    assert (folder / "link.txt").is_symlink()
    assert contents(folder)["kept.txt"] == "through"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(folder: Path) -> None:
    folder.chmod(0o500)
    try:
        with pytest.raises(TargetError) as caught, locked(folder):
            pass
    finally:
        folder.chmod(0o700)
    assert caught.value.diagnostics[0].code == "E232"


def test_a_full_disk_takes_everything_back(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(folder)

    def full(*_args: object) -> None:
        raise OSError(28, "No space left on device", "kept.txt")

    monkeypatch.setattr(applying, "_perform", full)
    with pytest.raises(TargetError) as caught:
        write_all(folder, WRITES)
    assert caught.value.diagnostics[0].code == "E232"
    assert contents(folder) == before


def test_one_builder_at_a_time(folder: Path) -> None:
    (folder / ".portspec").mkdir()
    with (folder / ".portspec" / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(LockedError) as caught, locked(folder):
            pass
    assert caught.value.diagnostics[0].code == "E231"


def test_a_held_target_is_exit_7(copy: Path, workspace: Path) -> None:
    (copy / ".portspec").mkdir()
    with (copy / ".portspec" / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        assert build(copy) == LOCKED


def test_a_damaged_record_is_told(
    copy: Path, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build(copy)
    (copy / ".portspec/skyreels_v2/lock.json").write_text("{", encoding="utf-8")
    assert build(copy) == FINDINGS
    assert "E230" in capsys.readouterr().err


def test_modes_of_files_stay(copy: Path, workspace: Path) -> None:
    registry = copy / "fastvideo/registry.py"
    registry.chmod(0o755)
    build(copy)
    assert registry.stat().st_mode & 0o777 == 0o755


def test_two_specs_in_either_order_give_the_same_tree(
    released: Path, workspace: Path, tmp_path: Path
) -> None:
    shutil.copytree(Path(__file__).parent.parent / "examples", workspace / "examples")
    other = "examples/new_checkpoint/port.yaml"
    results = []
    for name, order in (("one", (SPEC, other)), ("two", (other, SPEC))):
        folder = tmp_path / name
        shutil.copytree(released, folder)
        for spec in order:
            assert run("build", spec, "--target", folder, "--no-gates") == CLEAN
        results.append(texts(folder))
    different = [path for path in results[0] if results[0][path] != results[1].get(path)]
    assert different == [
        "fastvideo/configs/pipelines/__init__.py"
    ]  # its list has no order of its own
    one, two = (sorted(re.findall(r"\w+", result[different[0]].decode())) for result in results)
    assert one == two
