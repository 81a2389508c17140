"""The language, version 1: what an author may write. Nothing is computed here.

Each field's description is the reference: the JSON Schema, the editor's hover text and
`docs/language.md` are generated from it. The order of fields is the order that `portspec fmt` gives.

How a field is inherited through `extends` is part of the language, too: `inherit="merge"` (mappings
are merged key by key, the default), `"replace"` (the nearer spec's value stands alone) and `"never"`
(each spec says it for itself, since copying it silently would be a lie about this port).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

SCHEMA_VERSION = 1


def _unreserved(name: str) -> str:
    """Refuse a family whose record would lie where `.portspec` keeps something else."""
    if name in ("journal", "local", "lock"):
        allowed = {"pattern": r"^(?!(journal|local|lock)$)[a-z][a-z0-9_]*$"}
        raise PydanticCustomError("string_pattern_mismatch", "the name is reserved", allowed)
    return name


Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]
FamilyName = Annotated[Name, AfterValidator(_unreserved)]
Identifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=96)]
Ref = Annotated[
    str,
    StringConstraints(
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*(\([A-Za-z_]\w*\))?$", max_length=240
    ),
]
Line = Annotated[str, StringConstraints(pattern=r'^[^"\\\n]+$')]  # it becomes part of docstrings
EnvName = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9_]*$", max_length=64)]
HubId = Annotated[str, StringConstraints(max_length=160)]
Commit = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]
QuestionId = Annotated[str, StringConstraints(pattern=r"^Q\d{3}$")]
IssueId = Annotated[str, StringConstraints(pattern=r"^I\d{3}$")]
DecisionId = Annotated[str, StringConstraints(pattern=r"^D\d{3}$")]
EscapeId = Annotated[str, StringConstraints(pattern=r"^E\d{3}$")]

Kind = Literal[
    "dit",
    "vae",
    "audio_vae",
    "vocoder",
    "text_encoder",
    "image_encoder",
    "conditioner",
    "upsampler",
    "tokenizer",
    "processor",
    "scheduler",
]
Workload = Literal["T2V", "I2V", "T2I", "I2I", "V2A", "T2A"]
Modality = Literal["text", "image", "video", "audio", "action", "camera", "mask", "pose", "depth"]
Precision = Literal["fp32", "bf16", "fp16"]


class Model(BaseModel):
    """Base of every section: unknown keys are errors, and a spec once read never changes."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, populate_by_name=True, strict=True, defer_build=True
    )


def _inherit(policy: Literal["merge", "replace", "never"]) -> dict[str, Any]:
    return {"inherit": policy}


NEVER = _inherit("never")
REPLACE = _inherit("replace")


class Sourced(Model):
    """A value with the place it was taken from."""

    value: Any = Field(description="The value itself.")
    source: str = Field(
        min_length=2,
        max_length=400,
        description=(
            "Where upstream says so. One of: `module:Function(parameter)`, whose default is read and "
            'compared; `module:SYMBOL "quoted text"`, which must stand there; `module:NAME`, a constant; '
            "`transformer/config.json#/pointer`, a published component config; an https permalink to a "
            "commit; or the id of a decision such as `D001`."
        ),
    )


class Dropped(Model):
    """Something of the official model that this port leaves out."""

    what: str = Field(
        min_length=2, description="The output head, modality, variant or mode left out."
    )
    reason: str = Field(min_length=8, description="Why it is left out.")
    approved_by: str = Field(min_length=2, description="Who agreed to leave it out.")


class WorkloadShim(Model):
    """A workload registered under another's name because the framework has no name for it."""

    declared: Workload = Field(description="The workload that is registered.")
    stands_for: str = Field(min_length=2, description="What the model really does.")
    rationale: str = Field(min_length=8, description="Why the stand-in is safe.")


class ComponentOnly(Model):
    """A contribution of components without a pipeline."""

    consumer: str = Field(
        min_length=4, description="The planned pipeline or pull request that will use it."
    )


class VariantComponent(Model):
    """What one variant changes in a component."""

    args: dict[str, Any] = Field(
        default_factory=dict, description="Constructor arguments that differ from the component's."
    )


