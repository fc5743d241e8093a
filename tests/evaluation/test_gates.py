"""Figures of a model's own data, and the limits on them."""

import math

import pytest
from srlm.config import GatesSection, JudgeSection
from srlm.evaluation.data_metrics import data_metrics
from srlm.evaluation.gates import failed_gates
from srlm.rows.records import Candidate, Prompt, Score, Verdict
from srlm.stages.score_table import read_answers, read_scores, read_verdicts

JUDGE = JudgeSection()


def candidate(key, prompt, tokens):
    return Candidate(key, prompt, 0, f"text {key}", [1] * tokens, -1.0, "stop", 0)


def verdict(key, score, outcome="scored"):
    return Verdict(f"v{key}", key, 0, "", outcome, score, None)


# Prompt p: the longer, the better. Prompt q: its answers tie. Prompt r: only one answer has a score.
CANDIDATES = [
    candidate("p1", "p", 10), candidate("p2", "p", 20), candidate("p3", "p", 30),
    candidate("q1", "q", 10), candidate("q2", "q", 50),
    candidate("r1", "r", 10), candidate("r2", "r", 12),
]  # fmt: skip
VERDICTS = [
    verdict("p1", 1.0), verdict("p2", 2.0), verdict("p3", 5.0),
    verdict("q1", 4.0), verdict("q2", 4.0),
    verdict("r1", 4.0), verdict("r2", None, "missing"),
]  # fmt: skip


PROMPTS = [Prompt(key, "", "generated", [], 0) for key in "pqr"]


def metrics(prompts, candidates, verdicts, prompts_with_pair, *, judge, **settings):
    answers = read_answers(PROMPTS[:prompts], candidates)
    scores = read_verdicts(answers, verdicts, score=judge.score, max_score=judge.max_score)
    return data_metrics(answers, scores, prompts_with_pair, **settings)


def test_figures_by_hand():
    found = metrics(3, CANDIDATES, VERDICTS, 1, judge=JUDGE)
    assert found.parse_rate == 6 / 7
    assert found.tied_prompts == 1 / 2  # of p and q: r has too few scores to tie
    assert found.length_correlation == 1  # p follows length exactly; q ties, and gives no pair
    assert found.pairs_kept == 1 / 3
    assert found.kl_from_m1 is None
    # 1, 2 and 5 once, 4 three times of six.
    assert found.score_entropy == pytest.approx(3 * math.log2(6) / 6 + 0.5)
    assert found.score_histogram == {
        "0": 0, "0.5": 0, "1": 1, "1.5": 0, "2": 1, "2.5": 0, "3": 0, "3.5": 0, "4": 3, "4.5": 0, "5": 1,
    }  # fmt: skip
    edges, counts = found.length_histogram["edges"], found.length_histogram["counts"]
    assert len(edges) == len(counts) + 1
    assert sum(counts) == 7
    assert counts[edges.index(max(edge for edge in edges if edge <= 50))] == 1


def test_nothing_to_measure():
    found = metrics(0, [], [], 0, judge=JUDGE)
    assert (found.parse_rate, found.tied_prompts, found.score_entropy, found.length_correlation) == (None,) * 4
    assert failed_gates(found, GatesSection(parse_rate=1.0)) == []


def test_expected_scores_order_but_written_ones_are_counted():
    rows = [
        Verdict("1", "p1", 0, "", "scored", 3.0, 2.9),
        Verdict("2", "p2", 0, "", "scored", 3.0, 3.1),
    ]
    found = metrics(1, CANDIDATES[:2], rows, 1, judge=JudgeSection(score="expected"))
    assert found.score_entropy == 0
    assert found.tied_prompts == 0
    assert found.length_correlation == 1


@pytest.mark.parametrize(
    ("gate", "met", "missed", "words"),
    [
        ("parse_rate", 0.8, 0.9, ["86%", "judge.max_tokens"]),
        ("tied_prompts", 0.6, 0.4, ["50%", "candidates.temperature"]),
        ("score_entropy", 1.0, 2.0, ["1.79", "eft.max_share"]),
        ("length_correlation", 1.0, 0.4, ["1.00", "length_controlled"]),
        ("pairs_kept", 0.3, 0.5, ["33%", "reasons"]),
        ("kl_from_m1", 0.8, 0.6, ["0.70", "dpo.beta"]),
        ("distinct_answers", 2.3, 2.4, ["2.33", "candidates.temperature"]),  # 3, 2 and 2
    ],
)
@pytest.mark.parametrize("action", ["warn", "stop"])
def test_gates(gate, met, missed, words, action):
    found = metrics(3, CANDIDATES, VERDICTS, 1, judge=JUDGE, kl_from_m1=0.7)
    off = dict.fromkeys(("parse_rate", "tied_prompts", "score_entropy", "length_correlation", "pairs_kept"))
    assert failed_gates(found, GatesSection(**{**off, gate: met})) == []
    [gate_found] = failed_gates(found, GatesSection(**{**off, gate: missed, f"{gate}_action": action}))
    assert (gate_found.gate, gate_found.limit, gate_found.action) == (gate, missed, action)
    assert all(word in gate_found.text for word in [f"gates.{gate}", f"limit {missed:g}", *words])
    assert "\n" not in gate_found.text


# Votes for final answers: of p two for 4 and one for 5; of q both for 4; of r one for 7, and one without an answer.
VOTES = [Score(f"s{row.id}", row.id, 0.5, answer=final) for row, final in zip(CANDIDATES, "4454447", strict=True)]
VOTES[6] = Score("sr2", "r2", 0.0)
VOTES[5] = Score("sr1", "r1", 0.5, answer="7")


@pytest.mark.parametrize(
    ("gate", "met", "missed", "words"),
    [
        ("distinct_answers", 1.3, 1.4, ["1.33 different answers per prompt"]),
        ("vote_share", 0.9, 0.8, ["89% of a prompt's answers agree", "candidates.temperature"]),  # 2/3, 1 and 1
        ("top_final_answer", 0.7, 0.6, ["67% of the prompts have the same majority answer", "dpo.learning_rate"]),
    ],
)
def test_gates_against_collapse(gate, met, missed, words):
    answers = read_answers(PROMPTS, CANDIDATES)
    found = data_metrics(answers, read_scores(answers, VOTES, max_score=1.0), 1)
    off = dict.fromkeys(("tied_prompts", "score_entropy", "distinct_answers"))
    assert failed_gates(found, GatesSection(**{**off, gate: met})) == []
    [failed] = failed_gates(found, GatesSection(**{**off, gate: missed}))
    assert failed.gate == gate
    assert all(word in failed.text for word in words)


def test_scores_without_a_largest_one_have_a_histogram():
    answers = read_answers(PROMPTS[:1], CANDIDATES[:3])
    rows = [Score(str(number), row.id, number - 1.0) for number, row in enumerate(CANDIDATES[:3])]
    found = data_metrics(answers, read_scores(answers, rows, max_score=None), 1).score_histogram
    assert len(found) == 10
    assert list(found.values()) == [1, 0, 0, 0, 0, 1, 0, 0, 0, 1]
    assert next(iter(found)) == "-1"


def test_a_limit_that_is_just_met_is_met():
    found = metrics(3, CANDIDATES, VERDICTS, 1, judge=JUDGE)
    assert (
        failed_gates(found, GatesSection(parse_rate=6 / 7, tied_prompts=0.5, score_entropy=0, length_correlation=1))
        == []
    )
