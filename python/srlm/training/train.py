"""What SFT and DPO share: arguments for TRL's trainers, and training to the end or to a pause.

Rows reach the trainers as token ids, so that TRL tokenises and cuts nothing; a row over `max_length` is dropped here
and counted. TRL's own preparation would cut the tail of an answer, its end token first.
"""

from __future__ import annotations

import contextlib
import math
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerState

from srlm.engines import weight_check
from srlm.errors import InputError, StageError
from srlm.kernels.token_logps import token_logps
from srlm.models import registry
from srlm.training import checkpoints, saving
from srlm.training.callbacks import Checkpointer, StopAtNaN, all_finite, can_go_on, mean_loss, step_losses
from srlm.training.recent_batches import recent_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer

    from srlm.config import LoraSection, ModelSection, TrainingSection
    from srlm.reporter import Reporter


@dataclass(frozen=True, slots=True)
class Job:
    """What one training needs beside its section of the configuration and its data."""

    base: str  # folder of the model to start from
    target: Path  # folder to save to
    metrics: Path  # JSON lines, one per optimizer step
    model: ModelSection
    seed: int
    processes: int
    card: dict[str, str]  # facts for the model card
    pause_at: int | None = None  # optimizer step of the whole schedule after which to stop for now; at least 1
    pause_to: Path | None = None  # folder to save the model of that step to
    save_steps: int | None = None  # optimizer steps after which a crash costs no work, beside those of pauses

    def __post_init__(self) -> None:
        least = min(1 if step is None else step for step in (self.pause_at, self.save_steps))
        if (self.pause_at is None) != (self.pause_to is None) or least < 1:
            raise ValueError("a job that pauses has pause_at and pause_to, and steps are at least 1")

    @property
    def reference(self) -> Path:
        """The file of the pairs' log-probabilities under DPO's reference, beside the metrics."""
        return self.metrics.with_name(self.metrics.name.replace("metrics.jsonl", "reference.safetensors"))


@dataclass(frozen=True, slots=True)
class Trained:
    """What came of a training."""

    rows: int
    dropped_too_long: int
    steps: int  # so far, those before a pause included
    train_loss: float  # the mean over them
    tokens_in: int  # that they read: a prompt with each of its answers, a row once an epoch
    finished: bool = True  # False at a pause: the model is in `pause_to`, and `target` is still to come


def arguments(section: TrainingSection, job: Job) -> dict[str, Any]:
    """Return the keyword arguments that TRL's SFTConfig and DPOConfig have in common."""
    per_step = section.micro_batch_size * job.processes
    if section.batch_size % per_step:
        raise InputError(
            f"batch_size {section.batch_size} is not a multiple of micro_batch_size x launch.processes = {per_step}"
        )
    cuda = torch.cuda.is_available()
    bf16 = cuda and torch.cuda.is_bf16_supported()
    return {
        "output_dir": str(checkpoints.folder_of(job.target)),  # removed afterwards: never a user's
        "learning_rate": section.learning_rate,
        "lr_scheduler_type": "cosine_with_min_lr",
        # A rate, because of DeepSpeed's optimizers transformers cannot read the learning rate.
        "lr_scheduler_kwargs": {"min_lr_rate": section.min_learning_rate / section.learning_rate},
        "warmup_steps": min(section.warmup_ratio, 1 - 1e-9),  # below 1 it is a share of all steps
        "num_train_epochs": section.epochs,
        "max_steps": section.max_steps or -1,
        "per_device_train_batch_size": section.micro_batch_size,
        "gradient_accumulation_steps": section.batch_size // per_step,
        "gradient_checkpointing": section.gradient_checkpointing,
        "weight_decay": section.weight_decay,
        "max_grad_norm": section.max_grad_norm,
        "max_length": None,
        "bf16": bf16,
        "fp16": cuda and not bf16,
        "use_cpu": not cuda,
        "dataloader_pin_memory": cuda,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "seed": job.seed,
    }


