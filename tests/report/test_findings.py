"""What the report says in words: only what the intervals allow."""

import json
from collections import Counter

import pytest
from srlm.evaluation import judge_flags
from srlm.evaluation.estimates import NONE, Estimate
from srlm.report.collect import read_run
from srlm.report.findings import LENGTH_FLAG, against_even, apart, headline, judge_name, lines, warnings

from tests.report_run import NOT_ABOVE_LENGTH, change_manifest, est, judging, make_run


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (0.501, 0.7, "better"),
        (0.5, 0.7, "same"),
        (0.3, 0.499, "worse"),
        (0.3, 0.5, "same"),
        (0.4, 0.6, "same"),
        (None, None, "unmeasured"),
    ],
)
def test_a_win_rate_is_called_by_its_whole_interval(low, high, word):
    assert against_even(Estimate(0.6, low, high, 10)) == word


@pytest.mark.parametrize(
    ("one", "other", "word"),
    [
        (Estimate(0.7, 0.65, 0.75, 9), Estimate(0.5, 0.4, 0.6, 9), "better"),
        (Estimate(0.5, 0.4, 0.6, 9), Estimate(0.7, 0.65, 0.75, 9), "worse"),
        (Estimate(0.7, 0.6, 0.8, 9), Estimate(0.5, 0.4, 0.6, 9), "same"),
        (Estimate(0.7, 0.6, 0.8, 9), Estimate(0.5, None, None, 1), "unmeasured"),
        (NONE, NONE, "unmeasured"),
    ],
)
def test_figures_differ_where_their_intervals_do_not_overlap(one, other, word):
    assert apart(one, other) == word


def compared(rate, controlled):
    """Return a change of the manifest: how M2 did against M1."""

    def change(manifest):
        manifest["m2/vs_m1"] |= {"win_rate": rate, "length_controlled": controlled}

    return change


HIGH, LOW, EVEN = est(0.6, 0.55, 0.65, 200), est(0.4, 0.35, 0.45, 200), est(0.52, 0.45, 0.59, 200)
UNKNOWN = est(None, None, None, 0)


@pytest.mark.parametrize(
    ("rate", "controlled", "said", "badge"),
    [
        (HIGH, HIGH, "Yes: M2 answers better than M1.", "better than M1"),
        (HIGH, UNKNOWN, "Yes: M2 answers better than M1.", "better than M1"),
        (HIGH, EVEN, "M2 wins against M1, but its answers' length may be all there is to it.",
         "better than M1, length may be why"),
        (LOW, EVEN, "No: M2 answers worse than M1.", "worse than M1"),
        (EVEN, HIGH, "Between M2 and M1 there is no difference that the data can show.", "no difference shown from M1"),
        (UNKNOWN, UNKNOWN, "No model's answers were compared with M1's, so nobody can say.", "not compared with M1"),
    ],
)  # fmt: skip
def test_the_headline_and_the_badge(tmp_path, rate, controlled, said, badge):
    change_manifest(make_run(tmp_path), compared(rate, controlled))
    run = read_run(tmp_path)
    assert headline(run).text == said
    assert [line.badge.text for line in lines(run)] == ["where it starts", badge]


def test_the_headline_is_of_the_last_model_that_was_compared(tmp_path):
    def change(manifest):
        manifest["m3/dpo"] = manifest["m2/dpo"]
        manifest["m3/vs_m2"] = manifest["m2/vs_m1"] | {"win_rate": HIGH}
        manifest["m2/vs_m1"] |= {"win_rate": LOW}

    change_manifest(make_run(tmp_path), change)
    run = read_run(tmp_path)
    assert headline(run).text == "No: M2 answers worse than M1. M3 was not compared with M1."
    change_manifest(tmp_path, lambda manifest: manifest.update({"m3/vs_m1": manifest["m3/vs_m2"]}))
    assert headline(read_run(tmp_path)).text.startswith("M3 wins against M1")


def test_the_sentences_of_each_model(tmp_path):
    first, second = lines(read_run(make_run(tmp_path)))
    # M1's flag says that its difference from length may be none. M2: 64.0 to 76.0 is above length, but overlaps M1's.
    assert first.sentences == ["Not shown to judge better than length would."]
    assert second.sentences == [
        "Answers better than M1, by M1's judgement; with length controlled, no difference.",
        "Judges better than length would; no change from M1.",
        "Follows instructions: better than M1.",
    ]


def test_a_worse_judge_is_called_worse(tmp_path):
    change_manifest(make_run(tmp_path), lambda m: m.update({"m2/judge_held_out": judging(est(0.4, 0.35, 0.45, 57))}))
    second = lines(read_run(tmp_path))[1]
    assert "Judges worse than length would; worse than M1." in second.sentences


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        (["m1/sft", "m2/dpo"], "No model is trained yet."),
        (["m2/dpo"], "Only M1 is trained, so there is nothing to compare yet."),
        (["m2/vs_m1"], "No model's answers were compared with M1's, so nobody can say."),
    ],
)
def test_what_is_not_there_is_not_claimed(tmp_path, gone, said):
    change_manifest(make_run(tmp_path), lambda manifest: [manifest.pop(stage) for stage in gone])
    assert headline(read_run(tmp_path)).text == said
    assert headline(read_run(tmp_path)).word == "unmeasured"


