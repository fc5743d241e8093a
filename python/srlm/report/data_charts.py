"""Charts of the training data: scores, filtering of prompts and candidates, lengths."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go

from srlm.report.chart import ACCENT, MUTED, Chart, Section, Table, build_figure, escape, model_colour
from srlm.report.measures import data_labels
from srlm.report.text import format_number, humanize, join_counts
from srlm.stages.pairs import prompts_without_pair

if TYPE_CHECKING:
    from collections.abc import Mapping

    from srlm.report.collect import ModelData, RunData

PAIRED, PERFECT = "with a pair", "with a perfect answer"


def score_section(run: RunData) -> Section:
    """Return the section on scores: of each iteration's candidates, and those given to held-out answers."""
    generated = {model.name: model.data_metrics.get("score_histogram") for model in run.models}
    written = {model.name: model.judging.get("held_out", {}).get("histogram") for model in run.models}
    return Section(
        id="scores",
        title="Scores",
        intro="Candidates: the mean score of each answer, rounded to halves; the candidates for M2 are generated and "
        "judged by M1. Held-out answers: the scores in the judge's verdicts. A judge that gives every answer the same "
        "score yields no pairs.",
        groups=_histograms("Candidates for", generated, "answers")
        + _histograms("Held-out answers, by", written, "verdicts"),
    )


def _histograms(
    title: str, counts: Mapping[str, Mapping[str, int | None] | None], unit: str
) -> list[tuple[str, list[Chart]]]:
    """Return one histogram per model, all on one scale; `unit` names the counted items."""
    known = {
        model: {score: count for score, count in (scores or {}).items() if count is not None}
        for model, scores in counts.items()
    }
    found = {model: scores for model, scores in known.items() if scores}
    top = max((max(scores.values()) / max(1, sum(scores.values())) for scores in found.values()), default=1.0)
    name = "-".join(title.lower().replace(",", "").split())
    charts = [_score_chart(f"{name}-{model}", f"{title} {model}", scores, top, unit) for model, scores in found.items()]
    return [("", charts)] if charts else []


def length_section(run: RunData) -> Section:
    """Return the section on lengths."""
    answers = [model for model in run.models if model.answer_lengths]
    generated = [model for model in run.models if all(_length_histogram(model))]
    charts = [_answer_lengths(answers)] if answers else []
    charts += [_candidate_lengths(generated)] if generated else []
    return Section(
        id="lengths",
        title="Lengths",
        intro="LLM judges tend to prefer long answers, so a model trained on its own verdicts tends to generate longer "
        "ones. Lengths are in tokens.",
        groups=[("", charts)] if charts else [],
    )


def _score_chart(name: str, title: str, counts: Mapping[str, int], top: float, unit: str) -> Chart:
    scores = sorted(counts, key=float)
    total = max(1, sum(counts.values()))
    shares = [counts[score] / total for score in scores]
    mean = sum(float(score) * counts[score] for score in scores) / total
    mode = max(scores, key=lambda score: counts[score])
    return Chart(
        id=name,
        title=title,
        message=f"{title}: {total:,} scores, mean {mean:.2f}; the most frequent is {mode} "
        f"({format_number(counts[mode] / total, 'percent')}).",
        figure=build_figure(
            [go.Bar(x=[float(score) for score in scores], y=shares, marker={"color": ACCENT})],
            height=190,
            yaxis={"tickformat": ".0%", "range": [0, top * 1.05]},
            xaxis={"dtick": 1},
        ),
        table=Table(
            ["score", unit, "share"],
            [
                [score, format_number(counts[score], "count"), format_number(share, "percent")]
                for score, share in zip(scores, shares, strict=True)
            ],
        ),
        note=f"mean {mean:.2f}, n = {total:,}",
    )


def _answer_lengths(models: list[ModelData]) -> Chart:
    quantiles = [np.quantile(model.answer_lengths, [0.05, 0.25, 0.5, 0.75, 0.95]).tolist() for model in models]
    means = [float(np.mean(model.answer_lengths)) for model in models]
    low, first, median, third, high = (list(column) for column in zip(*quantiles, strict=True))
    names = [model.name for model in models]
    box = go.Box(
        x=names,
        lowerfence=low,
        q1=first,
        median=median,
        q3=third,
        upperfence=high,
        mean=means,
        line={"color": ACCENT, "width": 1.5},
        fillcolor="var(--wash)",
        name="tokens",
    )
    rows = [
        [
            name,
            *(format_number(value, "count") for value in (mean, *row)),
            format_number(len(model.answer_lengths), "count"),
        ]
        for name, mean, row, model in zip(names, means, quantiles, models, strict=True)
    ]
    return Chart(
        id="answer-lengths",
        title="Answers to held-out prompts",
        message="Median answer length in tokens: "
        + ", ".join(f"{name} {value:.0f}" for name, value in zip(names, median, strict=True))
        + ".",
        figure=build_figure([box], yaxis={"rangemode": "tozero", "title": {"text": "tokens"}}, showlegend=False),
        table=Table(["model", "mean", "5 %", "25 %", "median", "75 %", "95 %", "answers"], rows),
        note="box: quartiles; whiskers: 5 % to 95 %; dashed line: mean",
    )


def _length_histogram(model: ModelData) -> tuple[list[int], list[int]]:
    """Return the bin edges and counts; an absent list is empty."""
    found = model.data_metrics.get("length_histogram") or {}
    return found.get("edges") or [], [count or 0 for count in found.get("counts") or []]


