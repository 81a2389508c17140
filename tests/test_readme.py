"""What the README and the tutorial tell people to write is accepted, and does what they say."""

from __future__ import annotations

import re
import subprocess
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from portspec.backend import Target
from portspec.judge import judge
from tests.conftest import ROOT, SPEC, run

PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    *(f"docs/{name}.md" for name in ("tutorial", "gates", "design", "target")),
]


def merge(into: Any, new: Any) -> None:
    for key, value in new.items():
        if isinstance(value, dict) and key in into:
            merge(into[key], value)
        elif isinstance(value, list) and key in into:
            into[key] += value
        else:
            into[key] = value


def blocks(page: str, kind: str) -> list[str]:
    text = (ROOT / page).read_text("utf-8")
    return re.findall(rf"^```{kind}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_a_preset_and_a_variant_as_in_the_readme(workspace: Path, target: Target) -> None:
    yaml = YAML(typ="rt")
    document = yaml.load((workspace / SPEC).read_text("utf-8"))
    for block in blocks("README.md", "yaml"):
        merge(document, yaml.load(block))
    small = deepcopy(document["presets"]["skyreels_v2_t2v_14b_540p"])
    small |= {"variant": "t2v_1_3b_540p", "summary": "SkyReels-V2 T2V 1.3B at 544x960"}
    document["presets"]["skyreels_v2_t2v_1_3b_540p"] = small
    yaml.dump(document, workspace / SPEC)
    judgement = judge(Path(SPEC), target)
    assert {d.code for d in judgement.diagnostics} == {"W114"}  # no checkpoint gets it by default
    presets = judgement.staged.text("fastvideo/pipelines/basic/skyreels_v2/presets.py")
    assert "SKYREELS_V2_T2V_14B_540P_FAST" in presets
    assert "SkyReels-V2-T2V-1.3B-540P" in judgement.staged.text("fastvideo/registry.py")


def test_the_readmes_changes_may_be_made_one_by_one_and_taken_back(
    copy: Path, workspace: Path
) -> None:
    """As a person would: build, add the variant at the end, build, take it out, build."""
    original = (workspace / SPEC).read_text("utf-8")
    build = ("build", SPEC, "--target", str(copy), "--no-gates")
    subprocess.run(["git", "init", "-q", str(copy)], check=True)
    assert run(*build) == 0
    registry = (copy / "fastvideo/registry.py").read_text("utf-8")
    yaml = YAML(typ="rt")
    document = yaml.load(original)
    for block in blocks("README.md", "yaml"):
        merge(document, yaml.load(block))
    small = deepcopy(document["presets"]["skyreels_v2_t2v_14b_540p"])
    small |= {"variant": "t2v_1_3b_540p", "summary": "SkyReels-V2 T2V 1.3B at 544x960"}
    document["presets"]["skyreels_v2_t2v_1_3b_540p"] = small
    yaml.dump(document, workspace / SPEC)
    assert run(*build) == 0
    assert (copy / "fastvideo/registry.py").read_text("utf-8") != registry
    (workspace / SPEC).write_text(original, encoding="utf-8")
    assert run(*build) == 0
    assert (copy / "fastvideo/registry.py").read_text("utf-8") == registry


def test_the_tutorial_quotes_the_spec() -> None:
    yaml = YAML(typ="safe")
    spec = yaml.load((ROOT / SPEC).read_text("utf-8"))
    excerpts = blocks("docs/tutorial.md", "yaml")
    assert len(excerpts) > 5
    for excerpt in excerpts:
        assert holds(spec, yaml.load(excerpt)), excerpt


def holds(whole: Any, part: Any) -> bool:
    if isinstance(part, dict):
        return all(k in whole and holds(whole[k], v) for k, v in part.items())
    if isinstance(part, list):
        return all(any(holds(w, p) for w in whole) for p in part)
    return bool(whole == part)


@pytest.mark.parametrize("page", PAGES)
def test_links_and_paths_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    for link in re.findall(r"\]\((?!https:)([^)#]+)[^)]*\)", text):
        assert ((ROOT / page).parent / link).exists(), link
    for path in re.findall(
        r"`((?:portspec|codegen|specs|examples|tests|docs|schemas)/[\w./-]+)`", text
    ):
        in_target = path.startswith(("tests/local_tests/", "docs/inference/"))
        assert in_target or (ROOT / path).exists(), path


@pytest.mark.parametrize("page", PAGES)
def test_commands_exist(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    for command in set(re.findall(r"(?:\$ |`)portspec ([a-z]+)", text)):
        assert run(command, "--help") == 0, command


@pytest.mark.parametrize("page", PAGES)
def test_codes_exist(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    for code in set(re.findall(r"\b[EWN]\d{3}\b", text)):
        assert run("explain", code) == 0, code
