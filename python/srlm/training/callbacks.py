"""What a trainer is told while it trains: progress to a reporter, every step to a file, and when to stop and to save.

The trainer saves and loads its own state: weights, optimizer, schedule, gradient scaler, random numbers, history. What
it leaves out, and an uninterrupted training has, is kept here: the random state from which the order of an epoch's rows
was drawn, the count of tokens, and the weights of architectures that are saved under other names than they are held.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import broadcast_object_list
from transformers import TrainerCallback

from srlm.models import registry
from srlm.rows.records import RowWriter, write_rows
from srlm.training import checkpoints, saving

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from transformers import Trainer, TrainerControl, TrainerState, TrainingArguments

    from srlm.reporter import Reporter
    from srlm.training.checkpoints import Checkpoint
    from srlm.training.train import Job


class Progress(TrainerCallback):
    """Passes steps on to a reporter and every logged step to a file, which has each step once."""

    def __init__(self, stage: str, metrics: Path, report: Reporter) -> None:
        self._stage, self._metrics, self._report = stage, metrics, report

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Say how many steps there are; the curve is written anew, as far as the training has come."""
        if state.is_world_process_zero:
            self._metrics.unlink(missing_ok=True)
            if state.log_history:
                write_rows(self._metrics, [_row(entry["step"], entry) for entry in state.log_history])
        self._report.start(self._stage, state.max_steps, state.global_step)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Say that a step is done."""
        self._report.advance()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, Any] | None = None,
        **_: object,
    ) -> None:
        """Keep what the trainer logs: the steps, and the closing row of a training that has finished."""
        if not state.is_world_process_zero or not logs:
            return
        if "train_loss" in logs:
            if state.global_step < state.max_steps:
                return
            logs = {**logs, "train_loss": mean_loss(state)}
        with RowWriter(self._metrics) as writer:
            writer.write(_row(state.global_step, logs))


def step_losses(state: TrainerState) -> list[float]:
    """Return the loss of every step so far."""
    return [entry["loss"] for entry in state.log_history if "loss" in entry]


def mean_loss(state: TrainerState) -> float:
    """Return the mean over all steps so far; the trainer's own is over those since a checkpoint."""
    losses = step_losses(state)
    return sum(losses) / len(losses)


def _row(step: int, logs: Mapping[str, Any]) -> dict[str, object]:
    return {"step": step, **{name: _finite(value) for name, value in logs.items()}}


