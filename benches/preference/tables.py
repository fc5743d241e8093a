"""Tables of the losses, one per shape and ratio."""

from __future__ import annotations

import contextlib
import platform
import statistics
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from preference.measuring import MB, TOLERANCES, Line, MatmulPeak, check_memory_meter, progress, run_implementations
from preference.task import (
    BETA,
    MIN_LENGTH,
    REFERENCE_NOISE,
    SIGMA,
    Batch,
    Shape,
    make_batch,
    make_rows,
    make_truth,
    sample_lengths,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator


COLUMNS = ["ms/token", "ms", "of peak", "peak MB", "extra MB", "log-prob", "grad hidden", "grad weight"]


def header(options: argparse.Namespace, meter: str) -> Iterator[str]:
    """Yield the environment, the task and the meaning of the columns."""
    names = ("torch", "triton", "trl", "transformers", "liger-kernel", "cut-cross-entropy")
    dtype = str(options.dtype).removeprefix("torch.")
    logps, loss, gradient = TOLERANCES[options.dtype]
    yield f"{datetime.now(UTC):%Y-%m-%d}, {device_name(options.device)}, {torch.get_num_threads()} CPU threads,"
    yield f"{dtype}, {options.rounds} rounds; {', '.join(f'{name} {version(name)}' for name in names)}."
    yield ""
    yield f"DPO, sigmoid, beta {BETA}, mean over pairs; reference log-probabilities are given: the policy's plus"
    yield f"N(0, {REFERENCE_NOISE:g}) nats. Answer lengths are log-normal, median {options.median} tokens,"
    yield f"sigma {SIGMA}, from {MIN_LENGTH} to {8 * options.median}. A micro-batch is padded as by TRL's collator."
    yield ""
    yield "- `of peak`: 6NDV operations of the N useful rows per second, over the best rate of a square matmul;"
    yield "- `peak MB`: memory above the inputs; `extra MB`: above inputs and gradients (including the float32 buffer"
    yield f"  of the weight's gradient). Buffers of 100, 200 and 100 MB were measured as {meter} MB;"
    yield "- `log-prob`, `grad hidden`, `grad weight`: errors against float64: the maximum error of a sequence's"
    yield "  log-probability in nats, and relative errors of the gradients (Frobenius norm);"
    yield f"- `equal`: within {logps:g} nats (log-probabilities), {loss:g} (loss) and {gradient:g} (gradients)."


def table(shape: Shape, ratio: float, batch: Batch, lines: list[Line], peak: MatmulPeak) -> Iterator[str]:
    """Yield a heading and one line per implementation."""
    rows = len(batch.labels)
    yield f"### hidden {shape.hidden}, vocabulary {shape.vocabulary}, prompt:answer {ratio:g}"
    yield ""
    yield f"{rows} useful rows of {batch.projected} ({rows / batch.projected:.0%}) in {batch.pairs} pairs;"
    yield f"matmul {peak.rate / 1e12:.3g} TFLOP/s."
    yield ""
    yield f"| implementation | {' | '.join(COLUMNS)} | checked |"
    yield f"|---|{'---:|' * len(COLUMNS)}---|"
    flops = 6 * rows * shape.hidden * shape.vocabulary
    max_rounds = max(len(line.seconds) for line in lines)
    for line in lines:
        yield row(line, rows, flops / peak.rate, batch.hidden.dtype, all_rounds=len(line.seconds) == max_rounds)


def row(line: Line, rows: int, min_seconds: float, dtype: torch.dtype, *, all_rounds: bool) -> str:
    """Return an implementation's line; `min_seconds` is the time of its operations at the peak rate."""
    if line.failure is not None or line.errors is None:
        cells = ["-"] * len(COLUMNS) + [(line.failure or "not run").replace("|", "/")]
    else:
        seconds, errors = statistics.median(line.seconds), line.errors
        speed = [f"{seconds / rows * 1e3:.3g}", f"{seconds * 1e3:,.4g}", f"{min_seconds / seconds:.0%}"]
        memory = ["-" if size is None else f"{size / MB:,.0f}" for size in (line.peak, line.extra)]
        error_cells = [
            "-" if error is None else f"{error:.1e}" for error in (errors.logps, errors.hidden, errors.weight)
        ]
        remarks = [errors.judge(dtype), line.implementation.note, "" if all_rounds else f"rounds: {len(line.seconds)}"]
        cells = [*speed, *memory, *error_cells, "; ".join(filter(None, remarks))]
    return f"| {line.implementation.name} | {' | '.join(cells)} |"


def version(package: str) -> str:
    """Return an installed package's version."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "absent"


def device_name(device: str) -> str:
    """Return the name of the GPU or CPU."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def bench_losses(options: argparse.Namespace) -> Iterator[str]:
    """Yield the report's lines."""
    yield from header(options, check_memory_meter(options.device))
    lengths = sample_lengths(options.rows, options.median)
    for shape in options.shapes:
        rows = make_rows(shape, lengths, options.dtype, options.device)
        truth = make_truth(rows)
        for ratio in options.ratios:
            torch.compiler.reset()  # otherwise Liger's recompilations accumulate over the tables
            progress(f"hidden {shape.hidden}, vocabulary {shape.vocabulary}, prompt:answer {ratio:g}")
            batch, peak = make_batch(rows, truth, ratio), MatmulPeak(options.dtype, options.device)
            lines = run_implementations(batch, truth, options, peak)
            yield ""
            yield from table(shape, ratio, batch, lines, peak)
