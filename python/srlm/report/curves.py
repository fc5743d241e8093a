"""A run's figures as points of curves: what every stage's files say, flattened to names and numbers.

Two kinds of curve: of a training (`m2/loss`, over its optimizer steps), and over the models (`judge_held_out/tied`,
`vs_m1/win_rate`, over t of M_t). Names and numbers only: no text of prompts, answers or verdicts. Left out are the
bounds of intervals, histograms and instruction following by kind, for which a curve is no picture; the run's own files
have them.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

MODELS = "model"  # the axis of curves over the models: t of M_t
TRAININGS = ("sft", "dpo")  # stages that `metrics.jsonl` is of
NO_CURVES = frozenset({"histogram", "score_histogram", "length_histogram", "by_kind"})
NO_FIGURES = frozenset({"step", "epoch"})  # of a training's rows: the step is the axis
SUM = "train_runtime"  # a field that only the last row has
ESTIMATE = frozenset({"value", "low", "high", "n"})
STAGE = re.compile(r"m(\d+)/(.+)")
PAUSE = re.compile(r"step_\d")  # stages of early stop, which the training's own entry sums up


@dataclass(frozen=True, slots=True)
class Point:
    """Figures at one step of an axis, which is `model` or a training's, such as `m2/step`."""

    axis: str
    step: int
    metrics: dict[str, float]


def points_of(stage: str, entry: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[Point]:
    """Return the points of a finished stage, by its name and entry in the manifest.

    `rows` are those of `metrics.jsonl`; they belong to the stage only if it is a training. A stage of no model, such as
    `seed/ift`, has no points, nor has a pause of a training.
    """
    match = STAGE.fullmatch(stage)
    if match is None or PAUSE.match(match[2]):
        return []
    t, name = int(match[1]), match[2]
    points = training_points(f"m{t}", entry, rows) if name in TRAININGS else []
    metrics = dict(_figures(entry, name))
    return [*points, Point(MODELS, t, metrics)] if metrics else points


def training_points(model: str, entry: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[Point]:
    """Return the points of a training: what was logged at each optimizer step, and how its checkpoints compared.

    The last row, which sums the training up, is left out: the entry has what it says.
    """
    figures = [
        (int(row["step"]), {f"{model}/{name}": value for name, value in _numbers(row) if name not in NO_FIGURES})
        for row in rows
        if SUM not in row
    ]
    for checkpoint in entry.get("checkpoints") or ():
        step = int(checkpoint["step"])
        figures.append((step, dict(_figures({"win_rate": checkpoint.get("win_rate")}, f"{model}/checkpoint"))))
    return [Point(f"{model}/step", step, metrics) for step, metrics in figures if metrics]


def _figures(entry: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, float]]:
    """Yield every number of nested objects under the path that leads to it; an estimate is its value."""
    yield from ((f"{prefix}/{name}", value) for name, value in _numbers(entry))
    for name, value in entry.items():
        if not isinstance(value, dict) or name in NO_CURVES:
            continue
        if set(value) == ESTIMATE:
            yield from ((f"{prefix}/{name}", number) for key, number in _numbers(value) if key == "value")
        else:
            yield from _figures(value, f"{prefix}/{name}")


def _numbers(row: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in row.items():
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            yield name, float(value)
