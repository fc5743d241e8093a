"""The report of a run that has evaluated M0 and the SFT baseline: both come before M1, and are compared with."""

import pytest
from srlm.evaluation.paired import write_cases
from srlm.report.collect import read_run
from srlm.report.compare import compare, main_metrics
from srlm.report.cost_charts import cost_section
from srlm.report.findings import headline, summary_rows, warnings
from srlm.report.judge_charts import judge_section
from srlm.report.measures import match_name
from srlm.report.page import write_report
from srlm.rows.records import write_rows

from tests.report.test_page import Page
from tests.report_run import candidate, cases, change_manifest, entry, est, instructions, judging, make_run, metrics

NAMES = ["M0", "SFT baseline", "M1", "M2"]
NONE = est(None, None, None, 0)
UNSCORED = judging(
    NONE, pairs=0, pairs_unscored=60, longer_accuracy=NONE, tied=NONE, spearman=NONE, kendall=NONE,
    parse_rate=est(0.0, 0.0, 0.0, 60), score_entropy=None, histogram={}, flags=[],
    outcomes={"scored": 0, "missing": 60, "out_of_range": 0, "conflicting": 0},
)  # fmt: skip


HIGH, LOW, EVEN = est(0.6, 0.55, 0.65, 200), est(0.4, 0.35, 0.45, 200), est(0.52, 0.45, 0.59, 200)


def match(rate, controlled=NONE):
    wins, losses = {HIGH["value"]: (90, 50), LOW["value"]: (50, 90)}.get(rate["value"], (74, 66))
    counts = {"prompts": 200, "wins": wins, "ties": 60, "losses": losses, "unparseable": 0}
    p_value = None if controlled is NONE else 0.6 if controlled is EVEN else 0.001
    rates = {"win_rate": rate, "length_controlled": controlled, "length_controlled_p": p_value}
    return entry(9.0, 400, judge="m1", **rates, **counts)


