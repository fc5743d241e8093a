"""Judge metrics: values worked by hand, and judges with known metrics."""

import math
import random
from dataclasses import asdict, replace

import pytest
from srlm.config import JudgeSection
from srlm.evaluation.estimates import NONE
from srlm.evaluation.judge_metrics import measure
from srlm.evaluation.preferences import read_preferences
from srlm.rows.records import RankedAnswers, Verdict, to_json
from srlm.stages.eft import answer_id

from tests.conftest import DATA

JUDGE = JudgeSection()
EXPECTED = JudgeSection(score="expected")


def ranked(*human, lengths=None, prompt="q", name=None):
    answers = [f"{n}".ljust(length, "x") for n, length in enumerate(lengths or [5] * len(human))]
    return RankedAnswers(name or f"id {prompt}", prompt, answers, list(map(float, human)), [""] * len(human))


def verdicts(row, *samples):
    """Scripted verdicts: for each sample the answers' scores. None is missing, a string an outcome without a score."""
    return [verdict(row, index, n, score) for n, scores in enumerate(samples) for index, score in enumerate(scores)]


def verdict(row, index, sample, score, expected=None):
    outcome = score if isinstance(score, str) else "missing" if score is None else "scored"
    number = float(score) if outcome == "scored" else None
    return Verdict(f"{row.id}/{index}/{sample}", answer_id(row, index), sample, "", outcome, number, expected)


def judged(*pairs, judge=JUDGE):
    """Measure (human scores, judge's scores) of one prompt each, or (row, judge's scores)."""
    rows = [
        first if isinstance(first, RankedAnswers) else ranked(*first, prompt=n) for n, (first, _) in enumerate(pairs)
    ]
    given = [one for row, (_, scores) in zip(rows, pairs, strict=True) for one in verdicts(row, scores)]
    return measure(rows, given, judge=judge)


def about(value):
    return None if value is None else pytest.approx(value)


# --- equal answers ----------------------------------------------------------------------------------------------------


def texts(row, *answers):
    return replace(row, answers=list(answers))


@pytest.mark.parametrize("other", ["a", "a ", "\n a\t"])
def test_pairs_of_equal_answers_are_no_pairs(other):
    """All metrics of an order are those without the contradiction, and a judge that cannot order it loses nothing."""
    row = texts(ranked(5, 3, 1), "a", other, "b")
    found = judged((row, [4, 4, 2]))
    assert (found.pairs, found.pairs_equal, found.pairs_unscored) == (2, 1, 0)
    assert [found.pairwise_accuracy.value, found.exact_match.value, found.tied.value] == [1, 1, 0]
    assert found.spearman.value == found.kendall.value == about(1)
    unscored = judged((row, [None, 4, 2]))
    assert (unscored.pairs, unscored.pairs_unscored, unscored.pairs_equal) == (1, 1, 1)


def test_a_row_of_equal_answers_has_no_metrics():
    found = judged((texts(ranked(5, 1), "a", "a "), [3, 3]), (ranked(5, 1), [4, 2]))
    assert (found.pairs, found.pairs_equal, found.pairwise_accuracy.n, found.exact_match.n) == (1, 1, 1, 1)
    assert (found.pairwise_accuracy.value, found.spearman.value) == (1, about(1))


def test_answers_that_humans_tie_may_be_equal():
    found = judged((texts(ranked(5, 5, 1), "a", "a", "b"), [4, 4, 2]))
    assert (found.pairs, found.pairs_equal, found.pairwise_accuracy.value) == (2, 1, 1)


