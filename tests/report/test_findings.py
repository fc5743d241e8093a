"""The findings of the report in words: only what the intervals support."""

import json
from dataclasses import replace

import pytest
from srlm.evaluation.estimates import NONE, Estimate
from srlm.evaluation.paired import write_cases
from srlm.report.changes import MIN_UNPAIRED, change_text, compare_intervals
from srlm.report.collect import read_run
from srlm.report.findings import headline, judge_name, summary_rows, warnings

from tests.report_run import NOT_ABOVE_LENGTH, cases, change_manifest, est, judging, make_run


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
def test_estimates_of_other_cases_differ_if_their_intervals_do_not_overlap(one, other, word):
    assert compare_intervals(one, other, prompts=MIN_UNPAIRED) == word
    assert compare_intervals(one, other, prompts=MIN_UNPAIRED - 1) in ("same", "unmeasured")


def compared(rate, controlled, counts=(120, 20, 60), **values):
    """Return a change of the manifest: how M2 did against M1."""

    def change(manifest):
        wins, ties, losses = counts
        p_value = {HIGH["value"]: 0.01, LOW["value"]: 0.01}.get(controlled["value"], 0.6)
        manifest["m2/vs_m1"] |= {"win_rate": rate, "length_controlled": controlled, "length_controlled_p": p_value}
        manifest["m2/vs_m1"] |= {"wins": wins, "ties": ties, "losses": losses, **values}

    return change


HIGH, LOW, EVEN = est(0.6, 0.55, 0.65, 200), est(0.4, 0.35, 0.45, 200), est(0.52, 0.45, 0.59, 200)
UNKNOWN = est(None, None, None, 0)
WON, LOST, CLOSE = (120, 20, 60), (60, 20, 120), (92, 20, 88)
LONGER = {"length_controlled_withheld": "longer answers in 190 of 200 prompts"}
NOT_SHOWN = "difference from M1 not shown"
START = "Not shown: a difference between the answers of M2 and M1"
TOO_FEW = "fewer than the 6 that a claim needs"


@pytest.mark.parametrize(
    ("rate", "controlled", "counts", "values", "expected", "badge"),
    [
        (HIGH, HIGH, WON, {}, "Yes: M2 gives better answers than M1.", "better than M1"),
        (HIGH, UNKNOWN, WON, {}, "Yes: M2 gives better answers than M1.", "better than M1"),
        (HIGH, EVEN, WON, {}, "M2 wins against M1, but longer answers alone may explain it.",
         "wins against M1, possibly due to length"),
        (HIGH, EVEN, WON, {"mean_length": [300.0, 310.0]},
         "M2 wins against M1, but a difference at equal lengths is not shown.",
         "wins against M1, possibly due to length"),
        (HIGH, UNKNOWN, WON, LONGER,
         "M2 wins against M1, but length alone may explain it (longer answers in 190 of 200 prompts).",
         "wins against M1, possibly due to length"),
        (LOW, EVEN, LOST, {}, "No: M2 gives worse answers than M1.", "worse than M1"),
        (EVEN, HIGH, CLOSE, {},
         "Not shown: a difference between the answers of M2 and M1 (180 of 200 prompts decided: 92 won, 88 lost).",
         NOT_SHOWN),
        (UNKNOWN, UNKNOWN, (0, 0, 0), {}, "Unknown: no model was compared with M1.", "not compared with M1"),
        # The bootstrap interval lies above 50 %, but the prompts are too few or too even.
        (est(1.0, 1.0, 1.0, 2), UNKNOWN, (2, 0, 0), {},
         f"{START} (2 of 2 prompts decided, {TOO_FEW}: 2 won, 0 lost).", NOT_SHOWN),
        (est(0.508, 0.502, 0.516, 256), EVEN, (4, 252, 0), {},
         f"{START} (4 of 256 prompts decided, {TOO_FEW}: 4 won, 0 lost).", NOT_SHOWN),
        (est(0.5, 0.5, 0.5, 256), EVEN, (0, 256, 0), {},
         "Not shown: a difference between the answers of M2 and M1 (the judge decided none of 256 prompts).",
         NOT_SHOWN),
        (est(0.57, 0.501, 0.63, 200), EVEN, (113, 0, 87), {},
         "Not shown: a difference between the answers of M2 and M1 (200 of 200 prompts decided: 113 won, 87 lost).",
         NOT_SHOWN),
    ],
)  # fmt: skip
def test_the_headline_and_the_badge(tmp_path, rate, controlled, counts, values, expected, badge):
    change_manifest(make_run(tmp_path), compared(rate, controlled, counts, **values))
    run = read_run(tmp_path)
    assert headline(run).text == expected
    assert (headline(run).outcome == "better") == expected.startswith("Yes")
    assert any("Answers: better" in text for text in summary_rows(run)[1].sentences) == expected.startswith("Yes")
    assert [line.badge.text for line in summary_rows(run)] == ["starting point", badge]


