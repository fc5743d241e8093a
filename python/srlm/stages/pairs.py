"""Preference pairs: the best against the worst answer of each prompt (paper, section 2.3), or other ways to pair.

Chosen in Rust from columns. What has no scored verdict takes no part, ties are dropped, and every prompt that gives no
pair is counted under one reason. `srlm.native.select_pairs` says what each `pairs.method` does. The answers that were
chosen are read once more, one by one, since all of them need not fit in memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from srlm.models import chat
from srlm.native import select_pairs, select_positives
from srlm.rows.lazy_rows import RowFile
from srlm.rows.records import Candidate, Example, Pair, Prompt, Verdict, content_id, write_rows
from srlm.stages.score_table import read_answers, read_scores, text_numbers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from srlm.config import JudgeSection, PairsSection
    from srlm.stages.score_table import Answers, Scores


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is trained on, by the places of the candidates, and how many prompts each reason dropped.

    Of methods that give several pairs of a prompt, `over_cap` counts the pairs that `pairs.max_per_prompt` left out.
    """

    answers: Answers
    scores: Scores
    mean: NDArray[np.float64]  # [C] the scores that chose
    best: NDArray[np.int64]  # [R]
    worst: NDArray[np.int64] | None  # [R], None for positives
    drops: dict[str, int]

    def __len__(self) -> int:
        return len(self.best)

    def rows(self, prompts: Sequence[Prompt], candidates: Sequence[Candidate]) -> Iterator[Pair] | Iterator[Example]:
        """Yield the rows that TRL reads, made of the prompts and candidates that the columns were read from."""
        if self.worst is None:
            return self._examples(prompts, candidates)
        return self._pairs(prompts, candidates, self.worst)

    def _pairs(
        self, prompts: Sequence[Prompt], candidates: Sequence[Candidate], worst: NDArray[np.int64]
    ) -> Iterator[Pair]:
        for good_place, bad_place in zip(self.best, worst, strict=True):
            prompt = prompts[int(self.answers.prompt[good_place])]
            good, bad = candidates[int(good_place)], candidates[int(bad_place)]
            yield Pair(
                prompt_id=prompt.id,
                prompt=chat.user(prompt.text),
                chosen=chat.assistant(good.text),
                rejected=chat.assistant(bad.text),
                chosen_id=good.id,
                rejected_id=bad.id,
                chosen_score=float(self.mean[good_place]),
                rejected_score=float(self.mean[bad_place]),
                chosen_token_ids=good.token_ids,
                rejected_token_ids=bad.token_ids,
            )

    def _examples(self, prompts: Sequence[Prompt], candidates: Sequence[Candidate]) -> Iterator[Example]:
        for place in self.best:
            prompt = chat.user(prompts[int(self.answers.prompt[place])].text)
            good = candidates[int(place)]
            yield Example(content_id("example", prompt, good.text), prompt, chat.assistant(good.text), good.token_ids)


def choose(
    prompts: Sequence[Prompt],
    candidates: Sequence[Candidate],
    verdicts: Sequence[Verdict],
    *,
    pairs: PairsSection,
    judge: JudgeSection,
    seed: int = 0,
) -> Chosen:
    """Choose what `pairs.method` says: pairs, or the answers with a perfect score (the paper's ablation).

    `seed` decides what `pairs.method: random` draws.

    Raises:
        InputError: a candidate's prompt, or a verdict's candidate, is not among the rows given.
    """
    answers = read_answers(prompts, candidates)
    scores = read_scores(answers, verdicts)
    mean = scores.by(judge.score)
    usable = ~answers.blank if pairs.keep_truncated else ~(answers.blank | answers.cut_off)
    texts = text_numbers(answers)
    if pairs.method == "positives_only":
        best, drops = select_positives(answers.prompt, mean, usable, texts, perfect=judge.max_score)
        return Chosen(answers, scores, mean, best, None, drops)
    best, worst, drops = select_pairs(
        answers.prompt,
        mean,
        scores.expected,
        usable,
        texts,
        method=pairs.method,
        min_margin=pairs.min_margin,
        seed=seed,
        k=pairs.top_k,
        rho=pairs.rho,
        max_per_prompt=pairs.max_per_prompt,
        length=answers.length,
    )
    drops["too_few_scored"] += answers.prompts - len(np.unique(answers.prompt))
    return Chosen(answers, scores, mean, best, worst, drops)


def write(
    prompts: Path, candidates: Path, verdicts: Path, file: Path, *, pairs: PairsSection, judge: JudgeSection, seed: int
) -> Chosen:
    """Choose from files of rows, and write to `file` what is trained on; neither is held."""
    asked, answers = RowFile(prompts, Prompt), RowFile(candidates, Candidate)
    chosen = choose(asked, answers, RowFile(verdicts, Verdict), pairs=pairs, judge=judge, seed=seed)
    write_rows(file, chosen.rows(asked, answers))
    return chosen


def prompts_without(drops: Mapping[str, int]) -> dict[str, int]:
    """Return the prompts without a pair, by reason; what counts pairs or answers in `drops` is left out."""
    found = {reason: count for reason, count in drops.items() if reason != "over_cap"}
    if "no_perfect_answer" in found:  # of positives: there `same_text` counts answers
        found.pop("same_text", None)
    return found
