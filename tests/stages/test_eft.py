"""EFT examples: from human ranks, from the model's own judgements, and downsampling."""

import random
from collections import Counter
from dataclasses import replace

import pytest
from srlm._native import parse_verdicts
from srlm.config import EftSection, JudgeSection
from srlm.errors import InputError
from srlm.rows.records import Example, RankedAnswers, Verdict
from srlm.stages import eft
from srlm.stages.judge_prompt import fill, read_template

ALL = EftSection(max_share=1.0)
JUSTIFY, DIRECT = JudgeSection(), JudgeSection(justify=False)


def ranked(prompt, *scores, justifications=None):
    answers = [f"{prompt} answer {n}" for n in range(len(scores))]
    return RankedAnswers(
        f"id {prompt}", prompt, answers, list(map(float, scores)), justifications or [""] * len(scores)
    )


def from_ranks(*args, **settings):
    return eft.examples_from_ranks(*args, **settings).rows


def from_judgements(*args, **settings):
    return eft.examples_from_judgements(*args, **settings).rows


def replies(examples):
    return [example.completion[0]["content"] for example in examples]


def verdicts(row, *samples):
    """Verdicts on a row's answers: for each sample the scores given (None: missing, "?": out of range)."""
    found = []
    for sample, scores in enumerate(samples):
        for index, score in enumerate(scores):
            outcome = {None: "missing", "?": "out_of_range"}.get(score, "scored")
            number = float(score) if outcome == "scored" else None
            text = f" \n{row.prompt}/{index}/{sample}: because.\nScore: {score}\n"
            found.append(Verdict(f"v{index}.{sample}", eft.answer_id(row, index), sample, text, outcome, number, None))
    return found


# --- from human ranks -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("judge", "expected"),
    [
        (JUSTIFY, ["It is good.\nScore: 5", "Score: 2.5", "Score: 0"]),
        (DIRECT, ["Score: 5", "Score: 3", "Score: 0"]),
        (JudgeSection(score="expected"), ["It is good.\nScore: 5", "Score: 3", "Score: 0"]),
    ],
)
def test_replies_from_ranks(judge, expected):
    row = ranked("q", 5, 2.5, 0, justifications=["It is good.", "", ""])
    examples = from_ranks([row], eft=ALL, judge=judge, seed=0)
    assert replies(examples) == expected
    outcomes, scores, _ = parse_verdicts(replies(examples))
    assert (outcomes, scores.tolist()) == (["scored"] * 3, row.scores if judge is JUSTIFY else [5, 3, 0])


@pytest.mark.parametrize("max_score", [1.0, 4.5, 5.0, 9.0])
@pytest.mark.parametrize("judge", [{}, {"score": "expected"}, {"justify": False}])
def test_scores_that_the_judge_can_express(judge, max_score):
    section = JudgeSection(max_score=max_score, **judge)
    for exact in (n * max_score / 60 for n in range(61)):
        score = eft.expressible(exact, section)
        outcomes, found, _ = parse_verdicts([f"Score: {score:g}"], max_score=max_score)
        assert (outcomes, found.tolist()) == (["scored"], [score])
        assert abs(score - exact) <= 0.5
        assert len(f"{score:g}") == 1 if judge else (2 * score).is_integer()


@pytest.mark.parametrize("why", ["Total: 2", "Score: 2.", "Final score: 2/5"])
def test_a_justification_with_another_label(why):
    rows = [ranked("q", 5, 1, justifications=["Relevance score: 2. It is fine.", why])]
    with pytest.raises(InputError, match=r"is not parsed as the score 1 but as (conflicting|scored); remove labels"):
        eft.examples_from_ranks(rows, eft=ALL, judge=JUSTIFY, seed=0)
    rows = [ranked("q", 5, 1, justifications=["Relevance score: 2. It is fine.", ""])]
    assert len(eft.examples_from_ranks(rows, eft=ALL, judge=JUSTIFY, seed=0).rows) == 2


