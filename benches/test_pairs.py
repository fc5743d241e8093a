"""Mean scores and pair selection, against polars and a plain loop: 1,000,000 prompts, 4 answers, 3 verdicts.

All implementations start from the same numpy columns and must select the same rows, including ties (the lower row).
"""

from __future__ import annotations

import math
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
from srlm import native

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from benches.conftest import Comparison

PROMPTS, ANSWERS, VERDICTS = 1_000_000, 4, 3
SAMPLE = 25_000  # prompts for the plain loop

Rows = tuple["NDArray[np.int64]", "NDArray[np.int64]"]


@dataclass(frozen=True)
class Columns:
    """The input columns."""

    prompt: NDArray[np.int64]  # [C]
    candidate: NDArray[np.int64]  # [V] the row of the candidate of each verdict
    score: NDArray[np.float64]  # [V] halves from 0 to 5, a tenth of them NaN

    def nbytes(self) -> int:
        return self.prompt.nbytes + self.candidate.nbytes + self.score.nbytes


def make(prompts: int, *, apart: bool = False) -> Columns:
    """`apart`: the candidates of a prompt and the verdicts on a candidate are not adjacent."""
    rng = np.random.default_rng(0)
    candidates = prompts * ANSWERS
    score = rng.integers(0, 11, candidates * VERDICTS) / 2
    score[rng.random(len(score)) < 0.1] = np.nan
    prompt, candidate = np.repeat(np.arange(prompts), ANSWERS), np.repeat(np.arange(candidates), VERDICTS)
    if apart:
        prompt, candidate = rng.permutation(prompt), rng.permutation(candidate)
    return Columns(prompt, candidate, score)


def ours(columns: Columns, texts: list[str] | None = None) -> Rows:
    mean, _ = native.mean_scores(columns.candidate, columns.score, candidates=len(columns.prompt))
    return native.select_pairs(columns.prompt, mean, texts=texts)[:2]


def best_and_worst(scored: pl.LazyFrame) -> Rows:
    """Select pairs from the columns prompt, score (null if there is none) and row."""
    score, row = pl.col("score"), pl.col("row")
    pairs = (
        scored.group_by("prompt", maintain_order=True)
        .agg(chosen=row.get(score.arg_max()), rejected=row.get(score.arg_min()), margin=score.max() - score.min())
        .filter(pl.col("margin") > 0)
        .collect()
    )
    return pairs["chosen"].to_numpy(), pairs["rejected"].to_numpy()


def polars_groups(columns: Columns) -> Rows:
    """Means by a group-by over the verdicts, in any order."""
    means = (
        pl.LazyFrame({"candidate": columns.candidate, "score": columns.score})
        .group_by("candidate")
        .agg(pl.col("score").fill_nan(None).mean())
    )
    rows = pl.LazyFrame({"prompt": columns.prompt}).with_row_index("row").cast({"row": pl.Int64})
    joined = rows.join(means, left_on="row", right_on="candidate", how="left", maintain_order="left")
    return best_and_worst(joined)


def polars_in_order(columns: Columns) -> Rows:
    """The same, assuming that verdicts are sorted by candidate and every candidate has one."""
    means = (
        pl.LazyFrame({"candidate": columns.candidate, "score": columns.score})
        .group_by("candidate", maintain_order=True)
        .agg(pl.col("score").fill_nan(None).mean())
    )
    rows = means.with_columns(prompt=pl.Series(columns.prompt)).with_row_index("row").cast({"row": pl.Int64})
    return best_and_worst(rows)


def polars_by_column(columns: Columns) -> Rows:
    """The same, assuming three verdicts per candidate and adjacent rows of each prompt."""
    row, score = pl.col("row"), pl.col("score")
    pairs = (
        _scores_by_column(columns)
        .with_columns(prompt=pl.Series(columns.prompt))
        .with_row_index("row")
        .group_by("prompt", maintain_order=True)
        .agg(row.first(), best=score.arg_max(), worst=score.arg_min(), margin=score.max() - score.min())
        .filter(pl.col("margin") > 0)
        .select(chosen=row.cast(pl.Int64) + pl.col("best"), rejected=row.cast(pl.Int64) + pl.col("worst"))
        .collect()
    )
    return pairs["chosen"].to_numpy(), pairs["rejected"].to_numpy()


def polars_by_shape(columns: Columns) -> Rows:
    """The same, assuming four answers per prompt as well: without any group-by, ignoring the prompt column."""
    row, scores = pl.col("row").cast(pl.Int64) * ANSWERS, pl.col("score").arr
    pairs = (
        _scores_by_column(columns)
        .select(pl.col("score").reshape((-1, ANSWERS)))
        .with_row_index("row")
        .select("row", best=scores.arg_max(), worst=scores.arg_min(), margin=scores.max() - scores.min())
        .filter(pl.col("margin") > 0)
        .select(chosen=row + pl.col("best"), rejected=row + pl.col("worst"))
        .collect()
    )
    return pairs["chosen"].to_numpy(), pairs["rejected"].to_numpy()


