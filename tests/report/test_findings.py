"""The findings of the report in words: only what the intervals support."""

import json
from collections import Counter

import pytest
from srlm.evaluation import judge_flags
from srlm.evaluation.estimates import NONE, Estimate
from srlm.report.collect import read_run
from srlm.report.findings import (
    LENGTH_FLAG,
    compare_intervals,
    headline,
    judge_name,
    summary_rows,
    warnings,
    win_rate_outcome,
)

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
def test_a_win_rate_is_classified_by_its_whole_interval(low, high, word):
    assert win_rate_outcome(Estimate(0.6, low, high, 10)) == word


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
def test_estimates_differ_if_their_intervals_do_not_overlap(one, other, word):
    assert compare_intervals(one, other) == word


def compared(rate, controlled):
    """Return a change of the manifest: how M2 did against M1."""

    def change(manifest):
        manifest["m2/vs_m1"] |= {"win_rate": rate, "length_controlled": controlled}

    return change


HIGH, LOW, EVEN = est(0.6, 0.55, 0.65, 200), est(0.4, 0.35, 0.45, 200), est(0.52, 0.45, 0.59, 200)
UNKNOWN = est(None, None, None, 0)


@pytest.mark.parametrize(
    ("rate", "controlled", "expected", "badge"),
    [
        (HIGH, HIGH, "Yes: M2 gives better answers than M1.", "better than M1"),
        (HIGH, UNKNOWN, "Yes: M2 gives better answers than M1.", "better than M1"),
        (HIGH, EVEN, "M2 wins against M1, but longer answers alone may explain it.",
         "better than M1, possibly due to length"),
        (LOW, EVEN, "No: M2 gives worse answers than M1.", "worse than M1"),
        (EVEN, HIGH, "No significant difference between M2 and M1.", "no significant difference from M1"),
        (UNKNOWN, UNKNOWN, "Unknown: no model was compared with M1.", "not compared with M1"),
    ],
)  # fmt: skip
def test_the_headline_and_the_badge(tmp_path, rate, controlled, expected, badge):
    change_manifest(make_run(tmp_path), compared(rate, controlled))
    run = read_run(tmp_path)
    assert headline(run).text == expected
    assert [line.badge.text for line in summary_rows(run)] == ["starting point", badge]


def test_the_headline_is_of_the_last_model_that_was_compared(tmp_path):
    def change(manifest):
        manifest["m3/dpo"] = manifest["m2/dpo"]
        manifest["m3/vs_m2"] = manifest["m2/vs_m1"] | {"win_rate": HIGH}
        manifest["m2/vs_m1"] |= {"win_rate": LOW}

    change_manifest(make_run(tmp_path), change)
    run = read_run(tmp_path)
    assert headline(run).text == "No: M2 gives worse answers than M1. M3 was not compared with M1."
    change_manifest(tmp_path, lambda manifest: manifest.update({"m3/vs_m1": manifest["m3/vs_m2"]}))
    assert headline(read_run(tmp_path)).text.startswith("M3 wins against M1")


def test_the_sentences_of_each_model(tmp_path):
    first, second = summary_rows(read_run(make_run(tmp_path)))
    # M1 has the flag of the length baseline. M2's interval, 64.0 to 76.0, is above the baseline but overlaps M1's.
    assert first.sentences == ["Judge: not significantly better than the length baseline."]
    assert second.sentences == [
        "Answers: better than M1 (judge: M1); length-controlled: no significant difference.",
        "Judge: better than the length baseline; no significant change from M1.",
        "Instruction following: better than M1.",
    ]


def test_a_worse_judge_is_called_worse(tmp_path):
    change_manifest(make_run(tmp_path), lambda m: m.update({"m2/judge_held_out": judging(est(0.4, 0.35, 0.45, 57))}))
    second = summary_rows(read_run(tmp_path))[1]
    assert "Judge: worse than the length baseline; worse than M1." in second.sentences


@pytest.mark.parametrize(
    ("gone", "expected"),
    [
        (["m1/sft", "m2/dpo"], "No model has been trained yet."),
        (["m2/dpo"], "Only M1 is trained; there is nothing to compare yet."),
        (["m2/vs_m1"], "Unknown: no model was compared with M1."),
    ],
)
def test_no_claim_without_data(tmp_path, gone, expected):
    change_manifest(make_run(tmp_path), lambda manifest: [manifest.pop(stage) for stage in gone])
    assert headline(read_run(tmp_path)).text == expected
    assert headline(read_run(tmp_path)).outcome == "unmeasured"


