r"""Defects of other mapping engines, and bugs their users met, replayed on ours in a few made-up tensors.

Each is refused from headers alone, with the rule at fault where there is one, or cannot happen here, which is
then shown. Tensors lie in a file that does not exist: nothing reads it.

The rows D1 to D20 are defects that we reproduced in released engines; the others are public reports.

Not replayed, as they are about something else than a mapping or a conversion:

- FastVideo's lesson on a packer shared by both sides of a parity test: it is about what a gate may import;
  there are no weights in it.
- The part of Megatron-Bridge 1272 and 1423 that asks for mappings of adapters: a wish, not a defect. What the
  engine did with the parameters that it had no mapping for is replayed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from portspec.cache import Cache
from portspec.language import load_spec
from portspec.port import resolve
from portspec.tree import Tree
from portspec.weights.certificate import Certificate, Surface, certify, look_alikes, side_of
from portspec.weights.conversion import plan_conversion
from portspec.weights.engine.layout import lay_out
from portspec.weights.engine.ops.concat import Concat
from portspec.weights.engine.rules import Join, Problem, Rule, RuleSet, cast
from portspec.weights.engine.safetensors_file import make_header
from portspec.weights.engine.sources import read_tensors
from portspec.weights.engine.tensors import Shape, Tensor, TensorType, WeightsError
from portspec.weights.engine.write import Job, write

Found = tuple[str, int]  # code, and the rule at fault or -1

NOTHING_IS_READ = "no such folder/model.safetensors"


def surface(shapes: Mapping[str, Shape], dtype: str = "BF16") -> Surface:
    return {name: Tensor(dtype, shape, NOTHING_IS_READ, 0) for name, shape in shapes.items()}


def vectors(*names: str) -> dict[str, Shape]:
    return dict.fromkeys(names, (4,))


def renames(*rows: tuple[str, str]) -> tuple[Rule, ...]:
    return tuple(Rule(match, (to,)) for match, to in rows)


def certified(
    rules: Sequence[Rule], source: Mapping[str, Shape], target: Mapping[str, Shape]
) -> Certificate:
    return certify(surface(source), target, RuleSet(rules))


def found(certificate: Certificate) -> set[Found]:
    return {(finding.code, finding.rule) for finding in certificate.findings}


def said(certificate: Certificate, code: str) -> str:
    return next(finding.message for finding in certificate.findings if finding.code == code)


def went(rules: Sequence[Rule], *names: str) -> list[str]:
    """Return where names go, each to one."""
    routes = RuleSet(rules).routes(names)
    return [texts[0] if texts else name for name, (_, *texts) in zip(names, routes, strict=True)]


# --- refused ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A mapping that another engine lets through, and what ours says of it."""

    row: str
    rules: tuple[Rule, ...]
    source: Mapping[str, Shape]
    target: Mapping[str, Shape]
    refusals: tuple[Found, ...]


EXPERTS = Rule(r"^experts\.(\d+)\.w$", ("experts.w",), (), Join("stack", r"\1", 4))
QKV = tuple(
    Rule(rf"^attn\.{name}\.w$", ("attn.qkv.w",), (), Join("concat", str(index), 3))
    for index, name in enumerate("qkv")
)
LAYERS = [f"layers.{number}.w" for number in range(30)]

