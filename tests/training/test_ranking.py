"""The ranking loss of judge examples: its values, its gradients, and what a step ranks."""

import dataclasses
import math

import pytest
import torch
from srlm.config import JudgeSection
from srlm.config.data import EftSection
from srlm.errors import InputError
from srlm.models import chat
from srlm.rows.records import RankedAnswers
from srlm.stages.eft import examples_from_ranks
from srlm.training import ranking
from srlm.training.head_requests import RankingPart, TokenLossRequest
from srlm.training.passes import PassPlanner
from srlm.training.ranking import Ranked, ScoreTokens, ranking_loss
from srlm.training.sft import encode
from srlm.training.step_order import NO_GROUP, StepOrder
from srlm.training.token_targets import targets_of

from tests.training.test_passes import FORM
from tests.training.trials import EXAMPLES, sentence

JUDGE = JudgeSection(justify=False, score="expected")
DIGITS = ScoreTokens((3, 5, 8, 9), (0.0, 1.0, 2.0, 3.0))


def judge_examples(prompts=3, answers=3, **eft):
    rows = [
        RankedAnswers(
            f"q{prompt}",
            f"Question {prompt}?",
            [sentence(prompt + 5 * answer, 3 + answer) for answer in range(answers)],
            [float((answer + prompt) % answers) for answer in range(answers)],
            [""] * answers,
        )
        for prompt in range(prompts)
    ]
    return examples_from_ranks(rows, eft=EftSection(max_share=1.0, **eft), judge=JUDGE, seed=0).rows


def by_hand(expected, pairs):
    return sum(math.log1p(math.exp(-2.0 * (expected[better] - expected[worse]))) for better, worse in pairs)


