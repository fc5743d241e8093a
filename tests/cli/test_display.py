"""The terminal output: one line per stage without a terminal, and the closing table."""

import io
import re

import pytest
from rich.console import Console
from srlm.cli.display import OPTIONAL, ROWS, Display, Rate, closing_table
from srlm.evaluation.paired import write_cases
from srlm.run.run_dir import RunDir

from tests.report_run import cases

JUDGED = [name for name in ROWS if name not in OPTIONAL]


class Fault(Exception):  # noqa: N818
    """An error within a display."""


def plain_console():
    return Console(file=io.StringIO(), force_terminal=False, width=80)


def test_a_line_for_each_stage_without_a_terminal():
    console = plain_console()
    with Display(console) as display:
        display.start("seed", 3)
        display.advance(3)
        display.set_title("m2")
        display.start("prompts", 10, 4)
        display.advance()
        display.advance(2)
        display.note("prompts: gave up [bold]early[/bold] at 7 of 10 after a very long list of attempts, more than fit")
        display.start("candidates", 5)
        display.start("dpo", 9)
        display.advance(9)
        display.start("reference", 3)
        display.start("model owner/name", 1)
        display.say("[red]said[/red]")
    lines = [re.sub(r"\d+\.\d s", "N s", line) for line in console.file.getvalue().split("\n")]
    assert lines == [
        "seed: 3/3 rows, N s",
        "prompts: gave up [bold]early[/bold] at 7 of 10 after a very long list of attempts, more than fit",
        "m2 prompts: 7/10 rows, N s",
        "m2 candidates: 0/5 rows, N s",
        "m2 dpo: 9/9 steps, N s",
        "m2 reference: 0/3 batches, N s",
        "[red]said[/red]",
        "m2 model owner/name: 0/1 models, N s",
        "",
    ]


def test_stages_beside_one_another():
    """Each has a line of its own when it is done, or when another stage starts."""
    console = plain_console()
    with Display(console) as display:
        display.set_title("m2")
        display.start("judge_held_out", 1)
        display.start("prompts", 2)
        display.start("candidates", 4, 1, beside=True)
        display.start("verdicts", 8, beside=True)
        display.advance(1, "prompts")
        display.advance(2, "candidates")
        display.advance(1, "prompts")
        display.advance(3, "verdicts")
        display.advance(1, "candidates")
        display.advance(4)
        display.advance(1, "prompts")  # one that has ended
        display.start("dpo", 1)
    lines = [re.sub(r"\d+\.\d s", "N s", line) for line in console.file.getvalue().split("\n")]
    assert lines == [
        "m2 judge_held_out: 0/1 rows, N s",
        "m2 prompts: 2/2 rows, N s",
        "m2 candidates: 4/4 rows, N s",
        "m2 verdicts: 7/8 rows, N s",
        "m2 dpo: 0/1 steps, N s",
        "",
    ]


def test_progress_is_shown_if_a_stage_fails():
    console = plain_console()
    display = Display(console)

    def work():
        with display:
            display.start("verdicts", 9)
            display.advance(2)
            raise Fault

    with pytest.raises(Fault):
        work()
    assert console.file.getvalue().startswith("verdicts: 2/9 rows, ")
    assert not display._running


def test_nothing_is_shown_without_stages():
    console = plain_console()
    with Display(console) as display:
        display.advance()
    assert console.file.getvalue() == ""


def test_bars_on_a_terminal():
    console = Console(file=io.StringIO(), force_terminal=True, width=120, color_system=None)
    with Display(console) as display:
        display.set_title("m3")
        display.start("verdicts", 8, 2)
        display.advance(3)
    shown = console.file.getvalue()
    assert "m3 verdicts" in shown
    assert "5/8" in shown
    assert "rows/s" in shown
    assert "rows, " not in shown  # the line is for logs


def test_rate_counts_the_rows_of_this_process_only():
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    display = Display(console)
    display.start("verdicts", 100, 90)
    task = display._bars.tasks[0]
    task.start_time = task.get_time() - 2.0
    assert Rate().render(task).plain == "- rows/s"
    display.advance(6)
    rate = float(Rate().render(task).plain.removesuffix(" rows/s"))
    assert rate == pytest.approx(3.0, abs=0.2)


def test_one_bar_moves_at_a_time():
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with Display(console) as display:
        display.start("one", 5)
        display.advance(2)
        display.start("two", 5)
        display.advance(3)
        assert [task.completed for task in display._bars.tasks] == [2, 3]
        assert [task.stop_time is not None for task in display._bars.tasks] == [True, False]


# --- the closing table ------------------------------------------------------------------------------------------------

