"""What is measured of a model, under the names of the page; every figure of a model, for setting runs side by side."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from srlm.evaluation.estimates import Estimate
from srlm.report.collect import estimate
from srlm.report.text import words

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from srlm.report.collect import Entry, Match, ModelData
    from srlm.report.text import Form

Names = dict[str, tuple[str, "Form"]]  # key in the manifest -> label, form

TRAINING: Names = {
    "rows": ("rows trained on", "count"),
    "dropped_too_long": ("rows that were too long", "count"),
    "steps": ("steps", "count"),
    "best_step": ("step that was kept", "count"),
    "train_loss": ("mean loss", "loss"),
}
JUDGING: Names = {
    "pairwise_accuracy": ("pairwise accuracy", "percent"),
    "longer_accuracy": ("'longer is better', same pairs", "percent"),
    "human_agreement": ("humans among themselves", "percent"),
    "agreement": ("agreement of labels", "percent"),
    "tied": ("pairs that the judge ties", "percent"),
    "exact_match": ("whole order right", "percent"),
    "five_best": ("5 given to the humans' best", "percent"),
    "spearman": ("Spearman with the humans' order", "number"),
    "kendall": ("Kendall with the humans' order", "number"),
    "length_spearman": ("Spearman of score and length", "number"),
    "parse_rate": ("verdicts that could be read", "percent"),
    "score_entropy": ("entropy of written scores (bits)", "number"),
    "prompts": ("prompts", "count"),
    "answers": ("answers", "count"),
    "pairs": ("pairs", "count"),
    "pairs_unscored": ("pairs without both scores", "count"),
    "prompts_unscored": ("prompts without all scores", "count"),
    "too_long": ("prompts left out, too long to judge", "count"),
}
MATCH: Names = {
    "win_rate": ("win rate", "percent"),
    "length_controlled": ("length controlled", "percent"),
    "preference": ("mean probability of its answer", "percent"),
    "prompts": ("prompts", "count"),
    "wins": ("won", "count"),
    "ties": ("tied", "count"),
    "losses": ("lost", "count"),
    "unread": ("not read", "count"),
    "first_share": ("verdicts for whoever stood first", "percent"),
    "disagreements": ("orders that disagree", "count"),
}
INSTRUCTIONS: Names = {
    "prompt_strict": ("prompts, strict", "percent"),
    "instruction_strict": ("instructions, strict", "percent"),
    "prompt_loose": ("prompts, loose", "percent"),
    "instruction_loose": ("instructions, loose", "percent"),
}
DATA: Names = {
    "rows": ("pairs", "count"),
    "prompts": ("prompts kept", "count"),
    "candidates": ("candidates", "count"),
    "truncated": ("candidates cut off", "count"),
    "mean_score": ("mean score", "number"),
    "mean_length": ("mean length (tokens)", "number"),
}
QUALITY: Names = {
    "parse_rate": ("verdicts that could be read", "percent"),
    "tied_prompts": ("prompts whose scores all tie", "percent"),
    "score_entropy": ("entropy of scores (bits)", "number"),
    "length_correlation": ("correlation of score and length", "number"),
    "pairs_kept": ("prompts with a pair", "percent"),
    "kl_from_m1": ("KL from M1 (nats)", "number"),
}
COUNTED = {"prompts_dropped": "prompts dropped", "drops": "no pair", "verdicts": "verdicts"}  # counts by reason
# What has another name where a model learns from good answers alone.
OF_POSITIVES = {"rows": "perfect answers", "pairs_kept": "prompts with a perfect answer", "drops": "left out"}
# With dpo.eval_steps a training is several stages, `step_200`, and each of its checkpoints is measured.
_TRAINING = re.compile(r"sft|dpo|step_\d+")
_MEASURING = re.compile(r"answers|instructions|m1_readings|(?:judge|vs)_.*|step_\d+_(?:answers|vs_.*)")


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of a model; what has no interval has no bounds."""

    group: str
    label: str
    form: Form
    found: Estimate


def set_name(name: str) -> str:
    """Return the name of a set of ranked answers as words."""
    return "held out" if name == "held_out" else name


def match_name(match: Match) -> str:
    """Return whose answers are compared."""
    return f"M{match.model} against M{match.against}"


def any_estimate(entry: Mapping[str, Any] | None, key: str) -> Estimate:
    """Return an entry's estimate, or its plain number as one without bounds."""
    found = (entry or {}).get(key)
    if isinstance(found, int | float):
        return Estimate(float(found), None, None, 0)
    return estimate(entry, key)


def kind_of(stage: str) -> str:
    """Return what sort of work a stage is: `data`, `training` or `measuring`."""
    name = stage.rpartition("/")[2]
    if _TRAINING.fullmatch(name):
        return "training"
    return "measuring" if _MEASURING.fullmatch(name) else "data"


def data_names(*, by_positives: bool) -> tuple[Names, Names, dict[str, str]]:
    """Return DATA, QUALITY and COUNTED under the names that fit what is trained on."""
    if not by_positives:
        return DATA, QUALITY, COUNTED
    data, quality = (
        {key: (OF_POSITIVES.get(key, label), form) for key, (label, form) in names.items()} for names in (DATA, QUALITY)
    )
    return data, quality, COUNTED | {key: label for key, label in OF_POSITIVES.items() if key in COUNTED}


def model_figures(model: ModelData) -> Iterator[Figure]:
    """Yield every figure of a model that was measured, in the order of the page."""
    yield from _named("training", model.training, TRAINING)
    for name, entry in model.judging.items():
        yield from _named(f"as a judge, {set_name(name)}", entry, JUDGING)
        yield from _counted(f"as a judge, {set_name(name)}", entry, {"outcomes": "verdicts"})
    for match in model.matches:
        yield from _named(match_name(match), match.entry, MATCH)
    instructions = model.stages.get("instructions")
    yield from _named("instructions", instructions, INSTRUCTIONS)
    kinds = (instructions or {}).get("by_kind") or {}
    yield from _named("instructions, strict", kinds, {kind: (words(kind), "percent") for kind in kinds})
    data, quality, counted = data_names(by_positives=model.by_positives)
    yield from _named("data", model.data, data)
    yield from _counted("data", model.data, counted)
    yield from _named("data", model.quality, quality)
    yield from _costs(model)


def _named(group: str, entry: Entry | None, names: Names) -> Iterator[Figure]:
    for key, (label, form) in names.items():
        found = any_estimate(entry, key)
        if found.value is not None:
            yield Figure(group, label, form, found)


def _counted(group: str, entry: Entry | None, names: Mapping[str, str]) -> Iterator[Figure]:
    for key, label in names.items():
        for reason, count in ((entry or {}).get(key) or {}).items():
            yield Figure(group, f"{label}: {words(reason)}", "count", Estimate(float(count), None, None, 0))


def _costs(model: ModelData) -> Iterator[Figure]:
    for key, label in (("seconds", "time"), ("tokens_in", "tokens read"), ("tokens_out", "tokens written")):
        sums: dict[str, float] = {}
        for stage, entry in model.stages.items():
            if isinstance(entry.get(key), int | float):
                sums[kind_of(stage)] = sums.get(kind_of(stage), 0.0) + entry[key]
        for kind, value in sums.items():
            form: Form = "seconds" if key == "seconds" else "count"
            yield Figure("cost", f"{label}, {kind}", form, Estimate(value, None, None, 0))
