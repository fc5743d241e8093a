"""AlpacaEval, FastChat and lm-evaluation-harness themselves read the files exported for them.

They are in `.cache/official-tools`, which `make test` fills; tests of a missing tool are skipped. Of AlpacaEval and
FastChat only the file readers are loaded: their judges call endpoints.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import shlex
import sys
from types import ModuleType

import pytest
import yaml
from srlm.export.answers import ModelOutput, lm_eval_command, write_alpaca_eval
from srlm.export.mt_bench import TurnAnswer, read_questions, write_model_answers, write_turns
from srlm.rows.records import read_rows

from tests.conftest import DATA, ROOT
from tests.scripted import Recorder, ScriptedEngine
from tests.tiny import save_tiny_model

# Warnings of the tools themselves, on import.
pytestmark = [
    pytest.mark.filterwarnings("ignore:pkg_resources is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning"),
]
TOOLS = ROOT / ".cache" / "official-tools"


def folder_of(tool: str) -> str:
    if not (TOOLS / tool).is_dir():
        pytest.skip(f"{tool} is not in .cache/official-tools")
    return str(TOOLS / tool)


@pytest.fixture
def alpaca_eval_utils(monkeypatch):
    """AlpacaEval's `utils`, without its judges."""
    package = ModuleType("alpaca_eval")
    package.__path__ = [folder_of("alpaca_eval")]
    monkeypatch.setitem(sys.modules, "alpaca_eval", package)
    yield importlib.import_module("alpaca_eval.utils")
    for name in [name for name in sys.modules if name.startswith("alpaca_eval.")]:
        monkeypatch.delitem(sys.modules, name)


@pytest.mark.slow
def test_alpaca_eval_reads_the_outputs(alpaca_eval_utils, tmp_path):
    answers = [
        ModelOutput('Say "é\u2028".', "12", "koala"),
        ModelOutput("Name a\nbird.", "An \U0001f989.\n\n{'a': 1}", "vicuna"),
        ModelOutput("Be silent.", "", "koala"),
    ]
    file = tmp_path / "outputs.json"
    write_alpaca_eval(answers, "quickstart-m2", file)
    read = alpaca_eval_utils.load_or_convert_to_dataframe(file)
    columns = ["instruction", "output", "dataset"]
    assert read[columns].values.tolist() == [[row.instruction, row.output, row.dataset] for row in answers]
    assert alpaca_eval_utils.get_generator_name(None, read) == "quickstart-m2"


@pytest.fixture
def fastchat(monkeypatch):
    """FastChat's module that reads questions and answers, with stand-ins for the packages that call judges."""
    names = ("get_conversation_template", "ANTHROPIC_MODEL_LIST", "OPENAI_MODEL_LIST")
    for name in ("openai", "anthropic", "fastchat.model.model_adapter"):
        stand_in = ModuleType(name)
        for attribute in names:
            setattr(stand_in, attribute, None)
        monkeypatch.setitem(sys.modules, name, stand_in)
    spec = importlib.util.spec_from_file_location("fastchat_common", f"{folder_of('fastchat')}/llm_judge/common.py")
    module = importlib.util.module_from_spec(spec)
    # dataclasses look up their module.
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


QUESTIONS = [
    {"question_id": 81, "category": "writing", "turns": ["Write about \u2028Hawaii.", "Shorten it."]},
    {"question_id": 111, "category": "math", "turns": ["Add 2 and 2.", "And 3?"], "reference": ["4", "7"]},
]


def answered(engine_tokenizer, questions, tmp_path):
    engine = ScriptedEngine(engine_tokenizer, lambda request: f"é {request.seed}\n")
    write_turns(engine, questions, tmp_path / "turns", seed=0, report=Recorder())
    return read_rows(tmp_path / "turns", TurnAnswer)


def check_fastchat(fastchat, file, tokenizer, tmp_path):
    """Compare questions and answers, as FastChat reads them, with our own."""
    questions = read_questions(file)
    given = fastchat.load_questions(str(file), None, None)
    assert [(row["question_id"], row["category"], row["turns"]) for row in given] == [
        (question.id, question.category, question.turns) for question in questions
    ]
    rows = answered(tokenizer, questions, tmp_path)
    write_model_answers(questions, rows, tmp_path / "model_answer" / "m2.jsonl")
    (name,), (read,) = zip(*fastchat.load_model_answers(str(tmp_path / "model_answer")).items(), strict=True)
    assert (name, set(read)) == ("m2", {question.id for question in questions})
    for row in rows:
        assert read[row.question_id]["choices"][0]["turns"][row.turn] == row.text.strip()
    return len(questions)


def test_fastchat_reads_questions_and_answers(fastchat, tiny_tokenizer, tmp_path):
    file = tmp_path / "question.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS))
    assert check_fastchat(fastchat, file, tiny_tokenizer, tmp_path) == 2


def test_fastchat_reads_mt_bench(fastchat, tiny_tokenizer, tmp_path):
    file = DATA / "mt-bench" / "question.jsonl"
    if not file.is_file():
        pytest.skip("MT-Bench's questions are not in the data folder beside the checkout")
    assert check_fastchat(fastchat, file, tiny_tokenizer, tmp_path) == 80


def test_temperatures_are_fastchats(fastchat):
    from srlm.export.mt_bench import TEMPERATURES

    assert fastchat.temperature_config == TEMPERATURES


@pytest.fixture
def lm_eval(monkeypatch):
    """Run an lm_eval command in this process."""
    folder_of("lm_eval")
    monkeypatch.syspath_prepend(TOOLS)
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")  # it sets the variable itself, permanently

    def lm_eval(command, *more):
        monkeypatch.setattr(sys, "argv", [*shlex.split(command), *more])
        importlib.import_module("lm_eval.__main__").cli_evaluate()

    return lm_eval


TASK = {
    "task": "two_choices",
    "dataset_path": "json",
    "test_split": "test",
    "output_type": "multiple_choice",
    "doc_to_text": "{{question}}",
    "doc_to_choice": ["yes", "no"],
    "doc_to_target": "{{answer}}",
    "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
}


@pytest.mark.slow
def test_lm_eval_runs_the_command(lm_eval, tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    (tmp_path / "tasks").mkdir()
    rows = tmp_path / "tasks" / "rows.jsonl"
    rows.write_text('{"question": "Is water wet?", "answer": 0}\n{"question": "Is fire cold?", "answer": 1}\n')
    task = TASK | {"dataset_kwargs": {"data_files": {"test": str(rows)}}}
    (tmp_path / "tasks" / "two_choices.yaml").write_text(yaml.safe_dump(task))
    folder = tmp_path / "a model = $x" / "m2"
    save_tiny_model(folder, max_positions=256)
    command = lm_eval_command(folder, ["two_choices"], tmp_path / "results")
    lm_eval(command, "--include_path", str(tmp_path / "tasks"), "--device", "cpu")
    (file,) = (tmp_path / "results").glob("*/results_*.json")
    results = json.loads(file.read_text())
    assert results["config"]["model_args"] == {"pretrained": str(folder), "dtype": "auto"}
    assert results["n-samples"]["two_choices"] == {"original": 2, "effective": 2}
    assert results["results"]["two_choices"]["acc,none"] in (0.0, 0.5, 1.0)
    assert "<|im_start|>" in results["chat_template"]