# --- by hand ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("human", "given", "accuracy", "exact", "tied", "pairs", "unscored"),
    [
        ([5, 1], [4, 2], 1, 1, 0, 1, 0),
        ([5, 1], [2, 4], 0, 0, 0, 1, 0),
        ([1, 5], [2, 4], 1, 1, 0, 1, 0),
        ([5, 1], [3, 3], 1 / 2, 0, 1, 1, 0),  # a tie is half right, and no exact match
        ([5, 3, 1], [5, 3, 1], 1, 1, 0, 3, 0),
        ([5, 3, 1], [1, 3, 5], 0, 0, 0, 3, 0),
        ([5, 3, 1], [5, 1, 3], 2 / 3, 0, 0, 3, 0),
        ([5, 3, 1], [5, 3, 3], 2.5 / 3, 0, 1 / 3, 3, 0),
        ([5, 3, 1], [0, 0, 0], 1 / 2, 0, 1, 3, 0),  # zero is a score
        ([5, 5, 1], [1, 5, 0], 1, 1, 0, 2, 0),  # what the humans tied is no pair
        ([5, 5, 1], [3, 3, 3], 1 / 2, 0, 1, 2, 0),
        ([3, 3, 3], [1, 2, 3], None, None, None, 0, 0),
        ([5, 3, 1], [5, None, 1], 1, None, 0, 1, 2),
        ([5, 3, 1], [5, None, None], None, None, None, 0, 3),
        ([5, 5, 1], [None, 5, 1], 1, None, 0, 1, 1),
        ([5], [5], None, None, None, 0, 0),
    ],
)
def test_pairs_and_exact_matches(human, given, accuracy, exact, tied, pairs, unscored):
    found = judged((human, given))
    assert found.pairwise_accuracy.value == about(accuracy)
    assert found.exact_match.value == about(exact)
    assert found.tied.value == about(tied)
    assert (found.pairs, found.pairs_unscored) == (pairs, unscored)
    assert found.longer_accuracy.value == (None if accuracy is None else 0.5)  # all answers are equally long
    assert found.prompts_unscored == int(None in given)


@pytest.mark.parametrize(
    ("human", "given", "rho", "tau"),
    [
        ([5, 3, 1], [5, 3, 1], 1, 1),
        ([5, 3, 1], [1, 2, 3], -1, -1),
        # Ranks 3 2 1 and 3 1 2: rho = 1 - 6 (0 + 1 + 1) / (3 * 8) = 1/2; two pairs agree, one does not: 1/3.
        ([5, 3, 1], [5, 1, 3], 1 / 2, 1 / 3),
        # Ranks less their mean: 1 0 -1 and 1 -1/2 -1/2: 3/2 / sqrt(2 * 3/2). Two agree, one tied: 2 / sqrt(3 * 2).
        ([5, 3, 1], [5, 3, 3], 1.5 / math.sqrt(3), 2 / math.sqrt(6)),
        # The humans' tie: 1/2 1/2 -1 and 1 0 -1: 3/2 / sqrt(3/2 * 2). Two agree of 2 and of 3: 2 / sqrt(2 * 3).
        ([5, 5, 1], [5, 3, 1], 1.5 / math.sqrt(3), 2 / math.sqrt(6)),
        ([5, 3, 1], [3, 3, 3], 0, 0),  # a constant judge
        ([3, 3, 3], [5, 3, 1], None, None),  # constant humans
        ([5, 3, 1], [4, None, 2], 1, 1),  # over what is scored
        ([5, 5, 1], [4, 2, None], None, None),  # what is left was tied
        ([5, 3], [4, None], None, None),
    ],
)
def test_rank_correlations(human, given, rho, tau):
    found = judged((human, given))
    assert found.spearman.value == about(rho)
    assert found.kendall.value == about(tau)


def test_correlations_are_averaged_over_prompts():
    found = judged(([5, 1], [4, 2]), ([5, 3, 1], [5, 1, 3]), ([1, 1], [1, 2]), ([5, 1], [3, 3]))
    assert (found.spearman.value, found.spearman.n) == (about((1 + 0.5 + 0) / 3), 3)
    assert (found.kendall.value, found.kendall.n) == (about((1 + 1 / 3 + 0) / 3), 3)


@pytest.mark.parametrize(
    ("lengths", "longer", "rho"),
    [
        ([9, 5, 2], 1, -1),
        ([2, 5, 9], 0, 1),
        ([5, 5, 5], 1 / 2, None),
        ([9, 2, 5], 2 / 3, -1 / 2),  # ranks less their mean 1 -1 0 and -1 0 1: -1 / 2
        ([9, 9, 2], 2.5 / 3, -1.5 / math.sqrt(3)),  # 1/2 1/2 -1 and -1 0 1: -3/2 / sqrt(3/2 * 2)
    ],
)
def test_length(lengths, longer, rho):
    found = judged((ranked(5, 3, 1, lengths=lengths), [1, 2, 3]))
    assert found.longer_accuracy.value == about(longer)
    assert found.pairwise_accuracy.value == 0
    assert found.length_spearman.value == about(rho)


