"""Did it get better? In words, as far as the intervals let one say it.

A win rate is better or worse than even only if its whole 95 % interval lies on that side of 50 %. Two figures differ
only if their intervals do not overlap. That is a cautious test: figures of the same prompts can differ reliably though
their intervals overlap, and then nothing is claimed here. A judge beside "the longer answer is better" is the
exception: their difference on the same pairs was measured itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from srlm.report.collect import estimate
from srlm.report.match_flags import by_place, match_flags
from srlm.report.measures import match_name, set_name

if TYPE_CHECKING:
    from srlm.evaluation.estimates import Estimate
    from srlm.report.collect import Entry, Match, ModelData, RunData

Word = Literal["better", "worse", "same", "unmeasured"]
LENGTH_FLAG = "the longer answer is better"  # in the flag of a judge that is not shown to be above it


@dataclass(frozen=True, slots=True)
class Finding:
    """A verdict in one word, and in a sentence."""

    word: Word
    text: str


@dataclass(frozen=True, slots=True)
class Line:
    """What the first screen says of a model."""

    model: ModelData
    badge: Finding
    sentences: list[str]
    judge: Estimate
    longer: Estimate
    previous: Match | None
    first: Match | None  # against M1, where M1 is not the previous one
    instructions: Estimate


def against_even(found: Estimate) -> Word:
    """Say on which side of 50 % a win rate lies."""
    bounds = _bounds(found)
    if bounds is None:
        return "unmeasured"
    return "better" if bounds[0] > 0.5 else "worse" if bounds[1] < 0.5 else "same"


def apart(one: Estimate, other: Estimate) -> Word:
    """Say whether one figure is above (better) or below (worse) another, by their intervals."""
    first, second = _bounds(one), _bounds(other)
    if first is None or second is None:
        return "unmeasured"
    return "better" if first[0] > second[1] else "worse" if first[1] < second[0] else "same"


def judge_name(name: str) -> str:
    """Return whose judgement it is: `m1` is a model of the run, anything else is named as it is."""
    return f"M{name[1:]}" if re.fullmatch(r"m\d+(?: \(scores\))?", name) else name


def headline(run: RunData) -> Finding:
    """Answer the question for the whole run: its last compared model against M1."""
    trained = run.trained
    if len(trained) < 2:
        return Finding("unmeasured", _only_one(run) if trained else _NONE_YET)
    for model in reversed(trained):
        match = model.match(1)
        if match is not None and against_even(match.win_rate) != "unmeasured":
            later = [one.name for one in trained if one.t > model.t]
            return Finding(against_even(match.win_rate), _headline(model.name, match) + _not_compared(later))
    return Finding("unmeasured", "No model's answers were compared with M1's, so nobody can say.")


def lines(run: RunData) -> list[Line]:
    """Return the first screen's line of every trained model."""
    return [_line(model, run.model(model.t - 1)) for model in run.trained]


def warnings(run: RunData) -> list[tuple[str, str]]:
    """Return (where, what) of every flag of a measurement and every gate that was not met."""
    justify = bool((run.config.get("head_to_head") or {}).get("justify"))
    found = []
    for model in run.models:
        found += [(f"Data for {model.name}", text) for text in _data_flags(model)]
        for name, entry in model.judging.items():
            found += [(f"{model.name} as a judge, {set_name(name)}", str(flag)) for flag in entry.get("flags") or []]
        for match in model.matches:
            found += [(match_name(match), text) for text in match_flags(match, justify=justify)]
    return found


def _data_flags(model: ModelData) -> list[str]:
    """Return why the model was not trained, if so, and the gates that were not met, each once."""
    stopped = model.halted.get("stopped")
    gates = [str(gate.get("text") or gate.get("gate")) for gate in model.quality.get("gates") or []]
    if not stopped:
        return gates
    return [str(stopped), *(text for text in gates if text not in stopped)]


def _only_one(run: RunData) -> str:
    for model in run.models:
        if model.halted:
            return f"Only M1 is trained: the run stopped before {model.name}, for the reason below."
    return "Only M1 is trained, so there is nothing to compare yet."


def _not_compared(later: list[str]) -> str:
    if not later:
        return ""
    return f" {' and '.join(later)} {'was' if len(later) == 1 else 'were'} not compared with M1."


_NONE_YET = "No model is trained yet."
_HEADLINES: dict[Word, str] = {
    "better": "Yes: {model} answers better than M1.",
    "worse": "No: {model} answers worse than M1.",
    "same": "Between {model} and M1 there is no difference that the data can show.",
}


