"""The prompts that new ones must differ from, read from files."""

import pytest
from srlm.errors import InputError
from srlm.rows.records import Candidate, Prompt, RankedAnswers, content_id, write_rows
from srlm.stages.novelty import EARLIER, HELD_OUT, KnownFile, KnownPrompt, read_known


def test_prompts_and_ranked_answers(tmp_path):
    prompt = Prompt("p1", "Name a colour", "generated", [], 3)
    ranked = RankedAnswers("r1", "Name a city", ["Rome", "no"], [5.0, 1.0], ["", ""])
    write_rows(tmp_path / "prompts.jsonl", [prompt])
    write_rows(tmp_path / "ranked.jsonl", [ranked])
    write_rows(tmp_path / "empty.jsonl", [])
    files = [
        KnownFile(tmp_path / "prompts.jsonl", EARLIER),
        KnownFile(tmp_path / "empty.jsonl", EARLIER),
        KnownFile(tmp_path / "ranked.jsonl", HELD_OUT),
    ]
    assert read_known(files) == [
        KnownPrompt("p1", "Name a colour", "not_novel_earlier"),
        KnownPrompt(content_id("prompt", "Name a city"), "Name a city", "not_novel_held_out"),
    ]
    assert read_known([]) == []


def test_other_rows_are_errors(tmp_path):
    file = tmp_path / "candidates.jsonl"
    write_rows(file, [Candidate("c", "p", 0, "text", [1], -1.0, "stop", 0)])
    with pytest.raises(InputError, match=r"candidates\.jsonl, line 1: unknown field 'answer_tokens'; a Prompt has"):
        read_known([KnownFile(file, EARLIER)])
    with pytest.raises(InputError, match=r"missing\.jsonl"):
        read_known([KnownFile(tmp_path / "missing.jsonl", EARLIER)])