def test_length_is_followed_where_humans_tie_and_not_by_a_constant_judge():
    tie = ranked(3, 3, lengths=[2, 9], prompt="a")
    constant = ranked(5, 1, lengths=[2, 9], prompt="b")
    found = judged((tie, [1, 5]), (constant, [4, 4]))
    assert (found.length_spearman.value, found.length_spearman.n) == (0.5, 2)


def test_lengths_are_counted_in_characters():
    row = RankedAnswers("id", "q", ["\U0001f600" * 3, "abcd"], [5.0, 1.0], ["", ""])
    assert judged((row, [5, 1])).longer_accuracy.value == 0


def test_longer_is_better_is_counted_on_the_same_pairs():
    row = ranked(5, 3, 1, lengths=[1, 5, 9], prompt="a")
    other = ranked(5, 1, lengths=[9, 1], prompt="b")
    # Left: the pair of the first and the last answer, of which the worse one is longer.
    found = judged((row, [2, None, 1]), (other, [None, 1]))
    assert (found.pairs, found.pairs_unscored, found.prompts_unscored) == (1, 3, 2)
    assert (found.pairwise_accuracy.value, found.longer_accuracy.value) == (1, 0)


def test_pairs_of_all_prompts_weigh_the_same_and_prompts_are_not_mixed():
    found = judged(([5, 1], [1, 5]), ([5, 3, 1], [5, 3, 1]))
    assert (found.pairwise_accuracy.value, found.pairwise_accuracy.n) == (0.75, 4)
    assert (found.exact_match.value, found.exact_match.n) == (0.5, 2)
    assert judged(([5, 4], [1, 0]), ([2, 1], [5, 4])).pairs == 2


@pytest.mark.parametrize(
    ("human", "given", "value", "n"),
    [
        ([5, 3, 1], [5, 4, 5], 1 / 2, 2),
        ([3, 2, 1], [5, 0, 0], 1, 1),  # the best of this prompt, whatever its number
        ([5, 5, 1], [5, 5, 5], 2 / 3, 3),  # both first places count
        ([5, 3, 1], [4, 4.5, 4], None, 0),
        ([3, 3, 3], [5, 5, 5], None, 0),  # nobody was first
        ([5, 3], [None, 5], 0, 1),
    ],
)
def test_perfect_scores(human, given, value, n):
    found = judged((human, given)).five_best
    assert (found.value, found.n) == (about(value), n)


def test_a_perfect_score_is_a_perfect_mean_on_the_judges_own_scale():
    row = ranked(5, 1)
    assert measure([row], verdicts(row, [5, 1], [4, 1]), judge=JUDGE).five_best == NONE
    assert measure([row], verdicts(row, [5, 1], [5, 1]), judge=JUDGE).five_best.value == 1
    assert measure([row], verdicts(row, [5, 1]), judge=JudgeSection(max_score=10.0)).five_best == NONE
    assert measure([row], verdicts(row, [10, 1]), judge=JudgeSection(max_score=10.0)).five_best.value == 1


def test_samples_are_averaged():
    row = ranked(5, 3, 1)
    found = measure([row], verdicts(row, [3, 5, 1], [5, 2, 1], [4, "conflicting", 1]), judge=JUDGE)
    # means 4, 3.5, 1
    assert (found.pairwise_accuracy.value, found.exact_match.value) == (1, 1)
    assert found.answers == 3


def test_expected_scores_order_the_answers_and_written_ones_are_counted():
    row = ranked(5, 3, 1)
    given = [verdict(row, index, 0, 5, expected) for index, expected in enumerate((4.2, 4.1, 4.4))]
    found = measure([row], given, judge=EXPECTED)
    # 4.2 > 4.1 as the humans said, both below 4.4: one of three pairs.
    assert (found.pairwise_accuracy.value, found.tied.value) == (about(1 / 3), 0)
    assert (found.five_best.value, found.five_best.n) == (about(1 / 3), 3)
    assert found.histogram["5"] == 3
    written = measure([row], given, judge=JUDGE)
    assert (written.pairwise_accuracy.value, written.tied.value) == (0.5, 1)


def test_a_written_score_without_an_expected_one_orders_nothing():
    row = ranked(5, 1)
    found = measure([row], [verdict(row, 0, 0, 5, 4.2), verdict(row, 1, 0, 1)], judge=EXPECTED)
    assert (found.pairs, found.pairs_unscored) == (0, 1)
    assert (found.parse_rate.value, found.outcomes["scored"]) == (1, 2)


