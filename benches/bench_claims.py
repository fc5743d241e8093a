"""How often a claim is made although there is no difference: simulations of every kind of claim.

    python benches/bench_claims.py [--runs 2000] [--out FILE.md]

Each cell simulates `runs` comparisons of two models without a difference and counts how many are claimed, better or
worse. A claim needs a 95 % interval that excludes even and an exact test with p < 0.05 (`srlm.evaluation.claims`), so
the interval, which takes most of the time, is only computed where the test passes; the counts are the same.
`tests/evaluation/test_bench_claims.py` runs all of them with fewer runs.
"""

from __future__ import annotations

import argparse
import math
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from srlm.evaluation.claims import ALPHA, sign_flip_test, sign_test, win_rate_claim
from srlm.evaluation.estimates import mean, ratio
from srlm.evaluation.length_control import length_control
from srlm.evaluation.paired import paired_change
from srlm.evaluation.win_rates import LOSS, TIE, WIN, win_rates
from srlm.report.changes import compare_intervals
from srlm.rows.records import CaseResult

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.random import Generator
    from numpy.typing import NDArray

DECISIVE = (2, 5, 10, 80, 256)
LENGTH_JUDGES: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "always the longer": lambda d: (np.sign(d) + 1) / 2,
    "steep (sigmoid of d/20)": lambda d: 1 / (1 + np.exp(-d / 20)),
    "soft (sigmoid of d/150)": lambda d: 1 / (1 + np.exp(-d / 150)),
    "only above 100 (95 %)": lambda d: np.where(np.abs(d) > 100, 0.5 + 0.45 * np.sign(d), 0.5),
}


CONDITIONS = """# Claims without a difference

`python benches/bench_claims.py --runs {runs}`, {date}, Python {python}, numpy {numpy}, {seconds:.0f} s on one core
that other processes used, too. Every row has {runs} simulated comparisons of two models without a
difference, with the seeds 0 to {last}. At 5 %, up to {limit} claims are within three standard deviations of the
simulation's error; the largest number in a row is {worst}.

`d` is the length of a's answer minus that of b's, in characters. A withheld length-controlled win rate is no claim. A
judge that follows the ratio of lengths is not symmetric in `d`; its rows count the exact test alone, without the
interval that a claim also needs.

| kind of claim | without a difference | claims | share |
|---|---|---:|---:|"""


@dataclass(frozen=True, slots=True)
class Cell:
    """A simulated case: `claimed` simulates one comparison and returns whether a difference is claimed."""

    kind: str
    case: str
    claimed: Callable[[Generator], bool]


def win_rate(draw: Generator, decisive: int, ties: int) -> bool:
    """Decided prompts are won or lost with equal chance."""
    wins = int(draw.binomial(decisive, 0.5))
    if sign_test(wins, decisive - wins) >= ALPHA:
        return False
    results = [WIN] * wins + [LOSS] * (decisive - wins) + [TIE] * ties
    return win_rate_claim(mean(results), wins, decisive - wins) != "same"


def change(draw: Generator, discordant: int, same: int, per_prompt: int, correlated: bool) -> bool:
    """Two models differ on the pairs of `discordant` prompts, each pair or whole prompt in a random direction."""
    signs = draw.choice([-1.0, 1.0], (discordant, per_prompt))
    if correlated:
        signs[:] = signs[:, :1]
    signs = np.concatenate([signs, np.zeros((same, per_prompt))])  # [P, pairs]
    if sign_flip_test(signs.sum(1).tolist()) >= ALPHA:
        return False
    before = [
        CaseResult("m", f"{p}.{k}", f"{p}", float(sign < 0))
        for p, row in enumerate(signs)
        for k, sign in enumerate(row)
    ]
    later = [
        CaseResult("m", f"{p}.{k}", f"{p}", float(sign > 0))
        for p, row in enumerate(signs)
        for k, sign in enumerate(row)
    ]
    found = paired_change(later, before)
    return found is not None and found.outcome in ("better", "worse")


def half_steps(draw: Generator, discordant: int, same: int) -> bool:
    """Two results of 0, 1/2 or 1 per prompt: of two models against M1, or of a judge and the length baseline."""
    first, second = draw.choice([LOSS, TIE, WIN], (2, discordant + same))
    first[discordant:] = second[discordant:]
    if sign_flip_test((second - first).tolist()) >= ALPHA:
        return False
    before, later = (
        [CaseResult("m", f"{p}", f"{p}", float(value)) for p, value in enumerate(values)] for values in (first, second)
    )
    found = paired_change(later, before)
    return found is not None and found.outcome in ("better", "worse")


