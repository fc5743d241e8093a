"""The findings of the report in words: whether the models improved, as far as the intervals support it.

A win rate counts as better or worse than even only if its whole 95 % interval lies on that side of 50 %. Two metrics
differ only if their intervals do not overlap. This test is conservative: metrics over the same prompts can differ
significantly although their intervals overlap, and the report then claims no difference. The exception is a judge
against the length baseline ("the longer answer is better"): there the difference on the same pairs is measured.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from srlm.report.collect import estimate
from srlm.report.match_flags import is_position_biased, match_flags
from srlm.report.measures import judge_group, match_name

if TYPE_CHECKING:
    from srlm.evaluation.estimates import Estimate
    from srlm.report.collect import Entry, Match, ModelData, RunData

Outcome = Literal["better", "worse", "same", "unmeasured"]
LENGTH_FLAG = "the longer answer is better"  # part of the flag of a judge that is not significantly above this baseline


@dataclass(frozen=True, slots=True)
class Finding:
    """An outcome and the text that describes it."""

    outcome: Outcome
    text: str


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """The row of one model in the summary table."""

    model: ModelData
    badge: Finding
    sentences: list[str]
    judge: Estimate
    longer: Estimate
    previous: Match | None
    first: Match | None  # against M1, unless M1 is the previous model
    instructions: Estimate


def win_rate_outcome(found: Estimate) -> Outcome:
    """Return on which side of 50 % a win rate lies."""
    bounds = _bounds(found)
    if bounds is None:
        return "unmeasured"
    return "better" if bounds[0] > 0.5 else "worse" if bounds[1] < 0.5 else "same"


def compare_intervals(one: Estimate, other: Estimate) -> Outcome:
    """Return whether one estimate is above (better) or below (worse) another, by their intervals."""
    first, second = _bounds(one), _bounds(other)
    if first is None or second is None:
        return "unmeasured"
    return "better" if first[0] > second[1] else "worse" if first[1] < second[0] else "same"


def judge_name(name: str) -> str:
    """Return the display name of a judge: `m1`, a model of the run, becomes `M1`; other names stay as they are."""
    return f"M{name[1:]}" if re.fullmatch(r"m\d+(?: \(pointwise\))?", name) else name


def headline(run: RunData) -> Finding:
    """Return the finding for the whole run: the last compared model against M1."""
    trained = run.trained
    if len(trained) < 2:
        return Finding("unmeasured", _only_m1(run) if trained else _NOTHING_TRAINED)
    for model in reversed(trained):
        match = model.match(1)
        if match is not None and win_rate_outcome(match.win_rate) != "unmeasured":
            later = [other.name for other in trained if other.t > model.t]
            return Finding(win_rate_outcome(match.win_rate), _headline(model.name, match) + _not_compared(later))
    return Finding("unmeasured", "Unknown: no model was compared with M1.")


def summary_rows(run: RunData) -> list[SummaryRow]:
    """Return the summary table: one row per trained model."""
    return [_summary_row(model, run.model(model.t - 1)) for model in run.trained]


def warnings(run: RunData) -> list[tuple[str, str]]:
    """Return (where, what) of every caveat about a metric and every failed gate."""
    justify = bool((run.config.get("head_to_head") or {}).get("justify"))
    found = []
    for model in run.models:
        found += [(f"Data for {model.name}", text) for text in _data_flags(model)]
        for name, entry in model.judging.items():
            found += [(f"{model.name} {judge_group(name)}", str(flag)) for flag in entry.get("flags") or []]
        for match in model.matches:
            found += [(match_name(match), text) for text in match_flags(match, justify=justify)]
    return found


def _data_flags(model: ModelData) -> list[str]:
    """Return why the run stopped before training the model, if it did, and the failed gates, without duplicates."""
    stopped = model.halted.get("stopped")
    gates = [str(gate.get("text") or gate.get("gate")) for gate in model.data_metrics.get("gates") or []]
    if not stopped:
        return gates
    return [str(stopped), *(text for text in gates if text not in stopped)]


def _only_m1(run: RunData) -> str:
    for model in run.models:
        if model.halted:
            return f"Only M1 is trained: the run stopped before training {model.name} (see the warnings below)."
    return "Only M1 is trained; there is nothing to compare yet."


def _not_compared(later: list[str]) -> str:
    if not later:
        return ""
    return f" {' and '.join(later)} {'was' if len(later) == 1 else 'were'} not compared with M1."


_NOTHING_TRAINED = "No model has been trained yet."
_HEADLINES: dict[Outcome, str] = {
    "better": "Yes: {model} gives better answers than M1.",
    "worse": "No: {model} gives worse answers than M1.",
    "same": "No significant difference between {model} and M1.",
}


def _headline(model: str, match: Match) -> str:
    outcome = win_rate_outcome(match.win_rate)
    text = _HEADLINES[outcome].format(model=model)
    if _explained_by_length(match):
        return f"{model} wins against M1, but longer answers alone may explain it."
    return text


def _summary_row(model: ModelData, before: ModelData | None) -> SummaryRow:
    held_out = model.judging.get("held_out")
    previous = model.match(model.t - 1)
    return SummaryRow(
        model=model,
        badge=_badge(model, previous),
        sentences=[
            *_answer_sentences(model, previous),
            _judge_sentence(model, before),
            *_instruction_sentences(model, before),
        ],
        judge=estimate(held_out, "pairwise_accuracy"),
        longer=estimate(held_out, "longer_accuracy"),
        previous=previous,
        first=model.match(1) if model.t > 2 else None,
        instructions=estimate(model.stages.get("instructions"), "prompt_strict"),
    )


def _badge(model: ModelData, previous: Match | None) -> Finding:
    if model.t == 1:
        return Finding("unmeasured", "starting point")
    outcome = win_rate_outcome(previous.win_rate) if previous else "unmeasured"
    other = f"M{model.t - 1}"
    if previous is not None and _explained_by_length(previous):
        return Finding("same", f"better than {other}, possibly due to length")
    text = {"better": "better than", "worse": "worse than", "same": "no significant difference from"}.get(outcome)
    return Finding(outcome, f"{text or 'not compared with'} {other}")


def _explained_by_length(match: Match) -> bool:
    """Return whether a win is not significant in the length-controlled win rate; False if that is not measured."""
    won = win_rate_outcome(match.win_rate) == "better"
    return won and win_rate_outcome(match.length_controlled) in ("same", "worse")


def _answer_sentences(model: ModelData, previous: Match | None) -> list[str]:
    if model.t == 1:
        return []
    other = f"M{model.t - 1}"
    outcome = win_rate_outcome(previous.win_rate) if previous else "unmeasured"
    if previous is None or outcome == "unmeasured":
        return [f"Answers: not compared with {other}."]
    text = {
        "better": f"Answers: better than {other}",
        "worse": f"Answers: worse than {other}",
        "same": f"Answers: no significant difference from {other}",
    }[outcome]
    bias = ", position-biased" if is_position_biased(previous.entry) else ""
    judge = f"(judge: {judge_name(previous.judge)}{bias})"
    return [f"{text} {judge}{_length_controlled_text(previous, outcome)}."]


def _length_controlled_text(match: Match, outcome: Outcome) -> str:
    controlled = win_rate_outcome(match.length_controlled)
    if controlled in ("unmeasured", outcome):
        return ""
    text = {"better": "better", "worse": "worse", "same": "no significant difference"}[controlled]
    return f"; length-controlled: {text}"


def _judge_sentence(model: ModelData, before: ModelData | None) -> str:
    entry = model.judging.get("held_out")
    accuracy, longer = estimate(entry, "pairwise_accuracy"), estimate(entry, "longer_accuracy")
    outcome = _versus_length_baseline(entry, accuracy, longer)
    if outcome == "unmeasured":
        return "Judge: not measured."
    text = {
        "better": "Judge: better than the length baseline",
        "worse": "Judge: worse than the length baseline",
        "same": "Judge: not significantly better than the length baseline",
    }[outcome]
    return f"{text}{_change(accuracy, _previous_estimate(before, 'judge_held_out', 'pairwise_accuracy'), before)}."


def _versus_length_baseline(entry: Entry | None, accuracy: Estimate, longer: Estimate) -> Outcome:
    """Compare a judge with the length baseline, by the flag on their difference on the same pairs.

    This is more sensitive than comparing two intervals: the difference can be significant although they overlap. An
    entry without flags is compared by the intervals only.
    """
    outcome, flags = compare_intervals(accuracy, longer), (entry or {}).get("flags")
    if outcome == "same" and isinstance(flags, list):
        return "same" if any(LENGTH_FLAG in str(flag) for flag in flags) else "better"
    return outcome


def _instruction_sentences(model: ModelData, before: ModelData | None) -> list[str]:
    found = estimate(model.stages.get("instructions"), "prompt_strict")
    change = _change(found, _previous_estimate(before, "instructions", "prompt_strict"), before)
    unanswered = (model.stages.get("instructions") or {}).get("unanswered")
    missing = f"{unanswered} instruction prompts have no response and count as not followed."
    return [
        *([f"Instruction following: {change.removeprefix('; ')}."] if change else []),
        *([missing] if unanswered else []),
    ]


def _previous_estimate(before: ModelData | None, stage: str, key: str) -> Estimate:
    return estimate(before.stages.get(stage) if before else None, key)


def _change(found: Estimate, earlier: Estimate, before: ModelData | None) -> str:
    outcome = compare_intervals(found, earlier)
    if before is None or outcome == "unmeasured":
        return ""
    return {
        "better": f"; better than {before.name}",
        "worse": f"; worse than {before.name}",
        "same": f"; no significant change from {before.name}",
    }[outcome]


def _bounds(found: Estimate) -> tuple[float, float] | None:
    return None if found.low is None or found.high is None else (found.low, found.high)
