"""LLM-as-a-Judge: M_t scores answers with an additive five-point prompt (paper, section 2.2 and figure 2).

`srlm._native.parse_verdicts` parses the judge's reply; a reply without a parseable score gets no score at all.
`judge.prompt_file` sets another wording, `packaged:multiple_choice` a prompt of the kind that the paper found worse.
"""

from __future__ import annotations

import contextlib
import itertools
import re
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np

from srlm.engines.base import Request, Sampling
from srlm.errors import InputError
from srlm.models import chat
from srlm.models.replies import ReplyReader
from srlm.models.turn_marks import turn_format
from srlm.native import expected_scores, parse_verdicts
from srlm.native import mean_scores as native_mean_scores
from srlm.rows.growing_file import written
from srlm.rows.ids import IdIndex
from srlm.rows.records import RowWriter, Verdict, content_id, derived_seed
from srlm.rows.resume import resume_iter
from srlm.stages import generation
from srlm.stages.judge_items import CandidateItems
from srlm.stages.judge_prompt import fill, read_template

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray
    from transformers import PreTrainedTokenizerBase

    from srlm.config import JudgeSection
    from srlm.engines.base import Completion, Engine
    from srlm.reporter import Reporter
    from srlm.rows.records import Candidate, FinishReason, Outcome, Prompt
    from srlm.stages.judge_items import JudgeItem

SCORE_PREFIX = "Score: "
OUTCOMES = ("scored", "missing", "out_of_range", "conflicting")


def write_verdicts(
    engine: Engine,
    prompts: Sequence[Prompt],
    candidates: Sequence[Candidate],
    file: Path,
    *,
    judge: JudgeSection,
    seed: int,
    report: Reporter,
) -> None:
    """Append the verdicts that `file` still lacks: `judge.samples` per candidate.

    Raises:
        InputError: a candidate's prompt is not among `prompts`.
    """
    answers = CandidateItems(prompts, candidates)
    judge_answers(engine, answers, file, judge=judge, seed=seed, report=report, stage="verdicts")


def judge_answers(
    engine: Engine,
    answers: Iterable[JudgeItem | None],
    file: Path,
    *,
    judge: JudgeSection,
    seed: int,
    report: Reporter,
    stage: str,
) -> None:
    """Append to `file` the verdicts on `answers` that it still lacks; see `JudgeStage`."""
    settings: Any = {"judge": judge, "seed": seed, "report": report, "stage": stage}
    generation.run(engine, JudgeStage(engine, answers, file, **settings))


class JudgeStage:
    """Appends to `file` the verdicts on `answers` that it still lacks.

    `answers` is iterated twice and not kept in memory; a repeated answer is judged once. It may still grow, to
    `expected` answers (see `GrowingFile`).
    """

    def __init__(
        self,
        engine: Engine,
        answers: Iterable[JudgeItem | None],
        file: Path,
        *,
        judge: JudgeSection,
        seed: int,
        report: Reporter,
        stage: str,
        expected: int = 0,
    ) -> None:
        """Find what an interrupted stage has left to do."""
        self._answers, self._file, self._seed, self._report = answers, file, seed, report
        self._judge, self._files = PointwiseJudge(engine.tokenizer, judge), contextlib.ExitStack()
        self._samples = judge.samples if judge.justify else 1  # a single greedy token: more would be identical
        ids = IdIndex.of(answer.id for answer in written(answers))
        self._missing = np.repeat(ids.is_first[:, None], self._samples, axis=1)  # [A, K]
        self._rows, done = _mark_done(resume_iter(file, Verdict, report), ids, self._missing)
        report.start(stage, max(int(self._missing.sum()) + done, expected * self._samples), done)

    @property
    def is_complete(self) -> bool:
        """See `GenerationStage.is_complete`."""
        return False

    def __enter__(self) -> Self:
        """See `GenerationStage`."""
        self._writer = self._files.enter_context(RowWriter(self._file, self._rows))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """See `GenerationStage`."""
        self._files.__exit__(kind, error, trace)

    def requests(self) -> Iterator[Request | None]:
        """See `GenerationStage.requests`."""
        numbers = itertools.count()
        for answer in self._answers:
            if answer is None:
                yield None
                continue
            number = next(numbers)
            is_new = number >= len(self._missing)
            samples = range(self._samples) if is_new else np.flatnonzero(self._missing[number]).tolist()
            prompt_ids = self._judge.request_ids(answer.prompt, answer.response) if samples else ()
            for sample in samples:
                seed = derived_seed(self._seed, "verdict", answer.id, sample)
                yield Request(f"{answer.id}.{sample}", prompt_ids, self._judge.sampling, seed)

    def receive(self, completion: Completion) -> None:
        """See `GenerationStage.receive`."""
        candidate_id, _, sample = completion.key.rpartition(".")
        self._writer.write(self._judge.verdict(completion, candidate_id, int(sample)))
        self._report.advance()


