"""`srlm judge --parse-only`: existing replies, parsed without a model."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner
from srlm.cli import main
from srlm.errors import InputError
from srlm.rows.records import Verdict, to_json

REPLIES = ["Score: 4", "😀 Score: 3.5", "", "Score: 3 or 4", "Score: 9"]


def judge(*words):
    """Run the command and return its output, or raise the error that the user sees."""
    done = CliRunner().invoke(main.srlm, ["judge", *map(str, words)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture
def replies(tmp_path):
    file = tmp_path / "replies.jsonl"
    file.write_text("\n".join(json.dumps({"text": text}) + "\n" for text in REPLIES), encoding="utf-8")
    return file


def rows(file):
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_every_reply_becomes_a_row(tmp_path, replies):
    out = tmp_path / "new" / "out.jsonl"
    said = judge("--parse-only", "--replies", replies, "--out", out)
    assert said == (f"{out}: 5 replies: scored 2, missing 1, out_of_range 1, conflicting 1; mean score 3.750\n")
    assert rows(out) == [
        {"line": 1, "outcome": "scored", "score": 4.0, "start": 7, "end": 8},
        {"line": 3, "outcome": "scored", "score": 3.5, "start": 9, "end": 12},
        {"line": 5, "outcome": "missing", "score": None, "start": None, "end": None},
        {"line": 7, "outcome": "conflicting", "score": None, "start": 7, "end": 8},
        {"line": 9, "outcome": "out_of_range", "score": None, "start": 7, "end": 8},
    ]


def test_configuration_field_and_overrides_apply(tmp_path):
    file, out, config = tmp_path / "in.jsonl", tmp_path / "out.jsonl", tmp_path / "c.yaml"
    file.write_text('{"a": [{"b": "Score: 4\\n[[9]]"}]}\n', encoding="utf-8")
    config.write_text("model: {name: x}\njudge: {max_score: 10}\n", encoding="utf-8")
    words = ("--parse-only", "--replies", file, "--out", out, "--field", "a.0.b", "--config", config)
    assert "mean score 4.000" in judge(*words)
    assert "mean score 9.000" in judge(*words, r"judge.score_pattern='\[\[(?P<score>\d+)\]\]'")
    assert "out_of_range 1, conflicting 0; no mean score" in judge(*words, "judge.max_score=3")


def test_changed_recorded_verdicts_are_counted(tmp_path):
    file, out = tmp_path / "verdicts.jsonl", tmp_path / "out.jsonl"
    recorded = [
        ("Score: 4", "scored", 4.0),
        ("Score: 4", "scored", 3.0),
        ("Score: 4", "missing", None),
        ("hm", "missing", None),
        ("Score: 9", "out_of_range", None),
    ]
    lines = [
        to_json(Verdict(f"v{n}", "c", n, text, outcome, score, None))
        for n, (text, outcome, score) in enumerate(recorded)
    ]
    lines.insert(2, '{"text": "Score: 1 \\"outcome\\""}')
    file.write_text("\n".join(lines), encoding="utf-8")
    said = judge("--parse-only", "--replies", file, "--out", out)
    assert said.endswith("; 2 of 5 recorded verdicts have changed\n")
    assert "recorded" in judge("--parse-only", "--replies", file, "--out", out, "judge.max_score=10")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--prompts", "p", "--candidates", "c"], "--model is missing; add it, or .* --parse-only --replies"),
        (["--model", "m", "--candidates", "c"], "--prompts is missing"),
        (["--model", "m", "--prompts", "p"], "--candidates is missing"),
        (["--replies", "r"], "--replies: only used with --parse-only; remove --replies"),
        (["--field", "f", "--model", "m"], "--field: only used with --parse-only"),
        (["--parse-only"], "--parse-only needs --replies"),
        (
            ["--parse-only", "--replies", "r", "--model", "m"],
            "--model: not used with --parse-only, which loads no model; remove",
        ),
        (["--parse-only", "--replies", "r", "--prompts", "p"], "--prompts: not used with --parse-only"),
        (["--parse-only", "--replies", "nowhere"], "nowhere: no such file"),
        (["--parse-only", "--replies", "{in}", "--field", "x"], r"in\.jsonl, line 1: field `x` is missing"),
        (["--parse-only", "--replies", "{in}", "--field", "a."], 'field is "a."; use the name'),
        (["--parse-only", "--replies", "{bad}"], r"bad\.jsonl, line 2: not valid JSON: .*; fix or remove"),
        (["--parse-only", "--replies", "{twice}"], r"twice\.jsonl, line 2: the key `text` appears twice; remove one"),
        (["--parse-only", "--replies", "{twice}", "--field", "x"], r"line 2: the key `text` appears twice"),
        (["--parse-only", "--replies", "{inside}", "--field", "a.0.b"], "line 1: the key `b` appears twice"),
        (["--parse-only", "--replies", "{inside}", "--field", "c"], "line 1: the key `b` appears twice"),
        (["--parse-only", "--replies", "{out}"], "--out is the file of replies"),
        (["--parse-only", "--replies", "{in}", "judge.score_pattern=x"], r"judge\.score_pattern: .*no group named"),
        (["--parse-only", "--replies", "{in}", "judge.max_score=0"], "judge.max_score: .*greater than 0"),
        (["--parse-only", "--replies", "{in}", "judge.nothing=1"], "unknown key 'judge.nothing'"),
    ],
)
def test_wrong_input_is_one_line(tmp_path, words, message):
    files = {name: tmp_path / f"{name}.jsonl" for name in ("in", "bad", "out", "twice", "inside")}
    files["in"].write_text('{"text": "Score: 4"}\n', encoding="utf-8")
    files["bad"].write_text('{"text": "Score: 4"}\n{"text"}\n', encoding="utf-8")
    twice = '{"text": "Score: 4", "x": ""}\n{"x": "", "text": "Score: 1", "text": "Score: 5"}\n'
    files["twice"].write_text(twice, encoding="utf-8")
    files["inside"].write_text('{"a": [{"b": "Score: 1", "b": "Score: 5"}], "c": ""}\n', encoding="utf-8")
    files["out"].write_text('{"text": "Score: 4"}\n', encoding="utf-8")
    with pytest.raises(InputError, match=message) as error:
        judge(*(word.format(**files) if "{" in word else word for word in words), "--out", files["out"])
    assert "\n" not in str(error.value)
    assert rows(files["out"]) == [{"text": "Score: 4"}]


def test_the_command_ends_with_code_2_and_loads_nothing_heavy(tmp_path, replies):
    code = (
        "import sys; from srlm.cli import main as cli\n"
        "try:\n    cli.main()\nfinally:\n"
        "    print({'torch', 'transformers', 'tokenizers', 'datasets'} & set(sys.modules))"
    )

    def run(*words):
        return subprocess.run(
            [sys.executable, "-c", code, "judge", "--out", str(tmp_path / "out"), *words],
            capture_output=True,
            text=True,
            check=False,
        )

    good = run("--parse-only", "--replies", str(replies))
    assert (good.returncode, good.stdout.splitlines()[-1], good.stderr) == (0, "set()", "")
    bad = run("--parse-only", "--replies", str(replies), "--field", "x")
    assert bad.returncode == 2
    assert bad.stderr == (f"srlm: error: {replies}, line 1: field `x` is missing; add it or use another field\n")
