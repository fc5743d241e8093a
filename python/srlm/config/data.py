"""Settings of the model, its seed data and everything that it generates."""

from __future__ import annotations

import datetime
import unicodedata
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from srlm.config.section import (
    Count,
    LimitByIteration,
    NumberByIteration,
    Section,
    Share,
    ShareByIteration,
    Temperature,
    TopP,
    value_of,
)

HANGUL_FILLERS = "\u115f\u1160\u3164\uffa0"  # letters without a shape


def _visible(keyword: str) -> str:
    # Not in Rust, which would import numpy here.
    if all(unicodedata.category(c)[0] in "CZ" or c in HANGUL_FILLERS for c in keyword):
        raise ValueError("a keyword without a visible character never occurs; remove it")
    return keyword


Keyword = Annotated[str, AfterValidator(_visible)]


def _as_date(value: object) -> object:
    """Parse a date that is written as a string; YAML parses one without quotes itself."""
    if isinstance(value, str):
        return datetime.date.fromisoformat(value)
    return value.date() if isinstance(value, datetime.datetime) else value


class ModelSection(Section):
    """The base model M0."""

    name: str = Field(
        description="The base model: `smollm2-135m-instruct` (from a Python package), a local path, or a hub name."
    )
    revision: str | None = Field(None, description="Revision (branch, tag or commit) of a hub model.")
    chat_template: str | None = Field(
        None, description="Jinja chat template: `plain` (packaged) or a file; required if the tokenizer has none."
    )
    date: Annotated[datetime.date | None, BeforeValidator(_as_date)] = Field(
        None,
        description="The date that a chat template prints in place of today's (YYYY-MM-DD); null: the day on which the "
        "run started, and 2024-07-26 in individual commands. Unused by templates that print no date.",
    )
    trust_remote_code: bool = Field(False, description="Allow Python code shipped with a hub model to run.")


class SeedDataSection(Section):
    """Human-written seed data: instruction fine-tuning (IFT) and evaluation fine-tuning (EFT) examples."""

    ift: list[str] = Field(
        ["packaged"], min_length=1, description="IFT sources: `packaged`, a JSONL file, or an Open Assistant export."
    )
    eft: list[str] = Field(
        ["packaged"],
        description="EFT sources (human-ranked answers), in the same formats; an empty list trains no judge.",
    )
    disjoint: bool = Field(
        True,
        description="Use no prompt both for IFT and for EFT (the paper): prompts that both sources have are divided; "
        "false: they train both. Held-out prompts are never trained on.",
    )
    ift_limit: Count | None = Field(
        None, description="Use at most this many IFT examples, sampled with the run's seed."
    )
    eft_limit: Count | None = Field(
        None, description="Use at most this many EFT prompts, held-out ones included, sampled with the run's seed."
    )
    valid_fraction: Share = Field(0.25, description="Fraction of EFT prompts held out to evaluate the judge.")


class EftSection(Section):
    """How human-ranked answers are turned into EFT examples, which train the model to judge."""

    source: Literal["ranks", "judgements"] = Field(
        "judgements",
        alias="from",
        description="`judgements`: the IFT-trained model judges, and judgements that agree with the human ranking are "
        "kept (the paper); `ranks`: scores come directly from the human ranking, for models too small to judge yet.",
    )
    samples: Count = Field(4, description="Sample this many judgements per answer (`eft.from: judgements` only).")
    max_share: Annotated[float, Field(gt=0, le=1)] = Field(
        0.4,
        description="Maximum share of the most common score among the EFT examples: it alone is downsampled, but never "
        "below the second most common score; 1: keep all.",
    )


DEFAULT_MODEL_LEN = 4096  # more needs much memory for the KV cache