def test_the_headline_is_of_the_last_model_that_was_compared(tmp_path):
    def change(manifest):
        manifest["m3/dpo"] = manifest["m2/dpo"]
        manifest["m3/vs_m2"] = manifest["m2/vs_m1"] | {"win_rate": HIGH}
        manifest["m2/vs_m1"] |= {"win_rate": LOW, "wins": 60, "losses": 120}

    change_manifest(make_run(tmp_path), change)
    run = read_run(tmp_path)
    assert headline(run).text == "No: M2 gives worse answers than M1. M3 was not compared with M1."
    change_manifest(tmp_path, lambda manifest: manifest.update({"m3/vs_m1": manifest["m3/vs_m2"]}))
    assert headline(read_run(tmp_path)).text.startswith("M3 wins against M1")


def test_the_sentences_of_each_model(tmp_path):
    first, second = summary_rows(read_run(make_run(tmp_path)))
    assert first.sentences == ["Judge: not shown to be better than the length baseline."]
    assert second.sentences == [
        "Answers: wins against M1 (judge: M1), but longer answers alone may explain it.",
        "Judge: better than the length baseline; change from M1 not shown (+12.3 points, -3.5 to +29.8).",
        "Instruction following: better than M1 (+9.1 points, +5.4 to +12.8).",
    ]


def test_a_worse_judge_is_called_worse(tmp_path):
    values = {"gain_over_length": est(-0.14, -0.2, -0.1, 57), "gain_over_length_p": 0.001}
    change_manifest(
        make_run(tmp_path), lambda m: m.update({"m2/judge_held_out": judging(est(0.4, 0.35, 0.45, 57), **values)})
    )
    write_cases(tmp_path / "m2" / "judge_held_out.jsonl", cases("pairwise_accuracy", set(range(10)), 57, 3))
    second = summary_rows(read_run(tmp_path))[1]
    [text] = [sentence for sentence in second.sentences if sentence.startswith("Judge")]
    assert text.startswith("Judge: worse than the length baseline; worse than M1 (-40.4 points, ")


def test_a_change_of_judge_accuracy_on_the_same_pairs(tmp_path):
    """58.0 to 62.7 % on 750 pairs: the separate intervals overlap, the paired difference is clear."""
    make_run(tmp_path)
    for t, right in ((1, range(435)), (2, [*range(5, 435), *range(500, 540)])):
        write_cases(tmp_path / f"m{t}" / "judge_held_out.jsonl", cases("pairwise_accuracy", set(right), 750, 3))
    [text] = [text for text in summary_rows(read_run(tmp_path))[1].sentences if text.startswith("Judge")]
    assert "; better than M1 (+4.7 points, " in text


@pytest.mark.parametrize("stage", ["judge_held_out", "instructions"])
def test_other_cases_are_not_compared(tmp_path, stage):
    make_run(tmp_path)
    metric = {"judge_held_out": "pairwise_accuracy", "instructions": "prompt_strict"}[stage]
    write_cases(tmp_path / "m2" / f"{stage}.jsonl", [replace(row, id=f"x{row.id}") for row in cases(metric, {1}, 57)])
    sentences = summary_rows(read_run(tmp_path))[1].sentences
    assert sum("not compared with M1 on the same prompts" in text for text in sentences) == 1


