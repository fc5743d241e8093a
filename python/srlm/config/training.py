"""The settings of supervised fine-tuning and of preference training."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from srlm.config.section import Count, Section, Share

LossType = Literal[
    "sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot", "aot_unpaired",
    "apo_zero", "apo_down", "discopop", "sft", "sigmoid_norm", "simpo",
]  # fmt: skip
SMOOTHED_LOSSES = frozenset({"robust", "exo_pair", "aot", "aot_unpaired"})
# What `srlm.losses` has; TRL knows all of them but simpo, which therefore goes together with no others.
FUSED_LOSSES = frozenset({"sigmoid", "hinge", "robust", "ipo", "sigmoid_norm", "simpo", "sft"})


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
    save_steps: Count | None = Field(
        100,
        description="Keep a checkpoint every so many optimizer steps, from which a training that was killed goes on; "
        "three to four times the size of the weights, one at a time. null: it starts over.",
    )

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
    eval_steps: Count | None = Field(
        None,
        description="Compare with the best so far every so many optimizer steps, as `head_to_head` does, and keep the "
        "best (the paper: 200); null trains to the end.",
    )
    patience: Count = Field(1, description="Stop after so many comparisons in a row that the best so far did not lose.")

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
