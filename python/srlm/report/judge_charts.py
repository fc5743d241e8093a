"""Charts of judge quality: agreement with humans, the length baseline ("the longer answer is better"), and more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

from srlm.report.chart import (
    ACCENT,
    INK,
    MUTED,
    Chart,
    Section,
    Table,
    build_figure,
    error_bars,
    escape,
    reference_line,
)
from srlm.report.collect import estimate
from srlm.report.measures import JUDGING, any_estimate, set_name
from srlm.report.text import ABSENT, format_number, humanize, with_interval

if TYPE_CHECKING:
    from srlm.evaluation.estimates import Estimate
    from srlm.report.collect import ModelData, RunData

SMALL_CHARTS = ("spearman", "kendall", "exact_match", "five_best", "tied", "parse_rate", "length_spearman")


def judge_section(run: RunData) -> Section:
    """Return the section on judge quality: per set of ranked answers an accuracy chart and a table of all metrics."""
    names = _set_names(run)
    return Section(
        id="judging",
        title="Judge quality",
        intro="Each model scores answers that humans have ranked, and its scores are compared with the human ranking. "
        "The length baseline always prefers the longer answer: a judge that is not above it on the same pairs may only "
        "be measuring length. Error bars, and the band around human-human agreement, are 95 % intervals over prompts.",
        groups=[
            ("", [_accuracy_chart(run, name, index) for index, name in enumerate(names)]),
            ("", [chart for metric in SMALL_CHARTS if (chart := _small_chart(run, names, metric))]),
        ],
        tables=[(f"All metrics: {set_name(name)}", _table(run, name)) for name in names],
    )


def _set_names(run: RunData) -> list[str]:
    return list(dict.fromkeys(name for model in run.models for name in model.judging))


def _judges(run: RunData, name: str) -> list[tuple[ModelData, dict[str, Any]]]:
    return [(model, model.judging[name]) for model in run.models if name in model.judging]


def _accuracy_chart(run: RunData, name: str, index: int) -> Chart:
    judges = _judges(run, name)
    models = [model.name for model, _ in judges]
    accuracy = [estimate(entry, "pairwise_accuracy") for _, entry in judges]
    longer = [estimate(entry, "longer_accuracy") for _, entry in judges]
    human = next((found for _, entry in judges if (found := estimate(entry, "human_agreement")).value), None)
    traces = [
        go.Scatter(
            x=models,
            y=[one.value for one in longer],
            name="length baseline",
            mode="markers",
            marker={"symbol": "line-ew-open", "size": 18, "color": MUTED, "line": {"width": 2}},
            **error_bars(longer, MUTED),
        ),
        go.Scatter(
            x=models,
            y=[one.value for one in accuracy],
            name="pairwise accuracy",
            mode="lines+markers",
            marker={"size": 9, "color": ACCENT},
            line={"color": ACCENT, "width": 1},
            **error_bars(accuracy, ACCENT),
        ),
    ]
    lines = _reference_lines(human)
    shown = build_figure(
        traces,
        yaxis={"tickformat": ".0%", "range": _axis_range([*accuracy, *longer, *([human] if human else [])])},
        scattermode="group",
        scattergap=0.7,
        **lines,
    )
    return Chart(
        id=f"judge-set-{index}",
        title=f"Pairwise accuracy: {set_name(name)}",
        message=_accuracy_message(models, accuracy, longer, human),
        figure=shown,
        table=Table(
            ["model", "pairwise accuracy", "length baseline", "pairs"],
            [
                [m, with_interval(a), with_interval(b), format_number(a.n, "count")]
                for m, a, b in zip(models, accuracy, longer, strict=True)
            ],
        ),
    )


def _reference_lines(human: Estimate | None) -> dict[str, Any]:
    even = reference_line(0.5)
    if human is None or human.value is None:
        return even
    ceiling = reference_line(human.value, f"humans {human.value:.0%}", colour=INK)
    ceiling["shapes"] += _band(human)
    return {key: even[key] + ceiling[key] for key in even}


def _band(found: Estimate) -> list[dict[str, Any]]:
    """Return the shape of an interval as a horizontal band behind the traces."""
    if found.low is None or found.high is None:
        return []
    across = {"xref": "paper", "x0": 0, "x1": 1, "y0": found.low, "y1": found.high}
    return [{"type": "rect", **across, "fillcolor": "var(--drop)", "line": {"width": 0}, "layer": "below"}]


def _axis_range(shown: list[Estimate]) -> list[float]:
    found = [0.5, *(bound for one in shown for bound in (one.low, one.high, one.value) if bound is not None)]
    return [max(0.0, min(found) - 0.05), min(1.04, max(found) + 0.07)]


def _accuracy_message(
    models: list[str], accuracy: list[Estimate], longer: list[Estimate], human: Estimate | None
) -> str:
    parts = [
        f"{model} {with_interval(one)}, length baseline {with_interval(two)}"
        for model, one, two in zip(models, accuracy, longer, strict=True)
    ]
    ceiling = f"; human-human agreement {with_interval(human)}" if human else ""
    return f"Share of pairs in which the judge agrees with the humans: {'; '.join(parts)}{ceiling}."


def _small_chart(run: RunData, names: list[str], metric: str) -> Chart | None:
    label, fmt = JUDGING[metric]
    rows, traces = [], []
    for index, name in enumerate(names):
        found = [(model.name, estimate(entry, metric)) for model, entry in _judges(run, name)]
        found = [(model, one) for model, one in found if one.value is not None]
        if not found:
            continue
        rows += [[model, set_name(name), with_interval(one, fmt)] for model, one in found]
        traces.append(_trace(index, name, found))
    if not traces:
        return None
    return Chart(
        id=f"judge-{metric}",
        title=label[0].upper() + label[1:],
        message=f"{label[0].upper() + label[1:]}: " + "; ".join(f"{row[0]} on {row[1]} {row[2]}" for row in rows) + ".",
        figure=build_figure(
            traces,
            height=200,
            yaxis={"tickformat": ".0%" if fmt == "percent" else ".2f"},
            scattermode="group",
            scattergap=0.7,
        ),
        table=Table(["model", "set", label], rows),
    )


def _trace(index: int, name: str, found: list[tuple[str, Estimate]]) -> go.Scatter:
    colour, symbol = [(ACCENT, "circle"), (MUTED, "diamond"), (INK, "square")][index % 3]
    return go.Scatter(
        x=[model for model, _ in found],
        y=[one.value for _, one in found],
        name=escape(set_name(name)),
        mode="lines+markers",
        marker={"color": colour, "size": 7, "symbol": symbol},
        line={"color": colour, "width": 1},
        **error_bars([one for _, one in found], colour),
    )


def _table(run: RunData, name: str) -> Table:
    judges = _judges(run, name)
    rows = []
    for key, (label, fmt) in JUDGING.items():
        found = [any_estimate(entry, key) for _, entry in judges]
        if any(one.value is not None for one in found):
            rows.append([label, *(ABSENT if one.value is None else with_interval(one, fmt) for one in found)])
    for kind in dict.fromkeys(kind for _, entry in judges for kind in entry.get("outcomes") or {}):
        counts = [(entry.get("outcomes") or {}).get(kind) for _, entry in judges]
        rows.append([f"verdicts {humanize(kind)}", *(format_number(count, "count") for count in counts)])
    return Table(["", *(model.name for model, _ in judges)], rows)