class EngineSection(Section):
    """The generation engine."""

    kind: Literal["auto", "transformers", "vllm"] = Field(
        "auto", description="Generation engine; `auto`: vLLM if it is installed for the device, else transformers."
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="Data type of the weights; `auto`: bfloat16 on a GPU that computes in it, float16 on an older one, "
        "float32 on the CPU. Logits are float32.",
    )
    max_model_len: Count | None = Field(
        None,
        description="Maximum length of prompt plus answer, in tokens, at most the model's context; null: the model's "
        "context, at most 4096.",
    )

    @property
    def length(self) -> int:
        """The maximum length of prompt plus answer; before it is set for a model (`models.fit`), its upper limit."""
        return DEFAULT_MODEL_LEN if self.max_model_len is None else self.max_model_len

    batch_size: Count = Field(32, description="Requests per batch of the transformers engine.")
    tensor_parallel_size: Count = Field(1, description="Number of GPUs to shard the model over (vLLM).")
    gpu_memory_utilization: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.9, description="Fraction of GPU memory that vLLM may use."
    )
    cpu_cache_gib: Count = Field(2, description="Size of vLLM's KV cache on a CPU, in GiB.")
    max_num_seqs: Count | None = Field(
        None,
        description="Maximum number of sequences that vLLM runs concurrently; null: vLLM's default for the GPU, 256 on "
        "a CPU.",
    )
    stall_seconds: Annotated[float, Field(gt=0)] | None = Field(
        1800.0,
        description="Restart an engine that finishes no request for this many seconds, and resend the unfinished "
        "requests; null: wait indefinitely.",
    )
    weight_check: Literal["stop", "warn", "off"] = Field(
        "stop",
        description="What to do if the engine's log-probabilities of a fixed text do not match the trained weights.",
    )
    enforce_eager: bool = Field(
        False, description="Run vLLM without compiling graphs: faster start, slower generation."
    )


class PromptsSection(Section):
    """Self-instruct: the model writes new prompts from few-shot demonstrations, and filters drop unsuitable ones."""

    source: Literal["self_instruct", "files"] = Field(
        "self_instruct",
        description="`self_instruct`: the model writes them; `files`: those of `prompts.files`, other ones in every "
        "iteration.",
    )
    files: list[str] = Field(
        [],
        description="Files of prompts, JSON lines: `prompt`, and any other columns, which signals read. They are "
        "shuffled with the run's seed; held-out prompts are left out. `packaged:checks/train`: prompts with "
        "instructions that rules can check; `seed`: the run's IFT examples of one turn, with their responses as the "
        "column `response`.",
    )
    cycle: bool = Field(
        False, description="Begin again at the first prompt once all are used, instead of refusing to run short."
    )
    self_instruct_share: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="With `prompts.source: files`: share of `prompts.count` that the model writes itself."
    )
    model: str | None = Field(
        None, description="The model that writes prompts; null: M_t itself. The paper's main runs used a fixed one."
    )
    count: Count = Field(1000, description="Number of new prompts to keep per iteration.")
    examples_seed: Annotated[int, Field(ge=0)] = Field(
        6, description="Number of seed prompts used as demonstrations per attempt."
    )
    examples_generated: Annotated[int, Field(ge=0)] = Field(
        2,
        description="Number of generated prompts used as demonstrations per attempt; seed prompts fill in if too few.",
    )
    temperature: Temperature = Field(0.6, description="Sampling temperature.")
    top_p: TopP = Field(0.9, description="Nucleus sampling probability mass (top-p).")
    max_tokens: Count = Field(256, description="Maximum length of a new prompt, in tokens; a longer one is dropped.")
    max_rouge_l: Share = Field(
        0.7,
        description="Drop a prompt whose ROUGE-L with a seed prompt, a held-out prompt or a prompt kept in this or an "
        "earlier iteration is above this, and any repeat up to case and white space.",
    )
    rouge_tokenizer: Literal["unicode", "rouge_score"] = Field(
        "unicode",
        description="Tokenizer of ROUGE-L; `unicode`: words of any script; `rouge_score`: only runs of `a-z0-9`.",
    )
    min_words: Count = Field(
        3,
        description="Drop a prompt with fewer words: pieces between white space; in scripts that do not separate words "
        "(Chinese, Japanese, Thai …), the words that ICU's dictionaries find.",
    )
    max_words: Count = Field(150, description="Drop a prompt with more words.")
    keywords: list[Keyword] = Field(
        ["image", "images", "graph", "graphs", "picture", "pictures", "file", "files", "map", "draw", "plot", "video"],
        description="Drop a prompt with any of these words or phrases (in any case, with any white space): tasks that "
        "text alone cannot solve.",
    )
    round_size: Count = Field(
        64,
        description="Attempts in flight at once, at most; the demonstrations of an attempt come from prompts kept at "
        "least this many attempts earlier. On many GPUs, raise it to a few times `engine.max_num_seqs`, "
        "so that none waits for prompts.",
    )
    max_attempts: Count = Field(
        20, description="Stop after this many attempts per requested prompt, and continue with the prompts kept so far."
    )