TRAINING = {"rows": 40, "dropped_too_long": 2, "steps": 5, "train_loss": 1.23456}
NOTHING = {"value": None, "low": None, "high": None, "n": 0}
ACCURACY = {
    "rows": 30,
    "pairwise_accuracy": {"value": 0.70123, "low": 0.5, "high": 0.91, "n": 20},
    "longer_accuracy": {"value": 0.739, "low": None, "high": None, "n": 20},
    "tied": {"value": 0.05, "low": 0.0, "high": 0.1, "n": 20},
    "pairs": 20,
    "pairs_unscored": 0,
    "engine": "vllm",
}
RECORD = {"wins": 5, "ties": 3, "losses": 2, "win_rate": {"value": 0.65, "low": 0.4, "high": 0.86, "n": 10}}
RULES = {"instruction_strict": {"value": 0.25, "low": 0.2, "high": 0.31, "n": 800}}
PAIRS = {
    "rows": 11,
    "drops": {"tied": 3, "too_few_scored": 0, "same_text": 1},
    "prompts": 15,
    "prompts_dropped": {"not_novel": 7, "cut_off": 2},
    "candidates": 60,
    "verdicts": {"scored": 170, "missing": 6, "out_of_range": 3, "conflicting": 1},
    "mean_score": 3.456,
    "mean_length": 120.6,
    "truncated": 4,
}


def make_run(path, entries):
    run = RunDir(path)
    for name, (seconds, result) in entries.items():
        run.finish(name, {"cache_key": "key"}, seconds, result)
    return run


def cells(table):
    """{model: {row: cell}} of a table."""
    names = list(table.columns[0].cells)
    return {column.header: dict(zip(names, column.cells, strict=True)) for column in table.columns[1:]}


@pytest.fixture
def table(tmp_path):
    run = make_run(
        tmp_path / "run",
        {
            "seed/ift": (0.0, {"rows": 30, "left_out": {"held_out": 6, "judge_prompts": 24}}),
            "seed/eft_ranked": (0.0, {"rows": 24, "left_out": {"ift_prompts": 29}}),
            "seed/eft_train": (0.0, {"rows": 1200, "downsampled": 300, "downsampled_score": 4.0}),
            "m1/sft": (60.0, TRAINING),
            "m1/judge_held_out": (30.0, ACCURACY),
            "m2/prompts": (60.0, {"rows": 15, "engine": "vllm"}),
            "m2/candidates": (120.0, {"rows": 60, "engine": "vllm", "failed": {"too_long": 2}, "retries": {"died": 1}}),
            "m2/verdicts": (
                60.0,
                {"rows": 180, "engine": "vllm", "failed": {"too_long": 1}, "retries": {"out_of_memory": 2}},
            ),
            "m2/pairs": (0.0, PAIRS),
            "m2/dpo": (30.0, {**TRAINING, "rows": 11, "dropped_too_long": 0, "train_loss": 0.6931}),
            "m2/judge_held_out": (15.0, {**ACCURACY, "pairwise_accuracy": NOTHING, "longer_accuracy": NOTHING,
                                         "tied": NOTHING, "pairs": 0, "pairs_unscored": 20}),
            "m2/instructions": (5.0, RULES),
            "m2/vs_m1": (10.0, RECORD),
        },
    )  # fmt: skip
    return closing_table(run, 3)


def test_columns_are_the_trained_models(table):
    assert list(cells(table)) == ["M1", "M2"]
    assert list(table.columns[0].cells) == list(JUDGED)


def test_first_model(table):
    first = cells(table)["M1"]
    expected = {
        "trained by": "SFT",
        "IFT examples": "30",
        "IFT examples left out": "6 held out\n24 judge prompts",
        "EFT prompts left to IFT": "29",
        "judge examples": "1200",
        "judge examples left out": "300 of score 4",
        "training rows (dropped)": "40 (2)",
        "train loss": "1.235",
        "failed requests": "0",
        "retried requests": "0",
        "minutes": "1.5",
        "judge accuracy, held-out": "70.1%\n(50% to 91%)",
        "'longer is better', same pairs": "73.9%",
        "judge ties / pairs": "5.0% of 20",
    }
    assert first == {name: expected.get(name, "-") for name in JUDGED}


def test_second_model(table):
    assert cells(table)["M2"] == {
        "trained by": "DPO",
        "IFT examples": "-",
        "IFT examples left out": "-",
        "EFT prompts left to IFT": "-",
        "judge examples": "-",
        "judge examples left out": "-",
        "prompts kept": "15",
        "prompts dropped": "7 not novel\n2 cut off",
        "candidates": "60",
        "candidates truncated": "4",
        "verdicts scored": "170",
        "verdicts missing": "6",
        "verdicts out of range": "3",
        "verdicts conflicting": "1",
        "pairs kept": "11",
        "prompts without a pair": "3 tied\n1 same text",
        "mean score": "3.46",
        "mean answer length (tokens)": "121",
        "judge accuracy, held-out": "-\n(n = 0)",
        "change from previous, same pairs": "-",
        "'longer is better', same pairs": "-",
        "judge ties / pairs": "- of 0 (+20 unscored)",
        "instructions followed (strict)": "25.0%\n(20% to 31%)",
        "change from previous, same prompts": "-",
        "vs. M0: win / tie / loss": "-",
        "vs. SFT: win / tie / loss": "-",
        "vs. M1: win / tie / loss": "5 / 3 / 2\n65.0%\n(40% to 86%)\nnot shown",
        "vs. previous: win / tie / loss": "-",
        "training rows (dropped)": "11 (0)",
        "train loss": "0.693",
        "engine": "vllm",
        "failed requests": "3 too long",
        "retried requests": "1 died\n2 out of memory",
        "minutes": "5.0",
    }


