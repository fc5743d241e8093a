"""Charts of the cost of a run: time by model and kind of work, input and output tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import plotly.graph_objects as go

from srlm.report.chart import ACCENT, MUTED, PALE, Chart, Section, Table, build_figure, escape
from srlm.report.measures import kind_of
from srlm.report.text import ABSENT, duration, format_number, humanize
from srlm.run.model_names import display_name, is_model, training_order

if TYPE_CHECKING:
    from srlm.report.collect import Entry, RunData

KINDS = {"data": ("data generation", MUTED), "training": ("training", ACCENT), "evaluation": ("evaluation", PALE)}


def cost_section(run: RunData) -> Section:
    """Return the section on time and tokens."""
    timed = {stage: entry for stage, entry in run.manifest.items() if _number(entry, "seconds")}
    tokens = {stage: entry for stage, entry in run.manifest.items() if _number(entry, "tokens_in")}
    charts = [_time_chart(timed)] if timed else []
    charts += [_token_chart(tokens)] if tokens else []
    return Section(
        id="cost",
        title="Time and tokens",
        intro="Time spent in the stages, and the tokens processed in them. Output tokens are generated tokens. "
        "The input tokens of a training are those of every prompt with each of its answers, once per epoch.",
        groups=[("", charts)] if charts else [],
        tables=[("By stage", _stage_table(run.manifest))] if run.manifest else [],
    )


def _number(entry: Entry, key: str) -> float:
    found = entry.get(key)
    return float(found) if isinstance(found, int | float) else 0.0


def _groups(entries: dict[str, Entry]) -> list[str]:
    """Return the seed, then the models in order."""
    folders = {stage.partition("/")[0] for stage in entries}
    models = sorted(filter(is_model, folders), key=training_order)
    return [*sorted(folders.difference(models)), *map(display_name, models)]


def _group(stage: str) -> str:
    folder = stage.partition("/")[0]
    return display_name(folder) if is_model(folder) else folder


def _sums(entries: dict[str, Entry], key: str, kind: str) -> list[float]:
    sums = dict.fromkeys(_groups(entries), 0.0)
    for stage, entry in entries.items():
        if kind_of(stage) == kind:
            sums[_group(stage)] += _number(entry, key)
    return list(sums.values())


def _time_chart(entries: dict[str, Entry]) -> Chart:
    groups = _groups(entries)
    sums = {kind: _sums(entries, "seconds", kind) for kind in KINDS}
    total = sum(map(sum, sums.values()))
    unit, name = (60.0, "minutes") if total > 600 else (1.0, "seconds")
    traces = [
        go.Bar(
            y=[escape(group) for group in groups],
            x=[value / unit for value in sums[kind]],
            name=label,
            orientation="h",
            marker={"color": colour},
        )
        for kind, (label, colour) in KINDS.items()
    ]
    parts = [f"{label} {duration(sum(sums[kind]))}" for kind, (label, _) in KINDS.items()]
    rows = [
        [
            group,
            *(duration(sums[kind][index]) for kind in KINDS),
            duration(sum(values[index] for values in sums.values())),
        ]
        for index, group in enumerate(groups)
    ]
    return Chart(
        id="time",
        title="Time",
        message=f"The stages took {duration(total)}: {', '.join(parts)}.",
        figure=build_figure(
            traces,
            height=90 + 34 * len(groups),
            barmode="stack",
            xaxis={"title": {"text": name}},
            yaxis={"autorange": "reversed", "showgrid": False},
        ),
        table=Table(["", *(label for label, _ in KINDS.values()), "total"], rows),
        note=f"total {duration(total)}",
    )


def _token_chart(entries: dict[str, Entry]) -> Chart:
    groups = _groups(entries)
    sums = {
        key: [sum(_sums(entries, key, kind)[index] for kind in KINDS) for index in range(len(groups))]
        for key in ("tokens_in", "tokens_out")
    }
    labels = {"tokens_in": ("input", MUTED), "tokens_out": ("output", ACCENT)}
    traces = [
        go.Bar(
            y=[escape(group) for group in groups], x=sums[key], name=label, orientation="h", marker={"color": colour}
        )
        for key, (label, colour) in labels.items()
    ]
    total = {key: format_number(sum(values), "count") for key, values in sums.items()}
    return Chart(
        id="tokens",
        title="Tokens",
        message=f"{total['tokens_in']} input tokens, {total['tokens_out']} output tokens.",
        figure=build_figure(
            traces, height=90 + 34 * len(groups), barmode="group", yaxis={"autorange": "reversed", "showgrid": False}
        ),
        table=Table(
            ["", "input", "output"],
            [
                [group, *(format_number(sums[key][index], "count") for key in sums)]
                for index, group in enumerate(groups)
            ],
        ),
        note=f"{total['tokens_in']} input, {total['tokens_out']} output",
    )


def _stage_table(manifest: dict[str, Entry]) -> Table:
    rows = [
        [
            stage,
            _cell(entry, "rows"),
            duration(_number(entry, "seconds")),
            _cell(entry, "tokens_in"),
            _cell(entry, "tokens_out"),
            humanize(str(entry.get("engine") or ABSENT)),
            str(entry.get("finished") or ABSENT),
        ]
        for stage, entry in manifest.items()
    ]
    return Table(["stage", "rows", "time", "input tokens", "output tokens", "engine", "finished"], rows)


def _cell(entry: Entry, key: str) -> str:
    found = entry.get(key)
    return format_number(found, "count") if isinstance(found, int | float) else ABSENT