# --- the verdicts themselves ------------------------------------------------------------------------------------------


def test_unscored_verdicts_are_not_numbers():
    row = ranked(5, 3, 1)
    liar = Verdict("x", answer_id(row, 1), 2, "Score: 9", "out_of_range", 0.0, 0.0)
    given = [*verdicts(row, [5, "out_of_range", 1], [5, "conflicting", None]), liar]
    for judge in (JUDGE, EXPECTED):
        found = measure([row], given, judge=judge)
        assert found.outcomes == {"scored": 3, "missing": 1, "out_of_range": 2, "conflicting": 1}
        assert (found.parse_rate.value, found.parse_rate.n) == (about(3 / 7), 7)
        assert found.histogram == {"0": 0, "1": 1, "2": 0, "3": 0, "4": 0, "5": 2}
        assert found.score_entropy == about(math.log2(3) - 2 / 3)
        assert found.agreement.value == 1  # the first answer's two
    assert measure([row], given, judge=JUDGE).pairs_unscored == 2


def test_answers_without_a_verdict_and_verdicts_on_other_answers():
    row, other = ranked(5, 3, 1), ranked(5, 1, prompt="other")
    given = [*verdicts(row, [5]), *verdicts(other, [0, 0])]
    found = measure([row], given, judge=JUDGE)
    assert (found.parse_rate.value, found.parse_rate.n) == (1, 1)
    assert (found.pairs, found.pairs_unscored, found.prompts_unscored) == (0, 3, 1)
    assert sum(found.outcomes.values()) == sum(found.histogram.values()) == 1


@pytest.mark.parametrize(
    ("samples", "value", "n"),
    [
        ([[4, 2]], None, 0),
        ([[4, 2], [4, 3]], 1 / 2, 2),
        # The first answer: 4 4 3, one of three pairs; the second: 2 2 2, all three.
        ([[4, 2], [4, 2], [3, 2]], 4 / 6, 6),
        ([[4, 2], [None, 2], [4, "conflicting"]], 1, 2),
        ([[4, 2], [None, None]], None, 0),
    ],
)
def test_agreement_of_samples(samples, value, n):
    row = ranked(5, 1)
    found = measure([row], verdicts(row, *samples), judge=JUDGE).agreement
    assert (found.value, found.n) == (about(value), n)


@pytest.mark.parametrize(
    ("scores", "bits"),
    [
        ([1, 2, 3, 4], 2),
        ([1, 1, 2, 2, 3, 3, 4, 4], 2),
        ([3, 3, 3], 0),
        ([0, 5], 1),
        ([1, 1, 1, 2], 0.811278),  # 3/4 log2(4/3) + 1/4 log2(4)
        ([2, 2.5], 1),  # exact values, not rounded ones
        ([None, None], None),
    ],
)
def test_entropy_of_written_scores(scores, bits):
    found = judged(([1] * len(scores), scores)).score_entropy
    assert found == (None if bits is None else pytest.approx(bits, abs=1e-6))
    assert bits != 0 or math.copysign(1, found) == 1


def test_histogram():
    row = ranked(*range(8))
    scores = [0, 0.4, 0.5, 1.5, 2.5, 4.49, 4.5, 5]  # halves go up
    found = measure([row], verdicts(row, scores), judge=JUDGE)
    assert found.histogram == {"0": 2, "1": 1, "2": 1, "3": 1, "4": 1, "5": 2}
    ten = measure([], [], judge=JudgeSection(max_score=10.0))
    assert ten.histogram == {f"{point}": 0 for point in range(11)}


# --- rows of the same prompt ------------------------------------------------------------------------------------------


