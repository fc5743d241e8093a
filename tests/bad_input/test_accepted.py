"""Unusual but valid input: it must work, with the same outcome as in its plain form."""

from __future__ import annotations

import gzip
import json

import pytest
from srlm import config as configuration
from srlm.preflight import preflight
from srlm.stages import seed, seed_sets

from tests.bad_input.cases import Shell, lines, write
from tests.bad_input.test_rows import CANDIDATE, PAIRS, PROMPT, VERDICT

ROW = '{"prompt": "a b", "response": "c"}'
SEEDS = {
    "a byte order mark": (b"\xef\xbb\xbf" + ROW.encode(), "a b"),
    "line ends of Windows": (ROW.encode() + b"\r\n\r\n", "a b"),
    "blank lines": (b"\n \n" + ROW.encode() + b"\n\n\t\n", "a b"),
    "no line end": (ROW.encode(), "a b"),
    "further fields": (lines({"prompt": "a b", "response": "c", "tags": [1], "x": None}).encode(), "a b"),
    "U+2028": ('{"prompt": "a\u2028b", "response": "c"}'.encode(), "a\u2028b"),
    "U+0085": ('{"prompt": "a\u0085b", "response": "c"}'.encode(), "a\u0085b"),
    "an escaped NUL": (rb'{"prompt": "a\u0000b", "response": "c"}', "a\0b"),
    "a pair of surrogates": (rb'{"prompt": "\ud83d\ude00", "response": "c"}', "\U0001f600"),
    "a lone surrogate": (rb'{"prompt": "\ud800", "response": "c"}', "\ud800"),
    "a number of 4,000 digits": (b'{"x": ' + b"9" * 4000 + b", " + ROW.encode()[1:], "a b"),
    "lists in lists": (b'{"x": ' + b"[" * 500 + b"]" * 500 + b", " + ROW.encode()[1:], "a b"),
}


@pytest.mark.parametrize(("data", "prompt"), SEEDS.values(), ids=SEEDS)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_a_seed_file_is_read(data: bytes, prompt: str, packed: bool, shell: Shell) -> None:
    name = "in.jsonl.gz" if packed else "in.jsonl"
    write(shell.folder, {name: gzip.compress(data) if packed else data})
    config = configuration.load("quickstart", (f"seed_data.ift=[{name}]",))
    preflight(config)
    assert [row.prompt[0]["content"] for row in seed.read_ift(config.seed_data)] == [prompt]


@pytest.mark.parametrize("prompt", ["\\ud800", "a\\u0000", "a\\u2028"])
def test_ranked_answers_of_odd_characters(prompt: str, shell: Shell) -> None:
    answers = '[{"text": "x \\udfff", "score": 1}, {"text": "y", "score": 2}]'
    write(shell.folder, {"in.jsonl": f'{{"prompt": "{prompt}", "answers": {answers}}}\n'})
    config = configuration.load("quickstart", ("seed_data.eft=[in.jsonl]", "seed_data.valid_fraction=1"))
    preflight(config)
    assert len(seed_sets.load(config.seed_data, 0).valid) == 1


@pytest.mark.parametrize("text", ["tea", "\ud800", "a\0b", "a\u2028b"], ids=["plain", "surrogate", "NUL", "U+2028"])
def test_pairs_of_odd_characters(text: str, shell: Shell) -> None:
    candidates = [{**CANDIDATE, "text": text}, {**CANDIDATE, "id": "d", "index": 1, "text": f"{text} {text}"}]
    verdicts = [VERDICT, {**VERDICT, "id": "w", "candidate_id": "d", "score": 1}]
    write(shell.folder, {"p.jsonl": "\ufeff" + lines({**PROMPT, "text": text}).replace("\n", "\r\n")})
    write(shell.folder, {"c.jsonl": lines(*candidates), "v.jsonl": lines(*verdicts)})
    shell.accepts(*PAIRS)
    (pair,) = (
        json.loads(line) for line in (shell.folder / "out.jsonl").read_text(encoding="utf-8").split("\n") if line
    )
    assert (pair["prompt"][0]["content"], pair["chosen"][0]["content"]) == (text, text)


def test_a_configuration_with_a_mark_and_line_ends_of_windows(shell: Shell) -> None:
    write(shell.folder, {"c.yaml": b"\xef\xbb\xbfmodel: {name: m}\r\nseed: 7\r\n"})
    shell.accepts("config", "c.yaml")


def test_a_generated_tag_in_a_template(shell: Shell) -> None:
    """Jinja extensions of transformers are not syntax errors."""
    from srlm.models.registry import read_chat_template

    text = "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% break %}{% endfor %}"
    write(shell.folder, {"mine.jinja": text})
    assert read_chat_template("mine.jinja") == text


@pytest.mark.usefixtures("here")
def test_a_tokenizer_without_a_pad_token(shell: Shell, tiny_model: str) -> None:
    from srlm.models.registry import load_tokenizer

    tokenizer = load_tokenizer(tiny_model)
    tokenizer.pad_token = None
    tokenizer.save_pretrained(shell.folder / "m")
    loaded = load_tokenizer(str(shell.folder / "m"))
    assert loaded.pad_token_id == loaded.eos_token_id
