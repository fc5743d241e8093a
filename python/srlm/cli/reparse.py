"""`srlm judge --parse-only`: parse existing replies, without a model.

For a judge that ran elsewhere, or to try another `judge.score_pattern` or `judge.max_score` on the verdicts of a run.
`expected_score` is not computed: it needs the distribution of the score token, not only the text.
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
    """Counts of parsed replies; `mean_score` is None without a scored reply.

    `recorded` is the number of rows that already had an outcome, `changed` the number of those whose outcome or score
    differs now.
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
            text += f"; {self.changed} of {self.recorded} recorded verdicts have changed"
        return text


def parse_replies(replies: Path, out: Path, *, field: str, judge: JudgeSection) -> Summary:
    """Write one row per reply to `out`: `line`, `outcome`, `score`, and `start` and `end` of the number in code points.

    `score` is null unless `outcome` is "scored"; `start` and `end` are null if it is "missing". `field` names the text
    in each line of `replies`, as in `read_text_column`. `out` is written atomically.

    Raises:
        InputError: `replies` cannot be read, a line is invalid or lacks the field, or `out` is the same file.
    """
    if out.exists() and out.samefile(replies):
        raise InputError(f"{out}: --out is the file of replies; use another --out")
    try:
        texts, lines = read_text_column(replies, field)
    except OSError as error:
        raise InputError(f"{replies}: cannot be read: {error.strerror}; check the path") from error
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
        changed=sum(row["line"] in recorded and recorded[row["line"]] != _outcome(row) for row in rows),
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
    """Return line -> (outcome, score) of the rows that already have an outcome."""
    data = replies.read_bytes()
    if b'"outcome"' not in data:
        return {}  # rows without outcomes need not be parsed
    rows = parse_objects(decode_lines(data, str(replies)), str(replies))
    return {number: _outcome(row) for number, row in rows if "outcome" in row}


def _outcome(row: dict[str, Any]) -> tuple[Any, Any]:
    return row["outcome"], row.get("score")