def load_trainable(section: TrainingSection, job: Job) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load the model to train, with the configured dropout, and its tokenizer.

    All weights are trained in float32 (under bfloat16 autocast on a GPU); a frozen base under LoRA is kept in bfloat16
    where the GPU has it.
    """
    if "FSDP_CPU_RAM_EFFICIENT_LOADING" in os.environ:
        # Every process loads the whole model here, but of TRL's reference, loaded later, only the first one would, and
        # nothing passes it on.
        os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"
    bf16 = section.lora is not None and torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    model = registry.load_model(
        job.base,
        dtype=torch.bfloat16 if bf16 else torch.float32,
        trust_remote_code=job.model.trust_remote_code,
        dropout=section.dropout,
    )
    return model, registry.load_tokenizer(job.base, job.model)


def lora_config(lora: LoraSection | None, dropout: float) -> Any:  # noqa: ANN401  peft.LoraConfig
    """Return PEFT's configuration of an adapter, or None."""
    if lora is None:
        return None
    from peft import LoraConfig

    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        target_modules=lora.target_modules,
        lora_dropout=dropout,
        task_type="CAUSAL_LM",
    )


def run(
    trainer: Trainer,
    section: TrainingSection,
    job: Job,
    rows: Sequence[Mapping[str, Sequence[int]]],
    *,
    names: Sequence[str],
    dropped: int,
    report: Reporter,
) -> Trained:
    """Train on from where an earlier call came to, save, and return what came of it so far.

    With `job.pause_at` the training stops after that step, and the same call with a later one, or with none, goes on
    as if nothing had been: the schedule is that of the whole training in every call. `rows` are those of the trainer's
    data set, `names` what to call them in an error, `dropped` the number of those too long for it.

    Raises:
        StageError: the loss, or a gradient, became NaN or infinite: training stops there, and says at which rows. What
            was saved is the last checkpoint before.
        InputError: a pause, where the weights are spread over processes in a way that does not allow it.
    """
    saving.ask_for_whole_weights(trainer)
    job = _checked(trainer, job, report)
    checkpointer = Checkpointer(
        trainer, job, adapter=section.lora is not None, key=lambda: _key(trainer, section, job, rows), report=report
    )
    state = _train(trainer, job, checkpointer)
    _check_finite(trainer, state, rows, names, checkpoints.last(checkpoints.folder_of(job.target)))
    finished = state.global_step >= state.max_steps
    if not finished and state.global_step != job.pause_at:
        raise StageError(f"training: step {state.global_step} has a gradient that is not finite; lower learning_rate")
    tokens = round(sum(map(tokens_of, rows)) * (state.epoch or 0.0))
    trained = Trained(len(rows), dropped, state.global_step, mean_loss(state), tokens, finished)
    _save(trainer, section, job, trained)
    return trained


def tokens_of(row: Mapping[str, Sequence[int]]) -> int:
    """Return how many tokens a model reads for a row of SFT, or for both sides of a pair."""
    if "input_ids" in row:
        return len(row["input_ids"])
    return 2 * len(row["prompt_ids"]) + len(row["chosen_ids"]) + len(row["rejected_ids"])


def _checked(trainer: Trainer, job: Job, report: Reporter) -> Job:
    """Return the job without what this way of spreading a training does not allow."""
    if can_go_on(trainer):
        return job
    if job.pause_at is not None:
        raise InputError(
            "launch.accelerate_config: a training with DeepSpeed or FSDP 1 cannot pause to be compared;"
            " set fsdp_version: 2 there, or leave out dpo.eval_steps"
        )
    if job.save_steps is not None:
        report.note("training: without checkpoints, as launch.accelerate_config has it; FSDP 2 would keep some")
    return replace(job, save_steps=None)


