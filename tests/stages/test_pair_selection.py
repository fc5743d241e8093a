"""Preference pairs from candidates and verdicts, and the rows for TRL."""

import json
import tracemalloc
from dataclasses import asdict

import pytest
from click.testing import CliRunner
from datasets import Dataset
from srlm.cli import main
from srlm.config import JudgeSection, PairsSection
from srlm.errors import InputError
from srlm.evaluation.gates import too_few_pairs
from srlm.models import chat
from srlm.rows.lazy_rows import RowFile
from srlm.rows.records import Candidate, Pair, Prompt, Verdict, content_id, read_rows, write_rows
from srlm.stages import pairs
from srlm.stages.score_table import read_answers, read_verdicts
from trl.data_utils import is_conversational

PLAIN, SAMPLED, EXPECTED = PairsSection(), JudgeSection(), JudgeSection(score="expected")
REASONS = {"too_few_scored", "too_few_usable", "tied", "below_margin", "same_text"}


def answer(*scores, text=None, expected=None, cut_off=False):
    """An answer and the verdicts on it: numbers, or outcomes without one; `expected` goes with the numbers in order."""
    return scores, text, list(expected or []), cut_off


def rows(*prompts):
    """Rows of the three files; a prompt is a list of answers."""
    asked = [Prompt(f"p{n}", f"question {n}", "generated", [], n) for n in range(len(prompts))]
    answers, verdicts = [], []
    for n, given in enumerate(prompts):
        for index, (scores, text, expected, cut_off) in enumerate(given):
            name = f"p{n}a{index}"
            written = f"text {name}" if text is None else text
            reason = "length" if cut_off else "stop"
            answers.append(Candidate(name, f"p{n}", index, written, [n, index, 7], -1.0, reason, 0))
            means = iter(expected)
            for sample, score in enumerate(scores):
                number = None if isinstance(score, str) else float(score)
                outcome = score if isinstance(score, str) else "scored"
                mean = next(means, None) if number is not None else None
                verdicts.append(Verdict(f"{name}v{sample}", name, sample, "…", outcome, number, mean))
    return asked, answers, verdicts


def select(prompts, candidates, verdicts, *, judge, **settings):
    answers = read_answers(prompts, candidates)
    scores = read_verdicts(answers, verdicts, score=judge.score, max_score=judge.max_score)
    return pairs.select(answers, scores, **settings)


def made_of(prompts, candidates, verdicts, **settings):
    """Return the selected rows, and the number of dropped prompts by reason."""
    chosen = select(prompts, candidates, verdicts, **settings)
    made = list(chosen.rows(prompts, candidates))
    assert len(made) == len(chosen)
    return made, chosen.drops


def build(*prompts, judge=SAMPLED, winners=False, **settings):
    return made_of(*rows(*prompts), pairs=PairsSection(**settings), judge=judge, winners=winners)


def reader(file, judge=SAMPLED):
    """What reads the scores of a file of verdicts."""

    def read(answers):
        return read_verdicts(answers, RowFile(file, Verdict), score=judge.score, max_score=judge.max_score)

    return read


def names(found):
    return [(row.chosen_id[2:], row.rejected_id[2:]) for row in found[0]]


def reasons(found):
    return {reason: number for reason, number in found[1].items() if number}


# --- input rows -------------------------------------------------------------------------------------------------------


def test_prompts_come_in_any_order():
    prompts, candidates, verdicts = rows([answer(5), answer(1)], [answer(1), answer(5)])
    found = made_of(prompts[::-1], candidates[::-1], verdicts[::-1], pairs=PLAIN, judge=SAMPLED)
    assert {(row.prompt_id, row.chosen_id, row.rejected_id) for row in found[0]} == {
        ("p0", "p0a0", "p0a1"),
        ("p1", "p1a1", "p1a0"),
    }


@pytest.mark.parametrize("winners", [False, True])
def test_orphans_are_named(winners):
    prompts, candidates, verdicts = rows([answer(5), answer(1)], [answer(5), answer(1)])
    settings = {"pairs": PLAIN, "winners": winners, "judge": SAMPLED}
    with pytest.raises(InputError, match="candidate p1a0: its prompt p1 is not in the file of prompts"):
        select(prompts[:1], candidates, verdicts, **settings)
    with pytest.raises(InputError, match="verdict p1a1v0: its candidate p1a1 is not in the file of candidates"):
        select(prompts, candidates[:3], verdicts, **settings)


