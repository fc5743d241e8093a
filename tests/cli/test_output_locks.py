"""Two commands with the same output: the second is refused before it writes, and readers are not blocked."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner
from srlm.cli import evaluate, export, main, stage_commands
from srlm.errors import InputError
from srlm.rows.records import (
    Candidate,
    Example,
    Pair,
    Prompt,
    Verdict,
    write_rows,
)
from srlm.run.output_lock import held

from tests.report_run import make_run
from tests.scripted import folder_of

USER = [{"role": "user", "content": "q"}]


def said(text):
    return [{"role": "assistant", "content": text}]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with one valid input of each kind; commands that reach their workers fail."""
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "prompts.jsonl", [Prompt("p", "q", "seed", [], -1)])
    write_rows(
        tmp_path / "candidates.jsonl", [Candidate(f"c{n}", "p", n, f"a{n}", [1], -1.0, "stop", 0) for n in (0, 1)]
    )
    write_rows(
        tmp_path / "verdicts.jsonl", [Verdict(f"v{n}", f"c{n}", 0, "x", "scored", float(n), None) for n in (0, 1)]
    )
    write_rows(tmp_path / "examples.jsonl", [Example("e", USER, said("a"))])
    write_rows(tmp_path / "pairs.jsonl", [Pair("p", USER, said("a"), said("b"), "c1", "c0", 5.0, 1.0)])
    (tmp_path / "preferences.jsonl").write_text('{"prompt": "p", "chosen": "c", "rejected": "r"}\n', encoding="utf-8")
    rules = {"key": 1, "prompt": "p", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
    (tmp_path / "rules.jsonl").write_text(json.dumps(rules) + "\n", encoding="utf-8")
    (tmp_path / "texts.jsonl").write_text('{"text": "Score: 4"}\n', encoding="utf-8")
    (tmp_path / "instructions.json").write_text('[{"instruction": "Say tea."}]', encoding="utf-8")
    question = {"question_id": 81, "category": "writing", "turns": ["Write."]}
    (tmp_path / "question.jsonl").write_text(json.dumps(question) + "\n", encoding="utf-8")
    for module in (stage_commands, evaluate, export):
        monkeypatch.setattr(module, "launcher", lambda config, kinds: Reached())
        monkeypatch.setattr(module, "resolve", lambda _, name, revision: folder_of(name))
    return tmp_path


class ReachedError(Exception):
    """The command would now load a model."""


class Reached:
    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def run(self, work, finish):
        raise ReachedError


# Command line without its output -> the outputs, each with the option or the name by which it is given.
PAIRS = ("pairs", "--prompts", "prompts.jsonl", "--candidates", "candidates.jsonl", "--verdicts", "verdicts.jsonl")
JUDGE = ("judge", "--model", "m", "--prompts", "prompts.jsonl", "--candidates", "candidates.jsonl", "--out", "o.jsonl")
ALPACA = ("export", "alpaca-eval", "--model", "m", "--instructions", "instructions.json", "--name", "n")
MT_BENCH = ("export", "mt-bench", "--model", "m", "--questions", "question.jsonl")
COMMANDS = {
    "prompts": (("prompts", "--model", "m", "--ift", "examples.jsonl", "--out", "o.jsonl"), "o.jsonl"),
    "prompts, the dropped ones": (
        ("prompts", "--model", "m", "--ift", "examples.jsonl", "--out", "o.jsonl"),
        "o_dropped.jsonl",
    ),
    "generate": (("generate", "--model", "m", "--prompts", "prompts.jsonl", "--out", "o.jsonl"), "o.jsonl"),
    "judge": (JUDGE, "o.jsonl"),
    "parse-only": (("judge", "--parse-only", "--replies", "texts.jsonl", "--out", "o.jsonl"), "o.jsonl"),
    "pairs": ((*PAIRS, "--out", "o.jsonl"), "o.jsonl"),
    "sft": (("sft", "--model", "m", "--data", "examples.jsonl", "--out", "o"), "o"),
    "dpo": (("dpo", "--model", "m", "--pairs", "pairs.jsonl", "--out", "o"), "o"),
    "dpo, the metrics": (("dpo", "--model", "m", "--pairs", "pairs.jsonl", "--out", "o"), "o.metrics.jsonl"),
    "eval judge": (("eval", "judge", "--model", "m", "--data", "preferences.jsonl", "--out", "o"), "o"),
    "eval instructions": (("eval", "instructions", "--model", "m", "--data", "rules.jsonl", "--out", "o"), "o"),
    "eval compare": (
        ("eval", "compare", "--a", "m", "--b", "n", "--judge", "m", "--prompts", "prompts.jsonl", "--out", "o"),
        "o",
    ),
    "dedup": (("dedup", "texts.jsonl", "--out", "o.jsonl"), "o.jsonl"),
    "dedup, the dropped rows": (("dedup", "texts.jsonl", "--out", "o.jsonl", "--dropped", "d.jsonl"), "d.jsonl"),
    "dedup, the index": (("dedup", "texts.jsonl", "--out", "o.jsonl", "--index", "i"), "i"),
    "alpaca-eval": ((*ALPACA, "--out", "o.json"), "o.json"),
    "mt-bench": ((*MT_BENCH, "--out", "o.jsonl"), "o.jsonl"),
    "report": (("report", "run", "--out", "o.html"), "o.html"),
    "report of a run": (("report", "run"), "run/report.html"),
    "compare": (("compare", "run", "run", "--out", "o.html"), "o.html"),
}  # fmt: skip


def run(*words):
    done = CliRunner().invoke(main.srlm, words)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output


def listed(folder):
    files = (path.relative_to(folder).as_posix() for path in folder.rglob("*"))
    return sorted(name for name in files if not name.startswith("models"))


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("form", ["as given", "absolute", "through a link"])
def test_a_second_writer_is_refused(folder, name, form):
    words, out = COMMANDS[name]
    if "run" in words:
        make_run(folder / "run", name="a-run")
    (folder / "link").symlink_to(folder, target_is_directory=True)
    taken = {"as given": folder / out, "absolute": folder / out, "through a link": folder / "link" / out}[form]
    before = listed(folder)
    with held(taken):
        with pytest.raises(
            InputError, match=r"being written by process .*; wait until it is done, stop it, or"
        ) as caught:
            run(*(str(folder / word) if word == out and form == "absolute" else word for word in words))
        assert "\n" not in str(caught.value)
    assert listed(folder) == before


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_not_blocked_by_writers_of_its_inputs_or_of_other_outputs(folder, name):
    words, out = COMMANDS[name]
    if "run" in words:
        make_run(folder / "run", name="a-run")
    inputs = [folder / word for word in words if (folder / word).exists()]
    workers = (
        words[0] in ("prompts", "generate", "judge", "sft", "dpo", "eval", "export") and "--parse-only" not in words
    )
    with held(folder / "other.jsonl", folder / "other", *inputs):
        if workers:
            with pytest.raises(ReachedError):
                run(*words)
        else:
            run(*words)
            assert (folder / out).exists()
    assert not [name for name in listed(folder) if name.endswith(".srlm-lock")]


WRITE = """
import sys
from srlm.cli import main, stage_commands
from srlm.rows.records import Candidate, RowWriter
from srlm.rows.resume import resume_rows

class Workers:
    def __enter__(self): return self
    def __exit__(self, *error): pass
    def run(self, work, finish):
        [task] = work.tasks
        done = len(resume_rows(task.file, Candidate))
        with RowWriter(task.file) as writer:
            for n in range(done, 100):
                writer.write(Candidate(f"c{n}", "p", n, "a", [1], -1.0, "stop", 0))
                if n == 50:
                    print("writing", flush=True)
                    sys.stdin.readline()
        finish(task.name, {"rows": 100})

stage_commands.launcher = lambda config, kinds: Workers()
stage_commands.resolve = lambda *_: "m"
main.main()
"""


def test_two_writers_give_the_rows_of_one(folder):
    command = [sys.executable, "-c", WRITE, "generate", "--model", "m", "--prompts", "prompts.jsonl", "--out"]
    first = subprocess.Popen([*command, "o.jsonl"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert first.stdout.readline() == "writing\n"
    second = subprocess.run(
        [*command, str(folder / "o.jsonl")], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert (second.returncode, second.stdout) == (2, "")
    assert second.stderr.startswith(f"srlm: error: {folder / 'o.jsonl'}: being written by process {first.pid} on ")
    assert first.communicate("go on\n")[0].endswith("o.jsonl: 100 rows\n")
    assert len((folder / "o.jsonl").read_text(encoding="utf-8").splitlines()) == 100
    assert not list(folder.glob(".*"))


def test_a_training_that_finished_meanwhile_is_not_overwritten(folder, monkeypatch):
    """The output appears between the first check and the lock."""

    def validate(file, kind):
        (folder / "o").mkdir()
        return file

    monkeypatch.setattr(stage_commands, "rows_in", validate)
    with pytest.raises(InputError, match="o: already exists; use another --out"):
        run("sft", "--model", "m", "--data", "examples.jsonl", "--out", "o")
