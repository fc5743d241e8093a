"""The findings of the report in words: whether the models improved, as far as the data show it.

A difference is claimed only if its 95 % interval and an exact test of the prompts agree (`evaluation.claims`). Changes
between models, and a judge's gain over the length baseline ("the longer answer is better"), are measured on the same
cases (`evaluation.paired`). Everything else is "not shown", which does not mean that there is no difference.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from srlm.evaluation.claims import Outcome, claim
from srlm.report.changes import (
    change_sentence,
    decided,
    length_outcome,
    match_outcome,
    model_change,
    withheld,
)
from srlm.report.collect import estimate
from srlm.report.match_flags import early_stop_flags, is_position_biased, match_flags
from srlm.report.measures import judge_group, match_name
from srlm.run.model_names import BASE, SFT_BASELINE, display_name, model_name

if TYPE_CHECKING:
    from srlm.evaluation.estimates import Estimate
    from srlm.report.collect import Entry, Match, ModelData, RunData


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
    judge_note: str  # why a measured judge has no metric, or empty
    before: str | None  # the model that this one is trained from, if it is evaluated
    previous: Match | None  # against that model
    first: Match | None  # against M1, unless M1 is the previous model
    base: Match | None  # against M0, unless M0 is the previous model
    instructions: Estimate


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
        if match is not None and match_outcome(match) != "unmeasured":
            later = [other.name for other in trained if other.t > model.t]
            outcome = match_outcome(match) if _length_doubt(match) is None else "same"
            text = _headline(model.name, match) + _against_base(model) + _not_compared(later)
            return Finding(outcome, text)
    base = next((text for model in reversed(trained) if (text := _against_base(model))), "")
    return Finding("unmeasured", f"Unknown: no model was compared with M1.{base}")


def summary_rows(run: RunData) -> list[SummaryRow]:
    """Return the summary table: one row per model, from M0 on."""
    return [_summary_row(model, run) for model in [*run.baselines, *run.trained]]


def warnings(run: RunData) -> list[tuple[str, str]]:
    """Return (where, what) of every caveat about a metric and every failed gate."""
    justify = bool((run.config.get("head_to_head") or {}).get("justify"))
    found = []
    for model in run.models:
        found += [(f"Data for {model.name}", text) for text in _data_flags(model)]
        found += [(f"Training of {model.name}", text) for text in early_stop_flags(model.training)]
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
    first = run.model(1)
    base = _against_base(first) if first is not None else ""
    return f"Only M1 is trained.{base}" if base else "Only M1 is trained; there is nothing to compare yet."


def _not_compared(later: list[str]) -> str:
    if not later:
        return ""
    return f" {' and '.join(later)} {'was' if len(later) == 1 else 'were'} not compared with M1."


_NOTHING_TRAINED = "No model has been trained yet."
_HEADLINES: dict[Outcome, str] = {
    "better": "Yes: {model} gives better answers than M1.",
    "worse": "No: {model} gives worse answers than M1.",
    "same": "Not shown: a difference between the answers of {model} and M1",
}


def _headline(model: str, match: Match) -> str:
    if (doubt := _length_doubt(match)) is not None:
        return f"{model} wins against M1, but {doubt}."
    outcome = match_outcome(match)
    text = _HEADLINES[outcome].format(model=model)
    return f"{text}{_in_brackets(decided(match))}." if outcome == "same" else text


def _against_base(model: ModelData) -> str:
    """Return how a model's answers compare with M0's, or nothing if they were not compared."""
    match = model.match(BASE)
    outcome = "unmeasured" if match is None else match_outcome(match)
    if match is None or outcome == "unmeasured":
        return ""
    name = f" {model.name} against M0, the base model:"
    if (doubt := _length_doubt(match)) is not None:
        return f"{name} wins, but {doubt}."
    if outcome == "same":
        return f"{name} difference not shown{_in_brackets(decided(match))}."
    return f"{name} {outcome}."


def _summary_row(model: ModelData, run: RunData) -> SummaryRow:
    held_out = model.judging.get("held_out")
    before = _before(model)
    previous = None if before is None else model.match(before)
    trained_from = None if before is None else run.model(before)
    known = before if model.t > 1 or trained_from is not None else None
    return SummaryRow(
        model=model,
        badge=_badge(model, known, previous),
        sentences=[
            *_answer_sentences(known, previous),
            *_win_rate_change(model, trained_from),
            _judge_sentence(model, trained_from),
            *_instruction_sentences(model, trained_from),
            *_eft_sentences(model, run.model(SFT_BASELINE)),
        ],
        judge=estimate(held_out, "pairwise_accuracy"),
        judge_note=_unscored(held_out),
        longer=estimate(held_out, "longer_accuracy"),
        before=known,
        previous=previous,
        first=model.match(1) if model.t > 2 else None,
        base=model.match(BASE) if model.t > 1 else None,
        instructions=estimate(model.stages.get("instructions"), "prompt_strict"),
    )


def _before(model: ModelData) -> str | None:
    """Return the name of the model that a model is trained from; None for M0."""
    return None if model.key == BASE else model_name(max(0, model.t - 1))


def _badge(model: ModelData, before: str | None, previous: Match | None) -> Finding:
    if before is None:
        return Finding("unmeasured", "base model" if model.key == BASE else "starting point")
    outcome = match_outcome(previous) if previous else "unmeasured"
    other = display_name(before)
    if previous is not None and _length_doubt(previous) is not None:
        return Finding("same", f"wins against {other}, possibly due to length")
    text = {
        "better": f"better than {other}",
        "worse": f"worse than {other}",
        "same": f"difference from {other} not shown",
    }
    return Finding(outcome, text.get(outcome, f"not compared with {other}"))


def _length_doubt(match: Match) -> str | None:
    """Return why a win may be due to length alone; None if it is not, or if nothing is known of the lengths."""
    if match_outcome(match) != "better":
        return None
    if (reason := withheld(match)) is not None:
        return f"length alone may explain it ({reason})"
    if length_outcome(match) not in ("same", "worse"):
        return None
    lengths = match.entry.get("mean_length") or []
    if len(lengths) == 2 and lengths[0] <= lengths[1]:
        return "a difference at equal lengths is not shown"
    return "longer answers alone may explain it"


def _answer_sentences(before: str | None, previous: Match | None) -> list[str]:
    if before is None:
        return []
    other = display_name(before)
    outcome = match_outcome(previous) if previous else "unmeasured"
    if previous is None or outcome == "unmeasured":
        return [f"Answers: not compared with {other}."]
    bias = ", position-biased" if is_position_biased(previous.entry) else ""
    judge = f"judge: {judge_name(previous.judge)}{bias}"
    if (doubt := _length_doubt(previous)) is not None:
        return [f"Answers: wins against {other} ({judge}), but {doubt}."]
    if outcome == "same":
        counts = decided(previous)
        return [f"Answers: difference from {other} not shown ({judge}{f'; {counts}' if counts else ''})."]
    return [f"Answers: {outcome} than {other} ({judge}){_length_controlled_text(previous, outcome)}."]


def _length_controlled_text(match: Match, outcome: Outcome) -> str:
    if (reason := withheld(match)) is not None:
        return f"; length-controlled win rate withheld ({reason})"
    controlled = length_outcome(match)
    if controlled in ("unmeasured", outcome):
        return ""
    return f"; length-controlled: {'not shown' if controlled == 'same' else controlled}"


def _win_rate_change(model: ModelData, before: ModelData | None) -> list[str]:
    """Return how the win rate against M1 has changed, if both models were compared with M1 by the same judge."""
    matches = [one.match(1) if one else None for one in (model, before)]
    if before is None or matches[0] is None or matches[1] is None or matches[0].judge != matches[1].judge:
        return []
    change = model_change(model, before, "vs_m1", "win_rate")
    return [f"Win rate against M1: {change_sentence(change, before.name)}."]


def _judge_sentence(model: ModelData, before: ModelData | None) -> str:
    entry = model.judging.get("held_out")
    accuracy = estimate(entry, "pairwise_accuracy")
    if accuracy.low is None or accuracy.high is None:
        unscored = _unscored(entry)
        return f"Judge: {unscored}, as no pair has two scored answers." if unscored else "Judge: not measured."
    text = {
        "better": "Judge: better than the length baseline",
        "worse": "Judge: worse than the length baseline",
    }.get(_versus_length_baseline(entry), "Judge: not shown to be better than the length baseline")
    return f"{text}{_change(model, before, 'judge_held_out', 'pairwise_accuracy')}."


def _versus_length_baseline(entry: Entry | None) -> Outcome:
    """Compare a judge with the length baseline, by their difference on the same pairs."""
    p_value = (entry or {}).get("gain_over_length_p")
    return claim(estimate(entry, "gain_over_length"), p_value if isinstance(p_value, int | float) else None)


def _unscored(entry: Entry | None) -> str:
    """Return why a judge that was measured has no accuracy: it scored no pair. Empty if it has one."""
    unscored = (entry or {}).get("pairs_unscored") or 0
    if not unscored or (entry or {}).get("pairs"):
        return ""
    return f"0 of {unscored} pairs scored"


def _eft_sentences(model: ModelData, sft: ModelData | None) -> list[str]:
    """Return what M1 gains over M0 trained on IFT alone: the effect of the judge examples."""
    if model.key != "m1" or sft is None:
        return []
    match = model.match(SFT_BASELINE)
    judge = model_change(model, sft, "judge_held_out", "pairwise_accuracy")
    outcomes = {
        "answers": "unmeasured" if match is None else match_outcome(match),
        "judge": "unmeasured" if judge is None else judge.outcome,
    }
    text = {"better": "better", "worse": "worse", "same": "difference not shown", "unmeasured": "not compared"}
    found = ", ".join(f"{name} {text[outcome]}" for name, outcome in outcomes.items())
    return [f"Against the SFT baseline, which has no EFT examples: {found}."]


def _instruction_sentences(model: ModelData, before: ModelData | None) -> list[str]:
    entry = model.stages.get("instructions")
    if estimate(entry, "prompt_strict").value is None:
        return []
    change = _change(model, before, "instructions", "prompt_strict")
    unanswered = (entry or {}).get("unanswered")
    missing = f"{unanswered} instruction prompts have no response and count as not followed."
    return [
        *([f"Instruction following: {change.removeprefix('; ')}."] if change else []),
        *([missing] if unanswered else []),
    ]


def _change(model: ModelData, before: ModelData | None, stage: str, metric: str) -> str:
    """Return the change from the model before it, if that is measured; the models have the same prompts."""
    if before is None or estimate(before.stages.get(stage), metric).value is None:
        return ""
    return f"; {change_sentence(model_change(model, before, stage, metric), before.name)}"


def _in_brackets(text: str) -> str:
    return f" ({text})" if text else ""
