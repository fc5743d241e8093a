"""The metrics of a model: their labels and formats, and one list of all of them to compare runs by."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from srlm.evaluation.baselines import READINGS
from srlm.evaluation.estimates import Estimate
from srlm.judge_data.stage_names import JUDGEMENT_PAIRS
from srlm.report.collect import estimate
from srlm.report.text import humanize
from srlm.run.model_names import display_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from srlm.report.collect import Entry, Match, ModelData
    from srlm.report.text import NumberFormat

Labels = dict[str, tuple[str, "NumberFormat"]]  # key in the manifest -> (label, format)

TRAINING: Labels = {
    "rows": ("training rows", "count"),
    "dropped_too_long": ("rows dropped (too long)", "count"),
    "dropped_equal": ("pairs dropped (equal answers)", "count"),
    "steps": ("steps", "count"),
    "best_step": ("selected step", "count"),
    "train_loss": ("mean training loss", "loss"),
}
JUDGING: Labels = {
    "pairwise_accuracy": ("pairwise accuracy", "percent"),
    "longer_accuracy": ("length baseline, same pairs", "percent"),
    "human_agreement": ("human-human agreement", "percent"),
    "agreement": ("agreement between verdict samples", "percent"),
    "tied": ("tied pairs", "percent"),
    "exact_match": ("exact match of the order", "percent"),
    "five_best": ("5-best: perfect scores that humans rank first", "percent"),
    "spearman": ("Spearman with the human ranking", "number"),
    "kendall": ("Kendall with the human ranking", "number"),
    "length_spearman": ("Spearman of score and length", "number"),
    "parse_rate": ("parse rate", "percent"),
    "score_entropy": ("score entropy (bits)", "number"),
    "prompts": ("prompts", "count"),
    "answers": ("answers", "count"),
    "pairs": ("pairs", "count"),
    "pairs_unscored": ("pairs without both scores", "count"),
    "pairs_equal": ("pairs dropped (equal answers)", "count"),
    "prompts_unscored": ("prompts without all scores", "count"),
    "too_long": ("prompts skipped (too long to judge)", "count"),
}
MATCH: Labels = {
    "win_rate": ("win rate", "percent"),
    "length_controlled": ("length-controlled win rate", "percent"),
    "preference": ("mean preference probability", "percent"),
    "prompts": ("prompts", "count"),
    "wins": ("wins", "count"),
    "ties": ("ties", "count"),
    "losses": ("losses", "count"),
    "unparseable": ("unparseable", "count"),
    "first_position_rate": ("first-position preference rate", "percent"),
    "disagreements": ("order disagreements", "count"),
}
INSTRUCTIONS: Labels = {
    "prompt_strict": ("prompt-level strict", "percent"),
    "instruction_strict": ("instruction-level strict", "percent"),
    "prompt_loose": ("prompt-level loose", "percent"),
    "instruction_loose": ("instruction-level loose", "percent"),
}
IMPLICIT: Labels = {
    "log_ratio_per_token": ("log-ratio to M0 per token", "percent"),
    "log_ratio": ("log-ratio to M0", "percent"),
    "likelihood_per_token": ("likelihood per token", "percent"),
    "longer_accuracy": ("length baseline, same pairs", "percent"),
}
DATA: Labels = {
    "rows": ("pairs", "count"),
    "prompts": ("prompts kept", "count"),
    "candidates": ("candidates", "count"),
    "truncated": ("truncated candidates", "count"),
    "mean_score": ("mean score", "number"),
    "mean_length": ("mean length (tokens)", "number"),
}
DATA_METRICS: Labels = {
    "parse_rate": ("parse rate", "percent"),
    "tied_prompts": ("prompts with all scores tied", "percent"),
    "score_entropy": ("score entropy (bits)", "number"),
    "length_correlation": ("score-length correlation", "number"),
    "pairs_kept": ("prompts with a pair", "percent"),
    "kl_from_m1": ("KL from M1 (nats)", "number"),
}
# Fields with counts by reason.
COUNTS_BY_REASON = {"prompts_dropped": "prompts dropped", "drops": "no pair", "verdicts": "verdicts"}
# Labels that differ with train.kind=sft.
POSITIVES_ONLY_LABELS = {"rows": "perfect answers", "pairs_kept": "prompts with a perfect answer", "drops": "dropped"}
# With dpo.eval_steps, DPO is split into stages such as `step_200`, and each checkpoint is evaluated.
_TRAINING_STAGE = re.compile(r"sft|dpo|step_\d+")
_EVALUATION_STAGE = re.compile(
    rf"answers|instructions|{READINGS}|m1_logprobs|(?:judge|vs)_.*|step_\d+_(?:answers|vs_.*)"
)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric of a model; without an interval, the bounds of `found` are None.

    `stage` and `key` name its field in the manifest, and its cases; `prompts` is the number of prompts behind it.
    """

    group: str
    label: str
    fmt: NumberFormat
    found: Estimate
    stage: str = ""
    key: str = ""
    prompts: int = 0


