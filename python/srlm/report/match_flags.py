"""What a reader should know before believing a win rate, each with what to do about it.

A judge that names whoever stood first ties every prompt, and all ties look like an even match: 50 % with a narrow
interval. So the place, the orders that contradict each other and what could not be read are told beside the rate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from srlm.report.collect import Entry, Match

FIRST = 0.2  # a share of verdicts for whoever stood first that is further from one half is told
DISAGREE = 0.4  # a larger share of prompts whose two orders contradict each other is told
UNREAD = 0.1  # a larger share of prompts without two readable verdicts is told


def match_flags(match: Match, *, justify: bool) -> list[str]:
    """Return a sentence for everything that speaks against a win rate; `justify`: the judge gives reasons already."""
    return [*_place(match.entry, justify=justify), *_unread(match)]


def by_place(entry: Entry) -> bool:
    """Tell whether the verdicts follow the place of an answer more than the answer."""
    first = _number(entry, "first_share")
    return first is not None and abs(first - 0.5) > FIRST


def _place(entry: Entry, *, justify: bool) -> list[str]:
    disagreements, read = _number(entry, "disagreements"), _read(entry)
    said = []
    if by_place(entry):
        said.append(f"{entry['first_share']:.0%} of the verdicts are for whoever stood first")
    if disagreements is not None and read and disagreements > DISAGREE * read:
        said.append(f"the two orders contradict each other in {disagreements:.0f} of {read:.0f} prompts, each a tie")
    if not said:
        return []
    reasons = "" if justify else "let it give reasons first (head_to_head.justify=true), "
    text = " and ".join(said)
    advice = (
        "so this judge hardly reads the answers and the rate says little: take another judge (head_to_head.judge), "
        f"{reasons}or let it score each answer by itself, as it was taught to (head_to_head.by=scores)."
    )
    return [f"{text[0].upper()}{text[1:]}, {advice}"]


def _unread(match: Match) -> list[str]:
    unread, prompts = _number(match.entry, "unread"), _number(match.entry, "prompts")
    if unread is None or not prompts or unread <= UNREAD * prompts:
        return []
    advice = (
        f"look at the texts in m{match.model}/vs_m{match.against}.jsonl, then raise head_to_head.max_tokens (by "
        "scores: judge.max_tokens) or take another judge (head_to_head.judge)."
    )
    return [f"{unread:.0f} of {prompts:.0f} prompts are left out, since a verdict on them could not be read: {advice}"]


def _read(entry: Entry) -> float:
    return (_number(entry, "prompts") or 0) - (_number(entry, "unread") or 0)


def _number(entry: Entry, key: str) -> float | None:
    found = entry.get(key)
    return found if isinstance(found, int | float) else None
