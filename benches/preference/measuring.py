"""Errors against the float64 truth, peak memory, and timing in rounds."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import math
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from preference.implementations import IMPLEMENTATIONS, Implementation, UnsupportedError
from preference.task import VOCABULARY_BLOCK, Batch, Result, Truth

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator


# Tolerances of sequence log-probabilities and loss (nats) and of gradients (relative, Frobenius norm).
TOLERANCES = {
    torch.float32: (1e-2, 1e-4, 1e-3),
    torch.bfloat16: (4.0, 5e-2, 5e-2),
    torch.float16: (0.5, 1e-2, 1e-2),
}
MB = 1e6
M_MMAP_THRESHOLD, M_TRIM_THRESHOLD = -3, -1  # of glibc's mallopt


@dataclass(frozen=True, slots=True)
class Errors:
    """Errors against the float64 truth."""

    logps: float
    loss: float
    hidden: float | None
    weight: float | None

    def judge(self, dtype: torch.dtype) -> str:
        """Return `equal`, or the errors above their tolerance."""
        logps, loss, gradient = TOLERANCES[dtype]
        bounds = {"log-probs": logps, "loss": loss, "grad hidden": gradient, "grad weight": gradient}
        errors = dict(zip(bounds, (self.logps, self.loss, self.hidden, self.weight), strict=True))
        wrong = [
            f"{name} {error:.1e}" for name, error in errors.items() if error is not None and not error <= bounds[name]
        ]
        return f"**deviates: {', '.join(wrong)}**" if wrong else "equal"


@dataclass(slots=True)
class Line:
    """One line of a table; fields stay None if the implementation fails before them."""

    implementation: Implementation
    errors: Errors | None = None
    peak: int | None = None  # bytes above the inputs, gradients included
    extra: int | None = None  # bytes above the inputs and the gradients
    seconds: list[float] = field(default_factory=list)  # of each round
    failure: str | None = None


def synchronize(device: str) -> None:
    """Wait for the device."""
    if device == "cuda":
        torch.cuda.synchronize()


def step(implementation: Implementation, batch: Batch) -> Result:
    """Run forward and backward; the gradients are in `batch`."""
    batch.hidden.grad = batch.weight.grad = None
    result = implementation.run(batch)
    result.loss.backward()
    return result


def compare(implementation: Implementation, result: Result, batch: Batch, truth: Truth) -> Errors:
    """Compare the result of a step, and the gradients in `batch`, with the truth."""
    if batch.hidden.grad is None or batch.weight.grad is None:
        raise UnsupportedError("returned no gradients")
    logps = float((result.logps.double() - truth.logps).abs().max())
    loss = abs(float(result.loss.detach()) - (math.log(2) if implementation.own_reference else truth.loss))
    if implementation.own_reference:
        return Errors(logps, loss, None, None)
    off = batch.hidden.grad.double().flatten(0, 1).index_add_(0, batch.positions, truth.grad_hidden, alpha=-1.0)
    hidden = float(off.norm() / truth.grad_hidden.norm())  # nonzero gradients of prompts and padding count as errors
    blocks = zip(batch.weight.grad.split(VOCABULARY_BLOCK), truth.grad_weight.split(VOCABULARY_BLOCK), strict=True)
    squares = sum(float((grad.double() - true).square().sum()) for grad, true in blocks)
    return Errors(logps, loss, hidden, math.sqrt(squares) / float(truth.grad_weight.norm()))


def peak_bytes(run: Callable[[], object], device: str) -> int | None:
    """Return the peak memory of `run` above the current level; None if it cannot be measured.

    On a GPU this is the caching allocator's peak. Elsewhere it is the process's resident memory: Linux resets its
    high-water mark on request, so no sampling is needed. Free memory that malloc holds is released before, and during
    the run every buffer of at least 64 KB is its own mapping, so that fragmentation does not count.
    """
    gc.collect()
    if device == "cuda":
        synchronize(device)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        synchronize(device)
        return torch.cuda.max_memory_allocated() - before
    try:
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, 1 << 16)
        libc.malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    except (OSError, AttributeError, TypeError):
        return None
    try:
        before = resident("VmRSS")
        run()
        return resident("VmHWM") - before
    finally:  # the thresholds that malloc adapts to in a process that has freed large buffers
        libc.mallopt(M_MMAP_THRESHOLD, 1 << 25)
        libc.mallopt(M_TRIM_THRESHOLD, 1 << 26)


def resident(name: str) -> int:
    """Return a field of /proc/self/status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def check_memory_meter(device: str) -> str:
    """Measure one, two and one buffers of 100 MB, and return the results as text."""

    def once(count: int) -> int | None:
        size = int(100 * MB) // 4
        return peak_bytes(lambda: [torch.ones(size, device=device) for _ in range(count)], device)

    peaks = [once(1), once(2), once(1)]
    return ", ".join("unknown" if peak is None else f"{peak / MB:.1f}" for peak in peaks)