class CandidatesSection(Section):
    """Responses of M_t to each new prompt."""

    per_prompt: Count = Field(4, description="Number of responses to sample per prompt (N in the paper).")
    temperature: Temperature = Field(0.7, description="Sampling temperature.")
    top_p: TopP = Field(0.9, description="Nucleus sampling probability mass (top-p).")
    max_tokens: Count = Field(1024, description="Maximum length of a response, in tokens.")


RUN_MODELS = ("base", "first", "previous")  # of `suppliers.model`


class SuppliersSection(Section):
    """Who answers the prompts besides M_t: responses that may only be rejected, or only be chosen."""

    hot_per_prompt: Annotated[int, Field(ge=0)] = Field(
        0,
        description="Sample as many more responses of M_t per prompt at `suppliers.hot_temperature`, which may be "
        "rejected but not chosen.",
    )
    hot_temperature: Temperature = Field(1.2, description="Sampling temperature of these.")
    model: str | None = Field(
        None,
        description="Another model, whose responses may be rejected but not chosen: `base` (M0), `first` (M1; for M2's "
        "data that is M_t itself, so there are none), `previous` (M_t-1), or a model as in `model.name`; null: none.",
    )
    model_per_prompt: Count = Field(4, description="Number of responses of `suppliers.model` per prompt.")
    human: bool = Field(
        False,
        description="Use the column `response` of the prompts from files as a response that may be chosen but not "
        "rejected.",
    )

    def at(self, t: int) -> SuppliersSection:
        """Return the suppliers of M_t's data (t from 2)."""
        return self.model_copy(update={"model": None}) if t == 2 and self.model == "first" else self


class JudgeSection(Section):
    """M_t scores its own responses (LLM-as-a-Judge)."""

    samples: Count = Field(
        3,
        description="Number of judgements to sample per response; the parsed scores are averaged. Unused if "
        "`justify` is false, like `temperature`, `top_p` and `max_tokens`: the score is one greedy token.",
    )
    temperature: Temperature = Field(0.7, description="Sampling temperature.")
    top_p: TopP = Field(0.9, description="Nucleus sampling probability mass (top-p).")
    max_tokens: Count = Field(256, description="Maximum length of a judgement, in tokens.")
    justify: bool = Field(
        True, description="Ask for a justification before the score (the paper); false: generate only the score token."
    )
    score: Literal["sampled", "expected"] = Field(
        "sampled", description="`sampled`: the generated score; `expected`: the mean of the score token's distribution."
    )
    prompt_file: str | None = Field(
        None,
        description="File with a custom judge prompt, with the fields {prompt} and {response}; "
        "`packaged:multiple_choice`: describe five levels instead of adding points.",
    )
    score_pattern: str | None = Field(
        None,
        description="Regular expression with a group named `score`, for a judge prompt with another output format.",
    )
    max_score: Annotated[float, Field(gt=0, le=100)] = Field(5.0, description="Maximum score of the judge prompt.")


