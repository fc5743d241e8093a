"""The configuration: one strict model per stage, read from YAML and `key=value` words.

An unknown key, a wrong type or a value out of range is an error that names the key's full path, the file, and the
nearest valid key. The description of each field is what `docs/configuration.md` and `srlm config --describe` show.
A section is always read through a variable of its own name (`judge.samples`), which is how a test finds fields that
no code reads.
"""

from __future__ import annotations

import difflib
import re
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from srlm.errors import InputError


class Section(BaseModel):
    """A strict, frozen part of the configuration: no unknown keys, no silent conversion between types."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=True, allow_inf_nan=False)


Share = Annotated[float, Field(ge=0, le=1)]
Temperature = Annotated[float, Field(ge=0, le=2)]
TopP = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1)]
LossType = Literal[
    "sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot", "aot_unpaired",
    "apo_zero", "apo_down", "discopop", "sft", "sigmoid_norm", "simpo",
]  # fmt: skip
SMOOTHED_LOSSES = frozenset({"robust", "exo_pair", "aot", "aot_unpaired"})
# What `srlm.losses` has; TRL knows all of them but simpo, which therefore goes together with no others.
FUSED_LOSSES = frozenset({"sigmoid", "hinge", "robust", "ipo", "sigmoid_norm", "simpo", "sft"})


class ModelSection(Section):
    """The base model M0."""

    name: str = Field(
        description="The base model: `smollm2-135m-instruct` (from a Python package), a local path, or a hub name."
    )
    revision: str | None = Field(None, description="The hub revision (branch, tag or commit) of a hub model.")
    chat_template: str | None = Field(
        None, description="A Jinja chat template: `plain` (packaged) or a file; needed where the tokenizer has none."
    )
    trust_remote_code: bool = Field(False, description="Run Python code that comes with a hub model.")


class SeedDataSection(Section):
    """The human-written seed: instruction answers (IFT) and ranked answers to judge (EFT)."""

    ift: list[str] = Field(
        ["packaged"], min_length=1, description="IFT sources: `packaged`, a JSONL file, or an Open Assistant export."
    )
    eft: list[str] = Field(["packaged"], description="EFT sources, in the same forms; an empty list trains no judge.")
    ift_limit: Count | None = Field(None, description="Use at most this many IFT examples, drawn by the run's seed.")
    eft_limit: Count | None = Field(None, description="Use at most this many EFT prompts, drawn by the run's seed.")
    valid_fraction: Share = Field(0.25, description="The share of EFT prompts held out to measure the judge.")


class EftSection(Section):
    """How ranked answers become examples that teach the model to judge."""

    source: Literal["ranks", "judgements"] = Field(
        "judgements",
        alias="from",
        description="`judgements`: the IFT-trained model judges and what orders the answers as the humans did is kept "
        "(the paper); `ranks`: scores straight from the human order, for models too small to judge yet.",
    )
    samples: Count = Field(4, description="Judgements sampled an answer when built from judgements.")
    max_share: Annotated[float, Field(gt=0, le=1)] = Field(
        0.4, description="No score may have more than this share of the EFT examples; surplus rows are thinned."
    )


class LoraSection(Section):
    """Low-rank adaptation by PEFT; the adapter is merged into the weights that are saved."""

    rank: Count = Field(16, description="The rank r of the adapter matrices.")
    alpha: Count = Field(32, description="The scaling numerator: the update is scaled by alpha / rank.")
    target_modules: list[str] | Literal["all-linear"] = Field(
        "all-linear", description="The names of the linear modules that get an adapter."
    )


class TrainingSection(Section):
    """What SFT and DPO have in common."""

    learning_rate: Annotated[float, Field(gt=0)] = Field(5.5e-6, description="The peak learning rate of AdamW.")
    min_learning_rate: Annotated[float, Field(ge=0)] = Field(
        1.1e-6, description="The rate at which the cosine schedule ends."
    )
    warmup_ratio: Share = Field(0.0, description="The share of steps in which the rate rises linearly from zero.")
    epochs: Annotated[float, Field(gt=0)] = Field(1.0, description="Passes over the data.")
    max_steps: Count | None = Field(None, description="Stop after this many optimizer steps, whatever the epochs.")
    batch_size: Count = Field(16, description="Rows (for DPO: pairs) per optimizer step, over all devices.")
    micro_batch_size: Count = Field(1, description="Rows (for DPO: pairs) per device and forward pass.")
    max_length: Count = Field(2048, description="Longest row in tokens; a longer one is dropped and counted, not cut.")
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.1, description="Dropout while training, on whatever dropout the architecture has and on LoRA's."
    )
    weight_decay: Annotated[float, Field(ge=0)] = Field(0.0, description="AdamW's decoupled weight decay.")
    max_grad_norm: Annotated[float, Field(gt=0)] = Field(1.0, description="Gradients are clipped to this norm.")
    gradient_checkpointing: bool = Field(False, description="Recompute activations backward: slower, less memory.")
    lora: LoraSection | None = Field(None, description="Train LoRA adapters; null trains all weights.")

    @model_validator(mode="after")
    def _check(self) -> TrainingSection:
        if self.min_learning_rate > self.learning_rate:
            raise ValueError("min_learning_rate may not be above learning_rate")
        if self.batch_size % self.micro_batch_size:
            raise ValueError("batch_size must be a multiple of micro_batch_size")
        return self


class SftSection(TrainingSection):
    """Supervised fine-tuning of M0 on IFT and EFT, which gives M1."""


class DpoSection(TrainingSection):
    """Direct preference optimisation of M_t on its own pairs, which gives M_t+1; the reference is M_t."""

    learning_rate: Annotated[float, Field(gt=0)] = Field(1e-6, description="The peak learning rate of AdamW.")
    min_learning_rate: Annotated[float, Field(ge=0)] = Field(
        1e-7, description="The rate at which the cosine schedule ends."
    )
    beta: Annotated[float, Field(gt=0)] = Field(
        0.1, description="How strongly the model is held to the reference (Rafailov et al. 2023, eq. 7)."
    )
    loss_type: list[LossType] = Field(
        ["sigmoid"],
        min_length=1,
        description="Losses, summed, by TRL's names: `sigmoid` is DPO itself, `ipo`, `hinge`, `robust`, "
        "`sigmoid_norm`, `sft` (likelihood of the chosen answer) …; and `simpo`.",
    )
    loss_weights: list[Annotated[float, Field(gt=0)]] | None = Field(
        None, description="A factor for each of `loss_type`; null: 1 each."
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = Field(
        0.0,
        description="The share of pairs taken to be the wrong way round, for `robust`, `exo_pair`, `aot` and "
        "`aot_unpaired`.",
    )
    simpo_gamma: Annotated[float, Field(ge=0)] = Field(0.5, description="The margin that `simpo` asks for.")

    @model_validator(mode="after")
    def _check_losses(self) -> DpoSection:
        names = self.loss_type
        if self.loss_weights is not None and len(self.loss_weights) != len(names):
            raise ValueError(f"loss_weights must have one number for each of loss_type ({len(names)})")
        if self.label_smoothing > 0 and not SMOOTHED_LOSSES & set(names):
            raise ValueError(f"label_smoothing is for the losses {', '.join(sorted(SMOOTHED_LOSSES))}")
        if "exo_pair" in names and self.label_smoothing == 0:
            raise ValueError("the loss exo_pair needs a label_smoothing above 0 (its paper takes 0.001)")
        if "simpo" in names and not set(names) <= FUSED_LOSSES:
            raise ValueError(f"the loss simpo goes together with these only: {', '.join(sorted(FUSED_LOSSES))}")
        return self


class LaunchSection(Section):
    """How training is spread over devices."""

    processes: Count = Field(
        1, description="Training processes; above 1 `accelerate launch` (on a CPU torchrun) starts them."
    )
    accelerate_config: str | None = Field(
        None, description="A configuration file of accelerate (FSDP, DeepSpeed); it is then used to launch."
    )


class EngineSection(Section):
    """What generates text."""

    kind: Literal["auto", "transformers", "vllm"] = Field(
        "auto", description="`auto` takes vLLM where it imports and suits the device, else transformers."
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="Weights' type; `auto`: bfloat16 on a GPU that has it, float32 on the CPU."
    )
    max_model_len: Count = Field(4096, description="The longest prompt plus answer, in tokens.")
    batch_size: Count = Field(32, description="Requests generated together by the transformers engine.")
    tensor_parallel_size: Count = Field(1, description="GPUs that share one copy of the model (vLLM).")
    gpu_memory_utilization: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.9, description="The share of a GPU's memory that vLLM may take."
    )
    cpu_cache_gib: Count = Field(2, description="GiB for vLLM's key-value cache on a CPU.")
    max_num_seqs: Count = Field(256, description="Sequences that vLLM runs at once.")
    enforce_eager: bool = Field(False, description="Start vLLM without compiling graphs: starts sooner, runs slower.")


class PromptsSection(Section):
    """New instructions by self-instruct: examples are shown, the model writes another one, filters choose."""

    model: str | None = Field(
        None, description="The model that writes prompts; null: M_t itself. The paper's main runs used a fixed one."
    )
    count: Count = Field(1000, description="New prompts to keep per iteration.")
    examples_seed: Annotated[int, Field(ge=0)] = Field(6, description="Seed instructions shown per attempt.")
    examples_generated: Annotated[int, Field(ge=0)] = Field(
        2, description="Earlier generated instructions shown per attempt (seed ones while there are none)."
    )
    temperature: Temperature = Field(0.6, description="Sampling temperature.")
    top_p: TopP = Field(0.9, description="Nucleus sampling: the probability mass that is kept.")
    max_tokens: Count = Field(256, description="The longest new instruction, in tokens; a longer one is dropped.")
    max_rouge_l: Share = Field(
        0.7, description="Drop a prompt whose ROUGE-L to a kept or seed one is above this, and any repeat."
    )
    rouge_words: Literal["unicode", "rouge_score"] = Field(
        "unicode",
        description="What ROUGE-L compares: words of any script, or as `rouge_score` does only runs of `a-z0-9`.",
    )
    min_words: Count = Field(3, description="Drop a prompt with fewer words.")
    max_words: Count = Field(150, description="Drop a prompt with more words.")
    keywords: list[str] = Field(
        ["image", "images", "graph", "graphs", "picture", "pictures", "file", "files", "map", "draw", "plot", "video"],
        description="Drop a prompt with one of these words (any case): tasks that text alone cannot do.",
    )
    round_size: Count = Field(
        64, description="Attempts sampled together; later rounds may show what earlier ones made."
    )
    max_attempts: Count = Field(
        20, description="Give up after this many attempts per prompt asked for, and go on with what there is."
    )


class CandidatesSection(Section):
    """Answers of M_t to each new prompt."""

    per_prompt: Annotated[int, Field(ge=2)] = Field(4, description="Answers sampled per prompt (N in the paper).")
    temperature: Temperature = Field(0.7, description="Sampling temperature.")
    top_p: TopP = Field(0.9, description="Nucleus sampling: the probability mass that is kept.")
    max_tokens: Count = Field(1024, description="The longest answer, in tokens.")


class JudgeSection(Section):
    """M_t scores its own answers (LLM-as-a-Judge)."""

    samples: Count = Field(3, description="Judgements sampled per answer; the scored ones are averaged.")
    temperature: Temperature = Field(0.7, description="Sampling temperature.")
    top_p: TopP = Field(0.9, description="Nucleus sampling: the probability mass that is kept.")
    max_tokens: Count = Field(256, description="The longest judgement, in tokens.")
    justify: bool = Field(
        True, description="Ask for a justification before the score (the paper); false reads the score at once."
    )
    score: Literal["sampled", "expected"] = Field(
        "sampled", description="`sampled`: the number written; `expected`: the mean of that token's distribution."
    )
    prompt_file: str | None = Field(None, description="Another judge prompt, with the fields {prompt} and {response}.")
    score_pattern: str | None = Field(
        None, description="A regular expression with the group `score`, for a prompt that ends in another format."
    )
    max_score: Annotated[float, Field(gt=0, le=100)] = Field(5.0, description="The highest score of the judge prompt.")


class PairsSection(Section):
    """Preference pairs from scored answers."""

    method: Literal["best_worst", "length_controlled", "margin", "positives_only", "random", "top_bottom"] = Field(
        "best_worst",
        description="`best_worst`: DPO on best against worst; `length_controlled`: the shortest of the good against "
        "the longest of the bad answers; `margin`: all pairs that differ by `pairs.min_margin`; `random`: one of them "
        "by chance; `top_bottom`: the best few against the worst few; `positives_only`: SFT on answers with a perfect "
        "score.",
    )
    min_margin: Annotated[float, Field(ge=0)] = Field(
        0.0, description="Drop a pair whose scores differ by less; ties are always dropped."
    )
    top_k: Count = Field(
        2, description="For `top_bottom`: how many answers are taken from either end, at most half of them."
    )
    rho: Share = Field(
        0.1,
        description="For `length_controlled`: how far the good answers reach below the prompt's best score and the bad "
        "ones above its worst, as a share of the range between them; below 0.5 no answer is both.",
    )
    max_per_prompt: Count | None = Field(
        None, description="For `margin` and `top_bottom`: keep at most so many pairs per prompt, of largest margin."
    )
    keep_truncated: bool = Field(False, description="Let answers that hit `candidates.max_tokens` take part in pairs.")
    min_count: Count = Field(1, description="Stop the run when an iteration yields fewer pairs than this.")


class EvaluateSection(Section):
    """What is measured of every model."""

    judge_prompts: Annotated[int, Field(ge=0)] = Field(
        1000, description="Held-out EFT prompts to judge; 0 switches the measurement off."
    )


def _one_line(value: str) -> str:
    if not value or "\n" in value:
        raise ValueError("must be one line of text")
    return value


class Config(Section):
    """Everything that decides what a run does."""

    name: Annotated[str, AfterValidator(_one_line)] = Field(
        "run", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="The run's name: it is kept in runs/<name>."
    )
    seed: Annotated[int, Field(ge=0, lt=2**31)] = Field(
        0, description="The seed from which every random choice follows."
    )
    iterations: Count = Field(3, description="The last model to train: 3 gives M1 (SFT), M2 and M3 (DPO).")
    model: ModelSection
    seed_data: SeedDataSection = SeedDataSection()
    eft: EftSection = EftSection()
    sft: SftSection = SftSection()
    launch: LaunchSection = LaunchSection()
    engine: EngineSection = EngineSection()
    prompts: PromptsSection = PromptsSection()
    candidates: CandidatesSection = CandidatesSection()
    judge: JudgeSection = JudgeSection()
    pairs: PairsSection = PairsSection()
    dpo: DpoSection = DpoSection()
    evaluate: EvaluateSection = EvaluateSection()

    @model_validator(mode="after")
    def _check(self) -> Config:
        if self.judge.score_pattern is not None and not self.judge.justify:
            raise ValueError("judge.justify=false reads the packaged `Score:` format and takes no judge.score_pattern")
        if self.judge.score_pattern is not None and self.seed_data.eft and self.eft.source == "ranks":
            raise ValueError("eft.from=ranks teaches `Score: N`, not what judge.score_pattern reads; use judgements")
        if self.judge.score == "expected" and (self.judge.max_score > 9 or self.judge.max_score % 1):
            raise ValueError("judge.score=expected needs whole scores of one digit (judge.max_score at most 9)")
        if self.judge.score == "expected" and self.pairs.method == "positives_only":
            raise ValueError("pairs.method=positives_only needs perfect scores, which judge.score=expected never gives")
        if self.prompts.examples_seed + self.prompts.examples_generated == 0:
            raise ValueError("prompts.examples_seed and prompts.examples_generated may not both be 0")
        return self


def packaged_names() -> list[str]:
    """Return the names of the configurations that come with the package."""
    folder = resources.files("srlm") / "configs"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load(source: str, overrides: tuple[str, ...] = ()) -> Config:
    """Read the configuration `source` (a path, or the name of a packaged one) and apply `key=value` words.

    Raises:
        InputError: the source does not exist or does not parse, or a key, type or value is wrong.
    """
    text, where = _read(source)
    try:
        values = _parse_yaml(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise InputError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from error
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise InputError(f"{where}: expected a mapping of settings, found {type(values).__name__}")
    return build(values, overrides, where)


def build(values: dict[str, Any], overrides: tuple[str, ...] = (), where: str = "configuration") -> Config:
    """Check `values` after applying `key=value` overrides; `where` names their source in errors."""
    for word in overrides:
        _override(values, word)
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise InputError("; ".join(_explain(item, where, overrides) for item in error.errors())) from error


def to_yaml(config: Config) -> str:
    """Return the resolved configuration, every default written out, as YAML that `load` reads back."""
    return yaml.dump(
        config.model_dump(mode="json", by_alias=True), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100
    )


def differing_keys(one: Config, other: Config) -> list[str]:
    """Return the full paths of the keys whose values differ."""
    left, right = (_flatten(config.model_dump(mode="json", by_alias=True)) for config in (one, other))
    return sorted(key for key in left.keys() | right.keys() if left.get(key) != right.get(key))


def describe(model: type[BaseModel] = Config, prefix: str = "") -> list[tuple[str, str, str]]:
    """Return (full key, default, description) of every field, in order."""
    rows: list[tuple[str, str, str]] = []
    for name, field in model.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            rows += describe(section, f"{key}.")
        else:
            default = "(required)" if field.is_required() else yaml.safe_dump(field.default, default_flow_style=True)
            rows.append((key, default.replace("\n...", "").strip(), field.description or ""))
            if name == "lora":
                rows += describe(LoraSection, f"{key}.")
    return rows


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads `1e-6` as text; whoever types it means the number."""


