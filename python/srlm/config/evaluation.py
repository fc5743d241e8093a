"""The settings of what is measured, and of what the next model may be trained on."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from srlm.config.section import Count, Section, Share

Action = Literal["warn", "stop"]


def _not_the_runs_own(name: str) -> str:
    if name == "held_out":
        raise ValueError("held_out names the answers that the run itself holds out; give another name")
    return name


SetName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$"), AfterValidator(_not_the_runs_own)]


class EvaluateSection(Section):
    """What is measured of every model."""

    judge_prompts: Annotated[int, Field(ge=0)] = Field(
        1000, description="Rows of ranked answers to judge, of each set at most; 0 switches these measurements off."
    )
    preferences: dict[SetName, str] = Field(
        {},
        description="More sets to measure the judge on, `name: file`: Open Assistant trees, LLMBar, PandaLM or JSON "
        "lines of ranked answers. The name held_out is the run's own.",
    )
    instructions: str | None = Field(
        None, description="A file of prompts whose instructions are checked by rule, in IFEval's format."
    )
    instructions_max_tokens: Count = Field(1280, description="The longest answer to one of these, in tokens.")


class HeadToHeadSection(Section):
    """Two models answer the same held-out prompts; a judge sees both answers, in both orders."""

    prompts: Annotated[int, Field(ge=0)] = Field(
        256, description="Held-out prompts that every model answers once; 0 switches the comparison off."
    )
    prompt_files: list[str] = Field(
        [],
        description="Where they come from: JSON lines with a `prompt`, `question`, `instruction` or `turns`, or one "
        "string a line; none: the prompts held out for the judge.",
    )
    against: list[Literal["previous", "first"]] = Field(
        ["previous", "first"], description="Whom a model meets: the model before it, and M1. An empty list: nobody."
    )
    judge: str = Field(
        "m1",
        description="Who compares: `m1`, `m2` … of the run, another model (a folder or a hub name), or `endpoint`. One "
        "judge for all models keeps their figures comparable.",
    )
    by: Literal["comparison", "scores"] = Field(
        "comparison",
        description="`comparison`: the judge sees both answers, in both orders; `scores`: it scores each by "
        "itself with the judge prompt, and the higher score wins, for a judge that was only taught to score.",
    )
    justify: bool = Field(
        True,
        description="Ask for reasons before the verdict of a comparison; false reads the verdict's one token (not "
        "of an endpoint).",
    )
    prompt_file: str | None = Field(
        None, description="Another prompt for comparing, with the fields {prompt}, {first} and {second}."
    )
    max_tokens: Count = Field(512, description="The longest comparison, in tokens.")


class EndpointSection(Section):
    """A server with OpenAI's chat completions interface that compares answers, if `head_to_head.judge` says so."""

    base_url: str = Field("https://api.openai.com/v1", description="The server's address.")
    model: str | None = Field(None, description="The model's name there.")
    api_key_env: str = Field(
        "OPENAI_API_KEY", description="The environment variable that holds the key; the key itself is never written."
    )
    concurrency: Count = Field(8, description="Requests in flight at once.")
    max_retries: Annotated[int, Field(ge=0)] = Field(
        6, description="Further tries of a request that failed in a way that may pass, each after a longer wait."
    )
    timeout: Annotated[float, Field(gt=0)] = Field(120.0, description="Seconds to wait for an answer.")
    price_in: Annotated[float, Field(ge=0)] = Field(0.0, description="Price of a million prompt tokens, for the count.")
    price_out: Annotated[float, Field(ge=0)] = Field(0.0, description="Price of a million completion tokens.")


class GatesSection(Section):
    """What a model's own data must be like before the next one is trained on it. A limit of null asks for nothing."""

    parse_rate: Share | None = Field(0.5, description="Least share of verdicts that hold a readable score.")
    parse_rate_action: Action = Field("stop", description="What follows below that: `warn` or `stop`.")
    tied_prompts: Share | None = Field(0.8, description="Largest share of prompts whose answers all tie.")
    tied_prompts_action: Action = Field("warn", description="What follows above that.")
    score_entropy: Annotated[float, Field(ge=0)] | None = Field(
        0.5, description="Least entropy of the written scores, in bits; a judge that always says the same has 0."
    )
    score_entropy_action: Action = Field("warn", description="What follows below that.")
    length_correlation: Annotated[float, Field(ge=-1, le=1)] | None = Field(
        0.7, description="Largest rank correlation of score and length of a prompt's answers, averaged over prompts."
    )
    length_correlation_action: Action = Field("warn", description="What follows above that.")
    pairs_kept: Share | None = Field(0.05, description="Least share of prompts that give a pair.")
    pairs_kept_action: Action = Field("warn", description="What follows below that.")
    kl_from_m1: Annotated[float, Field(gt=0)] | None = Field(
        None,
        description="Largest divergence of M_t from M1 on M_t's own answers, in nats a token; null: not measured, as "
        "M1 has to read them.",
    )
    kl_from_m1_action: Action = Field("stop", description="What follows above that.")