class VariantConfig(Model):
    """A pipeline config of the variant's own, a subclass of the port's."""

    class_: Identifier = Field(alias="class", description="Name of the subclass.")
    fields: dict[str, Sourced] = Field(
        default_factory=dict, description="Fields that differ, each with its source."
    )


class Variant(Model):
    """One published checkpoint kind: its size, resolution or recipe."""

    summary: Line = Field(min_length=4, description="One line for people.")
    components: dict[str, VariantComponent] = Field(
        default_factory=dict, description="Constructor arguments that differ, by component."
    )
    config: VariantConfig | None = Field(
        default=None, description="Pipeline config fields that differ, as a subclass."
    )


class Scope(Model):
    """What this port covers, and what it leaves out."""

    variants: dict[Name, Variant] = Field(
        min_length=1, description="The variants covered, by name."
    )
    workloads: list[Workload] = Field(min_length=1, description="The workloads covered.")
    inputs: list[Modality] = Field(min_length=1, description="What a user gives.")
    outputs: list[Modality] = Field(min_length=1, description="What a user gets.")
    heads: list[str] = Field(
        default_factory=list,
        description="Output heads of the official network beside the main one.",
    )
    dropped: list[Dropped] = Field(
        default_factory=list, description="What is left out, why, and who agreed."
    )
    workload_shims: list[WorkloadShim] = Field(
        default_factory=list, description="Workloads registered under another's name."
    )
    component_only: ComponentOnly | None = Field(
        default=None, description="Set when components are contributed without a pipeline."
    )


class Stub(Model):
    """A private dependency that the official code imports and that a test must stand in for."""

    module: str = Field(pattern=r"^[A-Za-z_][\w.]*$", description="The module to stand in for.")
    why: str = Field(min_length=4, description="What it is and why it cannot be installed.")


class Reference(Model):
    """Another official source, such as the authors' own repository."""

    url: str = Field(pattern=r"^https://", description="Where it lives.")
    commit: Commit = Field(description="The commit that was read.")
    notes: str = Field(
        default="", description="What it decides, and how it relates to the main source."
    )


class Official(Model):
    """The implementation that the port must agree with."""

    packages: list[Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.\-]+==[\w.+!]+$")]] = (
        Field(
            default_factory=list,
            description="Packages at exact versions; the first is the main source.",
        )
    )
    repository: str | None = Field(
        default=None,
        pattern=r"^https://",
        description="A repository to clone instead of a package.",
    )
    commit: Commit | None = Field(default=None, description="The commit of `repository`.")
    directory: str | None = Field(
        default=None, description="The clone's folder, relative to the target tree."
    )
    environment: Literal["imports_ok", "private_deps_need_stubs", "blocked"] = Field(
        default="imports_ok",
        description="Whether the official code imports in the test environment.",
    )
    stubs: list[Stub] = Field(
        default_factory=list, description="Private dependencies to stand in for."
    )
    references: dict[Name, Reference] = Field(
        default_factory=dict, description="Other official sources, by a short name."
    )


class Weights(Model):
    """Where the published weights are and how they are laid out."""

    hub: HubId = Field(description="Hub id of the checkpoint that the gates stand for.")
    revision: str = Field(default="main", description="Its revision; a commit is best.")
    directory: str = Field(description="Where a porter keeps them, relative to the target tree.")
    layout: Literal[
        "diffusers", "raw_official", "separate_components", "monolithic", "mixed", "custom"
    ] = Field(description="How the published files are laid out.")
    needs_conversion: bool = Field(description="Whether they must be converted before loading.")
    token_env: EnvName | None = Field(
        default=None,
        description="Name of the environment variable with the access token; never a token.",
    )


class Instantiation(Model):
    """How the official pipeline builds the component."""

    at: Ref = Field(
        description="The call site that owns the component, as `module:Function(parameter)`."
    )
    config: str | None = Field(
        default=None, description="The published config file, such as `transformer/config.json`."
    )
    config_class: Ref | None = Field(
        default=None, description="Class of the config object, when the constructor takes one."
    )
    args: dict[str, Any] = Field(
        default_factory=dict,
        json_schema_extra=REPLACE,
        description="The published constructor arguments: the config file's keys, one to one.",
    )
    flags: dict[str, Any] = Field(
        default_factory=dict, description="Runtime flags of the call, such as tokenizer arguments."
    )
    absent: dict[str, str] = Field(
        default_factory=dict,
        description="Published keys that the target's config has no field for, each with the reason.",
    )