def _finite(value: object) -> object:
    """JSON has no NaN: such a value is written as text, so that it is seen."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


class StopAtNaN(TrainerCallback):
    """Stops a training at the step whose loss or gradient is not finite: from there on all weights would be lost.

    In float16 the gradients' scaler meets infinities as a matter of course, and skips those steps.
    """

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, Any] | None = None,
        **_: object,
    ) -> None:
        """Look at the step that was logged."""
        seen = [(logs or {}).get(name) for name in ("loss", *(() if args.fp16 else ("grad_norm",)))]
        if any(value is not None and not math.isfinite(float(value)) for value in seen):
            control.should_training_stop = True


class Checkpointer(TrainerCallback):
    """Has the trainer save at the steps of a job, and lets a training go on from what was saved.

    Args:
        trainer: TRL's, whose callback this becomes.
        job: with the steps at which to save and to pause.
        adapter: whether LoRA adapters are trained, not all weights.
        key: of the training (`srlm.checkpoints.key_of`); called where there is or will be a checkpoint, in the main
            process only.
        report: told of what is gone on from, and of what is not.
    """

    def __init__(self, trainer: Trainer, job: Job, *, adapter: bool, key: Callable[[], str], report: Reporter) -> None:
        self._trainer, self._job, self._adapter, self._report = trainer, job, adapter, report
        self._folder = checkpoints.folder_of(job.target)
        self._key = ""
        self._from: Path | None = None
        self._order: torch.Tensor | None = None  # random state from which this epoch's rows were, or are to be, drawn
        if trainer.accelerator.is_main_process and (
            job.pause_at or job.save_steps or checkpoints.started(self._folder)
        ):
            self._key = key()

    def find(self) -> Path | None:
        """Return the checkpoint to go on from, and remove what cannot be gone on from; every process calls this."""
        found: list[Path | None] = [None]
        if self._trainer.accelerator.is_main_process:
            checkpoint = self._usable(checkpoints.last(self._folder))
            found[0] = None if checkpoint is None else checkpoint.folder
            checkpoints.keep_only(self._folder, found[0])
        broadcast_object_list(found, from_process=0)  # what one process removed, another could still see
        self._from = found[0]
        return self._from

    def _usable(self, checkpoint: Checkpoint | None) -> Checkpoint | None:
        pause = self._job.pause_at
        if checkpoint is None:
            return None
        if checkpoint.key != self._key:
            self._report.note(f"training: the checkpoint in {self._folder} is another training's; this one starts over")
            return None
        if pause is not None and checkpoint.step > pause:
            self._report.note(f"training: {checkpoint.folder} is past the pause at step {pause}; starts over")
            return None
        self._report.note(f"training: goes on after step {checkpoint.step}, from {checkpoint.folder}")
        return checkpoint

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Put back what the trainer has not."""
        if self._from is None:
            return
        counts = [entry["num_tokens"] for entry in state.log_history if "num_tokens" in entry]
        self._trainer._total_train_tokens = int(counts[-1]) if counts else 0
        self._order = torch.load(self._order_file(self._from), weights_only=True)
        self._load_renamed(self._from)

    def _load_renamed(self, folder: Path) -> None:
        """Load weights that are not saved under the names they are held by, as those of experts; the trainer cannot."""
        trainer = self._trainer
        if self._adapter or trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
            return
        held = {name for name, _ in trainer.model.named_parameters()}
        if held <= saving.tensor_names(folder):
            return
        saved = registry.load_model(
            str(folder), dtype=torch.float32, trust_remote_code=self._job.model.trust_remote_code
        )
        trainer.model.load_state_dict(saved.state_dict())

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Draw the rest of an epoch from where its beginning was drawn; the trainer then sets the step's own state."""
        if self._from is not None and self._order is not None:
            torch.set_rng_state(self._order)
            self._from = None
        self._order = torch.get_rng_state()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Save or pause, if this is a step to do so at and not the last."""
        step = state.global_step
        if step >= state.max_steps:
            return
        pauses = step == self._job.pause_at
        control.should_training_stop |= pauses
        control.should_save |= pauses or (self._job.save_steps is not None and step % self._job.save_steps == 0)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Make what the trainer has saved a checkpoint that counts, unless its weights are of no use."""
        folder = self._folder / f"{checkpoints.PREFIX}{state.global_step}"
        if not all_finite(self._trainer):
            control.should_training_stop = True
            return
        at_an_epochs_end = float(state.epoch).is_integer()
        torch.save(torch.get_rng_state() if at_an_epochs_end else self._order, self._order_file(folder))
        self._trainer.accelerator.wait_for_everyone()
        if state.is_world_process_zero:
            checkpoints.complete(folder, state.global_step, self._key)

    def _order_file(self, folder: Path) -> Path:
        return folder / f"order_{self._trainer.args.process_index}.pth"


def can_go_on(trainer: Trainer) -> bool:
    """Whether a training goes on from a checkpoint exactly, and reads no pickle for it.

    DeepSpeed's checkpoints are pickles; from FSDP 1's the optimizer does not come back as it was.
    """
    if trainer.is_fsdp_enabled:
        return bool(trainer.accelerator.state.fsdp_plugin.fsdp_version == 2)
    return not trainer.is_deepspeed_enabled


def all_finite(trainer: Trainer) -> bool:
    """Whether all weights are, of every process's part: all of them come to the same end."""
    parts = [getattr(weight, "ds_tensor", weight) for weight in trainer.model.parameters()]
    local = [part.to_local() if hasattr(part, "to_local") else part for part in parts]
    bad = sum(not bool(part.isfinite().all()) for part in local)
    return int(trainer.accelerator.reduce(torch.tensor(bad, device=trainer.accelerator.device), "sum")) == 0
