"""Compares two runs: the settings in which they differ, and every metric of their models.

The difference is the second run's value minus the first's. Where both runs have results on the same cases (the same
pairs of ranked answers, instructions or held-out prompts), it is measured on these, with an interval and an exact test
(`evaluation.paired`). Other metrics with intervals are compared by whether these overlap. All other differences are not
tested.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from rich.table import Table
from rich.text import Text

from srlm.config.loading import flatten
from srlm.evaluation.estimates import NONE
from srlm.report.changes import change_text, compare_intervals, model_change
from srlm.report.collect import read_run
from srlm.report.findings import headline
from srlm.report.measures import INSTRUCTIONS, JUDGING, MATCH, Metric, judge_group, model_metrics
from srlm.report.render import render
from srlm.report.text import ABSENT, signed, with_interval
from srlm.rows.records import to_json, write_text
from srlm.run.model_names import display_name, training_order

if TYPE_CHECKING:
    from pathlib import Path

    from srlm.evaluation.paired import Change
    from srlm.report.collect import ModelData, RunData
    from srlm.report.text import NumberFormat

UNSET = "not set"
Test = Literal["paired", "unpaired", ""]  # "": not tested
MARKS: dict[Test, str] = {"paired": "*", "unpaired": "†", "": ""}
# The metrics that show whether a model improved, listed before all others.
MAIN = {
    (judge_group("held_out"), JUDGING["pairwise_accuracy"][0]),
    ("instructions", INSTRUCTIONS["prompt_strict"][0]),
}


@dataclass(frozen=True, slots=True)
class Row:
    """A setting or metric of both runs, as text; `significant` if a difference is shown, by the `test`."""

    label: str
    first: str
    second: str
    difference: str
    significant: bool
    test: Test = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs, the settings in which they differ, and their metrics by (model, group)."""

    first: RunData
    second: RunData
    settings: list[Row]
    metrics: dict[tuple[str, str], list[Row]]


def compare(run_a: Path, run_b: Path) -> Comparison:
    """Read two runs and compare them.

    Raises:
        InputError: one of them is not a run directory, or one of its files cannot be read.
    """
    first, second = read_run(run_a), read_run(run_b)
    metrics: dict[tuple[str, str], list[Row]] = {}
    for key in sorted({model.key for run in (first, second) for model in run.models}, key=training_order):
        for group, row in _model_rows(first.model(key), second.model(key)):
            metrics.setdefault((display_name(key), group), []).append(row)
    return Comparison(first, second, _settings(first, second), metrics)


def main_metrics(both: Comparison) -> list[Row]:
    """Return the metrics that show whether a model improved, labelled with the model's name."""
    rows = []
    for (model, group), group_rows in both.metrics.items():
        for row in group_rows:
            if (group, row.label) in MAIN or (" against " in group and row.label == MATCH["win_rate"][0]):
                name = group if group.startswith(model) else f"{model} {group}"
                rows.append(replace(row, label=f"{name}: {row.label}"))
    return rows


def write_comparison(run_a: Path, run_b: Path, out: Path) -> Path:
    """Write the page that compares two runs, and return its path.

    Raises:
        InputError: see `compare`.
    """
    both = compare(run_a, run_b)
    page = render(
        "compare.html.jinja",
        scripts=[],
        data={},
        both=both,
        key=key_text(both),
        marks=MARKS,
        headlines=[(run, headline(run)) for run in (both.first, both.second)],
        main=main_metrics(both),
        paths=(str(run_a), str(run_b)),
    )
    write_text(out, page)
    return out


def comparison_table(run_a: Path, run_b: Path) -> Table:
    """Return the comparison as a table for the terminal; marks show which differences are shown, and how.

    Raises:
        InputError: see `compare`.
    """
    both = compare(run_a, run_b)
    table = Table(caption=Text(key_text(both)))
    table.add_column("")
    for path in (run_a, run_b):
        table.add_column(Text(str(path)), justify="right")
    table.add_column("difference", justify="right")
    _add_rows(table, "settings that differ", both.settings)
    _add_rows(table, "main metrics", main_metrics(both))
    for (model, group), rows in both.metrics.items():
        _add_rows(table, f"{model}: {group}", rows)
    return table


