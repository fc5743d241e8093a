"""Trainer callbacks: progress to a reporter, metrics of every step to a file, stop at NaN, and checkpoints.

The trainer saves and loads its own state: weights, optimizer, schedule, GradScaler, random states, history. The
callbacks here add what it lacks to resume exactly: the random state that an epoch's rows were shuffled with, the token
count, and the weights of architectures whose parameter names differ between memory and file.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import broadcast, broadcast_object_list
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
    from srlm.training.training_job import TrainingJob


class Progress(TrainerCallback):
    """Reports progress, and writes every logged step to a file, which has each step once."""

    def __init__(self, stage: str, metrics: Path, report: Reporter) -> None:
        self._stage, self._metrics, self._report = stage, metrics, report

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Report the number of steps; rewrite the metrics file with the steps up to the checkpoint."""
        if state.is_world_process_zero:
            self._metrics.unlink(missing_ok=True)
            if state.log_history:
                write_rows(self._metrics, [_row(entry["step"], entry) for entry in state.log_history])
        self._report.start(self._stage, state.max_steps, state.global_step)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Report that a step is done."""
        self._report.advance()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, Any] | None = None,
        **_: object,
    ) -> None:
        """Write the logged metrics: one row per step, and the final row of a finished training."""
        if not state.is_world_process_zero or not logs:
            return
        if "train_loss" in logs:
            if state.global_step < state.max_steps:
                return
            logs = {**logs, "train_loss": mean_loss(state)}
        with RowWriter(self._metrics) as writer:
            writer.write(_row(state.global_step, logs))


def step_losses(state: TrainerState) -> list[float]:
    """Return the loss of each step so far."""
    return [entry["loss"] for entry in state.log_history if "loss" in entry]


def mean_loss(state: TrainerState) -> float:
    """Return the mean loss over all steps so far; the trainer's own is over the steps since the checkpoint."""
    losses = step_losses(state)
    return sum(losses) / len(losses)


def _row(step: int, logs: Mapping[str, Any]) -> dict[str, object]:
    return {"step": step, **{name: _finite(value) for name, value in logs.items()}}


