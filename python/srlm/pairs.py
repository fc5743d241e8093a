"""Preference pairs: the best against the worst answer of each prompt (paper, section 2.3), or other ways to pair.

Chosen in Rust from columns. What has no scored verdict takes no part, ties are dropped, and every prompt that gives no
pair is counted under one reason. `srlm.native.select_pairs` says what each `pairs.method` does.
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
    from collections.abc import Mapping, Sequence

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
    length: NDArray[np.int64]  # [C] in tokens


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
    sampled, means = (mean_scores(verdicts, expected=expected) for expected in (False, True))
    expected = np.array([means.get(row.id, np.nan) for row in candidates], dtype=np.float64)  # [C]
    written = np.array([sampled.get(row.id, np.nan) for row in candidates], dtype=np.float64)  # [C]
    return Columns(
        prompt=np.array([place[row.prompt_id] for row in candidates], dtype=np.int64),
        score=expected if judge.score == "expected" else written,
        expected=expected,
        usable=np.array(
            [bool(row.text.strip()) and (pairs.keep_truncated or row.finish_reason == "stop") for row in candidates],
            dtype=np.bool_,
        ),
        texts=[row.text for row in candidates],
        length=np.array([len(row.token_ids) for row in candidates], dtype=np.int64),
    )


def build(
    prompts: Sequence[Prompt],
    candidates: Sequence[Candidate],
    verdicts: Sequence[Verdict],
    *,
    pairs: PairsSection,
    judge: JudgeSection,
    seed: int,
) -> tuple[list[Pair] | list[Example], dict[str, int]]:
    """Return what `pairs.method` makes to train on: see `build_pairs` and `build_positives`."""
    if pairs.method == "positives_only":
        return build_positives(prompts, candidates, verdicts, pairs=pairs, judge=judge)
    return build_pairs(prompts, candidates, verdicts, pairs=pairs, judge=judge, seed=seed)


def build_pairs(
    prompts: Sequence[Prompt],
    candidates: Sequence[Candidate],
    verdicts: Sequence[Verdict],
    *,
    pairs: PairsSection,
    judge: JudgeSection,
    seed: int = 0,
) -> tuple[list[Pair], dict[str, int]]:
    """Return pairs in TRL's conversational format, and how many prompts each reason dropped.

    Of methods that give several pairs of a prompt, `over_cap` counts the pairs that `pairs.max_per_prompt` left out.
    `seed` decides what `pairs.method: random` draws.
    """
    if pairs.method == "positives_only":
        raise InputError("pairs.method=positives_only makes no pairs; use build_positives")
    table = columns(prompts, candidates, verdicts, pairs=pairs, judge=judge)
    chosen, rejected, drops = select_pairs(
        table.prompt,
        table.score,
        table.expected,
        table.usable,
        table.texts,
        method=pairs.method,
        min_margin=pairs.min_margin,
        seed=seed,
        k=pairs.top_k,
        rho=pairs.rho,
        max_per_prompt=pairs.max_per_prompt,
        length=table.length,
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


def prompts_without(drops: Mapping[str, int]) -> dict[str, int]:
    """Return the prompts without a pair, by reason; what counts pairs or answers in `drops` is left out."""
    found = {reason: count for reason, count in drops.items() if reason != "over_cap"}
    if "no_perfect_answer" in found:  # of positives: there `same_text` counts answers
        found.pop("same_text", None)
    return found


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
