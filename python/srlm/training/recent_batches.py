"""The data rows of a trainer's last step, identified by their tokens.

A trainer's batches have no row ids. The inputs of a step are kept until the next one, and looked up only on request.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from srlm.training.whole_steps import PASS_KEY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch
    from transformers import Trainer


class RecentBatches:
    """Trainer mixin that keeps the inputs and losses of the last step's micro-batches."""

    recent: list[tuple[Any, torch.Tensor]]

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """See `transformers.Trainer`: called once per step, with fewer micro-batches in the last one of an epoch."""
        self.recent = []
        return super().get_batch_samples(*args, **kwargs)  # type: ignore[misc]

    def training_step(self, model: Any, inputs: Any, *rest: Any, **options: Any) -> torch.Tensor:  # noqa: ANN401
        """See `transformers.Trainer.training_step`."""
        loss: torch.Tensor = super().training_step(model, inputs, *rest, **options)  # type: ignore[misc]
        self.recent.append((inputs, loss.detach()))
        return loss


def recent_rows(trainer: Trainer, rows: Sequence[Mapping[str, Sequence[int]]]) -> list[int]:
    """Return the indices in `rows` of the micro-batches of the last step in this process whose loss is not finite.

    If all are finite, return those of all micro-batches; with several processes none, because the rows may be another
    process's.
    """
    batches = list(getattr(trainer, "recent", ()))
    not_finite = [inputs for inputs, loss in batches if not math.isfinite(float(loss))]
    indices = {_row_tokens(row): index for index, row in enumerate(rows)}
    alone = trainer.accelerator.num_processes == 1
    found = [_batch_tokens(inputs) for inputs in not_finite or [inputs for inputs, _ in batches if alone]]
    return [indices[tokens] for batch in found for tokens in batch if tokens in indices]


def _row_tokens(row: Mapping[str, Sequence[int]]) -> tuple[int, ...]:
    """Return a row's tokens; for a pair those of the prompt and the chosen answer."""
    return tuple(row["input_ids"]) if "input_ids" in row else (*row["prompt_ids"], *row["chosen_ids"])


def _batch_tokens(inputs: Mapping[str, Any]) -> list[tuple[int, ...]]:
    """Return the tokens of a batch's rows without padding; for pairs, which are [2B, L], of the chosen half."""
    if PASS_KEY in inputs:
        return [_row_tokens(row) for row in inputs[PASS_KEY].broken or inputs[PASS_KEY].examples]
    ids, mask = inputs["input_ids"], inputs["attention_mask"].bool()  # [B, L]
    pairs = "completion_mask" in inputs
    count = len(ids) // 2 if pairs else len(ids)
    return [tuple(row[real].tolist()) for row, real in zip(ids[:count], mask[:count], strict=True)]
