"""The whole configuration: its sections, and constraints across sections."""

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
    SignalSection,
    SuppliersSection,
)
from srlm.config.evaluation import EndpointSection, EvaluateSection, GatesSection, HeadToHeadSection
from srlm.config.judge_data import JudgeDataSection
from srlm.config.section import Count, Section
from srlm.config.training import FUSED_LOSSES, DpoSection, LaunchSection, SftSection, TrainSection


def _one_line(value: str) -> str:
    if not value or "\n" in value:
        raise ValueError("must be one line of text")
    return value


SEED_LIMIT = 2**31


class Config(Section):
    """All settings of a run."""

    name: Annotated[str, AfterValidator(_one_line)] = Field(
        "run",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="Name of the run; the default run directory is runs/<name>.",
    )
    seed: Annotated[int, Field(ge=0, lt=SEED_LIMIT)] = Field(0, description="Random seed of the whole run.")
    seeds: Count = Field(
        1,
        description="Number of runs, one after the other: with `seed`, `seed` + 1 and so on, each in a folder of its "
        "own (`seed-0`, `seed-1` …), with a summary over them at the end.",
    )
    control: Literal["none", "random"] = Field(
        "none",
        description="`random`: each seed's run is followed by its control (`seed-0-control` …), the same run with "
        "`signal.kind: random`: it shares everything up to M2's candidates, and trains on at most as many pairs.",
    )
    iterations: Count = Field(3, description="Number of models to train; 3: M1 (SFT), M2 and M3 (DPO).")
    report_to: list[Literal["tensorboard", "wandb", "trackio"]] = Field(
        [], description="Experiment trackers to send metrics to after every stage; each must be installed."
    )
    model: ModelSection
    seed_data: SeedDataSection = SeedDataSection()
    eft: EftSection = EftSection()
    sft: SftSection = SftSection()
    launch: LaunchSection = LaunchSection()
    engine: EngineSection = EngineSection()
    prompts: PromptsSection = PromptsSection()
    candidates: CandidatesSection = CandidatesSection()
    suppliers: SuppliersSection = SuppliersSection()
    judge: JudgeSection = JudgeSection()
    signal: SignalSection = SignalSection()
    pairs: PairsSection = PairsSection()
    judge_data: JudgeDataSection = JudgeDataSection()
    train: TrainSection = TrainSection()
    dpo: DpoSection = DpoSection()
    gates: GatesSection = GatesSection()
    evaluate: EvaluateSection = EvaluateSection()
    head_to_head: HeadToHeadSection = HeadToHeadSection()
    endpoint: EndpointSection = EndpointSection()

    def at(self, t: int) -> Config:
        """Return the configuration of M_t's data (t from 2), without lists over iterations."""
        sections = {name: getattr(self, name).at(t) for name in ("suppliers", "signal", "pairs")}
        return self.model_copy(update=sections)

    @property
    def several_runs(self) -> bool:
        """Whether the run directory holds the runs of seeds and controls instead of one run."""
        return self.seeds > 1 or self.control != "none"

    @model_validator(mode="after")
    def _check(self) -> Config:
        if self.judge.score_pattern is not None and not self.judge.justify:
            raise ValueError(
                "judge.justify=false uses the packaged `Score:` format and cannot be combined with judge.score_pattern"
            )
        if self.judge.score_pattern is not None and self.seed_data.eft and self.eft.source == "ranks":
            raise ValueError(
                "eft.from=ranks teaches `Score: N`, not the format of judge.score_pattern; set eft.from=judgements"
            )
        if self.judge.score == "expected" and (self.judge.max_score > 9 or self.judge.max_score % 1):
            raise ValueError(
                "judge.score=expected needs single-digit integer scores (a whole judge.max_score of at most 9)"
            )
        if self.judge.score == "expected" and self.signal.kind == "judge" and self.train.kind == "sft":
            raise ValueError("train.kind=sft needs perfect scores, which judge.score=expected never gives")
        self._check_prompts()
        self._check_suppliers()
        if self.pairs.weight != "uniform" and (other := set(self.dpo.loss_type) - FUSED_LOSSES):
            raise ValueError(
                f"pairs.weight={self.pairs.weight}: TRL's loss {min(other)} takes no weights; use losses among "
                f"{', '.join(sorted(FUSED_LOSSES))}, or pairs.weight=uniform"
            )
        if self.head_to_head.judge == "endpoint" and self.endpoint.model is None:
            raise ValueError("head_to_head.judge=endpoint needs endpoint.model, the name of the model on the server")
        if self.head_to_head.judge == "endpoint" and self.head_to_head.by == "pointwise":
            raise ValueError(
                "head_to_head.by=pointwise needs a local judge; set head_to_head.by=pairwise for an endpoint"
            )
        self._check_judge()
        self.judge_data.check_fit(self.judge, self.signal, self.train, self.dpo)
        self._check_seeds()
        if self.dpo.eval_steps is not None:
            self._check_early_stop()
        if self.prompts.examples_seed + self.prompts.examples_generated == 0:
            raise ValueError("prompts.examples_seed and prompts.examples_generated must not both be 0")
        return self

    def _check_prompts(self) -> None:
        prompts = self.prompts
        if (prompts.source == "files") != bool(prompts.files):
            raise ValueError(
                "prompts.source=files needs prompts.files, a list of JSONL files"
                if prompts.source == "files"
                else "prompts.files is used by prompts.source=files only; set that, or remove the files"
            )
        if self.pairs.weight == "margin" and self.signal.kind == "function" and self.signal.max_score is None:
            raise ValueError("pairs.weight=margin needs signal.max_score, the largest score of signal.function")
        if self.pairs.weight == "margin" and self.signal.kind == "implicit":
            raise ValueError(
                "pairs.weight=margin needs a largest score, and log-ratios (signal.kind=implicit) have none; set "
                "pairs.weight=uniform"
            )

    def _check_suppliers(self) -> None:
        suppliers = self.suppliers
        if suppliers.human and self.prompts.source != "files":
            raise ValueError(
                "suppliers.human=true reads the column `response` of prompts from files; set prompts.source=files and "
                "prompts.files (`seed`: the IFT examples)"
            )
        if self.signal.kind == "human" and not suppliers.human:
            raise ValueError("signal.kind=human prefers human responses; set suppliers.human=true")
        others = suppliers.hot_per_prompt or suppliers.human or suppliers.model not in (None, "first")
        if self.candidates.per_prompt < 2 and not others:
            raise ValueError("candidates.per_prompt=1 gives no pairs, unless suppliers.* add responses; set at least 2")

    def _check_judge(self) -> None:
        found = re.fullmatch(r"m([0-9]+)", self.head_to_head.judge)
        if found is not None and self.head_to_head.prompts and not 1 <= int(found[1]) <= self.iterations:
            raise ValueError(
                f"head_to_head.judge={self.head_to_head.judge}: the run has the models m1 to m{self.iterations}; "
                "use one of them, another model or endpoint"
            )

    def _check_seeds(self) -> None:
        if self.seed + self.seeds > SEED_LIMIT:
            raise ValueError(
                f"seeds={self.seeds}: the last seed must be below 2^31; use a smaller seed, or fewer seeds"
            )
        if self.control == "none":
            return
        if self.signal.kind == "random":
            raise ValueError("control=random: with signal.kind=random the run is a control itself; set control=none")
        if self.iterations == 1:
            raise ValueError("control=random: M1 is trained without a signal; set iterations above 1, or control=none")
        if self.judge_data.kind == "meta_judge":
            raise ValueError(
                "control=random: judge_data.kind=meta_judge compares the judge's verdicts, which a control does not "
                "have; set judge_data.kind=none, or control=none"
            )
        judge = self.head_to_head.judge
        if self.head_to_head.prompts and judge != "m1" and re.fullmatch(r"m[0-9]+", judge):
            raise ValueError(
                f"control=random: with head_to_head.judge={judge} a run and its control would have different judges; "
                "use m1, which they share, another model or endpoint"
            )

    def _check_early_stop(self) -> None:
        if self.train.kind == "sft":
            raise ValueError("dpo.eval_steps compares checkpoints of DPO, but train.kind=sft trains by SFT")
        if self.head_to_head.prompts == 0 or not (self.seed_data.eft or self.head_to_head.prompt_files):
            raise ValueError(
                "dpo.eval_steps compares answers to held-out prompts: set head_to_head.prompts above 0, and "
                "head_to_head.prompt_files if seed_data.eft is empty"
            )
        if re.fullmatch(r"m[0-9]+", self.head_to_head.judge) and self.head_to_head.judge != "m1":
            raise ValueError(
                f"dpo.eval_steps needs its judge while M2 is trained, before {self.head_to_head.judge} exists: "
                "set head_to_head.judge to m1, another model or endpoint"
            )
