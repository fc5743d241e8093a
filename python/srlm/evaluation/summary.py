"""Tables of what was measured, for the terminal: a column a model, every figure with its interval and its rule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Mapping

Entry = dict[str, Any]

JUDGE_ROWS = (
    ("pairwise accuracy (a tie counts half)", "pairwise_accuracy"),
    ("'longer is better', same pairs", "longer_accuracy"),
    ("pairs that the judge ties", "tied"),
    ("exact match (a tie is wrong)", "exact_match"),
    ("5-best: perfect scores that humans rank first", "five_best"),
    ("agreement between samples", "agreement"),
    ("replies with a score", "parse_rate"),
    ("agreement of humans, one against two", "human_agreement"),
)
CORRELATIONS = (
    ("Spearman, mean over prompts", "spearman"),
    ("Kendall tau-b, mean over prompts", "kendall"),
    ("Spearman of score and length", "length_spearman"),
)
RULES = (
    ("prompts, strict", "prompt_strict"),
    ("instructions, strict", "instruction_strict"),
    ("prompts, loose", "prompt_loose"),
    ("instructions, loose", "instruction_loose"),
)


def judge_table(results: Mapping[str, Entry], title: str) -> Table:
    """Return how models judge: results of `JudgeTask` by the models' names."""
    table = _table(results, f"as a judge: {title}")
    for label, key in JUDGE_ROWS:
        table.add_row(label, *(share(entry[key]) for entry in results.values()))
    for label, key in CORRELATIONS:
        table.add_row(label, *(number(entry[key]) for entry in results.values()))
    table.add_row("entropy of scores, bits", *(_plain(entry["score_entropy"]) for entry in results.values()))
    table.add_row("scores given", *(_histogram(entry["histogram"]) for entry in results.values()))
    table.add_row("prompts / pairs (unscored)", *(_sizes(entry) for entry in results.values()))
    if any(entry["flags"] for entry in results.values()):
        table.add_row("to know", *("\n".join(entry["flags"]) for entry in results.values()))
    return table


def instructions_table(results: Mapping[str, Entry], title: str) -> Table:
    """Return how models follow instructions: results of `InstructionsTask` by the models' names."""
    table = _table(results, f"instructions followed: {title}")
    for label, key in RULES:
        table.add_row(label, *(share(entry[key]) for entry in results.values()))
    for kind in sorted({kind for entry in results.values() for kind in entry["by_kind"]}):
        table.add_row(Text(kind), *(share(entry["by_kind"].get(kind)) for entry in results.values()))
    return table


def comparison_table(entry: Entry, name_a: str, name_b: str) -> Table:
    """Return how one model fares against another: the result of `CompareTask`."""
    table = _table({"": None}, f"{name_a} against {name_b}, judged by {entry['judge']}")
    table.add_row("win / tie / loss", f"{entry['wins']} / {entry['ties']} / {entry['losses']}")
    table.add_row("win rate (a tie counts half)", share(entry["win_rate"]))
    table.add_row("win rate at equal lengths", share(entry["length_controlled"]))
    table.add_row("mean probability of its answer", share(entry["preference"]))
    table.add_row("decided by the place of the answer", f"{entry['disagreements']} of {entry['prompts']} prompts")
    table.add_row("verdicts for the first answer", _plain(entry["first_share"], ".1%"))
    table.add_row("prompts without a readable verdict", str(entry["unread"]))
    table.add_row("mean length, characters", " / ".join(f"{length:.0f}" for length in entry["mean_length"]))
    if usage := entry.get("usage"):
        sent = f"{usage['requests']} requests, {usage['cached']} answered from the cache, {usage['retries']} retries"
        table.add_row("endpoint", f"{sent}\n{usage['prompt_tokens']} + {usage['completion_tokens']} tokens")
        table.add_row("cost", f"{usage['cost']:.4f}")
    return table


def share(estimate: Entry | None) -> str:
    """Return a share as text, its 95 % interval on a line of its own."""
    if estimate is None or estimate["value"] is None:
        return "-"
    interval = "" if estimate["low"] is None else f"\n({estimate['low']:.0%} to {estimate['high']:.0%})"
    return f"{estimate['value']:.1%}{interval}"


def number(estimate: Entry | None) -> str:
    """Return a coefficient as text, its 95 % interval on a line of its own."""
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
