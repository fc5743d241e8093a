"""Which judgements a meta-judge compares, and how they are shown to it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from srlm.errors import InputError
from srlm.judge_data.scored_verdicts import ScoredVerdicts
from srlm.native import parse_verdicts
from srlm.rows.lazy_rows import RowFile
from srlm.rows.records import Candidate, Prompt, derived_seed
from srlm.stages.score_table import read_answers

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from srlm.config import Config, JudgeSection
    from srlm.rows.records import Verdict

_SENTENCE_START = re.compile(r"[\n.!?\u2026\u3002](?=\s)|\n")
_SENTENCE_END = re.compile(r"[.!?\u2026\u3002](?=\s)[^\S\n]*\n?|\n|\Z")


@dataclass(frozen=True, slots=True)
class JudgedAnswer:
    """The answer of a prompt whose judgements are compared: those that are shown with different `texts`."""

    prompt: Prompt
    answer: Candidate
    judgements: list[Verdict]
    texts: list[str]


@dataclass(frozen=True, slots=True)
class Chosen:
    """The answer of each prompt whose scores vary most, as positions among the prompts and candidates."""

    prompts: list[int]
    candidates: list[int]
    without_variance: int  # the number of prompts none of whose answers has two different scores


def most_varied(prompts: Sequence[Prompt], candidates: Sequence[Candidate], scored: ScoredVerdicts) -> Chosen:
    """Choose the answer of each prompt with the highest variance of its scores, the first of several.

    Raises:
        InputError: a judgement's candidate is not among the candidates.
    """
    answers = read_answers(prompts, candidates)
    judged, variance = scored.variances()  # [A] each
    index = answers.ids.indices(judged)
    if (index < 0).any():
        raise InputError(f"verdicts: the candidate {int(judged[index.argmin()]):016x} is not in the file of candidates")
    keep = variance > 0
    index, variance = index[keep], variance[keep]
    order = np.lexsort((index, -variance, answers.prompt[index]))
    index = index[order]
    found, first = np.unique(answers.prompt[index], return_index=True)  # [P'] ascending
    return Chosen(found.tolist(), answers.row[index[first]].tolist(), answers.prompts - len(found))


def read_judged(folder: Path, config: Config, seed: int) -> tuple[Iterator[JudgedAnswer], int]:
    """Return the answers whose judgements are compared, at most one per prompt, and how many prompts have none.

    The order of the rows in the files changes nothing.
    """
    prompts, candidates = RowFile(folder / "prompts.jsonl", Prompt), RowFile(folder / "candidates.jsonl", Candidate)
    scored, judge_data = ScoredVerdicts(folder / "verdicts.jsonl"), config.judge_data
    chosen = most_varied(prompts, candidates, scored)
    kept = sample(len(chosen.prompts), judge_data.max_prompts, seed)

    def rows() -> Iterator[JudgedAnswer]:
        for index in kept:
            answer = candidates[chosen.candidates[index]]
            judgements = limit(distinct(scored.of(answer.id), config), judge_data.max_judgements, seed)
            yield JudgedAnswer(
                prompts[chosen.prompts[index]],
                answer,
                [verdict for verdict, _ in judgements],
                [text for _, text in judgements],
            )

    return rows(), chosen.without_variance


def sample(count: int, most: int | None, seed: int) -> list[int]:
    """Return at most `most` of the indices below `count`, sampled with `seed`, in their order."""
    if most is None or count <= most:
        return list(range(count))
    found: list[int] = np.sort(np.random.default_rng(seed).choice(count, most, replace=False)).tolist()
    return found


def distinct(judgements: Sequence[Verdict], config: Config) -> list[tuple[Verdict, str]]:
    """Return the judgements with what the meta-judge sees of them: the first of those that look the same to it."""
    seen: dict[str, tuple[Verdict, str]] = {}
    for verdict in judgements:
        text = without_score(verdict.text, config.judge) if config.judge_data.hide_scores else verdict.text.strip()
        seen.setdefault(text, (verdict, text))
    return list(seen.values())


def limit(judgements: Sequence[tuple[Verdict, str]], most: int, seed: int) -> list[tuple[Verdict, str]]:
    """Return at most `most` of the judgements, sampled, in their order."""
    by_chance = sorted(judgements, key=lambda row: derived_seed(seed, "judgement", row[0].id))
    kept = {verdict.id for verdict, _ in by_chance[:most]}
    return [row for row in judgements if row[0].id in kept]


def without_score(text: str, judge: JudgeSection) -> str:
    """Remove the sentence with the score, and again until no score can be parsed.

    What a judgement says of points elsewhere stays.
    """
    while True:
        outcomes, _, spans = parse_verdicts([text], max_score=judge.max_score, pattern=judge.score_pattern)
        start, end = (int(at) for at in spans[0])
        if outcomes[0] != "scored" or start < 0:
            return text.strip()
        before = [match.end() for match in _SENTENCE_START.finditer(text, 0, start)]
        after = _SENTENCE_END.search(text, end)
        text = text[: before[-1] if before else 0] + text[after.end() if after else len(text) :]
