"""Rows that a training cannot use: too long, of another model, or odd in ways that must not matter."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.bad_input.cases import Case, Shell, lines, of, write
from tests.bad_input.test_rows import EXAMPLE, FILES, PAIR

pytestmark = pytest.mark.usefixtures("here")
LONG = [{"role": "assistant", "content": "a " * 100_000}]
SFT = ("sft", "--data", "e.jsonl", "--out", "out", "sft.batch_size=1", "sft.save_steps=null")
DPO = ("dpo", "--pairs", "d.jsonl", "--out", "out", "dpo.batch_size=1", "dpo.save_steps=null")
OTHERS = (
    "the token id 99999",
    "vocabulary has 512 tokens",
    "rows that this model generated, or remove their token ids",
)


def example(**changed: Any) -> dict[str, str]:
    return {"e.jsonl": lines({**EXAMPLE, **changed})}


@of(
    Case(
        "sft: all too long",
        SFT,
        ("none of 1 examples fits sft.max_length (2048)", "raise it"),
        example(completion=LONG),
    ),
    Case(
        "dpo: all too long",
        DPO,
        ("none of 1 pairs fits dpo.max_length (2048)", "raise it"),
        {"d.jsonl": lines({**PAIR, "chosen": LONG})},
    ),
    Case("sft: ids of another model", SFT, OTHERS, example(completion_token_ids=[99_999])),
    Case(
        "dpo: ids of another model",
        DPO,
        OTHERS,
        {"d.jsonl": lines({**PAIR, "chosen_token_ids": [5], "rejected_token_ids": [99_999]})},
    ),
    Case(
        "sft: sizes that do not fit",
        (*SFT, "sft.micro_batch_size=3"),
        ("sft: batch_size", "must be a multiple"),
        example(),
    ),
)
def test_a_training_is_refused(case: Case, shell: Shell, tiny_model: str) -> None:
    command, *words = case.words
    shell.refuses(Case(case.name, (command, "--model", tiny_model, *words), case.says, {**FILES, **case.files}))


def test_an_answer_of_100_000_tokens_is_left_out_and_counted(
    shell: Shell, tiny_model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(shell.folder, {"e.jsonl": lines(EXAMPLE, {**EXAMPLE, "id": "y", "completion": LONG})})
    command, *words = SFT
    code, _ = shell.run(command, "--model", tiny_model, *words)
    assert code == 0
    assert (shell.folder / "out" / "model.safetensors").is_file()
    card = (shell.folder / "out" / "README.md").read_text(encoding="utf-8")
    assert "| rows | 1 |" in card
    assert "| rows dropped (over max_length) | 1 |" in card


ODD = {"a lone surrogate": "a \ud800 b", "a NUL": "a \0 b", "a line separator": "a\u2028b", "a mark": "\ufeffa"}


@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
def test_odd_characters_reach_the_model(text: str, shell: Shell, tiny_model: str) -> None:
    """A lone surrogate, which JSON can spell, is a question mark to a tokenizer."""
    write(shell.folder, {"e.jsonl": lines({**EXAMPLE, "prompt": [{"role": "user", "content": text}]})})
    command, *words = SFT
    shell.accepts(command, "--model", tiny_model, *words)
    assert json.loads((shell.folder / "out.metrics.jsonl").read_text(encoding="utf-8").split("\n")[0])["loss"] > 0