_Loader.yaml_implicit_resolvers = {
    **yaml.SafeLoader.yaml_implicit_resolvers,
    **{
        first: [
            ("tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$")),
            *yaml.SafeLoader.yaml_implicit_resolvers.get(first, []),
        ]
        for first in "-+0123456789"
    },
}


class _Dumper(yaml.SafeDumper):
    """Quotes a text that `_Loader` would read as a number."""


_Dumper.yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers


def _unique_mapping(loader: Any, node: Any) -> dict[Any, Any]:  # noqa: ANN401  PyYAML's own types are loose
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    twice = next((key for index, key in enumerate(keys) if key in keys[:index]), None)
    if twice is not None:
        raise yaml.constructor.ConstructorError(None, None, f"the key {twice!r} is there twice", node.start_mark)
    return dict(loader.construct_mapping(node, deep=True))


_Loader.add_constructor("tag:yaml.org,2002:map", _unique_mapping)


def _parse_yaml(text: str) -> Any:  # noqa: ANN401  whatever YAML holds
    return yaml.load(text, _Loader)  # noqa: S506  a SafeLoader


def _read(source: str) -> tuple[str, str]:
    path = Path(source)
    if path.suffix not in (".yaml", ".yml") and "/" not in source and source in packaged_names():
        packaged = resources.files("srlm") / "configs" / f"{source}.yaml"
        return packaged.read_text(encoding="utf-8"), f"{source} (packaged)"
    try:
        return path.read_text(encoding="utf-8"), str(path)
    except OSError as error:
        raise InputError(
            f"configuration {source!r}: {error.strerror}; give a YAML file or one of: {', '.join(packaged_names())}"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8; save the file as UTF-8") from error


def _override(values: dict[str, Any], word: str) -> None:
    key, equals, text = word.partition("=")
    if not equals or not key:
        raise InputError(f"{word!r}: expected key=value, for example judge.samples=3")
    try:
        value = _parse_yaml(text) if text else None
    except yaml.YAMLError as error:
        raise InputError(f"{word!r}: the value is not valid YAML: {' '.join(str(error).split())}") from error
    *parents, last = key.split(".")
    for parent in parents:
        if not isinstance(values.get(parent), dict):
            values[parent] = {}
        values = values[parent]
    values[last] = value


def _explain(error: Any, where: str, overrides: tuple[str, ...]) -> str:  # noqa: ANN401  pydantic's ErrorDetails
    path = [str(part) for part in error["loc"] if str(part) not in ("list[str]", "literal['all-linear']")]
    key = ".".join(path)
    source = "command line" if any(_touches(word.partition("=")[0].split("."), path) for word in overrides) else where
    if error["type"] == "extra_forbidden":
        return f"{source}: unknown key {key!r}{_nearest(path)}"
    if error["type"] == "missing":
        return f"{source}: key {key!r} is missing; add it"
    message = error["msg"].removeprefix("Value error, ")
    found = f" (found {error['input']!r})" if not isinstance(error["input"], dict) else ""
    return f"{source}: {key + ': ' if key else ''}{message}{found}"


def _touches(word: list[str], path: list[str]) -> bool:
    """Tell whether one of two keys begins with the other."""
    shorter = min(len(word), len(path))
    return shorter > 0 and word[:shorter] == path[:shorter]


def _nearest(path: list[str]) -> str:
    valid = [key for key, _, _ in describe()]
    sections = sorted(
        {".".join(key.split(".")[:depth]) for key in valid for depth in (1, 2) if key.count(".") >= depth}
    )
    key = ".".join(path)
    siblings = [name for name in valid + sections if name.rpartition(".")[0] == key.rpartition(".")[0]]
    match = difflib.get_close_matches(key, siblings, 1, 0.6) or difflib.get_close_matches(key, valid + sections, 1, 0.5)
    if not match:
        same_name = [name for name in valid if name.rpartition(".")[2] == path[-1]]
        match = same_name[:1]
    return f"; did you mean {match[0]!r}?" if match else "; `srlm config --describe` lists the keys"


def _flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
