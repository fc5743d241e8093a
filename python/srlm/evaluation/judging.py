"""Let a model judge answers that humans ordered, its verdicts kept row by row."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from srlm.evaluation.preferences import Preferences
from srlm.rows.records import Verdict, read_rows
from srlm.stages.eft import answers_to_judge
from srlm.stages.judge import Reader, fill, judge_answers, read_template

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from transformers import PreTrainedTokenizerBase

    from srlm.config import JudgeSection
    from srlm.engines.base import Engine
    from srlm.reporter import Reporter
    from srlm.rows.records import RankedAnswers


def judge_rows(
    engine: Engine,
    rows: Sequence[RankedAnswers],
    file: Path,
    *,
    judge: JudgeSection,
    seed: int,
    report: Reporter,
    stage: str,
) -> list[Verdict]:
    """Append to `file` the verdicts on every answer of `rows` that it still lacks, and return those on all of them.

    The same answer to the same prompt is judged once, however often it occurs; its verdicts then count for each.
    """
    answers = answers_to_judge(rows)
    first: dict[tuple[str, str], str] = {}  # of equal answers the first one's id
    for answer in answers:
        first.setdefault((answer.prompt, answer.response), answer.id)
    unique = [answer for answer in answers if first[answer.prompt, answer.response] == answer.id]
    judge_answers(engine, unique, file, judge=judge, seed=seed, report=report, stage=stage)
    given: dict[str, list[Verdict]] = {}
    for verdict in read_rows(file, Verdict):
        given.setdefault(verdict.candidate_id, []).append(verdict)
    ids = {answer.id: first[answer.prompt, answer.response] for answer in answers}
    return [replace(verdict, candidate_id=key) for key, one in ids.items() for verdict in given.get(one, [])]


def that_fit(
    tokenizer: PreTrainedTokenizerBase, preferences: Preferences, judge: JudgeSection, max_model_len: int
) -> Preferences:
    """Return the rows of which every answer's judge prompt, and the judgement, fit the engine's context."""
    reader, template = Reader(tokenizer, judge), read_template(judge)
    room = max_model_len - reader.sampling.max_tokens
    fits = [
        all(len(reader.request_ids(fill(template, row.prompt, text))) <= room for text in row.answers)
        for row in preferences.rows
    ]
    kept = [row for row, ok in zip(preferences.rows, fits, strict=True) if ok]
    labels = preferences.annotators
    return Preferences(kept, None if labels is None else [label for label, ok in zip(labels, fits, strict=True) if ok])
