"""Settings of what else teaches the judge during the iterations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from srlm.config.section import Count, Section

if TYPE_CHECKING:
    from srlm.config.data import JudgeSection, SignalSection
    from srlm.config.training import DpoSection, TrainSection


class JudgeDataSection(Section):
    """Pairs of judgements, which DPO learns from beside the pairs of responses."""

    kind: Literal["none", "meta_judge", "modified_instruction"] = Field(
        "none",
        description="`none`: pairs of responses only; `meta_judge`: M_t compares its judgements of a response, and "
        "the best one is preferred to the worst; `modified_instruction`: M_t answers the prompt and a modified "
        "prompt, and judgements that score the first response higher are preferred to others.",
    )
    until: Annotated[int, Field(ge=2)] | None = Field(
        None, description="The last model that learns from pairs of judgements (3: M2 and M3 do); null: all do."
    )
    max_prompts: Count | None = Field(
        None, description="Use at most this many prompts per iteration, sampled with the run's seed; null: all."
    )
    max_judgements: Annotated[int, Field(ge=2)] = Field(
        11,
        description="For `meta_judge`: compare at most this many judgements of a response, every two of them in both "
        "orders.",
    )
    hide_scores: bool = Field(
        True,
        description="For `meta_judge`: remove the score from the judgements that are compared, so that the higher one "
        "is not simply preferred.",
    )
    justify: bool = Field(
        True,
        description="For `meta_judge`: ask for a justification before the verdict; false: compare the probabilities "
        "of the verdict's token.",
    )
    max_tokens: Count = Field(256, description="For `meta_judge`: maximum length of a verdict, in tokens.")
    samples: Annotated[int, Field(ge=2)] = Field(
        8, description="For `modified_instruction`: number of judgements to sample of each of the two responses."
    )
    max_judgement_length: Count | None = Field(
        1100, description="Drop pairs whose preferred judgement has more characters than this; null: keep all."
    )
    max_share: Annotated[float, Field(gt=0, le=1)] = Field(
        0.4,
        description="Maximum share of the pairs whose preferred judgements give the most common score; see "
        "`eft.max_share`.",
    )

    def check_fit(self, judge: JudgeSection, signal: SignalSection, train: TrainSection, dpo: DpoSection) -> None:
        """Check what pairs of judgements need of other sections.

        Raises:
            ValueError: a setting does not fit; names it.
        """
        if self.kind == "none":
            return
        where = f"judge_data.kind={self.kind}"
        if not judge.justify:
            raise ValueError(
                f"{where} needs different judgements of one response, and judge.justify=false gives one greedy token; "
                "set judge.justify=true"
            )
        if train.kind == "sft":
            raise ValueError(f"{where} makes pairs, and train.kind=sft trains on no pairs; set train.kind=dpo")
        if "sppo" in dpo.loss_type:
            raise ValueError(f"{where}: the loss sppo takes win rates, which judgements do not have; use another loss")
        if self.kind == "meta_judge" and signal.kind != "judge":
            raise ValueError(
                f"{where} compares the judge's verdicts, which signal.kind={signal.kind} does not give; set "
                "signal.kind=judge"
            )
        if self.kind == "meta_judge" and judge.samples < 2:
            raise ValueError(
                f"{where} compares judgements of one response; set judge.samples to 2 or more (the paper: 11)"
            )