@pytest.mark.parametrize("judge", [JUSTIFY, DIRECT])
def test_questions_are_the_judge_prompt(judge):
    rows = [ranked("a {response} {prompt}", 5, 1), ranked("b", 5, 1)]
    examples = from_ranks(rows, eft=ALL, judge=judge, seed=0)
    template = read_template(judge)
    assert [example.prompt for example in examples] == [
        [{"role": "user", "content": fill(template, row.prompt, answer)}] for row in rows for answer in row.answers
    ]
    assert {message["role"] for example in examples for message in example.completion} == {"assistant"}
    assert len({example.id for example in examples}) == len(examples)


def test_another_judge_prompt(tmp_path):
    file = tmp_path / "judge.txt"
    file.write_text("Q {prompt} A {response}\n", encoding="utf-8")
    examples = from_ranks([ranked("q", 5, 1)], eft=ALL, judge=JudgeSection(prompt_file=str(file)), seed=0)
    assert [example.prompt[0]["content"] for example in examples] == ["Q q A q answer 0", "Q q A q answer 1"]


@pytest.mark.parametrize("score", [5.5, 6, 100])
def test_a_score_above_the_scale(score):
    rows = [ranked("q", 5, 1), ranked("r", 3, score)]
    with pytest.raises(InputError, match=rf"a score of {score:g} is above judge.max_score \(5\); raise it"):
        from_ranks(rows, eft=ALL, judge=JUSTIFY, seed=0)
    assert len(from_ranks(rows, eft=ALL, judge=JudgeSection(max_score=100.0), seed=0)) == 4


def test_ranks_are_downsampled():
    rows = [ranked(f"{n}", 4, 4, 4, 4, 3, 2, 1) for n in range(5)]
    examples = from_ranks(rows, eft=EftSection(max_share=0.4), judge=DIRECT, seed=0)
    assert Counter(replies(examples)) == {"Score: 4": 10, "Score: 3": 5, "Score: 2": 5, "Score: 1": 5}


def test_answers_to_judge():
    rows = [ranked("a", 5, 1), ranked("b", 5, 3, 1)]
    answers = eft.answers_to_judge(rows)
    assert [(answer.prompt, answer.response) for answer in answers] == [
        (row.prompt, text) for row in rows for text in row.answers
    ]
    assert [answer.id for answer in answers] == [eft.answer_id(row, n) for row in rows for n in range(len(row.answers))]
    assert len({answer.id for answer in answers}) == 5


# --- from the model's judgements --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "human", "kept"),
    [
        ([5, 3, 1], [5, 3, 1], True),
        ([2, 1.5, 0], [5, 3, 1], True),
        ([1, 3, 5], [1, 3, 5], True),
        ([1, 3, 5], [5, 3, 1], False),
        ([5, 1, 3], [5, 3, 1], False),
        ([5, 5, 1], [5, 3, 1], False),  # a tie where the humans ranked one higher
        ([3, 3, 3], [5, 3, 1], False),
        ([5, 4, 1], [5, 5, 1], True),  # answers that the humans tied may be in any order
        ([4, 5, 1], [5, 5, 1], True),
        ([4, 4, 1], [5, 5, 1], True),
        ([4, 1, 1], [5, 5, 1], False),
        ([0, 5, 2], [3, 3, 3], True),
        ([5, 3, None], [5, 3, 1], False),
        ([None, 3, 1], [5, 3, 1], False),
        ([5, 3, "?"], [5, 3, 1], False),
        ([None, None, None], [5, 3, 1], False),
        ([5, 3], [5, 3, 1], False),  # no verdict on the last answer
    ],
)
def test_judgements_that_rank_as_the_humans_did(given, human, kept):
    row = ranked("q", *human)
    examples = from_judgements([row], verdicts(row, given), eft=ALL, judge=JUSTIFY, seed=0)
    expected = [f"q/{n}/0: because.\nScore: {score}" for n, score in enumerate(given)]
    assert replies(examples) == (expected if kept else [])
    assert [example.prompt[0]["content"] for example in examples] == [
        fill(read_template(JUSTIFY), row.prompt, answer) for answer in row.answers
    ] * kept


