"""Evaluation fine-tuning (EFT) examples, which teach the model to judge, from human-ranked answers.

There are two methods. As in the paper (section 3.1), the IFT-trained model judges each answer, and a judgement is kept
only if its scores rank that prompt's answers as the humans did. For models that are too small to judge, the examples
are built directly from the human ranking. In both cases the most common score, and no other, is downsampled, so that
the model does not learn to always predict it.
"""

from __future__ import annotations

import math
import random
import sys
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from srlm.errors import InputError
from srlm.models import chat
from srlm.native import parse_verdicts
from srlm.rows.records import Example, content_id, derived_seed
from srlm.stages.judge import SCORE_PREFIX
from srlm.stages.judge_items import JudgeItem
from srlm.stages.judge_prompt import fill, read_template

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from srlm.config import EftSection, JudgeSection
    from srlm.rows.records import RankedAnswers, Verdict

Scored = tuple[float, Example]


@dataclass(frozen=True, slots=True)
class EftExamples:
    """Judge examples after downsampling: `dropped` examples of the most common score, `score`, were left out."""

    rows: list[Example]
    score: float | None = None  # None if nothing was left out
    dropped: int = 0
    of: int = 0  # examples of that score before

    def counts(self) -> dict[str, Any]:
        """Return the counts for the manifest."""
        return {"rows": len(self.rows), "downsampled_score": self.score, "downsampled": self.dropped}


def answers_to_judge(rows: Sequence[RankedAnswers]) -> list[JudgeItem]:
    """Return every answer of the ranked rows, with ids from `answer_id`."""
    return [
        JudgeItem(answer_id(row, index), row.prompt, text) for row in rows for index, text in enumerate(row.answers)
    ]


def answer_id(row: RankedAnswers, index: int) -> str:
    """Return the id of an answer of a ranked row."""
    return f"{row.id}.{index}"


def examples_from_ranks(
    rows: Sequence[RankedAnswers], *, eft: EftSection, judge: JudgeSection, seed: int
) -> EftExamples:
    """Return one example per answer: the judge prompt, and the human score (with its justification, if there is one).

    The score is rounded to one that the judge's settings can express (`expressible`).

    Raises:
        InputError: a score is outside the judge's scale, or a justification changes the score that is read.
    """
    template = read_template(judge)
    scores = [score for row in rows for score in row.scores]
    highest, lowest = max(scores, default=0), min(scores, default=0)
    if highest > judge.max_score:
        raise InputError(
            f"seed_data.eft: a score of {highest:g} is above judge.max_score ({judge.max_score:g}); raise it"
        )
    if lowest < 0:
        raise InputError(f"seed_data.eft: a score of {lowest:g} is below 0, the minimum of the judge's scale")
    scored = [
        (score, _example(fill(template, row.prompt, text), _reply(score, why, judge), ranked_as(row, exact, judge)))
        for row in rows
        for text, exact, why in zip(row.answers, row.scores, row.justifications, strict=True)
        for score in [expressible(exact, judge)]
    ]
    _check_readable(scored, judge)
    return downsample(scored, eft.max_share, seed)


def expressible(score: float, judge: JudgeSection) -> float:
    """Round a score to the closest one that the judge can express; halves are rounded up.

    A single digit with `judge.score: expected` or `judge.justify: false`, which read one token, and otherwise a half
    point: many ranks give odd fractions, and half points are fine enough for a judge. Never above `judge.max_score`.
    """
    step = 1.0 if judge.score == "expected" or not judge.justify else 0.5
    return step * min(math.floor(score / step + 0.5), math.floor(judge.max_score / step))


def _check_readable(scored: Sequence[Scored], judge: JudgeSection) -> None:
    """Check that each reply is parsed as its score; a justification may contain another label."""
    replies = [example.completion[0]["content"] for _, example in scored]
    outcomes, scores, _ = parse_verdicts(replies, max_score=judge.max_score)
    for (score, _), reply, outcome, found in zip(scored, replies, outcomes, scores.tolist(), strict=True):
        if outcome != "scored" or found != score:
            raise InputError(
                f"seed_data.eft: the reply {reply[-80:]!r} is not parsed as the score {score:g} but as {outcome}; "
                "remove labels such as `Total: 3` from its justification"
            )


