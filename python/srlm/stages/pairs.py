"""Preference pairs: the best against the worst answer of each prompt (paper, section 2.3), or another pairing method.

Pairs are selected in Rust from columns. Answers without a score are excluded, ties are dropped, and every
prompt without a pair is counted under one reason. `srlm.native.select_pairs` documents each `pairs.method`. The texts
of the selected answers are then read from disk one by one, since they may not fit in memory.

The order of the rows in the three files changes neither the pairs nor their order: prompts count in the order of their
file, the answers to a prompt by their index (see `score_table`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import numpy as np

from srlm.models import chat
from srlm.native import select_pairs, select_positives
from srlm.rows.lazy_rows import RowFile
from srlm.rows.records import Candidate, Example, Pair, Prompt, content_id, write_rows
from srlm.stages import suppliers
from srlm.stages.score_table import read_answers, text_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from srlm.config import PairsSection
    from srlm.stages.score_table import Answers, Scores


@dataclass(frozen=True, slots=True)
class PairSelection:
    """The selected training rows, as indices of `answers`, and the number of dropped prompts by reason.

    For methods with several pairs per prompt, `drops["over_cap"]` counts the pairs beyond `pairs.max_per_prompt`.
    """

    answers: Answers
    scores: Scores
    chosen: NDArray[np.int64]  # [R]
    rejected: NDArray[np.int64] | None  # [R], None for positives
    drops: dict[str, int]
    found: int | None = None  # the number of rows that `pairs.max_count` sampled from; None: all are used
    max_margin: float | None = None  # pairs are weighted by their margin over this; None: all alike

    def __len__(self) -> int:
        return len(self.chosen)

    @property
    def prompts_with_pair(self) -> int:
        """The number of prompts with at least one pair (or positive), before `pairs.max_count` samples."""
        return self.answers.prompts - sum(prompts_without_pair(self.drops).values())

    def rows(self, prompts: Sequence[Prompt], candidates: Sequence[Candidate]) -> Iterator[Pair] | Iterator[Example]:
        """Yield the training rows in TRL's format, from the prompts and candidates that the columns were built from."""
        if self.rejected is None:
            return self._examples(prompts, candidates)
        return self._pairs(prompts, candidates, self.rejected)

    def _pairs(
        self, prompts: Sequence[Prompt], candidates: Sequence[Candidate], rejected_indices: NDArray[np.int64]
    ) -> Iterator[Pair]:
        for chosen_index, rejected_index in zip(self.chosen, rejected_indices, strict=True):
            prompt = prompts[int(self.answers.prompt[chosen_index])]
            scores = float(self.scores.score[chosen_index]), float(self.scores.score[rejected_index])
            chosen, rejected = (candidates[int(self.answers.row[index])] for index in (chosen_index, rejected_index))
            yield Pair(
                prompt_id=prompt.id,
                prompt=chat.user(prompt.text),
                chosen=chat.assistant(chosen.text),
                rejected=chat.assistant(rejected.text),
                chosen_id=chosen.id,
                rejected_id=rejected.id,
                chosen_score=scores[0],
                rejected_score=scores[1],
                chosen_token_ids=chosen.training_token_ids,
                rejected_token_ids=rejected.training_token_ids,
                confidence=self._confidence(int(self.answers.prompt[chosen_index])),
                weight=1.0 if self.max_margin is None else round((scores[0] - scores[1]) / self.max_margin, 9),
            )

    def _confidence(self, prompt: int) -> float:
        return 1.0 if self.scores.confidence is None else round(float(self.scores.confidence[prompt]), 9)

    def _examples(self, prompts: Sequence[Prompt], candidates: Sequence[Candidate]) -> Iterator[Example]:
        for index in self.chosen:
            prompt = chat.user(prompts[int(self.answers.prompt[index])].text)
            answer = candidates[int(self.answers.row[index])]
            completion = chat.assistant(answer.text)
            yield Example(content_id("example", prompt, answer.text), prompt, completion, answer.training_token_ids)


