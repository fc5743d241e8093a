"""The report of a run: what is said first, its sections, and the pairs to read."""

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
from srlm.report.render import packaged, render
from srlm.report.samples import read_samples
from srlm.report.training_charts import training_section
from srlm.rows.records import write_text

if TYPE_CHECKING:
    from pathlib import Path

    from srlm.report.chart import Section
    from srlm.report.collect import RunData
    from srlm.report.samples import Samples


def write_report(run_dir: Path, out: Path | None = None, *, samples: int = 2000) -> Path:
    """Write the report of a run, finished or not, and return its path (`RUN_DIR/report.html` unless given).

    `samples` pairs are drawn at random, by the run's seed, for the page's browser.

    Raises:
        InputError: `run_dir` is no run's folder, or holds a file that cannot be read.
    """
    run = read_run(run_dir)
    drawn = read_samples(run, samples)
    sections = run_sections(run, drawn)
    page = render(
        "report.html.jinja",
        scripts=[get_plotlyjs(), packaged("charts.js"), packaged("samples.js")],
        data={"figures": figures(sections), "samples": drawn.pairs},
        run=run,
        headline=findings.headline(run),
        lines=findings.lines(run),
        warnings=findings.warnings(run),
        sections=sections,
        drawn=drawn,
        config_text=yaml.safe_dump(run.config, sort_keys=False, allow_unicode=True),
    )
    file = run_dir / "report.html" if out is None else out
    write_text(file, page)
    return file


def run_sections(run: RunData, drawn: Samples) -> list[Section]:
    """Return the page's sections, in order."""
    return [
        judge_section(run),
        match_section(run),
        instruction_section(run),
        score_section(run),
        flow_section(run, drawn.fates),
        length_section(run),
        training_section(run),
        cost_section(run),
    ]


def figures(sections: list[Section]) -> dict[str, Any]:
    """Return every chart's figure by its id."""
    return {chart.id: chart.figure for section in sections for chart in section.charts}