def length_only(draw: Generator, prompts: int, shift: float, judge: str, ties: float = 0.0) -> bool:
    """The judge likes longer answers and nothing else; the length differences are normal, 150 wide."""
    differences = np.round(draw.normal(shift, 150, prompts))
    results = (draw.random(prompts) < LENGTH_JUDGES[judge](differences)).astype(float)
    results[draw.random(prompts) < ties] = TIE
    control = length_control(results.tolist(), differences.tolist())
    if control.withheld or sign_test(control.better, control.worse) >= ALPHA:
        return False
    found = win_rates(results.tolist(), differences.astype(int).tolist(), [0] * prompts)
    rate, p_value = found.length_controlled, found.length_controlled_p
    assert p_value is not None
    assert rate.low is not None
    assert rate.high is not None
    return p_value < ALPHA and (rate.low > 0.5 or rate.high < 0.5)


def by_ratio(draw: Generator, prompts: int, factor: float) -> bool:
    """The same for a judge that follows the ratio of the lengths, with answers of very different lengths."""
    one, other = (np.exp(draw.normal(6, 0.6, prompts)) for _ in range(2))
    one = one * factor
    results = (draw.random(prompts) < 1 / (1 + np.exp(-3 * np.log(one / other)))).astype(float)
    differences = np.round(one - other)
    control = length_control(results.tolist(), differences.tolist())
    return not control.withheld and sign_test(control.better, control.worse) < ALPHA


def unpaired(draw: Generator, prompts: int, rate: float) -> bool:
    """Two models are measured on different prompts."""
    one, two = (ratio((draw.random(prompts) < rate).astype(float).tolist(), [1.0] * prompts) for _ in range(2))
    return compare_intervals(one, two, prompts=prompts) in ("better", "worse")


def bound(claims: Callable[..., bool], *arguments: object) -> Callable[[Generator], bool]:
    """Return a case with its arguments bound."""
    return lambda draw: claims(draw, *arguments)


def cells() -> Iterator[Cell]:
    """Yield all cases."""
    for n in DECISIVE:
        yield Cell("win rate", f"{n} decisive prompts", bound(win_rate, n, 0))
        yield Cell("win rate", f"{n} decisive, {256 - n} tied", bound(win_rate, n, 256 - n))
    for n in DECISIVE:
        yield Cell("IFEval, change", f"{n} of 541 prompts differ", bound(change, n, 541 - n, 1, False))
    for n in DECISIVE:
        for word, together in (("each on its own", False), ("in one direction", True)):
            yield Cell(
                "judge accuracy, change",
                f"{n} of 256 prompts differ, 3 pairs each, {word}",
                bound(change, n, 256 - n, 3, together),
            )
    for n in DECISIVE:
        yield Cell(
            "win rate against M1, change; judge against the length baseline",
            f"{n} of 256 prompts may differ",
            bound(half_steps, n, 256 - n),
        )
    for n in DECISIVE:
        for judge in LENGTH_JUDGES:
            for shift in (0, 100, 300):
                yield Cell(
                    "length-controlled win rate",
                    f"{judge}; {n} prompts, a longer in {100 * _share(shift):.0f} %",
                    bound(length_only, n, shift, judge),
                )
    yield Cell(
        "length-controlled win rate",
        "soft; 256 prompts, a longer in 63 %, half of all tied",
        bound(length_only, 256, 50, "soft (sigmoid of d/150)", 0.5),
    )
    for factor in (1.0, 1.3, 1.6):
        yield Cell(
            "length-controlled win rate, test only",
            f"ratio of lengths; 256 prompts, a's {factor} times as long",
            bound(by_ratio, 256, factor),
        )
    for n in (5, 10, 80, 256):
        for rate in (0.5, 0.9):
            yield Cell(
                "unpaired (`srlm compare`)",
                f"{n} prompts each, {100 * rate:.0f} % right",
                bound(unpaired, n, rate),
            )


def _share(shift: float) -> float:
    return 0.5 * (1 + math.erf(shift / 150 / math.sqrt(2)))


def claims(cell: Cell, runs: int, seed: int = 0) -> int:
    """Simulate a case and return in how many runs a difference is claimed."""
    draw = np.random.default_rng(seed)
    return sum(cell.claimed(draw) for _ in range(runs))


def limit(runs: int) -> int:
    """Return how many claims of `runs` are within the simulation's error of 5 %: three standard deviations above."""
    return math.floor(runs * ALPHA + 3 * math.sqrt(runs * ALPHA * (1 - ALPHA)))


def main() -> None:
    """Run all cases and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    started, rows, worst = time.monotonic(), [], 0
    for index, cell in enumerate(cells()):
        count = claims(cell, given.runs, index)
        worst = max(worst, count)
        rows.append(f"| {cell.kind} | {cell.case} | {count} | {100 * count / given.runs:.1f} % |")
        print(rows[-1], flush=True)
    within = limit(given.runs)
    if given.out is not None:
        conditions = CONDITIONS.format(
            runs=given.runs,
            date=time.strftime("%d %B %Y"),
            python=platform.python_version(),
            numpy=np.__version__,
            seconds=time.monotonic() - started,
            last=len(rows) - 1,
            limit=within,
            worst=worst,
        )
        given.out.write_text("\n".join([conditions, *rows, ""]), encoding="utf-8")
    assert worst <= within, f"{worst} claims of {given.runs}"


if __name__ == "__main__":
    main()
