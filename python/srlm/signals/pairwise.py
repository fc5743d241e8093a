"""`signal.kind: pairwise`: an answer's score is its mean probability of winning against the prompt's other answers.

M_t compares every two different answers to a prompt in both orders, with the prompt and format of `head_to_head`. A win
probability is the mean over both orders, so that a preference for a position cancels out; the score is the mean over
all answers to the prompt, the answer itself included with 1/2 (SPPO, Wu et al. 2024, arXiv 2405.00675).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import islice, permutations
from typing import TYPE_CHECKING, Any

import numpy as np

from srlm.evaluation.pairwise import fill, parse_verdict, read_template
from srlm.progress import count_lines
from srlm.rows.lazy_rows import RowFile
from srlm.rows.records import Candidate, CandidateComparison, Prompt, RowWriter, content_id
from srlm.rows.resume import resume_iter
from srlm.run.cache_keys import key_inputs
from srlm.signals.stage_names import COMPARISONS
from srlm.stages.judge_prompt import block_names
from srlm.stages.score_table import read_answers, scores_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from srlm.config import Config
    from srlm.engines.base import Engine
    from srlm.evaluation.pairwise import JudgeOutput
    from srlm.reporter import Reporter
    from srlm.stages.score_table import Answers, Scores
    from srlm.workers.jobs import Work
    from srlm.workers.tasks import Result, Task

REQUESTS_AT_ONCE = 4096  # their prompts are in memory
WINS = {"first": 1.0, "tie": 0.5, "second": 0.0}


class PairwiseSignal:
    """See `Signal`."""

    stage = COMPARISONS

    def __init__(self, config: Config) -> None:
        self._config = config

    @property
    def max_score(self) -> float:
        """See `Signal.max_score`."""
        return 1.0

    def check(self, prompts: Sequence[Prompt]) -> None:
        """See `Signal.check`."""
        read_template(self._config.head_to_head)

    def models(self, t: int) -> dict[str, int]:
        """See `Signal.models`."""
        return {}

    def stage_inputs(self) -> dict[str, Any]:
        """See `Signal.stage_inputs`."""
        how = self._config.head_to_head
        names = ["head_to_head.justify", *(["head_to_head.max_tokens"] if how.justify else [])]
        return key_inputs(self._config, "engine", "signal.kind", *names) | {"pairwise prompt": read_template(how)}

    def pairs_inputs(self) -> dict[str, Any]:
        """See `Signal.pairs_inputs`."""
        return {}

    def task(self, name: str, prompts: Path, candidates: Path, file: Path) -> Task:
        """See `Signal.task`."""
        return CompareCandidates(name, prompts, candidates, file)

    def job(
        self, name: str, prompts: Path, candidates: Path, file: Path, seed: int, folders: Mapping[str, str]
    ) -> Work | None:
        """See `Signal.job`."""

    def read(self, answers: Answers, file: Path) -> Scores:
        """See `Signal.read`. An answer that no comparison has decided in both orders has no score."""
        return scores_of(answers, win_rates(answers, RowFile(file, CandidateComparison)), max_score=self.max_score)


def win_rates(answers: Answers, rows: Sequence[CandidateComparison]) -> NDArray[np.float64]:
    """Return the mean win probability [C] of each answer, NaN without a comparison."""
    shown: dict[tuple[str, str], float] = {}
    for row in rows:
        if row.verdict != "missing":
            shown[row.first_id, row.second_id] = WINS[row.verdict] if row.preference is None else row.preference
    won: dict[int, list[float]] = defaultdict(list)
    for (first, second), value in shown.items():
        one, other = answers.ids.index(first), answers.ids.index(second)
        if first < second and (second, first) in shown and one is not None and other is not None:
            probability = (value + 1 - shown[second, first]) / 2
            won[one].append(probability)
            won[other].append(1 - probability)
    found = np.full(len(answers.length), np.nan)
    for index, values in won.items():
        found[index] = np.mean([0.5, *values])
    return found[_first_of_text(answers)]


def _first_of_text(answers: Answers) -> NDArray[np.int64]:
    """Return for each answer [C] the first one of its prompt with the same text, which is compared for all of them."""
    keys = np.stack([answers.prompt.astype(np.uint64), answers.text])
    _, first, inverse = np.unique(keys, axis=1, return_index=True, return_inverse=True)
    found: NDArray[np.int64] = first[inverse.reshape(-1)]
    return found


@dataclass(frozen=True, slots=True)
class CompareCandidates:
    """The task that compares every two different answers to a prompt, in both orders."""

    name: str
    prompts: Path
    candidates: Path
    file: Path

    def run(self, engine: Engine, config: Config, seed: int, report: Reporter) -> Result:
        """See `Task.run`."""
        from srlm.evaluation.pairwise_judges import LocalJudge

        judge = LocalJudge(engine, config.head_to_head, config.engine.length)
        template = read_template(config.head_to_head)
        escaper = judge.escaper(block_names(template))
        rows = resume_iter(self.file, CandidateComparison, report)
        done = {(row.first_id, row.second_id) for row in rows}
        report.start("comparisons", sum(1 for _ in self._ordered()), len(done))
        missing = (each for each in self._ordered() if (each[1].id, each[2].id) not in done)
        with RowWriter(self.file, len(done)) as writer:
            while part := list(islice(missing, REQUESTS_AT_ONCE)):
                asked = {f"{first.id}.{second.id}": (prompt, first, second) for prompt, first, second in part}
                texts = (
                    (key, fill(template, prompt.text, first.text, second.text, escaper))
                    for key, (prompt, first, second) in asked.items()
                )
                for output in judge.ask(texts):
                    writer.write(_row(*asked[output.key], output))
                    report.advance()
        return {"rows": count_lines(self.file)}

    def _ordered(self) -> Iterator[tuple[Prompt, Candidate, Candidate]]:
        """Yield (prompt, first, second), in an order that that of the files does not change."""
        prompts, candidates = RowFile(self.prompts, Prompt), RowFile(self.candidates, Candidate)
        answers = read_answers(prompts, candidates)
        firsts = np.unique(_first_of_text(answers)[~answers.blank])
        for rows in np.split(firsts, np.flatnonzero(np.diff(answers.prompt[firsts])) + 1) if len(firsts) else []:
            prompt = prompts[int(answers.prompt[rows[0]])]
            given = [candidates[int(answers.row[row])] for row in rows]
            for first, second in permutations(given, 2):
                yield prompt, first, second


def _row(prompt: Prompt, first: Candidate, second: Candidate, output: JudgeOutput) -> CandidateComparison:
    return CandidateComparison(
        id=content_id("comparison", first.id, second.id, output.text),
        prompt_id=prompt.id,
        first_id=first.id,
        second_id=second.id,
        text=output.text,
        verdict=parse_verdict(output.text),
        preference=output.preference,
        thought=output.thought,
    )