def with_baselines(path, **changes):
    """Write the scripted run with M0, whose replies as a judge are not verdicts, and the SFT baseline."""

    def change(found):
        found |= {
            "m0/judge_held_out": UNSCORED,
            "m0/answers": entry(5.0, 3, engine="vllm", tokens_in=30, tokens_out=60),
            "m0/instructions": instructions(est(0.1, 0.08, 0.12, 541)),
            "sft/sft": entry(70.0, 48, dropped_too_long=0, steps=6, train_loss=2.5),
            "sft/judge_held_out": judging(est(0.4, 0.35, 0.45, 57)),
            "sft/answers": entry(5.0, 3, engine="vllm", tokens_in=30, tokens_out=60),
            "sft/vs_m0": match(EVEN),
            "m1/vs_m0": match(HIGH),
            "m1/vs_sft": match(LOW),
            "m2/vs_m0": match(HIGH, EVEN),
        } | changes

    change_manifest(make_run(path), change)
    for name in ("m0", "sft"):
        write_rows(path / name / "answers.jsonl", [candidate(i) for i in range(3)])
    write_rows(path / "sft" / "metrics.jsonl", metrics(1))
    write_cases(path / "sft" / "judge_held_out.jsonl", cases("pairwise_accuracy", set(range(3)), 57, 3))
    write_cases(path / "m0" / "instructions.jsonl", cases("prompt_strict", set(range(54)), 541))
    return path


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return with_baselines(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def page(path):
    return Page(write_report(path))


def test_the_models_are_read_in_the_order_in_which_they_are_made(path):
    run = read_run(path)
    assert [model.name for model in run.models] == NAMES
    assert [model.name for model in run.trained] == ["M1", "M2"]  # of `iterations` models
    assert [model.name for model in run.baselines] == ["M0", "SFT baseline"]
    found = [match_name(match) for model in run.models for match in model.matches]
    assert found == [
        "SFT baseline against M0",
        "M1 against SFT baseline",
        "M1 against M0",
        "M2 against M1",
        "M2 against M0",
    ]


def test_the_summary_begins_with_m0(path):
    rows = summary_rows(read_run(path))
    assert [row.model.name for row in rows] == NAMES
    assert [row.badge.text for row in rows] == [
        "base model",
        "difference from M0 not shown",
        "better than M0",
        "wins against M1, possibly due to length",
    ]
    assert rows[0].sentences == ["Judge: 0 of 60 pairs scored, as no pair has two scored answers."]
    assert rows[2].sentences == [
        "Answers: better than M0 (judge: M1).",
        "Judge: not shown to be better than the length baseline.",
        "Instruction following: better than M0 (+11.5 points, +8.7 to +14.2).",
        "Against the SFT baseline, which has no EFT examples: answers worse, judge better.",
    ]
    assert [row.base is not None for row in rows] == [False, False, False, True]


@pytest.mark.parametrize(
    ("rate", "controlled", "text"),
    [
        (HIGH, HIGH, " M2 against M0, the base model: better."),
        (LOW, LOW, " M2 against M0, the base model: worse."),
        (
            EVEN,
            EVEN,
            " M2 against M0, the base model: difference not shown (140 of 200 prompts decided: 74 won, 66 lost).",
        ),
        (HIGH, EVEN, " M2 against M0, the base model: wins, but longer answers alone may explain it."),
        (NONE, NONE, ""),
    ],
)
def test_the_headline_says_what_the_whole_run_gave(tmp_path, rate, controlled, text):
    run = read_run(with_baselines(tmp_path, **{"m2/vs_m0": match(rate, controlled)}))
    assert headline(run).text == f"M2 wins against M1, but longer answers alone may explain it.{text}"


def test_a_run_of_one_model_is_compared_with_m0(tmp_path):
    with_baselines(tmp_path)
    change_manifest(tmp_path, lambda found: [found.pop(stage) for stage in list(found) if stage.startswith("m2/")])
    assert headline(read_run(tmp_path)).text == "Only M1 is trained. M1 against M0, the base model: better."


def test_without_a_comparison_with_m1_the_headline_is_about_m0(tmp_path):
    change_manifest(with_baselines(tmp_path), lambda found: found.pop("m2/vs_m1"))
    text = "M2 against M0, the base model: wins, but longer answers alone may explain it."
    assert headline(read_run(tmp_path)).text == f"Unknown: no model was compared with M1. {text}"


def test_the_page_shows_both(page):
    assert "1 of 2 models trained" not in page.text
    assert "2 of 2 models trained" in page.text
    base = page.row("M0 base model")
    for cell in ("no previous model", "made before M1", "this is M0", "0 of 60 pairs scored", "10.0 %"):
        assert cell in base
    assert "same as the previous model" in page.row("M1 better than M0")
    assert "60.0 % 55.0 to 65.0" in page.row("M2 wins against M1")
    assert "Win rate against M0" in page.text
    assert page.row("M1 against SFT baseline M1 200")
    names = [name for name, _ in page.images]
    assert len(names) == len(set(names))
    assert "training-sft-loss" in names


def test_the_charts_begin_with_m0(path):
    run = read_run(path)
    accuracy = judge_section(run).charts[0]
    assert list(accuracy.figure["data"][1]["x"]) == NAMES
    assert accuracy.table.rows[0] == ["M0", "not measured", "not measured", "0"]
    assert [row[0] for row in cost_section(run).charts[0].table.rows] == ["seed", *NAMES]


def test_caveats_name_the_file_of_a_comparison_with_a_baseline(tmp_path):
    unparseable = match(HIGH) | {"unparseable": 199}
    run = read_run(with_baselines(tmp_path, **{"m1/vs_sft": unparseable, "m2/vs_m0": unparseable}))
    found = {where: text for where, text in warnings(run) if "199 of 200 prompts" in text}
    assert "m1/vs_sft.jsonl" in found["M1 against SFT baseline"]
    assert "m2/vs_m0.jsonl" in found["M2 against M0"]


def test_two_runs_are_compared_from_m0_on(path, tmp_path):
    both = compare(path, make_run(tmp_path))  # the other run has evaluated neither
    assert list(dict.fromkeys(model for model, _ in both.metrics)) == NAMES
    labels = [row.label for row in main_metrics(both)]
    assert labels[0] == "M0 instructions: prompt-level strict"
    assert "SFT baseline against M0: win rate" in labels
    assert "M1 against SFT baseline: win rate" in labels
