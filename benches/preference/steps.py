"""Whole optimizer steps of a real model: srlm's trainer against TRL's."""

from __future__ import annotations

import functools
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import torch

from preference.measuring import MB, peak_bytes, synchronize
from preference.tables import device_name, version
from preference.task import BETA, sample_lengths

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from trl import DPOTrainer


@dataclass(slots=True)
class StepLine:
    """One trainer's line in the table of steps."""

    name: str
    trainer: DPOTrainer
    batches: list[dict[str, Any]]  # the same rows for both, from the trainer's own collator
    seconds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    peak: int | None = None  # bytes of a step above model and optimizer state, including gradients


def bench_step(options: argparse.Namespace) -> Iterator[str]:
    """Yield a table of whole optimizer steps of both trainers, on the same rows, one step of each in turn.

    Both start from the same weights and take the same steps, so their losses must agree; the maximum difference is in
    the table.
    """
    loaders = {"TRL DPOTrainer": trl_trainer, "srlm PreferenceTrainer": our_trainer}
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for name, load in loaders.items():
            try:
                trainer = make_trainer(load(), options, folder)
            except ImportError as error:
                yield f"{name}: missing ({error})"
                continue
            lines.append(StepLine(name, trainer, collate(trainer, options.pairs)))
        for number in range(options.rounds + 1):
            for line in lines:
                seconds, loss = optimizer_step(line, number, options.device)
                line.seconds.append(seconds)
                line.losses.append(loss)
        for line in lines:
            line.peak = peak_bytes(functools.partial(optimizer_step, line, 1, options.device), options.device)
    yield from step_table(options, lines)


def trl_trainer() -> type:
    """Return TRL's trainer with tokenisation disabled, so that it takes rows of token ids."""
    from trl import DPOTrainer

    return type("TokenDPOTrainer", (DPOTrainer,), {"_prepare_dataset": lambda _, dataset, *__, **___: dataset})


def our_trainer() -> type:
    """Return srlm's trainer."""
    from srlm.training.dpo_trainer import PreferenceTrainer

    return PreferenceTrainer


def make_trainer(trainer_class: type, options: argparse.Namespace, folder: str) -> DPOTrainer:
    """Load a fresh model and return a trainer that is ready to step."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig

    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=options.dtype)
    config = DPOConfig(
        output_dir=folder,
        per_device_train_batch_size=options.pairs,
        beta=BETA,
        precompute_ref_log_probs=True,
        max_length=None,
        learning_rate=1e-6,
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=options.device == "cpu",
        report_to=[],
        disable_tqdm=True,
    )
    trainer = trainer_class(
        model=model,
        args=config,
        train_dataset=Dataset.from_list(step_rows(model.config.get_text_config().vocab_size, options)),
        processing_class=AutoTokenizer.from_pretrained(options.model),
    )
    trainer.create_optimizer()
    trainer.current_gradient_accumulation_steps = 1  # as set by `train`
    return trainer


def step_rows(vocabulary: int, options: argparse.Namespace) -> list[dict[str, list[int]]]:
    """Sample pairs of random tokens with the lengths of the loss benchmark: a warm-up batch and one batch per round."""
    ratio, generator = options.ratios[0], torch.Generator().manual_seed(4)
    pairs = options.pairs * (options.rounds + 1)
    lengths = sample_lengths(100 * options.median * pairs, options.median)[: 2 * pairs]

    def tokens(length: float) -> list[int]:
        return torch.randint(vocabulary, (max(1, round(length)),), generator=generator).tolist()

    return [
        {"prompt_ids": tokens(ratio * (a + b) / 2), "chosen_ids": tokens(a), "rejected_ids": tokens(b)}
        for a, b in zip(lengths[::2], lengths[1::2], strict=True)
    ]


def collate(trainer: DPOTrainer, pairs: int) -> list[dict[str, Any]]:
    """Return the trainer's rows as batches in order, including the reference log-probabilities."""
    rows = list(trainer.train_dataset)
    return [trainer.data_collator(rows[start : start + pairs]) for start in range(0, len(rows), pairs)]


def optimizer_step(line: StepLine, number: int, device: str) -> tuple[float, float]:
    """Run one step on a batch, and return its seconds and loss."""
    trainer = line.trainer
    synchronize(device)
    start = time.perf_counter()
    loss = trainer.training_step(trainer.model, dict(line.batches[number]))
    trainer.optimizer.step()
    trainer.optimizer.zero_grad()
    synchronize(device)
    return time.perf_counter() - start, float(loss)


def step_table(options: argparse.Namespace, lines: list[StepLine]) -> Iterator[str]:
    """Yield the table of steps; the first step is a warm-up, of which only the loss is used."""
    rows = list(lines[0].trainer.train_dataset)[options.pairs :]
    dtype = str(options.dtype).removeprefix("torch.")
    answers = sum(len(row["chosen_ids"]) + len(row["rejected_ids"]) for row in rows) / options.rounds
    yield f"{datetime.now(UTC):%Y-%m-%d}, {device_name(options.device)}, {torch.get_num_threads()} CPU threads,"
    yield f"{dtype}, {options.model}; {options.rounds} rounds of {options.pairs} pairs, {answers:.0f} answer"
    yield f"tokens per step, prompt:answer {options.ratios[0]:g}; torch {version('torch')}, trl {version('trl')}."
    yield ""
    yield "| trainer | s/step | ms/answer token | positions/step | peak MB | max loss difference |"
    yield "|---|---:|---:|---:|---:|---:|"
    for line in lines:
        median = statistics.median(line.seconds[1:])
        positions = sum(batch["input_ids"].numel() for batch in line.batches[1:]) / options.rounds
        peak = "-" if line.peak is None else f"{line.peak / MB:,.0f}"
        difference = max(abs(one - other) for one, other in zip(lines[0].losses, line.losses, strict=True))
        cells = f"{median:.3g} | {median / answers * 1e3:.3g} | {positions:.0f} | {peak} | {difference:.1e}"
        yield f"| {line.name} | {cells} |"
