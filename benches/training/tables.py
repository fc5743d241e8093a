"""The report: one table per case, with speeds only where the results are equal."""

from __future__ import annotations

import platform
import statistics
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import torch
from preference.measuring import MB
from preference.tables import device_name, version

from training.turns import start_worker

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from training.cases import Case
    from training.trainings import Outcome
    from training.turns import Worker

MAX_LOSS_DIFFERENCE = 1e-4  # nats, in every step
MAX_NORM_DIFFERENCE = 1e-3  # of the gradient norm, in every step
MAX_LOGP_DIFFERENCE = 1e-2  # nats, of an answer's log-probability under the reference


def header(model: str, rounds: int) -> Iterator[str]:
    """Yield the environment and the meaning of the columns."""
    names = ("torch", "transformers", "trl")
    yield f"{datetime.now(UTC):%Y-%m-%d}, {device_name('cpu')}, {torch.get_num_threads()} threads, {platform.system()};"
    yield f"float32, {model.rstrip('/').rpartition('/')[2]}; rounds after a warm-up: {rounds};"
    yield f"{', '.join(f'{name} {version(name)}' for name in names)}."
    yield ""
    yield "Whole optimizer steps, AdamW and logging included: each training in a process of its own, one step of each"
    yield "in turn. All rows of a case are one step, which is repeated; no dropout. `x`: times as fast as TRL's faster"
    yield "line; `tokens`: those of all rows without padding, a pair's prompt twice; `peak MB`: the process's resident"
    yield "memory; `loss`, `grad norm`: of the first step; `checked`: in every step, losses are within"
    yield f"{MAX_LOSS_DIFFERENCE:g} and gradient norms within a factor of {MAX_NORM_DIFFERENCE:g} of TRL's; reference"
    yield f"log-probabilities are within {MAX_LOGP_DIFFERENCE:g} nats."


def bench_case(case: Case, lines: str, model: str, rounds: int) -> Iterator[str]:
    """Yield the table of a case, with the lines whose name contains `lines`."""
    chosen = [line for line in case.lines if lines in line.name]
    workers = [start_worker(case, line, model, rounds + 1) for line in chosen]
    for _ in range(rounds + 1):
        for worker in workers:
            worker.take_turn()
    for worker in workers:
        worker.finish()
    yield from table(case, workers)


def table(case: Case, workers: Sequence[Worker]) -> Iterator[str]:
    """Yield a heading and one line per trainer."""
    outcomes = [worker.outcome for worker in workers if worker.outcome is not None]
    trl = [worker for worker in workers if worker.line.trainer == "TRL"]
    base = next((worker.outcome for worker in trl if worker.outcome is not None), outcomes[0] if outcomes else None)
    fastest = min((median(worker) for worker in trl if worker.failure is None), default=None)
    yield f"### {case.name}"
    yield ""
    yield f"{case.tokens} tokens, {case.loss_tokens} of them in completions."
    yield ""
    yield "| trainer | s | x | tokens/s | peak MB | loss | grad norm | checked |"
    yield "|---|---:|---:|---:|---:|---:|---:|---|"
    for worker in workers:
        yield f"| {worker.line.name} | {' | '.join(cells(case, worker, base, fastest))} |"


def cells(case: Case, worker: Worker, base: Outcome | None, fastest: float | None) -> list[str]:
    """Return the cells of a line; a training that deviates has no speed."""
    outcome = worker.outcome
    if outcome is None or base is None:
        return ["-"] * 6 + [(worker.failure or "not run").replace("|", "/")]
    differences = deviations(outcome, base)
    seconds = median(worker)
    speed = [f"{seconds:.3g}", "-" if fastest is None else f"{fastest / seconds:.2f}", f"{case.tokens / seconds:,.0f}"]
    first = [f"{values[0]:.5f}" if values else "-" for values in (outcome.losses, outcome.norms)]
    return [
        *(["-"] * 3 if differences else speed),
        "-" if outcome.peak is None else f"{outcome.peak / MB:,.0f}",
        *first,
        f"**deviates: {', '.join(differences)}**" if differences else "equal",
    ]


def median(worker: Worker) -> float:
    """Return the median of the seconds after the warm-up; without rounds, those of the warm-up."""
    return statistics.median(worker.seconds[1:] or worker.seconds)


def deviations(outcome: Outcome, base: Outcome) -> list[str]:
    """Return what differs from the base by more than rounding."""
    found = {
        "loss": (largest(outcome.losses, base.losses), MAX_LOSS_DIFFERENCE),
        "grad norm": (largest(outcome.norms, base.norms, relative=True), MAX_NORM_DIFFERENCE),
        "reference": (largest(outcome.reference, base.reference), MAX_LOGP_DIFFERENCE),
    }
    return [f"{name} {difference:.1e}" for name, (difference, limit) in found.items() if not difference <= limit]


def largest(values: Sequence[float], base: Sequence[float], *, relative: bool = False) -> float:
    """Return the largest difference between the values of two trainings; infinite if one has more of them."""
    if len(values) != len(base):
        return float("inf")
    pairs = zip(values, base, strict=True)
    return max((abs(one - other) / (abs(other) if relative else 1.0) for one, other in pairs), default=0.0)
