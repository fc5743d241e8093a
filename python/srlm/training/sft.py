"""Supervised fine-tuning with TRL's SFTTrainer: M0 and the seed data give M1 (paper, section 2.1).

The loss is on completion tokens only. Packing is off because it would mix rows.
"""

from __future__ import annotations

from itertools import compress
from typing import TYPE_CHECKING, Any

from datasets import Dataset
from trl import SFTConfig

from srlm.errors import InputError
from srlm.models import chat, fit
from srlm.training import balancing, prefix_sharing, ranking, train
from srlm.training.callbacks import Progress
from srlm.training.sft_trainer import SupervisedTrainer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerBase

    from srlm.config import SftSection
    from srlm.reporter import Reporter
    from srlm.rows.records import Example
    from srlm.training.training_job import TrainingJob, TrainingResult


def train_sft(
    examples: Sequence[Example], *, sft: SftSection, job: TrainingJob, report: Reporter, max_score: float = 5.0
) -> TrainingResult:
    """Fine-tune `job.base` on the examples and save to `job.target`.

    Judge examples whose human scores are known are also ranked (`ranking`); `max_score` is `judge.max_score`.
    With `job.pause_at` training may stop before the end; the same call then resumes it (`train.run`).

    Raises:
        InputError: a token id is not in the model's vocabulary, no example fits `sft.max_length`, or judge examples
            cannot be ranked.
    """
    tokenizer = train.load_tokenizer(job, report)
    rows: list[dict[str, Any]] = [*encode(tokenizer, examples)]  # before the weights: a template may refuse a row
    ranks = sft.ranking_weight > 0 and any(row.group is not None for row in examples)
    tokens = ranking.score_tokens(tokenizer, max_score) if ranks else None
    if tokens is not None:
        added = ranking.columns(examples, rows, tokens)
        rows = [row | more for row, more in zip(rows, added, strict=True)]
    longest = train.max_length(sft, job, report)
    fits = [len(row["input_ids"]) <= longest for row in rows]
    fitting, names = list(compress(rows, fits)), [row.id for row in compress(examples, fits)]
    if not fitting:
        raise InputError(f"sft: none of {len(rows)} examples fits sft.max_length ({longest}); raise it")
    model = train.load_trainable(sft, job)
    balances = balancing.has_balancing_loss(model)
    if ranks and balances:
        raise InputError("sft.ranking_weight: not with the load-balancing loss of a mixture of experts; set it to 0")
    chat.check_token_ids(model, [row.completion_token_ids for row in examples])
    nodes = train.max_nodes(sft, longest)
    form, _ = train.mask_forms(model, sft, nodes, report)
    trainer = SupervisedTrainer(
        model=model,
        args=SFTConfig(
            **train.arguments(sft, job, whole_steps=not balances),
            packing=False,
            completion_only_loss=True,
        ),
        train_dataset=Dataset.from_list(fitting),
        processing_class=tokenizer,
        callbacks=[Progress("sft", job.metrics, report)],
        peft_config=train.lora_config(sft.lora, sft.dropout),
        form=form,
        masked=form is None and prefix_sharing.needs_mask(model),
        max_nodes=nodes,
        score_tokens=tokens,
        ranking_weight=sft.ranking_weight,
        length_factors=ranking.length_factors(fitting) if ranks and sft.ranking_balance else None,
        micro_batch_size=sft.micro_batch_size,
    )
    return train.run(trainer, sft, job, fitting, names=names, dropped=len(rows) - len(fitting), report=report)


def encode(tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example]) -> list[dict[str, list[int]]]:
    """Return examples in TRL's tokenised form: `input_ids` [L], and `completion_mask` [L], 1 on completion tokens.

    Raises:
        InputError: the chat template refuses a row; names it.
    """
    ids, masks = fit.encode_examples(tokenizer, examples)
    return [{"input_ids": row, "completion_mask": list(map(int, mask))} for row, mask in zip(ids, masks, strict=True)]
