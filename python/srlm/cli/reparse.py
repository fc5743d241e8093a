"""Reading replies that are already there, with no model: what `srlm judge --parse-only` does.

For a judge that ran elsewhere, and for seeing what another `judge.score_pattern` or `judge.max_score` makes of the
verdicts of a run. Left out: `expected_score`, which needs the model's distribution and not its text alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from srlm.errors import InputError
from srlm.native import parse_verdicts, read_text_column
from srlm.rows.json_lines import decode_lines, parse_objects
from srlm.rows.records import write_rows
from srlm.stages.judge import OUTCOMES

if TYPE_CHECKING:
    from pathlib import Path

    from srlm.config import JudgeSection


@dataclass(frozen=True, slots=True)
class Summary:
    """What was read. `mean_score` is None without a scored reply.

    `recorded` counts the rows that held an outcome already, `changed` those of them that now read differently.
    """

    outcomes: dict[str, int]
    mean_score: float | None
    recorded: int
    changed: int

    def __str__(self) -> str:
        counts = ", ".join(f"{outcome} {count}" for outcome, count in self.outcomes.items())
        mean = "no mean score" if self.mean_score is None else f"mean score {self.mean_score:.3f}"
        text = f"{sum(self.outcomes.values())} replies: {counts}; {mean}"
        if self.recorded:
            text += f"; {self.changed} of {self.recorded} recorded verdicts now read differently"
        return text


def read_replies(replies: Path, out: Path, *, field: str, judge: JudgeSection) -> Summary:
    """Write to `out` one row per reply: `line`, `outcome`, `score`, and `start` and `end` of the number in code points.

    `score` is null unless `outcome` is "scored", `start` and `end` are null where it is "missing". `field` names the
    text in each line of `replies`, as in `read_text_column`. `out` appears whole or not at all.

    Raises:
        InputError: `replies` cannot be read, a line of it is broken or lacks the field, or it is `out` itself.
    """
    if out.exists() and out.samefile(replies):
        raise InputError(f"{out}: --out is the file of replies; give another --out")
    try:
        texts, lines = read_text_column(replies, field)
    except OSError as error:
        raise InputError(f"{replies}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(str(error)) from error
    outcomes, scores, spans = parse_verdicts(texts, max_score=judge.max_score, pattern=judge.score_pattern)
    columns = zip(lines.tolist(), outcomes, scores.tolist(), spans.tolist(), strict=True)
    rows = [_row(line, outcome, score, span) for line, outcome, score, span in columns]
    recorded = _recorded(replies)
    write_rows(out, rows)
    scored = [row["score"] for row in rows if row["score"] is not None]
    return Summary(
        outcomes={name: outcomes.count(name) for name in OUTCOMES},
        mean_score=sum(scored) / len(scored) if scored else None,
        recorded=len(recorded),
        changed=sum(row["line"] in recorded and recorded[row["line"]] != _read(row) for row in rows),
    )


def _row(line: int, outcome: str, score: float, span: list[int]) -> dict[str, Any]:
    start, end = span if outcome != "missing" else (None, None)
    return {
        "line": line,
        "outcome": outcome,
        "score": score if outcome == "scored" else None,
        "start": start,
        "end": end,
    }


def _recorded(replies: Path) -> dict[int, tuple[Any, Any]]:
    """Return line -> what the rows with an outcome of their own say."""
    data = replies.read_bytes()
    if b'"outcome"' not in data:
        return {}  # plain replies need no second parsing
    rows = parse_objects(decode_lines(data, str(replies)), str(replies))
    return {number: _read(row) for number, row in rows if "outcome" in row}


def _read(row: dict[str, Any]) -> tuple[Any, Any]:
    return row["outcome"], row.get("score")
