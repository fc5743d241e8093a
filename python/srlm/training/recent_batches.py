"""Which rows a trainer was at: the batches of its last step, told by their tokens.

A trainer's batches hold no names. What a step read is kept until the next one, and looked up only when it is asked for.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Any

from trl import SFTTrainer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch
    from transformers import Trainer


class RecentBatches:
    """Mixed into a trainer: keeps the inputs and the losses of the last step's forward passes."""

    recent: deque[tuple[Any, torch.Tensor]]

    def training_step(self, model: Any, inputs: Any, *rest: Any, **options: Any) -> torch.Tensor:  # noqa: ANN401
        """See `transformers.Trainer.training_step`."""
        loss: torch.Tensor = super().training_step(model, inputs, *rest, **options)  # type: ignore[misc]
        if not hasattr(self, "recent"):
            self.recent = deque(maxlen=self.args.gradient_accumulation_steps)  # type: ignore[attr-defined]
        self.recent.append((inputs, loss.detach()))
        return loss


class SupervisedTrainer(RecentBatches, SFTTrainer):
    """TRL's SFTTrainer, with its recent batches."""


def recent_rows(trainer: Trainer, rows: Sequence[Mapping[str, Sequence[int]]]) -> list[int]:
    """Return the places in `rows` of what the last step read in this process: of the passes whose loss is not finite,
    or of all of them where each is finite; with several processes that may be another one's."""
    batches = list(getattr(trainer, "recent", ()))
    guilty = [inputs for inputs, loss in batches if not math.isfinite(float(loss))]
    places = {_tokens_of(row): place for place, row in enumerate(rows)}
    alone = trainer.accelerator.num_processes == 1
    found = [_read(inputs) for inputs in guilty or [inputs for inputs, _ in batches if alone]]
    return [places[tokens] for batch in found for tokens in batch if tokens in places]


def _tokens_of(row: Mapping[str, Sequence[int]]) -> tuple[int, ...]:
    """Return a row's tokens; of a pair those of the prompt with the chosen answer."""
    return tuple(row["input_ids"]) if "input_ids" in row else (*row["prompt_ids"], *row["chosen_ids"])


def _read(inputs: Mapping[str, torch.Tensor]) -> list[tuple[int, ...]]:
    """Return the tokens of a batch's rows, without their padding; of pairs, padded to [2B, L], the first half."""
    ids, mask = inputs["input_ids"], inputs["attention_mask"].bool()  # [B, L]
    pairs = "completion_mask" in inputs
    count = len(ids) // 2 if pairs else len(ids)
    return [tuple(row[kept].tolist()) for row, kept in zip(ids[:count], mask[:count], strict=True)]
