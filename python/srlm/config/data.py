"""The settings of the model, its seed data, and of all that it generates."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from srlm.config.section import Count, Section, Share, Temperature, TopP


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
    stall_seconds: Annotated[float, Field(gt=0)] | None = Field(
        1800.0,
        description="An engine that answers no request for so long is taken to hang: it is started again, and they are "
        "sent again. null: wait for ever.",
    )
    policy_check: Literal["stop", "warn", "off"] = Field(
        "stop",
        description="What to do where an engine does not read a fixed text as the weights do that were trained.",
    )
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