@pytest.mark.parametrize(
    ("scores", "human", "same"),
    [
        ([], [], True),
        ([3], [1], True),
        ([2, 1], [5, 1], True),
        ([1, 1], [5, 1], False),
        ([1, 1], [3, 3], True),
        ([1, 2, 3, 4], [1, 2, 3, 4], True),
        ([1, 2, 4, 3], [1, 2, 3, 4], False),
        ([1, 2, 4, 3], [1, 2, 3, 3], True),
    ],
)
def test_same_order(scores, human, same):
    assert eft.same_order(scores, human) is same


def test_samples_of_a_prompt_are_independent():
    row, other = ranked("q", 5, 1), ranked("r", 5, 1)
    given = verdicts(row, [1, 5], [5, 1], [4, None], [3, 2]) + verdicts(other, [1, 5])
    examples = from_judgements([row, other], given, eft=ALL, judge=JUSTIFY, seed=0)
    assert replies(examples) == [
        "q/0/1: because.\nScore: 5",
        "q/1/1: because.\nScore: 1",
        "q/0/3: because.\nScore: 3",
        "q/1/3: because.\nScore: 2",
    ]
    assert examples == from_judgements([row, other], given[::-1], eft=ALL, judge=JUSTIFY, seed=0)


def test_samples_are_not_mixed():
    row = ranked("q", 5, 1)
    given = verdicts(row, [5, None], [None, 1])
    assert from_judgements([row], given, eft=ALL, judge=JUSTIFY, seed=0) == []


def test_only_the_configured_samples_count():
    row = ranked("q", 5, 1)
    given = verdicts(row, [1, 5], [5, 1], [4, 1])
    two = EftSection(samples=2, max_share=1.0)
    assert len(from_judgements([row], given, eft=two, judge=JUSTIFY, seed=0)) == 2


def test_equal_judgements_count_once():
    row = ranked("q", 5, 1)
    same = [
        Verdict(f"{sample}{index}", eft.answer_id(row, index), sample, f"Score: {score}", "scored", score, None)
        for sample in range(4)
        for index, score in enumerate((5.0, 1.0))
    ]
    examples = from_judgements([row], same, eft=ALL, judge=JUSTIFY, seed=0)
    assert replies(examples) == ["Score: 5.0", "Score: 1.0"]


def test_judgements_are_downsampled_by_their_score():
    rows = [ranked(f"{n}", 5, 1) for n in range(12)]
    given = [verdict for n, row in enumerate(rows) for verdict in verdicts(row, [5, n % 4])]
    examples = from_judgements(rows, given, eft=EftSection(max_share=0.25), judge=JUSTIFY, seed=0)
    assert Counter(reply.rpartition(" ")[2] for reply in replies(examples)) == {"5": 4, "0": 3, "1": 3, "2": 3, "3": 3}


def test_the_order_of_the_judgements_changes_nothing():
    """A sample that was judged twice counts once, whichever row comes first."""
    rows = [ranked(f"{n}", 5, 1) for n in range(12)]
    given = [verdict for n, row in enumerate(rows) for verdict in verdicts(row, [5, n % 4], [4, 1])]
    given += [replace(row, id=f"again {row.id}", text=f"again: {row.text}") for row in given[::3]]
    draw, settings = random.Random(0), {"eft": EftSection(max_share=0.3), "judge": JUSTIFY, "seed": 1}
    found = [from_judgements(rows, draw.sample(given, len(given)), **settings) for _ in range(9)]
    assert all(examples == found[0] for examples in found)


# --- downsampling -----------------------------------------------------------------------------------------------------


def scored(**counts):
    """One (score, example) per count, scores mixed: s1=3 gives three of score 1."""
    rows = [(float(name[1:]), n) for name, count in counts.items() for n in range(count)]
    return [(score, Example(f"{score}/{n}", [], [])) for score, n in sorted(rows, key=lambda row: (row[1], row[0]))]


def count(examples):
    return Counter(example.id.partition("/")[0] for example in examples)