CASES = [
    # Two renames led to one parameter. The first was kept, the second was gone, and no list had an error.
    Case(
        "D1",
        renames(("^gamma$", "norm.weight"), ("^scale$", "norm.weight")),
        vectors("gamma", "scale"),
        vectors("norm.weight"),
        (("E503", 1),),
    ),
    # Experts 0, 1, 3 and 4 filled a stack of four: the wrong ones, in slots that are not theirs.
    Case(
        "D2",
        (EXPERTS,),
        {f"experts.{number}.w": (2, 2) for number in (0, 1, 3, 4)},
        {"experts.w": (4, 2, 2)},
        (("E505", 0), ("E502", -1)),
    ),
    # A key projection was missing and the value projection twice as tall, so that the sum was right.
    Case(
        "D3",
        QKV,
        {"attn.q.w": (8, 4), "attn.v.w": (16, 4)},
        {"attn.qkv.w": (24, 4)},
        (("E505", 0), ("E506", 1), ("E502", -1)),
    ),
    # A reversed pattern with a wildcard became a name with a star in it, and was written.
    Case(
        "D7",
        renames((r"^layer\.(\d+)\.(.*)$", r"esm.layer.*.\2")),
        vectors("layer.0.w"),
        vectors("esm.layer.0.w"),
        (("E501", 0), ("E502", -1)),
    ),
    # Two parameters had one name in the checkpoint, and both were accepted.
    Case(
        "D11-collision",
        renames((r"^fc1\.(.*)$", r"mlp.\1"), (r"^fc2\.(.*)$", r"mlp.\1")),
        vectors("fc1.w", "fc2.w"),
        vectors("mlp.w"),
        (("E503", 1),),
    ),
    # A rule for one name stood behind a wildcard that takes it. The manual said that exact names come first.
    Case(
        "D11-order",
        renames((r"^layers\.(\d+)\.(.*)$", r"l.\1.\2"), (r"^layers\.0\.norm$", "first_norm")),
        vectors("layers.0.norm", "layers.1.norm"),
        vectors("first_norm", "l.1.norm"),
        (("E507", 1), ("E501", 0), ("E502", -1)),
    ),
    # One alias stood for two kinds of tensor in one architecture, and the last line of the table won.
    Case(
        "D13",
        renames(("^ln_2$", "ffn_norm"), ("^ln_2$", "post_attention_norm")),
        vectors("ln_2"),
        vectors("ffn_norm"),
        (("E507", 1),),
    ),
    # Two keys went to one parameter, and the last one read won.
    Case(
        "D15-collision",
        renames((r"^(to_q|q_proj)\.w$", "q.w")),
        vectors("to_q.w", "q_proj.w"),
        vectors("q.w"),
        (("E503", 0),),
    ),
    # One part of a fused tensor was missing, and the other two were forgotten with it.
    Case(
        "D15-group",
        QKV,
        {"attn.q.w": (4, 4), "attn.k.w": (4, 4)},
        {"attn.qkv.w": (12, 4)},
        (("E505", 0), ("E506", 2), ("E502", -1)),
    ),
    # Layers 1 to 3 were paired with layers 0 to 2 by their rank, not by their number.
    Case(
        "D16",
        renames((r"^h\.(\d+)\.w$", r"layers.\1.w")),
        vectors("h.1.w", "h.2.w", "h.3.w"),
        vectors("layers.0.w", "layers.1.w", "layers.2.w"),
        (("E501", 0), ("E502", -1)),
    ),
    # A piece of text to be replaced, `gate.`, was also the end of another name, `shared_gate.`.
    Case(
        "D18",
        renames((r"^(.*)gate\.w$", r"\1router.w")),
        vectors("mlp.gate.w", "mlp.shared_gate.w"),
        vectors("mlp.router.w", "mlp.shared_gate.w"),
        (("E501", 0), ("E502", -1)),
    ),
    # A pattern without an end took the scale of a quantised weight for a weight.
    Case(
        "D19",
        renames((r"^lm_head\.weight", "lm_head.w")),
        vectors("lm_head.weight", "lm_head.weight_scale_inv"),
        vectors("lm_head.w"),
        (("E501", 0),),
    ),
    # The rule renames `embedding`; all eight published checkpoints say `embeddings`. Its own test passed, for
    # it made the names to look for by reversing the rule.
    Case(
        "transformers-48075",
        renames((r"^backbone\.embedding\.(.*)$", r"backbone.embeddings.\1")),
        vectors("backbone.embeddings.weight"),
        vectors("backbone.embeddings.weight"),
        (("E506", 0),),
    ),
    # The text model's prefix was put in front of names that had it already, once for each model around it.
    Case(
        "transformers-45216-45256-45314",
        renames((r"^(?:model\.)?(.*)$", r"model.language_model.\1")),
        vectors("model.norm", "model.language_model.head"),
        vectors("model.language_model.norm", "model.language_model.head"),
        (("E501", 0), ("E502", -1)),
    ),
    # The prefix of the text model was put in front of the image encoder as well.
    Case(
        "transformers-45357-45358",
        renames((r"^model\.(.*)$", r"model.language_model.\1")),
        vectors("model.norm", "model.visual.norm"),
        vectors("model.language_model.norm", "model.visual.norm"),
        (("E501", 0), ("E502", -1)),
    ),
    # 524 of 1,609 tensors had names that the loader does not know, and it left them out.
    Case(
        "sglang-38616",
        (),
        {"experts.gate_up": (900, 4), "norm": (4,)},
        {"experts.w13": (900, 4), "norm": (4,)},
        (("E501", -1), ("E502", -1)),
    ),
    # Names that another library had written on saving missed the loader's table; the server gave noise.
    Case(
        "sglang-38618",
        renames((r"^model\.layers\.(\d+)\.mlp\.w1\.(.*)$", r"layers.\1.ffn.gate.\2")),
        vectors("layers.0.mlp.gate_proj.w"),
        vectors("layers.0.ffn.gate.w"),
        (("E506", 0), ("E501", -1), ("E502", -1)),
    ),
    # Parameters that no tensor was read into kept the numbers that they were made with.
    Case(
        "sglang-16235",
        (),
        vectors("w"),
        vectors("w", "q_norm.w"),
        (("E502", -1),),
    ),
    # The checkpoint has no tensor for a parameter; the run ended after the others had been read.
    Case(
        "vllm-14828-15536-12860",
        renames((r"^model\.(.*)$", r"language_model.\1")),
        vectors("model.norm"),
        vectors("language_model.norm", "visual.norm"),
        (("E502", -1),),
    ),
    # Keys that the converter does not make left parameters without data, found when they were moved.
    Case(
        "diffusers-8556-8578-7506-13117",
        renames((r"^cond_stage_model\.(.*)$", r"text_model.\1")),
        vectors("cond_stage_model.norm"),
        vectors("text_model.norm", "text_projection.w"),
        (("E502", -1),),
    ),
    # One norm was sent to the place of another of the same shape, whose own rule then never ran.
    Case(
        "megatron-bridge-4200",
        renames(
            (r"^layers\.(\d+)\.post_attention_norm$", r"layers.\1.fc1.layer_norm"),
            (r"^layers\.(\d+)\.post_attention_norm$", r"layers.\1.proj.post_norm"),
        ),
        vectors("layers.0.post_attention_norm", "layers.0.pre_feedforward_norm"),
        vectors("layers.0.fc1.layer_norm", "layers.0.proj.post_norm"),
        (("E507", 1), ("E502", -1), ("E501", -1)),
    ),
    # A parameter without a mapping was a line in the log, and the next one was taken.
    Case(
        "megatron-bridge-5262-3348",
        renames((r"^decoder\.norm$", "model.norm")),
        vectors("decoder.norm", "mtp.norm"),
        vectors("model.norm", "mtp.final_norm"),
        (("E501", -1), ("E502", -1)),
    ),
    # The same for the parameters of adapters, whose modules wrap those that the mapping knows.
    Case(
        "megatron-bridge-1272",
        renames((r"^layers\.(\d+)\.proj\.weight$", r"model.\1.o_proj.weight")),
        vectors("layers.0.proj.to_wrap.weight"),
        vectors("model.0.o_proj.weight"),
        (("E506", 0), ("E501", -1), ("E502", -1)),
    ),
    # The same for a teacher model, whose names have a prefix that no pattern has.
    Case(
        "megatron-bridge-1423",
        renames((r"^decoder\.layers\.(\d+)\.(.*)$", r"model.layers.\1.\2")),
        vectors("decoder.layers.0.w", "_teacher_model.decoder.layers.0.w"),
        vectors("model.layers.0.w", "teacher.layers.0.w"),
        (("E501", -1), ("E502", -1)),
    ),
    # The scale beside a quantised weight has no place in the target.
    Case(
        "llama.cpp-12341",
        renames((r"^model\.layers\.(\d+)\.mlp\.down_proj\.weight$", r"blk.\1.ffn_down.weight")),
        vectors(
            "model.layers.0.mlp.down_proj.weight", "model.layers.0.mlp.down_proj.weight_scale_inv"
        ),
        vectors("blk.0.ffn_down.weight"),
        (("E501", -1),),
    ),
    # Stacked experts met no module of the model and were passed over; numbers drawn at random stayed.
    Case(
        "paroquant-53",
        (),
        {"mlp.experts.gate_up_proj": (4, 2, 2)},
        {f"mlp.experts.{number}.gate_up_proj": (2, 2) for number in range(4)},
        (("E501", -1), ("E502", -1)),
    ),
    # Names of a text model were sent to a model that keeps its text model under `language_model`.
    Case(
        "trl-5269",
        (),
        vectors("model.layers.0.norm"),
        vectors("language_model.model.layers.0.norm"),
        (("E501", -1), ("E502", -1)),
    ),
    # A prefix that one side has and the other lacks.
    Case(
        "vllm-31108",
        renames((r"^model\.(.*)$", r"\1")),
        vectors("model.norm"),
        vectors("model.norm"),
        (("E501", 0), ("E502", -1)),
    ),
    # A tensor that the architecture needs was missed when its turn came, after minutes or hours of work.
    Case(
        "mergekit-239",
        (),
        vectors("model.norm.weight"),
        vectors("model.final_layernorm.weight"),
        (("E501", -1), ("E502", -1)),
    ),
    # A norm that the table of the architecture asks for is not in the published model.
    Case(
        "mergekit-398",
        (),
        vectors("layers.86.self_attn.q_proj"),
        vectors("layers.86.self_attn.q_proj", "layers.86.self_attn.k_norm"),
        (("E502", -1),),
    ),
    # The same, at nine tenths of the run.
    Case(
        "mergekit-593",
        (),
        dict.fromkeys(LAYERS[:-3], (4,)),
        dict.fromkeys(LAYERS, (4,)),
        (("E502", -1),),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.row)
def test_refused(case: Case) -> None:
    certificate = certified(case.rules, case.source, case.target)
    assert not certificate.holds
    assert set(case.refusals) == {row for row in found(certificate) if row[0].startswith("E")}


def test_rows_are_named_once() -> None:
    rows = [case.row for case in CASES]
    assert len(set(rows)) == len(rows)


# --- cannot happen ----------------------------------------------------------------------------------


class TestD4:
    """A rule that matches the second `attn.` of a name alone replaced the first."""

    def test_what_was_matched_is_what_is_replaced(self) -> None:
        rules = renames((r"^(.*(?<=cross_))attn\.", r"\1attention."))
        assert went(rules, "attn.0.cross_attn.w") == ["attn.0.cross_attention.w"]


# D5 and its public reports: a rule, or the reverse of one, met names that were on its other side already.
SIDES = {
    # The reverse of `encoder.layer -> layer`, on names that were as published, gave `encoder.encoder.layer`.
    "D5": ("layer.", "encoder.layer."),
    # The same on saving a model that was not loaded by that engine.
    "transformers-46650": ("layers.", "encoder.layers."),
    "transformers-46651": ("layers.", "encoder.layers."),
    # A prefix was put in front of names that had it already, when weights were sent to another program.
    "ms-swift-9877": ("model.", "model.language_model."),
    "verl-7068": ("layers.", "model.layers."),
}


@pytest.mark.parametrize("row", SIDES)
def test_a_rule_that_changes_its_own_results_is_told_before(row: str) -> None:
    """The certificate says which rule it is, and names tell which side they are on."""
    old, new = SIDES[row]
    rules = renames((rf"^(.*?){re.escape(old)}(\d+)\.w$", rf"\1{new}\2.w"))
    source, target = vectors(f"{old}0.w", f"{old}1.w"), vectors(f"{new}0.w", f"{new}1.w")
    right = certified(rules, source, target)
    assert right.holds
    assert ("N507", 0) in found(right)
    assert side_of(source, source, target) == "source"
    assert side_of(target, source, target) == "target"
    assert side_of([*source, *target], source, target) == "mixed"
    again = certified(rules, target, target)
    assert {("E501", 0), ("E502", -1)} <= found(again)


REVERSED = {
    # Reversing a pattern with a lookahead as text left half of the lookahead in the names.
    "D6": ((r"^mtp\.(?!emb)(.*)$", r"model.mtp.\1"), ["mtp.a.w", "mtp.b.w"]),
    # Names of 181 kinds of model went there and back; those of two came back as others.
    "D8": (
        (r"^(enc|dec)\.(\d+)\.(?:self_)?attn\.(.*)$", r"\1.l\2.at.\3"),
        ["enc.0.self_attn.w", "dec.3.attn.w"],
    ),
}


@pytest.mark.parametrize("row", REVERSED)
def test_the_way_back_is_the_way_that_was_gone(row: str) -> None:
    """Every output knows the tensors that it is made of, so that no pattern has to be turned round."""
    rule, names = REVERSED[row]
    mapped = RuleSet(renames(rule)).apply(surface(vectors(*names)))
    assert not mapped.problems
    assert [value.names for value in mapped.outputs.values()] == [(name,) for name in names]


class TestD9:
    """A report on 29 of 30 layers was printed as `layers.{0...29}`, and two names as the product of four."""

    def test_the_missing_layer_is_named(self) -> None:
        source = {name: (4,) for name in LAYERS if name != "layers.7.w"}
        assert said(certified((), source, dict.fromkeys(LAYERS, (4,))), "E502").endswith(
            "layers.7.w"
        )

    def test_the_others_are_named_without_it(self) -> None:
        present = {name: (4,) for name in LAYERS if name != "layers.7.w"}
        assert said(certified((), vectors("w"), present), "E502").endswith("layers.{0-6,8-29}.w")

    def test_no_product_is_made_up(self) -> None:
        message = said(certified((), vectors("w"), vectors("0.e.1", "1.e.2")), "E502")
        assert message.endswith("0.e.1, 1.e.2")


def test_d10_wildcards_are_told_apart() -> None:
    """A wildcard for anything was filled before the one for a number, and the two changed places."""
    rules = renames((r"^decoder\.layers\.(\d+)\.mlp\.(.+)\.weight$", r"layers.\1.\2.weight"))
    name = "decoder.layers.3.mlp.experts.fc1.weight"
    assert went(rules, name) == ["layers.3.experts.fc1.weight"]
    swapped = renames((r"^e\.(?P<expert>\d+)\.l\.(?P<layer>\d+)$", r"l.\g<layer>.e.\g<expert>"))
    assert went(swapped, "e.7.l.2") == ["l.2.e.7"]


def test_d12_one_mapping_does_not_change_another() -> None:
    """Making the table of one architecture changed a table that another shares."""
    shared = Rule(r"^norm\.(.*)$", (r"ffn_norm.\1",))
    one, names = RuleSet([shared]), surface(vectors("norm.w"))
    before = one.apply(names).routes
    other = RuleSet([Rule(r"^norm\.(.*)$", (r"exps_norm.\1",)), shared], {"layers": 35})
    assert other.apply(names).routes == {"norm.w": (0, ("exps_norm.w",))}
    assert one.apply(names).routes == before == {"norm.w": (0, ("ffn_norm.w",))}


def test_d14_a_fused_tensor_comes_apart_again() -> None:
    """Of a fused projection only the last part came back, and under its name lay the bytes of another."""
    kinds = [TensorType("F32", (rows, 3)) for rows in (4, 2, 2)]
    parts = [torch.randn(kind.shape) for kind in kinds]
    (whole,) = Concat(3).apply(parts)
    back = Concat(3).inverse(kinds).apply([whole])
    assert all(torch.equal(a, b) for a, b in zip(parts, back, strict=True))
    assert len(back) == 3
    fused = {f"attn.{name}.w": kind.shape for name, kind in zip("qkv", kinds, strict=True)}
    certificate = certified(QKV, fused, {"attn.qkv.w": (8, 3)})
    assert certificate.holds
    assert ("N508", -1) not in found(certificate)


def test_d17_one_table_means_one_thing() -> None:
    """Two engines read one table, all rules in turn or the longest alone, and wrote different names."""
    rows = (r"^model\.(.*)$", r"language_model.model.\1"), (r"^model\.visual\.(.*)$", r"visual.\1")
    names = ("model.visual.q_proj", "model.norm")
    assert went(renames(*rows), *names) == [
        "language_model.model.visual.q_proj",
        "language_model.model.norm",
    ]
    assert went(renames(*rows[::-1]), *names) == ["visual.q_proj", "language_model.model.norm"]
    target = vectors("visual.q_proj", "language_model.model.norm")
    assert ("E507", 1) in found(certified(renames(*rows), vectors(*names), target))
    assert certified(renames(*rows[::-1]), vectors(*names), target).holds


def test_d20_a_name_may_have_two_numbers() -> None:
    """A second number in a name ended the run with an index error."""
    rules = renames((r"^layers\.(\d+)\.experts\.(\d+)\.w1$", r"l.\1.moe.\2.gate"))
    assert went(rules, "layers.11.experts.63.w1") == ["l.11.moe.63.gate"]


def test_megatron_bridge_4200_look_alikes_are_listed() -> None:
    """Two norms that only changed places are as total and injective as the right way; they are listed."""
    names = [f"layers.{i}.{norm}.weight" for i in range(2) for norm in ("post_attn", "pre_ffn")]
    assert look_alikes(vectors(*names)) == ["layers.{0-1}.(post_attn | pre_ffn).weight [4]"]


# --- what is at stake, and what else is said ---------------------------------------------------------


def test_sglang_38616_what_is_left_out_is_counted_in_bytes() -> None:
    """Nine hundred rows of a thousand weigh more than one name of two."""
    certificate = certified((), {"experts.gate_up": (900, 4), "norm": (4,)}, vectors("norm"))
    (finding,) = [f for f in certificate.findings if f.code == "E501"]
    assert (finding.keys, finding.nbytes) == (("experts.gate_up",), 900 * 4 * 2)


def test_mergekit_593_all_that_is_missing_is_said_at_once() -> None:
    certificate = certified((), dict.fromkeys(LAYERS[:-3], (4,)), dict.fromkeys(LAYERS, (4,)))
    assert said(certificate, "E502").endswith("layers.{27-29}.w")
    assert not Path(NOTHING_IS_READ).exists()


def test_paroquant_53_the_nearest_name_is_suggested() -> None:
    certificate = certified((), vectors("experts.gate_up_proj"), vectors("expert.gate_up_proj"))
    assert said(certificate, "E501").endswith("the nearest there is expert.gate_up_proj")


@pytest.mark.parametrize(
    ("row", "dtype"),
    [("megatron-bridge-fp8", "F8_E4M3"), ("llama.cpp-12644", "F8_E5M2")],
)
def test_quantised_values_are_not_cast_without_their_scale(row: str, dtype: str) -> None:
    """Raw eight-bit values were stored as if they were weights, their scale beside them passed over."""
    rules = [Rule(r"^.*_scale_inv$", reason="the scale"), Rule(r"^proj\.(.*)$", (r"o_proj.\1",))]
    names = {
        **surface({"proj.weight": (4, 4)}, dtype),
        **surface({"proj.weight_scale_inv": (1, 1)}),
    }
    mapped = RuleSet(rules).apply(names)
    ((name, result),) = cast(mapped.outputs, "BF16", [])
    assert name == "o_proj.weight"
    assert isinstance(result, Problem)
    assert result.code == "E532"


# --- whole releases -----------------------------------------------------------------------------------

SHARED = """
portspec: 1
family: demo
official: {packages: [diffusers==0.42.1, transformers==5.15.1]}
components:
  transformer:
    kind: text_encoder
    definition: transformers.models.t5.modeling_t5:T5EncoderModel
    conversion: {files: [model.safetensors]%s}
  vae:
    kind: vae
    definition: diffusers:AutoencoderKL
    conversion: {files: [model.safetensors], prefix: vae.}
"""


@pytest.mark.parametrize(("prefix", "code"), [("", "E537"), (", prefix: dit.", "E538")])
def test_diffusers_14145(prefix: str, code: str, tmp_path: Path, cache: Cache, tree: Tree) -> None:
    """One component's converter emptied the dict that it shares with others, which then found nothing."""
    names = ["dit.bias", "vae.bias", "vocoder.bias"]
    kinds = {name: TensorType("F32", (2,)) for name in names}
    (tmp_path / "model.safetensors").write_bytes(make_header(names, kinds) + bytes(24))
    spec = tmp_path / "port.yaml"
    spec.write_text(SHARED % prefix, encoding="utf-8")
    port = resolve(load_spec(spec, cache), tree, cache)
    _, findings = plan_conversion(port, "", tmp_path)
    assert code in {finding.code for finding in findings}


@pytest.mark.parametrize("row", ["safetensors-762", "safetensors-764"])
def test_nothing_is_written_over_what_is_read(row: str, tmp_path: Path) -> None:
    """A file was cut to nothing for writing while its tensors, which were to be written, still lay in it."""
    kinds = {"w": TensorType("F32", (2,))}
    source = tmp_path / "model.safetensors"
    source.write_bytes(make_header(["w"], kinds) + b"\x01" * 8)
    values = RuleSet([]).apply(read_tensors(source)).outputs
    (shard,) = lay_out(values, "model")
    job = Job({shard.file: shard}, {shard.file: values})
    before = source.read_bytes()
    for out in (tmp_path, source):
        with pytest.raises(WeightsError, match="E533"):
            write(job, out)
    assert source.read_bytes() == before
    write(job, tmp_path / "out")
    assert read_tensors(tmp_path / "out" / shard.file)["w"].type == kinds["w"]
