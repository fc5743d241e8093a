"""The whole configuration: its sections, and what they must be like together."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from srlm.config.data import (
    CandidatesSection,
    EftSection,
    EngineSection,
    JudgeSection,
    ModelSection,
    PairsSection,
    PromptsSection,
    SeedDataSection,
)
from srlm.config.evaluation import EndpointSection, EvaluateSection, GatesSection, HeadToHeadSection
from srlm.config.section import Count, Section
from srlm.config.training import DpoSection, LaunchSection, SftSection


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
    report_to: list[Literal["tensorboard", "wandb", "trackio"]] = Field(
        [], description="Send curves to these trackers, after every stage; each has to be installed."
    )
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
    gates: GatesSection = GatesSection()
    evaluate: EvaluateSection = EvaluateSection()
    head_to_head: HeadToHeadSection = HeadToHeadSection()
    endpoint: EndpointSection = EndpointSection()

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
        if self.head_to_head.judge == "endpoint" and self.endpoint.model is None:
            raise ValueError("head_to_head.judge=endpoint needs endpoint.model, the model's name there")
        if self.head_to_head.judge == "endpoint" and self.head_to_head.by == "scores":
            raise ValueError("head_to_head.by=scores needs a model's own log-probabilities; an endpoint compares only")
        self._check_judge()
        if self.dpo.eval_steps is not None:
            self._check_early_stop()
        if self.prompts.examples_seed + self.prompts.examples_generated == 0:
            raise ValueError("prompts.examples_seed and prompts.examples_generated may not both be 0")
        return self

    def _check_judge(self) -> None:
        found = re.fullmatch(r"m([0-9]+)", self.head_to_head.judge)
        if found is not None and self.head_to_head.prompts and not 1 <= int(found[1]) <= self.iterations:
            raise ValueError(
                f"head_to_head.judge={self.head_to_head.judge}: the run has the models m1 to m{self.iterations}; "
                "name one of them, another model or endpoint"
            )

    def _check_early_stop(self) -> None:
        if self.pairs.method == "positives_only":
            raise ValueError("dpo.eval_steps compares checkpoints of DPO, which pairs.method=positives_only leaves out")
        if self.head_to_head.prompts == 0 or not (self.seed_data.eft or self.head_to_head.prompt_files):
            raise ValueError(
                "dpo.eval_steps compares answers to held-out prompts: set head_to_head.prompts above 0, and name "
                "head_to_head.prompt_files where seed_data.eft is empty"
            )
        if re.fullmatch(r"m[0-9]+", self.head_to_head.judge) and self.head_to_head.judge != "m1":
            raise ValueError(
                f"dpo.eval_steps needs its judge while M2 is trained, when {self.head_to_head.judge} is not there: "
                "set head_to_head.judge to m1, another model or endpoint"
            )
