"""Errors against the truth, peak memory, and the race in rounds."""

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

from preference.contestants import CONTESTANTS, Contestant, UnsupportedError
from preference.task import VOCABULARY_BLOCK, Batch, Result, Truth

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator


# Beyond these a line says that it deviates: sequence log-probability and loss in nats, gradients relative (Frobenius).
TOLERANCES = {
    torch.float32: (1e-2, 1e-4, 1e-3),
    torch.bfloat16: (4.0, 5e-2, 5e-2),
    torch.float16: (0.5, 1e-2, 1e-2),
}
MB = 1e6
M_MMAP_THRESHOLD, M_TRIM_THRESHOLD = -3, -1  # of glibc's mallopt


@dataclass(frozen=True, slots=True)
class Errors:
    """Deviations from the truth."""

    logps: float
    loss: float
    hidden: float | None
    weight: float | None

    def judge(self, dtype: torch.dtype) -> str:
        """Return `equal`, or what deviates."""
        logps, loss, gradient = TOLERANCES[dtype]
        bounds = {"log-probs": logps, "loss": loss, "grad hidden": gradient, "grad weight": gradient}
        found = dict(zip(bounds, (self.logps, self.loss, self.hidden, self.weight), strict=True))
        wrong = [
            f"{name} {error:.1e}" for name, error in found.items() if error is not None and not error <= bounds[name]
        ]
        return f"**deviates: {', '.join(wrong)}**" if wrong else "equal"


@dataclass(slots=True)
class Line:
    """One line of a table, filled as far as the contestant gets."""

    contestant: Contestant
    errors: Errors | None = None
    peak: int | None = None  # bytes above the inputs, gradients included
    extra: int | None = None  # bytes above the inputs and the gradients
    seconds: list[float] = field(default_factory=list)  # of each round
    failure: str | None = None


def synchronize(device: str) -> None:
    """Wait for the device."""
    if device == "cuda":
        torch.cuda.synchronize()


def step(contestant: Contestant, batch: Batch) -> Result:
    """Run forward and backward, to gradients in `batch`."""
    batch.hidden.grad = batch.weight.grad = None
    result = contestant.run(batch)
    result.loss.backward()
    return result


def compare(contestant: Contestant, result: Result, batch: Batch, truth: Truth) -> Errors:
    """Compare what a step just returned, and the gradients it left in `batch`, with the truth."""
    if batch.hidden.grad is None or batch.weight.grad is None:
        raise UnsupportedError("returned no gradients")
    logps = float((result.logps.double() - truth.logps).abs().max())
    loss = abs(float(result.loss.detach()) - (math.log(2) if contestant.own_reference else truth.loss))
    if contestant.own_reference:
        return Errors(logps, loss, None, None)
    off = batch.hidden.grad.double().flatten(0, 1).index_add_(0, batch.places, truth.grad_hidden, alpha=-1.0)
    hidden = float(off.norm() / truth.grad_hidden.norm())  # gradients of prompts and padding count as errors
    blocks = zip(batch.weight.grad.split(VOCABULARY_BLOCK), truth.grad_weight.split(VOCABULARY_BLOCK), strict=True)
    squares = sum(float((grad.double() - true).square().sum()) for grad, true in blocks)
    return Errors(logps, loss, hidden, math.sqrt(squares) / float(truth.grad_weight.norm()))


def peak_bytes(run: Callable[[], object], device: str) -> int | None:
    """Return how far memory rises above its present level while `run` runs; None where that cannot be told.

    On a GPU the caching allocator's own figure. Elsewhere the process's resident memory: Linux resets its high-water
    mark on request, so that nothing is sampled; what malloc keeps for later is handed back before, and meanwhile each
    buffer of 64 KB and more is a mapping of its own, so that holes in the heap do not count.
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
    finally:  # to where malloc itself ends up in a process that has freed large buffers
        libc.mallopt(M_MMAP_THRESHOLD, 1 << 25)
        libc.mallopt(M_TRIM_THRESHOLD, 1 << 26)


def resident(name: str) -> int:
    """Return a figure of Linux's account of this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def check_meter(device: str) -> str:
    """Measure one, two and one buffers of 100 MB, and say what came out."""

    def once(count: int) -> int | None:
        size = int(100 * MB) // 4
        return peak_bytes(lambda: [torch.ones(size, device=device) for _ in range(count)], device)

    seen = [once(1), once(2), once(1)]
    return ", ".join("unknown" if peak is None else f"{peak / MB:.1f}" for peak in seen)