class PortTarget(Model):
    """A network written by hand for this port."""

    file: str = Field(description="The file in the target tree, relative to its root.")
    class_: Identifier = Field(alias="class", description="The native class.")
    source: str | None = Field(
        default=None,
        description="A file beside the spec to install there when the target has none.",
    )
    prefix: str = Field(default="", description="Layer name prefix of the outer config.")
    derived: dict[Identifier, str] = Field(
        default_factory=dict,
        description="Config attributes computed from others, as `num_attention_heads * attention_head_dim`.",
    )
    shard_blocks: list[str] = Field(
        default_factory=lambda: ["blocks"],
        description="Module lists whose numbered children are sharded and compiled one by one.",
    )


class Rule(Model):
    """One rename, tried in order: `re.match`, first match wins, then `re.sub`."""

    match: str = Field(min_length=1, description="Regular expression on the checkpoint's name.")
    to: str = Field(description="Replacement, with `\\1` for groups.")
    fuse: list[int] | None = Field(
        default=None,
        min_length=2,
        max_length=2,
        description="`[index, count]`: concatenate `count` sources along the first axis.",
    )


def _operation_schema(schema: dict[str, Any]) -> None:
    from portspec.weights.operations import schema as operation

    schema["items"] = operation()


def _one_or_several(schema: dict[str, Any]) -> None:
    schema.pop("anyOf", None)
    schema.update({"type": ["string", "array"], "items": {"type": "string"}})


class Join(Model):
    """Which part of a tensor of the component a published tensor is."""

    how: Literal["concat", "stack", "weight_norm"] = Field(
        description=(
            "`concat` along an axis, `stack` along a new one, or `weight_norm`, whose part 0 is the "
            "magnitude and whose part 1 is the direction."
        )
    )
    part: str = Field(description="Its place, counted from 0: a number, or a group such as `\\1`.")
    count: str = Field(
        default="0",
        description="How many parts there must be: a number, or arithmetic over config values; 0 for all.",
    )
    axis: int = Field(default=0, description="The axis to join along.")
    after: list[dict[Name, dict[str, Any]]] = Field(
        default_factory=list,
        json_schema_extra=_operation_schema,
        description="Operations on what is joined, in order; all parts of a tensor say the same.",
    )


class ConversionRule(Model):
    """What happens to the published tensors whose names a pattern matches; the first rule wins."""

    match: str = Field(min_length=1, description="Regular expression on the published name.")
    to: str | list[str] = Field(
        json_schema_extra=_one_or_several,
        description=(
            "Name in the component, with `\\1` for groups and `{...}` for arithmetic, as "
            "`up_blocks.{\\1 // 4}`; as many names as the operations give tensors, or one with `{i}`."
        ),
    )
    ops: list[dict[Name, dict[str, Any]]] = Field(
        default_factory=list,
        json_schema_extra=_operation_schema,
        description="Operations on the elements, in order, as `{swap_halves: {axis: 0}}`.",
    )
    fuse: list[int] | None = Field(
        default=None,
        min_length=2,
        max_length=2,
        description="`[index, count]`, short for a `join` that concatenates along the first axis.",
    )
    join: Join | None = Field(default=None, description="The part that it is of a joined tensor.")
    when: dict[str, Any] = Field(
        default_factory=dict,
        description="Constructor arguments for which the rule exists, with their values.",
    )


class Conversion(Model):
    """How published tensors become the component's files."""

    files: list[str] = Field(default_factory=list, description="Source files, as globs.")
    surface: str | None = Field(
        default=None,
        description=(
            "A file beside the spec with the published names, element types and shapes, as "
            "`portspec surface --json` prints them: the rules are proved on it."
        ),
    )
    prefix: str = Field(
        default="",
        description="Prefix of this component's names in files that it shares with others; it is cut off.",
    )
    rules: list[ConversionRule] = Field(
        default_factory=list,
        json_schema_extra=REPLACE,
        description="Where each tensor goes; a name that no rule matches stays.",
    )
    drop: dict[str, str] = Field(
        default_factory=dict,
        description="Patterns of names that are left out, each with the reason.",
    )
    cast: Precision | None = Field(default=None, description="The dtype to store.")
    keep_fp32: list[str] = Field(
        default_factory=list,
        description="Patterns of the component's names that are stored in fp32 when the rest is cast.",
    )
    assets: list[str] = Field(
        default_factory=list,
        description="Files to copy into the component's folder as they are, as globs.",
    )