# --- best against worst -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answers", "pair"),
    [
        ([answer(1), answer(5), answer(3)], ("a1", "a0")),
        ([answer(4, 2), answer(5, 5), answer(0, 5)], ("a1", "a2")),  # means 3, 5, 2.5
        ([answer(2), answer(2, "missing", 4), answer(2.5)], ("a1", "a0")),
        ([answer(5), answer(5), answer(1), answer(1)], ("a0", "a2")),  # the first of equal scores
        ([answer(5, expected=[4.1]), answer(5, expected=[4.9]), answer(1)], ("a1", "a2")),
        ([answer(1, expected=[1.5]), answer(1, expected=[1.1]), answer(5)], ("a2", "a1")),
        ([answer(5), answer(5, expected=[0.1]), answer(1)], ("a1", "a2")),  # one without an expected score comes last
        ([answer(0), answer(5)], ("a1", "a0")),
    ],
)
def test_best_against_worst(answers, pair):
    found = build(answers)
    assert names(found) == [pair]
    assert reasons(found) == {}
    assert set(found[1]) == REASONS


@pytest.mark.parametrize(
    ("answers", "settings", "reason"),
    [
        ([answer(3), answer(3), answer(3)], {}, "tied"),
        ([answer(3, expected=[2.0]), answer(3, expected=[4.0])], {}, "tied"),
        ([answer(2, 4), answer(3, 3)], {}, "tied"),
        ([answer(5), answer("missing")], {}, "too_few_scored"),
        ([answer("missing"), answer("out_of_range"), answer("conflicting")], {}, "too_few_scored"),
        ([answer(5), answer()], {}, "too_few_scored"),
        ([answer(5)], {}, "too_few_scored"),
        ([answer(5), answer(1, cut_off=True)], {}, "too_few_usable"),
        ([answer(5), answer(1, text="")], {}, "too_few_usable"),
        ([answer(5), answer(1, text="\n ")], {"keep_truncated": True}, "too_few_usable"),
        ([answer(5), answer(4.5)], {"min_margin": 1.0}, "below_margin"),
        ([answer(5, text="same"), answer(1, text=" same\n")], {}, "same_text"),
    ],
)
def test_prompts_without_a_pair(answers, settings, reason):
    found = build(answers, **settings)
    assert found[0] == []
    assert reasons(found) == {reason: 1}


@pytest.mark.parametrize("nothing", ["missing", "out_of_range", "conflicting"])
def test_a_verdict_without_a_score_does_not_count(nothing):
    found = build([answer(nothing), answer(4), answer(5), answer(nothing)])
    assert names(found) == [("a2", "a1")]
    # nor does it lower the mean
    found = build([answer(3), answer(4, nothing, nothing)])
    assert names(found) == [("a1", "a0")]
    assert (found[0][0].chosen_score, found[0][0].rejected_score) == (4.0, 3.0)


def test_cut_off_answers():
    answers = [answer(5, cut_off=True), answer(4), answer(2), answer(0, cut_off=True)]
    assert names(build(answers)) == [("a1", "a2")]
    assert names(build(answers, keep_truncated=True)) == [("a0", "a3")]


def test_margin():
    answers = [[answer(5), answer(4)], [answer(5), answer(3.5)], [answer(5), answer(1)]]
    found = build(*answers, min_margin=1.5)
    assert [row.prompt_id for row in found[0]] == ["p1", "p2"]
    assert reasons(found) == {"below_margin": 1}


def test_pairs_by_the_expected_score():
    answers = [answer(5, expected=[2.0]), answer(1, expected=[4.0]), answer(3), answer("missing")]
    found = build(answers, judge=EXPECTED)
    assert names(found) == [("a1", "a0")]
    assert (found[0][0].chosen_score, found[0][0].rejected_score) == (4.0, 2.0)
    assert names(build(answers)) == [("a0", "a1")]


def test_pairs_and_drops_add_up_to_the_prompts():
    found = build(
        [answer(5), answer(1)],
        [answer(3), answer(3)],
        [answer("missing"), answer(1)],
        [answer(1), answer(5), answer(2)],
        [answer(1, cut_off=True), answer(5)],
        [answer(5), answer(4.9)],
        [answer(5, text="x"), answer(1, text="x")],
        [answer(), answer()],
        min_margin=0.5,
    )
    assert [row.prompt_id for row in found[0]] == ["p0", "p3"]
    assert found[1] == {"too_few_scored": 2, "too_few_usable": 1, "tied": 1, "below_margin": 1, "same_text": 1}


