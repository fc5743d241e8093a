"""Common parts of SFT and DPO: arguments for TRL's trainers, and training to the end or to a pause.

Rows are passed to the trainers as token ids, so that TRL neither tokenises nor truncates; rows over `max_length` are
dropped and counted. TRL's own truncation would cut the end of an answer, including its EOS token.
"""

from __future__ import annotations

import contextlib
import math
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerState

from srlm.config import DpoSection
from srlm.engines import weight_check
from srlm.errors import InputError, StageError
from srlm.kernels.token_logps import token_logps
from srlm.models import devices, fit, registry
from srlm.training import checkpoints, prefix_sharing, saving, sharding
from srlm.training.callbacks import Checkpointer, StopAtNaN, all_finite, can_resume, mean_loss, step_losses
from srlm.training.recent_batches import recent_rows
from srlm.training.training_job import TrainingJob, TrainingResult

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer

    from srlm.config import LoraSection, TrainingSection
    from srlm.reporter import Reporter
    from srlm.training.prefix_masks import MaskForm


# How long processes wait for the first one, which alone saves, merges and checks the weights. The default, half an
# hour, may be too short for a large model.
WAIT_SECONDS = 3 * 3600


def arguments(section: TrainingSection, job: TrainingJob, *, whole_steps: bool) -> dict[str, Any]:
    """Return the keyword arguments that TRL's SFTConfig and DPOConfig have in common.

    With `whole_steps` a batch is a process's share of an optimizer step (`whole_steps.WholeSteps`).
    """
    per_step = section.micro_batch_size * job.processes
    if section.batch_size % per_step:
        raise InputError(
            f"batch_size {section.batch_size} is not a multiple of micro_batch_size x launch.processes = {per_step}"
        )
    cuda, bf16 = torch.cuda.is_available(), devices.has_bfloat16()
    return {
        "output_dir": str(
            checkpoints.trainer_folder(job.target)
        ),  # deleted after training, so not a folder of the user's
        "learning_rate": section.learning_rate,
        "lr_scheduler_type": "cosine_with_min_lr",
        # A ratio, because transformers cannot read the learning rate from DeepSpeed's optimizers.
        "lr_scheduler_kwargs": {"min_lr_rate": section.min_learning_rate / section.learning_rate},
        "warmup_steps": min(section.warmup_ratio, 1 - 1e-9),  # below 1 it is a fraction of all steps
        "num_train_epochs": section.epochs,
        "max_steps": section.max_steps or -1,
        "per_device_train_batch_size": section.batch_size // job.processes if whole_steps else section.micro_batch_size,
        "gradient_accumulation_steps": 1 if whole_steps else section.batch_size // per_step,
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
        "ddp_timeout": WAIT_SECONDS,
    }


def load_tokenizer(job: TrainingJob, report: Reporter) -> PreTrainedTokenizerBase:
    """Load the tokenizer of the model to train; in an individual command, note what a run notes at its start."""
    tokenizer = registry.load_tokenizer(job.base, job.model)
    if job.model.date is None:
        for line in fit.notes(job.base, tokenizer, job.model):
            report.note(line)
    return tokenizer


def max_length(section: TrainingSection, job: TrainingJob, report: Reporter) -> int:
    """Return the maximum length of a row: as configured, but at most the model's context.

    Some architectures have no embedding for a later position.
    """
    context = fit.model_shape(job.base, trust=job.model.trust_remote_code).context
    if context is None or context >= section.max_length:
        return section.max_length
    report.note(f"training: the model's context is {context} tokens, below max_length ({section.max_length})")
    return context


def load_trainable(section: TrainingSection, job: TrainingJob) -> PreTrainedModel:
    """Load the model to train, with the configured dropout.

    Full weights are trained in float32 (under bfloat16 autocast on a GPU). The frozen base model of a LoRA training is
    bfloat16 if the GPU supports it.
    """
    if "FSDP_CPU_RAM_EFFICIENT_LOADING" in os.environ:
        # Every process loads the full model here. With this setting only the main process would load TRL's reference,
        # which is loaded later, and nothing sends it to the others.
        os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"
    bf16 = section.lora is not None and devices.has_bfloat16()
    return registry.load_model(
        job.base,
        dtype=torch.bfloat16 if bf16 else torch.float32,
        trust_remote_code=job.model.trust_remote_code,
        dropout=section.dropout,
    )


