"""Rules of a conversion are proved on the published names before any weights are at hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from portspec.codegen.gates.mapping import run as mapping_gate
from portspec.commands import CLEAN, FINDINGS, port_of
from portspec.settings import Settings
from portspec.weights.conversion import declaration
from tests.conftest import SPEC, run

WAN = "specs/wan.yaml"


def edit(workspace: Path, file: str, old: str, new: str) -> None:
    path = workspace / file
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, old
    path.write_text(text.replace(old, new), encoding="utf-8")


def check(capsys: pytest.CaptureFixture[str], target: Path) -> str:
    status = run("check", SPEC, "--target", target)
    out = capsys.readouterr().out
    assert status == (FINDINGS if "error" in out else CLEAN)
    return out


def test_two_names_for_one_are_refused_with_their_rule(
    workspace: Path, released: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(workspace, WAN, "to: 'quant_conv.\\1'", "to: 'post_quant_conv.\\1'")
    told = check(capsys, released)
    assert "E503 [K15] post_quant_conv.weight is written by conv1.weight, conv2.weight" in told
    assert "specs/wan.yaml:" in told


def test_a_rule_that_meets_no_published_name_is_refused(
    workspace: Path, released: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(workspace, WAN, "'^token_embedding\\.weight$'", "'^embed_tokens\\.weight$'")
    assert "E506 [K15] no published name matches '^embed_tokens" in check(capsys, released)


def test_the_published_names_of_the_spec_hold(
    workspace: Path, released: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "nothing speaks against building" in check(capsys, released)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (None, "E540"),
        ("[]", "E540"),
        ('{"a": [1]}', "E540"),
        ('{"a": {"dtype": "F32", "shape": [-1]}}', "E523"),
        ("{", "E540"),
    ],
)
def test_a_surface_that_is_none(
    content: str | None,
    code: str,
    workspace: Path,
    released: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    surface = workspace / "specs/surfaces/wan_vae.json"
    surface.unlink()
    if content is not None:
        surface.write_text(content, encoding="utf-8")
    assert code in check(capsys, released)


def test_a_surface_outside_of_the_spec_s_folder_is_refused(
    workspace: Path, released: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(workspace, WAN, "surfaces/wan_vae.json", "../wan_vae.json")
    assert "E118" in check(capsys, released)


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("'^conv1\\.(\\w+)$', to: 'quant_conv.\\1'", "'^conv1\\.(\\w+)$', to: 'quant.\\1'", "E501"),
        (
            "encoder.down_blocks.\\1.conv{\\2 // 4 + 1}",
            "encoder.down_blocks.\\1.conv{3 - (\\2 // 4 + 1)}",
            "E504",
        ),
    ],
)
def test_the_mapping_gate_holds_them_against_the_official_class(
    workspace: Path, old: str, new: str, code: str
) -> None:
    """What only the other side can tell: a name that nobody has, a tensor of another shape."""
    right = declaration(port_of(workspace / SPEC, Settings()).components["vae"], "t2v_14b_540p")
    edit(workspace, WAN, old, new)
    wrong = declaration(port_of(workspace / SPEC, Settings()).components["vae"], "t2v_14b_540p")
    surface = workspace / "specs/surfaces/wan_vae.json"
    official = _converted_shapes(surface, right)
    surfaces = workspace / "surfaces.json"
    both = {"official": official, "native": official, "renames": [], "stacks": [], "aliases": {}}
    surfaces.write_text(json.dumps({"v.vae": both}), encoding="utf-8")
    for declared, status in ((right, "pass"), (wrong, "fail")):
        conversion = {"key": "v.vae", "surface": str(surface), "declaration": declared}
        arguments = {"surfaces": str(surfaces), "unused": {}, "conversions": [conversion]}
        outcome = mapping_gate(arguments)
        assert outcome.status == status, outcome.message
    assert code in outcome.message


def _converted_shapes(surface: Path, table: dict[str, object]) -> dict[str, list[int]]:
    from portspec.weights.engine.convert import declared
    from portspec.weights.operations import every_operation
    from portspec.weights.surface import read_surface

    rules = declared("vae", table, every_operation()).rule_set
    outputs = rules.apply(read_surface(surface)).outputs
    return {name: list(value.type.shape) for name, value in outputs.items()}