def test_instruction_prompts_without_a_response_are_shown(tmp_path):
    run = make_run(tmp_path, {"m1/sft": (1.0, TRAINING), "m1/instructions": (5.0, {**RULES, "unanswered": 3})})
    first = cells(closing_table(run, 1))["M1"]
    assert first["instructions followed (strict)"] == "25.0%\n(20% to 31%)\n3 unanswered: not followed"


def test_no_reasons_and_no_scores(tmp_path):
    nothing = {**PAIRS, "drops": {"tied": 0}, "prompts_dropped": {}, "mean_score": None}
    run = make_run(tmp_path, {"m1/sft": (1.0, TRAINING), "m2/pairs": (0.0, nothing), "m2/sft": (1.0, TRAINING)})
    second = cells(closing_table(run, 2))["M2"]
    assert second["trained by"] == "SFT"  # positives only
    assert second["prompts dropped"] == second["prompts without a pair"] == "0"
    assert (second["mean score"], second["engine"]) == ("-", "-")


def test_pairs_over_the_cap_are_no_prompts(tmp_path):
    capped = {**PAIRS, "drops": {**PAIRS["drops"], "over_cap": 9}}
    run = make_run(tmp_path, {"m1/sft": (1.0, TRAINING), "m2/pairs": (0.0, capped), "m2/sft": (1.0, TRAINING)})
    second = cells(closing_table(run, 2))["M2"]
    assert second["pairs kept"] == "11 (+9 over cap)"
    assert "cap" not in second["prompts without a pair"]


def test_sampled_pairs_are_counted_beside_those_found(tmp_path):
    run = make_run(
        tmp_path,
        {
            "m1/sft": (1.0, TRAINING),
            "m2/pairs": (0.0, {**PAIRS, "found": 25}),
            "m2/sft": (1.0, TRAINING),
        },
    )
    assert cells(closing_table(run, 2))["M2"]["pairs kept"] == "11 of 25"


def test_pairs_of_judgements(tmp_path):
    judged = {"rows": 7, "drops": {"no_variance": 2, "undecided": 0, "too_long": 1}}
    entries = {
        "m1/sft": (1.0, TRAINING),
        "m2/pairs": (0.0, PAIRS),
        "m2/judgement_pairs": (0.0, judged),
        "m2/dpo": (1.0, TRAINING),
    }
    second = cells(closing_table(make_run(tmp_path, entries), 2))["M2"]
    assert second["pairs of judgements"] == "7"
    assert "2 no variance" in second["no pair of judgements"]


def test_the_previous_model_is_shown_if_it_is_not_m1(tmp_path):
    entries = {f"m{t}/sft": (1.0, TRAINING) for t in (1, 2, 3)}
    entries |= {"m3/vs_m1": (1.0, RECORD), "m3/vs_m2": (1.0, {**RECORD, "wins": 6, "losses": 1})}
    third = cells(closing_table(make_run(tmp_path, entries), 3))["M3"]
    assert third["vs. M1: win / tie / loss"].startswith("5 / 3 / 2")
    assert third["vs. previous: win / tie / loss"].startswith("6 / 3 / 1")


def test_changes_from_the_previous_model(tmp_path):
    entries = {f"m{t}/sft": (1.0, TRAINING) for t in (1, 2, 3)}
    entries |= {f"m{t}/judge_held_out": (1.0, ACCURACY) for t in (1, 2, 3)}
    entries |= {f"m{t}/instructions": (1.0, RULES) for t in (1, 2)}
    run = make_run(tmp_path, entries)
    for t, right in ((1, range(100)), (2, range(120)), (3, range(122))):
        for stage, metric in (("judge_held_out", "pairwise_accuracy"), ("instructions", "instruction_strict")):
            write_cases(run.file(t, f"{stage}.jsonl"), cases(metric, set(right), 200))
    first, second, third = cells(closing_table(run, 3)).values()
    assert first["change from previous, same pairs"] == "-"
    assert second["change from previous, same pairs"].startswith("+10.0 points\n(+6.")
    assert second["change from previous, same pairs"].endswith("\nbetter")
    assert second["change from previous, same prompts"].endswith("\nbetter")
    assert third["change from previous, same pairs"].startswith("+1.0 points")
    assert third["change from previous, same pairs"].endswith("\nnot shown")
    assert third["change from previous, same prompts"] == "-"