class Output(Model):
    """How to reach the tensor to compare, from what each side returns."""

    official: str = Field(
        default="", description="Attributes, calls or indexes, as `latent_dist.mode()`."
    )
    native: str = Field(default="", description="The same on the target's side.")


class Call(Model):
    """One call that both sides must answer alike."""

    method: Identifier = Field(default="forward", description="The method to call.")
    inputs: dict[Identifier, str] = Field(
        min_length=1,
        json_schema_extra=REPLACE,
        description=(
            "Named inputs: `randn[2, 16, 3, 8, 8]`, `const[2] = 500`, `randint[2, 12] < vocab_size`, "
            "`ones[2, 12]`. A word in a shape is a key of the component's config."
        ),
    )
    native: dict[Identifier, str] = Field(
        default_factory=dict, description="Inputs that the target's method calls otherwise."
    )
    drop_native: list[Identifier] = Field(
        default_factory=list, description="Inputs that the target's method does not take."
    )
    output: Output = Field(default_factory=Output, description="How to reach the result.")


class Tolerance(Model):
    """The largest difference that still counts as equal."""

    atol: float = Field(ge=0, description="Absolute part.")
    rtol: float = Field(ge=0, description="Relative part.")


class Grid(Model):
    """Which timesteps and sigmas the port follows, when official sources disagree."""

    follows: Literal["official", "target"] = Field(
        description="`official`: equal to the official scheduler's grid; `target`: the framework's own."
    )
    decision: DecisionId | None = Field(default=None, description="The decision that says why.")
    max_timestep_difference: float = Field(
        default=0,
        ge=0,
        description="The largest difference between the two grids that is accepted.",
    )


class Parity(Model):
    """What is compared, on which inputs, and how closely."""

    scope: Literal["production_loader", "implementation_subcomponent", "both"] = Field(
        default="production_loader", description="Which loading paths the comparison covers."
    )
    calls: dict[Name, Call] = Field(
        default_factory=dict, description="The calls to compare, by name."
    )
    prompts: list[str] = Field(default_factory=list, description="Texts for a tokenizer.")
    steps: list[int] = Field(
        default_factory=list,
        description="Step counts at which a scheduler's grid and steps are compared.",
    )
    grid: Grid | None = Field(default=None, description="Which grid a scheduler follows.")
    tolerance: Tolerance = Field(
        default_factory=lambda: Tolerance(atol=1e-4, rtol=1e-4),
        description="How closely the outputs must agree.",
    )
    blind: dict[str, str] = Field(
        default_factory=dict,
        description="Tensors that the comparison cannot see, as patterns, each with the reason.",
    )


class Component(Model):
    """One part of the model: its official side, its native side, and the proof that they agree."""

    kind: Kind = Field(description="What the component is.")
    definition: Ref | None = Field(
        default=None, description="The official class, as `module:Class`."
    )
    instantiation: Instantiation | None = Field(
        default=None, description="How the official pipeline builds it."
    )
    reuse: Ref | None = Field(default=None, description="A class that the target already has.")
    port: PortTarget | None = Field(
        default=None, description="A class written by hand for this port."
    )
    config: Ref | None = Field(default=None, description="The target's config class for it.")
    config_fields: dict[str, Any] = Field(
        default_factory=dict, description="Fields of that config which the pipeline config sets."
    )
    evidence: str | None = Field(
        default=None, description="Why the reused class computes what the official one does."
    )
    class_name: Identifier | None = Field(
        default=None,
        description="Class name in the checkpoint, when it differs from the definition's.",
    )
    precision: Sourced | None = Field(default=None, description="The dtype it runs in.")
    decode_precision: Sourced | None = Field(
        default=None, description="The dtype a VAE decodes in, when it differs."
    )
    preprocess: Ref | None = Field(
        default=None, description="Function applied to a prompt before the tokenizer."
    )
    postprocess: Ref | None = Field(
        default=None, description="Function that turns an encoder's output into prompt embeddings."
    )
    mapping: list[Rule] = Field(
        default_factory=list,
        json_schema_extra=REPLACE,
        description="Names in the checkpoint to names in the native class, for ported components.",
    )
    unused: dict[str, str] = Field(
        default_factory=dict,
        description="Published tensors the target does not read, each with the reason.",
    )
    conversion: Conversion | None = Field(
        default=None, description="How published tensors become this component's files."
    )
    reduced: dict[str, Any] = Field(
        default_factory=dict,
        description="Constructor arguments of the small checkpoint that the gates run on.",
    )
    parity: Parity = Field(
        default_factory=Parity, description="The comparison with the official side."
    )