class SignalSection(Section):
    """What says which of a prompt's responses are better."""

    kind: Literal["judge", "rules", "majority", "pairwise", "implicit", "function", "human", "random"] = Field(
        "judge",
        description="`judge`: M_t as LLM judge (the paper); `rules`: whether a response follows the instructions of "
        "its prompt's row or gives its answer; `majority`: the share of the prompt's responses with the same final "
        "answer; `pairwise`: the mean probability of winning against the others, with M_t as judge; `implicit`: the "
        "log-ratio of M_t to an earlier model; `function`: your own Python function; `human`: 1 for the human response "
        "(`suppliers.human`), 0 for others; `random`: chance, the control of every other signal.",
    )
    function: str | None = Field(
        None,
        description="For `function`: `package.module:name` or `path/to/file.py:name`. It is called with a prompt (a "
        "dict of its columns, the text as `prompt`) and the list of responses, and returns a number or None for each.",
    )
    max_score: Annotated[float, Field(gt=0)] | None = Field(
        None, description="For `function`: its largest score, which must not be exceeded; null: no limit."
    )
    answer_pattern: str | None = Field(
        None,
        description="For `majority`, and for the `answer` of `rules`: regular expression with the group `answer`; its "
        "last match in a response is the final answer. null: the last `\\boxed{}`, else what follows the last "
        "`answer is` or `####`, else the last number.",
    )
    min_votes: ShareByIteration = Field(
        0.0,
        description="For `majority`: minimum share of a prompt's responses with the same final answer for one of them "
        "to be chosen. May be a list, as `pairs.min_margin`.",
    )

    reference: Literal["base", "previous"] = Field(
        "base",
        description="For `implicit`: the earlier model, M0 or M_t-1 (for M2's data both are M0).",
    )
    length_normalize: bool = Field(False, description="For `implicit`: divide the log-ratio by the number of tokens.")
    length_penalty: Annotated[float, Field(ge=0)] | Literal["auto"] = Field(
        0.0,
        description="For `implicit`: subtract this for each token; `auto`: as much as it takes for the best responses "
        "to be no longer than the worst, on average.",
    )
    confidence: Literal["none", "rank_agreement"] = Field(
        "none",
        description="For `implicit`: confidence of a prompt's pairs; `rank_agreement`: how much the rankings of its "
        "responses by M_t and by M_t-1 agree, (Kendall's tau + 1) / 2; from M3's data on, as M2's has one ranking.",
    )

    def at(self, t: int) -> SignalSection:
        """Return the settings of M_t's data, without lists over iterations."""
        return self.model_copy(update={"min_votes": value_of(self.min_votes, t)})

    @model_validator(mode="after")
    def _check(self) -> SignalSection:
        if (self.kind == "function") != (self.function is not None):
            raise ValueError(
                "signal.kind=function needs signal.function, as `package.module:name` or `path/to/file.py:name`"
                if self.kind == "function"
                else f"signal.function is used by signal.kind=function only, and signal.kind is {self.kind}"
            )
        if self.confidence == "rank_agreement" and self.reference == "previous":
            raise ValueError(
                "signal.confidence=rank_agreement compares the rankings of M_t and M_t-1, and against M_t-1 itself "
                "(signal.reference=previous) that has none; set signal.reference=base"
            )
        return self


class PairsSection(Section):
    """Preference pairs from scored responses."""

    method: Literal["best_worst", "length_controlled", "margin", "random", "top_bottom"] = Field(
        "best_worst",
        description="`best_worst`: the best against the worst response; `length_controlled`: the shortest good against "
        "the longest bad response; `margin`: all pairs with a margin of at least `pairs.min_margin`; `random`: one of "
        "these at random; `top_bottom`: the `pairs.top_k` best against as many worst.",
    )
    min_margin: NumberByIteration = Field(
        0.0,
        description="Minimum difference of the two scores; ties are always dropped. A list has one value for M2, one "
        "for M3 …; the last holds for all later models.",
    )
    top_k: Count = Field(
        2, description="For `top_bottom`: number of responses to take from each end, at most half of them."
    )
    rho: ShareByIteration = Field(
        0.1,
        description="For `length_controlled`: responses within this fraction of the prompt's score range from the "
        "best score count as good, from the worst score as bad; below 0.5 no response is both. May be a list, as "
        "`pairs.min_margin`.",
    )
    max_per_prompt: Count | None = Field(
        None,
        description="For `margin` and `top_bottom`: keep at most this many pairs per prompt, largest margin first.",
    )
    max_count: LimitByIteration = Field(
        None,
        description="Train on at most this many pairs (or winners), sampled with the run's seed. May be a list, as "
        "`pairs.min_margin`.",
    )
    weight: Literal["uniform", "margin"] = Field(
        "uniform",
        description="Weight of a pair in the loss: 1 for all, or the difference of its two scores as a fraction of "
        "the signal's largest score.",
    )
    keep_truncated: bool = Field(False, description="Also use responses truncated at `candidates.max_tokens`.")
    min_count: Count = Field(1, description="Stop the run if an iteration yields fewer pairs than this.")

    def at(self, t: int) -> PairsSection:
        """Return the settings of M_t's pairs, without lists over iterations."""
        by_iteration = ("min_margin", "rho", "max_count")
        return self.model_copy(update={name: value_of(getattr(self, name), t) for name in by_iteration})
