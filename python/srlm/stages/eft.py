"""Evaluation fine-tuning (EFT) examples, which teach the model to judge, from human-ranked answers.

There are two methods. As in the paper (section 3.1), the IFT-trained model judges each answer, and a judgement is kept
only if its scores rank that prompt's answers as the humans did. For models that are too small to judge, the examples
are built directly from the human ranking. In both cases the most common score is downsampled, so that the model does
not learn to always predict it.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

from srlm.errors import InputError
from srlm.models import chat
from srlm.rows.records import Example, content_id, derived_seed
from srlm.stages.judge import SCORE_PREFIX, JudgeItem
from srlm.stages.judge_prompt import fill, read_template

if TYPE_CHECKING:
    from collections.abc import Sequence

    from srlm.config import EftSection, JudgeSection
    from srlm.rows.records import RankedAnswers, Verdict

Scored = tuple[float, Example]


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
) -> list[Example]:
    """Return one example per answer: the judge prompt, and the human score (with its justification, if there is one).

    Raises:
        InputError: a score is outside the judge's scale.
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
        (score, _example(fill(template, row.prompt, text), _reply(score, why, judge)))
        for row in rows
        for text, exact, why in zip(row.answers, row.scores, row.justifications, strict=True)
        for score in [round(2 * exact) / 2]  # many ranks give odd fractions; half points are fine enough for a judge
    ]
    return downsample(scored, eft.max_share, seed)


def examples_from_judgements(
    rows: Sequence[RankedAnswers], verdicts: Sequence[Verdict], *, eft: EftSection, judge: JudgeSection, seed: int
) -> list[Example]:
    """Return the model's own judgements whose scores rank a prompt's answers as the humans did.

    Sample k of all answers to a prompt forms one judgement of the prompt. It is kept if all answers were scored and no
    pair that the humans ordered is tied or reversed. An example's reply is what the judge said, without its thoughts
    and what followed its turn.
    """
    template = read_template(judge)
    by_answer = {(verdict.candidate_id, verdict.sample): verdict for verdict in verdicts}
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


def downsample(scored: Sequence[Scored], max_share: float, seed: int) -> list[Example]:
    """Randomly drop examples of the most common score until no score exceeds a `max_share` of the remaining ones.

    Nothing is dropped if that is impossible (fewer distinct scores than 1 / max_share).
    """
    counts = Counter(score for score, _ in scored)
    keep = dict(counts)
    if len(counts) * max_share >= 1:
        while max(keep.values()) > max_share * sum(keep.values()):
            keep[max(keep, key=lambda score: (keep[score], score))] -= 1
    rng = random.Random(derived_seed(seed, "thin"))
    selected = set()
    for score, count in sorted(keep.items()):
        indices = [index for index, (value, _) in enumerate(scored) if value == score]
        selected |= set(rng.sample(indices, count))
    return [example for index, (_, example) in enumerate(scored) if index in selected]


def _reply(score: float, justification: str, judge: JudgeSection) -> str:
    line = f"{SCORE_PREFIX}{score:g}"
    return f"{justification}\n{line}" if justification and judge.justify else line


def _example(question: str, reply: str) -> Example:
    prompt = chat.user(question)
    return Example(content_id("example", prompt, reply), prompt, chat.assistant(reply))