@pytest.mark.parametrize(("softcap", "scale", "biased"), [(None, 1.0, False), (3.0, 1.0, True), (None, 0.25, True)])
def test_loss_and_gradients(softcap, scale, biased):
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(7, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(11, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(11, generator=generator, dtype=torch.float64, requires_grad=True) if biased else None
    rows, pairs = [6, 0, 3], [(0, 1), (2, 1), (0, 2)]
    sides = (torch.tensor([pair[side] for pair in pairs]) for side in (0, 1))
    ranked = Ranked(torch.tensor(rows), *sides, torch.ones(3))
    weighted = dataclasses.replace(ranked, factors=torch.tensor([0.5, 2.0, 0.0]))
    found, right = ranking_loss(hidden, weight, ranked, DIGITS, bias=bias, softcap=softcap, logit_scale=scale)

    logits = hidden @ weight.T + (0 if bias is None else bias)
    logits = logits * scale if softcap is None else softcap * torch.tanh(logits * scale / softcap)
    p = logits.log_softmax(-1)[rows][:, list(DIGITS.ids)].exp()
    expected = (p * torch.tensor(DIGITS.scores)).sum(-1) / p.sum(-1)
    wanted = -torch.stack([torch.sigmoid(2 * (expected[one] - expected[other])).log() for one, other in pairs]).sum()
    assert found.item() == pytest.approx(wanted.item(), rel=1e-12)
    assert found.item() == pytest.approx(by_hand(expected.tolist(), pairs), rel=1e-12)
    some, _ = ranking_loss(hidden, weight, weighted, DIGITS, bias=bias, softcap=softcap, logit_scale=scale)
    parts = [by_hand(expected.tolist(), [pair]) for pair in pairs]
    assert some.item() == pytest.approx(0.5 * parts[0] + 2.0 * parts[1], rel=1e-12)
    assert right.item() == sum(expected[one] > expected[other] for one, other in pairs)
    leaves = [hidden, weight] if bias is None else [hidden, weight, bias]
    for own, other in zip(torch.autograd.grad(found, leaves), torch.autograd.grad(wanted, leaves), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-10, atol=1e-12)


def test_a_tie_counts_half():
    hidden, ranked = torch.ones(2, 4), Ranked(torch.tensor([0, 1]), torch.tensor([0]), torch.tensor([1]), torch.ones(1))
    loss, right = ranking_loss(hidden, torch.randn(11, 4), ranked, DIGITS)
    assert loss.item() == pytest.approx(math.log(2))
    assert right.item() == 0.5


def test_pairs_are_answers_to_one_question_with_different_scores():
    rows = [
        {"group": group, "human_score": score}
        for group, score in ((0, 1.0), (1, 2.0), (0, 3.0), (NO_GROUP, 0.0), (0, 1.0), (1, 2.0), (NO_GROUP, 5.0))
    ]
    assert ranking.pairs_of(rows) == [(2, 0), (2, 4)]
    assert ranking.pairs_of([{"input_ids": [1]}]) == []


def test_both_directions_of_length_weigh_the_same():
    places = ((0, 1.0, 9), (0, 2.0, 12), (0, 3.0, 20), (1, 1.0, 8), (1, 2.0, 5), (2, 1.0, 4), (2, 2.0, 4))
    rows = [{"group": group, "human_score": score, "score_at": at} for group, score, at in places]
    factors = ranking.length_factors(rows)
    assert (factors.longer, factors.shorter) == (pytest.approx(2 / 3), 2.0)  # of three pairs and of one
    weights = {pair: factors.of(rows[pair[0]], rows[pair[1]]) for pair in ranking.pairs_of(rows)}
    assert weights == {**dict.fromkeys([(1, 0), (2, 0), (2, 1)], pytest.approx(2 / 3)), (4, 3): 2.0, (6, 5): 1.0}
    assert sum(weights.values()) == pytest.approx(len(weights))
    assert ranking.length_factors(rows[:3]) == ranking.LengthFactors()


def test_columns(tiny_tokenizer):
    examples = [*EXAMPLES[:1], *judge_examples(2, 2)]
    rows, tokens = encode(tiny_tokenizer, examples), ranking.score_tokens(tiny_tokenizer, 5.0)
    assert tokens.scores == (0.0, 1.0, 2.0, 3.0, 4.0, 5.0)
    found = ranking.columns(examples, rows, tokens)
    assert [each["group"] for each in found] == [NO_GROUP, 0, 0, 1, 1]
    for example, row, each in list(zip(examples, rows, found, strict=True))[1:]:
        digit = tokens.ids.index(row["input_ids"][each["score_at"]])
        assert example.completion[0]["content"] == f"Score: {digit}"
        assert each["human_score"] == example.human_score


def test_what_cannot_be_ranked(tiny_tokenizer):
    tokens = ranking.score_tokens(tiny_tokenizer, 5.0)
    odd = dataclasses.replace(EXAMPLES[0], completion=chat.assistant("nothing"), group="q", human_score=1.0)
    with pytest.raises(InputError, match=r"e0 has no score token; set sft.ranking_weight=0"):
        ranking.columns([odd], encode(tiny_tokenizer, [odd]), tokens)
    with pytest.raises(InputError, match=r"judge.max_score up to 9 \(it is 10\); set sft.ranking_weight=0"):
        ranking.score_tokens(tiny_tokenizer, 10.0)


def test_examples_with_justifications_are_not_ranked():
    row = RankedAnswers("q", "Q?", ["a", "b"], [1.0, 4.0], ["Bad.", "Good."])
    settings = {"eft": EftSection(max_share=1.0), "seed": 0}
    with_text = examples_from_ranks([row], judge=JudgeSection(), **settings).rows
    assert {example.group for example in with_text} == {None}
    direct = examples_from_ranks([row], judge=JUDGE, **settings).rows
    assert [(example.group, example.human_score) for example in direct] == [("q", 1.0), ("q", 4.0)]


@pytest.mark.parametrize("form", [FORM, None])
def test_the_answers_to_a_question_are_in_one_pass(form):
    rows = [{"input_ids": [1, 2, number % 5, number, *range(number % 7)], "group": number % 6} for number in range(24)]
    rows += [{"input_ids": [9, number], "group": NO_GROUP} for number in range(5)]
    planner = PassPlanner(lambda row: [row["input_ids"]], 2, 0, form, 40, ranking.group_of)
    passes = planner.passes(rows)
    assert sorted(id(row) for one in passes for row in one.examples) == sorted(map(id, rows))
    assert len(passes) > 3
    for group in range(6):
        assert sum(any(row["group"] == group for row in one.examples) for one in passes) == 1


def test_a_group_beyond_the_budget_is_divided():
    rows = [{"input_ids": [number] * 10, "group": 0} for number in range(6)]
    planner = PassPlanner(lambda row: [row["input_ids"]], 2, 0, FORM, 25, ranking.group_of)
    assert [len(one.examples) for one in planner.passes(rows)] == [2, 2, 2]


@pytest.mark.parametrize(
    ("questions", "answers", "others", "least"), [(35, 4, 48, 1.0), (35, 4, 24, 0.9), (60, 5, 100, 0.8)]
)
def test_the_answers_to_a_question_meet_in_a_step(questions, answers, others, least):
    """A few questions are divided to fill the steps."""
    rows = [[1, 2, number // answers, number % answers] for number in range(questions * answers)]
    rows += [[7, 1000 + number] for number in range(others)]
    columns = [{"group": row[2] if row[0] == 1 else NO_GROUP, "human_score": row[-1]} for row in rows]
    count = questions * answers * (answers - 1) / 2
    for epoch in range(3):
        groups = [column["group"] for column in columns]
        steps = StepOrder(rows, 16, 1, lambda epoch=epoch: epoch, groups=groups).steps(epoch)
        assert sorted(row for step in steps for row in step) == list(range(len(rows)))
        assert sum(len(ranking.pairs_of([columns[row] for row in step])) for step in steps) >= least * count


@pytest.mark.parametrize(
    "settings",
    [{"micro_batch_size": 4}, {"micro_batch_tokens": 1200}, {"micro_batch_tokens": 5000, "ranking_balance": True}],
)
def test_the_first_step_by_hand(trial, base, tiny_tokenizer, settings):
    """Cross-entropy over the tokens of all rows, and the mean over the pairs that humans ordered."""
    examples = [*EXAMPLES[:2], *judge_examples(3, 3)[3:]]
    done = trial().sft(examples, batch_size=8, max_length=1000, ranking_weight=0.5, **settings)
    rows = encode(tiny_tokenizer, examples)
    tokens = ranking.score_tokens(tiny_tokenizer, 5.0)
    logps, expected = [], {}
    for number, (row, each) in enumerate(zip(rows, ranking.columns(examples, rows, tokens), strict=True)):
        with torch.no_grad():
            p = base(torch.tensor([row["input_ids"]])).logits[0].double().log_softmax(-1)
        logps += [p[at - 1, row["input_ids"][at]] for at, one in enumerate(row["completion_mask"]) if one]
        own = p[each["score_at"] - 1, list(tokens.ids)].exp()
        expected[number] = (own @ torch.tensor(tokens.scores).double() / own.sum()).item()
    pairs = [
        (one, other)
        for one, better in enumerate(examples)
        for other, worse in enumerate(examples)
        if better.group is not None and better.group == worse.group and better.human_score > worse.human_score
    ]
    assert len(pairs) == 6
    signs = [(len(rows[one]["input_ids"]) > len(rows[other]["input_ids"])) for one, other in pairs]
    assert 0 < sum(signs) < 6
    balanced = settings.get("ranking_balance", False)
    factors = [3 / signs.count(sign) if balanced else 1.0 for sign in signs]
    ranks = sum(f * by_hand(expected, [pair]) for f, pair in zip(factors, pairs, strict=True)) / len(pairs)
    wanted = -torch.stack(logps).mean().item() + 0.5 * ranks
    assert done.logged[0]["loss"] == pytest.approx(wanted, abs=2e-4)
    assert done.logged[0]["ranking_loss"] == pytest.approx(ranks, abs=2e-4)


def test_weight_zero_is_cross_entropy_alone(trial):
    examples = judge_examples(2, 3)
    plain = [dataclasses.replace(example, group=None, human_score=None) for example in examples]
    one, other = (
        trial(name).sft(rows, batch_size=6, micro_batch_size=6, max_length=1000, **settings)
        for name, rows, settings in (("zero", examples, {"ranking_weight": 0.0}), ("plain", plain, {}))
    )
    assert [row["loss"] for row in one.logged] == [row["loss"] for row in other.logged]
    assert "ranking_loss" not in one.logged[0]


def test_a_load_balancing_loss_is_refused(trial, monkeypatch):
    """Mixtures of experts with this loss run TRL's own trainer, which has no ranking."""
    monkeypatch.setattr("srlm.training.balancing.has_balancing_loss", lambda *_: True)
    with pytest.raises(InputError, match=r"sft\.ranking_weight: not with the load-balancing loss"):
        trial().sft(judge_examples(2, 3), max_length=1000)


def test_ranks_are_learned(trial):
    """Also where cross-entropy sees the same score everywhere."""
    examples = [dataclasses.replace(example, completion=chat.assistant("Score: 3")) for example in judge_examples(4, 3)]
    settings = {"batch_size": 12, "micro_batch_size": 12, "max_length": 1000, "learning_rate": 3e-3}
    done = trial().sft(examples, epochs=12.0, ranking_weight=100.0, **settings)
    assert done.logged[-1]["ranking_loss"] < done.logged[0]["ranking_loss"] - 0.1


def test_request_adds_the_scaled_loss():
    hidden, weight = torch.randn(4, 6), torch.randn(11, 6)
    layout = PassPlanner(lambda row: [row["input_ids"]], 2, 0, None, 40).one([{"input_ids": [1, 2, 3, 4]}]).layout
    targets = targets_of(layout, [[1, 2, 3, 4]], [torch.tensor([0, 0, 1, 1]).bool().numpy()])
    ranked = Ranked(torch.tensor([1, 2]), torch.tensor([0]), torch.tensor([1]), torch.ones(1))
    plain = TokenLossRequest(targets, 0.5).run(hidden, weight)
    both = TokenLossRequest(targets, 0.5, RankingPart(ranked, DIGITS, 0.25)).run(hidden, weight)
    own, right = both["ranking"].metrics
    assert both["loss"].item() == pytest.approx(plain["loss"].item() + 0.25 * own.item(), rel=1e-6)
    assert right.item() in (0.0, 1.0)