class Stage(Model):
    """One step of the pipeline, in order."""

    name: Name = Field(description="Name under which the pipeline holds it.")
    use: Ref = Field(
        description="The stage class, from the target's catalogue or written for this port."
    )
    args: dict[Identifier, Any] = Field(
        default_factory=dict,
        json_schema_extra=REPLACE,
        description=(
            "Constructor arguments. `$vae` is a loaded module, `$transformer_2?` one that may be "
            "missing, `$self` the pipeline."
        ),
    )
    bespoke: bool = Field(default=False, description="Whether the stage was written for this port.")
    requires: list[Identifier] = Field(
        default_factory=list, description="Batch fields that a bespoke stage reads."
    )
    provides: list[Identifier] = Field(
        default_factory=list, description="Batch fields that a bespoke stage writes."
    )


class SchedulerOverride(Model):
    """A scheduler that the pipeline builds itself in place of the loaded one."""

    component: Name = Field(
        default="scheduler", description="The component whose native class is built."
    )
    args: dict[Identifier, Any] = Field(
        json_schema_extra=REPLACE,
        description="Its arguments; `$flow_shift` is a field of the pipeline config.",
    )
    source: str = Field(min_length=2, description="Where upstream builds it so.")


class ConfigClass(Model):
    """The pipeline config: defaults that belong to the pipeline, not to a network."""

    class_: Identifier = Field(alias="class", description="Name of the dataclass.")
    base: Ref | None = Field(default=None, description="Its base, when not the framework's own.")
    fields: dict[Identifier, Sourced] = Field(
        default_factory=dict, json_schema_extra=NEVER, description="Fields with their sources."
    )


class PipelineParity(Model):
    """One generation that the official pipeline and the port must agree on."""

    prompt: str = Field(min_length=1, description="The prompt.")
    negative_prompt: str = Field(description="The negative prompt.")
    seed: int = Field(default=0, ge=0, description="The seed of the initial noise.")
    height: int = Field(gt=0, description="Height in pixels.")
    width: int = Field(gt=0, description="Width in pixels.")
    num_frames: int = Field(gt=0, description="Number of frames.")
    num_inference_steps: int = Field(gt=0, description="Number of denoising steps.")
    guidance_scale: float = Field(description="Guidance; above 1, so that guidance is on.")
    tolerance: Tolerance = Field(description="How closely the denoised latents must agree.")


class Pipeline(Model):
    """The pipeline: class, modules, stages and config."""

    class_: Identifier = Field(
        alias="class", json_schema_extra=NEVER, description="Class name, as in model_index.json."
    )
    definition: Ref = Field(json_schema_extra=NEVER, description="The official pipeline class.")
    call: Ref = Field(
        json_schema_extra=NEVER, description="The official call, as `module:Class.__call__`."
    )
    reuse: Ref | None = Field(
        default=None,
        json_schema_extra=NEVER,
        description="A pipeline class that the target already has.",
    )
    lora: bool = Field(default=True, description="Whether LoRA adapters can be loaded.")
    modules: list[Name] = Field(
        min_length=1,
        json_schema_extra=REPLACE,
        description="Modules that must be in the checkpoint.",
    )
    scheduler: SchedulerOverride | None = Field(
        default=None, description="A scheduler built by the pipeline in place of the loaded one."
    )
    stages: list[Stage] = Field(
        min_length=1, json_schema_extra=REPLACE, description="The stages, in order of execution."
    )
    config: ConfigClass = Field(description="The pipeline config.")
    parity: PipelineParity = Field(description="The generation to compare.")


