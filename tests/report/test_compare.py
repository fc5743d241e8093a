"""The comparison of two runs."""

import io

import pytest
import yaml
from rich.console import Console
from srlm.errors import InputError
from srlm.evaluation.paired import write_cases
from srlm.report.compare import (
    Row,
    compare,
    comparison_table,
    difference,
    key_text,
    main_metrics,
    write_comparison,
)
from srlm.report.measures import kind_of
from srlm.rows.records import write_text

from tests.report_run import HOSTILE, cases, change_manifest, config, est, make_run


@pytest.fixture
def runs(tmp_path):
    """Two runs that differ in a setting, an entry, a field and a model."""
    first, second = make_run(tmp_path / "one"), make_run(tmp_path / "two", name="another")
    settings = config("another") | {"candidates": {"per_prompt": 8}, "extra": [1]}
    write_text(second / "config.yaml", yaml.safe_dump(settings))

    def change(manifest):
        manifest["m2/vs_m1"]["win_rate"] = est(0.5, 0.42, 0.58, 195)
        manifest["m2/dpo"]["train_loss"] = 0.5912
        manifest["m2/pairs"]["drops"]["below_margin"] = 3
        del manifest["m2/judge_pandalm"]

    change_manifest(second, change)
    return first, second


def rows_of(both, model, group):
    return {row.label: row for row in both.metrics[model, group]}


def test_settings_that_differ(runs):
    assert compare(*runs).settings == [
        Row("candidates.per_prompt", "4", "8", "", significant=False),
        Row("name", "a run", "another", "", significant=False),
        Row("extra", "not set", "[1]", "", significant=False),
    ]


def test_metrics_and_their_differences(runs):
    both = compare(*runs)
    wins = rows_of(both, "M2", "M2 against M1")
    assert wins["win rate"] == Row(
        "win rate", "66.7 % (60.4 to 72.8)", "50.0 % (42.0 to 58.0)", "-16.7 points", significant=True, test="unpaired"
    )
    assert wins["wins"] == Row("wins", "120", "120", "0", significant=False)
    assert rows_of(both, "M2", "training")["mean training loss"].difference == "-0.1000"
    assert rows_of(both, "M2", "data")["no pair: below margin"] == Row(
        "no pair: below margin", "not measured", "3", "-", significant=False
    )
    assert rows_of(both, "M2", "as a judge (pandalm)")["pairwise accuracy"].second == "not measured"
    assert rows_of(both, "M1", "cost")["time, training"].first == "2.4 min"


def test_the_main_metrics_come_first(runs):
    assert [row.label for row in main_metrics(compare(*runs))] == [
        "M1 as a judge (held-out): pairwise accuracy",
        "M1 instructions: prompt-level strict",
        "M2 as a judge (held-out): pairwise accuracy",
        "M2 against M1: win rate",
        "M2 instructions: prompt-level strict",
    ]


@pytest.mark.parametrize(
    ("first", "second", "form", "text"),
    [
        (0.5, 0.625, "percent", "+12.5 points"),
        (0.625, 0.5, "percent", "-12.5 points"),
        (0.5, 0.5, "percent", "0"),
        (0.5, 0.5004, "percent", "0"),
        (1000, 3000, "count", "+2,000"),
        (60, 30, "seconds", "-30.0 s"),
        (10, 20, "count", "+10"),
        (1.0, 1.0, "number", "0"),
        (None, 1.0, "number", "-"),
    ],
)
def test_differences(first, second, form, text):
    assert difference(first, second, form) == text


def test_the_table_of_the_terminal(runs):
    console = Console(file=io.StringIO(), width=160)
    console.print(comparison_table(*runs))
    lines = [" ".join(line.replace("│", " ").split()) for line in console.file.getvalue().split("\n")]
    assert "candidates.per_prompt 4 8" in lines
    assert "win rate 66.7 % (60.4 to 72.8) 50.0 % (42.0 to 58.0) -16.7 points †" in lines
    assert "mean training loss 0.6912 0.5912 -0.1000" in lines
    assert "M2: training" in lines


def test_equal_settings_are_shown_as_none(tmp_path):
    first, second = make_run(tmp_path / "one"), make_run(tmp_path / "two")
    console = Console(file=io.StringIO(), width=160)
    console.print(comparison_table(first, second))
    lines = [" ".join(line.replace("│", " ").split()) for line in console.file.getvalue().split("\n")]
    assert lines[lines.index("settings that differ") + 1] == "None"