def select(
    answers: Answers, scores: Scores, *, pairs: PairsSection, winners: bool = False, seed: int = 0
) -> PairSelection:
    """Select training rows from columns: pairs by `pairs.method`, or the `winners` alone.

    `pairs` are the settings of one iteration (`PairsSection.at`); `seed` samples for `method: random` and `max_count`.
    """
    usable = ~answers.blank if pairs.keep_truncated else ~(answers.blank | answers.cut_off)
    texts = text_keys(answers)
    scores = _limited_to_sources(scores, answers.source)
    if winners:
        won = np.where(np.isnan(scores.score), np.nan, scores.winner)  # [C]
        chosen, drops = select_positives(
            answers.prompt, won, usable, texts, perfect=1.0, may_be_chosen=scores.may_be_chosen
        )
        return _sampled(PairSelection(answers, scores, chosen, None, drops), pairs, seed)
    chosen, rejected, drops = select_pairs(
        answers.prompt,
        scores.score,
        scores.tie_break,
        usable,
        texts,
        method=pairs.method,
        min_margin=cast("float", pairs.min_margin),
        seed=seed,
        k=pairs.top_k,
        rho=cast("float", pairs.rho),
        max_per_prompt=pairs.max_per_prompt,
        length=answers.length,
        may_be_chosen=scores.may_be_chosen,
        may_be_rejected=scores.may_be_rejected,
    )
    drops["too_few_scored"] += answers.prompts - len(np.unique(answers.prompt))
    max_margin = scores.max_score if pairs.weight == "margin" else None
    return _sampled(PairSelection(answers, scores, chosen, rejected, drops, max_margin=max_margin), pairs, seed)


def _limited_to_sources(scores: Scores, source: NDArray[np.uint8]) -> Scores:
    """Let answers that come from others than M_t be chosen or rejected only, as their source [C] says."""
    if not source.any():
        return scores
    chosen, rejected = suppliers.MAY_BE_CHOSEN[source], suppliers.MAY_BE_REJECTED[source]  # [C] each
    if scores.may_be_chosen is not None:
        chosen &= scores.may_be_chosen
    if scores.may_be_rejected is not None:
        rejected &= scores.may_be_rejected
    return replace(scores, may_be_chosen=chosen, may_be_rejected=rejected)


def _sampled(selection: PairSelection, pairs: PairsSection, seed: int) -> PairSelection:
    """Return at most `pairs.max_count` of the rows, sampled with `seed`, in their order."""
    found, limit = len(selection), cast("int | None", pairs.max_count)
    if limit is None or found <= limit:
        return selection
    keep = np.sort(np.random.default_rng(seed).choice(found, limit, replace=False))  # [R]
    rejected = None if selection.rejected is None else selection.rejected[keep]
    return replace(selection, chosen=selection.chosen[keep], rejected=rejected, found=found)


def write_pairs(
    prompts: Path,
    candidates: Path,
    file: Path,
    read_scores: Callable[[Answers], Scores],
    *,
    pairs: PairsSection,
    winners: bool = False,
    seed: int,
) -> PairSelection:
    """Select from files of rows and write the training rows to `file`, without loading the texts into memory.

    `read_scores` returns a signal's columns for the candidates.

    Raises:
        InputError: a candidate's prompt, or a score's candidate, is not among the rows.
    """
    prompt_rows, candidate_rows = RowFile(prompts, Prompt), RowFile(candidates, Candidate)
    answers = read_answers(prompt_rows, candidate_rows)
    selection = select(answers, read_scores(answers), pairs=pairs, winners=winners, seed=seed)
    write_rows(file, selection.rows(prompt_rows, candidate_rows))
    return selection


def prompts_without_pair(drops: Mapping[str, int]) -> dict[str, int]:
    """Return the number of prompts without a pair by reason, without the counts of pairs or answers in `drops`."""
    found = {reason: count for reason, count in drops.items() if reason != "over_cap"}
    if "no_perfect_answer" in found:  # for positives, `same_text` counts answers
        found.pop("same_text", None)
    return found
