"""Preference pairs: the best against the worst answer of each prompt (paper, section 2.3).

Chosen in Rust from columns. What has no scored verdict takes no part, ties are dropped, and every prompt that gives no
pair is counted under one reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from srlm import chat
from srlm.errors import InputError
from srlm.judge import mean_scores
from srlm.native import select_pairs, select_positives
from srlm.records import Example, Pair, content_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from srlm.config import JudgeSection, PairsSection
    from srlm.records import Candidate, Prompt, Verdict


@dataclass(frozen=True, slots=True)
class Columns:
    """Candidates as columns of equal length C, for Rust."""

    prompt: NDArray[np.int64]  # [C] index of the prompt
    score: NDArray[np.float64]  # [C] mean score, NaN without a scored verdict
    expected: NDArray[np.float64]  # [C] mean expected score, NaN where there is none
    usable: NDArray[np.bool_]  # [C]
    texts: list[str]  # [C]


def columns(
    prompts: Sequence[Prompt],
    candidates: Sequence[Candidate],
    verdicts: Sequence[Verdict],
    *,
    pairs: PairsSection,
    judge: JudgeSection,
) -> Columns:
    """Bring candidates and what their verdicts say into columns.

    Raises:
        InputError: a candidate's prompt, or a verdict's candidate, is not among the rows given.
    """
    place = {prompt.id: index for index, prompt in enumerate(prompts)}
    known = {row.id for row in candidates}
    for row in candidates:
        if row.prompt_id not in place:
            raise InputError(f"candidate {row.id}: its prompt {row.prompt_id} is not in the file of prompts")
    for verdict in verdicts:
        if verdict.candidate_id not in known:
            raise InputError(f"verdict {verdict.id}: its candidate {verdict.candidate_id} is not in the candidates")
    scores = mean_scores(verdicts, expected=judge.score == "expected")
    expected = mean_scores(verdicts, expected=True)
    return Columns(
        prompt=np.array([place[row.prompt_id] for row in candidates], dtype=np.int64),
        score=np.array([scores.get(row.id, np.nan) for row in candidates], dtype=np.float64),
        expected=np.array([expected.get(row.id, np.nan) for row in candidates], dtype=np.float64),
        usable=np.array(
            [bool(row.text.strip()) and (pairs.keep_truncated or row.finish_reason == "stop") for row in candidates],
            dtype=np.bool_,
        ),
        texts=[row.text for row in candidates],
    )


def build_pairs(
    prompts: Sequence[Prompt],
    candidates: Sequence[Candidate],
    verdicts: Sequence[Verdict],
    *,
    pairs: PairsSection,
    judge: JudgeSection,
) -> tuple[list[Pair], dict[str, int]]:
    """Return best-against-worst pairs in TRL's conversational format, and how many prompts each reason dropped."""
    table = columns(prompts, candidates, verdicts, pairs=pairs, judge=judge)
    chosen, rejected, drops = select_pairs(
        table.prompt, table.score, table.expected, table.usable, table.texts, min_margin=pairs.min_margin
    )
    drops["too_few_scored"] += len(prompts) - len(set(table.prompt.tolist()))
    rows = []
    for best, worst in zip(chosen.tolist(), rejected.tolist(), strict=True):
        prompt, good, bad = prompts[int(table.prompt[best])], candidates[best], candidates[worst]
        rows.append(
            Pair(
                prompt_id=prompt.id,
                prompt=chat.user(prompt.text),
                chosen=chat.assistant(good.text),
                rejected=chat.assistant(bad.text),
                chosen_id=good.id,
                rejected_id=bad.id,
                chosen_score=float(table.score[best]),
                rejected_score=float(table.score[worst]),
                chosen_token_ids=good.token_ids,
                rejected_token_ids=bad.token_ids,
            )
        )
    return rows, drops


def build_positives(
    prompts: Sequence[Prompt],
    candidates: Sequence[Candidate],
    verdicts: Sequence[Verdict],
    *,
    pairs: PairsSection,
    judge: JudgeSection,
) -> tuple[list[Example], dict[str, int]]:
    """Return the answers with a perfect score as rows for SFT (the paper's "positive examples only" ablation)."""
    table = columns(prompts, candidates, verdicts, pairs=pairs, judge=judge)
    chosen, drops = select_positives(table.prompt, table.score, table.usable, table.texts, perfect=judge.max_score)
    rows = []
    for index in chosen.tolist():
        prompt, good = chat.user(prompts[int(table.prompt[index])].text), candidates[index]
        rows.append(
            Example(content_id("example", prompt, good.text), prompt, chat.assistant(good.text), good.token_ids)
        )
    return rows, drops
