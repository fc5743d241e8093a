"""The loop's step from verdicts to pairs: files, notes, and the gates that stop the run."""

import json
import random
from dataclasses import asdict, replace

import pytest
from srlm import config as configuration
from srlm.errors import StageError
from srlm.evaluation.data_metrics import data_metrics, row_counts
from srlm.loop import Loop
from srlm.reporter import SilentReporter
from srlm.rows.records import Candidate, DroppedPrompt, Pair, Prompt, Verdict, read_rows, write_rows
from srlm.run.run_dir import RunDir
from srlm.run.stage_runner import StageRunner
from srlm.stages import pairs

from tests.stages.test_pair_selection import FOUR, answer, made_of, reader, rows


class Silent:
    """A reporter, and a launcher that must not be called."""


METHODS = ("best_worst", "length_controlled", "margin", "random", "top_bottom", "winners")


def method_word(method):
    """The setting of a pairing method, or of training on the winners."""
    return "train.kind=sft" if method == "winners" else f"pairs.method={method}"


@pytest.mark.parametrize("method", METHODS)
def test_the_loop_writes_the_rows_of_the_method(tmp_path, method):
    words = (method_word(method), "pairs.max_per_prompt=2", "seed=3")
    config = configuration.build({"model": {"name": "unused"}}, words)
    run, given = RunDir.open(tmp_path / "run", config), rows(*[FOUR] * 9, [answer(2), answer(2)])
    for name, some in zip(("prompts", "candidates", "verdicts"), given, strict=True):
        write_rows(run.file(2, f"{name}.jsonl"), some)
    run.finish("m2/verdicts", {"cache_key": "key"}, 0.0, {"rows": len(given[2])})
    Loop(StageRunner(config, run, Silent(), Silent())).build_pairs(2)
    winners = method == "winners"
    made, drops = made_of(*given, pairs=config.pairs, winners=winners, judge=config.judge, seed=3002)
    file = "positives" if winners else "pairs"
    assert read_rows(run.file(2, f"{file}.jsonl"), type(made[0])) == made
    assert (run.entry("m2/pairs")["rows"], run.entry("m2/pairs")["drops"]) == (len(made), drops)


@pytest.mark.parametrize(("weight", "max_score"), [("uniform", 5), ("margin", 5), ("margin", 10)])
def test_weights_of_pairs(tmp_path, weight, max_score):
    words = ("pairs.method=margin", f"pairs.weight={weight}", f"judge.max_score={max_score}")
    given = rows(FOUR, FOUR)
    prepared(tmp_path, given, *words)[0].build_pairs(2)
    found = read_rows(tmp_path / "run" / "m2" / "pairs.jsonl", Pair)
    margins = [pair.chosen_score - pair.rejected_score for pair in found]
    assert len(set(margins)) > 1
    expected = [1.0] * len(found) if weight == "uniform" else [margin / max_score for margin in margins]
    assert [pair.weight for pair in found] == pytest.approx(expected, abs=1e-9)
    assert {pair.confidence for pair in found} == {1.0}


def test_a_margin_for_each_iteration(tmp_path):
    words = ("pairs.method=margin", "pairs.min_margin=[0, 9, 2]")
    given, found = rows(FOUR, FOUR), []
    for t in (2, 3, 4, 5):
        loop, _ = prepared(tmp_path / f"{t}", given, *words, t=t)
        if t == 3:
            with pytest.raises(StageError, match="2 below margin"):
                loop.build_pairs(t)
        else:
            loop.build_pairs(t)
            found.append(read_rows(tmp_path / f"{t}" / "run" / f"m{t}" / "pairs.jsonl", Pair))
    margins = [min(pair.chosen_score - pair.rejected_score for pair in some) for some in found]
    assert margins == [1, 2, 2]
    assert len(found[1]) == len(found[2]) < len(found[0])


