"""The summary over seeds as a table for the terminal and as an HTML page, with a block of rows per measure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from srlm.evaluation.seeds_conclusion import points
from srlm.report.render import render
from srlm.report.text import ABSENT
from srlm.rows.records import write_text
from srlm.run.model_names import BASE, display_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

# The measures of the summary (`seeds_summary.MEASURES`) in the table.
LABELS = {
    "judge_accuracy": "judge accuracy, held-out",
    "instructions_followed": "prompts followed (strict)",
    "win_rate": "win rate against M0",
    "implicit_preferences": "implicit preferences, held-out",
}
PAIRS = "training pairs"
KEY = (
    "Mean over the seeds, with its range, and from three seeds on the standard deviation (sd). Changes are paired: the "
    "same prompts in the same seed. Their 95 % intervals resample prompts, so they hold for these seeds. At equal "
    "length: prompts whose two responses differ by at most a quarter in length, n cases in all seeds."
)


@dataclass(frozen=True, slots=True)
class Block:
    """The rows of one measure: a label and one cell per model, lines separated by line feeds."""

    title: str
    rows: list[tuple[str, list[str]]]


def models(summary: Mapping[str, Any]) -> list[str]:
    """Return the names of the models of a summary: its columns."""
    return [BASE, *summary["trained"]]


def blocks(summary: Mapping[str, Any]) -> list[Block]:
    """Return the rows of a summary (`seeds_summary.summarize`), without those that are empty for all models."""
    names = models(summary)
    pairs = [summary["pairs"].get(name, {}) for name in names]
    counts = [(f"{who}, by seed", [_counts(pair.get(who)) for pair in pairs]) for who in ("run", "control")]
    found = [Block(PAIRS, _not_empty(counts))]
    for key, results in summary["measures"].items():
        found.append(Block(LABELS[key], _measure_rows([results.get(name, {}) for name in names])))
    return [block for block in found if block.rows]


def summary_table(path: Path, summary: Mapping[str, Any]) -> Table:
    """Return the table of a summary for the terminal: one column per model."""
    table = Table(title=Text(f"{path}: {seeds_text(summary)}", style="bold"))
    table.add_column("", no_wrap=True)  # in a narrow terminal, the numbers wrap between words
    for name in models(summary):
        table.add_column(display_name(name), justify="right", overflow="fold")
    for block in blocks(summary):
        table.add_section()
        table.add_row(Text(block.title, style="bold"))
        for label, cells in block.rows:
            table.add_row(f"  {label}", *cells)
    return table


def write_seeds_report(path: Path, summary: Mapping[str, Any], runs: Sequence[str], out: Path | None = None) -> Path:
    """Write the page of a summary, and return its path (default: `RUN_DIR/report.html`).

    It links to the reports of `runs`, the names of their directories.
    """
    reports = [(name, f"{name}/report.html") for name in runs]
    page = render(
        "seeds.html.jinja",
        scripts=[],
        data={},
        name=path.absolute().name,
        over=seeds_text(summary),
        summary=summary,
        models=[display_name(name) for name in models(summary)],
        blocks=blocks(summary),
        links=reports if out is None else [(name, (path / file).absolute().as_uri()) for name, file in reports],
        key=KEY,
    )
    file = path / "report.html" if out is None else out
    write_text(file, page)
    return file


def seeds_text(summary: Mapping[str, Any]) -> str:
    """Return which seeds a summary is over."""
    seeds = summary["seeds"]
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {seeds[0]} to {seeds[-1]}"


def _measure_rows(of_models: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    rows = []
    for who, prefix in (("run", ""), ("control", "control: ")):
        found = [model.get(who, {}) for model in of_models]
        rows += [
            (f"{prefix}mean", [_result(each.get("result")) for each in found]),
            (f"{prefix}change from M0", [_change(each.get("change")) for each in found]),
            (f"{prefix}at equal length", [_change(each.get("change_at_equal_length"), cases=True) for each in found]),
        ]
    rows.append(("run minus control", [_change(model.get("run_minus_control")) for model in of_models]))
    return _not_empty(rows)


def _not_empty(rows: list[tuple[str, list[str]]]) -> list[tuple[str, list[str]]]:
    return [(label, cells) for label, cells in rows if any(cell != ABSENT for cell in cells)]


def _counts(by_seed: Mapping[str, int] | None) -> str:
    return ", ".join(str(count) for count in by_seed.values()) if by_seed else ABSENT


def _result(spread: Mapping[str, Any] | None) -> str:
    """Format the mean over seeds, its range, and its standard deviation where it has one."""
    if spread is None:
        return ABSENT
    if len(spread["by_seed"]) == 1:
        return f"{spread['mean']:.1%}"
    deviation = "" if spread["deviation"] is None else f"\nsd {100 * spread['deviation']:.1f}"
    return f"{spread['mean']:.1%}\n{spread['low']:.1%} to {spread['high']:.1%}{deviation}"


def _change(change: Mapping[str, Any] | None, *, cases: bool = False) -> str:
    """Format a change in points with its interval over prompts, and whether it is shown."""
    if change is None or change["difference"]["value"] is None:
        return ABSENT
    value, low, high, n = (change["difference"][name] for name in ("value", "low", "high", "n"))
    bounds = "" if low is None or high is None else f"\n({points(low)} to {points(high)})"
    counted = f"\nn = {n}" if cases else ""
    shown = change["outcome"] if change["outcome"] in ("better", "worse") else "not shown"
    return f"{points(value)} points{bounds}{counted}\n{shown}"