def key_text(both: Comparison) -> str:
    """Return what the marks mean, how many differences were tested, and how."""
    rows = [row for rows in both.metrics.values() for row in rows]
    paired, unpaired = (sum(row.test == test for row in rows) for test in ("paired", "unpaired"))
    return (
        f"* shown on the same cases (paired: 95 % interval without 0, exact test p < 0.05; {paired} tested); "
        f"† shown by 95 % intervals that do not overlap (unpaired; {unpaired} tested). Other differences are not "
        "shown. Without any true difference up to 5 % of those tested get a mark by chance."
    )


def _add_rows(table: Table, title: str, rows: list[Row]) -> None:
    table.add_section()
    table.add_row(Text(title, style="bold"), *([""] * 3))
    if not rows:
        table.add_row(Text("None", style="dim"), *([""] * 3))
    for row in rows:
        mark = f" {MARKS[row.test]}" if row.significant else ""
        table.add_row(*(Text(cell) for cell in (row.label, row.first, row.second, row.difference + mark)))


def _settings(first: RunData, second: RunData) -> list[Row]:
    one, two = flatten(first.config), flatten(second.config)
    keys = [key for key in dict.fromkeys([*one, *two]) if key not in one or key not in two or one[key] != two[key]]
    return [Row(key, _setting(one, key), _setting(two, key), "", significant=False) for key in keys]


def _setting(config: dict[str, Any], key: str) -> str:
    if key not in config:
        return UNSET
    return config[key] if isinstance(config[key], str) else to_json(config[key])


def _model_rows(first: ModelData | None, second: ModelData | None) -> list[tuple[str, Row]]:
    metrics_a, metrics_b = _by_label(first), _by_label(second)
    rows = []
    for key in _merged_keys(list(metrics_a), list(metrics_b)):
        metric_a, metric_b = metrics_a.get(key), metrics_b.get(key)
        known = metric_a or metrics_b[key]
        both = [metric or replace(known, found=NONE, prompts=0) for metric in (metric_a, metric_b)]
        rows.append((key[0], _row(both[0], both[1], model_change(second, first, known.stage, known.key))))
    return rows


def _merged_keys(first: list[tuple[str, str]], second: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the keys of both; within a group, keys that only the second has come last."""
    keys = dict.fromkeys([*first, *second])
    groups = list(dict.fromkeys(group for group, _ in keys))
    return sorted(keys, key=lambda key: groups.index(key[0]))


def _by_label(model: ModelData | None) -> dict[tuple[str, str], Metric]:
    return {(metric.group, metric.label): metric for metric in model_metrics(model)} if model else {}


def _row(first: Metric, second: Metric, change: Change | None) -> Row:
    """Return the row of a metric, given its change on the cases of both runs, if they have the same."""
    one, two, fmt = first.found, second.found, first.fmt
    text, shown = difference(one.value, two.value, fmt), False
    test: Test = ""
    if change is not None:
        text, test, shown = change_text(change.difference, fmt), "paired", change.outcome in ("better", "worse")
    elif None not in (one.low, one.high, two.low, two.high):
        outcome = compare_intervals(two, one, prompts=min(first.prompts, second.prompts))
        test, shown = "unpaired", outcome in ("better", "worse")
    return Row(
        label=first.label,
        first=with_interval(one, fmt),
        second=with_interval(two, fmt),
        difference=text,
        significant=shown,
        test=test,
    )


def difference(first: float | None, second: float | None, fmt: NumberFormat) -> str:
    """Return `second` minus `first` with its sign; for percentages, in percentage points."""
    return ABSENT if first is None or second is None else signed(second - first, fmt)