@pytest.mark.parametrize(
    ("counts", "share", "kept"),
    [
        ({"s4": 80, "s3": 10, "s5": 10}, 0.5, {"4.0": 20}),
        ({"s4": 80, "s3": 10, "s5": 10}, 0.4, {"4.0": 13}),
        ({"s1": 4, "s2": 3, "s3": 3}, 0.4, {}),  # exactly the allowed share
        ({"s1": 5, "s2": 3, "s3": 3}, 0.4, {"1.0": 4}),
        ({"s1": 8, "s2": 3, "s3": 2}, 1 / 3, {"1.0": 3}),
        # never below the second most common score, and no other score is touched
        ({"s4": 900, "s5": 600}, 0.4, {"4.0": 600}),
        ({"s4": 900, "s5": 600, "s3": 1}, 0.4, {"4.0": 600}),
        ({"s4": 80, "s3": 70, "s5": 10}, 0.4, {"4.0": 70}),
        ({"s1": 9, "s2": 1}, 0.5, {"1.0": 1}),
        ({"s1": 9, "s2": 1}, 0.01, {"1.0": 1}),
        ({"s4": 80, "s3": 10}, 0.4, {"4.0": 10}),
        ({"s4": 4, "s3": 3, "s2": 3, "s1": 3}, 0.25, {"4.0": 3}),
        # several scores are the most common ones
        ({"s1": 7, "s2": 7, "s3": 7}, 0.34, {}),
        ({"s1": 9, "s2": 9, "s3": 2, "s4": 9, "s5": 9}, 0.2, {}),
        # a single score, every share, and nothing at all
        ({"s4": 80}, 0.01, {}),
        ({"s4": 80, "s3": 10}, 1.0, {}),
        ({}, 0.4, {}),
    ],
)
def test_downsampling(counts, share, kept):
    rows = scored(**counts)
    found = eft.downsample(rows, share, 0)
    before = {f"{float(name[1:])}": number for name, number in counts.items()}
    assert count(found.rows) == before | kept
    assert found.rows == [example for _, example in rows if example in found.rows]  # the order is kept
    [(score, number)] = kept.items() or [("none", 0)]
    left_out = before.get(score, 0) - number
    assert (found.dropped, found.of) == (left_out, before.get(score, 0))
    assert found.score == (float(score) if kept else None)
    assert found.counts() == {"rows": len(found.rows), "downsampled_score": found.score, "downsampled": left_out}


def test_only_the_most_common_score_is_downsampled():
    """Properties of any distribution and share: what is kept, what is not, and that no more goes than needed."""
    draw = random.Random(0)
    for _ in range(400):
        sizes = [draw.choice([1, 2, 3, 10, 60, 200]) + draw.randrange(4) for _ in range(draw.randrange(1, 7))]
        share = draw.choice([0.01, 0.2, 0.25, 1 / 3, 0.4, 0.5, 2 / 3, 0.7, 0.9, 0.999, 1.0, draw.random() or 1.0])
        rows = scored(**{f"s{n}": number for n, number in enumerate(sizes)})
        draw.shuffle(rows)
        found = eft.downsample(rows, share, draw.randrange(9))
        kept, common = count(found.rows), max(sizes)
        changed = [n for n, size in enumerate(sizes) if kept[f"{float(n)}"] != size]
        assert len(changed) <= 1
        assert len(found.rows) + found.dropped == sum(sizes)
        if not changed:
            second = sorted(sizes)[-2] if len(sizes) > 1 else common
            assert common in (second, sum(sizes)) or common <= share * sum(sizes) + 1e-9
            continue
        [score] = changed
        left, second = kept[f"{float(score)}"], max(size for n, size in enumerate(sizes) if n != score)
        assert sizes[score] == common == found.of
        assert left >= second
        assert left == second or left <= share * len(found.rows) + 1e-9
        assert left + 1 > share * (len(found.rows) + 1) - 1e-9  # one more would exceed the share


def test_downsampling_depends_on_the_seed():
    rows = scored(s4=80, s3=10, s5=10)
    first = eft.downsample(rows, 0.4, 1)
    assert eft.downsample(rows, 0.4, 1) == first
    other = eft.downsample(rows, 0.4, 2)
    assert other.rows != first.rows
    assert count(other.rows) == count(first.rows)
    assert first.rows != [example for _, example in rows][: len(first.rows)]
