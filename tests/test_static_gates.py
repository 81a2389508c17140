"""Gates that read the port's sources: what they refuse, what they let pass, and that FastVideo's files do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

import pytest

from portspec.backend import Target
from portspec.codegen.gates import RUNTIME
from portspec.codegen.gates.hot_path import read_keys, review
from portspec.codegen.gates.import_boundary import imports, judge, lookups
from portspec.gates.result import Gate
from portspec.judge import Judgement
from portspec.judge import judge as judge_spec
from portspec.settings import Settings
from tests.conftest import SPEC

OFFICIAL = ("diffusers", "transformers")
NETWORK = "diffusers.models.transformers.transformer_skyreels_v2"

# --- the import boundary ---------------------------------------------------------------------------

REFUSED = {
    "an attribute": """
        import diffusers
        def load(folder):
            return diffusers.SkyReelsV2Transformer3DModel(folder)
    """,
    "under another name": "import diffusers as d\nmodel = d.SkyReelsV2Transformer3DModel",
    "of a module below": "import diffusers.models\nmodel = diffusers.models.UNet2DModel()",
    "of a module by name": "from diffusers import models as m\nmodel = m.UNet2DModel()",
    "a method": "import diffusers\nm = diffusers.SkyReelsV2Transformer3DModel.from_pretrained('x')",
    "in a function": f"def load():\n    import {NETWORK} as o\n    return o",
    "out of a package": "from diffusers.models.transformers import transformer_skyreels_v2 as o",
    "something else beside it": f"from {NETWORK} import logger",
    "import_module": "from importlib import import_module\nx = import_module('diffusers').UNet2DModel",
    "import_module, kept": "import importlib\nd = importlib.import_module('diffusers')\nd.UNet2DModel",
    "import_module of it": f"from importlib import import_module\nx = import_module('{NETWORK}')",
    "__import__": "x = __import__('diffusers').UNet2DModel",
    "getattr": "import diffusers\nmodel = getattr(diffusers, 'UNet2DModel')",
    "another name for it": "import diffusers\nd = diffusers\nmodel = d.UNet2DModel",
    "everything": "from diffusers import *",
    "a class": "from transformers import UMT5EncoderModel",
}
ALLOWED = {
    "a function": "from diffusers.utils.torch_utils import randn_tensor",
    "a scheduler": "import diffusers\nscheduler = diffusers.UniPCMultistepScheduler()",
    "a tokenizer": "from transformers import AutoTokenizer\nt = AutoTokenizer.from_pretrained('x')",
    "a module by a variable": "from importlib import import_module\nx = import_module(name).Thing",
    "an attribute of another": "from fastvideo import models\nmodel = models.UNet2DModel",
    "its name alone": "def load(d):\n    return d.SkyReelsV2Transformer3DModel, 'UNet2DModel'",
    "its version": "import diffusers\nprint(diffusers.__version__, diffusers.utils.logging)",
}
_BOUNDARY = """
import json, sys
from portspec.codegen.gates.import_boundary import imports, judge, lookups
sources, official, blocked = json.load(sys.stdin)
found = {
    name: [judge(m, s, official, blocked) for _, m, s in [*imports(text), *lookups(text)]]
    for name, text in sources.items()
}
json.dump({name: [p for p in problems if p] for name, problems in found.items()}, sys.stdout)
"""


def boundary(sources: dict[str, str], blocked: list[str]) -> dict[str, list[str]]:
    """Judge sources in a process of its own, as the gate does: it imports torch and the libraries."""
    done = subprocess.run(
        [sys.executable, "-c", _BOUNDARY],
        input=json.dumps([sources, OFFICIAL, blocked]),
        env={**os.environ, "PYTHONPATH": str(RUNTIME)},
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, list[str]] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def problems() -> dict[str, list[str]]:
    every = {name: dedent(text) for name, text in {**REFUSED, **ALLOWED}.items()}
    return boundary(every, [NETWORK])


@pytest.mark.parametrize("name", REFUSED)
def test_an_official_model_does_not_pass_the_boundary(
    name: str, problems: dict[str, list[str]]
) -> None:
    assert problems[name]
    assert all(problem.startswith("E710") for problem in problems[name])


@pytest.mark.parametrize("name", ALLOWED)
def test_what_is_no_model_passes_the_boundary(name: str, problems: dict[str, list[str]]) -> None:
    assert not problems[name]


@pytest.mark.parametrize(
    "source",
    [
        "from importlib import import_module\nimport_module('fastvideo.tests.utils')",
        "import fastvideo.pipelines\nx = fastvideo.tests.utils",
        "def f():\n    import pytest",
    ],
)
def test_test_code_does_not_pass_the_boundary(source: str) -> None:
    found = [judge(m, s, OFFICIAL) for _, m, s in [*imports(source), *lookups(source)]]
    assert any(problem.startswith("E711") for problem in found)


# --- the sampling loop -----------------------------------------------------------------------------

IN_LOOP = {
    "E720": [
        "x = torch.tensor(0.5)",
        "x = torch.empty(4, device=d)",
        "x = zeros(4)",
        "x = make_ones(4)",
        "x = t.zeros(4)",
        "x = torch.zeros_like(latents)",
        "x = torch.ones_like(latents[:1])",
        "latents = go(latents, step)\nx = torch.zeros_like(latents)",
        "x = torch.full_like(latents, 0.5)",
    ],
    "E721": [
        "x = torch.randn(4)",
        "x = torch.rand(latents.shape)",
        "x = torch.randn(latents.shape, generator=generator)",
        "x = torch.randint(0, 4, (4,))",
        "x = torch.randn_like(latents)",
        "x = draw(4)",
        "for g in generators:\n    x = torch.randn(4, generator=g)",
    ],
}
CLEAN_IN_LOOP = [
    "x = torch.tensor([step])",
    "x = torch.full_like(latents, step)",
    "x = torch.zeros_like(step)",
    "x = torch.zeros_like(input=step)",
    "angles = torch.outer(positions, step)\nx = torch.polar(torch.ones_like(angles), angles)",
    "g = generators[step]\nx = torch.randn(4, generator=g)",
    "x = torch.full((1,), step)",
    "x = torch.cat([latents, latents])",
    "x = torch.randn(4, generator=generators[step])",
    "x = np.zeros(4)",
    "x = latents.normal_(generator=generator)",
    "x = rand(4)",
]
IMPORTS = (
    "import torch, torch as t\nfrom torch import zeros, ones as make_ones, randn as draw\n"
    "from numpy import rand\nfrom torch.backends import cudnn\nimport torch.backends.cuda as cuda\n"
)
SWITCHES = [
    "torch.backends.cuda.matmul.allow_tf32 = True",
    "torch.backends.cuda.matmul.allow_tf32 |= True",
    "cudnn.benchmark = True",
    "torch.set_float32_matmul_precision('high')",
    "t.set_default_dtype(t.float16)",
    "torch.backends.cuda.enable_flash_sdp(False)",
    "cuda.enable_math_sdp(True)",
    "torch.use_deterministic_algorithms(True)",
]
NO_SWITCHES = [
    "x = torch.backends.cuda.matmul.allow_tf32",
    "x = torch.backends.cuda.flash_sdp_enabled()",
    "with torch.set_grad_enabled(False):\n    pass",
    "with torch.backends.cudnn.flags(enabled=False):\n    pass",
    "cudnn_benchmark = True",
    "torch.manual_seed(0)",
]
WRITES = [
    'batch.extra["k"] = 1',
    'forward_batch.extra["k"] = 1',
    "batch.extra.update(k=1)",
    'batch.extra.update({"k": 1})',
    "batch.extra.update(dict(k=1))",
    'batch.extra |= {"k": 1}',
    'ext = batch.extra\next["k"] = 1',
    'ext = getattr(batch, "extra", None) or {}\next["k"] = 1',
]
READS = [
    'x = batch.extra["k"]',
    'x = batch.extra.get("k")',
    'x = batch.extra.get(\n    "k",\n    None)',
    'x = batch.extra.pop("k", 1)',
    'x = "k" in batch.extra',
    'x = "k" not in self.batch.extra',
    'ext = batch.extra\nx = ext["k"]',
    'ext: dict = batch.extra or {}\nx = ext.get("k")',
    'x = (getattr(batch, "extra", None) or {}).get("k")',
    'batch.extra["k"] += 1',
    'batch.extra["k"]["other"] = 1',
    'def f(extra):\n    return extra["k"]',
    'KEY = "k"\nx = batch.extra[KEY]',
]
NO_READS = [
    'batch.extra["k"] = 1',
    "batch.extra.update(k=1)",
    'x = other["k"]',
    "x = batch.extra",
    'batch.extra["k"], x = 1, 2',
    "def broken(:",
]


def codes(body: str, name: str = "forward", head: str = IMPORTS) -> list[str]:
    """Review a function with this body."""
    source = f"{head}def {name}(self, batch, latents, steps, generator):\n{indent(body, '    ')}\n"
    return [found.code for found in review(source, set())]


@pytest.mark.parametrize("loop", ["for step in steps:", "while step := next(steps):"])
@pytest.mark.parametrize(
    ("code", "body"), [(code, body) for code, bodies in IN_LOOP.items() for body in bodies]
)
def test_what_is_made_anew_at_every_step_is_found(loop: str, code: str, body: str) -> None:
    inside = f"{loop}\n{indent(body, '    ')}"
    assert codes(inside) == [code]
    assert not codes(inside, name="load_model")
    assert not codes(body.replace("for g in generators:\n    ", ""))


@pytest.mark.parametrize("body", CLEAN_IN_LOOP)
def test_what_depends_on_the_step_may_be_made(body: str) -> None:
    assert not codes(f"for step in steps:\n{indent(body, '    ')}")


@pytest.mark.parametrize("body", SWITCHES)
def test_a_switch_of_the_process_is_found(body: str) -> None:
    assert codes(body) == ["E722"]
    assert codes(f"for step in steps:\n{indent(body, '    ')}") == ["E722"]
    assert not codes(body, name="__init__")


@pytest.mark.parametrize("body", NO_SWITCHES)
def test_what_sets_no_switch_may_stand(body: str) -> None:
    assert not codes(body)


@pytest.mark.parametrize("body", WRITES)
def test_what_is_written_and_never_read_is_found(body: str) -> None:
    source = f"def forward(self, batch):\n{indent(body, '    ')}\n"
    assert [found.code for found in review(source, set())] == ["E723"]
    assert not list(review(source, {"k"}))


def test_a_dict_of_another_function_is_no_extra() -> None:
    source = 'def a(batch):\n    ext = batch.extra\n\ndef b():\n    ext = {}\n    ext["k"] = 1\n'
    assert not list(review(source, set()))


@pytest.mark.parametrize("body", READS)
def test_what_is_read_is_known(body: str) -> None:
    assert "k" in set(read_keys(body))


@pytest.mark.parametrize("body", NO_READS)
def test_what_is_not_read_is_known(body: str) -> None:
    assert not set(read_keys(body))


# --- FastVideo's own files -------------------------------------------------------------------------


@pytest.fixture
def judgement(target: Target, workspace: Path) -> Judgement:
    return judge_spec(Path(SPEC), target)


def gate_named(name: str, judgement: Judgement) -> dict[str, Any]:
    """Return the arguments of one of the port's gates."""
    from portspec.build import prepare

    gates: tuple[Gate, ...] = tuple(prepare(judgement, Settings()).gates.gates)
    return dict(next(gate.args for gate in gates if gate.name == name))


def test_the_files_of_the_first_port_pass_the_boundary(judgement: Judgement) -> None:
    given = gate_named("import_boundary", judgement)
    sources = {path: judgement.staged.text(path) for path in given["files"]}
    assert len(sources) > 5
    assert NETWORK in given["blocked"]
    assert not any(boundary(sources, given["blocked"]).values())


def test_the_files_of_the_first_port_are_clean_in_the_loop(
    judgement: Judgement, released: Path
) -> None:
    given = gate_named("hot_path", judgement)
    assert given["own"]
    assert given["shared"]
    readers = {
        key
        for path in (released / "fastvideo").rglob("*.py")
        if "extra" in (text := path.read_text("utf-8"))
        for key in read_keys(text)
    }
    assert not [f for p in given["own"] for f in review(judgement.staged.text(p), readers)]
    for path in given["shared"]:
        print(path, list(review(judgement.staged.text(path), readers)))
