"""`signal.kind: implicit`: an answer's score is the log-ratio of M_t to an earlier model, DPO's implicit reward.

log p_Mt(answer) - log p_earlier(answer) is the reward that a model trained from the earlier one with DPO has learned,
up to a factor and a constant of the prompt (Rafailov et al. 2023, arXiv 2305.18290, section 4). DICE (Chen et al. 2024,
arXiv 2406.09760) trains on it again, with a penalty on length; CREAM (Wang et al. 2024, arXiv 2410.12735) regularises
by how much the rankings of M_t and of the model before it agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from srlm.errors import InputError
from srlm.evaluation.rank_correlation import kendall
from srlm.rows.lazy_rows import RowFile
from srlm.rows.records import Candidate, ModelLogprob, Prompt, RowWriter
from srlm.rows.resume import resume_rows
from srlm.run.cache_keys import key_inputs
from srlm.signals.length_penalty import balanced_penalty
from srlm.signals.stage_names import LOGPROBS
from srlm.stages.score_table import read_answers, scores_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from transformers import PreTrainedTokenizerBase

    from srlm.config import Config
    from srlm.reporter import Reporter
    from srlm.stages.score_table import Answers, Scores
    from srlm.training.answer_readings import Answer
    from srlm.workers.jobs import Finish, Work
    from srlm.workers.tasks import Task

Role = Literal["policy", "reference", "previous"]
POLICY: Role = "policy"
REFERENCE: Role = "reference"
PREVIOUS: Role = "previous"
PROMPTS_AT_ONCE = 256  # their answers are in memory


class ImplicitSignal:
    """See `Signal`."""

    stage = LOGPROBS

    def __init__(self, config: Config) -> None:
        self._config = config

    @property
    def max_score(self) -> float | None:
        """See `Signal.max_score`."""
        return None

    def check(self, prompts: Sequence[Prompt]) -> None:
        """See `Signal.check`."""

    def models(self, t: int) -> dict[str, int]:
        """See `Signal.models`. For M2 the model before M1 is M0, which is also its reference."""
        signal = self._config.signal
        found: dict[str, int] = {POLICY: t - 1, REFERENCE: 0 if signal.reference == "base" else t - 2}
        if signal.confidence == "rank_agreement" and t > 2:
            found[PREVIOUS] = t - 2
        return found

    def stage_inputs(self) -> dict[str, Any]:
        """See `Signal.stage_inputs`."""
        return key_inputs(self._config, "signal.kind", "signal.reference", "signal.confidence")

    def pairs_inputs(self) -> dict[str, Any]:
        """See `Signal.pairs_inputs`."""
        return key_inputs(self._config, "signal.length_normalize", "signal.length_penalty")

    def task(self, name: str, prompts: Path, candidates: Path, file: Path) -> Task | None:
        """See `Signal.task`."""

    def job(
        self, name: str, prompts: Path, candidates: Path, file: Path, seed: int, folders: Mapping[str, str]
    ) -> Work | None:
        """See `Signal.job`."""
        return ReadModels(name, self._config, dict(folders), prompts, candidates, file)

    def read(self, answers: Answers, file: Path) -> Scores:
        """See `Signal.read`. An answer without tokens has no score."""
        signal = self._config.signal
        table = _columns(answers, RowFile(file, ModelLogprob))
        rewards = table[POLICY] - table[REFERENCE]  # [C] nats
        tokens = np.where(np.isnan(rewards), np.nan, table["tokens"])
        score = rewards / tokens if signal.length_normalize else rewards
        if signal.length_penalty == "auto":
            score = score - balanced_penalty(answers.prompt, score, tokens) * tokens
        elif signal.length_penalty:
            score = score - signal.length_penalty * tokens
        confidence = None
        if signal.confidence == "rank_agreement" and PREVIOUS in table:
            confidence = _agreement(answers, rewards, table[PREVIOUS] - table[REFERENCE])
        return scores_of(answers, score, max_score=None, confidence=confidence)


def _columns(answers: Answers, rows: Sequence[ModelLogprob]) -> dict[str, NDArray[np.float64]]:
    """Return the log-probabilities [C] by model, NaN where there is none, and the numbers of `tokens`.

    Raises:
        InputError: a row's candidate is not among the answers.
    """
    count = len(answers.length)
    table = {name: np.full(count, np.nan) for name in (POLICY, REFERENCE, "tokens")}
    first = answers.ids.indices(answers.ids.numbers)  # those that share an id share their readings
    for row in rows:
        index = answers.ids.index(row.candidate_id)
        if index is None:
            raise InputError(f"a log-probability's candidate {row.candidate_id} is not in the file of candidates")
        table.setdefault(row.model, np.full(count, np.nan))[index] = row.logprob
        table["tokens"][index] = row.tokens
    return {name: column[first] for name, column in table.items()}


def _agreement(answers: Answers, own: NDArray[np.float64], before: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return for each prompt [P] (tau + 1) / 2 of the two rankings of its scored answers; 1 for less than two.

    As in CREAM (arXiv 2410.12735), with Kendall's tau.
    """
    found = np.ones(answers.prompts)
    scored = np.flatnonzero(~np.isnan(own) & ~np.isnan(before))
    prompts, starts = np.unique(answers.prompt[scored], return_index=True)
    parts = np.split(scored, starts[1:]) if len(scored) else []
    ranked = [(prompt, part) for prompt, part in zip(prompts.tolist(), parts, strict=True) if len(part) > 1]
    taus = kendall([(own[part].tolist(), before[part].tolist()) for _, part in ranked])
    for (prompt, _), tau in zip(ranked, taus, strict=True):
        found[prompt] = (tau + 1) / 2
    return found


