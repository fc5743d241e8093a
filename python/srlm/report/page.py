"""The HTML report of a run: the summary, the sections of charts, and the browser of preference pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml
from plotly.offline import get_plotlyjs

from srlm.report import findings
from srlm.report.collect import read_run
from srlm.report.cost_charts import cost_section
from srlm.report.data_charts import flow_section, length_section, score_section
from srlm.report.judge_charts import judge_section
from srlm.report.match_charts import instruction_section, match_section
from srlm.report.render import read_template, render
from srlm.report.samples import read_samples
from srlm.report.training_charts import training_section
from srlm.rows.records import write_text

if TYPE_CHECKING:
    from pathlib import Path

    from srlm.report.chart import Section
    from srlm.report.collect import RunData
    from srlm.report.samples import Samples


def write_report(run_dir: Path, out: Path | None = None, *, samples: int = 2000) -> Path:
    """Write the report of a run, finished or not, and return its path (default: `RUN_DIR/report.html`).

    The page's browser shows `samples` pairs, sampled at random with the run's seed.

    Raises:
        InputError: `run_dir` is not a run directory, or one of its files cannot be read.
    """
    run = read_run(run_dir)
    sampled = read_samples(run, samples)
    sections = run_sections(run, sampled)
    page = render(
        "report.html.jinja",
        scripts=[get_plotlyjs(), read_template("charts.js"), read_template("samples.js")],
        data={"figures": figures(sections), "samples": sampled.pairs},
        run=run,
        headline=findings.headline(run),
        summary=findings.summary_rows(run),
        warnings=findings.warnings(run),
        sections=sections,
        samples=sampled,
        config_text=yaml.safe_dump(run.config, sort_keys=False, allow_unicode=True),
    )
    file = report_file(run_dir) if out is None else out
    write_text(file, page)
    return file


def report_file(run_dir: Path) -> Path:
    """Return the default path of a run's report."""
    return run_dir / "report.html"


def run_sections(run: RunData, samples: Samples) -> list[Section]:
    """Return the page's sections, in order."""
    return [
        judge_section(run),
        match_section(run),
        instruction_section(run),
        score_section(run),
        flow_section(run, samples.outcomes),
        length_section(run),
        training_section(run),
        cost_section(run),
    ]


def figures(sections: list[Section]) -> dict[str, Any]:
    """Return the plotly figure of every chart by the chart's id."""
    return {chart.id: chart.figure for section in sections for chart in section.charts}
