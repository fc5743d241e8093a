"""The metrics of a run as points of curves, for experiment trackers.

There are two kinds of curves: of a training (`m2/loss`, over its optimizer steps), and over the models
(`judge_held_out/tied`, `vs_m1/win_rate`, over t of M_t, from M0 on). The metrics of the SFT baseline, which is no M_t,
have names of their own and one point, at 0 (`sft_baseline/judge_held_out/tied`). Points hold names and numbers only,
no text of prompts, answers or verdicts. Interval bounds, histograms and instruction following by kind are excluded
because they do not make useful curves; the files of the run have them.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from srlm.run.model_names import SFT_BASELINE, is_model, iteration

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

MODEL_AXIS = "model"  # the x axis of curves over the models: t of M_t
TRAINING_STAGES = ("sft", "dpo")  # the stages that write `metrics.jsonl`
EXCLUDED_FIELDS = frozenset({"format", "histogram", "score_histogram", "length_histogram", "by_kind"})
EXCLUDED_COLUMNS = frozenset({"step", "epoch"})  # of metrics.jsonl: the step is the x axis
SUMMARY_FIELD = "train_runtime"  # a column that only the last row of metrics.jsonl has
ESTIMATE_FIELDS = frozenset({"value", "low", "high", "n"})
CHECKPOINT_STAGE = re.compile(r"step_\d")  # stages of early stopping; the entry of the training has their results


@dataclass(frozen=True, slots=True)
class Point:
    """Metrics at one step of an axis: `model`, or the steps of a training such as `m2/step`."""

    axis: str
    step: int
    metrics: dict[str, float]


def stage_points(stage: str, entry: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[Point]:
    """Return the points of a finished stage, given its name and manifest entry.

    `rows` are the rows of `metrics.jsonl`, used only if the stage is a training. Stages that belong to no model, such
    as `seed/ift`, and the checkpoint stages of a training have no points.
    """
    model, _, name = stage.partition("/")
    if not is_model(model) or not name or CHECKPOINT_STAGE.match(name):
        return []
    points = training_points(model, entry, rows) if name in TRAINING_STAGES else []
    metrics = dict(_nested_metrics(entry, f"sft_baseline/{name}" if model == SFT_BASELINE else name))
    return [*points, Point(MODEL_AXIS, iteration(model), metrics)] if metrics else points


def training_points(model: str, entry: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[Point]:
    """Return the points of a training: the metrics logged at each optimizer step, and the win rates of its checkpoints.

    The last row, a summary of the training, is excluded because the manifest entry has the same values.
    """
    logged = [
        (int(row["step"]), {f"{model}/{name}": value for name, value in _numbers(row) if name not in EXCLUDED_COLUMNS})
        for row in rows
        if SUMMARY_FIELD not in row
    ]
    for checkpoint in entry.get("checkpoints") or ():
        step = int(checkpoint["step"])
        logged.append((step, dict(_nested_metrics({"win_rate": checkpoint.get("win_rate")}, f"{model}/checkpoint"))))
    return [Point(f"{model}/step", step, metrics) for step, metrics in logged if metrics]


def _nested_metrics(entry: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, float]]:
    """Yield every number of nested objects, named by its path; of an estimate, only the value."""
    yield from ((f"{prefix}/{name}", value) for name, value in _numbers(entry) if name not in EXCLUDED_FIELDS)
    for name, value in entry.items():
        if not isinstance(value, dict) or name in EXCLUDED_FIELDS:
            continue
        if set(value) == ESTIMATE_FIELDS:
            yield from ((f"{prefix}/{name}", number) for key, number in _numbers(value) if key == "value")
        else:
            yield from _nested_metrics(value, f"{prefix}/{name}")


def _numbers(row: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in row.items():
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            yield name, float(value)
