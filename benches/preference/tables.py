"""The losses' tables, one a shape and ratio."""

from __future__ import annotations

import contextlib
import platform
import statistics
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from preference.measuring import MB, TOLERANCES, Line, MatrixPeak, check_meter, progress, race
from preference.task import (
    BETA,
    REFERENCE_NOISE,
    SHORTEST,
    SIGMA,
    Batch,
    Shape,
    draw_lengths,
    make_batch,
    make_rows,
    make_truth,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator


COLUMNS = ["ms/token", "ms", "of peak", "peak MB", "extra MB", "log-prob", "grad hidden", "grad weight"]


def header(options: argparse.Namespace, meter: str) -> Iterator[str]:
    """Say what ran where, and what the columns mean."""
    names = ("torch", "triton", "trl", "transformers", "liger-kernel", "cut-cross-entropy")
    dtype = str(options.dtype).removeprefix("torch.")
    logps, loss, gradient = TOLERANCES[options.dtype]
    yield f"{datetime.now(UTC):%Y-%m-%d}, {device_name(options.device)}, {torch.get_num_threads()} CPU threads,"
    yield f"{dtype}, {options.rounds} rounds; {', '.join(f'{name} {version(name)}' for name in names)}."
    yield ""
    yield f"DPO, sigmoid, beta {BETA}, the mean over pairs; the reference's log-probabilities are given: the policy's"
    yield f"plus N(0, {REFERENCE_NOISE:g}) nats. Answers' lengths are log-normal, median {options.median} tokens, sigma"
    yield f"{SIGMA}, from {SHORTEST} to {8 * options.median}. A micro batch is padded as TRL's collator does it."
    yield ""
    yield "- `of peak`: 6NDV operations of the N useful rows over the time, over a square matrix product's best rate;"
    yield "- `peak MB`: memory above the inputs; `extra MB`: above inputs and gradients (with the float32 buffer of the"
    yield f"  weight's gradient). Buffers of 100, 200 and 100 MB were measured as {meter} MB;"
    yield "- `log-prob`, `grad hidden`, `grad weight`: errors against float64 on the whole problem; the largest of a"
    yield "  sequence's log-probability in nats, and the gradients' relative ones (Frobenius);"
    yield f"- `equal`: within {logps:g} nats (log-probabilities), {loss:g} (loss) and {gradient:g} (gradients)."


def table(shape: Shape, ratio: float, batch: Batch, lines: list[Line], peak: MatrixPeak) -> Iterator[str]:
    """Yield a heading and one line a contestant."""
    rows = len(batch.labels)
    yield f"### hidden {shape.hidden}, vocabulary {shape.vocabulary}, prompt:answer {ratio:g}"
    yield ""
    yield f"{rows} useful rows of {batch.projected} ({rows / batch.projected:.0%}) in {batch.pairs} pairs;"
    yield f"matrix product {peak.rate / 1e12:.3g} TFLOP/s."
    yield ""
    yield f"| contestant | {' | '.join(COLUMNS)} | checked |"
    yield f"|---|{'---:|' * len(COLUMNS)}---|"
    flops = 6 * rows * shape.hidden * shape.vocabulary
    most = max(len(line.seconds) for line in lines)
    for line in lines:
        yield row(line, rows, flops / peak.rate, batch.hidden.dtype, all_rounds=len(line.seconds) == most)


def row(line: Line, rows: int, least_seconds: float, dtype: torch.dtype, *, all_rounds: bool) -> str:
    """Return a contestant's line; `least_seconds` is what its work takes at the peak rate."""
    if line.failure is not None or line.errors is None:
        cells = ["-"] * len(COLUMNS) + [(line.failure or "not run").replace("|", "/")]
    else:
        seconds, errors = statistics.median(line.seconds), line.errors
        speed = [f"{seconds / rows * 1e3:.3g}", f"{seconds * 1e3:,.4g}", f"{least_seconds / seconds:.0%}"]
        memory = ["-" if size is None else f"{size / MB:,.0f}" for size in (line.peak, line.extra)]
        found = ["-" if error is None else f"{error:.1e}" for error in (errors.logps, errors.hidden, errors.weight)]
        remarks = [errors.judge(dtype), line.contestant.note, "" if all_rounds else f"rounds: {len(line.seconds)}"]
        cells = [*speed, *memory, *found, "; ".join(filter(None, remarks))]
    return f"| {line.contestant.name} | {' | '.join(cells)} |"


def version(package: str) -> str:
    """Return an installed package's version."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "absent"


def device_name(device: str) -> str:
    """Return the GPU's or the processor's name."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def bench_losses(options: argparse.Namespace) -> Iterator[str]:
    """Yield the report's lines."""
    yield from header(options, check_meter(options.device))
    lengths = draw_lengths(options.rows, options.median)
    for shape in options.shapes:
        rows = make_rows(shape, lengths, options.dtype, options.device)
        truth = make_truth(rows)
        for ratio in options.ratios:
            torch.compiler.reset()  # else Liger's recompilations add up over the tables
            progress(f"hidden {shape.hidden}, vocabulary {shape.vocabulary}, prompt:answer {ratio:g}")
            batch, peak = make_batch(rows, truth, ratio), MatrixPeak(options.dtype, options.device)
            lines = race(batch, truth, options, peak)
            yield ""
            yield from table(shape, ratio, batch, lines, peak)
