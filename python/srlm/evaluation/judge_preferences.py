"""Judge human-ranked answers with a model; the verdicts are written row by row."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from srlm.evaluation.preferences import Preferences
from srlm.rows.records import Verdict, read_rows
from srlm.stages.eft import answers_to_judge
from srlm.stages.judge import PointwiseJudge, judge_answers

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
    """Append the missing verdicts on the answers of `rows` to `file`, and return the verdicts on all of them.

    Equal answers to the same prompt are judged once, and each of them gets these verdicts.
    """
    answers = answers_to_judge(rows)
    first: dict[tuple[str, str], str] = {}  # (prompt, response) -> id of its first occurrence
    for answer in answers:
        first.setdefault((answer.prompt, answer.response), answer.id)
    unique = [answer for answer in answers if first[answer.prompt, answer.response] == answer.id]
    judge_answers(engine, unique, file, judge=judge, seed=seed, report=report, stage=stage)
    given: dict[str, list[Verdict]] = {}
    for verdict in read_rows(file, Verdict):
        given.setdefault(verdict.candidate_id, []).append(verdict)
    ids = {answer.id: first[answer.prompt, answer.response] for answer in answers}
    return [replace(verdict, candidate_id=key) for key, one in ids.items() for verdict in given.get(one, [])]


def fitting_rows(
    tokenizer: PreTrainedTokenizerBase, preferences: Preferences, judge: JudgeSection, max_model_len: int
) -> Preferences:
    """Return the rows whose judge prompts, plus the length of a verdict, all fit into the engine's context."""
    pointwise = PointwiseJudge(tokenizer, judge)
    room = max_model_len - pointwise.sampling.max_tokens
    fits = [
        all(len(pointwise.request_ids(row.prompt, text)) <= room for text in row.answers) for row in preferences.rows
    ]
    kept = [row for row, ok in zip(preferences.rows, fits, strict=True) if ok]
    labels = preferences.annotators
    return Preferences(kept, None if labels is None else [label for label, ok in zip(labels, fits, strict=True) if ok])
