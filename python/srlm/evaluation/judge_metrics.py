"""Judge metrics: a model's scores of human-ranked answers against the human ranking (the paper's reward modeling).

The baseline for the accuracy is "the longer answer is better" on the same pairs: a judge that does not beat it has
learned nothing but length. `docs/judge-metrics.md` defines every metric. Rows with the same prompt are resampled
together for the intervals. Not here: judging itself (`judge`), and Pearson's correlation of scores with ranks, as
differences of ranks have no meaning.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from srlm.evaluation import estimates, judge_flags, rank_correlation
from srlm.evaluation.judge_pairs import Judged, Pairs, compare, ordered_pairs
from srlm.rows.equal_answers import equal_pairs
from srlm.stages.eft import answer_id
from srlm.stages.judge import count_outcomes, mean_scores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from srlm.config import JudgeSection
    from srlm.evaluation.estimates import Estimate
    from srlm.rows.records import CaseResult, RankedAnswers, Verdict

    Correlate = Callable[[rank_correlation.Lists], list[float]]


@dataclass(frozen=True, slots=True)
class JudgeMetrics:
    """Metrics of one judge on one preference set; `docs/judge-metrics.md` has definitions, ranges and chance levels.

    `prompts` counts distinct prompts, `answers` those of all rows; `prompts_unscored` have an answer without a score.
    `pairs_equal` counts pairs of the same answer, which no judge can order: they are no pairs.
    Estimates are shares or correlations, `score_entropy` is in bits. `human_agreement` is None without annotators.
    `gain_over_length` is `pairwise_accuracy` minus `longer_accuracy` on the same pairs, with the p-value of its test.
    """

    prompts: int
    answers: int
    pairs: int
    pairs_unscored: int
    pairs_equal: int
    prompts_unscored: int
    pairwise_accuracy: Estimate
    exact_match: Estimate
    five_best: Estimate
    spearman: Estimate
    kendall: Estimate
    longer_accuracy: Estimate
    gain_over_length: Estimate
    gain_over_length_p: float | None
    tied: Estimate
    parse_rate: Estimate
    length_spearman: Estimate
    agreement: Estimate
    score_entropy: float | None
    histogram: dict[str, int]
    outcomes: dict[str, int]
    human_agreement: Estimate | None
    flags: list[str]


@dataclass(frozen=True, slots=True)
class _Table:
    """Rows joined with their verdicts."""

    prompts: int  # P, distinct texts
    prompt_of: dict[str, int]  # answer id -> index of its prompt
    verdicts: list[Verdict]  # those of these answers
    judged: list[Judged]
    pairs: Pairs
    written: Counter[float]  # counts of the sampled scores


def measure(
    rows: Sequence[RankedAnswers],
    verdicts: Sequence[Verdict],
    *,
    judge: JudgeSection,
    annotators: Sequence[Sequence[int]] | None = None,
) -> JudgeMetrics:
    """Compare a judge's verdicts (candidate ids from `eft.answer_id`) with the human ranking.

    Answers are ordered by `judge.score`: the mean of their sampled or of their expected scores. `annotators` has the
    labels of three annotators for every row of two answers: 0 for a tie, 1 or 2 for the better one. Verdicts on other
    answers are ignored, and those without a parseable score do not count as numbers.
    """
    table = _tabulate(rows, verdicts, judge)
    pairs = table.pairs
    tied, gain, gain_p = pairs.estimate(pairs.ties()), pairs.estimate(pairs.gains()), pairs.gain_p_value()
    parse_rate = _parse_rate(table)
    return JudgeMetrics(
        prompts=table.prompts,
        answers=sum(len(row.answers) for row in rows),
        pairs=len(pairs.right),
        pairs_unscored=pairs.unscored,
        pairs_equal=sum(map(equal_pairs, rows)),
        prompts_unscored=len({entry.prompt for entry in table.judged if None in entry.scores}),
        pairwise_accuracy=pairs.estimate(pairs.right),
        exact_match=_exact_match(table.judged),
        five_best=_five_best(table.judged, judge.max_score),
        spearman=_order_correlation(rank_correlation.spearman, table.judged),
        kendall=_order_correlation(rank_correlation.kendall, table.judged),
        longer_accuracy=pairs.estimate(pairs.longer),
        gain_over_length=gain,
        gain_over_length_p=gain_p,
        tied=tied,
        parse_rate=parse_rate,
        length_spearman=_length_correlation(table.judged),
        agreement=_agreement(table),
        score_entropy=entropy(table.written),
        histogram=_histogram(table.written, judge.max_score),
        outcomes=count_outcomes(table.verdicts),
        human_agreement=None if annotators is None else _human_agreement(table.judged, annotators),
        flags=judge_flags.flags(
            written=table.written,
            tied=tied,
            parse_rate=parse_rate,
            gain_over_length=gain,
            gain_p=gain_p,
            prompts=len(set(pairs.prompts)),
            expected=judge.score == "expected",
        ),
    )


def case_results(
    rows: Sequence[RankedAnswers], verdicts: Sequence[Verdict], *, judge: JudgeSection
) -> list[CaseResult]:
    """Return the judge's result on every pair with two scores, for the changes from one judge to another (`paired`)."""
    return _tabulate(rows, verdicts, judge).pairs.cases(list(dict.fromkeys(row.prompt for row in rows)))