class Preset(Model):
    """Sampling defaults of one variant."""

    variant: Name = Field(description="The variant it belongs to.")
    summary: str = Field(min_length=4, description="One line for people.")
    workload: Workload = Field(description="The workload it is for.")
    overrides: list[Identifier] = Field(
        default_factory=lambda: ["num_inference_steps", "guidance_scale"],
        description="Values that a user may override for the denoising stage.",
    )
    defaults: dict[Identifier, Sourced] = Field(
        min_length=1, description="The defaults, each with its source."
    )


class SamplingParam(Model):
    """A public keyword argument that this port adds."""

    type: str = Field(min_length=2, description="Python annotation, such as `float | None`.")
    default: Any = Field(default=None, description="Default value.")
    help: str = Field(min_length=8, description="What it does, for people.")
    cli: bool = Field(default=True, description="Whether the command line offers it.")


class Detect(Model):
    """Which paths mean this entry: words that must, may or must not stand in the lower-cased path."""

    all: list[str] = Field(default_factory=list, description="Every one of these must be there.")
    any: list[str] = Field(default_factory=list, description="At least one of these must be there.")
    none: list[str] = Field(default_factory=list, description="None of these may be there.")


class RegistryEntry(Model):
    """One registration: which checkpoints get which config and preset."""

    variant: Name = Field(description="The variant that it registers.")
    hub: list[HubId] = Field(default_factory=list, description="Hub ids of the checkpoints.")
    preset: Name = Field(description="The preset that they get.")
    workloads: list[Workload] = Field(description="The workloads offered for them.")
    detect: Detect = Field(default_factory=Detect, description="Words that identify a local path.")
    class_names: list[Identifier] = Field(
        default_factory=list,
        description="Pipeline class names that lead here when the path says nothing.",
    )
    pin_pipeline: bool = Field(
        default=False, description="Use the port's pipeline class whatever the checkpoint says."
    )


class Example(Model):
    """A script for users."""

    file: str = Field(description="Where it goes, relative to the target tree.")
    variant: Name = Field(description="The variant that it shows.")
    story: str = Field(min_length=12, description="What the user wants, in the user's words.")
    prompt: str = Field(min_length=8, description="The prompt that it uses.")


class Ssim(Model):
    """A regression test on the similarity of generated videos."""

    variant: Name = Field(description="The variant to test.")
    prompts: list[str] = Field(min_length=1, description="Prompts to generate from.")
    min_ssim: float = Field(gt=0, le=1, description="The lowest acceptable similarity.")
    required_gpus: int = Field(default=1, ge=1, le=8, description="GPUs that one case needs.")
    params: dict[Identifier, Any] = Field(
        default_factory=dict, description="Sampling values for the quick lane."
    )
    references: Literal["published", "deferred"] = Field(
        description="Whether reference videos exist yet."
    )
    reason: str = Field(default="", description="Why references are deferred.")


class AudioMetric(Model):
    """A regression test on generated audio."""

    metric: Literal["mel_l1", "multi_resolution_stft", "clap_cosine"] = Field(
        description="The metric."
    )
    threshold: float = Field(description="The worst acceptable value.")
    assumptions: str = Field(
        min_length=8, description="Hardware and runtime that the value assumes."
    )


class Quality(Model):
    """How generated output is kept from getting worse."""

    ssim: Ssim | None = Field(default=None, description="For video and image output.")
    audio: AudioMetric | None = Field(default=None, description="For audio output.")
    deferred: str | None = Field(default=None, description="Why there is no such test yet.")


class Docs(Model):
    """What users are told."""

    support_matrix: bool = Field(default=True, description="Whether the support matrix gets a row.")
    notes: list[str] = Field(default_factory=list, description="Limits that users must know.")


class Question(Model):
    """An open question; resolved ones stay."""

    question: str = Field(min_length=8, description="The question.")
    owner: str = Field(min_length=2, description="Who answers it.")
    needed_by: str = Field(default="", description="The phase that waits for it.")
    status: Literal["open", "resolved"] = Field(
        default="open", description="Whether it is answered."
    )
    resolution: str = Field(default="", description="The answer.")


