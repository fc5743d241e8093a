"""Examples that teach the model to judge (EFT), from human-ranked answers.

Two ways: as in the paper (section 3.1), the IFT-trained model judges each answer and a judgement is kept only if its
scores order that prompt's answers as the humans did; or, for models too small to judge yet, straight from the human
order. Either way the over-common score is thinned, so that the model does not learn to say it always.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

from srlm.errors import InputError
from srlm.models import chat
from srlm.rows.records import Example, content_id, derived_seed
from srlm.stages.judge import OPENING, Judged, fill, read_template

if TYPE_CHECKING:
    from collections.abc import Sequence

    from srlm.config import EftSection, JudgeSection
    from srlm.rows.records import RankedAnswers, Verdict

Scored = tuple[float, Example]


def answers_to_judge(rows: Sequence[RankedAnswers]) -> list[Judged]:
    """Return every answer of ranked rows under the id `answer_id` gives it."""
    return [Judged(answer_id(row, index), row.prompt, text) for row in rows for index, text in enumerate(row.answers)]


def answer_id(row: RankedAnswers, index: int) -> str:
    """Return the id of one answer of a ranked row."""
    return f"{row.id}.{index}"


def examples_from_ranks(
    rows: Sequence[RankedAnswers], *, eft: EftSection, judge: JudgeSection, seed: int
) -> list[Example]:
    """Return one example an answer: the judge prompt, and the human score (with its justification, if there is one).

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
        raise InputError(f"seed_data.eft: a score of {lowest:g} is below 0, where the judge's scale begins")
    scored = [
        (score, _example(fill(template, row.prompt, text), _reply(score, why, judge)))
        for row in rows
        for text, exact, why in zip(row.answers, row.scores, row.justifications, strict=True)
        for score in [round(2 * exact) / 2]  # many ranks give odd fractions: a judge learns half points at the finest
    ]
    return thin(scored, eft.max_share, seed)


def examples_from_judgements(
    rows: Sequence[RankedAnswers], verdicts: Sequence[Verdict], *, eft: EftSection, judge: JudgeSection, seed: int
) -> list[Example]:
    """Return the model's own judgements whose scores order a prompt's answers as the humans did.

    For each prompt the samples are taken together, sample k of every answer being one judgement of the prompt, and kept
    if all its answers were scored and no pair that the humans ordered is tied or reversed.
    """
    template = read_template(judge)
    by_answer = {(verdict.candidate_id, verdict.sample): verdict for verdict in verdicts}
    scored: list[Scored] = []
    for row in rows:
        for sample in range(eft.samples):
            replies = [by_answer.get((answer_id(row, index), sample)) for index in range(len(row.answers))]
            given = [(reply.score, reply.text) for reply in replies if reply is not None and reply.score is not None]
            if len(given) < len(row.answers) or not same_order([score for score, _ in given], row.scores):
                continue
            scored += [
                (score, _example(fill(template, row.prompt, text), reply.strip()))
                for (score, reply), text in zip(given, row.answers, strict=True)
            ]
    unique = {example.id: (score, example) for score, example in scored}
    return thin(list(unique.values()), eft.max_share, seed)


def same_order(scores: Sequence[float], human: Sequence[float]) -> bool:
    """Tell whether every pair that the humans ordered is ordered the same way by `scores`."""
    return all(scores[i] > scores[j] for i in range(len(human)) for j in range(len(human)) if human[i] > human[j])


def thin(scored: Sequence[Scored], max_share: float, seed: int) -> list[Example]:
    """Drop examples of the most common score, at random, until no score has more than `max_share` of the rest.

    Nothing is dropped where that cannot be reached (fewer scores than 1 / max_share).
    """
    counts = Counter(score for score, _ in scored)
    keep = dict(counts)
    if len(counts) * max_share >= 1:
        while max(keep.values()) > max_share * sum(keep.values()):
            keep[max(keep, key=lambda score: (keep[score], score))] -= 1
    chooser = random.Random(derived_seed(seed, "thin"))
    chosen = set()
    for score, count in sorted(keep.items()):
        places = [index for index, (value, _) in enumerate(scored) if value == score]
        chosen |= set(chooser.sample(places, count))
    return [example for index, (_, example) in enumerate(scored) if index in chosen]


def _reply(score: float, justification: str, judge: JudgeSection) -> str:
    line = f"{OPENING}{score:g}"
    return f"{justification}\n{line}" if justification and judge.justify else line


def _example(question: str, reply: str) -> Example:
    prompt = chat.user(question)
    return Example(content_id("example", prompt, reply), prompt, chat.assistant(reply))