def test_the_change_of_the_win_rate_against_m1(tmp_path):
    def change(manifest):
        manifest["m3/dpo"] = manifest["m2/dpo"]
        manifest["m3/vs_m1"] = manifest["m2/vs_m1"]

    change_manifest(make_run(tmp_path), change)
    for t, won in ((2, 100), (3, 130)):
        write_cases(tmp_path / f"m{t}" / "vs_m1.jsonl", cases("win_rate", set(range(won)), 200))
    third = summary_rows(read_run(tmp_path))[2]
    assert "Win rate against M1: better than M2 (+15.0 points, +10.0 to +20.0)." in third.sentences
    change_manifest(tmp_path, lambda manifest: manifest["m3/vs_m1"].update(judge="another"))
    assert not any("Win rate against" in text for text in summary_rows(read_run(tmp_path))[2].sentences)


def test_changes_in_words():
    assert change_text(Estimate(0.047, 0.032, 0.0611, 9)) == "+4.7 points, +3.2 to +6.1"
    assert change_text(Estimate(-0.047, None, None, 1)) == "-4.7 points"
    assert change_text(Estimate(0.0, -0.01, 0.01, 9)) == "0, -1.0 to +1.0"
    assert change_text(NONE) == "no cases"


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


@pytest.mark.parametrize(("wins", "losses", "flagged"), [(0, 0, True), (1, 1, False), (0, 1, False)])
def test_early_stopping_that_decided_nothing_is_flagged(tmp_path, wins, losses, flagged):
    row = {"step": 4, "win_rate": est(0.5, 0.5, 0.5, 253), "wins": wins, "ties": 253, "losses": losses, "kept": True}
    change_manifest(make_run(tmp_path), lambda manifest: manifest["m2/dpo"]["checkpoints"].__setitem__(1, row))
    found = [text for where, text in warnings(read_run(tmp_path)) if where == "Training of M2"]
    assert [text.startswith("The judge decided none of 253 comparisons") for text in found] == [True] * flagged


def test_a_judge_that_gives_reasons_is_not_advised_to(tmp_path):
    change_manifest(make_run(tmp_path), lambda manifest: manifest["m2/vs_m1"].update(first_position_rate=1.0))
    run = read_run(tmp_path)
    run.config["head_to_head"] = {"justify": True}
    [text] = [text for where, text in warnings(run) if where == "M2 against M1"]
    assert "justify" not in text
    assert "(judge: M1, position-biased)" in summary_rows(run)[1].sentences[0]


@pytest.mark.parametrize(
    ("accuracy", "gain", "p_value", "expected"),
    [
        (est(0.6, 0.55, 0.65, 57), est(0.06, 0.01, 0.1, 57), 0.01, "better than the length baseline"),  # they overlap
        (est(0.6, 0.55, 0.65, 57), est(0.06, 0.01, 0.1, 57), 0.06, "not shown to be better than the length baseline"),
        (est(0.6, 0.55, 0.65, 57), est(0.06, 0.0, 0.1, 57), 0.01, "not shown to be better than the length baseline"),
        (est(0.6, 0.55, 0.65, 57), est(0.06, 0.01, 0.1, 57), None, "not shown to be better than the length baseline"),
        (est(0.4, 0.35, 0.45, 57), est(-0.1, -0.2, -0.05, 57), 0.01, "worse than the length baseline"),
        (est(0.6, None, None, 1), est(0.1, None, None, 1), 1.0, "not measured"),
    ],
)
def test_a_judge_is_compared_with_the_length_baseline_by_their_difference(tmp_path, accuracy, gain, p_value, expected):
    entry = judging(accuracy, gain_over_length=gain, gain_over_length_p=p_value)
    change_manifest(make_run(tmp_path), lambda manifest: manifest.update({"m1/judge_held_out": entry}))
    assert summary_rows(read_run(tmp_path))[0].sentences == [f"Judge: {expected}."]


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
