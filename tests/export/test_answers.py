"""Export to AlpacaEval and lm-evaluation-harness, and parsing of instructions."""

import json
import shlex

import pytest
from srlm.config import build
from srlm.errors import InputError
from srlm.export.answers import (
    AlpacaEvalTask,
    Instruction,
    ModelOutput,
    lm_eval_command,
    outputs_for,
    read_instructions,
    unique_prompts,
    write_alpaca_eval,
)
from srlm.rows.records import Candidate, read_rows

from tests.scripted import Interrupted, Recorder, ScriptedEngine

ROWS = [
    {"instruction": "Name a bird.", "output": "not read", "generator": "davinci", "dataset": "helpful_base"},
    {"instruction": "Name a fish.", "dataset": None},
    {"instruction": "Name a bird."},
]
READ = [
    Instruction("Name a bird.", "helpful_base"),
    Instruction("Name a fish.", None),
    Instruction("Name a bird.", None),
]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(ROWS),
        "\ufeff \n" + json.dumps(ROWS, indent=2),
        "".join(json.dumps(row) + "\n\n" for row in ROWS),
    ],
    ids=["list", "list with a byte order mark", "lines"],
)
def test_instructions_in_either_form(tmp_path, text):
    file = tmp_path / "instructions.json"
    file.write_text(text, encoding="utf-8")
    assert read_instructions(file) == READ


def test_instructions_may_hold_line_separators(tmp_path):
    file = tmp_path / "instructions.json"
    file.write_text(json.dumps([{"instruction": "a\u2028b\nc"}], ensure_ascii=False), encoding="utf-8")
    assert read_instructions(file) == [Instruction("a\u2028b\nc", None)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "contains no instructions"),
        ("[]", "contains no instructions"),
        ('[{"instruction": "a"}, 3]', "entry 2: expected a JSON object, found int"),
        ('[{"instruction": "a"}, {"instruction": " "}]', "entry 2: `instruction` must be a non-empty string"),
        ('{"instruction": "a"}\n{"prompt": "b"}', "line 2: `instruction` must be"),
        ('{"instruction": "a", "dataset": 1}', "line 1: `dataset` must be a string"),
        ('[{"instruction": "a"}', "not valid JSON"),
        ('{"instruction": "a"', "line 1: not valid JSON"),
    ],
)
def test_broken_instructions(tmp_path, text, message):
    file = tmp_path / "instructions.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as error:
        read_instructions(file)
    assert str(error.value).startswith(str(file))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_no_such_file(tmp_path):
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_instructions(tmp_path / "none.json")


def test_a_repeated_instruction_is_one_prompt():
    assert [prompt.text for prompt in unique_prompts(READ)] == ["Name a bird.", "Name a fish."]


def candidate(prompt, text, index=0):
    return Candidate(f"{prompt.id}.{index}", prompt.id, index, text, [1], -1.0, "stop", 0)


def test_every_instruction_gets_its_first_answer():
    bird, fish = unique_prompts(READ)
    candidates = [candidate(fish, "\n Cod. "), candidate(bird, "Hen.", 1), candidate(bird, "Owl.")]
    assert outputs_for(READ, candidates) == [
        ModelOutput("Name a bird.", "Owl.", "helpful_base"),
        ModelOutput("Name a fish.", "Cod."),
        ModelOutput("Name a bird.", "Owl."),
    ]


def test_an_instruction_without_an_answer():
    with pytest.raises(InputError, match=r"^1 of 3 instructions have no output, the first is 'Name a fish\.'"):
        outputs_for(READ, [candidate(unique_prompts(READ)[0], "Owl.")])


def test_outputs(tmp_path):
    file = tmp_path / "outputs.json"
    write_alpaca_eval([ModelOutput("é\u2028", 'a "b"\n', "koala"), ModelOutput("c", "\ud800")], "m2", file)
    assert file.read_bytes().isascii()
    assert json.loads(file.read_bytes()) == [
        {"dataset": "koala", "instruction": "é\u2028", "output": 'a "b"\n', "generator": "m2"},
        {"instruction": "c", "output": "\ud800", "generator": "m2"},
    ]


def test_a_file_name_that_alpaca_eval_rejects(tmp_path):
    with pytest.raises(InputError, match=r"requires the extension \.json;"):
        write_alpaca_eval([ModelOutput("a", "b")], "m2", tmp_path / "outputs.jsonl")


def test_task(tmp_path, tiny_tokenizer):
    instructions = tmp_path / "instructions.json"
    instructions.write_text(json.dumps(ROWS))
    task = AlpacaEvalTask("alpaca", instructions, tmp_path / "outputs.json", "m2")
    config = build({"model": {"name": "unused"}}, (), "test")
    stopped = ScriptedEngine(tiny_tokenizer, lambda request: f" to {request.key} ", fail_after=1)
    with pytest.raises(Interrupted):
        task.run(stopped, config, 3, Recorder())
    assert not task.file.exists()
    engine = ScriptedEngine(tiny_tokenizer, lambda request: f" to {request.key} ")
    assert task.run(engine, config, 3, Recorder()) == {"rows": 3}
    assert (len(stopped.requests), len(engine.requests)) == (2, 1)  # one answer per instruction, and none twice
    written = {row.prompt_id: row.text for row in read_rows(tmp_path / "outputs.candidates", Candidate)}
    bird, fish = (prompt.id for prompt in unique_prompts(READ))
    assert [row["output"] for row in json.loads(task.file.read_text())] == [
        written[name].strip() for name in (bird, fish, bird)
    ]
    assert engine.requests[0].sampling.temperature == config.candidates.temperature


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "my $model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


def test_lm_eval_command(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = lm_eval_command(folder.relative_to(tmp_path), ["arc_easy", "gsm8k"], folder.relative_to(tmp_path) / "out")
    assert shlex.split(command) == [
        *("lm_eval", "run", "--model", "hf", "--model_args", f"pretrained={folder}", "dtype=auto"),
        *("--tasks", "arc_easy", "gsm8k", "--apply_chat_template"),
        *("--batch_size", "auto", "--output_path", f"{folder}/out"),
    ]


def test_lm_eval_command_of_other_settings(folder, tmp_path):
    command = lm_eval_command(
        folder, ["ifeval"], tmp_path, chat=False, backend="vllm", dtype="bfloat16", batch_size="8"
    )
    words = shlex.split(command)
    assert "--apply_chat_template" not in words
    assert words[3] == "vllm"
    assert words[6] == "dtype=bfloat16"
    assert words[words.index("--batch_size") + 1] == "8"


@pytest.mark.parametrize("tasks", [[], [""], ["arc easy"], ["a,b"], ["--limit"]])
def test_invalid_lm_eval_tasks(folder, tmp_path, tasks):
    with pytest.raises(InputError, match="use at least one name"):
        lm_eval_command(folder, tasks, tmp_path)


def test_lm_eval_of_no_model(tmp_path):
    with pytest.raises(InputError, match="not a model directory"):
        lm_eval_command(tmp_path, ["ifeval"], tmp_path)


@pytest.mark.parametrize("name", ["a,b", "it's", "a[1]"])
def test_a_path_that_lm_eval_cannot_parse(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "config.json").write_text("{}")
    with pytest.raises(InputError, match="rename or link the directory"):
        lm_eval_command(tmp_path / name, ["ifeval"], tmp_path)
