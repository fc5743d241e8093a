"""Curves of each model's training, as TRL logs it, and its checkpoints.

Of DPO the log-probabilities of chosen and rejected answers stand in one chart: the loss may fall while the chosen
answers themselves become less likely, and that is to be seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

from srlm.report.chart import ACCENT, BAD, INK, MUTED, Chart, Section, Table, bars, level, plain
from srlm.report.collect import estimate
from srlm.report.text import ABSENT, figure, with_interval

if TYPE_CHECKING:
    from srlm.report.collect import ModelData, RunData

POINTS = 200  # of a curve; a longer one is averaged in equal stretches
ROWS = 25  # of a curve's table
NONE_BEFORE = "the first, so not compared"


@dataclass(frozen=True, slots=True)
class Curve:
    """One logged value over the steps of a training."""

    label: str
    colour: str
    steps: list[float]
    values: list[float]


# Chart -> the names in metrics.jsonl, with label and colour.
CURVES: dict[str, dict[str, tuple[str, str]]] = {
    "Loss": {"loss": ("loss", ACCENT)},
    "Log-probability of answers": {"logps/chosen": ("chosen", ACCENT), "logps/rejected": ("rejected", BAD)},
    "Reward margin": {"rewards/margins": ("margin", ACCENT)},
    "Chosen above rejected": {"rewards/accuracies": ("share of pairs", ACCENT)},
}
UNITS = {"Log-probability of answers": "nats"}


def training_section(run: RunData) -> Section:
    """Return the section on training, a group of charts for every model."""
    groups = []
    for model in run.models:
        charts = [chart for title in CURVES if (chart := _curves(model, title))]
        charts += [_checkpoints(model)] if _kept(model) else []
        groups += [(f"{model.name}, by {model.trained_by}", charts)] if charts else []
    return Section(
        id="training",
        title="Training",
        intro="A falling log-probability of the chosen answers means that the model moves away from the rejected ones "
        "by moving away from both. Rewards are β times the change of an answer's log-probability against the "
        "reference. Upright lines are checkpoints; the solid one was kept.",
        groups=groups,
    )


def _curves(model: ModelData, title: str) -> Chart | None:
    curves = [curve for name, (label, colour) in CURVES[title].items() if (curve := _curve(model, name, label, colour))]
    if not curves:
        return None
    form = ".0%" if title == "Chosen above rejected" else None
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
        id=f"training-{model.t}-{'-'.join(title.lower().split())}",
        title=title,
        message=f"{title} of {model.name}: " + "; ".join(_course(curve) for curve in curves) + ".",
        figure=plain(
            traces,
            height=220,
            showlegend=len(curves) > 1,
            xaxis={"title": {"text": "step"}},
            yaxis={"tickformat": form, "title": {"text": UNITS.get(title)}},
            **_marks(model),
        ),
        table=_curve_table(curves),
    )


def _curve(model: ModelData, name: str, label: str, colour: str) -> Curve | None:
    rows = [
        (row["step"], row[name]) for row in model.metrics if _is_number(row.get(name)) and _is_number(row.get("step"))
    ]
    if not rows:
        return None
    steps, values = thinned([float(step) for step, _ in rows]), thinned([float(value) for _, value in rows])
    return Curve(label, colour, steps, values)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def thinned(values: list[float], points: int = POINTS) -> list[float]:
    """Return at most `points` values: the means of equal stretches, the last of which may be shorter."""
    stretch = -(-len(values) // points) if values else 1
    parts = [values[start : start + stretch] for start in range(0, len(values), stretch)]
    return [sum(part) / len(part) for part in parts]


def _course(curve: Curve) -> str:
    tenth = max(1, len(curve.values) // 10)
    first, last = sum(curve.values[:tenth]) / tenth, sum(curve.values[-tenth:]) / tenth
    verb = "rises" if last > first else "falls" if last < first else "stays"
    return f"{curve.label} {verb} from {first:.3g} to {last:.3g}"


def _curve_table(curves: list[Curve]) -> Table:
    steps = thinned(curves[0].steps, ROWS)
    columns = [thinned(curve.values, ROWS) for curve in curves]
    rows = [
        [figure(step, "count"), *(f"{value:.4g}" for value in values)]
        for step, *values in zip(steps, *columns, strict=False)
    ]
    return Table(["step", *(curve.label for curve in curves)], rows)


def _kept(model: ModelData) -> list[dict[str, Any]]:
    return (model.training or {}).get("checkpoints") or []


def _marks(model: ModelData) -> dict[str, Any]:
    """Upright lines at the checkpoints."""
    marks: dict[str, Any] = {"shapes": [], "annotations": []}
    best = (model.training or {}).get("best_step")
    for checkpoint in _kept(model):
        is_best = checkpoint["step"] == best
        mark = level(checkpoint["step"], "kept" if is_best else "", colour=INK if is_best else MUTED, horizontal=False)
        mark["shapes"][0]["line"]["dash"] = "solid" if is_best else "dot"
        marks = {key: marks[key] + mark[key] for key in marks}
    return marks


def _checkpoints(model: ModelData) -> Chart:
    checkpoints = _kept(model)
    steps = [checkpoint["step"] for checkpoint in checkpoints]
    rates = [estimate(checkpoint, "win_rate") for checkpoint in checkpoints]
    best = (model.training or {}).get("best_step")
    colours = [ACCENT if step == best else MUTED for step in steps]
    rows = [
        [
            figure(step, "count"),
            with_interval(rate) if place else NONE_BEFORE,
            *(figure(checkpoint.get(key), "count") if place else ABSENT for key in _COUNTS),
            "kept" if step == best else "not kept",
        ]
        for place, (step, rate, checkpoint) in enumerate(zip(steps, rates, checkpoints, strict=True))
    ]
    trace = go.Scatter(
        x=steps,
        y=[rate.value for rate in rates],
        mode="markers",
        marker={"color": colours, "size": 9},
        **bars(rates, MUTED),
    )
    said = "; ".join(f"step {row[0]} {row[1]}" for row in rows)
    return Chart(
        id=f"training-{model.t}-checkpoints",
        title="Win rate of checkpoints",
        message=f"Win rate of {model.name}'s checkpoints, each against the best one before it: {said}. "
        f"Kept: step {best}.",
        figure=plain(
            [trace],
            height=220,
            showlegend=False,
            xaxis={"title": {"text": "step"}, "tickvals": steps},
            yaxis={"tickformat": ".0%"},
            **level(0.5),
        ),
        table=Table(["step", "win rate against the best before it", *_COUNTS, ""], rows),
        note="each against the best checkpoint before it, not against the model before; the first has none to meet",
    )


_COUNTS = ("wins", "ties", "losses")