@dataclass(frozen=True, slots=True)
class ReadModels:
    """The job that reads all candidates under each of the models in `folders`, one model after the other."""

    name: str
    config: Config
    folders: dict[str, str]
    prompts: Path
    candidates: Path
    file: Path

    def run(self, report: Reporter, finish: Finish) -> None:
        """Write the log-probabilities that the file lacks."""
        from srlm.models import registry
        from srlm.training.answer_readings import AnswerReader

        done = {(row.model, row.candidate_id) for row in resume_rows(self.file, ModelLogprob, report)}
        tokenizer = registry.load_tokenizer(self.folders[POLICY], self.config.model)
        total = len(RowFile(self.candidates, Candidate)) * len(self.folders)
        report.start("log-probabilities of candidates", total, len(done))
        rows = len(done)
        with RowWriter(self.file) as writer:
            for model, folder in self.folders.items():
                reader = None
                for batch in self._batches(tokenizer):
                    missing = {answer.id for answer in batch if (model, answer.id) not in done}
                    if not missing:
                        continue
                    reader = reader or AnswerReader(folder, self.config.model)
                    known = {answer.id for answer in batch} - missing
                    tokens = {answer.id: len(answer.token_ids) for answer in batch}
                    for key, logp in reader.read(batch, known):
                        writer.write(ModelLogprob(key, cast("Role", model), tokens[key], logp))
                        report.advance()
                        rows += 1
        finish(self.name, {"rows": rows})

    def _batches(self, tokenizer: PreTrainedTokenizerBase) -> Iterator[list[Answer]]:
        """Yield the answers to `PROMPTS_AT_ONCE` prompts, in an order that that of the files does not change."""
        from srlm.models import chat
        from srlm.training.answer_readings import Answer

        prompts, candidates = RowFile(self.prompts, Prompt), RowFile(self.candidates, Candidate)
        answers = read_answers(prompts, candidates)
        for start in range(0, answers.prompts, PROMPTS_AT_ONCE):
            low, high = np.searchsorted(answers.prompt, [start, start + PROMPTS_AT_ONCE])
            prompt_ids = {
                index: chat.prompt_ids(tokenizer, chat.user(prompts[index].text))
                for index in np.unique(answers.prompt[low:high]).tolist()
            }
            batch: dict[str, Answer] = {}
            for place in range(int(low), int(high)):
                row = candidates[int(answers.row[place])]
                token_ids = row.token_ids[: row.answer_tokens]
                if token_ids:
                    batch.setdefault(row.id, Answer(row.id, prompt_ids[int(answers.prompt[place])], token_ids))
            yield list(batch.values())
