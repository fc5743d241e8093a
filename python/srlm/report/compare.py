"""Compares two runs: the settings in which they differ, and every metric of their models.

The difference is the second run's value minus the first's. It is marked as significant if both have intervals and
these do not overlap; other differences may be chance.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from srlm.config.loading import flatten
from srlm.evaluation.estimates import NONE
from srlm.report.collect import read_run
from srlm.report.findings import compare_intervals, headline
from srlm.report.measures import INSTRUCTIONS, JUDGING, MATCH, Metric, judge_group, model_metrics
from srlm.report.render import render
from srlm.report.text import ABSENT, format_number, with_interval
from srlm.rows.records import to_json, write_text

if TYPE_CHECKING:
    from pathlib import Path

    from srlm.evaluation.estimates import Estimate
    from srlm.report.collect import ModelData, RunData
    from srlm.report.text import NumberFormat

UNSET = "not set"
# The metrics that show whether a model improved, listed before all others.
MAIN = {
    (judge_group("held_out"), JUDGING["pairwise_accuracy"][0]),
    ("instructions", INSTRUCTIONS["prompt_strict"][0]),
}


@dataclass(frozen=True, slots=True)
class Row:
    """A setting or metric of both runs, as text; `significant` if the intervals do not overlap."""

    label: str
    first: str
    second: str
    difference: str
    significant: bool


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
    for t in sorted({model.t for run in (first, second) for model in run.models}):
        for group, row in _model_rows(first.model(t), second.model(t)):
            metrics.setdefault((f"M{t}", group), []).append(row)
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
        headlines=[(run, headline(run)) for run in (both.first, both.second)],
        main=main_metrics(both),
        paths=(str(run_a), str(run_b)),
    )
    write_text(out, page)
    return out


def comparison_table(run_a: Path, run_b: Path) -> Table:
    """Return the comparison as a table for the terminal; `*` marks intervals that do not overlap.

    Raises:
        InputError: see `compare`.
    """
    both = compare(run_a, run_b)
    table = Table(caption=Text("* the 95 % intervals do not overlap; other differences may be chance"))
    table.add_column("")
    for path in (run_a, run_b):
        table.add_column(Text(str(path)), justify="right")
    table.add_column("difference", justify="right")
    _add_rows(table, "settings that differ", both.settings)
    _add_rows(table, "main metrics", main_metrics(both))
    for (model, group), rows in both.metrics.items():
        _add_rows(table, f"{model}: {group}", rows)
    return table


def _add_rows(table: Table, title: str, rows: list[Row]) -> None:
    table.add_section()
    table.add_row(Text(title, style="bold"), *([""] * 3))
    if not rows:
        table.add_row(Text("None", style="dim"), *([""] * 3))
    for row in rows:
        mark = " *" if row.significant else ""
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
        first_found, second_found = (NONE if metric is None else metric.found for metric in (metric_a, metric_b))
        rows.append((key[0], _row(known, first_found, second_found)))
    return rows


def _merged_keys(first: list[tuple[str, str]], second: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the keys of both; within a group, keys that only the second has come last."""
    keys = dict.fromkeys([*first, *second])
    groups = list(dict.fromkeys(group for group, _ in keys))
    return sorted(keys, key=lambda key: groups.index(key[0]))


def _by_label(model: ModelData | None) -> dict[tuple[str, str], Metric]:
    return {(metric.group, metric.label): metric for metric in model_metrics(model)} if model else {}


def _row(known: Metric, first: Estimate, second: Estimate) -> Row:
    return Row(
        label=known.label,
        first=with_interval(first, known.fmt),
        second=with_interval(second, known.fmt),
        difference=difference(first.value, second.value, known.fmt),
        significant=compare_intervals(second, first) in ("better", "worse"),
    )


def difference(first: float | None, second: float | None, fmt: NumberFormat) -> str:
    """Return `second` minus `first` with its sign; for percentages, in percentage points."""
    if first is None or second is None:
        return ABSENT
    change = second - first
    text = format_number(abs(change), fmt).replace(" %", " points")
    return f"{'-' if change < 0 else '+'}{text}" if text.strip("0. spoint") else "0"