def test_runs_with_the_same_cases_are_compared_on_these(tmp_path):
    first, second = make_run(tmp_path / "one"), make_run(tmp_path / "two")
    write_cases(second / "m2" / "instructions.jsonl", cases("prompt_strict", set(range(31, 225)), 541))
    both = compare(first, second)
    strict = rows_of(both, "M2", "instructions")["prompt-level strict"]
    assert (strict.test, strict.significant) == ("paired", True)
    assert strict.difference.startswith("+5.4 points, ")
    accuracy = rows_of(both, "M2", "as a judge (held-out)")["pairwise accuracy"]
    assert (accuracy.test, accuracy.significant, accuracy.difference) == ("paired", False, "0")
    loose = rows_of(both, "M2", "instructions")["prompt-level loose"]
    assert (loose.test, loose.significant) == ("unpaired", False)
    assert "paired: 95 % interval without 0, exact test p < 0.05; 4 tested" in key_text(both)


def test_implicit_preferences_are_compared_on_the_same_pairs(tmp_path):
    first, second = make_run(tmp_path / "one"), make_run(tmp_path / "two")
    for run, right in ((first, 100), (second, 140)):
        result = {"log_ratio_per_token": est(right / 200, 0.4, 0.8, 200), "prompts": 200}
        change_manifest(
            run,
            lambda manifest, result=result: manifest.update(
                {"m2/implicit_preferences": manifest["m2/instructions"] | result}
            ),
        )
        write_cases(run / "m2" / "implicit_preferences.jsonl", cases("log_ratio_per_token", set(range(right)), 200))
    row = rows_of(compare(first, second), "M2", "implicit preferences, pairs in order")["log-ratio to M0 per token"]
    assert (row.test, row.significant) == ("paired", True)
    assert row.difference.startswith("+20.0 points, ")


@pytest.mark.parametrize(("prompts", "shown"), [(9, False), (10, True)])
def test_few_prompts_show_no_difference(tmp_path, prompts, shown):
    first, second = make_run(tmp_path / "one"), make_run(tmp_path / "two")
    for run, value in ((first, 0.0), (second, 1.0)):
        rate = {"win_rate": est(value, value, value, prompts), "prompts": prompts}
        change_manifest(run, lambda manifest, rate=rate: manifest["m2/vs_m1"].update(rate))
    row = rows_of(compare(first, second), "M2", "M2 against M1")["win rate"]
    assert (row.test, row.significant) == ("unpaired", shown)


def test_every_metric_of_a_match_and_a_judge_is_there(runs):
    both = compare(*runs)
    assert rows_of(both, "M2", "M2 against M1")["mean preference probability"].first == "53.4 % (52.0 to 54.9)"
    assert rows_of(both, "M1", "as a judge (held-out)")["prompts skipped (too long to judge)"].first == "1"


@pytest.mark.parametrize(
    ("stages", "kind"),
    [
        (("m1/sft", "m2/dpo", "m2/step_200"), "training"),
        (
            ("m2/step_200_answers", "m2/step_400_vs_200", "m3/m1_logprobs", "m1/answers", "m1/instructions",
             "m1/implicit_preferences",
             "m1/judge_held_out", "m2/vs_m1"),
            "evaluation",
        ),
        (("seed/ift", "m2/prompts", "m2/candidates", "m2/verdicts", "m2/pairs", "m2/judgement_comparisons",
          "m2/judgement_pairs", "m2/modified_answers", "m2/modified_verdicts"), "data"),
    ],
)  # fmt: skip
def test_kinds_of_work(stages, kind):
    assert {kind_of(stage) for stage in stages} == {kind}


def test_the_page(runs, tmp_path):
    file = write_comparison(*runs, tmp_path / "page.html")
    text = file.read_text(encoding="utf-8")
    assert "script-src 'none'" in text.replace("&#39;", "'")
    assert "-16.7 points" in text
    assert "candidates.per_prompt" in text


def test_names_and_settings_stay_text(tmp_path):
    first, second = make_run(tmp_path / "one", name=HOSTILE), make_run(tmp_path / "two")
    text = write_comparison(first, second, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<script" not in text
    assert "<img" not in text
    assert "&lt;img src=x" in text


def test_runs_without_a_model(tmp_path):
    for name in ("one", "two"):
        write_text(tmp_path / name / "config.yaml", f"name: {name}\n")
    assert compare(tmp_path / "one", tmp_path / "two").metrics == {}
    assert "Neither run has any metrics yet" in write_comparison(
        tmp_path / "one", tmp_path / "two", tmp_path / "page.html"
    ).read_text(encoding="utf-8")


def test_another_directory_is_refused(tmp_path):
    with pytest.raises(InputError, match="not a run directory"):
        compare(make_run(tmp_path / "one"), tmp_path)
