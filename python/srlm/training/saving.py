"""From what was trained to a folder that loads anywhere: safetensors, tokenizer, configuration and card.

A finished model is written by the trainer; one that a training pauses at is made from the checkpoint that it goes on
from, so the two are of the same weights and a folder that a crash prevented can be made again. An adapter is merged, so
that the next engine loads the folder.
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
from srlm.models import registry
from srlm.training.checkpoints import MARKER, PICKLED_ARGUMENTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerBase, Trainer

    from srlm.training.train import Job, Trained

# Of a checkpoint's files, those that are not the model's: they have endings that a model's files have too.
STATE_FILES = (MARKER, "trainer_state.json", "zero_to_fp32.py")


def save_finished(
    trainer: Trainer, job: Job, trained: Trained, *, adapter: bool, read: tuple[Sequence[float], str]
) -> None:
    """Write the trained model to `job.target`; every process calls this, the first one writes.

    `read` is what it reads in the text by which engines are checked, and in what type (`srlm.policy_check`).

    Raises:
        StageError: the trainer saved no weights.
    """
    main = trainer.accelerator.is_main_process
    with registry.fresh_folder(job.target) if main else _other_process(job) as folder:
        written = folder / "adapter" if adapter else folder
        _write_weights(trainer, written, adapter=adapter)
        if not main:
            return
        check_written(written)
        if adapter:
            _merge(job, written, folder)
            shutil.rmtree(written)
        _finish(folder, trainer.processing_class, job, trained, read)


def save_paused(
    checkpoint: Path, folder: Path, tokenizer: PreTrainedTokenizerBase, job: Job, trained: Trained, *, adapter: bool
) -> None:
    """Write the model of a checkpoint's folder to `folder`; the first process alone calls this.

    Raises:
        StageError: there are no weights in the checkpoint.
    """
    check_written(checkpoint)
    with registry.fresh_folder(folder) as fresh:
        if adapter:
            _merge(job, checkpoint, fresh)
        else:
            for file in checkpoint.iterdir():
                if file.suffix in {".safetensors", ".json", ".py"} and file.name not in STATE_FILES:
                    shutil.copy2(file, fresh)
        _finish(fresh, tokenizer, job, trained, (None, "float32"))


def ask_for_whole_weights(trainer: Trainer) -> None:
    """Let the trainer save a whole model, in whatever pieces accelerate's configuration would have it saved."""
    state = trainer.accelerator.state
    if trainer.is_fsdp_enabled:
        plugin = state.fsdp_plugin
        plugin.state_dict_config = plugin.optim_state_dict_config = None  # or those of pieces would be kept
        plugin.set_state_dict_type("FULL_STATE_DICT")
    if trainer.is_deepspeed_enabled:
        zero = state.deepspeed_plugin.deepspeed_config.get("zero_optimization", {})
        zero["stage3_gather_16bit_weights_on_model_save"] = True


def _write_weights(trainer: Trainer, folder: Path, *, adapter: bool) -> None:
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
    if not tensor_names(folder):
        raise StageError(
            "training: the trainer saved no weights, as launch.accelerate_config has it; take FSDP or ZeRO for"
            " sharding. Nothing was saved"
        )


def tensor_names(folder: Path) -> set[str]:
    """Return the names of all tensors in a folder's safetensors."""
    names: set[str] = set()
    for file in folder.glob("*.safetensors"):
        with safe_open(file, framework="pt") as content:
            names.update(content.keys())
    return names


def _other_process(job: Job) -> contextlib.AbstractContextManager[Path]:
    return contextlib.nullcontext(job.target.with_name(job.target.name + ".partial"))


def _merge(job: Job, adapter: Path, folder: Path) -> None:
    from peft import PeftModel

    _one_process_again()
    base = registry.load_model(job.base, dtype=torch.float32, trust_remote_code=job.model.trust_remote_code)
    merged = PeftModel.from_pretrained(base, adapter).merge_and_unload(safe_merge=True)
    merged.save_pretrained(folder)


def _finish(
    folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    job: Job,
    trained: Trained,
    read: tuple[Sequence[float] | None, str],
) -> None:
    tokenizer.save_pretrained(folder)
    (folder / PICKLED_ARGUMENTS).unlink(missing_ok=True)
    _restore_config(job.base, folder)
    (folder / "README.md").write_text(_card(job, trained), encoding="utf-8")
    _one_process_again()
    config = AutoConfig.from_pretrained(folder, trust_remote_code=job.model.trust_remote_code)
    ids = weight_check.text_for(tokenizer, config)
    trust = job.model.trust_remote_code
    weight_check.write(folder, job.base, ids, trained=read[0], computed_in=read[1], trust=trust)


def _one_process_again() -> None:
    """Let models be loaded whole: ZeRO 3 would shard them, with processes that are not here."""
    from transformers.integrations import unset_hf_deepspeed_config

    unset_hf_deepspeed_config()


def _restore_config(base: str, folder: Path) -> None:
    """Dropout and the switched-off key-value cache were this training's; the saved model has its base's settings."""
    before = json.loads((Path(base) / "config.json").read_text(encoding="utf-8"))
    file = folder / "config.json"
    after = json.loads(file.read_text(encoding="utf-8"))
    for field, default in {**dict.fromkeys(registry.DROPOUT_FIELDS, 0.0), "use_cache": True}.items():
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
