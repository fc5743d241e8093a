"""What a run cost: time by model and kind of work, tokens read and written, requests to a judge elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import plotly.graph_objects as go

from srlm.report.chart import ACCENT, MUTED, PALE, Chart, Section, Table, plain, safe
from srlm.report.measures import kind_of
from srlm.report.text import ABSENT, duration, figure, words

if TYPE_CHECKING:
    from srlm.report.collect import Entry, RunData

KINDS = {"data": ("making data", MUTED), "training": ("training", ACCENT), "measuring": ("measuring", PALE)}


def cost_section(run: RunData) -> Section:
    """Return the section on time and tokens."""
    timed = {stage: entry for stage, entry in run.manifest.items() if _number(entry, "seconds")}
    tokens = {stage: entry for stage, entry in run.manifest.items() if _number(entry, "tokens_in")}
    charts = [_time(timed)] if timed else []
    charts += [_tokens(tokens)] if tokens else []
    return Section(
        id="cost",
        title="Time and tokens",
        intro="The time of the stages, and the tokens that models read and wrote in them. A training reads a prompt "
        "with each of its answers, once an epoch.",
        groups=[("", charts)] if charts else [],
        tables=[("By stage", _stage_table(run.manifest))] if run.manifest else [],
    )


def _number(entry: Entry, key: str) -> float:
    found = entry.get(key)
    return float(found) if isinstance(found, int | float) else 0.0


def _groups(entries: dict[str, Entry]) -> list[str]:
    """The seed, then the models in their order."""
    return sorted({_group(stage) for stage in entries}, key=lambda group: (group[:1] == "M", len(group), group))


def _group(stage: str) -> str:
    folder = stage.partition("/")[0]
    return folder.upper() if folder[:1] == "m" and folder[1:].isdigit() else folder


def _sums(entries: dict[str, Entry], key: str, kind: str) -> list[float]:
    sums = dict.fromkeys(_groups(entries), 0.0)
    for stage, entry in entries.items():
        if kind_of(stage) == kind:
            sums[_group(stage)] += _number(entry, key)
    return list(sums.values())


def _time(entries: dict[str, Entry]) -> Chart:
    groups = _groups(entries)
    sums = {kind: _sums(entries, "seconds", kind) for kind in KINDS}
    total = sum(map(sum, sums.values()))
    unit, name = (60.0, "minutes") if total > 600 else (1.0, "seconds")
    traces = [
        go.Bar(
            y=[safe(group) for group in groups],
            x=[value / unit for value in sums[kind]],
            name=label,
            orientation="h",
            marker={"color": colour},
        )
        for kind, (label, colour) in KINDS.items()
    ]
    parts = [f"{label} {duration(sum(sums[kind]))}" for kind, (label, _) in KINDS.items()]
    rows = [
        [group, *(duration(sums[kind][place]) for kind in KINDS), duration(sum(s[place] for s in sums.values()))]
        for place, group in enumerate(groups)
    ]
    return Chart(
        id="time",
        title="Time",
        message=f"The stages took {duration(total)}: {', '.join(parts)}.",
        figure=plain(
            traces,
            height=90 + 34 * len(groups),
            barmode="stack",
            xaxis={"title": {"text": name}},
            yaxis={"autorange": "reversed", "showgrid": False},
        ),
        table=Table(["", *(label for label, _ in KINDS.values()), "all"], rows),
        note=f"{duration(total)} in all",
    )


def _tokens(entries: dict[str, Entry]) -> Chart:
    groups = _groups(entries)
    sums = {
        key: [sum(_sums(entries, key, kind)[place] for kind in KINDS) for place in range(len(groups))]
        for key in ("tokens_in", "tokens_out")
    }
    labels = {"tokens_in": ("read", MUTED), "tokens_out": ("written", ACCENT)}
    traces = [
        go.Bar(y=[safe(group) for group in groups], x=sums[key], name=label, orientation="h", marker={"color": colour})
        for key, (label, colour) in labels.items()
    ]
    total = {key: figure(sum(values), "count") for key, values in sums.items()}
    return Chart(
        id="tokens",
        title="Tokens",
        message=f"Models read {total['tokens_in']} tokens and wrote {total['tokens_out']}.",
        figure=plain(
            traces, height=90 + 34 * len(groups), barmode="group", yaxis={"autorange": "reversed", "showgrid": False}
        ),
        table=Table(
            ["", "read", "written"],
            [[group, *(figure(sums[key][place], "count") for key in sums)] for place, group in enumerate(groups)],
        ),
        note=f"{total['tokens_in']} read, {total['tokens_out']} written",
    )


def _stage_table(manifest: dict[str, Entry]) -> Table:
    rows = [
        [
            stage,
            _cell(entry, "rows"),
            duration(_number(entry, "seconds")),
            _cell(entry, "tokens_in"),
            _cell(entry, "tokens_out"),
            words(str(entry.get("engine") or ABSENT)),
            str(entry.get("finished") or ABSENT),
        ]
        for stage, entry in manifest.items()
    ]
    return Table(["stage", "rows", "time", "tokens read", "tokens written", "engine", "finished"], rows)


def _cell(entry: Entry, key: str) -> str:
    found = entry.get(key)
    return figure(found, "count") if isinstance(found, int | float) else ABSENT
