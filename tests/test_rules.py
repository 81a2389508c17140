"""Single rules on specs, where a page's one example does not say enough."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from portspec.backend import Target
from portspec.errors import Diagnostic
from portspec.judge import judge
from tests.conftest import SPEC

TRANSFORMER = "components.transformer"
CLASS = "diffusers.pipelines.skyreels_v2.pipeline_skyreels_v2:SkyReelsV2Pipeline"


def found(target: Target, changes: dict[str, Any]) -> list[Diagnostic]:
    """Set values in the spec of the working folder, and check it."""
    yaml = YAML()
    document = yaml.load(Path(SPEC).read_text("utf-8"))
    for path, value in changes.items():
        *head, last = path.split(".")
        node = document
        for key in head:
            node = node[int(key)] if key.isdigit() else node[key]
        node[last] = value
    yaml.dump(document, Path(SPEC))
    return list(judge(Path(SPEC), target).diagnostics)


def rules(*rows: tuple[str, str, list[int] | None]) -> list[dict[str, Any]]:
    return [{"match": m, "to": t} | ({"fuse": f} if f else {}) for m, t, f in rows]


def ported(*rows: tuple[str, str, list[int] | None]) -> dict[str, Any]:
    """Make the transformer a network of its own with this mapping."""
    port = {"file": "fastvideo/models/dits/own.py", "class": "Own"}
    return {
        f"{TRANSFORMER}.port": port,
        f"{TRANSFORMER}.reuse": None,
        f"{TRANSFORMER}.config": None,
        f"{TRANSFORMER}.evidence": None,
        f"{TRANSFORMER}.mapping": rules(*rows),
    }


def test_two_sets_of_rules_may_fuse_into_one_name(workspace: Path, target: Target) -> None:
    kinds = ("double", "single")
    rows = [
        (rf"^{kind}\.(\d+)\.{part}\.(.*)$", r"blocks.\1.qkv.\2", [index, 3])
        for kind in kinds
        for index, part in enumerate("qkv")
    ]
    assert "E138" not in {d.code for d in found(target, ported(*rows))}
    assert "E138" in {d.code for d in found(target, ported(*rows[:-1]))}


def test_a_pattern_too_large_to_compile_is_told(workspace: Path, target: Target) -> None:
    huge = ported((r"^a{99999999999999999999}$", "b", None))
    assert "E136" in {d.code for d in found(target, huge)}


@pytest.mark.parametrize(
    ("quote", "value", "holds"),
    [
        ("flow_shift = 8.0  # 8.0 for T2V, 5.0 for I2V", 8.0, True),
        ("flow_shift = 8.0  # 8.0 for T2V, 5.0 for I2V", 5.0, False),
        ("5.0 for I2V", 5.0, True),
        ("8.0 for T2V", 8, True),
    ],
)
def test_the_first_number_of_a_quotation_is_its_value(
    quote: str, value: float, holds: bool, workspace: Path, target: Target
) -> None:
    source = f'diffusers.pipelines.skyreels_v2.pipeline_skyreels_v2:EXAMPLE_DOC_STRING "{quote}"'
    shift = {"pipeline.config.fields.flow_shift": {"value": value, "source": source}}
    assert ("E605" not in {d.code for d in found(target, shift)}) == holds


def test_a_misspelt_method_is_told_from_a_misspelt_class(workspace: Path, target: Target) -> None:
    remedies = {
        d.code: d.remedy
        for d in found(target, {"pipeline.call": f"{CLASS}.__cal__"})
        if d.code == "E404"
    }
    assert remedies == {"E404": 'Did you mean "SkyReelsV2Pipeline.__call__"?'}


def test_a_chain_that_ends_in_latents_is_told(workspace: Path, target: Target) -> None:
    stages = YAML().load(Path("specs/wan.yaml").read_text("utf-8"))["pipeline"]["stages"]
    codes = {d.code for d in found(target, {"pipeline.stages": list(stages[:-1])})}
    assert "E619" in codes


def test_words_that_must_not_stand_there_detect_nothing(workspace: Path, target: Target) -> None:
    assert "E626" in {d.code for d in found(target, {"registry.0.detect": {"none": ["720p"]}})}


@pytest.mark.parametrize("path", ["weights.token_env", "weights.hub", "weights.layout", "title"])
def test_a_token_is_never_repeated(path: str, workspace: Path, target: Target) -> None:
    """Wherever it was pasted, and whatever else is wrong with the place."""
    from portspec.errors import SpecError

    token = "hf_" + "aB3" * 10
    try:
        diagnostics = found(target, {path: token})
    except SpecError as error:
        diagnostics = list(error.diagnostics)
    assert diagnostics
    assert token not in repr(diagnostics)


def test_a_file_to_install_stands_beside_the_spec(workspace: Path, target: Target) -> None:
    changes = ported() | {
        f"{TRANSFORMER}.port": {"file": "fastvideo/x.py", "class": "X", "source": "../../x.py"}
    }
    assert "E118" in {d.code for d in found(target, changes)}
