"""`srlm export …` with a scripted launcher: the jobs, and refused inputs."""

import json

import pytest
from click.testing import CliRunner
from srlm.cli import export
from srlm.cli.main import srlm
from srlm.errors import InputError

from tests.scripted import folder_of

QUESTION = {"question_id": 81, "category": "writing", "turns": ["Write.", "Write again."]}


@pytest.fixture
def works(tmp_path, monkeypatch):
    """The jobs that are launched."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "instructions.json").write_text('[{"instruction": "Say tea."}]', encoding="utf-8")
    (tmp_path / "question.jsonl").write_text(json.dumps(QUESTION) + "\n", encoding="utf-8")
    (tmp_path / "broken.json").write_text("[{}]", encoding="utf-8")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}", encoding="utf-8")
    asked = []

    class ScriptedWorkers:
        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def run(self, work, finish):
            asked.append(work)

    monkeypatch.setattr(export, "launcher", lambda config, kinds: ScriptedWorkers())
    monkeypatch.setattr(export, "resolve", lambda _, name, revision: folder_of(name))
    return asked


def run(*words):
    return CliRunner().invoke(srlm, ["export", *words], catch_exceptions=False)


def test_alpaca_eval(works, tmp_path):
    options = ("--model", "m", "--instructions", "instructions.json", "--name", "mine", "--out", "o.json")
    assert run("alpaca-eval", *options, "candidates.max_tokens=9").stdout == "o.json\n"
    [work] = works
    assert (work.folder, work.config.candidates.max_tokens) == (folder_of("m"), 9)
    [task] = work.tasks
    assert (task.generator, task.file) == ("mine", tmp_path / "o.json")


def test_mt_bench(works, tmp_path):
    run("mt-bench", "--model", "m", "--questions", "question.jsonl", "--out", "mine.jsonl", "--max-tokens", "7")
    [task] = works[0].tasks
    assert (task.file, task.temperature, task.max_tokens) == (tmp_path / "mine.jsonl", None, 7)


ALPACA = ("alpaca-eval", "--instructions", "instructions.json", "--name", "mine", "--out", "o.json")
MT_BENCH = ("mt-bench", "--questions", "question.jsonl", "--out", "mine.jsonl")


@pytest.mark.parametrize(
    ("before", "after", "differs"),
    [
        ((*ALPACA, "--model", "m"), (*ALPACA, "--model", "n"), "model"),
        ((*ALPACA, "--model", "m"), (*ALPACA, "--model", "m", "candidates.temperature=0.1"), "candidates.temperature"),
        ((*ALPACA, "--model", "m"), (*ALPACA, "--model", "m", "seed=3"), "seed"),
        ((*MT_BENCH, "--model", "m"), (*MT_BENCH, "--model", "n"), "model"),
        ((*MT_BENCH, "--model", "m"), (*MT_BENCH, "--model", "m", "--max-tokens", "9"), "--max-tokens"),
        ((*MT_BENCH, "--model", "m"), (*MT_BENCH, "--model", "m", "--temperature", "0.5"), "--temperature"),
    ],
)
def test_answers_of_another_model_or_other_settings_are_not_resumed(works, before, after, differs):
    run(*before)
    run(*before)
    with pytest.raises(InputError) as caught:
        run(*after)
    assert f"made with another {differs}; use another --out, or remove" in str(caught.value)
    assert len(works) == 2


def test_answers_with_unknown_inputs_are_refused(works, tmp_path):
    (tmp_path / "o.candidates").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="the inputs of these answers are unknown"):
        run(*ALPACA, "--model", "m")
    assert works == []


def test_lm_eval(works, tmp_path):
    shown = run(
        "lm-eval", "--model", "model", "--tasks", "ifeval,gsm8k", "--out", "o", "--no-chat", "--dtype", "bfloat16"
    )
    words = shown.stdout.split()
    assert words[:2] == ["lm_eval", "run"]
    assert words[words.index("--tasks") + 1 :][:2] == ["ifeval", "gsm8k"]
    assert f"pretrained={tmp_path / 'model'}" in words
    assert "dtype=bfloat16" in words
    assert "--apply_chat_template" not in words
    assert works == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["alpaca-eval", "--model", "m", "--instructions", "none", "--name", "n", "--out", "o.json"], "no such file"),
        (
            ["alpaca-eval", "--model", "m", "--instructions", "broken.json", "--name", "n", "--out", "o.json"],
            "instruction",
        ),
        (["alpaca-eval", "--model", "m", "--instructions", "instructions.json", "--name", "n", "--out", "o"], ".json"),
        (["mt-bench", "--model", "m", "--questions", "broken.json", "--out", "o.jsonl"], "broken.json"),
        (["mt-bench", "--model", "m", "--questions", "question.jsonl", "--out", "o.json"], ".jsonl"),
        (["lm-eval", "--model", "nowhere", "--tasks", "t", "--out", "o"], "not a model directory"),
        (["lm-eval", "--model", "model", "--tasks", ",", "--out", "o"], "use at least one name"),
    ],
)
def test_what_is_refused(works, words, message):
    with pytest.raises(InputError) as caught:
        run(*words)
    assert message in str(caught.value)
    assert works == []
