"""Log-probabilities of answers under a model, without gradients: those of a reference, or of an earlier model.

Rows that begin alike share their beginnings, over all rows and not only those of a step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from srlm.training.head_requests import SequenceRequest
from srlm.training.token_targets import targets_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from accelerate import Accelerator

    from srlm.reporter import Reporter
    from srlm.training.passes import Pass, PassPlanner
    from srlm.training.token_targets import Targets


def read_sequences(
    model: Any,  # noqa: ANN401  a model with the fused head, or what wraps one
    rows: Sequence[Sequence[int]],
    starts: Sequence[int],
    planner: PassPlanner,
    *,
    accelerator: Accelerator,
    report: Reporter,
    min_passes: int = 1,
) -> torch.Tensor:
    """Return the log-probability of each row's tokens from its start on: [N] float32 on the CPU, in nats.

    Every process computes a share of the passes, at least `min_passes`; all get the result.
    """
    examples = [{"input_ids": row, "start": start, "index": index} for index, (row, start) in
                enumerate(zip(rows, starts, strict=True))]  # fmt: skip
    passes = planner.passes(examples)
    count, first = accelerator.num_processes, accelerator.process_index
    found = torch.zeros(len(rows), dtype=torch.float64, device=accelerator.device)
    rounds = max(-(-len(passes) // count), min_passes)
    report.start("reference", rounds)
    for start in range(0, rounds * count, count):
        # A process without a pass of its own takes part all the same: it may hold a shard of the weights.
        one = passes[start + first] if start + first < len(passes) else planner.one([])
        found[[example["index"] for example in one.examples]] = pass_logps(model, one, accelerator.device).double()
        report.advance()
    total: torch.Tensor = accelerator.reduce(found, "sum")
    return total.float().cpu()


def pass_logps(model: Any, one: Pass, device: torch.device) -> torch.Tensor:  # noqa: ANN401
    """Return the log-probabilities [B] of the rows of a pass, each from the `start` of its example on."""
    request = SequenceRequest(answer_targets(one))
    logps: torch.Tensor = model(**one.layout.model_inputs(device), head_request=request)["logps"]
    return logps.to(device)


def answer_targets(one: Pass) -> Targets:
    """Return the tokens of the rows of a pass, each from the `start` of its example on."""
    rows = [example["input_ids"] for example in one.examples]
    masks = [np.arange(len(row)) >= example["start"] for row, example in zip(rows, one.examples, strict=True)]
    return targets_of(one.layout, rows, masks)
