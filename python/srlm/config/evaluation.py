"""Settings of the evaluation, and of the gates on training data."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from srlm.config.section import Count, Section, Share

Action = Literal["warn", "stop"]


def _not_reserved(name: str) -> str:
    if name == "held_out":
        raise ValueError("held_out is reserved for the run's own held-out answers; use another name")
    return name


SetName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$"), AfterValidator(_not_reserved)]


class EvaluateSection(Section):
    """The evaluation of every model."""

    base: bool = Field(
        True,
        description="Evaluate M0, the base model, like M1, M2 …, and the SFT baseline (M0 trained on IFT alone) if "
        "eft.from=judgements trains one; false also drops both from head_to_head.baselines.",
    )
    judge_prompts: Annotated[int, Field(ge=0)] = Field(
        1000, description="Maximum number of rows to judge per preference set; 0 disables judge evaluation."
    )
    preferences: dict[SetName, str] = Field(
        {},
        description="More preference sets for judge evaluation, as `name: file`: Open Assistant trees, LLMBar, PandaLM "
        "or JSONL of ranked answers. The name held_out is reserved.",
    )
    implicit_preferences: bool = Field(
        True,
        description="Measure how often the log-ratio of M_t to M0 orders held-out ranked answers as humans did; needs "
        "a forward pass of M0 and of every M_t over them.",
    )
    instructions: str | None = Field(
        None,
        description="File of prompts with verifiable instructions, in IFEval's format, or `packaged:checks/held_out`.",
    )
    instructions_max_tokens: Count = Field(
        1280, description="Maximum length of a response to one of these prompts, in tokens."
    )


class HeadToHeadSection(Section):
    """Two models answer the same held-out prompts, and a judge compares the answers."""

    prompts: Annotated[int, Field(ge=0)] = Field(
        256, description="Number of held-out prompts that every model answers once; 0 disables the comparison."
    )
    prompt_files: list[str] = Field(
        [],
        description="Sources of held-out prompts: JSONL with a `prompt`, `question`, `instruction` or `turns`, or one "
        "string per line; empty: the prompts held out for judge evaluation.",
    )
    baselines: list[Literal["previous", "first", "base", "sft"]] = Field(
        ["previous", "first", "base"],
        description="Models to compare M_t with: the previous model, M1 (`first`), M0 (`base`) and, with "
        "eft.from=judgements, the SFT baseline (`sft`); an empty list disables the comparison.",
    )
    judge: str = Field(
        "m1",
        description="The judge: a model of the run (`m1`, `m2` …), another model (a folder or a hub name), or "
        "`endpoint`. A single judge for all models keeps their win rates comparable.",
    )
    by: Literal["pairwise", "pointwise"] = Field(
        "pairwise",
        description="`pairwise`: the judge sees both answers, in both orders; `pointwise`: it scores each answer "
        "separately with the judge prompt, and the higher score wins (for a judge trained only to score).",
    )
    justify: bool = Field(
        True,
        description="Ask for reasons before a pairwise verdict; false: use the probabilities of the verdict token (an "
        "endpoint generates the verdict).",
    )
    prompt_file: str | None = Field(
        None,
        description="File with a custom comparison prompt, with the fields {prompt}, {first} and {second}; it must ask "
        "for a line `Verdict: A`, `Verdict: B` or `Verdict: tie`.",
    )
    max_tokens: Count = Field(512, description="Maximum length of a comparison, in tokens.")


class EndpointSection(Section):
    """An OpenAI-compatible chat completions server that compares answers (`head_to_head.judge: endpoint`)."""

    base_url: str = Field("https://api.openai.com/v1", description="Base URL of the server.")
    model: str | None = Field(None, description="Name of the model on the server.")
    api_key_env: str = Field(
        "OPENAI_API_KEY",
        description="Environment variable with the API key; the key itself is never written to a file.",
    )
    concurrency: Count = Field(8, description="Maximum number of concurrent requests.")
    max_retries: Annotated[int, Field(ge=0)] = Field(
        6, description="Maximum number of retries of a request after a transient failure, with exponential backoff."
    )
    timeout: Annotated[float, Field(gt=0)] = Field(120.0, description="Timeout of a request, in seconds.")
    price_in: Annotated[float, Field(ge=0)] = Field(
        0.0, description="Price per million prompt tokens, for the cost estimate."
    )
    price_out: Annotated[float, Field(ge=0)] = Field(
        0.0, description="Price per million completion tokens, for the cost estimate."
    )


class GatesSection(Section):
    """Checks on an iteration's data before the next model is trained on it. A limit of null disables its gate."""

    parse_rate: Share | None = Field(0.5, description="Minimum share of verdicts with a parsed score.")
    parse_rate_action: Action = Field("stop", description="Action if the share is below the minimum: `warn` or `stop`.")
    tied_prompts: Share | None = Field(0.8, description="Maximum share of prompts whose responses all tie.")
    tied_prompts_action: Action = Field("warn", description="Action if the share is above the maximum.")
    score_entropy: Annotated[float, Field(ge=0)] | None = Field(
        0.5, description="Minimum entropy of the generated scores, in bits; 0 if the judge always gives the same score."
    )
    score_entropy_action: Action = Field("warn", description="Action if the entropy is below the minimum.")
    length_correlation: Annotated[float, Field(ge=-1, le=1)] | None = Field(
        0.7, description="Maximum rank correlation of score and length of a prompt's responses, averaged over prompts."
    )
    length_correlation_action: Action = Field("warn", description="Action if the correlation is above the maximum.")
    pairs_kept: Share | None = Field(0.05, description="Minimum share of prompts that give a pair.")
    pairs_kept_action: Action = Field("warn", description="Action if the share is below the minimum.")
    distinct_answers: Annotated[float, Field(ge=1)] | None = Field(
        1.5,
        description="Minimum number of different responses per prompt, averaged over prompts; of different final "
        "answers, where the signal reads them.",
    )
    distinct_answers_action: Action = Field("warn", description="Action if the number is below the minimum.")
    vote_share: Share | None = Field(
        0.95, description="Maximum share of a prompt's most common final answer, averaged over prompts."
    )
    vote_share_action: Action = Field("warn", description="Action if the share is above the maximum.")
    top_final_answer: Share | None = Field(
        0.9, description="Maximum share of prompts whose majority answer is the most common one of all prompts."
    )
    top_final_answer_action: Action = Field("warn", description="Action if the share is above the maximum.")
    kl_from_m1: Annotated[float, Field(gt=0)] | None = Field(
        None,
        description="Maximum KL divergence of M_t from M1 on M_t's own responses, in nats per token; null: not "
        "measured, since it needs a forward pass of M1.",
    )
    kl_from_m1_action: Action = Field("stop", description="Action if the divergence is above the maximum.")
