"""`srlm eval …`, up to where a model would be loaded: what is refused, and what a folder keeps."""

import json

import pytest
from click.testing import CliRunner
from srlm import cli_eval
from srlm.cli import srlm
from srlm.errors import InputError

PAIR = {"prompt": "p", "chosen": "c", "rejected": "r"}
RULES = {"key": 1, "prompt": "p", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pairs.jsonl").write_text(json.dumps(PAIR) + "\n", encoding="utf-8")
    (tmp_path / "rules.jsonl").write_text(json.dumps(RULES) + "\n", encoding="utf-8")
    (tmp_path / "prompts.jsonl").write_text('"p"\n"q"\n"p"\n', encoding="utf-8")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "something").write_text("", encoding="utf-8")
    return tmp_path


class ScriptedWorkers:
    """Stands in for a launcher: notes each job, and finishes its tasks with an empty file and a made-up result."""

    def __init__(self, result):
        self.result, self.works = result, []

    def __call__(self, config, kinds):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def run(self, work, finish):
        self.works.append(work)
        for task in work.tasks:
            task.file.write_text("", encoding="utf-8")
            finish(task.name, self.result)


@pytest.fixture
def scripted(monkeypatch):
    def use(result):
        workers = ScriptedWorkers(result)
        monkeypatch.setattr(cli_eval, "launcher", workers)
        monkeypatch.setattr(cli_eval, "resolve", lambda _, name, revision: f"folder of {name}")
        return workers

    return use


def run(*words):
    return CliRunner().invoke(srlm, ["eval", *words], catch_exceptions=False)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["judge", "--data", "nowhere", "--model", "m", "--out", "o"], "nowhere: no such file"),
        (["judge", "--data", "pairs.jsonl", "--out", "o"], "give either --model or --run"),
        (["judge", "--data", "pairs.jsonl", "--model", "m", "--run", "r", "--out", "o"], "either --model or --run"),
        (["judge", "--data", "pairs.jsonl", "--run", "full", "--out", "o"], "not a run's folder"),
        (["judge", "--data", "pairs.jsonl", "--run", "full", "--out", "o", "seed=1"], "leave --config and KEY=VALUE"),
        (["judge", "--data", "pairs.jsonl", "--model", "m", "--out", "full"], "not empty"),
        (["judge", "--data", "pairs.jsonl", "--model", "m", "--out", "o", "judge.sample=1"], "'judge.samples'"),
        (["instructions", "--data", "pairs.jsonl", "--model", "m", "--out", "o"], "pairs.jsonl, line 1"),
        (["compare", "--a", "m", "--b", "n", "--judge", "j", "--prompts", "none", "--out", "o"], "none: no such file"),
        (["compare", "--a", "m", "--b", "n", "--judge", "endpoint", "--prompts", "prompts.jsonl", "--out", "o"],
         "endpoint.model"),
    ],
)  # fmt: skip
def test_what_is_refused(folder, words, message):
    with pytest.raises(InputError) as caught:
        run(*words)
    assert message in str(caught.value)
    assert not (folder / "o").exists()


SHARE = {"value": 0.25, "low": 0.2, "high": 0.31, "n": 8}
FOLLOWED = dict.fromkeys(("prompt_strict", "instruction_strict", "prompt_loose", "instruction_loose"), SHARE)


def test_figures_are_shown_and_kept(folder, scripted):
    workers = scripted({**FOLLOWED, "by_kind": {"punctuation:no_comma": SHARE}})
    words = ("instructions", "--data", "rules.jsonl", "--model", "m", "--out", "o")
    shown = run(*words)
    assert "punctuation:no_comma" in shown.stdout
    assert "(20% to 31%)" in shown.stdout
    assert workers.works[0].folder == "folder of m"
    kept = json.loads((folder / "o" / "results.json").read_text(encoding="utf-8"))
    assert kept["model"]["prompt_strict"] == SHARE
    assert run(*words).exit_code == 0  # the same goes on
    (folder / "rules.jsonl").write_text(json.dumps({**RULES, "prompt": "q"}) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match="made with another data"):
        run(*words)


def test_another_model_needs_another_folder(folder, scripted):
    scripted({**FOLLOWED, "by_kind": {}})
    run("instructions", "--data", "rules.jsonl", "--model", "m", "--out", "o")
    with pytest.raises(InputError, match="made with another model"):
        run("instructions", "--data", "rules.jsonl", "--model", "n", "--out", "o")


HEAD_TO_HEAD = {
    "judge": "j", "prompts": 2, "wins": 1, "ties": 1, "losses": 0, "unread": 0, "disagreements": 1, "win_rate": SHARE,
    "length_controlled": SHARE, "preference": SHARE, "first_share": 0.75, "mean_length": [10.0, 20.0],
}  # fmt: skip


@pytest.mark.parametrize(
    ("judge", "extra"), [("j", []), ("endpoint", ["endpoint.model=x", "endpoint.base_url=http://localhost:1/v1"])]
)
def test_two_models_are_compared(folder, scripted, judge, extra):
    usage = {"requests": 4, "cached": 1, "retries": 2, "prompt_tokens": 9, "completion_tokens": 3, "cost": 0.5}
    workers = scripted({**HEAD_TO_HEAD, "usage": usage})
    shown = run("compare", "--a", "m", "--b", "n", "--judge", judge, "--prompts", "prompts.jsonl", "--out", "o", *extra)
    assert "1 / 1 / 0" in shown.stdout
    assert "4 requests" in shown.stdout
    assert "0.5000" in shown.stdout
    assert [[task.name for task in work.tasks] for work in workers.works] == [["a"], ["b"], ["comparisons"]]
    assert len((folder / "o" / "prompts.jsonl").read_text(encoding="utf-8").splitlines()) == 2  # a repeat is one


NOTHING = {"value": None, "low": None, "high": None, "n": 0}
JUDGED = {
    "pairwise_accuracy": SHARE, "longer_accuracy": SHARE, "tied": SHARE, "exact_match": NOTHING, "five_best": NOTHING,
    "agreement": NOTHING, "parse_rate": SHARE, "human_agreement": None, "spearman": SHARE, "kendall": SHARE,
    "length_spearman": SHARE, "score_entropy": 1.5, "histogram": {"0": 1, "5": 2}, "prompts": 3, "pairs": 2,
    "pairs_unscored": 1, "flags": ["Too few prompts."],
}  # fmt: skip


def test_every_model_of_a_run_judges(folder, scripted):
    from srlm import config as configuration

    loaded = configuration.build({"model": {"name": "m"}})
    for name in ("m1", "m2"):
        (folder / "run" / name / "model").mkdir(parents=True)
    (folder / "run" / "config.yaml").write_text(configuration.to_yaml(loaded), encoding="utf-8")
    workers = scripted(JUDGED)
    shown = run("judge", "--data", "pairs.jsonl", "--run", "run", "--out", "o")
    assert [work.folder for work in workers.works] == ["folder of run/m1/model", "folder of run/m2/model"]
    for text in ("m1", "m2", "Too few prompts.", "3 / 2 (1)", "0: 1  5: 2", "1.50"):
        assert text in shown.stdout