def _candidate_lengths(models: list[ModelData]) -> Chart:
    traces, rows = [], []
    for index, model in enumerate(models):
        edges, counts = _length_histogram(model)
        total = max(1, sum(counts))
        shares = [count / total for count in counts]
        line = {"shape": "hv", "color": model_colour(index, len(models)), "width": 2}
        traces.append(go.Scatter(x=edges, y=[*shares, shares[-1]], name=f"for {model.name}", mode="lines", line=line))
        rows += [
            [f"for {model.name}", f"{low} to {high}", format_number(count, "count"), format_number(share, "percent")]
            for low, high, count, share in zip(edges, edges[1:], counts, shares, strict=False)
        ]
    means = [f"for {model.name} {format_number((model.data or {}).get('mean_length'), 'count')}" for model in models]
    return Chart(
        id="candidate-lengths",
        title="Candidates",
        message=f"Mean candidate length in tokens: {', '.join(means)}.",
        figure=build_figure(
            traces, xaxis={"title": {"text": "tokens"}}, yaxis={"tickformat": ".0%", "rangemode": "tozero"}
        ),
        table=Table(["candidates", "tokens", "count", "share"], rows),
    )


def flow_section(run: RunData, outcomes: Mapping[int, Mapping[str, int]]) -> Section:
    """Return the section on data filtering; `outcomes` counts candidates by model and outcome (see `samples`)."""
    groups = []
    for model in run.models:
        if model.data is not None and model.data.get("prompts") is not None:
            candidates = [_candidate_flow(model, outcomes[model.t])] if any(outcomes.get(model.t, {}).values()) else []
            groups.append(("", [_prompt_flow(model, model.data), *candidates]))
    generated = [model for model in run.models if model.data]
    return Section(
        id="data",
        title="Data filtering",
        intro="How many of the generated prompts and candidates end up in the training data, and why others do not.",
        groups=groups,
        tables=[("All metrics: data", _data_table(generated))] if generated else [],
        empty="No training data has been generated yet.",
    )


def _prompt_flow(model: ModelData, data: Mapping[str, Any]) -> Chart:
    dropped = {reason: count for reason, count in (data.get("prompts_dropped") or {}).items() if count}
    without = {reason: count for reason, count in prompts_without_pair(data.get("drops") or {}).items() if count}
    kept = int(data.get("prompts") or 0)
    flows = [("generated", "kept", kept)]
    flows += [("generated", f"dropped: {humanize(reason)}", count) for reason, count in dropped.items()]
    flows += [("kept", PERFECT if model.positives_only else PAIRED, kept - sum(without.values()))]
    no_pair = "" if model.positives_only else "no pair: "  # with positives only, the reason needs no prefix
    flows += [("kept", f"{no_pair}{humanize(reason)}", count) for reason, count in without.items()]
    return _flow(f"prompts-{model.t}", f"Prompts for {model.name}", "prompts", flows)


def _candidate_flow(model: ModelData, outcomes: Mapping[str, int]) -> Chart:
    unscored = outcomes.get("not scored", 0)
    flows = [
        ("candidates", "scored", sum(outcomes.values()) - unscored),
        ("candidates", "not scored", unscored),
    ]
    flows += [("scored", outcome, count) for outcome, count in outcomes.items() if outcome != "not scored"]
    return _flow(f"candidates-{model.t}", f"Candidates for {model.name}", "candidates", flows)


def _flow(name: str, title: str, unit: str, flows: list[tuple[str, str, int]]) -> Chart:
    flows = [flow for flow in flows if flow[2] > 0]
    total = sum(count for source, _, count in flows if source == flows[0][0])
    size = {flows[0][0]: total, **{target: count for _, target, count in flows}} if flows else {}
    node_index = {node: index for index, node in enumerate(size)}
    good = {"kept", PAIRED, PERFECT, "scored", "in a pair"}
    node = {
        "label": [f"{escape(node.rpartition(': ')[2])} {count:,}" for node, count in size.items()],
        "pad": 14,
        "thickness": 10,
        "color": [ACCENT if node in good else MUTED for node in size],
        "line": {"width": 0},
    }
    link = {
        "source": [node_index[source] for source, _, _ in flows],
        "target": [node_index[target] for _, target, _ in flows],
        "value": [count for _, _, count in flows],
        "color": ["var(--flow)" if target in good else "var(--drop)" for _, target, _ in flows],
    }
    sankey = go.Sankey(node=node, link=link, textfont={"color": "var(--ink)"}, valueformat=",", arrangement="fixed")
    return Chart(
        id=f"flow-{name}",
        title=title,
        message=f"{title}: {total:,} {unit}; " + "; ".join(f"{count:,} {target}" for _, target, count in flows) + ".",
        figure=build_figure([sankey], height=120 + 26 * len(size), margin={"l": 4, "r": 4, "t": 8, "b": 12}),
        table=Table(
            ["from", "to", unit], [[source, target, format_number(count, "count")] for source, target, count in flows]
        ),
    )


def _data_table(models: list[ModelData]) -> Table:
    rows = []
    data, metrics, counted = data_labels(positives_only=any(model.positives_only for model in models))
    for names, part in ((data, "data"), (metrics, "data_metrics")):
        for key, (label, fmt) in names.items():
            rows.append([label, *(format_number((getattr(model, part) or {}).get(key), fmt) for model in models)])
    for key, label in counted.items():
        rows.append([label, *(join_counts((model.data or {}).get(key) or {}) for model in models)])
    return Table(["", *(f"for {model.name}" for model in models)], rows)