class Issue(Model):
    """A known defect or blocker; resolved ones stay."""

    issue: str = Field(min_length=8, description="What is wrong.")
    phase: str = Field(default="", description="The phase that it belongs to.")
    component: str = Field(default="", description="The component that it belongs to.")
    severity: Literal["low", "medium", "high", "blocker"] = Field(description="How bad it is.")
    evidence: str = Field(default="", description="How it was seen.")
    owner: str = Field(min_length=2, description="Who looks after it.")
    status: Literal["open", "resolved"] = Field(
        default="open", description="Whether it is settled."
    )
    resolution: str = Field(default="", description="How it was settled.")


class Decision(Model):
    """A choice between sources of truth, with its reason."""

    date: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}$", description="The day it was made.")
    decision: str = Field(min_length=8, description="What was chosen.")
    rationale: str = Field(min_length=8, description="Why, with evidence.")
    impact: str = Field(default="", description="What follows from it.")


class EscapeHatch(Model):
    """A question that only a person may answer."""

    phase: str = Field(description="The phase that met it.")
    decision_type: Literal[
        "scope", "dependency", "auth", "cost", "destructive", "ambiguity", "blocker"
    ] = Field(description="What kind of decision it is.")
    question: str = Field(min_length=8, description="One precise question.")
    recommended: str = Field(min_length=4, description="The option that is recommended.")
    options: list[str] = Field(default_factory=list, max_length=3, description="Other options.")
    evidence: str = Field(default="", description="Command, path or error text.")
    status: Literal["open", "approved", "refused"] = Field(default="open", description="Its state.")
    resolution: str = Field(default="", description="What was answered, and by whom.")


class PortSpec(Model):
    """A port: the facts from which everything else follows."""

    portspec: Literal[1] = Field(json_schema_extra=NEVER, description="Version of this language.")
    family: FamilyName = Field(
        json_schema_extra=NEVER, description="Name of the model family, in snake_case."
    )
    title: Line | None = Field(
        default=None, json_schema_extra=NEVER, description="The family's name for people."
    )
    extends: str | None = Field(
        default=None,
        json_schema_extra=NEVER,
        description="Another spec, by name or relative path; what is not said here is taken from there.",
    )
    abstract: bool = Field(
        default=False,
        json_schema_extra=NEVER,
        description="The spec describes what the target has already, to be extended and not built.",
    )
    scope: Scope | None = Field(
        default=None, json_schema_extra=NEVER, description="What is covered."
    )
    official: Official = Field(description="The implementation to agree with.")
    weights: Weights | None = Field(
        default=None, json_schema_extra=NEVER, description="The published weights."
    )
    components: dict[Name, Component] = Field(min_length=1, description="The parts of the model.")
    pipeline: Pipeline | None = Field(default=None, description="How the parts work together.")
    presets: dict[Name, Preset] = Field(
        default_factory=dict,
        json_schema_extra=NEVER,
        description="Sampling defaults, by preset name.",
    )
    sampling_params: dict[Name, SamplingParam] = Field(
        default_factory=dict,
        json_schema_extra=NEVER,
        description="Public arguments that this port adds.",
    )
    registry: list[RegistryEntry] = Field(
        default_factory=list, json_schema_extra=NEVER, description="Registrations of checkpoints."
    )
    examples: list[Example] = Field(
        default_factory=list, json_schema_extra=NEVER, description="Scripts for users."
    )
    quality: Quality | None = Field(
        default=None, json_schema_extra=NEVER, description="Regression tests on output quality."
    )
    docs: Docs = Field(
        default_factory=Docs,
        json_schema_extra=NEVER,
        description="What users are told, limits first.",
    )
    questions: dict[QuestionId, Question] = Field(
        default_factory=dict, json_schema_extra=NEVER, description="Open questions, never deleted."
    )
    issues: dict[IssueId, Issue] = Field(
        default_factory=dict, json_schema_extra=NEVER, description="Known issues, never deleted."
    )
    decisions: dict[DecisionId, Decision] = Field(
        default_factory=dict, json_schema_extra=NEVER, description="Choices with their reasons."
    )
    escape_hatches: dict[EscapeId, EscapeHatch] = Field(
        default_factory=dict,
        json_schema_extra=NEVER,
        description="Questions only a person may answer.",
    )


def inherit_policy(field: Any) -> str:
    """Return how a pydantic field is inherited: merge, replace or never."""
    extra = field.json_schema_extra
    return str(extra.get("inherit", "merge")) if isinstance(extra, dict) else "merge"