def test_flags_and_gates_are_warnings(tmp_path):
    assert warnings(read_run(make_run(tmp_path))) == [
        ("M1 as a judge (held-out)", NOT_ABOVE_LENGTH),
        ("Data for M2", "In 85 % of the prompts all scores tie."),
        ("M2 as a judge (held-out)", "Scores follow length."),
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
ADVICE = ("head_to_head.judge", "head_to_head.justify=true", "head_to_head.by=pointwise")
TIES = "In 85 % of the prompts all scores tie."


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (f"m2: not trained: {TIES}", [f"m2: not trained: {TIES}"]),
        ("m2: only 2 pairs", ["m2: only 2 pairs", TIES]),
    ],
)
def test_the_reason_of_a_stop_is_shown(tmp_path, reason, expected):
    run = stopped_run(tmp_path, reason)
    assert headline(run).text == "Only M1 is trained: the run stopped before training M2 (see the warnings below)."
    assert warnings(run)[1:] == [("Data for M2", text) for text in expected]
    assert run.model(2).data["drops"]["too_few_scored"] == 1


def test_a_file_of_an_earlier_stop_is_ignored_once_the_pairs_are_done(tmp_path):
    (make_run(tmp_path) / "m2" / "gates.json").write_text('{"stopped": "m2: only 2 pairs"}')
    assert warnings(read_run(tmp_path))[1:] == [
        ("Data for M2", TIES),
        ("M2 as a judge (held-out)", "Scores follow length."),
    ]


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ({"first_position_rate": 0.5, "disagreements": 0}, []),
        ({"first_position_rate": None, "disagreements": None, "unparseable": None}, []),
        ({"first_position_rate": 0.31, "disagreements": 70}, []),
        (
            {"first_position_rate": 1.0, "disagreements": 195},
            [["100% of the verdicts", "195 of 195 prompts", *ADVICE]],
        ),
        ({"first_position_rate": 0.1}, [["10% of the verdicts prefer the answer shown first"]]),
        ({"disagreements": 100}, [["The two orders disagree in 100 of 195 prompts"]]),
        ({"unparseable": 21}, [["21 of 200 prompts are excluded", "m2/vs_m1.jsonl", "head_to_head.max_tokens"]]),
        ({"unparseable": 200, "disagreements": 0, "first_position_rate": None}, [["200 of 200 prompts"]]),
    ],
)
def test_a_position_biased_judge_is_flagged(tmp_path, values, parts):
    change_manifest(make_run(tmp_path), lambda manifest: manifest["m2/vs_m1"].update(values))
    expected = [text for where, text in warnings(read_run(tmp_path)) if where == "M2 against M1"]
    assert len(expected) == len(parts)
    for text, words in zip(expected, parts, strict=True):
        assert [word for word in words if word not in text] == []


def test_a_judge_that_gives_reasons_is_not_advised_to(tmp_path):
    change_manifest(make_run(tmp_path), lambda manifest: manifest["m2/vs_m1"].update(first_position_rate=1.0))
    run = read_run(tmp_path)
    run.config["head_to_head"] = {"justify": True}
    [text] = [text for where, text in warnings(run) if where == "M2 against M1"]
    assert "justify" not in text
    assert "(judge: M1, position-biased)" in summary_rows(run)[1].sentences[0]


@pytest.mark.parametrize(
    ("accuracy", "flags", "expected"),
    [
        (est(0.6, 0.55, 0.65, 57), [], "Judge: better than the length baseline"),  # though they overlap
        (est(0.6, 0.55, 0.65, 57), [NOT_ABOVE_LENGTH], "Judge: not significantly better than the length baseline"),
        (est(0.6, 0.55, 0.65, 57), None, "Judge: not significantly better than the length baseline"),
        (est(0.7, 0.65, 0.75, 57), None, "Judge: better than the length baseline"),
        (est(0.4, 0.35, 0.45, 57), [NOT_ABOVE_LENGTH], "Judge: worse than the length baseline"),
        (est(0.6, None, None, 1), [], "Judge: not measured"),
    ],
)  # fmt: skip
def test_a_judge_is_compared_with_the_length_baseline_by_their_difference(tmp_path, accuracy, flags, expected):
    change_manifest(
        make_run(tmp_path), lambda manifest: manifest.update({"m1/judge_held_out": judging(accuracy, flags=flags)})
    )
    assert summary_rows(read_run(tmp_path))[0].sentences == [f"{expected}."]


def test_the_flag_is_the_measurements_own():
    gain = Estimate(0.0, -0.1, 0.1, 90)
    [flag] = judge_flags.flags(
        written=Counter(), tied=NONE, parse_rate=NONE, gain_over_length=gain, prompts=90, expected=False
    )
    assert LENGTH_FLAG in flag


def test_a_judge_is_named():
    assert [judge_name(name) for name in ("m1", "m12", "m1 (pointwise)", "some/model")] == [
        "M1",
        "M12",
        "M1 (pointwise)",
        "some/model",
    ]


def test_instruction_prompts_without_a_response_are_a_finding(tmp_path):
    def failed(found):
        found["m2/instructions"]["unanswered"] = 7

    make_run(tmp_path)
    plain = summary_rows(read_run(tmp_path))[1].sentences
    change_manifest(tmp_path, failed)
    sentences = summary_rows(read_run(tmp_path))[1].sentences
    assert sentences == [*plain, "7 instruction prompts have no response and count as not followed."]
