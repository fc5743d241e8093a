"""TRL's DPOTrainer with the fused preference loss: completion rows only, no logits, gradients in one pass.

The only differences from TRL's trainer: a loss is normalised over the whole optimizer step (`whole_steps`), so that it
does not depend on the micro-batch size; rows that begin alike, as both answers to a prompt do, share their beginnings
(`passes`); only rows that predict completion tokens are projected; the gradients of the output head are computed in the
forward pass (`srlm.kernels.preference_loss`); statistics are float32 throughout; the reference log-probabilities come
from the same kernels and are cached in a file. TRL's own implementation runs for
losses that are not a function of one pair's log-probabilities (`aot`, ...) or not in `srlm.losses`, and for mixtures of
experts with a load-balancing loss. Of these, `aot` and `aot_unpaired` sort the pairs of a micro-batch, and the
load-balancing loss is a function of a micro-batch's routing, so they depend on its size by definition.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
from trl import DPOTrainer

from srlm import losses
from srlm.config import OWN_LOSSES
from srlm.errors import StageError
from srlm.reporter import SilentReporter
from srlm.training import pair_targets
from srlm.training.balancing import has_balancing_loss
from srlm.training.fused_head import add_fused_head
from srlm.training.head_requests import PreferenceRequest
from srlm.training.passes import PassPlanner
from srlm.training.preference_layout import build_layout, pair_rows
from srlm.training.recent_batches import RecentBatches
from srlm.training.reference_reading import ReferenceReading, without_reference_copy
from srlm.training.step_order import StepOrder
from srlm.training.step_totals import STEP_KEY, NormalizedSteps
from srlm.training.whole_steps import WholeSteps, collate, use_whole_steps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from datasets import Dataset
    from torch.utils.data import Sampler
    from transformers import PreTrainedModel
    from trl import DPOConfig

    from srlm.kernels.preference_loss import PairLogps, PreferenceMetrics
    from srlm.reporter import Reporter
    from srlm.training.passes import Example, Pass
    from srlm.training.prefix_masks import MaskForm
    from srlm.training.sampled_logps import Logps
    from srlm.training.step_totals import StepTotals

    LossFn = Callable[[PairLogps], torch.Tensor]


class PreferenceTrainer(ReferenceReading, WholeSteps, RecentBatches, NormalizedSteps, DPOTrainer):
    """A DPOTrainer on rows of token ids (`prompt_ids`, `chosen_ids`, `rejected_ids`), which are not truncated.

    Rows may also have `weight`, `confidence`, `chosen_score` and `rejected_score` (see `pair_targets`).

    Takes TRL's keyword arguments. `model` must be a loaded model, `args` must have `precompute_ref_log_probs` and no
    `max_length`, and `data_collator` must not be given. Additional arguments:
        simpo_gamma, dpop_lambda: settings of the losses `simpo` and `dpop`, which TRL's configuration lacks.
        reference_file: cache file of the reference log-probabilities, or None.
        reference_key: returns the key of the cache (`reference_logps.key_of`); called in the main process only.
        known_reference: per pair, log-probabilities of its two answers that an engine in float32 has computed under
            the reference, or None; used if the trainer computes in float32 too, and its own of a few pairs agree.
        report: gets the progress of the reference computation.
        micro_batch_size: pairs of a padded forward pass; by default TRL's `per_device_train_batch_size`.
        form: how the model takes the mask of a trie (`prefix_sharing.find_form`); None: rows are padded, not shared.
        masked: whether padding is masked (`prefix_sharing.needs_mask`).
        reference_form: the same for the reference, which has no dropout; by default `form`.
        max_nodes: computed tokens of a forward pass with shared rows; by default those of the longest pairs.

    Raises:
        ValueError: an argument has an unsupported value.
        StageError: TRL lacks the loss and the model needs TRL's own implementation, or the model computes its logits
            in an unsupported way.
    """

    METRIC_COUNTS: ClassVar[dict[str, str]] = {
        "mean_token_accuracy": "chosen_tokens",
        "logits/chosen": "chosen_tokens",
        "logits/rejected": "rejected_tokens",
        "entropy": "tokens",
    }
    DEFAULT_COUNT: ClassVar[str] = "pairs"
    loss_weights: list[float]  # TRL's, as the next
    router_aux_loss_coef: float
    _signature_columns: list[str] | None  # transformers'

    def __init__(
        self,
        *,
        simpo_gamma: float = 0.5,
        dpop_lambda: float = 50.0,
        reference_file: Path | None = None,
        reference_key: Callable[[], str] = str,
        known_reference: Sequence[Logps | None] = (),
        report: Reporter | None = None,
        micro_batch_size: int | None = None,
        form: MaskForm | None = None,
        masked: bool = True,
        reference_form: MaskForm | None = None,
        max_nodes: int | None = None,
        **kwargs: Any,  # noqa: ANN401  TRL's
    ) -> None:
        """See the class."""
        check_arguments(kwargs)
        config = kwargs["args"]
        models_given = [kwargs["model"], kwargs.get("ref_model")]
        model, ref_model = (each.get_base_model() if hasattr(each, "peft_config") else each for each in models_given)
        self._reference_file, self._reference_key = reference_file, reference_key
        self._known_reference = known_reference
        self._report = report or SilentReporter()
        self._loss_fn = fused_loss(config, model, simpo_gamma, dpop_lambda)
        if self._loss_fn is not None:
            add_fused_head(model)
            if ref_model is not None:
                add_fused_head(ref_model)
            needs_prefix = any(name not in losses.MARGIN_ONLY for name in config.loss_type)
            self._drop_shared = not needs_prefix and not is_stochastic(model, config, kwargs.get("peft_config"))
            self._reference_form = reference_form or form
            self.planner = replace(self._planner(kwargs, micro_batch_size, form, max_nodes), masked=masked)
            kwargs["data_collator"] = collate
        elif own := sorted(OWN_LOSSES & set(config.loss_type)):
            raise StageError(
                f"dpo: TRL trains this mixture of experts and does not support the loss {own[0]}; use another "
                "dpo.loss_type"
            )
        with without_reference_copy():
            super().__init__(**kwargs)

    @staticmethod
    def _planner(
        kwargs: dict[str, Any], micro_batch_size: int | None, form: MaskForm | None, max_nodes: int | None
    ) -> PassPlanner:
        tokenizer, rows = kwargs["processing_class"], use_whole_steps(kwargs["args"], micro_batch_size)
        if max_nodes is None:
            lengths = (sum(map(len, pair_rows(example))) for example in kwargs["train_dataset"])
            max_nodes = rows * max(lengths, default=1)
        return PassPlanner(
            rows_of=pair_rows,
            max_examples=rows,
            pad_token_id=tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id,
            form=form,
            max_nodes=max_nodes,
        )

    @property
    def is_fused(self) -> bool:
        """Whether the fused kernels compute the loss."""
        return self._loss_fn is not None

    def _prepare_dataset(self, dataset: Dataset, *_: Any, **__: Any) -> Dataset:  # noqa: ANN401  TRL's signature
        return dataset

    def _set_signature_columns_if_needed(self) -> None:
        if self._signature_columns is None:
            super()._set_signature_columns_if_needed()
            self._signature_columns = [*(self._signature_columns or ()), *pair_targets.COLUMNS]

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int] | None:  # noqa: ANN401  TRL's signature
        if self.planner is None:
            sampler: Sampler[int] | None = super()._get_train_sampler(train_dataset)
            return sampler
        rows = [pair_rows(example)[0] for example in self.train_dataset]
        batch_size = self.args.train_batch_size * self.accelerator.num_processes
        return StepOrder(rows, batch_size, self.args.seed, lambda: int(self.state.epoch or 0))

    def count_examples(self, examples: Sequence[Example]) -> dict[str, float]:
        """See `WholeSteps`."""
        # No position predicts the first token of a row.
        tokens = sum(len(row["chosen_ids"]) - (not row["prompt_ids"]) for row in examples)
        return {"pairs": float(len(examples)), "chosen_tokens": float(tokens)}

    def pass_loss(self, model: Any, one: Pass, totals: StepTotals) -> tuple[torch.Tensor, torch.Tensor]:  # noqa: ANN401
        """See `WholeSteps`: the pass's share of the mean over the pairs of the step."""
        device = self.args.device
        weights, confidences, scores = pair_targets.tensors(one.examples, device)
        refs = [[row["ref_chosen_logps"], row["ref_rejected_logps"]] for row in one.examples]
        ref_logps = torch.tensor(refs, device=device).view(-1, 2)  # [B, 2]
        layout = build_layout(one.layout, one.examples, drop_shared_prefix=self._drop_shared)
        pairs = totals.counts["pairs"]
        request = PreferenceRequest(
            layout,
            cast("LossFn", self._loss_fn),
            ref_logps,
            weights=weights * float(len(weights) * totals.processes / pairs),
            confidences=confidences,
            scores=scores,
            mean_chosen_length=totals.counts["chosen_tokens"] / pairs,
        )
        outputs = model(**one.layout.model_inputs(device), head_request=request)
        tokens = sum(len(row) for example in one.examples for row in pair_rows(example))
        lengths = float(layout.lengths[:, 0].sum())
        return outputs["loss"], self._metric_sums(outputs["metrics"].metrics, ref_logps, lengths, float(tokens))

    def _metric_sums(
        self, metrics: PreferenceMetrics, refs: torch.Tensor, chosen_tokens: float, tokens: float
    ) -> torch.Tensor:
        """Return the sums over the pairs of the values that `store_metrics` takes."""
        rewards = self.beta * (torch.stack([metrics.chosen_logps, metrics.rejected_logps], 1) - refs.to(metrics.losses))
        pair_metrics = torch.stack(
            [
                rewards[:, 0],
                rewards[:, 1],
                rewards[:, 0] - rewards[:, 1],
                (rewards[:, 0] > rewards[:, 1]).to(rewards),
                metrics.chosen_logps,
                metrics.rejected_logps,
                metrics.chosen_top1.to(rewards),
            ]
        )  # [7, B]
        sums = pair_metrics.double().sum(1)
        return torch.cat([sums, sums.new_tensor([chosen_tokens, tokens, pair_metrics.shape[1]])])

    def store_metrics(self, sums: list[float]) -> None:
        """See `WholeSteps`; under TRL's names."""
        mode = "train" if self.model.training else "eval"
        *pair_sums, hits, chosen_tokens, tokens, count = sums
        names = ("rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies", "logps/chosen")
        for name, value in zip((*names, "logps/rejected"), pair_sums, strict=True):
            self._metrics[mode][name].append(value / max(count, 1))
        self._metrics[mode]["mean_token_accuracy"].append(hits / max(chosen_tokens, 1))
        if mode == "train":
            self._total_train_tokens += int(tokens) // self._tp_size
        self._metrics[mode]["num_tokens"] = [self._total_train_tokens]

    def count_batch(self, inputs: dict[str, Any]) -> dict[str, torch.Tensor]:
        """Return the number of pairs, and of predicted tokens of their answers."""
        mask = inputs["completion_mask"][:, 1:]  # [2B, L - 1], chosen answers first; nothing predicts the first token
        pairs = len(mask) // 2
        chosen, rejected = (side.sum() for side in mask.split(pairs))
        tokens = {"chosen_tokens": chosen, "rejected_tokens": rejected, "tokens": chosen + rejected}
        return {"pairs": mask.new_tensor(pairs), **tokens}

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:  # noqa: ANN401
        if self.planner is not None:
            return self.whole_loss(self.planner, model, inputs)
        totals = inputs.get(STEP_KEY)
        known = {name: value for name, value in inputs.items() if name != STEP_KEY}
        with contextlib.nullcontext() if totals is None else self._weighted_terms(inputs, totals):
            return super()._compute_loss(model, known, return_outputs)

    @contextlib.contextmanager
    def _weighted_terms(self, inputs: dict[str, Any], totals: StepTotals) -> Iterator[None]:
        """Weight TRL's terms, means over a micro-batch, by its share of the step: of its tokens (`sft`) or pairs."""
        counts = self.count_batch(inputs)
        pairs, tokens = (
            float(counts[name] * totals.processes / totals.counts[name]) for name in ("pairs", "chosen_tokens")
        )
        before = self.loss_weights, self.router_aux_loss_coef
        self.loss_weights = [
            weight * (tokens if name == "sft" else pairs)
            for name, weight in zip(self.loss_types, self.loss_weights, strict=True)
        ]
        self.router_aux_loss_coef *= pairs
        try:
            yield
        finally:
            self.loss_weights, self.router_aux_loss_coef = before