def prepared(path, given, *words, t=2):
    """Return the loop of a run with judged candidates for M2, and its reporter."""
    config = configuration.build({"model": {"name": "unused"}}, words)
    run, told = RunDir.open(path / "run", config), []
    for name, some in zip(("prompts", "candidates", "verdicts"), given, strict=True):
        write_rows(run.file(t, f"{name}.jsonl"), some)
    if run.entry(f"m{t}/verdicts") is None:
        run.finish(f"m{t}/verdicts", {"cache_key": "key"}, 0.0, {"rows": len(given[2])})
    return Loop(StageRunner(config, run, Silent(), SilentReporter()), told.append), told


@pytest.mark.parametrize(
    ("words", "missed", "reason"),
    [
        (("gates.pairs_kept=0.9", "gates.pairs_kept_action=stop"), ["pairs_kept"], "m2: not trained: gates.pairs_kept"),
        (("pairs.min_count=9", "gates.pairs_kept=0.5"), [], "m2: only 1 pairs"),
    ],
)
def test_a_failed_gate_is_saved_and_reported_and_checked_again(tmp_path, words, missed, reason):
    given = rows(FOUR, [answer(2), answer(2)])
    loop, told = prepared(tmp_path, given, *words)
    for _ in range(2):  # the same command again stops again
        with pytest.raises(StageError, match=reason) as error:
            loop.build_pairs(2)
    assert told == [1, 1]
    assert loop.run_dir.entry("m2/pairs") is None
    kept = json.loads(loop.run_dir.file(2, "gates.json").read_text())
    assert kept["stopped"] == str(error.value)
    assert [gate["gate"] for gate in kept["data_metrics"]["gates"]] == missed
    assert (kept["rows"], kept["drops"]["tied"], kept["prompts"], kept["data_metrics"]["pairs_kept"]) == (1, 1, 2, 0.5)


def test_the_gates_file_is_deleted_when_the_run_continues(tmp_path):
    given, stop = rows(FOUR, [answer(2), answer(2)]), ("gates.pairs_kept_action=stop", "gates.pairs_kept=0.9")
    with pytest.raises(StageError):
        prepared(tmp_path, given, *stop)[0].build_pairs(2)
    loop, told = prepared(tmp_path, given, "gates.pairs_kept=0.1")
    loop.build_pairs(2)
    assert loop.run_dir.entry("m2/pairs")["data_metrics"]["gates"] == told == []
    assert not loop.run_dir.file(2, "gates.json").exists()


def test_repeated_positives_are_not_prompts_without_one(tmp_path):
    given = rows([answer(5, text="twice")] * 3, [answer(2)])
    loop, _ = prepared(tmp_path, given, "train.kind=sft")
    loop.build_pairs(2)
    entry = loop.run_dir.entry("m2/pairs")
    assert entry["drops"] == {"no_perfect_answer": 1, "same_text": 2}
    assert entry["data_metrics"]["pairs_kept"] == 0.5


# --- the same as ever -------------------------------------------------------------------------------------------------


def drawn(seed, prompts=60):
    """Rows with varied scores or none, equal texts, cut-off and empty answers, in any order."""
    draw = random.Random(seed).random

    def one(*some):
        return some[int(draw() * len(some))]

    asked = [Prompt(f"p{n}", f"question {n}", "generated", [], n) for n in range(prompts)]
    answers, verdicts = [], []
    for n in range(4 * prompts):
        text = one("same", " same\u2009", f"answer {n}", f"answer {n}", f"answer {n}", "\n")
        ids = [1] * int(1 + 90 * draw())
        answers.append(Candidate(f"c{n}", f"p{n // 4}", n % 4, text, ids, -1.0, one("stop", "stop", "length"), 0))
        for sample in range(3):
            outcome = one("scored", "scored", "scored", "scored", "missing", "out_of_range", "conflicting")
            score = one(0.0, 1.0, 2.0, 3.0, 3.5, 4.0, 5.0, 5.0) if outcome == "scored" else None
            expected = one(score, 5 * draw(), None) if outcome == "scored" else None
            verdicts.append(Verdict(f"v{n}.{sample}", f"c{n}", sample, "x", outcome, score, expected))
    return asked, sorted(answers, key=lambda _: draw()), sorted(verdicts, key=lambda _: draw())


