"""Save a trained model to a self-contained folder: safetensors, tokenizer, configuration and model card.

The trainer writes a finished model. The model of a pause is written from the checkpoint that the training resumes from,
so both have the same weights, and the folder can be written again after a crash. A LoRA adapter is merged, so that
every engine can load the folder.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AutoConfig

from srlm.engines import weight_check
from srlm.errors import StageError
from srlm.models import devices, registry
from srlm.training.checkpoints import MARKER, PICKLED_ARGUMENTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerBase, Trainer

    from srlm.training.training_job import TrainingJob, TrainingResult

# Files of a checkpoint that are not the model's although they have the suffix of model files.
STATE_FILES = (MARKER, "trainer_state.json", "zero_to_fp32.py")


def save_finished(
    trainer: Trainer, job: TrainingJob, trained: TrainingResult, *, adapter: bool, probe: tuple[Sequence[float], str]
) -> None:
    """Write the trained model to `job.target`; every process calls this, the main process writes.

    `probe` is the log-probabilities of the probe text under the trained weights, and the dtype they were computed in
    (`srlm.engines.weight_check`).

    Raises:
        StageError: the trainer saved no weights.
    """
    main = trainer.accelerator.is_main_process
    with registry.atomic_folder(job.target) if main else _partial_folder(job) as folder:
        written = folder / "adapter" if adapter else folder
        _write_weights(trainer, written, adapter=adapter)
        if not main:
            return
        check_has_weights(written)
        if adapter:
            _merge(job, written, folder)
            shutil.rmtree(written)
        _finish(folder, trainer.processing_class, job, trained, probe)


def save_paused(
    checkpoint: Path,
    folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    job: TrainingJob,
    trained: TrainingResult,
    *,
    adapter: bool,
) -> None:
    """Write the model in a checkpoint's folder to `folder`; only the main process calls this.

    Raises:
        StageError: the checkpoint has no weights.
    """
    check_has_weights(checkpoint)
    with registry.atomic_folder(folder) as fresh:
        if adapter:
            _merge(job, checkpoint, fresh)
        else:
            for file in checkpoint.iterdir():
                if file.suffix in {".safetensors", ".json", ".py"} and file.name not in STATE_FILES:
                    shutil.copy2(file, fresh)
        _finish(fresh, tokenizer, job, trained, (None, "float32"))


def _write_weights(trainer: Trainer, folder: Path, *, adapter: bool) -> None:
    """Gather sharded weights and write them; every process calls this."""
    trainer.save_model(str(folder))
    if not (adapter and trainer.is_fsdp_enabled and trainer.accelerator.state.fsdp_plugin.fsdp_version == 1):
        return
    # PEFT looks up the adapter's weights by module name. FSDP 1 leaves its wrappers in the names, so PEFT finds none.
    state = trainer.accelerator.get_state_dict(trainer.model)
    if trainer.accelerator.is_main_process:
        names = {name: name.replace(".default.", ".").removesuffix(".default") for name in state if ".lora_" in name}
        save_file({saved_name: state[name] for name, saved_name in names.items()}, folder / "adapter_model.safetensors")


def check_has_weights(folder: Path) -> None:
    """Check that a folder has weights; some sharding configurations write none without an error.

    Raises:
        StageError: the folder has no tensors.
    """
    if not tensor_names(folder):
        raise StageError(
            "training: the trainer saved no weights under this launch.accelerate_config, and nothing was saved; use"
            " FSDP or ZeRO for sharding"
        )


def tensor_names(folder: Path) -> set[str]:
    """Return the names of all tensors in a folder's safetensors files."""
    names: set[str] = set()
    for file in folder.glob("*.safetensors"):
        with safe_open(file, framework="pt") as content:
            names.update(content.keys())
    return names


def _partial_folder(job: TrainingJob) -> contextlib.AbstractContextManager[Path]:
    return contextlib.nullcontext(job.target.with_name(job.target.name + ".partial"))


def _merge(job: TrainingJob, adapter: Path, folder: Path) -> None:
    from peft import PeftModel

    _disable_zero3_init()
    base = registry.load_model(job.base, dtype=torch.float32, trust_remote_code=job.model.trust_remote_code)
    merged = PeftModel.from_pretrained(base, adapter).merge_and_unload(safe_merge=True)
    merged.save_pretrained(folder)


def _finish(
    folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    job: TrainingJob,
    trained: TrainingResult,
    probe: tuple[Sequence[float] | None, str],
) -> None:
    registry.save_tokenizer(tokenizer, folder)
    (folder / PICKLED_ARGUMENTS).unlink(missing_ok=True)
    _restore_config(job.base, folder)
    (folder / "README.md").write_text(_card(job, trained), encoding="utf-8")
    _disable_zero3_init()
    config = AutoConfig.from_pretrained(folder, trust_remote_code=job.model.trust_remote_code)
    ids = weight_check.probe_token_ids_for(tokenizer, config)
    trust = job.model.trust_remote_code
    with devices.all_cores() if job.processes > 1 else contextlib.nullcontext():
        weight_check.write_logprobs(
            folder, job.base, ids, trained=probe[0], computed_in=probe[1], trust=trust, dtypes=job.probe_dtypes
        )


def _disable_zero3_init() -> None:
    """Load models without ZeRO-3 sharding, which would wait for processes that do not take part."""
    from transformers.integrations import unset_hf_deepspeed_config

    unset_hf_deepspeed_config()


def _restore_config(base: str, folder: Path) -> None:
    """Restore the base model's dropout and KV cache settings, which training changed."""
    before = json.loads((Path(base) / "config.json").read_text(encoding="utf-8"))
    file = folder / "config.json"
    after = json.loads(file.read_text(encoding="utf-8"))
    for field, default in {**dict.fromkeys(registry.DROPOUT_FIELDS, 0.0), "use_cache": True}.items():
        if field in after:
            after[field] = before.get(field, default)
    file.write_text(json.dumps(after, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _card(job: TrainingJob, trained: TrainingResult) -> str:
    facts = {**job.card, "rows": trained.rows, "rows dropped (over max_length)": trained.dropped_too_long}
    if trained.dropped_equal:
        facts["pairs dropped (equal answers)"] = trained.dropped_equal
    facts |= {"optimizer steps": trained.steps, "mean training loss": f"{trained.train_loss:.4f}"}
    lines = "\n".join(f"| {name} | {value} |" for name, value in facts.items())
    return (
        "---\nlibrary_name: transformers\ntags: [srlm, self-rewarding]\n---\n\n"
        f"# {job.card['model']}\n\nTrained with srlm (Self-Rewarding Language Models, arXiv 2401.10020).\n\n"
        f"| fact | value |\n|---|---|\n{lines}\n"
    )
