"""How each model answers: against earlier models, and on instructions that a program can check."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

from srlm.report.chart import ACCENT, BAD, GRID, INK, MUTED, Chart, Section, Table, bars, level, model_colour, plain
from srlm.report.collect import estimate
from srlm.report.findings import judge_name
from srlm.report.measures import INSTRUCTIONS, MATCH, match_name
from srlm.report.text import ABSENT, figure, with_interval, words

if TYPE_CHECKING:
    from srlm.report.collect import Match, ModelData, RunData


def match_section(run: RunData) -> Section:
    """Return the section on win rates."""
    matches = [match for model in run.models for match in model.matches]
    return Section(
        id="wins",
        title="Head to head",
        intro="Both models answer the same prompts; a judge reads the two answers in both orders. A tie counts half, "
        "50 % is even. 'Length controlled' is what the rate would be if both answered at the same length. A judge that "
        "is a model of this run shares its tastes: what it prefers is not what people prefer.",
        groups=[("", [_rates(matches), _outcomes(matches)])] if matches else [],
        tables=[("All figures: head to head", _match_table(matches))] if matches else [],
    )


def instruction_section(run: RunData) -> Section:
    """Return the section on instructions that are checked by a program."""
    measured = [model for model in run.models if "instructions" in model.stages]
    return Section(
        id="instructions",
        title="Following instructions",
        intro="Instructions that a program can check, such as a number of words. Strict takes the answer as it is, "
        "loose also without its first or last line or its markdown.",
        groups=[("", [_measures(measured)])] if measured else [],
        tables=[("By kind of instruction, strict", _kinds(measured))] if measured else [],
    )


def _rates(matches: list[Match]) -> Chart:
    names = [match_name(match) for match in matches]
    rates = [match.win_rate for match in matches]
    controlled = [match.length_controlled for match in matches]
    traces = [
        go.Scatter(
            y=names,
            x=[one.value for one in controlled],
            name="length controlled",
            mode="markers",
            marker={"color": MUTED, "size": 8, "symbol": "diamond-open"},
            orientation="h",
            **bars(controlled, MUTED, horizontal=True),
        ),
        go.Scatter(
            y=names,
            x=[one.value for one in rates],
            name="win rate",
            mode="markers",
            marker={"color": ACCENT, "size": 10},
            orientation="h",
            **bars(rates, ACCENT, horizontal=True),
        ),
    ]
    return Chart(
        id="win-rates",
        title="Win rate",
        message="Win rates: "
        + "; ".join(
            f"{name} {with_interval(one)}, length controlled {with_interval(two)}"
            for name, one, two in zip(names, rates, controlled, strict=True)
        )
        + ".",
        figure=plain(
            traces,
            height=90 + 56 * len(matches),
            scattermode="group",
            scattergap=0.6,
            xaxis={"tickformat": ".0%", "range": [0, 1], "dtick": 0.25},
            yaxis={"autorange": "reversed", "showgrid": False},
            **level(0.5, horizontal=False),
        ),
        table=Table(
            ["match", "win rate", "length controlled", "prompts"],
            [
                [name, with_interval(one), with_interval(two), figure(match.entry.get("prompts"), "count")]
                for name, one, two, match in zip(names, rates, controlled, matches, strict=True)
            ],
        ),
    )


def _outcomes(matches: list[Match]) -> Chart:
    names = [match_name(match) for match in matches]
    kinds = [("wins", "won", ACCENT), ("ties", "tied", GRID), ("losses", "lost", BAD), ("unread", "not read", MUTED)]
    traces = [
        go.Bar(
            y=names,
            x=[match.entry.get(key) or 0 for match in matches],
            name=label,
            orientation="h",
            marker={"color": colour},
            text=[_inside(match.entry, key) for match in matches],
            textposition="inside",
            insidetextanchor="middle",
            constraintext="none",
            textangle=0,
        )
        for key, label, colour in kinds
    ]
    rows = [
        [name, *(figure(match.entry.get(key), "count") for key, _, _ in kinds)]
        for name, match in zip(names, matches, strict=True)
    ]
    return Chart(
        id="win-outcomes",
        title="Won, tied, lost",
        message="Prompts by outcome: "
        + "; ".join(f"{row[0]}: {row[1]} won, {row[2]} tied, {row[3]} lost, {row[4]} not read" for row in rows)
        + ".",
        figure=plain(
            traces,
            height=90 + 56 * len(matches),
            barmode="stack",
            yaxis={"autorange": "reversed", "showgrid": False},
            bargap=0.45,
        ),
        table=Table(["match", *(label for _, label, _ in kinds)], rows),
    )


def _inside(entry: dict[str, Any], key: str) -> str:
    """Return the number that a bar holds, if it is wide enough for one."""
    count, prompts = entry.get(key) or 0, entry.get("prompts") or 0
    return str(count) if count > 0.08 * prompts else ""


def _match_table(matches: list[Match]) -> Table:
    columns = [
        "match",
        "judge",
        "prompts",
        "win rate",
        "length controlled",
        MATCH["preference"][0],
        "won / tied / lost / not read",
        "verdicts for whoever stood first",
        "orders that disagree",
        "mean length (characters)",
        "tokens of the judge",
        "cost",
    ]
    return Table(columns, [_match_row(match) for match in matches])


def _match_row(match: Match) -> list[str]:
    entry, usage = match.entry, match.entry.get("usage") or {}
    counts = (figure(entry.get(key), "count") for key in ("wins", "ties", "losses", "unread"))
    lengths = [figure(length, "count") for length in entry.get("mean_length") or []]
    tokens = [usage[key] for key in ("prompt_tokens", "completion_tokens") if usage.get(key) is not None]
    return [
        match_name(match),
        judge_name(match.judge),
        figure(entry.get("prompts"), "count"),
        with_interval(match.win_rate),
        with_interval(match.length_controlled),
        with_interval(estimate(entry, "preference")),
        " / ".join(counts),
        figure(entry.get("first_share"), "percent"),
        figure(entry.get("disagreements"), "count"),
        " against ".join(lengths) or figure(None, "count"),
        figure(sum(tokens), "count") if tokens else ABSENT,
        figure(usage.get("cost"), "number") if usage else ABSENT,
    ]


def _measures(measured: list[ModelData]) -> Chart:
    found = {model.name: [estimate(model.stages["instructions"], key) for key in INSTRUCTIONS] for model in measured}
    traces = [
        go.Bar(
            x=[label.replace(", ", "<br>") for label, _ in INSTRUCTIONS.values()],
            y=[one.value for one in estimates],
            name=name,
            marker={"color": model_colour(place, len(found))},
            **bars(estimates, INK),
        )
        for place, (name, estimates) in enumerate(found.items())
    ]
    rows = [[name, *(with_interval(one) for one in estimates)] for name, estimates in found.items()]
    return Chart(
        id="instructions-followed",
        title="Share followed",
        message="Share of instructions followed: "
        + "; ".join(f"{row[0]} {row[1]} of prompts and {row[2]} of instructions, strict" for row in rows)
        + ".",
        figure=plain(traces, height=300, barmode="group", yaxis={"tickformat": ".0%", "rangemode": "tozero"}),
        table=Table(["model", *(label for label, _ in INSTRUCTIONS.values())], rows),
    )


def _kinds(measured: list[ModelData]) -> Table:
    by_kind: list[dict[str, Any]] = [model.stages["instructions"].get("by_kind") or {} for model in measured]
    kinds = sorted({kind for found in by_kind for kind in found})
    rows = [[words(kind), *(with_interval(estimate(found, kind)) for found in by_kind)] for kind in kinds]
    return Table(["kind", *(model.name for model in measured)], rows)
