"""What SFT and DPO share: arguments for TRL's trainers, progress, and saving a model that loads anywhere.

Rows reach the trainers as token ids, so that TRL tokenises and cuts nothing; a row over `max_length` is dropped here
and counted. TRL's own preparation would cut the tail of an answer, its end token first.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import TrainerCallback

from srlm import models
from srlm.errors import InputError, StageError
from srlm.records import RowWriter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerControl, TrainerState, TrainingArguments

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

    @property
    def reference(self) -> Path:
        """The file of the pairs' log-probabilities under DPO's reference, beside the metrics."""
        return self.metrics.with_name(self.metrics.name.replace("metrics.jsonl", "reference.safetensors"))


@dataclass(frozen=True, slots=True)
class Trained:
    """What came of a training."""

    rows: int
    dropped_too_long: int
    steps: int
    train_loss: float


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
        "output_dir": str(job.target.with_name(f"{job.target.name}.trainer")),  # removed afterwards: never a user's
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
    model = models.load_model(
        job.base,
        dtype=torch.bfloat16 if bf16 else torch.float32,
        trust_remote_code=job.model.trust_remote_code,
        dropout=section.dropout,
    )
    return model, models.load_tokenizer(job.base, job.model)


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


def run(trainer: Any, section: TrainingSection, job: Job, dropped: int) -> Trained:  # noqa: ANN401  a TRL trainer
    """Train, save, and return what came of it.

    Raises:
        StageError: the loss became NaN or infinite; nothing is saved.
    """
    rows = len(trainer.train_dataset)
    _ask_for_whole_weights(trainer)
    output = trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    if not all(math.isfinite(loss) for loss in losses):
        step = next(index for index, loss in enumerate(losses, 1) if not math.isfinite(loss))
        raise StageError(f"training: the loss of step {step} is not finite; lower learning_rate. Nothing was saved")
    if not _all_finite(trainer):
        raise StageError("training: the last step left weights not finite; lower learning_rate. Nothing was saved")
    trained = Trained(rows, dropped, int(output.global_step), float(output.training_loss))
    _save(trainer, section, job, trained)
    if trainer.accelerator.is_main_process:
        shutil.rmtree(trainer.args.output_dir, ignore_errors=True)  # the trainer's own folder: nothing is kept in it
    return trained


def _all_finite(trainer: Any) -> bool:  # noqa: ANN401
    """Whether all weights are, of every process's part: all of them come to the same end."""
    parts = [getattr(weight, "ds_tensor", weight) for weight in trainer.model.parameters()]
    local = [part.to_local() if hasattr(part, "to_local") else part for part in parts]
    bad = sum(not bool(part.isfinite().all()) for part in local)
    return int(trainer.accelerator.reduce(torch.tensor(bad, device=trainer.accelerator.device), "sum")) == 0


def _save(trainer: Any, section: TrainingSection, job: Job, trained: Trained) -> None:  # noqa: ANN401
    """Write safetensors, tokenizer and card; an adapter is merged, so that the next engine loads the folder."""
    with models.fresh_folder(job.target) if trainer.accelerator.is_main_process else _other_process(job) as folder:
        written = folder / "adapter" if section.lora is not None else folder
        _write_weights(trainer, written, adapter=section.lora is not None)
        if not trainer.accelerator.is_main_process:
            return
        check_written(written)
        if section.lora is not None:
            _merge(job, written, folder)
        trainer.processing_class.save_pretrained(folder)
        (folder / "training_args.bin").unlink(missing_ok=True)  # a pickle: nothing here reads or ships those
        _restore_config(job.base, folder)
        (folder / "README.md").write_text(_card(job, trained), encoding="utf-8")


def _ask_for_whole_weights(trainer: Any) -> None:  # noqa: ANN401
    """Let the trainer save a whole model, in whatever pieces accelerate's configuration would have it saved."""
    state = trainer.accelerator.state
    if trainer.is_fsdp_enabled:
        state.fsdp_plugin.set_state_dict_type("FULL_STATE_DICT")
    if trainer.is_deepspeed_enabled:
        zero = state.deepspeed_plugin.deepspeed_config.get("zero_optimization", {})
        zero["stage3_gather_16bit_weights_on_model_save"] = True