def mask_forms(
    model: PreTrainedModel, section: TrainingSection, nodes: int, report: Reporter
) -> tuple[MaskForm | None, MaskForm | None]:
    """Return how the model takes the mask of rows with shared prefixes, in training and without dropout; None: padding.

    With dropout, tokens that rows share would have the same dropout mask in all of them, so a training shares them only
    if `share_prefixes` says so. `nodes` is the maximum number of computed tokens of a forward pass.
    """
    if section.share_prefixes is False:
        return None, None
    form = prefix_sharing.find_form(model)
    if isinstance(form, str):
        report.note(f"training: this model ({model.config.model_type}) computes rows without shared prefixes: {form}")
        return None, None
    form = prefix_sharing.with_fast_attention(model, form, nodes, dropout=section.dropout)
    return (form if section.dropout == 0 or section.share_prefixes else None), form


def max_nodes(section: TrainingSection, longest: int) -> int:
    """Return the maximum number of computed tokens of a forward pass of rows with shared prefixes.

    By default as many as those of `micro_batch_size` rows of the maximum length, which padding allows as well.
    """
    return section.micro_batch_tokens or section.micro_batch_size * longest


def lora_config(lora: LoraSection | None, dropout: float) -> Any:  # noqa: ANN401  peft.LoraConfig
    """Return PEFT's LoRA configuration, or None."""
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
    job: TrainingJob,
    rows: Sequence[Mapping[str, Sequence[int]]],
    *,
    names: Sequence[str],
    dropped: int,
    dropped_equal: int | None = None,
    report: Reporter,
) -> TrainingResult:
    """Train, resuming from the last checkpoint if there is one; save, and return the result so far.

    With `job.pause_at` the training stops after that step. The same call with a later pause, or none, resumes it as if
    it had not stopped: the schedule is that of the whole training in every call.

    Args:
        trainer: TRL's trainer.
        section: `sft` or `dpo` of the configuration.
        job: folders, seed, and the steps of pauses and checkpoints.
        rows: the rows of the trainer's dataset.
        names: a name per row, for error messages.
        dropped: number of rows that were dropped as too long.
        dropped_equal: number of pairs that were dropped because their answers are the same; None for SFT.
        report: gets notes.

    Raises:
        StageError: the loss or a gradient became NaN or infinite. Training stops at that step, and the message has the
            rows of the step. Only the last checkpoint before it is saved.
        InputError: the job has a pause, which the sharding does not support.
    """
    sharding.prepare(trainer, "dpo" if isinstance(section, DpoSection) else "sft", section.dropout)
    job = _supported_job(trainer, job, report)
    checkpointer = Checkpointer(
        trainer,
        job,
        adapter=section.lora is not None,
        key=lambda: _checkpoint_key(trainer, section, job, rows),
        report=report,
    )
    state = _train(trainer, job, checkpointer)
    _check_finite(trainer, state, rows, names, checkpoints.latest(checkpoints.trainer_folder(job.target)))
    finished = state.global_step >= state.max_steps
    if not finished and state.global_step != job.pause_at:
        raise StageError(f"training: the gradient of step {state.global_step} is not finite; lower learning_rate")
    tokens = round(sum(map(count_tokens, rows)) * (state.epoch or 0.0))
    trained = TrainingResult(len(rows), dropped, state.global_step, mean_loss(state), tokens, dropped_equal, finished)
    _save(trainer, section, job, trained)
    return trained


def count_tokens(row: Mapping[str, Sequence[int]]) -> int:
    """Return the number of tokens in the forward pass of an SFT row, or of both sides of a pair."""
    if "input_ids" in row:
        return len(row["input_ids"])
    return 2 * len(row["prompt_ids"]) + len(row["chosen_ids"]) + len(row["rejected_ids"])


def _supported_job(trainer: Trainer, job: TrainingJob, report: Reporter) -> TrainingJob:
    """Return the job without checkpoints if the sharding does not support them."""
    if can_resume(trainer):
        return job
    if job.pause_at is not None:
        raise InputError(
            "launch.accelerate_config: training with DeepSpeed or FSDP 1 cannot pause for evaluation;"
            " set fsdp_version: 2 there, or remove dpo.eval_steps"
        )
    if job.saves:
        report.note("training: no checkpoints with this launch.accelerate_config; FSDP 2 supports them")
    return replace(job, save_steps=None, save_minutes=None)


