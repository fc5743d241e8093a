"""Normalisation over the whole optimizer step, so that the micro-batch size changes nothing but rounding.

transformers averages the losses and TRL the metrics of a step's micro-batches with equal weights. They differ from the
step's own means where micro-batches differ in size (the last step of an epoch) or, for means over tokens, in tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

STEP_KEY = "step_totals"


@dataclass(frozen=True, slots=True)
class StepTotals:
    """The counts of a step over all its micro-batches and all processes, by name; scalars, float64."""

    counts: dict[str, torch.Tensor]
    processes: int  # the factor that undoes the averaging of gradients over processes


class NormalizedSteps:
    """Trainer mixin that counts each step before its first forward pass, and weights metrics by these counts.

    Subclasses define `count_batch`, and the count that each metric is a mean over.
    """

    METRIC_COUNTS: ClassVar[dict[str, str]] = {}  # metric to count; all others are means over `DEFAULT_COUNT`
    DEFAULT_COUNT: ClassVar[str]
    loss_is_scaled_for_ga = True  # the losses are normalised over the step, so the trainer does not divide them again
    _micro_counts: list[dict[str, float]]  # of each micro-batch since the last log, over all processes

    def count_batch(self, inputs: dict[str, Any]) -> dict[str, torch.Tensor]:
        """Return the counts of a micro-batch of this process, as scalars."""
        raise NotImplementedError

    def exclude_rows(self, inputs: dict[str, Any], real: int) -> None:
        """Exclude all but the first `real` rows of a micro-batch from loss and metrics; in place.

        On several processes accelerate fills up the last micro-batches of an epoch with rows from its beginning.
        """

    def get_batch_samples(self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device) -> Any:  # noqa: ANN401
        """See `transformers.Trainer`; also adds the step's totals to every micro-batch."""
        trainer: Any = self
        samples = list(islice(epoch_iterator, num_batches))
        if not samples:
            return samples, None
        real = self._real_rows()
        if real is not None:
            self.exclude_rows(samples[-1], real)
        counts = [self.count_batch(inputs) for inputs in samples]
        names = list(counts[0])
        table = torch.stack([torch.stack([row[name].double() for name in names]).to(device) for row in counts])
        table = trainer.accelerator.reduce(table, "sum")  # [micro-batches, counts]
        totals = StepTotals(dict(zip(names, table.sum(0), strict=True)), trainer.accelerator.num_processes)
        for inputs in samples:
            inputs[STEP_KEY] = totals
        self._micro_counts = getattr(self, "_micro_counts", [])
        self._micro_counts += [dict(zip(names, row, strict=True)) for row in table.tolist()]
        return samples, None

    def _real_rows(self) -> int | None:
        """Return the number of this process's rows that are not fillers, if the last micro-batch was just fetched."""
        trainer: Any = self
        if not trainer.accelerator.gradient_state.end_of_dataloader:
            return None
        size, processes = trainer.args.train_batch_size, trainer.accelerator.num_processes
        remainder = len(trainer.train_dataset) % (size * processes)
        if remainder == 0 or processes == 1:
            return None
        return max(0, min(size, remainder - size * trainer.accelerator.process_index))

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        """See `transformers.Trainer.log`; metrics are means over the step, not over its micro-batches."""
        trainer: Any = self
        counts = getattr(self, "_micro_counts", [])
        if trainer.model.training and counts:
            metrics = trainer._metrics["train"]
            for name, values in metrics.items():
                if len(values) == len(counts) > 1:
                    count = self.METRIC_COUNTS.get(name, self.DEFAULT_COUNT)
                    metrics[name] = [weighted_mean(values, [row[count] for row in counts])]
            counts.clear()
        super().log(logs, *args, **kwargs)  # type: ignore[misc]


def weighted_mean(values: Sequence[float], weights: Sequence[float]) -> float:
    """Return the weighted mean, or 0 if all weights are 0; values of weight 0 may be NaN."""
    total = sum(weights)
    return sum(v * w for v, w in zip(values, weights, strict=True) if w) / total if total else 0.0
