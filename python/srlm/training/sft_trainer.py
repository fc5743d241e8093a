"""TRL's SFTTrainer with optimizer steps of mixed rows, and a loss that is the mean over a step's completion tokens.

Only rows that predict completion tokens are projected, and the gradients of the output head are computed in the forward
pass (`srlm.kernels.cross_entropy`). Rows that begin alike share their beginnings (`passes`). TRL's own implementation
runs for mixtures of experts with a load-balancing loss.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from trl import SFTTrainer

from srlm.training import ranking
from srlm.training.balancing import has_balancing_loss
from srlm.training.fused_head import add_fused_head
from srlm.training.head_requests import RankingPart, TokenLossRequest
from srlm.training.passes import PassPlanner
from srlm.training.recent_batches import RecentBatches
from srlm.training.step_order import StepOrder
from srlm.training.step_totals import STEP_KEY, NormalizedSteps
from srlm.training.token_targets import targets_of
from srlm.training.whole_steps import WholeSteps, collate, use_whole_steps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from datasets import Dataset
    from torch.utils.data import Sampler

    from srlm.training.passes import Example, Pass
    from srlm.training.prefix_masks import MaskForm
    from srlm.training.ranking import LengthFactors, ScoreTokens
    from srlm.training.step_totals import StepTotals

IGNORED = -100  # the label of a position without a loss


class SupervisedTrainer(WholeSteps, RecentBatches, NormalizedSteps, SFTTrainer):
    """An SFTTrainer on rows of `input_ids` and `completion_mask`.

    Takes TRL's keyword arguments. Additional ones:
        micro_batch_size: rows of a padded forward pass; by default TRL's `per_device_train_batch_size`.
        form: how the model takes the mask of a trie (`prefix_sharing.find_form`); None: rows are padded, not shared.
        masked: whether padding is masked (`prefix_sharing.needs_mask`).
        max_nodes: computed tokens of a forward pass with shared rows; by default those of the longest rows.
        score_tokens: adds the ranking loss of judge examples, whose rows have the columns `ranking.COLUMNS`.
        ranking_weight: its weight, beside the mean loss of the step's completion tokens.
        length_factors: factors of its pairs by their lengths (`ranking.length_factors`); None: 1.
    """

    DEFAULT_COUNT: ClassVar[str] = "tokens"

    def __init__(
        self,
        *,
        micro_batch_size: int | None = None,
        form: MaskForm | None = None,
        masked: bool = True,
        max_nodes: int | None = None,
        score_tokens: ScoreTokens | None = None,
        ranking_weight: float = 1.0,
        length_factors: LengthFactors | None = None,
        **kwargs: Any,  # noqa: ANN401  TRL's
    ) -> None:
        """See the class."""
        model, args = kwargs["model"], kwargs["args"]
        self._score_tokens, self._ranking_weight = score_tokens, ranking_weight
        self._length_factors = length_factors or ranking.LengthFactors()
        base = model.get_base_model() if hasattr(model, "peft_config") else model
        if not has_balancing_loss(base, args.router_aux_loss_coef):
            add_fused_head(base)
            rows, lengths = use_whole_steps(args, micro_batch_size), map(len, kwargs["train_dataset"]["input_ids"])
            self.planner = PassPlanner(
                rows_of=lambda example: [example["input_ids"]],
                max_examples=rows,
                pad_token_id=kwargs["processing_class"].pad_token_id or 0,
                form=form,
                masked=masked,
                max_nodes=rows * max(lengths, default=1) if max_nodes is None else max_nodes,
                group_of=None if score_tokens is None else ranking.group_of,
            )
            kwargs["data_collator"] = collate
        super().__init__(**kwargs)

    def _prepare_dataset(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:  # noqa: ANN401
        return dataset if self.planner is not None else super()._prepare_dataset(dataset, *args, **kwargs)

    def _set_signature_columns_if_needed(self) -> None:
        if self.planner is None:
            super()._set_signature_columns_if_needed()
        else:
            self._signature_columns = ["input_ids", "completion_mask", *ranking.COLUMNS]

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:  # noqa: ANN401  TRL's signature
        dataset = self.train_dataset if train_dataset is None else train_dataset
        args = self.args
        batch_size = args.train_batch_size * args.gradient_accumulation_steps * self.accelerator.num_processes
        padded = self.planner is None or self.planner.form is None
        return StepOrder(
            dataset["input_ids"],
            batch_size,
            args.seed,
            lambda: int(self.state.epoch or 0),
            by_length=padded,
            groups=None if self._score_tokens is None else dataset[ranking.GROUP],
        )

    def count_examples(self, examples: Sequence[Example]) -> dict[str, float]:
        """See `WholeSteps`."""
        tokens = float(sum(sum(row["completion_mask"][1:]) for row in examples))
        return {"tokens": tokens, "ranked": float(len(ranking.pairs_of(examples)))}

    def pass_loss(self, model: Any, one: Pass, totals: StepTotals) -> tuple[torch.Tensor, torch.Tensor]:  # noqa: ANN401
        """See `WholeSteps`: the sum over the pass's tokens divided by the number of tokens of the step."""
        rows = [row["input_ids"] for row in one.examples]
        masks = [np.asarray(row["completion_mask"], bool) for row in one.examples]
        targets = targets_of(one.layout, rows, masks, merge=True).to(self.args.device)
        scale = totals.processes / totals.counts["tokens"].clamp(min=1)
        part = self._ranking_part(one, totals)
        request = TokenLossRequest(targets, scale, part)
        outputs = model(**one.layout.model_inputs(self.args.device), head_request=request)
        metrics = outputs["metrics"].metrics
        counts = targets.counts.to(metrics.entropy.device)
        tokens = counts.new_tensor(sum(map(len, rows)))
        zero = counts.new_zeros(())
        ranked = (zero, zero) if part is None else outputs["ranking"].metrics
        pairs = zero if part is None else counts.new_tensor(len(part.ranked.better))
        sums = [(metrics.entropy * counts).sum(), (metrics.top1 * counts).sum(), counts.sum(), tokens, *ranked, pairs]
        return outputs["loss"], torch.stack([value.to(counts.device).double() for value in sums])

    def _ranking_part(self, one: Pass, totals: StepTotals) -> RankingPart | None:
        ranked = None if self._score_tokens is None else ranking.ranked_in(one, self._length_factors)
        if ranked is None or self._score_tokens is None:
            return None
        scale = self._ranking_weight * totals.processes / totals.counts["ranked"].clamp(min=1)
        return RankingPart(ranked, self._score_tokens, scale)

    def store_metrics(self, sums: list[float]) -> None:
        """See `WholeSteps`; under TRL's names."""
        mode = "train" if self.model.training else "eval"
        entropy, hits, count, tokens, ranking_loss, in_order, pairs = sums
        self._metrics[mode]["entropy"].append(entropy / max(count, 1))
        self._metrics[mode]["mean_token_accuracy"].append(hits / max(count, 1))
        if pairs:
            self._metrics[mode]["ranking_loss"].append(ranking_loss / pairs)
            self._metrics[mode]["ranking_accuracy"].append(in_order / pairs)
        if mode == "train":
            self._total_train_tokens += int(tokens) // self._tp_size
        self._metrics[mode]["num_tokens"] = [self._total_train_tokens]

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
        if self.planner is not None:
            return self.whole_loss(self.planner, model, inputs)
        totals = inputs.pop(STEP_KEY, None)
        if totals is not None:
            # Also for a model whose forward pass takes no `num_items_in_batch`: transformers would not count then.
            num_items_in_batch = totals.counts["tokens"].long()
        return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
