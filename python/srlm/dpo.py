"""Direct preference optimisation with TRL's DPOTrainer: M_t and its own pairs give M_t+1 (paper, section 2.3).

The policy starts from M_t and M_t is the reference, whose log-probabilities are computed once, before the first step
(Rafailov et al. 2023, arXiv 2305.18290, eq. 7). Answers are trained on as the engine's own token ids.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from datasets import Dataset
from trl import DPOConfig, DPOTrainer

from srlm import chat, training
from srlm.errors import StageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerBase

    from srlm.config import DpoSection
    from srlm.records import Pair
    from srlm.reporter import Reporter


class TokenDPOTrainer(DPOTrainer):
    """TRL's trainer on rows that are token ids already (`prompt_ids`, `chosen_ids`, `rejected_ids`)."""

    def _prepare_dataset(self, dataset: Dataset, *_: Any, **__: Any) -> Dataset:  # noqa: ANN401  TRL's signature
        return dataset


def train_dpo(pairs: Sequence[Pair], *, dpo: DpoSection, job: training.Job, report: Reporter) -> training.Trained:
    """Train `job.base` on the pairs and save to `job.target`.

    Raises:
        StageError: no pair fits `dpo.max_length`.
    """
    model, tokenizer = training.load_trainable(dpo, job)
    rows = encode(tokenizer, pairs)
    fitting = [row for row in rows if longest(row) <= dpo.max_length]
    if not fitting:
        raise StageError(f"dpo: none of {len(rows)} pairs fits dpo.max_length ({dpo.max_length}); raise it")
    trainer = TokenDPOTrainer(
        model=model,
        args=DPOConfig(
            **training.arguments(dpo, job),
            beta=dpo.beta,
            loss_type=dpo.loss_type,
            precompute_ref_log_probs=True,
            disable_dropout=False,  # TRL would switch the configured dropout off
        ),
        train_dataset=Dataset.from_list(fitting),
        processing_class=tokenizer,
        callbacks=[training.Progress("dpo", job.metrics, report)],
        peft_config=training.lora_config(dpo.lora, dpo.dropout),
    )
    return training.run(trainer, dpo, job, len(rows) - len(fitting))


def encode(tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Pair]) -> list[dict[str, list[int]]]:
    """Return TRL's tokenised form of pairs: ids of the prompt, the chosen and the rejected answer."""
    columns = chat.encode_pairs(
        tokenizer,
        [pair.prompt for pair in pairs],
        [pair.chosen for pair in pairs],
        [pair.rejected for pair in pairs],
        [pair.chosen_token_ids for pair in pairs],
        [pair.rejected_token_ids for pair in pairs],
    )
    names = ("prompt_ids", "chosen_ids", "rejected_ids")
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def longest(row: dict[str, list[int]]) -> int:
    """Return the length in tokens of a tokenised pair's longer side, the prompt included."""
    return len(row["prompt_ids"]) + max(len(row["chosen_ids"]), len(row["rejected_ids"]))