def _tabulate(rows: Sequence[RankedAnswers], verdicts: Sequence[Verdict], judge: JudgeSection) -> _Table:
    numbers = {text: number for number, text in enumerate(dict.fromkeys(row.prompt for row in rows))}
    prompt_of = {answer_id(row, index): numbers[row.prompt] for row in rows for index in range(len(row.answers))}
    kept = [verdict for verdict in verdicts if verdict.candidate_id in prompt_of]
    judged = _judge(rows, numbers, kept, judge)
    written = Counter(v.score for v in kept if v.outcome == "scored" and v.score is not None)
    return _Table(len(numbers), prompt_of, kept, judged, compare(judged), written)


def _judge(
    rows: Sequence[RankedAnswers], numbers: Mapping[str, int], verdicts: Sequence[Verdict], judge: JudgeSection
) -> list[Judged]:
    scores = mean_scores(verdicts, expected=judge.score == "expected")
    written = scores if judge.score == "sampled" else mean_scores(verdicts, expected=False)
    ids = [[answer_id(row, index) for index in range(len(row.answers))] for row in rows]
    return [
        Judged(numbers[row.prompt], row, [scores.get(key) for key in keys], [written.get(key) for key in keys])
        for row, keys in zip(rows, ids, strict=True)
    ]


def _exact_match(judged: Iterable[Judged]) -> Estimate:
    found = [
        (entry.prompt, float(all(scores[better] > scores[worse] for better, worse in pairs)))
        for entry in judged
        for scores in [[score for score in entry.scores if score is not None]]
        if len(scores) == len(entry.scores) and (pairs := ordered_pairs(entry.row))
    ]
    return _mean(found)


def _five_best(judged: Iterable[Judged], max_score: float) -> Estimate:
    found = [
        (entry.prompt, float(human == max(entry.row.scores)))
        for entry in judged
        if len(set(entry.row.scores)) > 1
        for human, written in zip(entry.row.scores, entry.written, strict=True)
        if written == max_score
    ]
    return _mean(found)


def _order_correlation(correlate: Correlate, judged: Iterable[Judged]) -> Estimate:
    return _mean_correlation(correlate, [(entry.prompt, *entry.scored(entry.row.scores)) for entry in judged])


def _length_correlation(judged: Iterable[Judged]) -> Estimate:
    lists = [(entry.prompt, *entry.scored([float(len(text)) for text in entry.row.answers])) for entry in judged]
    return _mean_correlation(rank_correlation.spearman, lists)


def _mean_correlation(correlate: Correlate, lists: Iterable[tuple[int, list[float], list[float]]]) -> Estimate:
    """Average over all (prompt, values, scores) whose values are not all equal."""
    usable = [(prompt, values, scores) for prompt, values, scores in lists if len(set(values)) > 1]
    found = correlate([(values, scores) for _, values, scores in usable])
    return estimates.clustered_mean(found, [prompt for prompt, _, _ in usable])


def _parse_rate(table: _Table) -> Estimate:
    return _mean([(table.prompt_of[v.candidate_id], float(v.outcome == "scored")) for v in table.verdicts])


def _agreement(table: _Table) -> Estimate:
    """Estimate the share of pairs of scored verdicts on the same answer that have the same sampled score."""
    given: dict[str, Counter[float]] = {}
    for verdict in table.verdicts:
        if verdict.outcome == "scored" and verdict.score is not None:
            given.setdefault(verdict.candidate_id, Counter())[verdict.score] += 1
    same, pairs = [0] * table.prompts, [0] * table.prompts  # [P], [P]
    for answer, counts in given.items():
        same[table.prompt_of[answer]] += sum(math.comb(count, 2) for count in counts.values())
        pairs[table.prompt_of[answer]] += math.comb(counts.total(), 2)
    return estimates.ratio(same, pairs)


def entropy(written: Counter[float]) -> float | None:
    """Return the entropy in bits of a distribution that is given as counts, in any order; None if it is empty."""
    total = written.total()
    return math.fsum(count / total * math.log2(total / count) for count in written.values()) if total else None


def _histogram(written: Counter[float], max_score: float) -> dict[str, int]:
    """Count scores by the nearest integer, with halves rounded up."""
    counts: Counter[int] = Counter()
    for score, count in written.items():
        counts[math.floor(score + 0.5)] += count
    return {str(point): counts[point] for point in range(math.floor(max_score + 0.5) + 1)}


def _human_agreement(judged: Iterable[Judged], annotators: Sequence[Sequence[int]]) -> Estimate:
    """Score each annotator as the judge, against the two others where these agree on a better answer."""
    found = [
        (entry.prompt, 0.5 if label == 0 else float(label == others[0]))
        for entry, labels in zip(judged, annotators, strict=True)
        for index, label in enumerate(labels)
        for others in [[*labels[:index], *labels[index + 1 :]]]
        if others[0] != 0 and len(set(others)) == 1
    ]
    return _mean(found)


def _mean(found: list[tuple[int, float]]) -> Estimate:
    return estimates.clustered_mean([value for _, value in found], [prompt for prompt, _ in found])
