"""The log-probabilities of the pairs under DPO's reference: read from a cache, known from the engine, or computed.

The reference is the policy before its first step, so no second model is loaded. TRL's trainer asks for the
log-probabilities when it is made; under FSDP they are read later, from the sharded policy, because no process may have
memory for all of its weights, and TRL's copy of the reference would be sharded as one unit.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, cast

import torch
from accelerate.utils import broadcast_object_list
from torch.distributed.fsdp import FSDPModule
from torch.utils.data import DataLoader
from trl.models.utils import disable_gradient_checkpointing, prepare_deepspeed
from trl.trainer import dpo_trainer
from trl.trainer.utils import use_adapter

from srlm.training import reference_logps, sampled_logps
from srlm.training.fused_head import eval_mode
from srlm.training.preference_layout import pair_rows
from srlm.training.sequence_readings import read_sequences

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from datasets import Dataset

    from srlm.reporter import Reporter
    from srlm.training.passes import Example, PassPlanner
    from srlm.training.prefix_masks import MaskForm
    from srlm.training.sampled_logps import Logps


class ReferenceReading:
    """Trainer mixin that replaces how TRL's DPOTrainer precomputes the reference log-probabilities."""

    # As `PreferenceTrainer` gets them.
    _reference_file: Path | None
    _reference_key: Callable[[], str]
    _known_reference: Sequence[Logps | None]
    _reference_form: MaskForm | None
    _report: Reporter
    planner: PassPlanner | None
    accelerator: Any  # TRL's, as the rest
    args: Any
    model: Any
    ref_model: Any
    train_dataset: Dataset
    data_collator: Any
    is_deepspeed_enabled: bool
    compute_ref_log_probs: Callable[..., Any]
    get_train_dataloader: Callable[[], Any]
    callback_handler: Any
    is_fsdp_enabled: bool
    _precompute_engine: Any
    _unread: int | None = None  # under FSDP, TRL's batch size, until the reference is read

    def _precompute_ref_logps(self, dataset: Dataset, name: str, batch_size: int) -> Dataset:
        """Add TRL's two columns of reference log-probabilities; under FSDP only once the policy is sharded."""
        if self.is_fsdp_enabled and self.ref_model is None and dataset is self.train_dataset:
            self._unread = batch_size
            return dataset
        return self._with_reference(dataset, batch_size)

    def _prepare_for_training(
        self, max_steps: int, train_dataloader: DataLoader[Any], resume_from_checkpoint: str | None
    ) -> tuple[torch.nn.Module, DataLoader[Any]]:
        """See `transformers.Trainer`, which shards the model here and then loads a checkpoint's weights."""
        trainer: Any = super()
        unread = self._unread is not None
        model, loader = trainer._prepare_for_training(max_steps, train_dataloader, resume_from_checkpoint)
        self._read_from_policy()
        if unread:  # the loader was made for rows without a reference
            loader = self.callback_handler.train_dataloader = self.get_train_dataloader()
        return model, loader

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: torch.nn.Module | None = None) -> None:
        """See `transformers.Trainer`: the policy's first weights are the reference's."""
        trainer: Any = super()
        self._read_from_policy()
        trainer._load_from_checkpoint(resume_from_checkpoint, model)

    def _read_from_policy(self) -> None:
        if self._unread is not None:
            with eval_mode(self.model):
                self.train_dataset = self._with_reference(self.train_dataset, self._unread)
            for module in self.model.modules():
                if isinstance(module, FSDPModule):  # some stay gathered after a forward pass, until a backward pass
                    module.reshard()
            self._unread = None

    def _with_reference(self, dataset: Dataset, batch_size: int) -> Dataset:
        """Read the reference log-probabilities from the cache, or compute and cache them; adds TRL's two columns.

        TRL's own method passes them from the main process to the others in a temporary file that those do not see.
        """
        file = self._reference_file if dataset is self.train_dataset else None
        main = self.accelerator.is_main_process
        key = f"{self._reference_key()} {self.planner is not None}" if main and file is not None else ""
        cached = [reference_logps.read(file, key, len(dataset)) if main and file is not None else None]
        broadcast_object_list(cached, from_process=0)  # the other processes may not see the file
        logps = cached[0]
        if logps is None:
            known = self._known_reference if dataset is self.train_dataset else ()
            logps = self._compute_reference(dataset, batch_size, known)
            if main and file is not None:
                reference_logps.write(file, key, logps)
        else:
            self._report.note(f"dpo: reusing the reference log-probabilities in {file}")
        return dataset.add_column("ref_chosen_logps", logps.chosen).add_column("ref_rejected_logps", logps.rejected)

    def _compute_reference(
        self, dataset: Dataset, batch_size: int, known: Sequence[Logps | None]
    ) -> reference_logps.ReferenceLogps:
        if self.planner is not None:
            logps = self._fused_reference(self.planner, list(dataset), known)  # [N, 2]
        else:
            logps = self._trl_reference(dataset, batch_size)
        chosen, rejected = logps.T.tolist()
        return reference_logps.ReferenceLogps(chosen, rejected)

    def _fused_reference(
        self, planner: PassPlanner, pairs: list[Example], known: Sequence[Logps | None]
    ) -> torch.Tensor:
        """Return the log-probabilities [N, 2] of the pairs; those that the engine has computed are not read again."""
        first = [index for index, logps in enumerate(known) if logps is not None][: sampled_logps.CHECKED_PAIRS]
        if not first or self.args.bf16 or self.args.fp16 or self.model.dtype != torch.float32:
            return self._read_reference(planner, pairs)
        rows, found = [pairs[index] for index in first], [known[index] for index in first]
        read = self._read_reference(planner, rows)
        distance = sampled_logps.distance_per_token(cast("list[Logps]", found), read.tolist(), rows)
        if not distance <= sampled_logps.TOLERANCE:
            self._report.note(
                f"dpo: the engine's log-probabilities of the answers differ by {distance:.3g} nats per token from the"
                f" reference's, more than {sampled_logps.TOLERANCE:g}; the reference's are computed"
            )
            return self._read_reference(planner, pairs)
        unknown = [index for index, logps in enumerate(known) if logps is None]
        logps = torch.tensor([(0.0, 0.0) if pair is None else pair for pair in known])  # [N, 2] float32
        if unknown:
            logps[unknown] = self._read_reference(planner, [pairs[index] for index in unknown])
        return logps

    def _read_reference(self, planner: PassPlanner, pairs: list[Example]) -> torch.Tensor:
        model = self._reference_model()
        rows = [row for pair in pairs for row in pair_rows(pair)]
        starts = [len(pair["prompt_ids"]) for pair in pairs for _ in range(2)]
        with self._reading(model):
            planner = planner.for_sequences(self._reference_form)
            # ZeRO-3 has traced the modules of this engine at its second forward pass; the training fails without.
            min_passes = 2 if self.is_deepspeed_enabled else 1
            logps = read_sequences(
                model,
                rows,
                starts,
                planner,
                accelerator=self.accelerator,
                report=self._report,
                min_passes=min_passes,
            )
        return logps.view(-1, 2)

    def _trl_reference(self, dataset: Dataset, batch_size: int) -> torch.Tensor:
        # With its own generator, so that training has the same dropout whether or not the reference is cached.
        loader = DataLoader(dataset, batch_size, collate_fn=self.data_collator, generator=torch.Generator())
        loader = self.accelerator.prepare(loader)
        model = self._reference_model()
        parts = []
        self._report.start("reference", len(loader))
        for batch in loader:
            logps = torch.stack(self.compute_ref_log_probs(model, batch), 1)  # [B, 2]
            parts.append(self.accelerator.gather_for_metrics(logps).cpu())
            self._report.advance()
        return torch.cat(parts)

    def _reference_model(self) -> Any:  # noqa: ANN401  a model, or what wraps one
        """Return the reference model: the given one, or the policy before the first step."""
        if self.ref_model is not None:
            return self.ref_model
        if not self.is_deepspeed_enabled:
            return self.model
        # DeepSpeed has not prepared the policy yet; this engine gathers its weights, and TRL reuses it for evaluation.
        if self._precompute_engine is None:
            self._precompute_engine = prepare_deepspeed(self.model, self.accelerator)
        return self._precompute_engine

    @contextlib.contextmanager
    def _reading(self, model: Any) -> Iterator[None]:  # noqa: ANN401
        """Compute without gradients, and without the adapter that is trained."""
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
            yield


@contextlib.contextmanager
def without_reference_copy() -> Iterator[None]:
    """Make TRL's trainer load no copy of the policy as the reference, and hash no weights.

    It loads the copy under FSDP, in every process and with `device_map: auto`. The hash of all weights, which every
    process would compute, is only in the key of its own cache of log-probabilities.
    """
    originals = dpo_trainer.create_model_from_path, dpo_trainer.hash_module
    dpo_trainer.create_model_from_path, dpo_trainer.hash_module = _no_model, _no_hash
    try:
        yield
    finally:
        dpo_trainer.create_model_from_path, dpo_trainer.hash_module = originals


def _no_model(_path: str, **_: object) -> None:
    return None


def _no_hash(_model: torch.nn.Module) -> str:
    return ""
