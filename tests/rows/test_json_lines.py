"""A key that appears twice in an object is refused by every reader of a user's JSON or YAML."""

import json

import pytest
from srlm import config as configuration
from srlm.errors import InputError
from srlm.evaluation.held_out import read_prompts
from srlm.evaluation.instructions import read_instructions
from srlm.evaluation.preferences import read_preferences
from srlm.export import answers, mt_bench
from srlm.rows import dedup, json_lines
from srlm.rows.lazy_rows import RowFile
from srlm.rows.records import Prompt, read_rows
from srlm.stages.seed import read_eft, read_ift

SEED = configuration.build({"model": {"name": "m"}}).seed_data
PROMPT = {"id": "p", "text": "q", "source": "seed", "parents": [], "attempt": -1}
RULE = {"key": 1, "prompt": "p", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
QUESTION = {"question_id": 81, "category": "writing", "turns": ["Write."]}
RANKED = {"prompt": "p", "answers": [{"text": "a", "score": 1}, {"text": "b", "score": 2}]}

# Reader -> how it reads a file, and a valid row.
LINES = {
    "rows": (lambda path: read_rows(path, Prompt), PROMPT),
    "rows on demand": (lambda path: list(RowFile(path, Prompt)), PROMPT),
    "objects": (json_lines.read_objects, {"a": 1}),
    "IFT": (lambda path: read_ift(SEED.model_copy(update={"ift": [str(path)]})), {"prompt": "p", "response": "r"}),
    "EFT": (lambda path: read_eft(SEED.model_copy(update={"eft": [str(path)]})), RANKED),
    "preferences": (read_preferences, {"prompt": "p", "chosen": "c", "rejected": "r"}),
    "ranked preferences": (read_preferences, RANKED),
    "LLMBar": (read_preferences, {"input": "p", "output_1": "a", "output_2": "b", "label": 1}),
    "IFEval": (read_instructions, RULE),
    "MT-Bench": (mt_bench.read_questions, QUESTION),
    "AlpacaEval": (answers.read_instructions, {"instruction": "p"}),
    "held-out prompts": (read_prompts, {"prompt": "p"}),
    "dedup": (lambda path: dedup.run(path, path.with_name("out"), field="a", near=None, dropped=None), {"a": "x"}),
}
LISTS = ("preferences", "LLMBar", "AlpacaEval", "held-out prompts")


def repeated(row, place):
    """A row whose first key appears again: at its end, with another spelling, or inside another value."""
    key, value = next(iter(row.items()))
    text = json.dumps(row)
    return {
        "other value": f'{text[:-1]}, "{key}": 3}}',
        "same value": f'{text[:-1]}, "{key}": {json.dumps(value)}}}',
        "as an escape": f'{text[:-1]}, "\\u{ord(key[0]):04x}{key[1:]}": 3}}',
        "inside": f'{text[:-1]}, "more": [{{"k": 1, "k": 2}}]}}',
    }[place]


@pytest.mark.parametrize("place", ["other value", "same value", "as an escape", "inside"])
@pytest.mark.parametrize("reader", LINES)
def test_a_repeated_key_in_json_lines(tmp_path, reader, place):
    read, row = LINES[reader]
    path = tmp_path / "in.jsonl"
    path.write_text(f"{json.dumps(row)}\n\n{repeated(row, place)}\n", encoding="utf-8")
    key = "k" if place == "inside" else next(iter(row))
    with pytest.raises(
        InputError, match=rf"in\.jsonl, line 3: .*the key '{key}' appears twice; fix or remove the line"
    ):
        read(path)


@pytest.mark.parametrize("reader", LISTS)
def test_a_repeated_key_in_a_list(tmp_path, reader):
    read, row = LINES[reader]
    path = tmp_path / "in.json"
    path.write_text(f"[{json.dumps(row)},\n{repeated(row, 'other value')}]", encoding="utf-8")
    with pytest.raises(InputError, match=r"in\.json.*the key '.*' appears twice"):
        read(path)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("model: {name: m}\nseed: 1\nseed: 2", "seed"),
        ("model: {name: m}\nseed: 1\n'seed': 1", "seed"),
        ("model: {name: m, name: n}", "name"),
        ("model:\n  name: m\n  name: m", "name"),
        ("model: {name: m}\njudge: {samples: 1}\njudge: {max_tokens: 5}", "judge"),
        ('{"model": {"name": "m"}, "seed": 1, "s\\u0065ed": 2}', "seed"),
    ],
)
def test_a_repeated_key_in_a_configuration(tmp_path, text, key):
    path = tmp_path / "c.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(
        InputError, match=rf"c\.yaml: not valid YAML: .*the key '{key}' appears twice \(line \d, column"
    ):
        configuration.load(str(path))


def test_a_repeated_key_in_an_override():
    with pytest.raises(InputError, match="the key 'samples' appears twice"):
        configuration.build({"model": {"name": "m"}}, ("judge={samples: 1, samples: 2}",))