def examples_from_judgements(
    rows: Sequence[RankedAnswers], verdicts: Sequence[Verdict], *, eft: EftSection, judge: JudgeSection, seed: int
) -> EftExamples:
    """Return the model's own judgements whose scores rank a prompt's answers as the humans did.

    Sample k of all answers to a prompt forms one judgement of the prompt. It is kept if all answers were scored and no
    pair that the humans ordered is tied or reversed. An example's reply is what the judge said, without its thoughts
    and what followed its turn.
    """
    template = read_template(judge)
    in_any_order = sorted(verdicts, key=lambda verdict: verdict.id)  # a repeated sample does not depend on the order
    by_answer = {(verdict.candidate_id, verdict.sample): verdict for verdict in in_any_order}
    scored: list[Scored] = []
    for row in rows:
        for sample in range(eft.samples):
            replies = [by_answer.get((answer_id(row, index), sample)) for index in range(len(row.answers))]
            given = [
                (reply.score, reply.text)
                for reply in replies
                # The rest of a reply that was cut off is unknown, so it teaches no ending.
                if reply is not None and reply.score is not None and reply.finish_reason != "length"
            ]
            if len(given) < len(row.answers) or not same_order([score for score, _ in given], row.scores):
                continue
            scored += [
                (score, _example(fill(template, row.prompt, text), reply.strip()))
                for (score, reply), text in zip(given, row.answers, strict=True)
            ]
    unique = {example.id: (score, example) for score, example in scored}
    return downsample(list(unique.values()), eft.max_share, seed)


def same_order(scores: Sequence[float], human: Sequence[float]) -> bool:
    """Tell whether `scores` order every pair that the humans ordered in the same way."""
    return all(scores[i] > scores[j] for i in range(len(human)) for j in range(len(human)) if human[i] > human[j])


def downsample(scored: Sequence[Scored], max_share: float, seed: int) -> EftExamples:
    """Randomly leave out examples of the most common score until it has at most `max_share` of the remaining ones.

    The paper discards "some of the data that receives the most common score" (section 3.1); examples of other scores
    are never left out. At least as many are kept as the second most common score has, so that no other score becomes
    rarer by comparison, even if the share then stays above `max_share`. So nothing is left out if there is a single
    score, or if two scores are the most common ones.
    """
    scores = [score for score, _ in scored]
    left_out = surplus(scores, max_share, seed)
    rows = [example for index, (_, example) in enumerate(scored) if index not in left_out]
    if not left_out:
        return EftExamples(rows)
    common = scores[min(left_out)]
    return EftExamples(rows, common, len(left_out), scores.count(common))


def surplus(scores: Sequence[float], max_share: float, seed: int) -> set[int]:
    """Return the indices of the rows that `downsample` leaves out, by the scores of all rows."""
    counts = Counter(scores)
    if len(counts) < 2:
        return set()
    (common, count), (_, second) = counts.most_common(2)
    keep = max(second, min(count, _largest_count(counts.total() - count, max_share)))
    if keep == count:
        return set()
    indices = [index for index, score in enumerate(scores) if score == common]
    return set(random.Random(derived_seed(seed, "thin")).sample(indices, count - keep))


def _largest_count(others: int, max_share: float) -> int:
    """Return the largest count with at most `max_share` of itself and `others` more."""
    if max_share >= 1:
        return sys.maxsize
    count = math.ceil(max_share * others / (1 - max_share))
    while count > max_share * (others + count):
        count -= 1
    return count


def _reply(score: float, justification: str, judge: JudgeSection) -> str:
    line = f"{SCORE_PREFIX}{score:g}"
    return f"{justification}\n{line}" if justification and judge.justify else line


def ranked_as(row: RankedAnswers, score: float, judge: JudgeSection) -> tuple[str, float] | None:
    """Return the question and the human score by which examples are ranked among each other.

    None with justifications: a score behind a text says little about the answer that the text does not say already.
    """
    return None if judge.justify else (row.id, score)


def _example(question: str, reply: str, ranked: tuple[str, float] | None = None) -> Example:
    prompt, completion = chat.user(question), chat.assistant(reply)
    example = Example(content_id("example", prompt, reply), prompt, completion)
    return example if ranked is None else replace(example, group=ranked[0], human_score=ranked[1])
