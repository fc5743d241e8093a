"""The inputs of a training besides its data, and its result: plain records shared by the modules of this package."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from srlm.config import ModelSection


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """The inputs of one training besides its section of the configuration and its data."""

    base: str  # folder of the model to start from
    target: Path  # folder to save to
    metrics: Path  # JSON lines, one per optimizer step
    model: ModelSection
    seed: int
    processes: int
    card: dict[str, str]  # facts for the model card
    pause_at: int | None = None  # optimizer step of the whole schedule after which to pause; at least 1
    pause_to: Path | None = None  # folder to save the model of that step to
    save_steps: int | None = None  # optimizer steps between checkpoints, in addition to those of pauses
    save_minutes: float | None = None  # between checkpoints, in addition to those of steps and pauses
    probe_dtypes: tuple[str, ...] = ("float32", "bfloat16")  # in which the weight check keeps log-probabilities

    def __post_init__(self) -> None:
        min_step = min(1 if step is None else step for step in (self.pause_at, self.save_steps))
        if (self.pause_at is None) != (self.pause_to is None) or min_step < 1:
            raise ValueError("pause_at and pause_to must be given together, and steps must be at least 1")

    @property
    def saves(self) -> bool:
        """Whether checkpoints are saved besides those of pauses."""
        return self.save_steps is not None or self.save_minutes is not None

    @property
    def reference(self) -> Path:
        """The file of the pairs' log-probabilities under the DPO reference, next to the metrics."""
        return self.metrics.with_name(self.metrics.name.replace("metrics.jsonl", "reference.safetensors"))


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """The result of a training."""

    rows: int
    dropped_too_long: int
    steps: int  # optimizer steps so far, including those before a pause
    train_loss: float  # mean over the steps
    tokens_in: int  # tokens trained on: each row once per epoch, the prompt of a pair once per answer
    dropped_equal: int | None = None  # pairs whose two answers are the same; None for SFT
    finished: bool = True  # False at a pause: the model is in `pause_to`, and `target` does not exist yet
