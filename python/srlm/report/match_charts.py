"""Charts of answer quality: win rates against earlier models, and instruction following checked by rule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

from srlm.report.changes import length_controlled_text
from srlm.report.chart import (
    ACCENT,
    BAD,
    GRID,
    INK,
    MUTED,
    Chart,
    Section,
    Table,
    build_figure,
    error_bars,
    model_colour,
    reference_line,
)
from srlm.report.collect import estimate
from srlm.report.findings import judge_name
from srlm.report.measures import INSTRUCTIONS, MATCH, match_name
from srlm.report.text import ABSENT, format_number, humanize, with_interval

if TYPE_CHECKING:
    from srlm.report.collect import Match, ModelData, RunData

OUTCOMES = {"wins": ACCENT, "ties": GRID, "losses": BAD, "unparseable": MUTED}  # field of an entry -> colour


def match_section(run: RunData) -> Section:
    """Return the section on head-to-head win rates."""
    matches = [match for model in run.models for match in model.matches]
    return Section(
        id="wins",
        title="Head to head",
        intro="Both models answer the same prompts, and a judge compares the two answers in both orders, or scores "
        "each of them (head_to_head.by: pointwise). A tie counts half, so 50 % is even. The length-controlled win rate "
        "estimates the win rate for answers of equal length; it is withheld where nearly all answers of one model are "
        "longer. A judge that is a model of this run shares that model's biases: its preferences are not human "
        "preferences.",
        groups=[("", [_win_rate_chart(matches), _outcome_chart(matches)])] if matches else [],
        tables=[("All metrics: head to head", _match_table(matches))] if matches else [],
    )


def instruction_section(run: RunData) -> Section:
    """Return the section on instruction following."""
    measured = [model for model in run.models if "instructions" in model.stages]
    return Section(
        id="instructions",
        title="Instruction following",
        intro="Instructions that a rule can verify, such as a minimum number of words. Strict checks the answer as it "
        "is; loose also accepts it without its first or last line or its markdown. A prompt without a response counts "
        "as not followed.",
        groups=[("", [_instruction_chart(measured)])] if measured else [],
        tables=[("By kind of instruction, strict", _kind_table(measured))] if measured else [],
    )


def _win_rate_chart(matches: list[Match]) -> Chart:
    names = [match_name(match) for match in matches]
    rates = [match.win_rate for match in matches]
    controlled = [match.length_controlled for match in matches]
    traces = [
        go.Scatter(
            y=names,
            x=[one.value for one in controlled],
            name="length-controlled",
            mode="markers",
            marker={"color": MUTED, "size": 8, "symbol": "diamond-open"},
            orientation="h",
            **error_bars(controlled, MUTED, horizontal=True),
        ),
        go.Scatter(
            y=names,
            x=[one.value for one in rates],
            name="win rate",
            mode="markers",
            marker={"color": ACCENT, "size": 10},
            orientation="h",
            **error_bars(rates, ACCENT, horizontal=True),
        ),
    ]
    return Chart(
        id="win-rates",
        title="Win rate",
        message="Win rates: "
        + "; ".join(
            f"{name} {with_interval(one)}, length-controlled {length_controlled_text(match)}"
            for name, one, match in zip(names, rates, matches, strict=True)
        )
        + ".",
        figure=build_figure(
            traces,
            height=90 + 56 * len(matches),
            scattermode="group",
            scattergap=0.6,
            xaxis={"tickformat": ".0%", "range": [0, 1], "dtick": 0.25},
            yaxis={"autorange": "reversed", "showgrid": False},
            **reference_line(0.5, horizontal=False),
        ),
        table=Table(
            ["match", "win rate", "length-controlled win rate", "prompts"],
            [
                [
                    name,
                    with_interval(one),
                    length_controlled_text(match),
                    format_number(match.entry.get("prompts"), "count"),
                ]
                for name, one, match in zip(names, rates, matches, strict=True)
            ],
        ),
    )


def _outcome_chart(matches: list[Match]) -> Chart:
    names = [match_name(match) for match in matches]
    traces = [
        go.Bar(
            y=names,
            x=[match.entry.get(key) or 0 for match in matches],
            name=key,
            orientation="h",
            marker={"color": colour},
            text=[_bar_label(match.entry, key) for match in matches],
            textposition="inside",
            insidetextanchor="middle",
            constraintext="none",
            textangle=0,
        )
        for key, colour in OUTCOMES.items()
    ]
    rows = [
        [name, *(format_number(match.entry.get(key), "count") for key in OUTCOMES)]
        for name, match in zip(names, matches, strict=True)
    ]
    return Chart(
        id="win-outcomes",
        title="Wins, ties, losses",
        message="Prompts by outcome: "
        + "; ".join(f"{row[0]}: {row[1]} wins, {row[2]} ties, {row[3]} losses, {row[4]} unparseable" for row in rows)
        + ".",
        figure=build_figure(
            traces,
            height=90 + 56 * len(matches),
            barmode="stack",
            yaxis={"autorange": "reversed", "showgrid": False},
            bargap=0.45,
        ),
        table=Table(["match", *OUTCOMES], rows),
    )


def _bar_label(entry: dict[str, Any], key: str) -> str:
    """Return the count to write into a bar, or nothing if the bar is too short for it."""
    count, prompts = entry.get(key) or 0, entry.get("prompts") or 0
    return str(count) if count > 0.08 * prompts else ""


def _match_table(matches: list[Match]) -> Table:
    columns = [
        "match",
        "judge",
        "prompts",
        "win rate",
        MATCH["length_controlled"][0],
        MATCH["preference"][0],
        "wins / ties / losses / unparseable",
        MATCH["first_position_rate"][0],
        MATCH["disagreements"][0],
        "mean length (characters)",
        "judge tokens",
        "cost",
    ]
    return Table(columns, [_match_row(match) for match in matches])


def _match_row(match: Match) -> list[str]:
    entry, usage = match.entry, match.entry.get("usage") or {}
    counts = (format_number(entry.get(key), "count") for key in OUTCOMES)
    lengths = [format_number(length, "count") for length in entry.get("mean_length") or []]
    tokens = [usage[key] for key in ("prompt_tokens", "completion_tokens") if usage.get(key) is not None]
    return [
        match_name(match),
        judge_name(match.judge),
        format_number(entry.get("prompts"), "count"),
        with_interval(match.win_rate),
        length_controlled_text(match),
        with_interval(estimate(entry, "preference")),
        " / ".join(counts),
        format_number(entry.get("first_position_rate"), "percent"),
        format_number(entry.get("disagreements"), "count"),
        " against ".join(lengths) or format_number(None, "count"),
        format_number(sum(tokens), "count") if tokens else ABSENT,
        format_number(usage.get("cost"), "number") if usage else ABSENT,
    ]


def _instruction_chart(measured: list[ModelData]) -> Chart:
    found = {model.name: [estimate(model.stages["instructions"], key) for key in INSTRUCTIONS] for model in measured}
    traces = [
        go.Bar(
            x=[label.replace(" ", "<br>") for label, _ in INSTRUCTIONS.values()],
            y=[one.value for one in estimates],
            name=name,
            marker={"color": model_colour(index, len(found))},
            **error_bars(estimates, INK),
        )
        for index, (name, estimates) in enumerate(found.items())
    ]
    unanswered = [format_number(model.stages["instructions"].get("unanswered"), "count") for model in measured]
    rows = [
        [name, *(with_interval(one) for one in estimates), count]
        for (name, estimates), count in zip(found.items(), unanswered, strict=True)
    ]
    return Chart(
        id="instructions-followed",
        title="Share followed",
        message="Share of instructions followed, strict: "
        + "; ".join(f"{row[0]} {row[1]} of prompts and {row[2]} of instructions" for row in rows)
        + ".",
        figure=build_figure(traces, height=300, barmode="group", yaxis={"tickformat": ".0%", "rangemode": "tozero"}),
        table=Table(["model", *(label for label, _ in INSTRUCTIONS.values()), "prompts without a response"], rows),
    )


def _kind_table(measured: list[ModelData]) -> Table:
    by_kind: list[dict[str, Any]] = [model.stages["instructions"].get("by_kind") or {} for model in measured]
    kinds = sorted({kind for found in by_kind for kind in found})
    rows = [[humanize(kind), *(with_interval(estimate(found, kind)) for found in by_kind)] for kind in kinds]
    return Table(["kind", *(model.name for model in measured)], rows)
