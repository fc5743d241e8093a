"""Whether the next model should be trained on an iteration's data: limits of the section `gates`, with advice.

A failed gate warns or stops the run, as its action says. The metrics are kept either way: in the manifest with the
pairs, or, if they stop the run, in `gates.json`, because the pairs then do not count as done.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from srlm.errors import StageError
from srlm.evaluation.data_metrics import data_metrics, row_counts
from srlm.rows.records import write_text
from srlm.stages.pairs import prompts_without_pair

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from srlm.config import Action, Config, GatesSection
    from srlm.evaluation.data_metrics import DataMetrics
    from srlm.reporter import Reporter
    from srlm.stages.pairs import PairSelection

FILE = "gates.json"  # the metrics of data that stopped the run
# The other limits are upper ones.
LOWER_LIMITS = frozenset({"parse_rate", "score_entropy", "pairs_kept", "distinct_answers"})
AS_PERCENT = frozenset({"parse_rate", "tied_prompts", "pairs_kept", "vote_share", "top_final_answer"})
ADVICE = {
    "parse_rate": "of the answers have a score that could be read; look into verdicts.jsonl (or scores.jsonl), then "
    "raise judge.max_tokens, set judge.justify=false, or train the judge on more EFT examples",
    "tied_prompts": "of the prompts have only tied answers; raise judge.samples or candidates.temperature, or set "
    "judge.score=expected",
    "score_entropy": "bits of entropy in the scores: the judge nearly always gives the same one; lower eft.max_share "
    "or add EFT examples with other scores",
    "length_correlation": "rank correlation of score and length: training would mostly make answers longer; set "
    "pairs.method=length_controlled",
    "pairs_kept": "of the prompts give a pair; the closing table has the reasons for the others",
    "distinct_answers": "different answers per prompt: the model has collapsed; raise candidates.temperature, or set "
    "fewer iterations",
    "vote_share": "of a prompt's answers agree on average, so votes tell few answers apart; raise "
    "candidates.temperature, or use harder prompts",
    "top_final_answer": "of the prompts have the same majority answer: the model may have collapsed to it; read some "
    "of scores.jsonl, lower dpo.learning_rate, or set fewer iterations",
    "kl_from_m1": "nats per token between this model and M1: the policy has drifted far; raise dpo.beta, lower "
    "dpo.learning_rate, or set fewer iterations",
}
# By the most common reason why a prompt gives no pair.
MORE_PAIRS = {
    "tied": "set judge.score=expected, raise judge.samples, or train the judge on more EFT examples",
    "too_few_scored": "read the judge's replies in verdicts.jsonl, which contain no score; raise judge.max_tokens or "
    "set judge.justify=false",
    "too_few_usable": "raise candidates.max_tokens or set pairs.keep_truncated=true: answers are truncated or empty; "
    "or lower signal.min_votes",
    "below_margin": "lower pairs.min_margin",
    "same_text": "raise candidates.temperature",
    "no_perfect_answer": "set train.kind=dpo: no answer has a perfect score",
}


@dataclass(frozen=True, slots=True)
class FailedGate:
    """A gate whose limit is not met."""

    gate: str
    value: float
    limit: float
    action: Action
    text: str


def failed_gates(metrics: DataMetrics, gates: GatesSection) -> list[FailedGate]:
    """Return the gates whose limits `metrics` do not meet."""
    rows: list[tuple[str, float | None, float | None, Action]] = [
        ("parse_rate", metrics.parse_rate, gates.parse_rate, gates.parse_rate_action),
        ("tied_prompts", metrics.tied_prompts, gates.tied_prompts, gates.tied_prompts_action),
        ("score_entropy", metrics.score_entropy, gates.score_entropy, gates.score_entropy_action),
        ("length_correlation", metrics.length_correlation, gates.length_correlation, gates.length_correlation_action),
        ("pairs_kept", metrics.pairs_kept, gates.pairs_kept, gates.pairs_kept_action),
        ("distinct_answers", metrics.distinct_answers, gates.distinct_answers, gates.distinct_answers_action),
        ("vote_share", metrics.vote_share, gates.vote_share, gates.vote_share_action),
        ("top_final_answer", metrics.top_final_answer, gates.top_final_answer, gates.top_final_answer_action),
        ("kl_from_m1", metrics.kl_from_m1, gates.kl_from_m1, gates.kl_from_m1_action),
    ]
    return [
        FailedGate(gate, value, limit, action, f"gates.{gate}: {_format(gate, value)} {ADVICE[gate]} (limit {limit:g})")
        for gate, value, limit, action in rows
        if value is not None and limit is not None and (value < limit if gate in LOWER_LIMITS else value > limit)
    ]


def check_data(
    t: int, selected: PairSelection, config: Config, *, kl_from_m1: float | None, folder: Path, report: Reporter
) -> dict[str, Any]:
    """Return what the manifest keeps of M_t's data, unless a failed gate or too few pairs stop the run.

    Args:
        t: the model that would be trained on the data.
        selected: the selected pairs or positives.
        config: for the gates and `pairs.min_count`.
        kl_from_m1: the KL divergence of the model that generated the data from M1, in nats per token, if measured.
        folder: M_t's folder; if the run stops, `gates.json` there gets the metrics and the reason.
        report: gets one note per gate that only warns.

    Raises:
        StageError: the run stops. Its pairs do not count as done, so the same command checks the gates again.
    """
    metrics = data_metrics(selected.answers, selected.scores, selected.prompts_with_pair, kl_from_m1=kl_from_m1)
    failed, file = failed_gates(metrics, config.gates), folder / FILE
    counts = row_counts(selected, folder / "prompts_dropped.jsonl")
    kept = {**asdict(metrics), "gates": [asdict(gate) for gate in failed]}
    sampled = {} if selected.found is None else {"found": selected.found}
    result = {"rows": len(selected), **sampled, "drops": selected.drops, **counts, "data_metrics": kept}
    for gate in failed:
        if gate.action == "warn":
            report.note(f"m{t}: {gate.text}")
    stops = [gate.text for gate in failed if gate.action == "stop"]
    reason = _stopped(t, stops) if stops else None
    if len(selected) < config.pairs.min_count:
        reason = too_few_pairs(t, len(selected), selected.drops, folder)
    if reason is not None:
        write_text(file, json.dumps({**result, "stopped": reason}, indent=1) + "\n")
        raise StageError(reason)
    file.unlink(missing_ok=True)
    return result


def too_few_pairs(t: int, found: int, drops: dict[str, int], folder: Path) -> str:
    """Return the message for an iteration with fewer pairs than `pairs.min_count`: reasons, and how to get more."""
    over_cap = drops.get("over_cap", 0)
    drops = prompts_without_pair(drops)
    reasons = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in drops.items() if count)
    worst = max(drops, key=lambda reason: drops[reason], default="")
    advice = MORE_PAIRS.get(worst, "generate more prompts (prompts.count)")
    if over_cap:
        advice = f"raise pairs.max_per_prompt, which left out {over_cap} pairs"
    return (
        f"m{t}: only {found} pairs, fewer than pairs.min_count; prompts without a pair: {reasons or 'none'}. To get "
        f"more, {advice}. All rows are kept in {folder}; change the setting and run the same command again"
    )


def _stopped(t: int, texts: Sequence[str]) -> str:
    return (
        f"m{t}: not trained: {'; '.join(texts)}. All rows are kept; change gates.* or other settings and run the same "
        "command again: only the stages that depend on them are recomputed"
    )


def _format(gate: str, value: float) -> str:
    return f"{value:.0%}" if gate in AS_PERCENT else f"{value:.2f}"
