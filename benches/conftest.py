"""One table a bench file: the rivals, ours and the ratio, each timed in turn in the same run.

Timings on a shared machine are noisy, so each round times every contestant once, and the medians over the rounds are
compared. Equality is the bench's own business, before the race: it says in words what it checked.
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

# Real text beside the checkout; benches that need it are skipped elsewhere.
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a table: medians in seconds, and the work done per run in `unit`."""

    what: str
    rival: str
    rival_seconds: float
    ours_seconds: float
    work: float
    unit: str
    checked: str


LINES: dict[str, list[Line]] = defaultdict(list)


class Race:
    """Times ours beside its rivals and keeps the lines of the table."""

    def __init__(self, table: list[Line], benchmark: BenchmarkFixture) -> None:
        self._table, self._benchmark = table, benchmark

    def __call__(
        self,
        what: str,
        ours: Callable[[], object],
        rivals: dict[str, Callable[[], object]],
        *,
        work: float,
        unit: str,
        checked: str,
        rounds: int = 5,
        scale: dict[str, float] | None = None,
    ) -> dict[str, float]:
        """Race `ours` against `rivals` and return the ratio rival / ours by rival.

        `work` is the size of the task in `unit`, for the rates in the table. A rival too slow for the whole task may
        be given a sample of it: `scale` says by how much to multiply its time. `checked` says what was compared before.
        """
        times: dict[str, list[float]] = defaultdict(list)
        for _ in range(rounds):
            for name, run in {"ours": ours, **rivals}.items():
                start = time.perf_counter()
                run()
                times[name].append(time.perf_counter() - start)
        mine = statistics.median(times["ours"])
        ratios = {}
        for name in rivals:
            theirs = statistics.median(times[name]) * (scale or {}).get(name, 1.0)
            self._table.append(Line(what, name, theirs, mine, work, unit, checked))
            ratios[name] = theirs / mine
        self._benchmark.extra_info.update({f"ratio to {name}": ratio for name, ratio in ratios.items()})
        self._benchmark.pedantic(ours, rounds=rounds)
        return ratios


@pytest.fixture
def race(request: pytest.FixtureRequest, benchmark: BenchmarkFixture) -> Race:
    """Times ours beside its rivals; the lines are printed at the end, one table a file."""
    return Race(LINES[request.path.name], benchmark)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the tables."""
    for name, lines in LINES.items():
        terminalreporter.section(name)
        for row in _rows(lines):
            terminalreporter.write_line(row)


def _rows(lines: list[Line]) -> Iterator[str]:
    yield "| task | rival | rival | srlm | ratio | checked first |"
    yield "|---|---|---:|---:|---:|---|"
    for line in lines:
        rates = [f"{_rate(line.work / seconds)} {line.unit}/s" for seconds in (line.rival_seconds, line.ours_seconds)]
        ratio = line.rival_seconds / line.ours_seconds
        yield f"| {line.what} | {line.rival} | {rates[0]} | {rates[1]} | {ratio:.1f} | {line.checked} |"


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
