"""Reading registry.py: where registrations may stand, and what is said of a detector that cannot be read."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent, indent

import pytest

from portspec.backend import Target
from portspec.cache import Cache
from portspec.codegen.checks.k02_resolution import check
from portspec.codegen.facts import REGISTRY
from portspec.codegen.index import FastVideoIndex
from portspec.codegen.index.registrations import Registration, read_registrations
from portspec.errors import Diagnostic
from portspec.judge import judge
from portspec.tree import Tree
from tests.conftest import SPEC

HEAD = "def _register_configs() -> None:\n"
THIEF = """\
register_configs(
    sampling_param_cls=None,
    pipeline_config_cls=MMAudioV2AConfig,
    workload_types=(WorkloadType.T2V, ),
    model_detectors=[
        {detector},
    ],
    model_family="mmaudio",
    default_preset="mmaudio_large_44k_v2",
)
"""
FIRES = 'lambda path: "skyreels" in path.lower()'
OPAQUE = 'lambda path: path.lower().find("skyreels") >= 0'
BLOCKS = {
    "if": 'if not os.environ.get("X"):\n{}',
    "else": 'if os.environ.get("X"):\n    pass\nelse:\n{}',
    "for": "for _ in range(1):\n{}",
    "with": "with suppress(ImportError):\n{}",
    "try": "try:\n{}except ImportError:\n    pass\n",
    "except": "try:\n    import nothing\nexcept ImportError:\n{}",
    "finally": "try:\n    pass\nfinally:\n{}",
    "match": "match 1:\n    case _:\n    {}",
}


def thief(block: str, detector: str = FIRES) -> str:
    """Return a registration inside a statement, as it stands in the function."""
    wide = "        " if block == "match" else "    "
    inside = indent(THIEF.format(detector=detector), wide)
    return indent(BLOCKS[block].replace("    {}", "{}").format(inside), "    ")


def registrations(body: str, tmp_path: Path) -> tuple[Registration, ...]:
    """Read a registry whose function has this body."""
    path = tmp_path / REGISTRY
    path.parent.mkdir(parents=True)
    path.write_text(HEAD + indent(dedent(body), "    "), encoding="utf-8")
    return read_registrations(Tree(tmp_path, Cache(tmp_path / "cache")))


def found_in(tree: Tree) -> list[Diagnostic]:
    return list(check(FastVideoIndex(tree)))


def ahead(tree: Tree, source: str) -> Tree:
    """Put a source at the top of the function that registers."""
    text = tree.text(REGISTRY)
    assert text.count(HEAD) == 1
    return tree.overlay({REGISTRY: text.replace(HEAD, HEAD + source)})


@pytest.mark.parametrize("block", BLOCKS)
def test_a_registration_inside_a_statement_takes_what_it_fires_on(
    block: str, target: Target, workspace: Path
) -> None:
    built = judge(Path(SPEC), target).staged
    found = found_in(ahead(built, thief(block)))
    taken = [d.message for d in found if d.code == "E331" and "Skywork/" in d.message]
    assert len(taken) == 2
    assert all("gets the entry of mmaudio_large_44k_v2 (line" in message for message in taken)


@pytest.mark.parametrize("block", BLOCKS)
def test_a_build_beside_such_a_registration_is_refused(
    block: str, target: Target, workspace: Path
) -> None:
    """It would get the port's checkpoints, and no call inside a statement can be gone before."""
    taken = Target(ahead(target.tree, thief(block)), target.cache)
    found = judge(Path(SPEC), taken)
    assert not found.is_sound
    assert any("mmaudio_large_44k_v2" in d.message for d in found.diagnostics)


def test_they_are_read_in_the_order_of_the_source(tmp_path: Path) -> None:
    body = """
    register_configs(model_family="a")
    if True:
        register_configs(model_family="b")
        for _ in ():
            register_configs(model_family="c")
    else:
        register_configs(model_family="d")
    def never_called():
        register_configs(model_family="no")
    register_configs(model_family="e")
    """
    found = registrations(body, tmp_path)
    assert [(r.index, r.family) for r in found] == list(enumerate("abcde"))


@pytest.mark.parametrize(
    "body",
    [
        'word = "a"\nif X:\n    word = "b"\nregister_configs(model_detectors=[lambda p: word in p])',
        'for word in ("a", "b"):\n    register_configs(model_detectors=[lambda p: "c" in p and word in p])',
        "register_configs(model_detectors=[lambda p: 'a' in p and WORD in p])",
        "register_configs(model_detectors=DETECTORS)",
        "register_configs(model_detectors=[*DETECTORS])",
        "register_configs(**common)",
        "register_configs(*common)",
    ],
    ids=["bound twice", "loop", "global", "name", "starred", "keywords", "arguments"],
)
def test_what_cannot_be_known_is_opaque(body: str, tmp_path: Path) -> None:
    (entry,) = registrations(body, tmp_path)
    assert [d.is_opaque for d in entry.detectors] == [True]
    assert not entry.fires_on("a c")


@pytest.mark.parametrize(
    "body",
    [
        'words = ("a",)\nregister_configs(model_detectors=[lambda p: any(w in p for w in words)])',
        'def fires(p):\n    return "a" in p\nif X:\n    register_configs(model_detectors=[fires])',
        'if X:\n    word = "a"\n    register_configs(model_detectors=[lambda p: word in p])',
        'register_configs(model_detectors=(lambda p: "a" in p,))',
    ],
    ids=["words", "helper", "within", "tuple"],
)
def test_what_can_be_known_is_read(body: str, tmp_path: Path) -> None:
    (entry,) = registrations(body, tmp_path)
    assert entry.fires_on("a")
    assert not entry.fires_on("b")


@pytest.mark.parametrize("none", ["", "model_detectors=None", "model_detectors=[]"])
def test_no_detectors_are_none(none: str, tmp_path: Path) -> None:
    (entry,) = registrations(f"register_configs({none})", tmp_path)
    assert not entry.detectors


def test_a_build_behind_a_detector_that_cannot_be_read_says_so(
    target: Target, workspace: Path
) -> None:
    """It was in the tree before; what is new is that it may take the port's checkpoints."""
    source = thief("if", OPAQUE)
    found = judge(Path(SPEC), Target(ahead(target.tree, source), target.cache))
    assert found.is_sound
    assert [d.code for d in found.diagnostics] == ["W330"]


def test_what_is_certain_is_said_although_a_later_detector_cannot_be_read(tree: Tree) -> None:
    own = 'model_detectors=[lambda path: "glmimage" in path.lower() or "glm-image" in path.lower()]'
    text = tree.text(REGISTRY)
    assert own in text
    changed = tree.overlay({REGISTRY: text.replace(own, f"model_detectors=[{OPAQUE}]")})
    before = {d.message for d in found_in(tree) if d.code == "E331"}
    assert before
    assert before == {d.message for d in found_in(changed) if d.code == "E331"}
