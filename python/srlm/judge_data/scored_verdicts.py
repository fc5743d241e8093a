"""Judgements of a file as columns, by the answers that they judge: some 32 bytes each, without their texts."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

import numpy as np

from srlm.rows.ids import id_number
from srlm.rows.lazy_rows import RowFile
from srlm.rows.records import Verdict

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


class ScoredVerdicts:
    """The judgements with a score that the judge has completed, sorted by answer, then by sample.

    The rest of a judgement that was cut off is unknown, so nobody learns from it (as in `stages.eft`).
    """

    def __init__(self, file: Path) -> None:
        self._rows = RowFile(file, Verdict)
        ids, sample, score, row = array("Q"), array("q"), array("d"), array("q")
        for number, verdict in enumerate(self._rows):
            if verdict.score is not None and verdict.finish_reason != "length":
                ids.append(id_number(verdict.candidate_id))
                sample.append(verdict.sample)
                score.append(verdict.score)
                row.append(number)
        order = np.lexsort((np.array(sample), np.array(ids)))  # [V]
        self.answers = np.array(ids, dtype=np.uint64)[order]  # [V] the number of each answer's id
        self.scores = np.array(score, dtype=np.float64)[order]  # [V]
        self._row = np.array(row, dtype=np.int64)[order]  # [V]

    def of(self, candidate_id: str) -> list[Verdict]:
        """Return the judgements of an answer, by sample."""
        start, end = (
            int(np.searchsorted(self.answers, np.uint64(id_number(candidate_id)), side=side))
            for side in ("left", "right")
        )
        return [self._rows[int(row)] for row in self._row[start:end]]

    def variances(self) -> tuple[NDArray[np.uint64], NDArray[np.float64]]:
        """Return the number of each judged answer's id, ascending, and the variance of its scores: [A] each."""
        answers, index, counts = np.unique(self.answers, return_inverse=True, return_counts=True)
        index = index.reshape(-1)
        means = np.bincount(index, self.scores, len(answers)) / counts
        variances = np.bincount(index, (self.scores - means[index]) ** 2, len(answers)) / counts
        return answers, np.round(variances, 9)  # equal scores have the variance 0, whatever the rounding
