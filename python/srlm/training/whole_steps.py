"""Trainer mixin: a batch of the data loader is a process's share of an optimizer step, computed in several passes.

transformers accumulates micro-batches of a fixed number of rows. Here the rows of a step are divided into passes by
what they share (`passes`), so their number varies; losses and metrics are normalised over the step and all processes.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch

from srlm.training.step_totals import STEP_KEY, StepTotals

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from srlm.training.passes import Example, Pass, PassPlanner

EXAMPLES_KEY, PASSES_KEY, PASS_KEY = "examples", "passes", "pass"


@dataclass(frozen=True, slots=True)
class Examples:
    """A batch of examples; hidden from accelerate, which would look for tensors in every list."""

    rows: list[Example]


def collate(rows: list[Example]) -> dict[str, Any]:
    """Return a batch of the data loader."""
    return {EXAMPLES_KEY: Examples(rows)}


def use_whole_steps(args: Any, micro_batch_size: int | None) -> int:  # noqa: ANN401  transformers.TrainingArguments
    """Make a batch a process's share of a step; return the rows of a micro-batch, by default as `args` had them."""
    rows: int = args.per_device_train_batch_size if micro_batch_size is None else micro_batch_size
    args.per_device_train_batch_size *= args.gradient_accumulation_steps
    args.gradient_accumulation_steps = 1
    return rows


class WholeSteps:
    """Mixin of a trainer whose data collator is `collate`, if `planner` is set.

    Subclasses define `count_examples`, `pass_loss` and `store_metrics`.
    """

    planner: PassPlanner | None = None
    recent: list[tuple[Any, torch.Tensor]]
    _sums: torch.Tensor | None = None  # of the step's metrics so far

    def count_examples(self, examples: Sequence[Example]) -> dict[str, float]:
        """Return the counts by which losses and metrics of a step are normalised."""
        raise NotImplementedError

    def pass_loss(self, model: Any, one: Pass, totals: StepTotals) -> tuple[torch.Tensor, torch.Tensor]:  # noqa: ANN401
        """Return the share of the step's loss of a pass, and the sums [K] of its metrics, float64."""
        raise NotImplementedError

    def store_metrics(self, sums: list[float]) -> None:
        """Store the metrics of a step, given their sums over all passes and processes."""
        raise NotImplementedError

    def get_batch_samples(self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device) -> Any:  # noqa: ANN401
        """See `transformers.Trainer`: returns the step as a single batch."""
        planner = self.planner
        if planner is None:
            return super().get_batch_samples(epoch_iterator, num_batches, device)  # type: ignore[misc]
        trainer: Any = self
        self.recent = []
        samples = list(islice(epoch_iterator, num_batches))
        if not samples:
            return samples, None
        real = trainer._real_rows()
        return [self.step_inputs(planner, samples[0][EXAMPLES_KEY].rows[:real], device)], None

    def step_inputs(self, planner: PassPlanner, examples: Sequence[Example], device: torch.device) -> dict[str, Any]:
        """Return the passes of a step, as many in each process, and its totals."""
        trainer: Any = self
        passes, counts = planner.passes(examples), self.count_examples(examples)
        accelerator = trainer.accelerator
        table = torch.tensor([len(passes), *counts.values()], dtype=torch.float64, device=device)
        table = accelerator.gather(table[None])  # [processes, 1 + counts]
        passes += [planner.one([]) for _ in range(int(table[:, 0].max()) - len(passes))]
        sums = table[:, 1:].sum(0)
        totals = StepTotals(dict(zip(counts, sums, strict=True)), accelerator.num_processes)
        return {PASSES_KEY: passes, STEP_KEY: totals}

    def training_step(self, model: Any, inputs: dict[str, Any], *rest: Any, **options: Any) -> torch.Tensor:  # noqa: ANN401
        """See `transformers.Trainer`: the forward and backward passes of a step; gradients are synchronised once."""
        if PASSES_KEY not in inputs:
            return super().training_step(model, inputs, *rest, **options)  # type: ignore[misc]
        trainer: Any = self
        state, losses = trainer.accelerator.gradient_state, []
        for one in (passes := inputs[PASSES_KEY]):
            last = one is passes[-1]
            state._set_sync_gradients(last)
            with contextlib.nullcontext() if last else self._no_sync(model):
                batch = {PASS_KEY: one, STEP_KEY: inputs[STEP_KEY]}
                losses.append(super().training_step(model, batch, *rest, **options))  # type: ignore[misc]
        self._finish_metrics()
        if trainer.accelerator.num_processes == 1:  # others would have to take part
            self._find_broken(model, passes, losses, inputs[STEP_KEY])
        return torch.stack(losses).sum()

    def _find_broken(
        self,
        model: Any,  # noqa: ANN401
        passes: Sequence[Pass],
        losses: Sequence[torch.Tensor],
        totals: StepTotals,
    ) -> None:
        """Note the examples of passes with a loss that is not finite: a NaN in one row spreads to all of its pass."""
        planner = self.planner
        if planner is None or bool(torch.stack(list(losses)).isfinite().all()):
            return
        with torch.no_grad():
            for one, loss in zip(passes, losses, strict=True):
                if not loss.isfinite():
                    alone = [(self.pass_loss(model, planner.one([row]), totals)[0], row) for row in one.examples]
                    one.broken = [row for own, row in alone if not own.isfinite()]

    def _no_sync(self, model: Any) -> Any:  # noqa: ANN401
        """Accumulate gradients in each process, as transformers does between the micro-batches of a step."""
        trainer: Any = self
        every = trainer.accelerator.gradient_state.plugin_kwargs.get("sync_each_batch", False)
        if every or trainer.is_deepspeed_enabled:
            return contextlib.nullcontext()
        return trainer.accelerator.no_sync(model)

    def whole_loss(self, planner: PassPlanner, model: Any, inputs: dict[str, Any]) -> torch.Tensor:  # noqa: ANN401
        """Return the loss of a pass of a training step, or of a batch of an evaluation."""
        trainer: Any = self
        if PASS_KEY in inputs:
            loss, sums = self.pass_loss(model, inputs[PASS_KEY], inputs[STEP_KEY])
            self._sums = sums if self._sums is None else self._sums + sums
            return loss
        step = self.step_inputs(planner, inputs[EXAMPLES_KEY].rows, trainer.args.device)
        found = [self.pass_loss(model, one, step[STEP_KEY]) for one in step[PASSES_KEY]]
        self._sums = torch.stack([sums for _, sums in found]).sum(0)
        self._finish_metrics()
        return torch.stack([loss for loss, _ in found]).sum()

    def _finish_metrics(self) -> None:
        trainer: Any = self
        if self._sums is not None:
            self.store_metrics(trainer.accelerator.reduce(self._sums, "sum").tolist())
        self._sums = None

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """See `transformers.Trainer`: 6 operations for each parameter and computed token (arXiv 2001.08361)."""
        if PASSES_KEY not in inputs:
            return super().floating_point_ops(inputs)  # type: ignore[misc]
        trainer: Any = self
        tokens = sum(one.layout.input_ids.numel() for one in inputs[PASSES_KEY])
        return 6 * tokens * int(trainer.model.num_parameters(exclude_embeddings=True))
