"""Signals that score the answers to one prompt at a time, without a model of the run."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from srlm.rows.ids import IdIndex
from srlm.rows.lazy_rows import RowFile
from srlm.rows.records import Candidate, Prompt, RowWriter, Score, content_id, derived_seed
from srlm.rows.resume import resume_iter
from srlm.run.cache_keys import key_inputs
from srlm.signals.stage_names import SCORES
from srlm.stages.score_table import read_answers, read_scores

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from srlm.config import Config
    from srlm.reporter import Reporter
    from srlm.stages.score_table import Answers, Scores
    from srlm.workers.jobs import Finish, Work
    from srlm.workers.tasks import Task


@dataclass(frozen=True, slots=True)
class Scored:
    """The score of one answer (None: it gets none); see `Score`."""

    score: float | None
    answer: str | None = None
    detail: str | None = None


class PerPromptSignal:
    """A signal that needs a prompt and its answers only. Its rows are scores, one for each candidate."""

    stage = SCORES
    breaks_ties = True  # by chance: which of the equally good answers is chosen
    settings: tuple[str, ...] = ()  # the keys that its rows depend on

    def __init__(self, config: Config) -> None:
        self._config = config

    @property
    def max_score(self) -> float | None:
        """See `Signal.max_score`."""
        return 1.0

    def score_prompt(self, prompt: Prompt, answers: Sequence[Candidate], seed: int) -> list[Scored]:
        """Return the score of each answer to a prompt."""
        raise NotImplementedError

    def check(self, prompts: Sequence[Prompt]) -> None:
        """See `Signal.check`."""

    def models(self, t: int) -> dict[str, int]:
        """See `Signal.models`."""
        return {}

    def stage_inputs(self) -> dict[str, Any]:
        """See `Signal.stage_inputs`."""
        return key_inputs(self._config, "signal.kind", *self.settings)

    def pairs_inputs(self) -> dict[str, Any]:
        """See `Signal.pairs_inputs`."""
        return {}

    def task(self, name: str, prompts: Path, candidates: Path, file: Path) -> Task | None:
        """See `Signal.task`."""

    def job(
        self, name: str, prompts: Path, candidates: Path, file: Path, seed: int, folders: Mapping[str, str]
    ) -> Work | None:
        """See `Signal.job`."""
        return ScoreAnswers(name, self, prompts, candidates, file, seed)

    def read(self, answers: Answers, file: Path) -> Scores:
        """See `Signal.read`."""
        return read_scores(answers, RowFile(file, Score), max_score=self.max_score)

    def score_rows(
        self, prompts: Sequence[Prompt], candidates: Sequence[Candidate], seed: int, skip: IdIndex | None = None
    ) -> Iterator[list[Score]]:
        """Yield the rows of one prompt after the other, in the order of the prompts.

        Prompts all of whose candidates are in `skip` are left out.
        """
        answers = read_answers(prompts, candidates)
        rows_of = defaultdict[int, list[int]](list)
        for prompt, row in zip(answers.prompt.tolist(), answers.row.tolist(), strict=True):
            rows_of[prompt].append(row)
        for index, rows in rows_of.items():
            found = [candidates[row] for row in rows]
            if skip is None or not all(row.id in skip for row in found):
                yield self._rows(prompts[index], found, seed)

    def _rows(self, prompt: Prompt, answers: Sequence[Candidate], seed: int) -> list[Score]:
        scored = self.score_prompt(prompt, answers, seed)
        return [self._row(row.id, each, seed) for row, each in zip(answers, scored, strict=True)]

    def _row(self, candidate_id: str, scored: Scored, seed: int) -> Score:
        chance = derived_seed(seed, "tie", candidate_id) / 2**31 if self.breaks_ties else None
        row_id = content_id("score", candidate_id, self._config.signal.kind, scored.score)
        return Score(row_id, candidate_id, scored.score, chance, scored.answer, scored.detail)


@dataclass(frozen=True, slots=True)
class ScoreAnswers:
    """The job that writes a signal's scores."""

    name: str
    signal: PerPromptSignal
    prompts: Path
    candidates: Path
    file: Path
    seed: int

    def run(self, report: Reporter, finish: Finish) -> None:
        """Write the scores that the file lacks; an interrupted prompt is scored again as a whole."""
        prompts, candidates = RowFile(self.prompts, Prompt), RowFile(self.candidates, Candidate)
        done = IdIndex.of(row.candidate_id for row in resume_iter(self.file, Score, report))
        report.start("scores", len(candidates), len(done))
        rows = len(done)
        with RowWriter(self.file) as writer:
            for scores in self.signal.score_rows(prompts, candidates, self.seed, skip=done):
                for row in scores:
                    if row.candidate_id not in done:
                        writer.write(row)
                        report.advance()
                        rows += 1
        finish(self.name, {"rows": rows})
