"""Settings of supervised fine-tuning and preference training."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from srlm.config.section import Count, Section, Share

LossType = Literal[
    "sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot", "aot_unpaired",
    "apo_zero", "apo_down", "discopop", "sft", "sigmoid_norm", "simpo", "dpop", "sppo", "nll",
]  # fmt: skip
SMOOTHED_LOSSES = frozenset({"robust", "exo_pair", "aot", "aot_unpaired"})
# These sort the pairs of a micro-batch (Melnyk et al. 2024, arXiv 2406.05882), so its size changes the loss.
MICRO_BATCH_LOSSES = frozenset({"aot", "aot_unpaired"})
# The losses of `srlm.losses`. TRL lacks some of them, which can only be combined with one another.
OWN_LOSSES = frozenset({"simpo", "dpop", "sppo", "nll"})
FUSED_LOSSES = frozenset({"sigmoid", "hinge", "robust", "ipo", "sigmoid_norm", "sft"}) | OWN_LOSSES
# accelerate passes preserve_rng_state=False: gradients would be those of other activations. `{0}` is sft or dpo.
OTHER_DROPOUT = (
    "launch.accelerate_config: fsdp_activation_checkpointing recomputes activations with another dropout than in the "
    "forward pass; remove it there and set {0}.gradient_checkpointing=true, or set {0}.dropout=0"
)


class TrainSection(Section):
    """How the models after M1 are trained."""

    kind: Literal["dpo", "sft"] = Field(
        "dpo",
        description="`dpo`: preference optimization on pairs (section `dpo`); `sft`: supervised fine-tuning (section "
        "`sft`) on the winners: responses with the judge's perfect score, or that follow all rules, or with the "
        "majority's answer; for `function` and `random` the best response to each prompt.",
    )


class LoraSection(Section):
    """LoRA (PEFT); the adapter is merged into the saved weights."""

    rank: Count = Field(16, description="Rank r of the adapter matrices.")
    alpha: Count = Field(32, description="LoRA alpha: the update is scaled by alpha / rank.")
    target_modules: list[str] | Literal["all-linear"] = Field(
        "all-linear", description="Names of the linear modules to apply adapters to."
    )


class TrainingSection(Section):
    """Settings shared by SFT and DPO."""

    learning_rate: Annotated[float, Field(gt=0)] = Field(5.5e-6, description="Peak learning rate of AdamW.")
    min_learning_rate: Annotated[float, Field(ge=0)] = Field(
        1.1e-6, description="Final learning rate of the cosine schedule."
    )
    warmup_ratio: Share = Field(0.0, description="Fraction of steps with a linear warmup from zero.")
    epochs: Annotated[float, Field(gt=0)] = Field(1.0, description="Number of passes over the data.")
    max_steps: Count | None = Field(None, description="Train for this many optimizer steps; overrides `epochs`.")
    batch_size: Count = Field(16, description="Rows (for DPO: pairs) per optimizer step, over all devices.")
    micro_batch_size: Count = Field(
        1,
        description="Rows (for DPO: pairs) per device and forward pass. The loss is normalised over the optimizer "
        "step, so this changes rounding only; `aot` and `aot_unpaired` are functions of a micro-batch.",
    )
    share_prefixes: bool | None = Field(
        None,
        description="Compute tokens with which rows of a step begin alike once: exact, and faster. With dropout they "
        "have the same dropout in all of these rows, so null, the default, shares only without; true: always, where "
        "the model can; false: never.",
    )
    micro_batch_tokens: Count | None = Field(
        None,
        description="Maximum number of computed tokens per device and forward pass of rows with shared prefixes; null: "
        "`micro_batch_size` x `max_length` (for DPO: twice as many).",
    )
    max_length: Count = Field(
        2048, description="Maximum length of a row, in tokens; a longer one is dropped and counted, not truncated."
    )
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.1, description="Dropout probability during training, for the dropouts that the architecture has and for LoRA."
    )
    weight_decay: Annotated[float, Field(ge=0)] = Field(0.0, description="Decoupled weight decay of AdamW.")
    max_grad_norm: Annotated[float, Field(gt=0)] = Field(1.0, description="Maximum gradient norm, for clipping.")
    gradient_checkpointing: bool = Field(
        False, description="Recompute activations in the backward pass: slower, less memory."
    )
    lora: LoraSection | None = Field(None, description="Train LoRA adapters; null: train all weights.")
    save_minutes: Annotated[float, Field(gt=0)] | None = Field(
        10.0,
        description="Save a checkpoint at the first optimizer step this many minutes after the last one, to resume an "
        "interrupted training; one is kept, of three to four times the size of the weights. null: none by time.",
    )
    save_steps: Count | None = Field(None, description="Save a checkpoint also every this many optimizer steps.")

    @model_validator(mode="after")
    def _check(self) -> TrainingSection:
        if self.min_learning_rate > self.learning_rate:
            raise ValueError("min_learning_rate must not be above learning_rate")
        if self.batch_size % self.micro_batch_size:
            raise ValueError("batch_size must be a multiple of micro_batch_size")
        return self


class SftSection(TrainingSection):
    """Supervised fine-tuning of M0 on IFT and EFT examples, which gives M1."""

    ranking_weight: Annotated[float, Field(ge=0)] = Field(
        1.0,
        description="Weight of a ranking loss on judge examples, beside the cross-entropy: of two answers to a "
        "question the one that humans preferred gets the higher expected score. For examples of `eft.from: ranks` "
        "without justifications (`judge.justify: false`); 0: none.",
    )
    ranking_balance: bool = Field(
        False,
        description="Weigh the pairs of the ranking loss so that those whose better answer is longer count as much, "
        "all together, as those whose better answer is shorter.",
    )


class DpoSection(TrainingSection):
    """DPO of M_t on its own preference pairs, which gives M_t+1; the reference model is M_t."""

    learning_rate: Annotated[float, Field(gt=0)] = Field(1e-6, description="Peak learning rate of AdamW.")
    min_learning_rate: Annotated[float, Field(ge=0)] = Field(
        1e-7, description="Final learning rate of the cosine schedule."
    )
    beta: Annotated[float, Field(gt=0)] = Field(
        0.1, description="Strength of the penalty for deviating from the reference model (Rafailov et al. 2023, eq. 7)."
    )
    loss_type: list[LossType] = Field(
        ["sigmoid"],
        min_length=1,
        description="Losses to sum, by TRL's names: `sigmoid` (DPO), `ipo`, `hinge`, `robust`, `sigmoid_norm`, `sft` "
        "(negative log-likelihood per token of all chosen responses) …; and `simpo`, `dpop` (DPO-Positive), `sppo` and "
        "`nll` (negative log-likelihood per token of each chosen response).",
    )
    loss_weights: list[Annotated[float, Field(gt=0)]] | None = Field(
        None, description="Weight of each loss in `loss_type`; null: 1 each."
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = Field(
        0.0,
        description="Assumed label-flip rate of the pairs, for `robust`, `exo_pair`, `aot` and `aot_unpaired`.",
    )
    simpo_gamma: Annotated[float, Field(ge=0)] = Field(0.5, description="Target reward margin of `simpo`.")
    dpop_lambda: Annotated[float, Field(ge=0)] = Field(
        50.0, description="Penalty of `dpop` on a chosen response that is less likely than under the reference model."
    )
    eval_steps: Count | None = Field(
        None,
        description="Compare with the checkpoint kept so far every this many optimizer steps, as set in "
        "`head_to_head` but on held-out prompts of their own, and keep the better one (the paper: 200); null: no early "
        "stopping.",
    )
    early_stopping_patience: Count = Field(
        1,
        description="Stop after this many lost comparisons without a won one between them; a tie does not count.",
    )

    @model_validator(mode="after")
    def _check_losses(self) -> DpoSection:
        names = self.loss_type
        if self.loss_weights is not None and len(self.loss_weights) != len(names):
            raise ValueError(f"loss_weights must have one number per loss in loss_type ({len(names)})")
        if self.label_smoothing > 0 and not SMOOTHED_LOSSES & set(names):
            raise ValueError(f"label_smoothing applies to these losses only: {', '.join(sorted(SMOOTHED_LOSSES))}")
        if "exo_pair" in names and self.label_smoothing == 0:
            raise ValueError("the loss exo_pair needs a label_smoothing above 0 (its paper uses 0.001)")
        if (own := sorted(OWN_LOSSES & set(names))) and not set(names) <= FUSED_LOSSES:
            raise ValueError(
                f"the loss {own[0]} can be combined with these losses only: {', '.join(sorted(FUSED_LOSSES))}"
            )
        return self


class LaunchSection(Section):
    """Distributed training."""

    processes: Count = Field(
        1,
        description="Number of training processes; more than 1 are started by `accelerate launch` (torchrun on a CPU).",
    )
    accelerate_config: str | None = Field(
        None, description="Accelerate configuration file (FSDP, DeepSpeed) to launch training with."
    )