def _checkpoint_key(
    trainer: Trainer, section: TrainingSection, job: TrainingJob, rows: Sequence[Mapping[str, Sequence[int]]]
) -> str:
    """Hash everything that affects the training steps; when to evaluate, save and stop does not."""
    settings = section.model_dump_json(exclude={"eval_steps", "early_stopping_patience", "save_steps", "save_minutes"})
    args, distributed_type = trainer.args, str(trainer.accelerator.distributed_type)
    device = (args.device.type, args.bf16, args.fp16, args.world_size, distributed_type)
    return checkpoints.key_of(job.base, rows, settings, job.seed, job.processes, device)


def _train(trainer: Trainer, job: TrainingJob, checkpointer: Checkpointer) -> TrainerState:
    """Train to the end or to the job's pause, and return the trainer's state."""
    checkpoint = checkpointer.find_checkpoint()
    if checkpoint is not None and job.pause_at is not None:
        state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
        if state.global_step == job.pause_at:
            return state
    trainer.add_callback(checkpointer)
    trainer.add_callback(StopAtNaN())
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    return trainer.state


def _check_finite(
    trainer: Trainer,
    state: TrainerState,
    rows: Sequence[Mapping[str, Sequence[int]]],
    names: Sequence[str],
    checkpoint: checkpoints.Checkpoint | None,
) -> None:
    losses = step_losses(state)
    bad_step = next((step for step, loss in enumerate(losses, 1) if not math.isfinite(loss)), None)
    if bad_step is None and all_finite(trainer):
        return
    what = f"the loss of step {bad_step} is" if bad_step else f"the weights after step {state.global_step} are"
    bad_rows = [names[index] for index in recent_rows(trainer, rows)] or ["those of another process"]
    saved = f"the last checkpoint is step {checkpoint.step}" if checkpoint else "no checkpoint was saved"
    advice = "Lower learning_rate, or check these rows"
    raise StageError(f"training: {what} not finite; rows of the step: {', '.join(bad_rows)}. {advice}; {saved}")


def _save(trainer: Trainer, section: TrainingSection, job: TrainingJob, trained: TrainingResult) -> None:
    """Save the model to the job's folder; after a finished training, remove the trainer's folder."""
    main, adapter = trainer.accelerator.is_main_process, section.lora is not None
    if trained.finished:
        saving.save_finished(
            trainer, job, trained, adapter=adapter, probe=(_probe_logps(trainer), _compute_dtype(trainer))
        )
        if main:
            checkpoints.remove(job.target)
    elif main and job.pause_to is not None:
        checkpoint = checkpoints.trainer_folder(job.target) / f"{checkpoints.PREFIX}{trained.steps}"
        saving.save_paused(checkpoint, job.pause_to, trainer.processing_class, job, trained, adapter=adapter)


@torch.no_grad()
def _probe_logps(trainer: Trainer) -> list[float]:
    """Return the log-probabilities of the first tokens of the probe text under the trained model: [T - 1]."""
    full_weights = _has_full_weights(trainer)
    model = trainer.model_wrapped
    if full_weights:
        # Without accelerate's wrapper the model computes in the dtype of its weights, whatever autocast is configured.
        model = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    was_training = model.training
    model.eval()
    ids = torch.tensor(
        [weight_check.probe_token_ids_for(trainer.processing_class, trainer.model.config, weight_check.TRAINER_TOKENS)],
        device=next(model.parameters()).device if full_weights else trainer.args.device,
    )
    with contextlib.nullcontext() if full_weights else trainer.compute_loss_context_manager():
        logits = model(input_ids=ids, use_cache=False).logits[0, :-1]  # [T - 1, V]
    model.train(was_training)
    logps: list[float] = token_logps(logits.float(), ids[0, 1:]).tolist()
    return logps


def _has_full_weights(trainer: Trainer) -> bool:
    """Whether each process has all weights, and can run a forward pass by itself."""
    return not (trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled)


def _compute_dtype(trainer: Trainer) -> str:
    """Return the dtype that `_probe_logps` computes in."""
    if not _has_full_weights(trainer) and (trainer.args.bf16 or trainer.args.fp16):
        return "bfloat16" if trainer.args.bf16 else "float16"
    return str(next(trainer.model.parameters()).dtype).removeprefix("torch.")
