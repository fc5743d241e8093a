"""TRL's SFTTrainer with optimizer steps of mixed rows, and a loss that is the mean over a step's completion tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from trl import SFTTrainer

from srlm.training.recent_batches import RecentBatches
from srlm.training.step_order import StepOrder
from srlm.training.step_totals import STEP_KEY, NormalizedSteps

if TYPE_CHECKING:
    import torch
    from torch.utils.data import Sampler

IGNORED = -100  # the label of a position without a loss


class SupervisedTrainer(RecentBatches, NormalizedSteps, SFTTrainer):
    """An SFTTrainer on rows of `input_ids` and `completion_mask`. Takes TRL's keyword arguments."""

    DEFAULT_COUNT: ClassVar[str] = "tokens"

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:  # noqa: ANN401  TRL's signature
        dataset = self.train_dataset if train_dataset is None else train_dataset
        args = self.args
        batch_size = args.train_batch_size * args.gradient_accumulation_steps * self.accelerator.num_processes
        lengths = [len(ids) for ids in dataset["input_ids"]]
        return StepOrder(lengths, batch_size, args.seed, lambda: int(self.state.epoch or 0))

    def count_batch(self, inputs: dict[str, Any]) -> dict[str, torch.Tensor]:
        """Return the number of tokens with a loss; no position predicts the first token of a row."""
        return {"tokens": (inputs["labels"][:, 1:] != IGNORED).sum()}

    def exclude_rows(self, inputs: dict[str, Any], real: int) -> None:
        """See `NormalizedSteps`."""
        inputs["labels"][real:] = IGNORED

    def compute_loss(
        self,
        model: Any,  # noqa: ANN401
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:  # noqa: ANN401
        """Return the sum over the micro-batch's tokens divided by the number of tokens of the step."""
        totals = inputs.pop(STEP_KEY, None)
        if totals is not None:
            # Also for a model whose forward pass takes no `num_items_in_batch`: transformers would not count then.
            num_items_in_batch = totals.counts["tokens"].long()
        return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