def test_rows_of_one_prompt_are_resampled_together():
    rows = [ranked(5, 1, prompt=f"{n // 5}", name=f"{n}") for n in range(100)]  # 20 prompts of 5 rows
    given = [one for n, row in enumerate(rows) for one in verdicts(row, [2, 1] if n // 5 % 2 else [1, 2])]
    together = measure(rows, given, judge=JUDGE)
    assert (together.prompts, together.pairs) == (20, 100)
    alone = measure([RankedAnswers(r.id, r.id, r.answers, r.scores, [""]) for r in rows], given, judge=JUDGE)
    assert alone.prompts == 100
    assert together.pairwise_accuracy.value == alone.pairwise_accuracy.value == 0.5
    for name in ("pairwise_accuracy", "exact_match", "spearman", "kendall"):
        wide, narrow = getattr(together, name), getattr(alone, name)
        assert wide.n == narrow.n == 100
        # Five equal rows are worth one: the interval is sqrt(5) = 2.2 times as wide.
        assert 1.8 < (wide.high - wide.low) / (narrow.high - narrow.low) < 2.7


def test_a_duplicate_row_counts_twice_and_its_verdicts_once():
    row = ranked(5, 1)
    found = measure([row, row], verdicts(row, [4, 2]), judge=JUDGE)
    assert (found.prompts, found.answers, found.pairs) == (1, 4, 2)
    assert sum(found.outcomes.values()) == found.parse_rate.n == 2


# --- annotators -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "value", "n"),
    [
        ([1, 1, 1], 1, 3),
        ([1, 1, 2], 0, 1),  # only the third has two others that agree
        ([1, 1, 0], 1 / 2, 1),
        ([0, 0, 0], None, 0),
        ([0, 0, 1], None, 0),  # they agree on a tie
        ([0, 1, 2], None, 0),
    ],
)
def test_human_agreement(labels, value, n):
    found = measure([ranked(5, 1)], [], judge=JUDGE, annotators=[labels]).human_agreement
    assert (found.value, found.n) == (about(value), n)


def test_human_agreement_is_pooled_over_rows():
    rows = [ranked(5, 1, prompt="a"), ranked(5, 1, prompt="b")]
    found = measure(rows, [], judge=JUDGE, annotators=[[2, 2, 2], [1, 2, 1]]).human_agreement
    assert (found.value, found.n) == (3 / 4, 4)
    assert measure(rows, [], judge=JUDGE).human_agreement is None
    with pytest.raises(ValueError, match="zip"):
        measure(rows, [], judge=JUDGE, annotators=[[2, 2, 2]])


# --- judges with known metrics ----------------------------------------------------------------------------------------

CHANCE = random.Random(7)
MANY = [ranked(*CHANCE.sample(range(6), 4), lengths=CHANCE.sample(range(2, 50), 4), prompt=f"p{n}") for n in range(200)]


def judged_by(judge_row, rows=MANY):
    return measure(rows, [one for row in rows for one in verdicts(row, judge_row(row))], judge=JUDGE)


def test_a_perfect_judge():
    found = judged_by(lambda row: row.scores)
    for estimate in (found.pairwise_accuracy, found.exact_match, found.spearman, found.kendall, found.five_best):
        assert (estimate.value, estimate.low, estimate.high) == (1, 1, 1)
    assert found.tied.value == 0
    assert found.flags == []


def test_an_inverted_judge():
    found = judged_by(lambda row: [5 - score for score in row.scores])
    assert (found.pairwise_accuracy.value, found.exact_match.value) == (0, 0)
    assert (found.spearman.value, found.kendall.value) == (about(-1), about(-1))
    assert len(found.flags) == 1
    assert 'Not significantly better than "the longer answer is better"' in found.flags[0]


def test_a_constant_judge():
    found = judged_by(lambda row: [3] * 4)
    assert (found.pairwise_accuracy.value, found.exact_match.value, found.tied.value) == (0.5, 0, 1)
    assert (found.spearman.value, found.kendall.value, found.length_spearman.value) == (0, 0, 0)
    assert found.score_entropy == 0
    assert [flag.split(":")[0] for flag in found.flags] == [
        "100% of the judge's scores are 3, so it hardly distinguishes answers",
        "The judge ties 100% of the pairs, each of which counts as half correct",
        found.flags[2].split(":")[0],
    ]
    assert found.flags[2].startswith("Not significantly better")


def test_a_judge_that_follows_length():
    found = judged_by(lambda row: [len(text) / 10 for text in row.answers])
    assert found.length_spearman.value == about(1)
    assert found.pairwise_accuracy == found.longer_accuracy
    assert "(difference +0 to +0 points on the same pairs)" in found.flags[0]


def test_random_judges():
    within = 0
    for seed in range(40):
        chance = random.Random(seed)
        found = judged_by(lambda row, chance=chance: [chance.randint(0, 5) for _ in row.answers], MANY[:60])
        assert found.pairwise_accuracy.value == pytest.approx(0.5, abs=0.12)
        within += found.pairwise_accuracy.low <= 0.5 <= found.pairwise_accuracy.high
    assert within >= 35  # of 40 intervals of 95 %, P(34 or fewer hold the truth) = 1.4 %


@pytest.mark.parametrize(
    ("name", "rows", "samples", "flags"),
    [
        (
            "one score in 91 %",
            100,
            lambda n: [3, 3] if n < 91 else [4, 2],
            ["91% of the judge's scores are 3", "ties 91%"],
        ),
        ("one score in 90 %", 100, lambda n: [3, 3] if n < 90 else [4, 2], ["ties 90%"]),
        ("half tied", 40, lambda n: [3, 3] if n < 20 else [4, 2], []),
        ("parsed in 90 %", 40, lambda n: [4, 2] if n < 32 else [4, None], []),
        ("parsed in 89 %", 40, lambda n: [4, 2] if n < 31 else [4, None], ["Only 89% of the verdicts"]),
        ("29 prompts", 29, lambda n: [4, 2], ["Prompts with a pair: 29, too few"]),
        ("one prompt", 1, lambda n: [4, 2], ["Prompts with a pair: 1, too few"]),
        ("30 prompts", 30, lambda n: [4, 2], []),
    ],
)
def test_flags(name, rows, samples, flags):
    some = [ranked(5, 1, prompt=f"{n}") for n in range(rows)]
    found = measure(some, [one for n, row in enumerate(some) for one in verdicts(row, samples(n))], judge=JUDGE)
    assert len(found.flags) == len(flags), name
    assert all(text in flag for text, flag in zip(flags, found.flags, strict=True))


def test_nothing_to_measure():
    found = measure([], [], judge=JUDGE)
    assert (found.prompts, found.answers, found.pairs) == (0, 0, 0)
    assert found.pairwise_accuracy == found.spearman == found.agreement == found.parse_rate == NONE
    assert found.score_entropy is None
    assert len(found.flags) == 1


@pytest.mark.parametrize("judge", [JUDGE, EXPECTED])
def test_the_order_of_the_verdicts_changes_nothing(judge):
    """They are written in the order of completion; 0.1 + 0.2 + 0.3 differs from 0.3 + 0.2 + 0.1 as a float."""
    draw = random.Random(0)
    scores = (0.1, 0.2, 0.3, 0.7, 1.1, None, "conflicting")
    rows = [ranked(*draw.sample(range(6), 3), prompt=n) for n in range(30)]
    given = [
        verdict(row, index, sample, score, None if score in (None, "conflicting") else draw.choice([score, 3.3]))
        for row in rows
        for index in range(3)
        for sample in range(4)
        for score in [draw.choice(scores)]
    ]
    found = {to_json(asdict(measure(rows, draw.sample(given, len(given)), judge=judge))) for _ in range(6)}
    assert len(found) == 1


def test_the_metrics_are_json():
    found = asdict(judged(([5, 3, 1], [5, None, 1])))
    assert '"pairwise_accuracy": {"value": 1.0, "low": null, "high": null, "n": 1}' in to_json(found)


# --- a real set -------------------------------------------------------------------------------------------------------


def test_pandalm_by_its_first_annotator():
    file = DATA / "pandalm" / "testset-v1.json"
    if not file.is_file():
        pytest.skip("PandaLM's test set is not beside the checkout")
    preferences = read_preferences(file)
    rows = [RankedAnswers(f"{n}", r.prompt, r.answers, r.scores, [""] * 2) for n, r in enumerate(preferences.rows)]
    scores = {0: [3, 3], 1: [4, 2], 2: [2, 4]}
    first = [
        one for row, who in zip(rows, preferences.annotators, strict=True) for one in verdicts(row, scores[who[0]])
    ]
    found = measure(rows, first, judge=JUDGE, annotators=preferences.annotators)
    # All three agree in 794 of the 894 pairs that have a better answer, so anyone is right in at least those.
    assert (found.prompts, found.pairs) == (170, 894)
    assert 794 / 894 <= found.pairwise_accuracy.value < 1
    assert found.pairwise_accuracy.low > found.longer_accuracy.high
    # Three times 794 agree with two others; of the 100 rows of two alike, 31 call it a tie (one half), 69 the opposite.
    assert found.human_agreement.n == 3 * 794 + 100
    assert found.human_agreement.value == pytest.approx((3 * 794 + 31 / 2) / (3 * 794 + 100))
    assert found.flags == []
