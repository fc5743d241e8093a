"""Evaluation tables for the terminal: one column per model, every metric with its interval."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from srlm.evaluation.claims import Outcome, decided_text, win_rate_claim
from srlm.evaluation.estimates import Estimate
from srlm.evaluation.paired import paired_change, read_cases

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

Entry = dict[str, Any]

JUDGE_ROWS = (
    ("pairwise accuracy (ties count as half)", "pairwise_accuracy"),
    ("'longer is better', same pairs", "longer_accuracy"),
    ("tied pairs", "tied"),
    ("exact match (ties count as wrong)", "exact_match"),
    ("5-best: perfect scores ranked first by humans", "five_best"),
    ("agreement between samples", "agreement"),
    ("parse rate", "parse_rate"),
    ("human agreement, one against two", "human_agreement"),
)
CORRELATIONS = (
    ("Spearman, mean over prompts", "spearman"),
    ("Kendall tau-b, mean over prompts", "kendall"),
    ("Spearman, score and length", "length_spearman"),
)
RULES = (
    ("prompt-level strict accuracy", "prompt_strict"),
    ("instruction-level strict accuracy", "instruction_strict"),
    ("prompt-level loose accuracy", "prompt_loose"),
    ("instruction-level loose accuracy", "instruction_loose"),
)


def judge_table(results: Mapping[str, Entry], title: str, files: Mapping[str, Path] | None = None) -> Table:
    """Return the table of judge metrics: results of `JudgeTask` by model name.

    Given the `files` of several models' rows, it shows the change from the model before on the same pairs.
    """
    table = _table(results, f"judge evaluation: {title}")
    for label, key in JUDGE_ROWS:
        table.add_row(label, *(share(entry[key]) for entry in results.values()))
        if key == "pairwise_accuracy" and len(files or {}) > 1:
            table.add_row("change from the model before, same pairs", *_changes(results, files or {}, key))
    for label, key in CORRELATIONS:
        table.add_row(label, *(number(entry[key]) for entry in results.values()))
    table.add_row("score entropy, bits", *(_plain(entry["score_entropy"]) for entry in results.values()))
    table.add_row("score histogram", *(_histogram(entry["histogram"]) for entry in results.values()))
    table.add_row("prompts / pairs (unscored)", *(_sizes(entry) for entry in results.values()))
    if any(entry.get("pairs_equal") for entry in results.values()):
        table.add_row("pairs dropped (equal answers)", *(str(entry["pairs_equal"]) for entry in results.values()))
    if any(entry["flags"] for entry in results.values()):
        table.add_row("caveats", *("\n".join(entry["flags"]) for entry in results.values()))
    return table


def instructions_table(results: Mapping[str, Entry], title: str, files: Mapping[str, Path] | None = None) -> Table:
    """Return the table of instruction following: results of `InstructionsTask` by model name (see `judge_table`)."""
    table = _table(results, f"instruction following: {title}")
    for label, key in RULES:
        table.add_row(label, *(share(entry[key]) for entry in results.values()))
        if key == "prompt_strict" and len(files or {}) > 1:
            table.add_row("change from the model before, same prompts", *_changes(results, files or {}, key))
    if any(entry.get("unanswered") for entry in results.values()):
        counts = [str(entry.get("unanswered", 0)) for entry in results.values()]
        table.add_row("prompts without a response (count as not followed)", *counts)
    for kind in sorted({kind for entry in results.values() for kind in entry["by_kind"]}):
        table.add_row(Text(kind), *(share(entry["by_kind"].get(kind)) for entry in results.values()))
    return table


def comparison_table(entry: Entry, name_a: str, name_b: str) -> Table:
    """Return the table of a head-to-head comparison: the result of `CompareTask`."""
    table = _table({"": None}, f"{name_a} vs {name_b}, judge: {entry['judge']}")
    table.add_row("win / tie / loss", f"{entry['wins']} / {entry['ties']} / {entry['losses']}")
    table.add_row("win rate (ties count as half)", share(entry["win_rate"]))
    table.add_row("shown to answer better", _shown(entry, name_a, name_b))
    table.add_row("length-controlled win rate", length_controlled(entry))
    table.add_row("mean preference probability", share(entry["preference"]))
    inconsistent = "-" if entry["disagreements"] is None else f"{entry['disagreements']} of {entry['prompts']} prompts"
    table.add_row("position-inconsistent verdicts", inconsistent)
    table.add_row("verdicts for the first position", _plain(entry["first_position_rate"], ".1%"))
    table.add_row("prompts with an unparseable verdict", str(entry["unparseable"]))
    table.add_row("mean length, characters", " / ".join(f"{length:.0f}" for length in entry["mean_length"]))
    if usage := entry.get("usage"):
        sent = f"{usage['requests']} requests, {usage['cached']} cached, {usage['retries']} retries"
        table.add_row("endpoint", f"{sent}\n{usage['prompt_tokens']} + {usage['completion_tokens']} tokens")
        table.add_row("cost", f"{usage['cost']:.4f}")
    return table


def _shown(entry: Entry, name_a: str, name_b: str) -> str:
    outcome = win_rate_claim(Estimate(**entry["win_rate"]), entry["wins"], entry["losses"])
    if outcome in ("better", "worse"):
        return name_a if outcome == "better" else name_b
    return f"not shown\n{decided_text(entry['wins'], entry['ties'], entry['losses'])}"


def record(entry: Entry) -> str:
    """Format wins, ties and losses, the win rate, and whether it shows a difference."""
    outcome = win_rate_claim(Estimate(**entry["win_rate"]), entry["wins"], entry["losses"])
    counts = f"{entry['wins']} / {entry['ties']} / {entry['losses']}"
    return f"{counts}\n{share(entry['win_rate'])}\n{_outcome(outcome)}"


def change(later: Path, earlier: Path, metric: str) -> str:
    """Format the change of a metric between two models, given the files of their rows (see `paired`)."""
    found = paired_change(read_cases(later).get(metric, []), read_cases(earlier).get(metric, []))
    if found is None or found.difference.value is None:
        return "-"
    low, high = found.difference.low, found.difference.high
    bounds = "" if low is None or high is None else f"\n({100 * low:+.1f} to {100 * high:+.1f})"
    return f"{100 * found.difference.value:+.1f} points{bounds}\n{_outcome(found.outcome)}"


def _changes(models: Iterable[str], files: Mapping[str, Path], metric: str) -> list[str]:
    names = list(models)
    return ["-", *(change(files[later], files[earlier], metric) for earlier, later in pairwise(names))]


def _outcome(outcome: Outcome) -> str:
    return outcome if outcome in ("better", "worse") else "not shown"


def length_controlled(entry: Entry) -> str:
    """Return the length-controlled win rate, or why it is withheld."""
    reason = entry.get("length_controlled_withheld")
    return f"withheld\n({reason})" if reason else share(entry["length_controlled"])


def share(estimate: Entry | None) -> str:
    """Format a share in percent, with its 95 % interval on a second line."""
    if estimate is None or estimate["value"] is None:
        return "-"
    interval = "" if estimate["low"] is None else f"\n({estimate['low']:.0%} to {estimate['high']:.0%})"
    return f"{estimate['value']:.1%}{interval}"


def number(estimate: Entry | None) -> str:
    """Format a coefficient, with its 95 % interval on a second line."""
    if estimate is None or estimate["value"] is None:
        return "-"
    interval = "" if estimate["low"] is None else f"\n({estimate['low']:.2f} to {estimate['high']:.2f})"
    return f"{estimate['value']:.2f}{interval}"


def _table(columns: Mapping[str, object], title: str) -> Table:
    table = Table(title=Text(title, style="bold"))
    table.add_column("")
    for name in columns:
        table.add_column(Text(name), justify="right")
    return table


def _plain(value: float | None, form: str = ".2f") -> str:
    return "-" if value is None else format(value, form)


def _histogram(counts: Mapping[str, int]) -> str:
    return "  ".join(f"{score}: {count}" for score, count in counts.items())


def _sizes(entry: Entry) -> str:
    return f"{entry['prompts']} / {entry['pairs']} ({entry['pairs_unscored']})"
