"""Caveats about win rates, each with advice.

A judge that always prefers the answer shown first ties every prompt, and all ties look like an even match: 50 % with a
narrow interval. So position bias, order disagreements and unparseable verdicts are reported beside the win rate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from srlm.report.collect import Entry, Match

MAX_POSITION_BIAS = 0.2  # flag a first-position preference rate further than this from one half
MAX_DISAGREEMENT = 0.4  # flag a larger share of prompts whose two orders disagree
MAX_UNPARSEABLE = 0.1  # flag a larger share of prompts without two parseable verdicts


def match_flags(match: Match, *, justify: bool) -> list[str]:
    """Return the caveats of a win rate, one sentence each; `justify`: the judge already gives reasons."""
    return [*_position_bias(match.entry, justify=justify), *_unparseable(match)]


def early_stop_flags(training: Entry | None) -> list[str]:
    """Return a caveat if the judge decided no comparison of a training's checkpoints, so that none was chosen."""
    compared = [row for row in (training or {}).get("checkpoints") or [] if _number(row, "ties") is not None]
    if not compared or any(_number(row, "wins") or _number(row, "losses") for row in compared):
        return []
    ties = sum(_number(row, "ties") or 0 for row in compared)
    text = (
        f"The judge decided none of {ties:.0f} comparisons of checkpoints, so early stopping chose none: the last one "
        "is the model. Use another judge (head_to_head.judge), or score each answer separately "
        "(head_to_head.by=pointwise)."
    )
    return [text]


def is_position_biased(entry: Entry) -> bool:
    """Return whether the verdicts depend on the position of an answer more than on the answer."""
    first = _number(entry, "first_position_rate")
    return first is not None and abs(first - 0.5) > MAX_POSITION_BIAS


def _position_bias(entry: Entry, *, justify: bool) -> list[str]:
    disagreements, judged = _number(entry, "disagreements"), _judged_prompts(entry)
    problems = []
    if is_position_biased(entry):
        problems.append(f"{entry['first_position_rate']:.0%} of the verdicts prefer the answer shown first")
    if disagreements is not None and judged and disagreements > MAX_DISAGREEMENT * judged:
        problems.append(
            f"the two orders disagree in {disagreements:.0f} of {judged:.0f} prompts, each counted as a tie"
        )
    if not problems:
        return []
    reasons = "" if justify else "let it give reasons first (head_to_head.justify=true), "
    text = " and ".join(problems)
    advice = (
        "so the judge is position-biased and the win rate says little: use another judge (head_to_head.judge), "
        f"{reasons}or score each answer separately, as the judge is trained to do (head_to_head.by=pointwise)."
    )
    return [f"{text[0].upper()}{text[1:]}, {advice}"]


def _unparseable(match: Match) -> list[str]:
    unparseable, prompts = _number(match.entry, "unparseable"), _number(match.entry, "prompts")
    if unparseable is None or not prompts or unparseable <= MAX_UNPARSEABLE * prompts:
        return []
    advice = (
        f"look at the texts in {match.model}/vs_{match.against}.jsonl, then raise head_to_head.max_tokens "
        "(with head_to_head.by=pointwise: judge.max_tokens) or use another judge (head_to_head.judge)."
    )
    return [f"{unparseable:.0f} of {prompts:.0f} prompts are excluded because of unparseable verdicts: {advice}"]


def _judged_prompts(entry: Entry) -> float:
    """Return the number of prompts with two parseable verdicts."""
    return (_number(entry, "prompts") or 0) - (_number(entry, "unparseable") or 0)


def _number(entry: Entry, key: str) -> float | None:
    found = entry.get(key)
    return found if isinstance(found, int | float) else None