def test_a_prompt_without_candidates_is_counted_too():
    prompts, candidates, verdicts = rows([answer(5), answer(1)], [])
    made, drops = made_of(prompts, candidates, verdicts, pairs=PLAIN, judge=SAMPLED)
    assert len(made) + sum(drops.values()) == len(prompts)


def test_no_rows():
    assert build() == ([], dict.fromkeys(REASONS, 0))


# --- other methods ---------------------------------------------------------------------------------------------------

FOUR = [answer(5), answer(4), answer(3), answer(1)]


def test_all_pairs_that_reach_the_margin():
    found = build(FOUR, method="margin", min_margin=2.0)
    assert names(found) == [("a0", "a3"), ("a1", "a3"), ("a0", "a2"), ("a2", "a3")]
    assert found[1] == {**dict.fromkeys(REASONS, 0), "over_cap": 0}
    found = build(FOUR, [answer(3), answer(3)], method="margin", max_per_prompt=4)
    assert names(found) == [("a0", "a3"), ("a1", "a3"), ("a0", "a2"), ("a2", "a3")]
    assert reasons(found) == {"tied": 1, "over_cap": 2}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [("a0", "a3"), ("a1", "a3"), ("a0", "a2"), ("a1", "a2")]),
        ({"top_k": 1}, [("a0", "a3")]),
        ({"top_k": 9, "max_per_prompt": 2}, [("a0", "a3"), ("a1", "a3")]),
    ],
)
def test_the_best_few_against_the_worst_few(settings, expected):
    found = build(FOUR, method="top_bottom", **settings)
    assert names(found) == expected
    assert found[1]["over_cap"] == (2 if "max_per_prompt" in settings else 0)


def test_a_pair_by_chance():
    prompts = [FOUR] * 30
    given = rows(*prompts)
    settings = PairsSection(method="random", min_margin=1.5)

    def drawn(seed, rows=given):
        return made_of(*rows, pairs=settings, judge=SAMPLED, seed=seed)

    assert drawn(1) == drawn(1) != drawn(2)
    assert {(row.chosen_id[-2:], row.rejected_id[-2:]) for row in drawn(1)[0]} == {
        ("a0", "a3"),
        ("a1", "a3"),
        ("a0", "a2"),
        ("a2", "a3"),
    }
    # Where a prompt's rows are plays no part, nor what else is in the files.
    fewer = (given[0], [*given[1][4:8], *given[1][:4]], given[2][:8])
    assert drawn(1, fewer)[0] == drawn(1)[0][:2]


def test_length_is_counted_in_tokens():
    prompts, candidates, verdicts = rows([answer(5), answer(4.8), answer(1.2), answer(1)])
    lengths = dict(zip(("p0a0", "p0a1", "p0a2", "p0a3"), (9, 4, 8, 3), strict=True))
    longer = [Candidate(**{**asdict(row), "token_ids": [7] * lengths[row.id]}) for row in candidates]
    for rho, pair in ((0.0, ("a0", "a3")), (0.05, ("a1", "a2")), (1.0, None)):
        settings = PairsSection(method="length_controlled", rho=rho)
        found = made_of(prompts, longer, verdicts, pairs=settings, judge=SAMPLED)
        assert names(found) == ([pair] if pair else [])
        assert reasons(found) == ({} if pair else {"tied": 1})


def test_too_few_pairs_for_the_cap(tmp_path):
    drops = {**dict.fromkeys(REASONS, 0), "tied": 3, "over_cap": 7}
    said = too_few_pairs(2, 4, drops, tmp_path / "m2")
    assert "prompts without a pair: 3 tied. To get more, raise pairs.max_per_prompt, which left out 7 pairs" in said
    said = too_few_pairs(2, 4, {**drops, "over_cap": 0}, tmp_path / "m2")
    assert "To get more, set judge.score=expected" in said