def _write_weights(trainer: Any, folder: Path, *, adapter: bool) -> None:  # noqa: ANN401
    """Gather what is sharded and write it; every process takes part."""
    trainer.save_model(str(folder))
    if not (adapter and trainer.is_fsdp_enabled and trainer.accelerator.state.fsdp_plugin.fsdp_version == 1):
        return
    # PEFT looks for an adapter's weights under the names of its modules. In those FSDP 1 leaves its wrappers, so that
    # none was found.
    state = trainer.accelerator.get_state_dict(trainer.model)
    if trainer.accelerator.is_main_process:
        names = {name: name.replace(".default.", ".").removesuffix(".default") for name in state if ".lora_" in name}
        save_file({short: state[name] for name, short in names.items()}, folder / "adapter_model.safetensors")


def check_written(folder: Path) -> None:
    """Refuse a folder without weights, which some ways of sharding leave behind without an error.

    Raises:
        StageError: there is no tensor in it.
    """
    for file in folder.glob("*.safetensors"):
        with safe_open(file, framework="pt") as content:
            if any(True for _ in content.keys()):  # noqa: SIM118  not a dictionary
                return
    raise StageError(
        "training: the trainer saved no weights, as launch.accelerate_config has it; take FSDP or ZeRO for sharding. "
        "Nothing was saved"
    )


def _other_process(job: Job) -> Any:  # noqa: ANN401
    return contextlib.nullcontext(job.target.with_name(job.target.name + ".partial"))


def _merge(job: Job, adapter: Path, folder: Path) -> None:
    from peft import PeftModel
    from transformers.integrations import unset_hf_deepspeed_config

    unset_hf_deepspeed_config()  # or ZeRO 3 would shard this model too, with processes that are not here
    base = models.load_model(job.base, dtype=torch.float32, trust_remote_code=job.model.trust_remote_code)
    merged = PeftModel.from_pretrained(base, adapter).merge_and_unload(safe_merge=True)
    merged.save_pretrained(folder)
    shutil.rmtree(adapter)


def _restore_config(base: str, folder: Path) -> None:
    """Dropout and the switched-off key-value cache were this training's; the saved model has its base's settings."""
    before = json.loads((Path(base) / "config.json").read_text(encoding="utf-8"))
    file = folder / "config.json"
    after = json.loads(file.read_text(encoding="utf-8"))
    for field, default in {**dict.fromkeys(models.DROPOUT_FIELDS, 0.0), "use_cache": True}.items():
        if field in after:
            after[field] = before.get(field, default)
    file.write_text(json.dumps(after, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _card(job: Job, trained: Trained) -> str:
    facts = {**job.card, "rows": trained.rows, "rows dropped (over max_length)": trained.dropped_too_long}
    facts |= {"optimizer steps": trained.steps, "mean training loss": f"{trained.train_loss:.4f}"}
    lines = "\n".join(f"| {name} | {value} |" for name, value in facts.items())
    return (
        "---\nlibrary_name: transformers\ntags: [srlm, self-rewarding]\n---\n\n"
        f"# {job.card['model']}\n\nTrained with srlm (Self-Rewarding Language Models, arXiv 2401.10020).\n\n"
        f"| fact | value |\n|---|---|\n{lines}\n"
    )


class Progress(TrainerCallback):
    """Passes steps on to a reporter and every logged step to a file."""

    def __init__(self, stage: str, metrics: Path, report: Reporter) -> None:
        self._stage, self._metrics, self._report = stage, metrics, report

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Say how many steps there are; a training that starts again writes its curve anew."""
        if state.is_world_process_zero:
            self._metrics.unlink(missing_ok=True)
        self._report.start(self._stage, state.max_steps)

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
        """Keep what the trainer logs."""
        if state.is_world_process_zero and logs:
            with RowWriter(self._metrics) as writer:
                writer.write({"step": state.global_step, **{name: _finite(value) for name, value in logs.items()}})


def _finite(value: object) -> object:
    """JSON has no NaN: such a value is written as text, so that it is seen."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
