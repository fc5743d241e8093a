"""TRL's DPOTrainer with the fused preference loss: answers' rows only, no logits, gradients in one pass.

What differs from TRL's own, and nothing else: only rows that predict an answer's tokens are projected; the gradients of
the output head are finished in the forward pass (`srlm.kernels.preference_loss`); statistics are float32 throughout;
the reference's log-probabilities come from the same kernels and are kept in a file. Losses that are no function of one
pair's log-probabilities (`aot`, ...), or that are not in `srlm.losses`, and mixtures of experts with a balancing loss,
run as TRL runs them.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import broadcast_object_list
from torch.utils.data import DataLoader
from trl import DPOTrainer
from trl.models.utils import disable_gradient_checkpointing, prepare_deepspeed
from trl.trainer.utils import use_adapter

from srlm import losses
from srlm.errors import StageError
from srlm.reporter import SilentReporter
from srlm.training import reference_logps
from srlm.training.fused_head import PreferenceRequest, add_preference_head
from srlm.training.preference_layout import KEY, PreferenceCollator
from srlm.training.recent_batches import RecentBatches

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from datasets import Dataset
    from transformers import PreTrainedModel
    from trl import DPOConfig

    from srlm.kernels.preference_loss import PairLogps, PreferenceMetrics
    from srlm.reporter import Reporter

    LossFn = Callable[[PairLogps], torch.Tensor]


class PreferenceTrainer(RecentBatches, DPOTrainer):
    """A DPOTrainer on rows of token ids (`prompt_ids`, `chosen_ids`, `rejected_ids`) that are not cut.

    Takes TRL's keyword arguments, of which `model` must be loaded, `args` have `precompute_ref_log_probs` and no
    `max_length`, and `data_collator` be left out; and:
        simpo_gamma: the margin of the loss `simpo`, which TRL's configuration has no place for.
        reference_file: where the reference's log-probabilities are kept, or None.
        reference_key: what they were computed from (`srlm.reference.key_of`); called in the main process only.
        report: told how far the reference has come.

    Raises:
        ValueError: an argument of TRL's that is not taken.
        StageError: the loss `simpo` for a model that has to be trained as TRL does it, or a model whose logits are made
            in a way that is not known.
    """

    _precompute_engine: Any  # TRL's

    def __init__(
        self,
        *,
        simpo_gamma: float = 0.5,
        reference_file: Path | None = None,
        reference_key: Callable[[], str] = str,
        report: Reporter | None = None,
        **kwargs: Any,  # noqa: ANN401  TRL's
    ) -> None:
        """See the class."""
        check_arguments(kwargs)
        config, tokenizer = kwargs["args"], kwargs["processing_class"]
        models_given = [kwargs["model"], kwargs.get("ref_model")]
        model, ref_model = (some.get_base_model() if hasattr(some, "peft_config") else some for some in models_given)
        self._reference_file, self._reference_key = reference_file, reference_key
        self._report = report or SilentReporter()
        self._loss_fn = fused_loss(config, model, simpo_gamma)
        if self._loss_fn is not None:
            add_preference_head(model)
            if ref_model is not None:
                add_preference_head(ref_model)
            unlike = any(name not in losses.OF_THE_DIFFERENCE for name in config.loss_type)
            kwargs["data_collator"] = PreferenceCollator(
                pad_token_id=tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id,
                pad_to_multiple_of=config.pad_to_multiple_of,
                leave_out_shared=not unlike and not is_random(model, config, kwargs.get("peft_config")),
            )
        elif "simpo" in config.loss_type:
            raise StageError(
                "dpo: the loss simpo is unknown to TRL, which trains this mixture of experts; take another"
            )
        super().__init__(**kwargs)

    @property
    def is_fused(self) -> bool:
        """Whether the loss is taken by the fused kernels."""
        return self._loss_fn is not None

    def _prepare_dataset(self, dataset: Dataset, *_: Any, **__: Any) -> Dataset:  # noqa: ANN401  TRL's signature
        return dataset

    def _precompute_ref_logps(self, dataset: Dataset, name: str, batch_size: int) -> Dataset:
        """Read the reference's log-probabilities, or compute and keep them; adds TRL's two columns.

        TRL's own way hands them from the first process to the others in a temporary file that those do not see.
        """
        file = self._reference_file if dataset is self.train_dataset else None
        main = self.accelerator.is_main_process
        key = f"{self._reference_key()} {self.is_fused}" if main and file is not None else ""
        known = [reference_logps.read(file, key, len(dataset)) if main and file is not None else None]
        broadcast_object_list(known, from_process=0)  # the others may not see the file
        found = known[0]
        if found is None:
            found = self._compute_reference(dataset, batch_size)
            if main and file is not None:
                reference_logps.write(file, key, found)
        else:
            self._report.note(f"dpo: the reference's log-probabilities are those of {file}")
        return dataset.add_column("ref_chosen_logps", found.chosen).add_column("ref_rejected_logps", found.rejected)

    def _compute_reference(self, dataset: Dataset, batch_size: int) -> reference_logps.Reference:
        # With a generator of its own: a training whose reference is read from a file then has the same dropout.
        loader = DataLoader(dataset, batch_size, collate_fn=self.data_collator, generator=torch.Generator())
        loader = self.accelerator.prepare(loader)
        model = self._reference_model()
        parts = []
        self._report.start("reference", len(loader))
        for batch in loader:
            logps = torch.stack(self.compute_ref_log_probs(model, batch), 1)  # [B, 2]
            parts.append(self.accelerator.gather_for_metrics(logps).cpu())
            self._report.advance()
        chosen, rejected = torch.cat(parts).T.tolist()
        return reference_logps.Reference(chosen, rejected)

    def _reference_model(self) -> Any:  # noqa: ANN401  a model, or what wraps one
        """Return what computes the reference: the policy as it is before the first step, or TRL's copy under FSDP."""
        if self.ref_model is not None:
            if self._loss_fn is not None:
                # Under FSDP it is TRL's own copy of the policy, which was checked, and sharded by now.
                add_preference_head(self.accelerator.unwrap_model(self.ref_model), check=False)
            return self.ref_model
        if not self.is_deepspeed_enabled:
            return self.model
        # DeepSpeed has not placed the policy yet; this engine gathers its weights, and TRL keeps it for evaluations.
        if self._precompute_engine is None:
            self._precompute_engine = prepare_deepspeed(self.model, self.accelerator)
        return self._precompute_engine

    def compute_ref_log_probs(self, model: Any, inputs: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:  # noqa: ANN401
        """Return the reference's log-probabilities [B] of chosen and of rejected answers, float32."""
        if self._loss_fn is None:
            return super().compute_ref_log_probs(model, inputs)
        adapter = contextlib.nullcontext()
        unwrapped = self.accelerator.unwrap_model(self.model)
        if self.ref_model is None and hasattr(unwrapped, "peft_config"):
            adapter = use_adapter(unwrapped, adapter_name="ref" if "ref" in unwrapped.peft_config else None)
        with (
            torch.no_grad(),
            disable_gradient_checkpointing(self.model, self.args.gradient_checkpointing_kwargs),
            adapter,
            self.accelerator.autocast(),
        ):
            request = PreferenceRequest(inputs[KEY])
            logps = model(**_model_inputs(inputs), preference=request)["logps"]  # [B, 2]
        return logps[:, 0], logps[:, 1]

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:  # noqa: ANN401
        if self._loss_fn is None or return_outputs:  # TRL recomputes logits for whoever asks for outputs
            inputs = {name: value for name, value in inputs.items() if name != KEY}
            return super()._compute_loss(model, inputs, return_outputs)
        refs = torch.stack([inputs["ref_chosen_logps"], inputs["ref_rejected_logps"]], 1)  # [B, 2]
        request = PreferenceRequest(inputs[KEY], self._loss_fn, refs)
        outputs = model(**_model_inputs(inputs), preference=request)
        self._keep_metrics(outputs["metrics"].metrics, refs, inputs)
        return outputs["loss"]

    def _keep_metrics(self, seen: PreferenceMetrics, refs: torch.Tensor, inputs: dict[str, Any]) -> None:
        """Add to what TRL logs, under its names; one gathering for all, so one wait for the device."""
        mode = "train" if self.model.training else "eval"
        rewards = self.beta * (torch.stack([seen.chosen_logps, seen.rejected_logps], 1) - refs.to(seen.losses))
        of_pairs = torch.stack(
            [
                rewards[:, 0],
                rewards[:, 1],
                rewards[:, 0] - rewards[:, 1],
                (rewards[:, 0] > rewards[:, 1]).to(rewards),
                seen.chosen_logps,
                seen.rejected_logps,
            ]
        )  # [6, B]
        tokens = inputs["attention_mask"].sum()
        hits, lengths = seen.chosen_top1.sum(), inputs[KEY].lengths[:, 0].sum()
        sums = torch.stack(
            [*of_pairs.double().sum(1), *(x.to(of_pairs.device).double() for x in (hits, lengths, tokens))]
        )
        count = torch.full_like(sums[:1], of_pairs.shape[1])
        totals = self.accelerator.reduce(torch.cat([sums, count]), "sum").tolist()
        names = ("rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies", "logps/chosen")
        for name, value in zip((*names, "logps/rejected"), totals[:6], strict=True):
            self._metrics[mode][name].append(value / max(totals[9], 1))
        self._metrics[mode]["mean_token_accuracy"].append(totals[6] / max(totals[7], 1))
        if mode == "train":
            self._total_train_tokens += int(totals[8]) // self._tp_size
        self._metrics[mode]["num_tokens"] = [self._total_train_tokens]


def fused_loss(config: DPOConfig, model: PreTrainedModel, simpo_gamma: float) -> LossFn | None:
    """Return the loss as a function of pairs, or None where TRL's own way is needed."""
    plain = config.f_divergence_type == "reverse_kl" and config.ld_alpha is None and not config.use_weighting
    names = list(config.loss_type)
    if not plain or _balances_experts(config, model) or not set(names) <= losses.FUSED.keys():
        return None
    settings = losses.LossSettings(config.beta, config.label_smoothing, simpo_gamma)
    return losses.combine(names, config.loss_weights or [1.0] * len(names), settings)


def _balances_experts(config: DPOConfig, model: PreTrainedModel) -> bool:
    text = model.config.get_text_config()
    coefficient = config.router_aux_loss_coef
    if coefficient is None:
        coefficient = getattr(text, "router_aux_loss_coef", None)
    return hasattr(text, "output_router_logits") and bool(coefficient)


def is_random(model: PreTrainedModel, config: DPOConfig, peft_config: Any) -> bool:  # noqa: ANN401
    """Whether two passes over the same tokens may differ while training; in doubt they may.

    `disable_dropout` switches modules off, but not what a model takes from its configuration on the way, as attention
    does.
    """
    settings: dict[str, Any] = {}
    for some in (model.config, model.config.get_text_config(), peft_config):
        settings |= {} if some is None else some.to_dict()
    noisy = any(
        isinstance(value, (int, float)) and value > 0
        for name, value in settings.items()
        if any(part in name for part in ("drop", "jitter"))
    )
    modules = any(isinstance(module, torch.nn.Dropout) and module.p > 0 for module in model.modules())
    return noisy or bool(config.neftune_noise_alpha) or (modules and not config.disable_dropout)


def check_arguments(given: dict[str, Any]) -> None:
    """Refuse what TRL's trainer takes and this one would pass over.

    Raises:
        ValueError: what, and what to do instead.
    """
    config = given["args"]
    if isinstance(given["model"], str):
        raise ValueError("model: give a loaded model, not its name")
    if not config.precompute_ref_log_probs:
        raise ValueError("args.precompute_ref_log_probs must be true: the loss needs the reference's log-probabilities")
    if config.max_length is not None:
        raise ValueError("args.max_length must be None: rows are not cut here; leave longer ones out of the dataset")
    if given.get("data_collator") is not None:
        raise ValueError("data_collator: rows of token ids are collated in one way only; leave it out")


def _model_inputs(inputs: dict[str, Any]) -> dict[str, Any]:
    return {name: inputs[name] for name in ("input_ids", "attention_mask")}
