"""The last line of a run: what the last model does better or worse than M0, by every measure that the run has of both.

All measures are named, also those that show nothing: a list of the successes alone would be picked from many tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from srlm.evaluation.claims import Outcome, decided_text, win_rate_claim
from srlm.evaluation.estimates import Estimate
from srlm.evaluation.paired import paired_change, read_cases
from srlm.run.model_names import BASE, display_name, model_name

if TYPE_CHECKING:
    from srlm.run.run_dir import RunDir

NOTHING_MEASURED = "nothing is measured for both; see evaluate and head_to_head.baselines"


def conclusion(run: RunDir, iterations: int) -> str | None:
    """Return the sentence, or None before M1 is trained."""
    trained = (model_name(t) for t in range(iterations, 0, -1))
    last = next((name for name in trained if run.entry(f"{name}/dpo") or run.entry(f"{name}/sft")), None)
    if last is None:
        return None
    parts = [part for part in (_judge(run, last), _rules(run, last), _answers(run, last)) if part]
    subject = f"{display_name(last)} against {display_name(BASE)}"
    return f"{subject}: {'; '.join(parts) or NOTHING_MEASURED}."


def _judge(run: RunDir, name: str) -> str | None:
    shown = {"better": "judges better", "worse": "judges worse", "same": "not shown to judge better or worse"}
    return _changed(run, name, "judge_held_out", "pairwise_accuracy", shown, "of {} held-out pairs ordered right")


def _rules(run: RunDir, name: str) -> str | None:
    shown = {
        "better": "follows instructions better",
        "worse": "follows instructions worse",
        "same": "not shown to follow instructions better or worse",
    }
    return _changed(run, name, "instructions", "prompt_strict", shown, "of {} prompts")


def _changed(run: RunDir, name: str, stage: str, metric: str, shown: dict[str, str], unit: str) -> str | None:
    rows = [read_cases(run.file(model, f"{stage}.jsonl")).get(metric, []) for model in (name, BASE)]
    change = paired_change(rows[0], rows[1])
    entry, before = (run.entry(f"{model}/{stage}") for model in (name, BASE))
    if change is None or change.difference.value is None or entry is None or before is None:
        return None
    own, base = entry[metric]["value"], before[metric]["value"]
    found = f"{own:.0%} {unit.format(len(rows[0]))}, {display_name(BASE)} {base:.0%}, {_points(change.difference)}"
    return f"{shown[_outcome(change.outcome)]} ({found})"


def _answers(run: RunDir, name: str) -> str | None:
    match = run.entry(f"{name}/vs_{BASE}")
    if match is None:
        return None
    counts = match["wins"], match["ties"], match["losses"]
    outcome = _outcome(win_rate_claim(Estimate(**match["win_rate"]), counts[0], counts[2]))
    shown = {"better": "answers better", "worse": "answers worse", "same": "not shown to answer better or worse"}
    return f"{shown[outcome]} ({decided_text(*counts)})"


def _points(difference: Estimate) -> str:
    value, low, high = difference.value or 0.0, difference.low, difference.high
    bounds = "" if low is None or high is None else f", 95 % interval {100 * low:+.1f} to {100 * high:+.1f}"
    return f"{100 * value:+.1f} points{bounds}"


def _outcome(outcome: Outcome) -> str:
    return outcome if outcome in ("better", "worse") else "same"