def gradient_bytes(contestant: Contestant, batch: Batch) -> int:
    """Return what the gradients take, with the float32 buffer of the weight's where there is one beside it."""
    wide = 4 * batch.weight.numel() if contestant.wide and batch.weight.dtype != torch.float32 else 0
    return batch.hidden.nbytes + batch.weight.nbytes + wide


def check_and_measure(line: Line, batch: Batch, truth: Truth, options: argparse.Namespace) -> None:
    """Fill the line's errors, and its memory as the least of three runs; slow contestants run once.

    The least, because first runs compile and tune, and the CPU's matrix library takes scratch at one time and keeps it
    the next.
    """
    results: list[Result] = []
    start, peaks = time.perf_counter(), list[int | None]()
    while len(peaks) < 3 and (not peaks or time.perf_counter() - start < options.patience / 2):
        batch.hidden.grad = batch.weight.grad = None
        results.clear()
        peaks.append(peak_bytes(lambda: results.append(step(line.contestant, batch)), options.device))
    line.errors = compare(line.contestant, results[0], batch, truth)
    found = [peak for peak in peaks if peak is not None]
    if found:
        line.peak = min(found)
        line.extra = line.peak - gradient_bytes(line.contestant, batch)


@contextlib.contextmanager
def failures_of(line: Line) -> Iterator[None]:
    """Write down why a contestant failed, and go on without it."""
    try:
        yield
    except ImportError as error:
        line.failure = f"{'missing' if 'srlm' in str(error) else 'not installed'} ({error})"
    except torch.OutOfMemoryError:
        line.failure = "out of memory"
    except Exception as error:  # whatever a rival raises is its result
        first = (str(error).strip().splitlines() or [""])[0]
        line.failure = f"{type(error).__name__}: {first[:150]}"


def time_rounds(lines: list[Line], batch: Batch, options: argparse.Namespace, peak: MatrixPeak) -> None:
    """Time the contestants in turn, with the device's matrix product beside them, and keep their times.

    A contestant that has used up `options.patience` seconds sits out the rounds that are left.
    """
    for _ in range(options.rounds):
        peak.run()
        for line in lines:
            if line.failure is not None or sum(line.seconds) > options.patience:
                continue
            batch.hidden.grad = batch.weight.grad = None
            synchronize(options.device)
            start = time.perf_counter()
            with failures_of(line):
                step(line.contestant, batch)
                synchronize(options.device)
            line.seconds.append(time.perf_counter() - start)


class MatrixPeak:
    """The rate of a large square product in the run's dtype, the best of all rounds."""

    def __init__(self, dtype: torch.dtype, device: str) -> None:
        self._size, self._device = (8192 if device == "cuda" else 2048), device
        self._left, self._right = (torch.randn(self._size, self._size, device=device).to(dtype) for _ in range(2))
        self.rate = 0.0  # operations a second
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
    """Say on the error stream where the bench is."""
    print(f"  {text}", file=sys.stderr, flush=True)


def race(batch: Batch, truth: Truth, options: argparse.Namespace, peak: MatrixPeak) -> list[Line]:
    """Compare, then measure memory, then time."""
    lines = [Line(contestant) for contestant in CONTESTANTS if options.only in contestant.name]
    for line in lines:
        if options.device not in line.contestant.devices:
            line.failure = "not on a CPU"
            continue
        with failures_of(line):
            start = time.perf_counter()
            check_and_measure(line, batch, truth, options)
            progress(f"{line.contestant.name}: checked in {time.perf_counter() - start:.1f} s")
        batch.hidden.grad = batch.weight.grad = None
        if options.device == "cuda":
            torch.cuda.empty_cache()
    progress("racing")
    time_rounds(lines, batch, options, peak)
    return lines