def test_max_count_samples_pairs_in_their_order():
    prompts, candidates, verdicts = rows(*[[answer(5), answer(1)] for _ in range(9)])
    everything = {"judge": SAMPLED, "winners": False}
    all_pairs = select(prompts, candidates, verdicts, pairs=PLAIN, **everything)
    assert all_pairs.found is None
    seen = set()
    for seed in range(20):
        few = PairsSection(max_count=4).at(2)
        some = select(prompts, candidates, verdicts, pairs=few, seed=seed, **everything)
        assert (len(some), some.found, some.prompts_with_pair) == (4, 9, 9)
        places = [all_pairs.chosen.tolist().index(row) for row in some.chosen]
        assert places == sorted(places)
        assert some.rejected.tolist() == all_pairs.rejected[places].tolist()
        seen.update(places)
    assert seen == set(range(9))
    enough = select(prompts, candidates, verdicts, pairs=PairsSection(max_count=9), **everything)
    assert enough.found is None


def test_max_count_samples_winners():
    prompts, candidates, verdicts = rows(*[[answer(5), answer(1)] for _ in range(9)])
    settings = {"judge": SAMPLED, "winners": True}
    some = select(prompts, candidates, verdicts, pairs=PairsSection(max_count=4), **settings)
    assert (len(some), some.found, some.rejected) == (4, 9, None)


# --- the rows ---------------------------------------------------------------------------------------------------------


def test_fields_of_a_pair():
    (row,), _ = build([answer(1, 2, text="bad \u2028"), answer(5, 4, text="good")])
    assert row.prompt == [{"role": "user", "content": "question 0"}]
    assert row.chosen == [{"role": "assistant", "content": "good"}]
    assert row.rejected == [{"role": "assistant", "content": "bad \u2028"}]
    assert (row.prompt_id, row.chosen_id, row.rejected_id) == ("p0", "p0a1", "p0a0")
    assert (row.chosen_score, row.rejected_score) == (4.5, 1.5)
    assert (row.chosen_token_ids, row.rejected_token_ids) == ([0, 1, 7], [0, 0, 7])
    assert all(type(score) is float for score in (row.chosen_score, row.rejected_score))


def test_pairs_are_rows_for_trl(tmp_path):
    made, _ = build(*[[answer(1), answer(5)], [answer(0), answer(3), answer(2)]])
    write_rows(tmp_path / "pairs.jsonl", made)
    again = read_rows(tmp_path / "pairs.jsonl", type(made[0]))
    assert again == made
    dataset = Dataset.from_list([asdict(row) for row in again])
    assert len(dataset) == 2
    for example, row in zip(dataset, made, strict=True):
        assert is_conversational(example)
        assert {"prompt", "chosen", "rejected"} <= set(example)
        for name in ("prompt", "chosen", "rejected"):
            assert example[name] == getattr(row, name)
        assert example["prompt"][-1]["role"] == "user"
        assert example["chosen"][0]["role"] == example["rejected"][0]["role"] == "assistant"
        assert example["chosen"] != example["rejected"]