def fused_loss(config: DPOConfig, model: PreTrainedModel, simpo_gamma: float, dpop_lambda: float) -> LossFn | None:
    """Return the loss as a function of pairs, or None if TRL's own implementation is needed."""
    plain = config.f_divergence_type == "reverse_kl" and config.ld_alpha is None and not config.use_weighting
    names = list(config.loss_type)
    if not plain or not can_fuse(names, model, config.router_aux_loss_coef):
        return None
    settings = losses.LossSettings(config.beta, config.label_smoothing, simpo_gamma, dpop_lambda)
    return losses.combine(names, config.loss_weights or [1.0] * len(names), settings)


def can_fuse(names: Sequence[str], model: PreTrainedModel, coefficient: float | None = None) -> bool:
    """Whether the fused kernels compute these losses for the model; `coefficient` as in `has_balancing_loss`."""
    return set(names) <= losses.FUSED.keys() and not has_balancing_loss(model, coefficient)


def is_stochastic(model: PreTrainedModel, config: DPOConfig, peft_config: Any) -> bool:  # noqa: ANN401
    """Whether two training forward passes over the same tokens may differ; True when in doubt.

    `disable_dropout` disables dropout modules, but not functional dropout that reads its rate from the configuration,
    as in attention.
    """
    settings: dict[str, Any] = {}
    for section in (model.config, model.config.get_text_config(), peft_config):
        settings |= {} if section is None else section.to_dict()
    noisy = any(
        isinstance(value, (int, float)) and value > 0
        for name, value in settings.items()
        if any(part in name for part in ("drop", "jitter"))
    )
    modules = any(isinstance(module, torch.nn.Dropout) and module.p > 0 for module in model.modules())
    return noisy or bool(config.neftune_noise_alpha) or (modules and not config.disable_dropout)


def check_arguments(given: dict[str, Any]) -> None:
    """Check for arguments that TRL's trainer supports and this one would ignore.

    Raises:
        ValueError: an argument has an unsupported value.
    """
    config = given["args"]
    if isinstance(given["model"], str):
        raise ValueError("model must be a loaded model, not a name")
    if not config.precompute_ref_log_probs:
        raise ValueError("args.precompute_ref_log_probs must be true: the loss needs the reference log-probabilities")
    if config.max_length is not None:
        raise ValueError("args.max_length must be None: rows are not truncated; drop longer rows from the dataset")
    if given.get("data_collator") is not None:
        raise ValueError("data_collator must be None: the trainer uses its own")