def _scores_by_column(columns: Columns) -> pl.LazyFrame:
    each = columns.score.reshape(-1, VERDICTS)
    frame = pl.LazyFrame({f"v{n}": each[:, n] for n in range(VERDICTS)})
    return frame.select(score=pl.mean_horizontal(pl.all().fill_nan(None)))


def plain_loop(columns: Columns) -> Rows:
    """Plain Python with dicts and lists."""
    verdicts: dict[int, list[float]] = defaultdict(list)
    for candidate, score in zip(columns.candidate.tolist(), columns.score.tolist(), strict=True):
        if not math.isnan(score):
            verdicts[candidate].append(score)
    answers: dict[int, list[tuple[float, int]]] = defaultdict(list)
    for row, prompt in enumerate(columns.prompt.tolist()):
        if row in verdicts:
            answers[prompt].append((sum(verdicts[row]) / len(verdicts[row]), row))
    chosen, rejected = [], []
    for scored in answers.values():
        best = max(scored, key=lambda answer: (answer[0], -answer[1]))
        worst = min(scored)
        if best[0] > worst[0]:
            chosen.append(best[1])
            rejected.append(worst[1])
    return np.array(chosen), np.array(rejected)


def check_equal(columns: Columns, baselines: list[Callable[[Columns], Rows]]) -> int:
    """Compare all rows of all implementations, and return the number of pairs."""
    expected = ours(columns)
    for baseline in baselines:
        for mine, theirs in zip(expected, baseline(columns), strict=True):
            np.testing.assert_array_equal(mine, theirs)
    return len(expected[0])


@pytest.fixture(scope="module")
def columns() -> Columns:
    return make(PROMPTS)


def test_columns(compare: Comparison, columns: Columns) -> None:
    baselines = [polars_groups, polars_in_order, polars_by_column, polars_by_shape]
    assert check_equal(columns, baselines) > 0.9 * PROMPTS
    small = make(SAMPLE)
    check_equal(small, [plain_loop])
    named: dict[str, Callable[[], object]] = {
        "polars, group_by": lambda: polars_groups(columns),
        "polars, group_by in order": lambda: polars_in_order(columns),
        "polars, one column per verdict": lambda: polars_by_column(columns),
        "polars, fixed shape": lambda: polars_by_shape(columns),
        "plain loop": lambda: plain_loop(small),
    }
    ratios = compare(
        "means and pairs",
        lambda: ours(columns),
        named,
        work=PROMPTS,
        unit="prompts",
        checked="all rows equal",
        rounds=3,
        scale={"plain loop": PROMPTS / SAMPLE},
    )
    assert ratios["plain loop"] >= 50
    # The others rely on a regular shape; srlm does not.
    assert min(ratios["polars, group_by"], ratios["polars, group_by in order"]) >= 3


def test_columns_in_any_order(compare: Comparison) -> None:
    columns = make(PROMPTS, apart=True)
    check_equal(columns, [polars_groups])
    compare(
        "the same, rows apart",
        lambda: ours(columns),
        {"polars, group_by": lambda: polars_groups(columns)},
        work=PROMPTS,
        unit="prompts",
        checked="all rows equal",
        rounds=3,
    )


def test_with_texts(compare: Comparison) -> None:
    """srlm also compares the texts, to drop pairs with equal ones; here there are none."""
    columns = make(PROMPTS // 4)
    texts = [f"the answer of row {row}" for row in range(len(columns.prompt))]
    with_texts, without = ours(columns, texts), ours(columns)
    assert all(np.array_equal(one, other) for one, other in zip(with_texts, without, strict=True))
    check_equal(columns, [polars_in_order])

    def differ() -> Rows:
        chosen, rejected = polars_in_order(columns)
        answers = pl.Series(texts).str.strip_chars()
        keep = (answers.gather(chosen) != answers.gather(rejected)).to_numpy()
        return chosen[keep], rejected[keep]

    for mine, theirs in zip(with_texts, differ(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    compare(
        "the same with texts (250,000)",
        lambda: ours(columns, texts),
        {"polars, group_by in order": differ},
        work=PROMPTS // 4,
        unit="prompts",
        checked="all rows equal",
        rounds=3,
    )


PEAK = """
from pathlib import Path
from benches.test_pairs import PROMPTS, make, ours
def status(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))
ours(make(10))
columns = make(PROMPTS, apart={apart})
Path("/proc/self/clear_refs").write_text("5")
before = status("VmRSS")
pairs = ours(columns)
print((status("VmHWM") - before) / columns.nbytes())
"""


@pytest.mark.parametrize("apart", [False, True])
def test_memory(apart: bool, capsys: pytest.CaptureFixture[str]) -> None:
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("needs Linux's /proc")
    done = subprocess.run(
        [sys.executable, "-c", PEAK.format(apart=apart)],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    share = float(done.stdout)
    with capsys.disabled():
        print(f"\nmemory beyond the columns{', rows apart' if apart else ''}: {share:.2f} times the columns")
    assert share < 3