def test_files_are_not_kept_in_memory(tmp_path):
    files = {name: tmp_path / f"{name}.jsonl" for name in ("prompts", "candidates", "verdicts", "pairs")}
    count = 4_000
    score = [f"Score: {n}" for n in range(6)]
    write_rows(files["prompts"], (Prompt(f"p{n}", "x" * 100, "generated", [], n) for n in range(count // 4)))
    write_rows(
        files["candidates"],
        (
            Candidate(f"c{n}", f"p{n // 4}", n % 4, f"{n}" + 900 * "x", [70_000] * 200, -1.0, "stop", 0)
            for n in range(count)
        ),
    )
    write_rows(
        files["verdicts"],
        (Verdict(f"v{n}", f"c{n}", 0, score[n % 6], "scored", float(n % 6), None) for n in range(count)),
    )
    tracemalloc.start()
    made = pairs.write_pairs(
        files["prompts"], files["candidates"], files["pairs"], reader(files["verdicts"]), pairs=PLAIN, seed=0
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(read_rows(files["pairs"], Pair)) == len(made) == count // 4
    assert peak < 2_000_000  # held as rows they took 57 MB


# --- positives only ---------------------------------------------------------------------------------------------------


def positives(*prompts, judge=SAMPLED, **settings):
    return build(*prompts, judge=judge, winners=True, **settings)


def test_positives():
    made, drops = positives(
        [answer(5, 5), answer(5, 4), answer(5, "missing"), answer("missing")],
        [answer(4), answer(3)],
        [answer(5, text="twice"), answer(5, text="twice\n"), answer(5, text="once")],
        [answer(5, cut_off=True), answer(5, text=" ")],
        [answer(5, expected=[1.0])],
    )
    assert [(row.prompt[0]["content"], row.completion[0]["content"]) for row in made] == [
        ("question 0", "text p0a0"),
        ("question 0", "text p0a2"),
        ("question 2", "twice"),
        ("question 2", "once"),
        ("question 4", "text p4a0"),
    ]
    assert drops == {"no_perfect_answer": 2, "same_text": 1}
    assert made[0].prompt == chat.user("question 0")
    assert made[0].completion == chat.assistant("text p0a0")
    assert made[0].completion_token_ids == [0, 0, 7]
    assert made[0].id == content_id("example", made[0].prompt, "text p0a0")


def test_positives_with_cut_off_answers():
    made, _ = positives([answer(5, cut_off=True)], keep_truncated=True)
    assert len(made) == 1


def test_positives_on_another_scale():
    judge = JudgeSection(max_score=10.0)
    assert len(positives([answer(5), answer(10), answer(9.5)], judge=judge)[0]) == 1


@pytest.mark.parametrize("score", [4.999_999_999, 4.999, 0])
def test_almost_perfect_is_not_perfect(score):
    assert positives([answer(score)])[0] == []


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def on_files(tmp_path):
    """Run `srlm pairs` on rows in files, and return its output and the pairs."""

    def run(given, *words):
        names = ("prompts", "candidates", "verdicts")
        for name, some in zip(names, given, strict=True):
            write_rows(tmp_path / f"{name}.jsonl", some)
        files = [word for name in names for word in (f"--{name}", str(tmp_path / f"{name}.jsonl"))]
        out = tmp_path / "pairs.jsonl"
        result = CliRunner().invoke(main.srlm, ["pairs", *files, "--out", str(out), *words], catch_exceptions=True)
        if isinstance(result.exception, InputError):
            return str(result.exception), []
        assert result.exit_code == 0, result.output
        made = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
        return result.output, [(row["chosen_id"][2:], row["rejected_id"][2:]) for row in made]

    return run


NO_DROPS = "too_few_scored 0, too_few_usable 0, tied 1, below_margin 0, same_text 0"


@pytest.mark.parametrize(
    ("words", "expected", "dropped"),
    [
        ((), [("a0", "a3")], NO_DROPS),
        (("pairs.method=top_bottom", "pairs.top_k=1"), [("a0", "a3")], NO_DROPS + ", over_cap 0"),
        (("pairs.method=margin", "pairs.max_per_prompt=1"), [("a0", "a3")], NO_DROPS + ", over_cap 5"),
        (("pairs.method=length_controlled", "pairs.rho=0.3"), [("a0", "a3")], NO_DROPS),
        (("pairs.method=random", "seed=3", "pairs.min_margin=4"), [("a0", "a3")], "below_margin 0, same_text 0"),
    ],
)
def test_the_command_counts_every_reason(on_files, words, expected, dropped):
    said, made = on_files(rows(FOUR, [answer(2), answer(2)]), *words)
    assert made == expected
    assert said.rstrip().endswith(dropped)


def test_the_command_samples_by_the_seed(on_files):
    given = rows(*[FOUR] * 20)
    drawn = [on_files(given, "pairs.method=random", f"seed={seed}")[1] for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_write_pairs_writes_positives():
    made, drops = made_of(*rows(FOUR), pairs=PLAIN, winners=True, judge=SAMPLED, seed=0)
    assert [row.completion[0]["content"] for row in made] == ["text p0a0"]
    assert drops == {"no_perfect_answer": 0, "same_text": 0}


@pytest.mark.parametrize(
    ("word", "parts"),
    [
        ("pairs.method=best", ["pairs.method", "best_worst"]),
        ("pairs.rho=1.5", ["pairs.rho", "less than or equal to 1"]),
        ("pairs.top_k=0", ["pairs.top_k", "greater than or equal to 1"]),
        ("pairs.max_per_prompt=0", ["pairs.max_per_prompt", "greater than or equal to 1"]),
    ],
)
def test_wrong_settings_are_one_line(on_files, word, parts):
    said, made = on_files(rows(FOUR), word)
    assert made == []
    assert "\n" not in said
    assert all(part in said for part in parts)