def set_name(name: str) -> str:
    """Return the display name of a set of ranked answers."""
    return "held-out" if name == "held_out" else name


def judge_group(name: str) -> str:
    """Return the heading of a model's metrics as a judge on a set of ranked answers."""
    return f"as a judge ({set_name(name)})"


def match_name(match: Match) -> str:
    """Return the names of the two compared models."""
    return f"{display_name(match.model)} against {display_name(match.against)}"


def any_estimate(entry: Mapping[str, Any] | None, key: str) -> Estimate:
    """Return an entry's estimate, or its plain number as an estimate without bounds."""
    found = (entry or {}).get(key)
    if isinstance(found, int | float):
        return Estimate(float(found), None, None, 0)
    return estimate(entry, key)


def kind_of(stage: str) -> str:
    """Return the kind of work of a stage: `data`, `training` or `evaluation`."""
    name = stage.rpartition("/")[2]
    if _TRAINING_STAGE.fullmatch(name):
        return "training"
    return "evaluation" if _EVALUATION_STAGE.fullmatch(name) else "data"


def data_labels(*, positives_only: bool) -> tuple[Labels, Labels, dict[str, str]]:
    """Return DATA, DATA_METRICS and COUNTS_BY_REASON, relabelled if the model is trained on positives only."""
    if not positives_only:
        return DATA, DATA_METRICS, COUNTS_BY_REASON
    data, metrics = (
        {key: (POSITIVES_ONLY_LABELS.get(key, label), fmt) for key, (label, fmt) in labels.items()}
        for labels in (DATA, DATA_METRICS)
    )
    counts = {key: POSITIVES_ONLY_LABELS.get(key, label) for key, label in COUNTS_BY_REASON.items()}
    return data, metrics, counts


def model_metrics(model: ModelData) -> Iterator[Metric]:
    """Yield every measured metric of a model, in the order of the page."""
    yield from _labelled("training", model.training, TRAINING)
    for name, entry in model.judging.items():
        yield from _labelled(judge_group(name), entry, JUDGING, f"judge_{name}")
        yield from _counted(judge_group(name), entry, {"outcomes": "verdicts"})
    for match in model.matches:
        yield from _labelled(match_name(match), match.entry, MATCH, f"vs_m{match.against}")
    yield from _labelled("implicit preferences, pairs in order", model.stages.get(READINGS), IMPLICIT, READINGS)
    instructions = model.stages.get("instructions")
    yield from _labelled("instructions", instructions, INSTRUCTIONS, "instructions")
    kinds = (instructions or {}).get("by_kind") or {}
    yield from _labelled("instructions by kind, strict", kinds, {kind: (humanize(kind), "percent") for kind in kinds})
    data, metrics, counted = data_labels(positives_only=model.positives_only)
    yield from _labelled("data", model.data, data)
    yield from _counted("data", model.data, counted)
    yield from _labelled("data", model.data_metrics, metrics)
    judged = model.stages.get(JUDGEMENT_PAIRS)
    yield from _labelled("data", judged, {"rows": ("pairs of judgements", "count")})
    yield from _counted("data", judged, {"drops": "no pair of judgements", "chosen_scores": "better judgement's score"})
    yield from _costs(model)


def _labelled(group: str, entry: Entry | None, labels: Labels, stage: str = "") -> Iterator[Metric]:
    for key, (label, fmt) in labels.items():
        found = any_estimate(entry, key)
        if found.value is not None:
            yield Metric(group, label, fmt, found, stage, key, min(found.n, (entry or {}).get("prompts") or found.n))


def _counted(group: str, entry: Entry | None, labels: Mapping[str, str]) -> Iterator[Metric]:
    for key, label in labels.items():
        for reason, count in ((entry or {}).get(key) or {}).items():
            yield Metric(group, f"{label}: {humanize(reason)}", "count", Estimate(float(count), None, None, 0))


def _costs(model: ModelData) -> Iterator[Metric]:
    for key, label in (("seconds", "time"), ("tokens_in", "input tokens"), ("tokens_out", "output tokens")):
        sums: dict[str, float] = {}
        for stage, entry in model.stages.items():
            if isinstance(entry.get(key), int | float):
                sums[kind_of(stage)] = sums.get(kind_of(stage), 0.0) + entry[key]
        for kind, value in sums.items():
            fmt: NumberFormat = "seconds" if key == "seconds" else "count"
            yield Metric("cost", f"{label}, {kind}", fmt, Estimate(value, None, None, 0))
