"""Two runs side by side: the settings in which they differ, and every figure of their models.

The difference is the second run's figure less the first's. It is marked where both have intervals and these do not
overlap; the rest may be chance.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from srlm.config.loading import flatten
from srlm.evaluation.estimates import NONE
from srlm.report.collect import read_run
from srlm.report.findings import apart, headline
from srlm.report.measures import INSTRUCTIONS, JUDGING, MATCH, Figure, model_figures
from srlm.report.render import render
from srlm.report.text import ABSENT, figure, with_interval
from srlm.rows.records import to_json, write_text

if TYPE_CHECKING:
    from pathlib import Path

    from srlm.evaluation.estimates import Estimate
    from srlm.report.collect import ModelData, RunData
    from srlm.report.text import Form

UNSET = "not set"
# The figures that tell whether a run got better, put before the others.
MAIN = {
    ("as a judge, held out", JUDGING["pairwise_accuracy"][0]),
    ("instructions", INSTRUCTIONS["prompt_strict"][0]),
}


@dataclass(frozen=True, slots=True)
class Row:
    """A setting or figure of both runs, as text; `apart` where the intervals do not overlap."""

    label: str
    first: str
    second: str
    difference: str
    apart: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """All that differs between two runs: settings, then figures by (model, group)."""

    first: RunData
    second: RunData
    settings: list[Row]
    figures: dict[tuple[str, str], list[Row]]


def compare(run_a: Path, run_b: Path) -> Comparison:
    """Read two runs and set them side by side.

    Raises:
        InputError: one of them is no run's folder, or holds a file that cannot be read.
    """
    first, second = read_run(run_a), read_run(run_b)
    figures: dict[tuple[str, str], list[Row]] = {}
    for t in sorted({model.t for run in (first, second) for model in run.models}):
        for group, row in _model_rows(first.model(t), second.model(t)):
            figures.setdefault((f"M{t}", group), []).append(row)
    return Comparison(first, second, _settings(first, second), figures)


def main_figures(both: Comparison) -> list[Row]:
    """Return the figures that tell whether a run got better, each named with its model."""
    rows = []
    for (model, group), figures in both.figures.items():
        for row in figures:
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
        main=main_figures(both),
        paths=(str(run_a), str(run_b)),
    )
    write_text(out, page)
    return out


def comparison_table(run_a: Path, run_b: Path) -> Table:
    """Return the comparison for the terminal; a `*` marks intervals that do not overlap.

    Raises:
        InputError: see `compare`.
    """
    both = compare(run_a, run_b)
    table = Table(caption=Text("* the 95 % intervals do not overlap; the other differences may be chance"))
    table.add_column("")
    for path in (run_a, run_b):
        table.add_column(Text(str(path)), justify="right")
    table.add_column("difference", justify="right")
    _add(table, "settings that differ", both.settings)
    _add(table, "main figures", main_figures(both))
    for (model, group), rows in both.figures.items():
        _add(table, f"{model}: {group}", rows)
    return table


def _add(table: Table, title: str, rows: list[Row]) -> None:
    table.add_section()
    table.add_row(Text(title, style="bold"), *([""] * 3))
    if not rows:
        table.add_row(Text("None", style="dim"), *([""] * 3))
    for row in rows:
        mark = " *" if row.apart else ""
        table.add_row(*(Text(cell) for cell in (row.label, row.first, row.second, row.difference + mark)))


def _settings(first: RunData, second: RunData) -> list[Row]:
    one, two = flatten(first.config), flatten(second.config)
    keys = [key for key in dict.fromkeys([*one, *two]) if key not in one or key not in two or one[key] != two[key]]
    return [Row(key, _setting(one, key), _setting(two, key), "", apart=False) for key in keys]


def _setting(config: dict[str, Any], key: str) -> str:
    if key not in config:
        return UNSET
    return config[key] if isinstance(config[key], str) else to_json(config[key])


def _model_rows(first: ModelData | None, second: ModelData | None) -> list[tuple[str, Row]]:
    one, two = _by_label(first), _by_label(second)
    rows = []
    for key in _merged(list(one), list(two)):
        known = one.get(key) or two[key]
        rows.append(
            (key[0], _row(known, one[key].found if key in one else NONE, two[key].found if key in two else NONE))
        )
    return rows


def _merged(first: list[tuple[str, str]], second: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the keys of both, those that only the second has behind the others of their group."""
    keys = dict.fromkeys([*first, *second])
    groups = list(dict.fromkeys(group for group, _ in keys))
    return sorted(keys, key=lambda key: groups.index(key[0]))


def _by_label(model: ModelData | None) -> dict[tuple[str, str], Figure]:
    return {(one.group, one.label): one for one in model_figures(model)} if model else {}


def _row(known: Figure, first: Estimate, second: Estimate) -> Row:
    return Row(
        label=known.label,
        first=with_interval(first, known.form),
        second=with_interval(second, known.form),
        difference=difference(first.value, second.value, known.form),
        apart=apart(second, first) in ("better", "worse"),
    )


def difference(first: float | None, second: float | None, form: Form) -> str:
    """Return `second` less `first` with its sign, that of shares in points."""
    if first is None or second is None:
        return ABSENT
    change = second - first
    text = figure(abs(change), form).replace(" %", " points")
    return f"{'-' if change < 0 else '+'}{text}" if text.strip("0. spoint") else "0"
