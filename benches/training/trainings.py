"""The same training by srlm's public functions and by TRL's trainers, with the same arguments and the same rows."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset
from safetensors.torch import load_file, save_file
from srlm import config
from srlm.models import fit
from srlm.training import train
from srlm.training.callbacks import Progress
from srlm.training.dpo import train_dpo
from srlm.training.sft import train_sft
from srlm.training.training_job import TrainingJob
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from srlm.reporter import Reporter
    from srlm.rows.records import Example, Pair

    from training.cases import Case, Line

REFERENCE_FILE = "reference.safetensors"  # in a training's folder; srlm writes it too


@dataclass(slots=True)
class Outcome:
    """What a training computed."""

    losses: list[float]  # of each step
    norms: list[float]  # gradient norms of each step, before clipping
    reference: list[float]  # log-probabilities under the reference: of all chosen, then of all rejected answers
    peak: int | None = None  # bytes of the process's resident memory during steps, or during the reference pass


def run_training(case: Case, line: Line, model: str, folder: Path, report: Reporter, *, steps: int) -> None:
    """Train on the case's rows for a number of steps; writes metrics and reference log-probabilities to `folder`."""
    settings: dict[str, Any] = {
        "batch_size": len(case.rows),
        "micro_batch_size": line.micro_batch_size,
        "max_steps": steps,
        "dropout": 0.0,  # so that losses are comparable
        "save_steps": None,
    }
    job = TrainingJob(
        base=model,
        target=folder / "model",
        metrics=folder / "metrics.jsonl",
        model=config.ModelSection(name=model),
        seed=0,
        processes=1,
        card={"model": case.name},
    )
    if case.stage == "sft":
        run_sft = train_sft if line.trainer == "srlm" else train_sft_with_trl
        run_sft(case.rows, sft=config.SftSection(**settings), job=job, report=report)  # type: ignore[arg-type]
    else:
        run_dpo = train_dpo if line.trainer == "srlm" else train_dpo_with_trl
        run_dpo(case.rows, dpo=config.DpoSection(**settings), job=job, report=report)  # type: ignore[arg-type]


def read_outcome(folder: Path) -> Outcome:
    """Read what a training has written to its folder."""
    metrics, reference = folder / "metrics.jsonl", folder / REFERENCE_FILE
    rows = [json.loads(line) for line in metrics.read_text().splitlines()] if metrics.exists() else []
    steps = [row for row in rows if "loss" in row]
    logps = load_file(reference) if reference.exists() else None
    return Outcome(
        losses=[float(row["loss"]) for row in steps],
        norms=[float(row["grad_norm"]) for row in steps],
        reference=[] if logps is None else [*logps["chosen"].tolist(), *logps["rejected"].tolist()],
    )


def train_sft_with_trl(
    examples: Sequence[Example], *, sft: config.SftSection, job: TrainingJob, report: Reporter
) -> None:
    """Train with TRL's SFTTrainer: no packing, its own padding, the loss on completions."""
    tokenizer = train.load_tokenizer(job, report)
    ids, masks = fit.encode_examples(tokenizer, examples)
    rows = [{"input_ids": row, "completion_mask": list(map(int, mask))} for row, mask in zip(ids, masks, strict=True)]
    trainer = SFTTrainer(
        model=train.load_trainable(sft, job),
        args=SFTConfig(**train.arguments(sft, job, whole_steps=False), packing=False, completion_only_loss=True),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        callbacks=[Progress("sft", job.metrics, report)],
    )
    trainer.train()


def train_dpo_with_trl(pairs: Sequence[Pair], *, dpo: config.DpoSection, job: TrainingJob, report: Reporter) -> None:
    """Train with TRL's DPOTrainer: its own padding, reference log-probabilities computed before the first step."""
    tokenizer = train.load_tokenizer(job, report)
    columns = fit.encode_pairs(tokenizer, pairs)
    names = ("prompt_ids", "chosen_ids", "rejected_ids")
    rows = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]

    class TokenTrainer(DPOTrainer):
        """Takes rows of token ids as they are, and reports the reference pass."""

        def _prepare_dataset(self, dataset: Dataset, *_: Any, **__: Any) -> Dataset:
            return dataset

        def _precompute_ref_logps(self, *args: Any, **kwargs: Any) -> Dataset:
            report.start("reference", 1)
            found = super()._precompute_ref_logps(*args, **kwargs)
            report.advance()
            logps = {name: torch.tensor(found[f"ref_{name}_logps"]) for name in ("chosen", "rejected")}
            save_file(logps, job.metrics.with_name(REFERENCE_FILE))
            return found

    trainer = TokenTrainer(
        model=train.load_trainable(dpo, job),
        args=DPOConfig(**train.arguments(dpo, job, whole_steps=False), beta=dpo.beta, precompute_ref_log_probs=True),
        # Named after its folder, because TRL would read the log-probabilities of an equal one from its cache.
        train_dataset=Dataset(Dataset.from_list(rows).data, fingerprint=job.metrics.parent.name),
        processing_class=tokenizer,
        callbacks=[Progress("dpo", job.metrics, report)],
    )
    trainer.train()