def test_the_table_begins_with_m0_and_the_sft_baseline(tmp_path):
    """Models that are measured before M1: the base model has no training, and a judge without a score shows its n."""
    unread = {**ACCURACY, "pairwise_accuracy": NOTHING, "tied": NOTHING, "pairs": 0, "pairs_unscored": 20}
    entries = {
        "m0/judge_held_out": (30.0, unread),
        "m0/answers": (30.0, {"rows": 4}),
        "m0/instructions": (5.0, RULES),
        "sft/sft": (60.0, TRAINING),
        "sft/judge_held_out": (30.0, ACCURACY),
        "m1/sft": (60.0, TRAINING),
        "sft/vs_m0": (1.0, RECORD),
        "m1/vs_m0": (1.0, {**RECORD, "wins": 6, "losses": 1}),
        "m1/vs_sft": (1.0, {**RECORD, "wins": 7, "losses": 0}),
    }
    shown = cells(closing_table(make_run(tmp_path, entries), 3))
    assert list(shown) == ["M0", "SFT", "M1"]
    console = plain_console()
    console.print(closing_table(RunDir(tmp_path), 3))
    lines = console.file.getvalue().split("\n")
    assert max(map(len, lines)) <= 80
    for name in JUDGED:  # the rows keep their names in a terminal of 80 columns
        assert sum(line.split("│")[1].strip() == name for line in lines if "│" in line) == 1
    base, sft, first = shown.values()
    expected = {
        "judge accuracy, held-out": "-\n(n = 0)",
        "'longer is better', same pairs": "73.9%",
        "judge ties / pairs": "- of 0 (+20 unscored)",
        "instructions followed (strict)": "25.0%\n(20% to 31%)",
        "failed requests": "0",
        "retried requests": "0",
        "minutes": "1.1",
    }
    assert base == {name: expected.get(name, "-") for name in JUDGED}
    assert (sft["trained by"], sft["train loss"]) == ("SFT", "1.235")
    assert sft["judge accuracy, held-out"] == "70.1%\n(50% to 91%)"
    assert sft["vs. M0: win / tie / loss"].startswith("5 / 3 / 2")
    assert first["vs. M0: win / tie / loss"].startswith("6 / 3 / 1")
    assert first["vs. SFT: win / tie / loss"].startswith("7 / 3 / 0")


def test_run_without_a_model(tmp_path):
    assert cells(closing_table(RunDir(tmp_path), 3)) == {}


def test_table_prints(table, tmp_path):
    console = plain_console()
    console.print(table)
    shown = console.file.getvalue()
    assert "judge accuracy, held-out" in shown
    assert max(map(len, shown.split("\n"))) <= 80


def test_title_is_not_markup(tmp_path):
    path = tmp_path / "runs[red]"
    path.mkdir()
    console = Console(file=io.StringIO(), width=300)
    console.print(closing_table(RunDir(path), 1))
    assert "runs[red]" in "".join(console.file.getvalue().split())  # a long title is broken


def test_scores_of_another_signal_than_the_judge(tmp_path):
    entries = {
        "m1/sft": (1.0, TRAINING),
        "m2/dpo": (1.0, TRAINING),
        "m2/pairs": (1.0, {**PAIRS, "verdicts": {"scored": 30, "missing": 2}}),
    }
    shown = cells(closing_table(make_run(tmp_path, entries), 2))["M2"]
    assert (shown["answers scored"], shown["answers without a score"]) == ("30", "2")
    assert shown["verdicts scored"] == "-"


def test_implicit_preferences(tmp_path):
    estimate = {"value": 0.6, "low": 0.5, "high": 0.7, "n": 200}
    entries = {f"m{t}/sft": (1.0, TRAINING) for t in (1, 2)}
    entries |= {f"m{t}/implicit_preferences": (1.0, {"log_ratio_per_token": estimate}) for t in (1, 2)}
    entries["m0/implicit_preferences"] = (1.0, {"log_ratio_per_token": NOTHING})
    run = make_run(tmp_path, entries)
    for t, right in ((1, range(100)), (2, range(120))):
        write_cases(run.file(t, "implicit_preferences.jsonl"), cases("log_ratio_per_token", set(right), 200))
    base, first, second = (cells(closing_table(run, 2))[name] for name in ("M0", "M1", "M2"))
    assert base["implicit preferences, held-out"] == "-"
    assert first["implicit preferences, held-out"] == "60.0%\n(50% to 70%)"
    assert first["change from previous, implicit"] == "-"
    assert second["change from previous, implicit"].startswith("+10.0 points")