# The file's SHA-256 by method and score. With sampled scores, whose sums are exact, these are also the files that were
# written when every row was still held, from rows sorted by prompt, index and sample.
WRITTEN = [
    ("best_worst", "sampled", "86e88060c3ea61ef"),
    ("best_worst", "expected", "2dc3ae1c6bec066e"),
    ("length_controlled", "sampled", "ee61781d809b7beb"),
    ("length_controlled", "expected", "2dc3ae1c6bec066e"),
    ("margin", "sampled", "eebba33511d146b2"),
    ("margin", "expected", "2e9bc1c4f45d4d60"),
    ("random", "sampled", "2f4f4d20143f4b27"),
    ("random", "expected", "2c48caa3d383ee47"),
    ("top_bottom", "sampled", "4a8619890e0c9e90"),
    ("top_bottom", "expected", "22e63aa79c762a1d"),
    ("winners", "sampled", "93ea85cd69b6765a"),
]


def loop_of(path, *words):
    settings = ("seed=3", "pairs.keep_truncated=false", "gates.parse_rate_action=warn", *words)
    loop, _ = prepared(path, drawn(0), *settings)
    dropped = [DroppedPrompt("d", "", reason, [], 1, None, None) for reason in ("empty", "not_novel", "empty")]
    write_rows(loop.run_dir.file(2, "prompts_dropped.jsonl"), dropped)
    return loop


@pytest.mark.parametrize(("method", "score", "digest"), WRITTEN)
def test_streamed_rows_give_the_recorded_output(tmp_path, method, score, digest):
    loop = loop_of(tmp_path, method_word(method), f"judge.score={score}")
    loop.build_pairs(2)
    [found] = loop.run_dir.entry("m2/pairs")["sha256"].values()
    assert found.startswith(digest)


def decimals(seed):
    """Rows like those of `drawn`, with scores whose sums in binary depend on their order, and with ties in decimal."""
    draw = random.Random(seed)
    asked, answers, verdicts = drawn(seed, prompts=20)
    scores = draw.choice([(0.1, 0.2, 0.3, 0.7, 1.1, 2.2), (4.9, 5.0), (1.65, 1.1, 2.2), (3.3, 3.4, 3.5)])
    changed = [
        replace(
            row,
            score=draw.choice(scores) if row.score is not None else None,
            expected_score=None if row.expected_score is None else draw.choice([0.1, 0.2, 0.3, 3.3 * draw.random()]),
        )
        for row in verdicts
    ]
    return asked, answers, changed


CHOICES = [(method, score) for method in METHODS for score in ("sampled", "expected")]
CHOICES.remove(("winners", "expected"))


@pytest.mark.parametrize(("method", "score"), CHOICES)
def test_the_order_of_rows_changes_nothing(tmp_path, method, score):
    """Rows are written in the order in which requests finish, which no two runs share."""
    words = (method_word(method), f"judge.score={score}", "pairs.max_per_prompt=2", "judge.max_score=1")
    config = configuration.build({"model": {"name": "unused"}}, words)
    draw, files = random.Random(0), [tmp_path / name for name in ("prompts", "candidates", "verdicts", "out")]
    for seed in range(8):
        given, found = decimals(seed), set()
        write_rows(files[0], given[0])
        for _ in range(4):
            for file, some in zip(files[1:3], given[1:], strict=True):
                write_rows(file, draw.sample(some, len(some)))
            read = reader(files[2], config.judge)
            settings = {"pairs": config.pairs, "winners": method == "winners", "seed": seed}
            made = pairs.write_pairs(files[0], files[1], files[3], read, **settings)
            metrics = data_metrics(made.answers, made.scores, made.prompts_with_pair)
            counts = row_counts(made, tmp_path / "none")
            assert len(made) > 0
            found.add((files[3].read_bytes(), json.dumps([asdict(metrics), counts, made.drops])))
        assert len(found) == 1, seed


