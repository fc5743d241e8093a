"""Parsing verdicts and JSON lines, compared with Python's `re` and `json`."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest
from srlm import native

from benches import verdict_re
from benches.conftest import DATA

if TYPE_CHECKING:
    from benches.conftest import Comparison

REPLIES = DATA / "judge-text" / "mt_bench_gpt4_single.jsonl"
RULES = Path(__file__).resolve().parents[1] / "docs" / "verdicts.md"
ROWS = 100_000
RATING = r"\[\[(?P<score>\d+(?:\.\d+)?)\]\]"


@pytest.fixture(scope="module")
def replies() -> list[str]:
    """GPT-4's judgements on MT-Bench, which end `Rating: [[N]]`."""
    if not REPLIES.is_file():
        pytest.skip("the judge's replies are not next to the checkout")
    return native.read_text_column(REPLIES, "judgment")[0]


def check_equal(replies: list[str], theirs: list[verdict_re.Verdict], pattern: str | None = None) -> None:
    """Check the outcome and the score of every reply."""
    outcomes, scores, _ = native.parse_verdicts(replies, max_score=10.0, pattern=pattern)
    ours = [(outcome, None if math.isnan(score) else score) for outcome, score in zip(outcomes, scores, strict=True)]
    for reply, mine, other in zip(replies, ours, theirs, strict=True):
        assert mine == other, reply


def test_the_baseline_implements_the_rules() -> None:
    rules = RULES.read_text(encoding="utf-8").partition("## A custom format")[0]
    examples = re.findall(r"^\| `(.+)` \| (\w+) \| ?(\S*) \|$", rules, re.MULTILINE)
    for reply, outcome, score in examples:
        text = reply.replace("\\n", "\n").replace("\\|", "|")
        assert verdict_re.read([text], 5.0) == [(outcome, float(score) if score else None)], text
    assert len(examples) > 50


def test_a_custom_pattern(replies: list[str], compare: Comparison, capsys: pytest.CaptureFixture[str]) -> None:
    rows = (replies * (ROWS // len(replies) + 1))[:ROWS]
    last = verdict_re.matcher(RATING)
    check_equal(replies, verdict_re.read(replies, 10.0, last), RATING)
    recorded = [json.loads(line)["score"] for line in REPLIES.read_text(encoding="utf-8").split("\n") if line]
    found = native.parse_verdicts(replies, max_score=10.0, pattern=RATING)[1]
    same = sum((math.isnan(score) and old == -1) or score == old for score, old in zip(found, recorded, strict=True))
    with capsys.disabled():
        print(f"\n{same} of {len(recorded)} recorded scores are equal (-1: none)")
    compare(
        f"[[N]] in {len(rows)} replies",
        lambda: native.parse_verdicts(rows, max_score=10.0, pattern=RATING),
        {"re": lambda: verdict_re.read(rows, 10.0, last)},
        work=len(rows),
        unit="replies",
        checked="outcome and score of every reply",
        rounds=5,
    )


def test_the_default_label(replies: list[str], compare: Comparison) -> None:
    labelled = [re.sub(r"\[\[(.*?)\]\]", r"\1", text.replace("Rating:", "Score:")) for text in replies]
    rows = (labelled * (ROWS // len(labelled) + 1))[:ROWS]
    check_equal(labelled, verdict_re.read(labelled, 10.0))
    compare(
        f"Score: N in {len(rows)} replies",
        lambda: native.parse_verdicts(rows, max_score=10.0),
        {"re": lambda: verdict_re.read(rows, 10.0)},
        work=len(rows),
        unit="replies",
        checked="outcome and score of every reply",
        rounds=5,
    )


def test_json_lines(replies: list[str], compare: Comparison, tmp_path: Path) -> None:
    rows = (replies * (ROWS // len(replies) + 1))[:ROWS]
    file = tmp_path / "verdicts.jsonl"
    with file.open("w", encoding="utf-8", newline="\n") as out:
        for n, text in enumerate(rows):
            row = {"id": f"{n:016x}", "sample": 0, "text": text, "outcome": "scored", "score": 4.0}
            out.write(json.dumps(row, ensure_ascii=False) + "\n")

    def by_json() -> list[str]:
        return [json.loads(line)["text"] for line in file.read_bytes().decode().split("\n") if line.strip()]

    def by_polars() -> list[str]:
        return pl.read_ndjson(file).get_column("text").to_list()

    texts, lines = native.read_text_column(file, "text")
    assert texts == by_json() == by_polars() == rows
    assert lines.tolist() == list(range(1, len(rows) + 1))
    compare(
        f"one field of {len(rows)} lines",
        lambda: native.read_text_column(file, "text"),
        {"json.loads": by_json, "polars.read_ndjson": by_polars},
        work=file.stat().st_size / 1e6,
        unit="MB",
        checked="every text",
        rounds=5,
    )
