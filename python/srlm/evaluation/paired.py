"""Changes between two models on the same cases: the per-prompt differences, with an interval and an exact test.

Two models that answer or judge the same prompts find the same prompts hard. Their separate intervals contain that
common part and overlap even where the difference is clear; the interval of the per-prompt differences does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from srlm.evaluation.claims import Outcome, claim, sign_flip_test
from srlm.evaluation.estimates import Estimate, ratio
from srlm.rows.records import CaseResult, read_rows, write_rows

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Cases = dict[str, list[CaseResult]]  # by metric
MIN_SHARED = 0.5  # of the cases of either model: with fewer in common, the paired change is of another set


@dataclass(frozen=True, slots=True)
class Change:
    """The change of a metric from one model to another, over the cases that both have.

    `better` and `worse` count the prompts whose results changed in sum; `left_out` the cases that only one model has.
    """

    difference: Estimate
    p_value: float
    better: int
    worse: int
    left_out: int

    @property
    def outcome(self) -> Outcome:
        """Whether the later model is shown to be better or worse."""
        return claim(self.difference, self.p_value)


def paired_change(later: Sequence[CaseResult], earlier: Sequence[CaseResult]) -> Change | None:
    """Return the change from `earlier` to `later`, pooled over the cases of both.

    Whole prompts are resampled for the interval, and have their signs flipped for the test, since the cases of one
    prompt are not independent. None if fewer than half of the cases of either model are shared.
    """
    before = {case.id: case.value for case in earlier}
    shared = [case for case in later if case.id in before]
    larger = max(len(later), len(before))
    if not shared or len(shared) < MIN_SHARED * larger:
        return None
    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    for case in shared:
        sums[case.prompt] = sums.get(case.prompt, 0.0) + case.value - before[case.id]
        counts[case.prompt] = counts.get(case.prompt, 0) + 1
    differences = list(sums.values())
    return Change(
        difference=ratio(differences, list(counts.values())),
        p_value=sign_flip_test(differences),
        better=sum(value > 0 for value in differences),
        worse=sum(value < 0 for value in differences),
        left_out=len(later) + len(before) - 2 * len(shared),
    )


def cases_file(file: Path) -> Path:
    """Return the file with the result of every case of the evaluation whose rows are in `file`."""
    return file.with_name(f"{file.stem}_cases.jsonl")


def write_cases(file: Path, cases: Sequence[CaseResult]) -> None:
    """Write the results of an evaluation's cases beside its rows, atomically."""
    write_rows(cases_file(file), cases)


def numbered(cases: Sequence[CaseResult]) -> list[CaseResult]:
    """Return the cases with unique ids: a row that occurs twice in a set counts twice."""
    seen: dict[tuple[str, str], int] = {}
    found = []
    for case in cases:
        count = seen[case.metric, case.id] = seen.get((case.metric, case.id), 0) + 1
        found.append(case if count == 1 else CaseResult(case.metric, f"{case.id}.{count}", case.prompt, case.value))
    return found


def read_cases(file: Path) -> Cases:
    """Read the results beside an evaluation's rows, by metric; empty if there are none.

    Raises:
        InputError: the file has a broken row.
    """
    found: Cases = {}
    if cases_file(file).is_file():
        for case in read_rows(cases_file(file), CaseResult):
            found.setdefault(case.metric, []).append(case)
    return found