def _headline(model: str, match: Match) -> str:
    word = against_even(match.win_rate)
    text = _HEADLINES[word].format(model=model)
    if _by_length_alone(match):
        return f"{model} wins against M1, but its answers' length may be all there is to it."
    return text


def _line(model: ModelData, before: ModelData | None) -> Line:
    held_out = model.judging.get("held_out")
    previous = model.match(model.t - 1)
    return Line(
        model=model,
        badge=_badge(model, previous),
        sentences=[*_answers(model, previous), _judging(model, before), *_instructions(model, before)],
        judge=estimate(held_out, "pairwise_accuracy"),
        longer=estimate(held_out, "longer_accuracy"),
        previous=previous,
        first=model.match(1) if model.t > 2 else None,
        instructions=estimate(model.stages.get("instructions"), "prompt_strict"),
    )


def _badge(model: ModelData, previous: Match | None) -> Finding:
    if model.t == 1:
        return Finding("unmeasured", "where it starts")
    word = against_even(previous.win_rate) if previous else "unmeasured"
    other = f"M{model.t - 1}"
    if previous is not None and _by_length_alone(previous):
        return Finding("same", f"better than {other}, length may be why")
    text = {"better": "better than", "worse": "worse than", "same": "no difference shown from"}.get(word)
    return Finding(word, f"{text or 'not compared with'} {other}")


def _by_length_alone(match: Match) -> bool:
    """Tell whether a win is not left, as far as can be measured, once length is controlled."""
    won = against_even(match.win_rate) == "better"
    return won and against_even(match.length_controlled) in ("same", "worse")


def _answers(model: ModelData, previous: Match | None) -> list[str]:
    if model.t == 1:
        return []
    other = f"M{model.t - 1}"
    word = against_even(previous.win_rate) if previous else "unmeasured"
    if previous is None or word == "unmeasured":
        return [f"Its answers were not compared with {other}'s."]
    text = {
        "better": f"Answers better than {other}",
        "worse": f"Answers worse than {other}",
        "same": f"Answers: no difference from {other} that the data can show",
    }[word]
    place = ", which mostly follows the place of an answer" if by_place(previous.entry) else ""
    return [f"{text}, by {judge_name(previous.judge)}'s judgement{place}{_length(previous, word)}."]


def _length(match: Match, word: Word) -> str:
    controlled = against_even(match.length_controlled)
    if controlled in ("unmeasured", word):
        return ""
    said = {"better": "better", "worse": "worse", "same": "no difference"}[controlled]
    return f"; with length controlled, {said}"


def _judging(model: ModelData, before: ModelData | None) -> str:
    entry = model.judging.get("held_out")
    accuracy, longer = estimate(entry, "pairwise_accuracy"), estimate(entry, "longer_accuracy")
    word = _beside_length(entry, accuracy, longer)
    if word == "unmeasured":
        return "How it judges was not measured."
    text = {
        "better": "Judges better than length would",
        "worse": "Judges worse than length would",
        "same": "Not shown to judge better than length would",
    }[word]
    return f"{text}{_change(accuracy, _before(before, 'judge_held_out', 'pairwise_accuracy'), before)}."


def _beside_length(entry: Entry | None, accuracy: Estimate, longer: Estimate) -> Word:
    """Say how a judge stands beside the longer answer, by the flag on their difference on the same pairs.

    That is sharper than two intervals: it may be sure where they overlap. An entry that does not tell its flags is
    judged by the intervals.
    """
    word, flags = apart(accuracy, longer), (entry or {}).get("flags")
    if word == "same" and isinstance(flags, list):
        return "same" if any(LENGTH_FLAG in str(flag) for flag in flags) else "better"
    return word


def _instructions(model: ModelData, before: ModelData | None) -> list[str]:
    found = estimate(model.stages.get("instructions"), "prompt_strict")
    change = _change(found, _before(before, "instructions", "prompt_strict"), before)
    return [f"Follows instructions: {change.removeprefix('; ')}."] if change else []


def _before(before: ModelData | None, stage: str, key: str) -> Estimate:
    return estimate(before.stages.get(stage) if before else None, key)


def _change(found: Estimate, earlier: Estimate, before: ModelData | None) -> str:
    word = apart(found, earlier)
    if before is None or word == "unmeasured":
        return ""
    return {
        "better": f"; better than {before.name}",
        "worse": f"; worse than {before.name}",
        "same": f"; no change from {before.name}",
    }[word]


def _bounds(found: Estimate) -> tuple[float, float] | None:
    return None if found.low is None or found.high is None else (found.low, found.high)
