"""Training curves of each model, as logged by TRL, and the win rates of its checkpoints.

For DPO, the log-probabilities of chosen and rejected answers share one chart: the loss may fall although the chosen
answers become less likely, and the chart shows it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

from srlm.report.chart import ACCENT, BAD, INK, MUTED, Chart, Section, Table, build_figure, error_bars, reference_line
from srlm.report.collect import estimate
from srlm.report.text import ABSENT, format_number, with_interval

if TYPE_CHECKING:
    from srlm.report.collect import ModelData, RunData

MAX_POINTS = 200  # of a curve; longer curves are averaged over windows of equal size
MAX_TABLE_ROWS = 25  # of the table of a curve
FIRST_CHECKPOINT = "first checkpoint, not compared"


@dataclass(frozen=True, slots=True)
class Curve:
    """One logged metric over the training steps."""

    label: str
    colour: str
    steps: list[float]
    values: list[float]


# Chart title -> metric in metrics.jsonl -> (label, colour).
CURVES: dict[str, dict[str, tuple[str, str]]] = {
    "Loss": {"loss": ("loss", ACCENT)},
    "Log-probabilities": {"logps/chosen": ("chosen", ACCENT), "logps/rejected": ("rejected", BAD)},
    "Reward margin": {"rewards/margins": ("margin", ACCENT)},
    "Reward accuracy": {"rewards/accuracies": ("accuracy", ACCENT)},
}
UNITS = {"Log-probabilities": "nats"}


def training_section(run: RunData) -> Section:
    """Return the section on training: a group of charts per model."""
    groups = []
    for model in run.models:
        charts = [chart for title in CURVES if (chart := _curves(model, title))]
        charts += [_checkpoint_chart(model)] if _checkpoint_entries(model) else []
        groups += [(f"{model.name} ({model.training_method})", charts)] if charts else []
    return Section(
        id="training",
        title="Training",
        intro="If the log-probability of the chosen answers falls, the model increases the margin by making both "
        "answers less likely. Rewards are β times the difference between the log-probabilities of policy and "
        "reference. Reward accuracy is the share of pairs in which the chosen answer has the higher reward. Vertical "
        "lines are checkpoints; the solid one was selected.",
        groups=groups,
    )


def _curves(model: ModelData, title: str) -> Chart | None:
    curves = [curve for name, (label, colour) in CURVES[title].items() if (curve := _curve(model, name, label, colour))]
    if not curves:
        return None
    form = ".0%" if title == "Reward accuracy" else None
    traces = [
        go.Scatter(
            x=curve.steps,
            y=curve.values,
            name=curve.label,
            mode="lines" if len(curve.steps) > 1 else "markers",
            line={"color": curve.colour, "width": 1.75},
        )
        for curve in curves
    ]
    return Chart(
        id=f"training-{model.key.removeprefix('m')}-{'-'.join(title.lower().split())}",
        title=title,
        message=f"{title} of {model.name}: " + "; ".join(_trend(curve) for curve in curves) + ".",
        figure=build_figure(
            traces,
            height=220,
            showlegend=len(curves) > 1,
            xaxis={"title": {"text": "step"}},
            yaxis={"tickformat": form, "title": {"text": UNITS.get(title)}},
            **_checkpoint_lines(model),
        ),
        table=_curve_table(curves),
    )


def _curve(model: ModelData, name: str, label: str, colour: str) -> Curve | None:
    rows = [
        (row["step"], row[name]) for row in model.metrics if _is_number(row.get(name)) and _is_number(row.get("step"))
    ]
    if not rows:
        return None
    steps, values = downsample([float(step) for step, _ in rows]), downsample([float(value) for _, value in rows])
    return Curve(label, colour, steps, values)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def downsample(values: list[float], points: int = MAX_POINTS) -> list[float]:
    """Return at most `points` values: the means of equally long windows, of which the last may be shorter."""
    size = -(-len(values) // points) if values else 1
    windows = [values[start : start + size] for start in range(0, len(values), size)]
    return [sum(window) / len(window) for window in windows]


def _trend(curve: Curve) -> str:
    tenth = max(1, len(curve.values) // 10)
    first, last = sum(curve.values[:tenth]) / tenth, sum(curve.values[-tenth:]) / tenth
    verb = "rises" if last > first else "falls" if last < first else "stays"
    return f"{curve.label} {verb} from {first:.3g} to {last:.3g}"


def _curve_table(curves: list[Curve]) -> Table:
    steps = downsample(curves[0].steps, MAX_TABLE_ROWS)
    columns = [downsample(curve.values, MAX_TABLE_ROWS) for curve in curves]
    rows = [
        [format_number(step, "count"), *(f"{value:.4g}" for value in values)]
        for step, *values in zip(steps, *columns, strict=False)
    ]
    return Table(["step", *(curve.label for curve in curves)], rows)


def _checkpoint_entries(model: ModelData) -> list[dict[str, Any]]:
    return (model.training or {}).get("checkpoints") or []


def _checkpoint_lines(model: ModelData) -> dict[str, Any]:
    """Return the layout of vertical lines at the checkpoints."""
    lines: dict[str, Any] = {"shapes": [], "annotations": []}
    best = (model.training or {}).get("best_step")
    for checkpoint in _checkpoint_entries(model):
        is_best = checkpoint["step"] == best
        line = reference_line(
            checkpoint["step"], "selected" if is_best else "", colour=INK if is_best else MUTED, horizontal=False
        )
        line["shapes"][0]["line"]["dash"] = "solid" if is_best else "dot"
        lines = {key: lines[key] + line[key] for key in lines}
    return lines


def _checkpoint_chart(model: ModelData) -> Chart:
    checkpoints = _checkpoint_entries(model)
    steps = [checkpoint["step"] for checkpoint in checkpoints]
    rates = [estimate(checkpoint, "win_rate") for checkpoint in checkpoints]
    best = (model.training or {}).get("best_step")
    colours = [ACCENT if step == best else MUTED for step in steps]
    rows = [
        [
            format_number(step, "count"),
            with_interval(rate) if index else FIRST_CHECKPOINT,
            *(format_number(checkpoint.get(key), "count") if index else ABSENT for key in _COUNTS),
            "selected" if step == best else "not selected",
        ]
        for index, (step, rate, checkpoint) in enumerate(zip(steps, rates, checkpoints, strict=True))
    ]
    trace = go.Scatter(
        x=steps,
        y=[rate.value for rate in rates],
        mode="markers",
        marker={"color": colours, "size": 9},
        **error_bars(rates, MUTED),
    )
    rates_text = "; ".join(f"step {row[0]} {row[1]}" for row in rows)
    return Chart(
        id=f"training-{model.key.removeprefix('m')}-checkpoints",
        title="Win rates of checkpoints",
        message=f"Win rates of {model.name}'s checkpoints, each against the checkpoint kept before it: {rates_text}. "
        f"Selected: step {best}.",
        figure=build_figure(
            [trace],
            height=220,
            showlegend=False,
            xaxis={"title": {"text": "step"}, "tickvals": steps},
            yaxis={"tickformat": ".0%"},
            **reference_line(0.5),
        ),
        table=Table(["step", "win rate against the checkpoint kept before", *_COUNTS, ""], rows),
        note="each against the checkpoint kept before it, not the previous model; the first is not compared",
    )


_COUNTS = ("wins", "ties", "losses")
