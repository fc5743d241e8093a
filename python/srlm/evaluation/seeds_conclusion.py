"""The last line of several seeds: what the last model does better or worse than M0, and than the random control does.

As in `conclusion`, every measure that the runs have is named, and a difference is claimed only if its interval excludes
zero and the exact test agrees.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from srlm.evaluation.conclusion import NOTHING_MEASURED
from srlm.evaluation.seeds_summary import MEASURES
from srlm.run.model_names import BASE, display_name

if TYPE_CHECKING:
    from collections.abc import Mapping

# How a measure is claimed: better, worse, and neither; what it counts; and how its value for M0 is named.
WORDS = {
    "judge_accuracy": (
        "judges better",
        "judges worse",
        "judge better or worse",
        "of the held-out pairs of {} prompts ordered right",
    ),
    "instructions_followed": (
        "follows instructions better",
        "follows instructions worse",
        "follow instructions better or worse",
        "of {} prompts",
    ),
    "win_rate": ("answers better", "answers worse", "answer better or worse", "win rate on {} prompts"),
    "implicit_preferences": (
        "has moved towards the answers that humans prefer",
        "has moved away from the answers that humans prefer",
        "have moved towards or away from the answers that humans prefer",
        "of the held-out pairs of {} prompts ordered right by the log-ratio to M0",
    ),
}


def seeds_conclusion(summary: Mapping[str, Any]) -> str | None:
    """Return the sentence of a summary (`seeds_summary.summarize`), or None before M1 is trained."""
    trained = [model for model, seeds in summary["trained"].items() if seeds]
    if not trained:
        return None
    last, seeds = trained[-1], summary["trained"][trained[-1]]
    results = [(measure.key, summary["measures"].get(measure.key, {})) for measure in MEASURES]
    parts = [part for key, found in results if (part := _part(key, found, last, seeds))]
    over = f"seed {seeds[0]} alone" if len(seeds) == 1 else f"over {len(seeds)} seeds"
    return f"{display_name(last)} against {display_name(BASE)}, {over}: {'; '.join(parts) or NOTHING_MEASURED}."


def _part(key: str, found: Mapping[str, Any], last: str, seeds: list[int]) -> str | None:
    run = found.get(last, {}).get("run", {})
    change = run.get("change")
    if change is None or change["difference"]["value"] is None:
        return None
    better, worse, either, counted = WORDS[key]
    shown = {"better": better, "worse": worse}.get(change["outcome"], f"not shown to {either}")
    base, by_seed = found.get(BASE, {}).get("run"), change["spread"]["by_seed"]
    texts = [
        f"{run['result']['mean']:.0%} {counted.format(change['prompts'])}",
        f"{display_name(BASE)} {base['result']['mean']:.0%}" if base else "even 50%",
        *([f"{len(by_seed)} of {len(seeds)} seeds"] if len(by_seed) < len(seeds) else []),
        points_text(change),
        *([f"by seed {points(change['spread']['low'])} to {points(change['spread']['high'])}"] * (len(by_seed) > 1)),
    ]
    control = _control(found[last])
    return f"{shown} ({', '.join(texts)}{'' if control is None else f'; {control}'})"


def _control(model: Mapping[str, Any]) -> str | None:
    """Return the change of the random control, and whether the run differs from it."""
    change, difference = model.get("control", {}).get("change"), model.get("run_minus_control")
    if change is None or difference is None or difference["difference"]["value"] is None:
        return None
    shown = {"better": "better than it", "worse": "worse than it"}
    outcome = shown.get(difference["outcome"], "not shown to differ from it")
    own = f"random control {points(change['difference']['value'])}"
    by_seed, of_run = difference["spread"]["by_seed"], model["run"]["change"]["spread"]["by_seed"]
    few = f", {len(by_seed)} of {len(of_run)} seeds" if len(by_seed) < len(of_run) else ""
    return f"{own}, {outcome}: {points_text(difference)}{few}"


def points_text(change: Mapping[str, Any]) -> str:
    """Format a change in percentage points, with its interval."""
    value, low, high = (change["difference"][name] for name in ("value", "low", "high"))
    bounds = "" if low is None or high is None else f", 95 % interval {points(low)} to {points(high)}"
    return f"{points(value)} points{bounds}"


def points(value: float) -> str:
    """Return a difference of shares in percentage points with its sign; what rounds to zero has a plus."""
    return f"{round(100 * value, 1) + 0.0:+.1f}"