def _finite(value: object) -> object:
    """Return NaN and infinities as strings, because JSON cannot represent them."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


class StopAtNaN(TrainerCallback):
    """Stops training at a step whose loss or gradient norm is not finite, because all weights would become NaN.

    In float16 the gradient norm is not checked: GradScaler expects infinite gradients, and skips those steps.
    """

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, Any] | None = None,
        **_: object,
    ) -> None:
        """Check the logged step."""
        values = [(logs or {}).get(name) for name in ("loss", *(() if args.fp16 else ("grad_norm",)))]
        if any(value is not None and not math.isfinite(float(value)) for value in values):
            control.should_training_stop = True


class Checkpointer(TrainerCallback):
    """Makes the trainer save at the steps and times of a job, and resumes a training from its last checkpoint.

    Args:
        trainer: TRL's trainer, to which this callback is added.
        job: has the steps at which to save and to pause.
        adapter: whether LoRA adapters are trained instead of all weights.
        key: returns the key of the training (`checkpoints.key_of`); called in the main process only, and only if there
            is or will be a checkpoint.
        report: gets a note about the checkpoint that is used, or why it is not.
    """

    def __init__(
        self, trainer: Trainer, job: TrainingJob, *, adapter: bool, key: Callable[[], str], report: Reporter
    ) -> None:
        self._trainer, self._job, self._adapter, self._report = trainer, job, adapter, report
        self._folder = checkpoints.trainer_folder(job.target)
        self._key = ""
        self._resumed_from: Path | None = None
        self._last_save = time.monotonic()
        self._shuffle_state: torch.Tensor | None = None  # random state that this epoch's rows are shuffled with
        if trainer.accelerator.is_main_process and (
            job.pause_at or job.saves or checkpoints.has_checkpoints(self._folder)
        ):
            self._key = key()

    def find_checkpoint(self) -> Path | None:
        """Return the checkpoint to resume from, and remove all others; every process calls this."""
        broadcast: list[Path | None] = [None]
        if self._trainer.accelerator.is_main_process:
            checkpoint = self._resumable(checkpoints.latest(self._folder))
            broadcast[0] = None if checkpoint is None else checkpoint.folder
            checkpoints.keep_only(self._folder, broadcast[0])
        broadcast_object_list(broadcast, from_process=0)  # another process could still see a removed checkpoint
        self._resumed_from = broadcast[0]
        return self._resumed_from

    def _resumable(self, checkpoint: Checkpoint | None) -> Checkpoint | None:
        pause = self._job.pause_at
        if checkpoint is None:
            return None
        if checkpoint.key != self._key:
            self._report.note(f"training: the checkpoint in {self._folder} is of another training; starting over")
            return None
        if pause is not None and checkpoint.step > pause:
            self._report.note(f"training: {checkpoint.folder} is past the pause at step {pause}; starting over")
            return None
        self._report.note(f"training: resuming after step {checkpoint.step} from {checkpoint.folder}")
        return checkpoint

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Restore the state that the trainer does not restore."""
        self._last_save = time.monotonic()
        if self._resumed_from is None:
            return
        counts = [entry["num_tokens"] for entry in state.log_history if "num_tokens" in entry]
        self._trainer._total_train_tokens = int(counts[-1]) if counts else 0
        self._shuffle_state = torch.load(self._shuffle_state_file(self._resumed_from), weights_only=True)
        self._load_renamed(self._resumed_from)

    def _load_renamed(self, folder: Path) -> None:
        """Load weights whose names in memory differ from those in the file, such as experts'; the trainer does not."""
        trainer = self._trainer
        if self._adapter or trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
            return
        names = {name for name, _ in trainer.model.named_parameters()}
        if names <= saving.tensor_names(folder):
            return
        saved = registry.load_model(
            str(folder), dtype=torch.float32, trust_remote_code=self._job.model.trust_remote_code
        )
        trainer.model.load_state_dict(saved.state_dict())

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Shuffle a resumed epoch with the random state it began with; the trainer then restores the step's state."""
        if self._resumed_from is not None and self._shuffle_state is not None:
            torch.set_rng_state(self._shuffle_state)
            self._resumed_from = None
        self._shuffle_state = torch.get_rng_state()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Save or pause if the job says so for this step, unless it is the last one."""
        step = state.global_step
        if step >= state.max_steps:
            return
        pauses = step == self._job.pause_at
        control.should_training_stop |= pauses
        by_steps = self._job.save_steps is not None and step % self._job.save_steps == 0
        control.should_save |= pauses or by_steps or self._is_due()

    def _is_due(self) -> bool:
        """Whether a checkpoint is due by time; the first process decides for all."""
        if self._job.save_minutes is None:
            return False
        accelerator = self._trainer.accelerator
        due = int(time.monotonic() - self._last_save >= 60 * self._job.save_minutes)
        return bool(broadcast(torch.tensor(due, device=accelerator.device), from_process=0))

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Complete the checkpoint that the trainer has saved, unless its weights are not finite."""
        self._last_save = time.monotonic()
        folder = self._folder / f"{checkpoints.PREFIX}{state.global_step}"
        if not all_finite(self._trainer):
            control.should_training_stop = True
            return
        at_epoch_end = float(state.epoch).is_integer()
        torch.save(torch.get_rng_state() if at_epoch_end else self._shuffle_state, self._shuffle_state_file(folder))
        self._trainer.accelerator.wait_for_everyone()
        if state.is_world_process_zero:
            checkpoints.mark_complete(folder, state.global_step, self._key)

    def _shuffle_state_file(self, folder: Path) -> Path:
        return folder / f"order_{self._trainer.args.process_index}.pth"


def can_resume(trainer: Trainer) -> bool:
    """Whether a training can resume exactly from a checkpoint, without reading pickles.

    DeepSpeed's checkpoints are pickles; FSDP 1 does not restore the optimizer state exactly.
    """
    if trainer.is_fsdp_enabled:
        return bool(trainer.accelerator.state.fsdp_plugin.fsdp_version == 2)
    return not trainer.is_deepspeed_enabled


def all_finite(trainer: Trainer) -> bool:
    """Whether all weights are finite, over the shards of all processes; every process gets the same result."""
    shards = [getattr(weight, "ds_tensor", weight) for weight in trainer.model.parameters()]
    local = [shard.to_local() if hasattr(shard, "to_local") else shard for shard in shards]
    bad = sum(not bool(part.isfinite().all()) for part in local)
    return int(trainer.accelerator.reduce(torch.tensor(bad, device=trainer.accelerator.device), "sum")) == 0
