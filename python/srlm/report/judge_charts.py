"""How each model judges: agreement with humans beside "the longer answer is better", and what else was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

from srlm.report.chart import ACCENT, INK, MUTED, Chart, Section, Table, bars, level, plain, safe
from srlm.report.collect import estimate
from srlm.report.measures import JUDGING, any_estimate, set_name
from srlm.report.text import ABSENT, figure, with_interval, words

if TYPE_CHECKING:
    from srlm.evaluation.estimates import Estimate
    from srlm.report.collect import ModelData, RunData

SMALL = ("spearman", "kendall", "exact_match", "five_best", "tied", "parse_rate", "length_spearman")


def judge_section(run: RunData) -> Section:
    """Return the section on judging, a chart of accuracy for every set and one table of all figures for each."""
    names = _sets(run)
    return Section(
        id="judging",
        title="As a judge",
        intro="Each model scores answers that humans have ranked, and its scores are held against their order. A judge "
        "that is not above 'the longer answer is better' on the same pairs has shown nothing but a taste for length. "
        "Bars, and the band of the humans, are 95 % intervals over prompts.",
        groups=[
            ("", [_accuracy(run, name, place) for place, name in enumerate(names)]),
            ("", [chart for metric in SMALL if (chart := _small(run, names, metric))]),
        ],
        tables=[(f"All figures: {set_name(name)}", _table(run, name)) for name in names],
    )


def _sets(run: RunData) -> list[str]:
    return list(dict.fromkeys(name for model in run.models for name in model.judging))


def _judges(run: RunData, name: str) -> list[tuple[ModelData, dict[str, Any]]]:
    return [(model, model.judging[name]) for model in run.models if name in model.judging]


def _accuracy(run: RunData, name: str, place: int) -> Chart:
    judges = _judges(run, name)
    models = [model.name for model, _ in judges]
    accuracy = [estimate(entry, "pairwise_accuracy") for _, entry in judges]
    longer = [estimate(entry, "longer_accuracy") for _, entry in judges]
    human = next((found for _, entry in judges if (found := estimate(entry, "human_agreement")).value), None)
    traces = [
        go.Scatter(
            x=models,
            y=[one.value for one in longer],
            name="longer is better",
            mode="markers",
            marker={"symbol": "line-ew-open", "size": 18, "color": MUTED, "line": {"width": 2}},
            **bars(longer, MUTED),
        ),
        go.Scatter(
            x=models,
            y=[one.value for one in accuracy],
            name="pairwise accuracy",
            mode="lines+markers",
            marker={"size": 9, "color": ACCENT},
            line={"color": ACCENT, "width": 1},
            **bars(accuracy, ACCENT),
        ),
    ]
    lines = _levels(human)
    shown = plain(
        traces,
        yaxis={"tickformat": ".0%", "range": _span([*accuracy, *longer, *([human] if human else [])])},
        scattermode="group",
        scattergap=0.7,
        **lines,
    )
    return Chart(
        id=f"judge-set-{place}",
        title=f"Pairwise accuracy: {set_name(name)}",
        message=_accuracy_message(models, accuracy, longer, human),
        figure=shown,
        table=Table(
            ["model", "pairwise accuracy", "longer is better", "pairs"],
            [
                [m, with_interval(a), with_interval(b), figure(a.n, "count")]
                for m, a, b in zip(models, accuracy, longer, strict=True)
            ],
        ),
    )


def _levels(human: Estimate | None) -> dict[str, Any]:
    even = level(0.5)
    if human is None or human.value is None:
        return even
    ceiling = level(human.value, f"humans {human.value:.0%}", colour=INK)
    ceiling["shapes"] += _band(human)
    return {key: even[key] + ceiling[key] for key in even}


def _band(found: Estimate) -> list[dict[str, Any]]:
    """An interval across the plot, behind all else."""
    if found.low is None or found.high is None:
        return []
    across = {"xref": "paper", "x0": 0, "x1": 1, "y0": found.low, "y1": found.high}
    return [{"type": "rect", **across, "fillcolor": "var(--drop)", "line": {"width": 0}, "layer": "below"}]


def _span(shown: list[Estimate]) -> list[float]:
    found = [0.5, *(bound for one in shown for bound in (one.low, one.high, one.value) if bound is not None)]
    return [max(0.0, min(found) - 0.05), min(1.04, max(found) + 0.07)]


def _accuracy_message(
    models: list[str], accuracy: list[Estimate], longer: list[Estimate], human: Estimate | None
) -> str:
    said = [
        f"{model} {with_interval(one)}, longer is better {with_interval(two)}"
        for model, one, two in zip(models, accuracy, longer, strict=True)
    ]
    ceiling = f"; humans among themselves {with_interval(human)}" if human else ""
    return f"Share of pairs judged as the humans do: {'; '.join(said)}{ceiling}."


def _small(run: RunData, names: list[str], metric: str) -> Chart | None:
    label, form = JUDGING[metric]
    rows, traces = [], []
    for place, name in enumerate(names):
        found = [(model.name, estimate(entry, metric)) for model, entry in _judges(run, name)]
        found = [(model, one) for model, one in found if one.value is not None]
        if not found:
            continue
        rows += [[model, set_name(name), with_interval(one, form)] for model, one in found]
        traces.append(_line(place, name, found))
    if not traces:
        return None
    return Chart(
        id=f"judge-{metric}",
        title=label[0].upper() + label[1:],
        message=f"{label[0].upper() + label[1:]}: " + "; ".join(f"{row[0]} on {row[1]} {row[2]}" for row in rows) + ".",
        figure=plain(
            traces,
            height=200,
            yaxis={"tickformat": ".0%" if form == "percent" else ".2f"},
            scattermode="group",
            scattergap=0.7,
        ),
        table=Table(["model", "set", label], rows),
    )


def _line(place: int, name: str, found: list[tuple[str, Estimate]]) -> go.Scatter:
    colour, symbol = [(ACCENT, "circle"), (MUTED, "diamond"), (INK, "square")][place % 3]
    return go.Scatter(
        x=[model for model, _ in found],
        y=[one.value for _, one in found],
        name=safe(set_name(name)),
        mode="lines+markers",
        marker={"color": colour, "size": 7, "symbol": symbol},
        line={"color": colour, "width": 1},
        **bars([one for _, one in found], colour),
    )


def _table(run: RunData, name: str) -> Table:
    judges = _judges(run, name)
    rows = []
    for key, (label, form) in JUDGING.items():
        found = [any_estimate(entry, key) for _, entry in judges]
        if any(one.value is not None for one in found):
            rows.append([label, *(ABSENT if one.value is None else with_interval(one, form) for one in found)])
    for kind in dict.fromkeys(kind for _, entry in judges for kind in entry.get("outcomes") or {}):
        counts = [(entry.get("outcomes") or {}).get(kind) for _, entry in judges]
        rows.append([f"verdicts {words(kind)}", *(figure(count, "count") for count in counts)])
    return Table(["", *(model.name for model, _ in judges)], rows)