def test_rows_are_in_the_order_of_the_prompts_and_of_the_answers():
    draw = random.Random(1)
    asked, answers, verdicts = drawn(1)
    draw.shuffle(asked)
    words = ("pairs.method=margin", "pairs.keep_truncated=true")
    config = configuration.build({"model": {"name": "unused"}}, words)
    made, _ = made_of(asked, answers, verdicts, pairs=config.pairs, judge=config.judge)
    position = {row.id: index for index, row in enumerate(asked)}
    number = {row.id: row.index for row in answers}
    keys = [
        (position[row.prompt_id], row.rejected_score - row.chosen_score, number[row.chosen_id], number[row.rejected_id])
        for row in made
    ]
    assert keys == sorted(keys)
    assert len({key[0] for key in keys}) > 30


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((0.1, 0.2, 0.3), (0.3, 0.2, 0.1)),
        ((1.1, 2.2), (1.65, 1.65)),
        ((3.3, 1.1, 2.2), (2.2,)),
        ((4, 3, 4), (3, 4, 4, 3, 4, 4)),
        ((0.7, 0.1), (0.4, 0.4, 0.4)),
        ((0.1,) * 10, (0.1,)),
    ],
)
@pytest.mark.parametrize("method", ["best_worst", "length_controlled", "margin", "random", "top_bottom"])
def test_a_tie_stays_a_tie(one, other, method):
    """Equal means whose sums differ in binary form no pair."""
    config = configuration.build({"model": {"name": "unused"}}, (f"pairs.method={method}",))
    for first, second in ((one, other), (other, one)):
        given = rows([answer(*first), answer(*second)])
        made, drops = made_of(*given, pairs=config.pairs, judge=config.judge)
        assert made == []
        assert drops["tied"] == 1


def test_streamed_rows_give_the_recorded_manifest_entry(tmp_path):
    loop = loop_of(tmp_path, "pairs.method=margin")
    loop.build_pairs(2)
    entry = loop.run_dir.entry("m2/pairs")
    metrics = entry["data_metrics"]
    assert (entry["rows"], entry["drops"]) == (
        84,
        {"too_few_scored": 0, "too_few_usable": 15, "tied": 0, "below_margin": 0, "same_text": 3, "over_cap": 0},
    )
    assert entry["prompts_dropped"] == {"empty": 2, "not_novel": 1}
    assert entry["verdicts"] == {"scored": 409, "missing": 103, "out_of_range": 97, "conflicting": 111}
    assert (entry["prompts"], entry["candidates"], entry["truncated"]) == (60, 240, 75)
    assert entry["mean_length"] == 43.05
    assert entry["mean_score"] == pytest.approx(3.0495495495495497, rel=1e-14)
    assert metrics["length_correlation"] == pytest.approx(0.04617629052187236, rel=1e-12)
    assert metrics["score_entropy"] == pytest.approx(2.7282210538707394, rel=1e-14)
    assert (metrics["parse_rate"], metrics["tied_prompts"], metrics["pairs_kept"]) == (
        0.5680555555555555,
        0.0,
        0.7,
    )
    assert list(metrics["score_histogram"].values()) == [10, 4, 19, 8, 20, 21, 25, 37, 32, 13, 33]
    assert metrics["length_histogram"]["counts"] == [
        9,
        7,
        21,
        16,
        6,
        11,
        14,
        7,
        14,
        8,
        12,
        12,
        10,
        7,
        11,
        8,
        9,
        16,
        12,
        3,
        9,
        8,
        10,
        0,
    ]