def gradient_bytes(implementation: Implementation, batch: Batch) -> int:
    """Return the size of the gradients, including the additional float32 buffer of the weight's gradient if any."""
    extra_buffer = implementation.float32_weight_grad and batch.weight.dtype != torch.float32
    return batch.hidden.nbytes + batch.weight.nbytes + (4 * batch.weight.numel() if extra_buffer else 0)


def check_and_measure(line: Line, batch: Batch, truth: Truth, options: argparse.Namespace) -> None:
    """Fill the line's errors, and its memory as the minimum of three runs; slow implementations run once.

    The minimum, because first runs compile and autotune, and the CPU's BLAS allocates scratch memory in one run and
    reuses it in the next.
    """
    results: list[Result] = []
    start, peaks = time.perf_counter(), list[int | None]()
    while len(peaks) < 3 and (not peaks or time.perf_counter() - start < options.patience / 2):
        batch.hidden.grad = batch.weight.grad = None
        results.clear()
        peaks.append(peak_bytes(lambda: results.append(step(line.implementation, batch)), options.device))
    line.errors = compare(line.implementation, results[0], batch, truth)
    found = [peak for peak in peaks if peak is not None]
    if found:
        line.peak = min(found)
        line.extra = line.peak - gradient_bytes(line.implementation, batch)


@contextlib.contextmanager
def record_failure(line: Line) -> Iterator[None]:
    """Record why an implementation failed, and continue without it."""
    try:
        yield
    except ImportError as error:
        line.failure = f"{'missing' if 'srlm' in str(error) else 'not installed'} ({error})"
    except torch.OutOfMemoryError:
        line.failure = "out of memory"
    except Exception as error:  # any error of an implementation is its result
        first = (str(error).strip().splitlines() or [""])[0]
        line.failure = f"{type(error).__name__}: {first[:150]}"


def time_rounds(lines: list[Line], batch: Batch, options: argparse.Namespace, peak: MatmulPeak) -> None:
    """Time the implementations in turn, with a matmul of the device in every round.

    An implementation that has used more than `options.patience` seconds skips the remaining rounds.
    """
    for _ in range(options.rounds):
        peak.run()
        for line in lines:
            if line.failure is not None or sum(line.seconds) > options.patience:
                continue
            batch.hidden.grad = batch.weight.grad = None
            synchronize(options.device)
            start = time.perf_counter()
            with record_failure(line):
                step(line.implementation, batch)
                synchronize(options.device)
            line.seconds.append(time.perf_counter() - start)


class MatmulPeak:
    """The rate of a large square matmul in the benchmark's dtype, the best of all rounds."""

    def __init__(self, dtype: torch.dtype, device: str) -> None:
        self._size, self._device = (8192 if device == "cuda" else 2048), device
        self._left, self._right = (torch.randn(self._size, self._size, device=device).to(dtype) for _ in range(2))
        self.rate = 0.0  # FLOP/s
        self.run()

    def run(self) -> None:
        """Measure once more."""
        for _ in range(3):
            synchronize(self._device)
            start = time.perf_counter()
            self._left @ self._right
            synchronize(self._device)
            self.rate = max(self.rate, 2 * self._size**3 / (time.perf_counter() - start))


def progress(text: str) -> None:
    """Print progress to stderr."""
    print(f"  {text}", file=sys.stderr, flush=True)


def run_implementations(batch: Batch, truth: Truth, options: argparse.Namespace, peak: MatmulPeak) -> list[Line]:
    """Compare, then measure memory, then time."""
    lines = [Line(implementation) for implementation in IMPLEMENTATIONS if options.only in implementation.name]
    for line in lines:
        if options.device not in line.implementation.devices:
            line.failure = "not on a CPU"
            continue
        with record_failure(line):
            start = time.perf_counter()
            check_and_measure(line, batch, truth, options)
            progress(f"{line.implementation.name}: checked in {time.perf_counter() - start:.1f} s")
        batch.hidden.grad = batch.weight.grad = None
        if options.device == "cuda":
            torch.cuda.empty_cache()
    progress("timing")
    time_rounds(lines, batch, options, peak)
    return lines
