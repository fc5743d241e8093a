"""One table per bench file: baselines, srlm and the ratio, timed alternately in the same run.

Timings on a shared machine are noisy, so each round times every implementation once, and the medians over the rounds
are compared. Each bench checks beforehand that the results are equal, and passes a description of that check.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_benchmark.fixture import BenchmarkFixture

# Real texts next to the checkout; benches that need them are skipped if they are missing.
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table: medians in seconds, and the work per run in `unit`."""

    task: str
    baseline: str
    baseline_seconds: float
    ours_seconds: float
    work: float
    unit: str
    checked: str


ROWS: dict[str, list[Row]] = defaultdict(list)


class Comparison:
    """Times srlm and its baselines, and collects the rows of the table."""

    def __init__(self, table: list[Row], benchmark: BenchmarkFixture) -> None:
        self._table, self._benchmark = table, benchmark

    def __call__(
        self,
        task: str,
        ours: Callable[[], object],
        baselines: dict[str, Callable[[], object]],
        *,
        work: float,
        unit: str,
        checked: str,
        rounds: int = 5,
        scale: dict[str, float] | None = None,
    ) -> dict[str, float]:
        """Time `ours` and the `baselines`, and return the ratio baseline / ours for each baseline.

        `work` is the size of the task in `unit`, for the rates in the table. A baseline that is too slow for the whole
        task may run on a sample of it: `scale` is the factor by which its time is multiplied. `checked` describes the
        check that was made before.
        """
        times: dict[str, list[float]] = defaultdict(list)
        for _ in range(rounds):
            for name, run in {"ours": ours, **baselines}.items():
                start = time.perf_counter()
                run()
                times[name].append(time.perf_counter() - start)
        mine = statistics.median(times["ours"])
        ratios = {}
        for name in baselines:
            theirs = statistics.median(times[name]) * (scale or {}).get(name, 1.0)
            self._table.append(Row(task, name, theirs, mine, work, unit, checked))
            ratios[name] = theirs / mine
        self._benchmark.extra_info.update({f"ratio to {name}": ratio for name, ratio in ratios.items()})
        self._benchmark.pedantic(ours, rounds=rounds)
        return ratios


@pytest.fixture
def compare(request: pytest.FixtureRequest, benchmark: BenchmarkFixture) -> Comparison:
    """Times srlm and its baselines; the tables are printed at the end, one per file."""
    return Comparison(ROWS[request.path.name], benchmark)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the tables."""
    for name, lines in ROWS.items():
        terminalreporter.section(name)
        for row in _rows(lines):
            terminalreporter.write_line(row)


def _rows(lines: list[Row]) -> Iterator[str]:
    yield "| task | baseline | baseline | srlm | ratio | checked |"
    yield "|---|---|---:|---:|---:|---|"
    for line in lines:
        rates = [
            f"{_rate(line.work / seconds)} {line.unit}/s" for seconds in (line.baseline_seconds, line.ours_seconds)
        ]
        ratio = line.baseline_seconds / line.ours_seconds
        yield f"| {line.task} | {line.baseline} | {rates[0]} | {rates[1]} | {ratio:.1f} | {line.checked} |"


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