def _mark_done(rows: Iterable[Verdict], ids: IdIndex, missing: NDArray[np.bool_]) -> tuple[int, int]:
    """Clear the existing verdicts in `missing` [A, K]; return the numbers of rows and of distinct verdicts.

    Verdicts on other answers, or with a larger sample index, count as done as well.
    """
    before, count = int(missing.sum()), 0
    others: set[tuple[str, int]] = set()
    for row in rows:
        count += 1
        index = ids.index(row.candidate_id)
        if index is not None and 0 <= row.sample < missing.shape[1]:
            missing[index, row.sample] = False
        else:
            others.add((row.candidate_id, row.sample))
    return count, before - int(missing.sum()) + len(others)


class PointwiseJudge:
    """Builds a judge's requests for scores, and parses its replies."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, judge: JudgeSection) -> None:
        self._tokenizer, self._judge = tokenizer, judge
        self._template, self._reader = read_template(judge), ReplyReader(tokenizer)
        self._digits = digit_tokens(tokenizer, judge.max_score)
        self._prefix = "" if judge.justify else SCORE_PREFIX
        if not judge.justify and not (self._digits and digits_behind(tokenizer, SCORE_PREFIX, int(judge.max_score))):
            raise InputError(
                "judge.justify=false needs an integer judge.max_score from 1 to 9 and a tokenizer with a single token "
                f"for each digit (judge.max_score is {judge.max_score:g}); set judge.justify=true"
            )
        digit_ids = tuple(self._digits)
        self.sampling = (
            Sampling(judge.temperature, judge.top_p, judge.max_tokens, logprob_token_ids=digit_ids)
            if judge.justify
            else Sampling(0.0, 1.0, 1, logprob_token_ids=digit_ids)
        )

    def request_ids(self, prompt: str, response: str) -> tuple[int, ...]:
        """Return the prompt ids of a request to score a response, including the prefilled start of the judge's reply.

        A prefilled reply stands behind the thought that a template opens in the prompt, not inside it.
        """
        marks = turn_format(self._tokenizer).marks
        question = chat.user(fill(self._template, prompt, response, marks))
        if self._judge.justify:
            return chat.prompt_ids(self._tokenizer, question)
        prompt_ids = chat.prefilled_ids(self._tokenizer, question)
        # The space belongs to the digit's token or has one of its own, depending on the tokenizer.
        return (*prompt_ids, *self._tokenizer(SCORE_PREFIX + "0", add_special_tokens=False)["input_ids"][:-1])

    def verdict(self, completion: Completion, candidate_id: str, sample: int) -> Verdict:
        """Parse a reply: what the judge said in it."""
        if self._prefix:
            return self._prefilled_verdict(completion, candidate_id, sample)
        said = self._reader.read(completion)
        outcome, score, start = parse_reply(said.text, said.finish_reason, self._judge)
        return Verdict(
            id=content_id("verdict", candidate_id, sample, said.text),
            candidate_id=candidate_id,
            sample=sample,
            text=said.text,
            outcome=outcome,
            score=score,
            expected_score=None
            if score is None
            else self._expected(completion, said.token_at(start), said.text, start),
            thought=said.thought,
            finish_reason=said.finish_reason,
        )

    def _prefilled_verdict(self, completion: Completion, candidate_id: str, sample: int) -> Verdict:
        """Parse a reply of one token behind the prefilled label."""
        text = self._prefix + completion.text.lstrip()
        outcome, score, start = parse_reply(text, None, self._judge)
        return Verdict(
            id=content_id("verdict", candidate_id, sample, text),
            candidate_id=candidate_id,
            sample=sample,
            text=text,
            outcome=outcome,
            score=score,
            expected_score=None if score is None else self._expected(completion, 0, text, start),
        )

    def _expected(self, completion: Completion, position: int, text: str, start: int) -> float | None:
        """Return the mean of the digits' distribution at token `position` of the reply.

        None unless the number at character `start` of `text` is exactly the digit of that token: not for a score in
        words, `4.5` or `04`, whose first token says nothing about the rest.
        """
        digit = self._digits.get(completion.token_ids[position])
        if digit is None or not _is_whole_number(text, start, str(digit)):
            return None
        return expected_score(completion.requested_logprobs[position], list(self._digits.values()))


def parse_reply(
    text: str, finish_reason: FinishReason | None, judge: JudgeSection
) -> tuple[Outcome, float | None, int]:
    """Parse what a judge said: return the outcome, the score (None unless scored) and the number's first character.

    A number with which a cut-off reply ends may not be complete (1 of 10, 4 of 4/10), so it gives no score.
    """
    outcomes, scores, spans = parse_verdicts([text], max_score=judge.max_score, pattern=judge.score_pattern)
    start, end = (int(at) for at in spans[0])
    if outcomes[0] == "scored" and finish_reason == "length" and end == len(text):
        return "missing", None, -1
    return cast("Outcome", outcomes[0]), float(scores[0]) if outcomes[0] == "scored" else None, start


def _is_whole_number(reply: str, start: int, digit: str) -> bool:
    """Tell whether the number at character `start` is `digit` alone, neither continued nor the end of a longer one."""
    before, found, after = reply[:start], reply[start : start + 1], reply[start + 1 : start + 3]
    continues = after[:1].isnumeric() or (after[:1] in (".", ",", "\u066b") and after[1:].isnumeric())
    return found == digit and not continues and not re.search(r"[\d.]\Z", before)


# Texts before a score. Tokenizers differ in how they encode a digit after a space, a line break, a mark, or nothing.
OPENINGS = (SCORE_PREFIX, "", " ", "Score:", "Score:\n", "Score: **", "Score: <", "(")


def digit_tokens(tokenizer: PreTrainedTokenizerBase, max_score: float) -> dict[int, int]:
    """Return {token id: digit} for the integer scores from 0 to `max_score`, as encoded after each of `OPENINGS`.

    Empty if `max_score` is not a single digit, or if the digits are single tokens after none of the openings.
    """
    if not 1 <= max_score <= 9 or max_score != int(max_score):
        return {}
    found: dict[int, int] = {}
    for opening in OPENINGS:
        found |= digits_behind(tokenizer, opening, int(max_score))
    return found


def digits_behind(tokenizer: PreTrainedTokenizerBase, opening: str, highest: int) -> dict[int, int]:
    """Return {token id: digit} for the digits from 0 to `highest` after the text `opening`.

    A digit is the last token of the encoded text: it may follow a token for the space (SentencePiece), or contain the
    space. Empty unless all digits are single tokens after the same tokens.
    """
    digits = range(highest + 1)
    encoded = [tokenizer(f"{opening}{digit}", add_special_tokens=False)["input_ids"] for digit in digits]
    found = {ids[-1]: digit for digit, ids in enumerate(encoded) if ids}
    same_start = len({tuple(ids[:-1]) for ids in encoded}) == 1
    whole = all(tokenizer.decode([token]).strip() == str(digit) for token, digit in found.items())
    return found if same_start and whole and len(found) == len(digits) else {}


def expected_score(logps: Sequence[float], digits: Sequence[int]) -> float:
    """Return sum(d p(d)) / sum(p(d)) over the digits, from their log-probabilities in nats."""
    return float(expected_scores(np.array([logps], dtype=np.float64), np.array(digits, dtype=np.float64))[0])


def mean_scores(verdicts: Sequence[Verdict], *, expected: bool) -> dict[str, float]:
    """Return candidate id -> mean of the expected or the sampled scores over its scored verdicts."""
    indices = {key: index for index, key in enumerate(dict.fromkeys(row.candidate_id for row in verdicts))}
    values = ((row.expected_score if expected else row.score) if row.outcome == "scored" else None for row in verdicts)
    score = np.array([np.nan if value is None else value for value in values], dtype=np.float64)  # [V]
    judged = np.array([indices[row.candidate_id] for row in verdicts], dtype=np.int64)  # [V]
    means, counts = native_mean_scores(judged, score, candidates=len(indices))
    return {key: float(means[index]) for key, index in indices.items() if counts[index]}


def count_outcomes(verdicts: Sequence[Verdict]) -> dict[str, int]:
    """Return the number of verdicts with each outcome, including zeros."""
    counts = dict.fromkeys(OUTCOMES, 0)
    for row in verdicts:
        counts[row.outcome] += 1
    return counts