def test_flags_and_gates_are_warnings(tmp_path):
    assert warnings(read_run(make_run(tmp_path))) == [
        ("M1 as a judge, held out", NOT_ABOVE_LENGTH),
        ("Data for M2", "In 85 % of the prompts all scores tie."),
        ("M2 as a judge, held out", "Scores follow length."),
    ]


def stopped_run(path, reason):
    """A run that a gate, or too few pairs, stopped before M2's training: its data have no entry, but a file."""

    def change(manifest):
        kept.update(manifest.pop("m2/pairs"), stopped=reason)
        for stage in [stage for stage in manifest if stage.startswith("m2/") and stage[3:] not in MADE]:
            del manifest[stage]

    kept = {}
    change_manifest(make_run(path), change)
    (path / "m2" / "gates.json").write_text(json.dumps(kept))
    return read_run(path)


MADE = ("prompts", "candidates", "verdicts")
ADVICE = ("head_to_head.judge", "head_to_head.justify=true", "head_to_head.by=scores")
TIES = "In 85 % of the prompts all scores tie."


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        (f"m2: not trained: {TIES}", [f"m2: not trained: {TIES}"]),
        ("m2: only 2 pairs", ["m2: only 2 pairs", TIES]),
    ],
)
def test_what_stopped_the_run_is_said(tmp_path, reason, said):
    run = stopped_run(tmp_path, reason)
    assert headline(run).text == "Only M1 is trained: the run stopped before M2, for the reason below."
    assert warnings(run)[1:] == [("Data for M2", text) for text in said]
    assert run.model(2).data["drops"]["too_few_scored"] == 1


def test_a_file_of_an_earlier_stop_is_passed_over_once_the_pairs_are_done(tmp_path):
    (make_run(tmp_path) / "m2" / "gates.json").write_text('{"stopped": "m2: only 2 pairs"}')
    assert warnings(read_run(tmp_path))[1:] == [
        ("Data for M2", TIES),
        ("M2 as a judge, held out", "Scores follow length."),
    ]


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ({"first_share": 0.5, "disagreements": 0}, []),
        ({"first_share": None, "disagreements": None, "unread": None}, []),
        ({"first_share": 0.31, "disagreements": 70}, []),
        (
            {"first_share": 1.0, "disagreements": 195},
            [["100% of the verdicts", "195 of 195 prompts", *ADVICE]],
        ),
        ({"first_share": 0.1}, [["10% of the verdicts are for whoever stood first"]]),
        ({"disagreements": 100}, [["The two orders contradict each other in 100 of 195 prompts"]]),
        ({"unread": 21}, [["21 of 200 prompts are left out", "m2/vs_m1.jsonl", "head_to_head.max_tokens"]]),
        ({"unread": 200, "disagreements": 0, "first_share": None}, [["200 of 200 prompts"]]),
    ],
)
def test_a_judge_that_does_not_read_is_told(tmp_path, values, parts):
    change_manifest(make_run(tmp_path), lambda manifest: manifest["m2/vs_m1"].update(values))
    said = [text for where, text in warnings(read_run(tmp_path)) if where == "M2 against M1"]
    assert len(said) == len(parts)
    for text, words in zip(said, parts, strict=True):
        assert [word for word in words if word not in text] == []


def test_a_judge_that_gives_reasons_is_not_told_to(tmp_path):
    change_manifest(make_run(tmp_path), lambda manifest: manifest["m2/vs_m1"].update(first_share=1.0))
    run = read_run(tmp_path)
    run.config["head_to_head"] = {"justify": True}
    [text] = [text for where, text in warnings(run) if where == "M2 against M1"]
    assert "justify" not in text
    assert "by M1's judgement, which mostly follows the place of an answer" in lines(run)[1].sentences[0]


@pytest.mark.parametrize(
    ("accuracy", "flags", "said"),
    [
        (est(0.6, 0.55, 0.65, 57), [], "Judges better than length would"),  # though they overlap
        (est(0.6, 0.55, 0.65, 57), [NOT_ABOVE_LENGTH], "Not shown to judge better than length would"),
        (est(0.6, 0.55, 0.65, 57), None, "Not shown to judge better than length would"),
        (est(0.7, 0.65, 0.75, 57), None, "Judges better than length would"),
        (est(0.4, 0.35, 0.45, 57), [NOT_ABOVE_LENGTH], "Judges worse than length would"),
        (est(0.6, None, None, 1), [], "How it judges was not measured"),
    ],
)  # fmt: skip
def test_a_judge_beside_length_by_the_difference_itself(tmp_path, accuracy, flags, said):
    change_manifest(
        make_run(tmp_path), lambda manifest: manifest.update({"m1/judge_held_out": judging(accuracy, flags=flags)})
    )
    assert lines(read_run(tmp_path))[0].sentences == [f"{said}."]


def test_the_flag_is_the_measurements_own():
    ahead = Estimate(0.0, -0.1, 0.1, 90)
    [flag] = judge_flags.flags(written=Counter(), tied=NONE, parse_rate=NONE, ahead=ahead, prompts=90, expected=False)
    assert LENGTH_FLAG in flag


def test_a_judge_is_named():
    assert [judge_name(name) for name in ("m1", "m12", "m1 (scores)", "some/model")] == [
        "M1",
        "M12",
        "M1 (scores)",
        "some/model",
    ]