def _key(trainer: Trainer, section: TrainingSection, job: Job, rows: Sequence[Mapping[str, Sequence[int]]]) -> str:
    """Hash what decides every step; when to compare and to stop does not."""
    settings = section.model_dump_json(exclude={"eval_steps", "patience", "save_steps"})
    args, spread = trainer.args, str(trainer.accelerator.distributed_type)
    device = (args.device.type, args.bf16, args.fp16, args.world_size, spread)
    return checkpoints.key_of(job.base, rows, settings, job.seed, job.processes, device)


def _train(trainer: Trainer, job: Job, checkpointer: Checkpointer) -> TrainerState:
    """Train as far as the job says, and return the state that the trainer has come to."""
    found = checkpointer.find()
    if found is not None and job.pause_at is not None:
        state = TrainerState.load_from_json(str(found / "trainer_state.json"))
        if state.global_step == job.pause_at:
            return state
    trainer.add_callback(checkpointer)
    trainer.add_callback(StopAtNaN())
    trainer.train(resume_from_checkpoint=None if found is None else str(found))
    return trainer.state


def _check_finite(
    trainer: Trainer,
    state: TrainerState,
    rows: Sequence[Mapping[str, Sequence[int]]],
    names: Sequence[str],
    checkpoint: checkpoints.Checkpoint | None,
) -> None:
    losses = step_losses(state)
    broken = next((step for step, loss in enumerate(losses, 1) if not math.isfinite(loss)), None)
    if broken is None and all_finite(trainer):
        return
    what = f"the loss of step {broken} is" if broken else f"the weights after step {state.global_step} are"
    guilty = [names[place] for place in recent_rows(trainer, rows)] or ["those of another process"]
    kept = f"step {checkpoint.step} is kept as a checkpoint" if checkpoint else "no checkpoint was kept"
    advice = "Lower learning_rate, or look at these rows"
    raise StageError(f"training: {what} not finite; its rows: {', '.join(guilty)}. {advice}; {kept}")


def _save(trainer: Trainer, section: TrainingSection, job: Job, trained: Trained) -> None:
    """Save the model, to where the job has it; a finished training leaves nothing else behind."""
    main, adapter = trainer.accelerator.is_main_process, section.lora is not None
    if trained.finished:
        saving.save_finished(
            trainer, job, trained, adapter=adapter, read=(_log_probabilities(trainer), _computed_in(trainer))
        )
        if main:
            checkpoints.remove(job.target)
    elif main and job.pause_to is not None:
        checkpoint = checkpoints.folder_of(job.target) / f"{checkpoints.PREFIX}{trained.steps}"
        saving.save_paused(checkpoint, job.pause_to, trainer.processing_class, job, trained, adapter=adapter)


@torch.no_grad()
def _log_probabilities(trainer: Trainer) -> list[float]:
    """Let the model as it is read the text: [T - 1], of all tokens but the first."""
    whole = _is_whole(trainer)
    # Without accelerate's wrapper a whole model computes in the type of its weights, whatever it is trained in.
    model = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False) if whole else trainer.model_wrapped
    was_training = model.training
    model.eval()
    ids = torch.tensor(
        [weight_check.text_for(trainer.processing_class, trainer.model.config)],
        device=next(model.parameters()).device if whole else trainer.args.device,
    )
    with contextlib.nullcontext() if whole else trainer.compute_loss_context_manager():
        logits = model(input_ids=ids, use_cache=False).logits[0, :-1]  # [T - 1, V]
    model.train(was_training)
    found: list[float] = token_logps(logits.float(), ids[0, 1:]).tolist()
    return found


def _is_whole(trainer: Trainer) -> bool:
    """Whether each process has all weights, and can read by itself."""
    return not (trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled)


def _computed_in(trainer: Trainer) -> str:
    """Return the type that `_log_probabilities` computes in."""
    if not _is_whole(trainer) and (trainer.args.bf16 or trainer.args.fp16):
        return "bfloat16" if trainer.args.bf16 else "float16"
    return str(next(trainer.model.parameters()).dtype).removeprefix("torch.")
