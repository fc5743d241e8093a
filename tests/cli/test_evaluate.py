"""`srlm eval …` with scripted workers: refused inputs, and the content of the output folder."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from srlm.cli import evaluate
from srlm.cli.main import srlm
from srlm.errors import InputError

from tests.scripted import folder_of

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
    """A fake launcher: records each job, and finishes its tasks with an empty file and a given result."""

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
        monkeypatch.setattr(evaluate, "launcher", workers)
        monkeypatch.setattr(evaluate, "resolve", lambda _, name, revision: folder_of(name))
        return workers

    return use


def run(*words):
    return CliRunner().invoke(srlm, ["eval", *words], catch_exceptions=False)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["judge", "--data", "nowhere", "--model", "m", "--out", "o"], "nowhere: no such file"),
        (["judge", "--data", "pairs.jsonl", "--out", "o"], "neither --model nor --run is set"),
        (["judge", "--data", "pairs.jsonl", "--model", "m", "--run", "r", "--out", "o"], "are both set"),
        (["judge", "--data", "pairs.jsonl", "--run", "full", "--out", "o"], "not a run directory"),
        (["judge", "--data", "pairs.jsonl", "--run", "full", "--out", "o", "seed=1"], "remove --config and KEY=VALUE"),
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


def test_metrics_are_shown_and_kept(folder, scripted):
    workers = scripted({**FOLLOWED, "by_kind": {"punctuation:no_comma": SHARE}})
    words = ("instructions", "--data", "rules.jsonl", "--model", "m", "--out", "o")
    shown = run(*words)
    assert "punctuation:no_comma" in shown.stdout
    assert "(20% to 31%)" in shown.stdout
    assert workers.works[0].folder == folder_of("m")
    kept = json.loads((folder / "o" / "results.json").read_text(encoding="utf-8"))
    assert kept["model"]["prompt_strict"] == SHARE
    assert run(*words).exit_code == 0  # the same command resumes
    (folder / "rules.jsonl").write_text(json.dumps({**RULES, "prompt": "q"}) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match="made with another data"):
        run(*words)


INSTRUCTIONS = ("instructions", "--data", "rules.jsonl", "--out", "o")


@pytest.mark.parametrize("config", [(), ("--config", "c.yaml")])
def test_another_model_needs_another_folder(folder, scripted, config):
    (folder / "c.yaml").write_text("model: {name: base}\n", encoding="utf-8")
    scripted({**FOLLOWED, "by_kind": {}})
    run(*INSTRUCTIONS, "--model", "m", *config)
    with pytest.raises(InputError, match="made with another model model"):
        run(*INSTRUCTIONS, "--model", "n", *config)


def test_other_weights_in_the_same_place_need_another_folder(folder, scripted):
    scripted({**FOLLOWED, "by_kind": {}})
    run(*INSTRUCTIONS, "--model", "m")
    Path(folder_of("m"), "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match="made with another model model"):
        run(*INSTRUCTIONS, "--model", "m")


def test_a_failed_command_leaves_the_folder_usable(folder, scripted, monkeypatch):
    scripted({**FOLLOWED, "by_kind": {}})

    def nowhere(workers, name, revision):
        raise InputError(f"{name}: no such model")

    with monkeypatch.context() as patched:
        patched.setattr(evaluate, "resolve", nowhere)
        with pytest.raises(InputError, match="no such model"):
            run(*INSTRUCTIONS, "--model", "mm")
    assert run(*INSTRUCTIONS, "--model", "m").exit_code == 0


def test_the_revision_applies_to_the_configured_model_only(folder, scripted, monkeypatch):
    (folder / "c.yaml").write_text("model: {name: base, revision: old}\n", encoding="utf-8")
    scripted({**FOLLOWED, "by_kind": {}})
    asked = []
    monkeypatch.setattr(evaluate, "resolve", lambda _, *asked_for: asked.append(asked_for) or folder_of(asked_for[0]))
    run(*INSTRUCTIONS, "--model", "m", "--config", "c.yaml")
    run("instructions", "--data", "rules.jsonl", "--out", "o2", "--model", "base", "--config", "c.yaml")
    assert asked == [("m", None), ("base", "old")]


HEAD_TO_HEAD = {
    "judge": "j", "prompts": 2, "wins": 1, "ties": 1, "losses": 0, "unparseable": 0, "disagreements": 1,
    "win_rate": SHARE,
    "length_controlled": SHARE, "preference": SHARE, "first_position_rate": 0.75, "mean_length": [10.0, 20.0],
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
    assert workers.works[2].tasks[0].judge_name == ("j" if judge == "j" else "x (endpoint)")
    assert len((folder / "o" / "prompts.jsonl").read_text(encoding="utf-8").splitlines()) == 2  # a repeat is one


COMPARE = ("compare", "--a", "m", "--b", "n", "--prompts", "prompts.jsonl", "--out", "o")


@pytest.mark.parametrize(
    ("judge", "before", "after", "differs"),
    [
        ("endpoint", ["endpoint.model=x"], ["endpoint.model=y"], "endpoint"),
        ("endpoint", ["endpoint.model=x"], ["endpoint.model=x", "endpoint.base_url=http://localhost:2/v1"], "endpoint"),
        ("j", [], ["head_to_head.by=pointwise"], "head_to_head"),
        ("j", ["head_to_head.prompt_file=p.txt"], ["head_to_head.prompt_file=p.txt"], "pairwise prompt"),
    ],
)
def test_another_judge_needs_another_folder(folder, scripted, judge, before, after, differs):
    prompt = folder / "p.txt"
    prompt.write_text("{prompt} {first} {second}", encoding="utf-8")
    scripted(HEAD_TO_HEAD)
    run(*COMPARE, "--judge", judge, *before)
    prompt.write_text("{prompt}? {first} {second}", encoding="utf-8")
    with pytest.raises(InputError, match=f"made with another {differs}"):
        run(*COMPARE, "--judge", judge, *after)


def test_a_judge_uses_its_own_chat_template(folder, scripted):
    workers = scripted(HEAD_TO_HEAD)
    run(*COMPARE, "--judge", "j", "model.chat_template=plain")
    assert [work.config.model.chat_template for work in workers.works] == ["plain", "plain", None]


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
    (folder / "run" / "sft" / "model").mkdir(parents=True)
    workers = scripted(JUDGED)
    shown = run("judge", "--data", "pairs.jsonl", "--run", "run", "--out", "o")
    expected = [folder_of(name) for name in ("m", "run/sft/model", "run/m1/model", "run/m2/model")]
    assert [work.folder for work in workers.works] == expected
    assert list(json.loads((folder / "o" / "results.json").read_text())) == ["m0", "sft", "m1", "m2"]
    for text in ("m0", "sft", "m1", "m2", "Too few", "3 / 2 (1)", "0: 1  5: 2", "1.50"):
        assert text in shown.stdout


@pytest.mark.parametrize("base", [True, False])
def test_a_run_whose_m0_is_gone_or_not_wanted(folder, scripted, monkeypatch, base):
    """Without M0 on this machine, or with evaluate.base=false, the trained models are evaluated as before."""
    from srlm import config as configuration

    loaded = configuration.build({"model": {"name": "./gone"}, "evaluate": {"base": base}})
    for name in ("sft", "m1"):
        (folder / "run" / name / "model").mkdir(parents=True)
    (folder / "run" / "config.yaml").write_text(configuration.to_yaml(loaded), encoding="utf-8")
    workers = scripted(JUDGED)

    def resolve(_, name, revision):
        if name == "./gone":
            raise InputError("model './gone': no such folder")
        return folder_of(name)

    monkeypatch.setattr(evaluate, "resolve", resolve)
    shown = run("judge", "--data", "pairs.jsonl", "--run", "run", "--out", "o")
    assert [work.tasks[0].name for work in workers.works] == (["sft", "m1"] if base else ["m1"])
    assert ("M0 is not evaluated: model './gone': no such folder" in shown.stderr) == base


def test_another_run_needs_another_folder_and_a_further_model_does_not(folder, scripted, monkeypatch):
    from srlm import config as configuration

    def save(name, *models):
        for model in models:
            (folder / name / model / "model").mkdir(parents=True)
        text = configuration.to_yaml(configuration.build({"model": {"name": "m"}}))
        (folder / name / "config.yaml").write_text(text, encoding="utf-8")

    words = ("judge", "--data", "pairs.jsonl", "--out", "o", "--run")
    scripted(JUDGED)
    save("one", "m1")
    run(*words, "one")
    save("other", "m1")
    with pytest.raises(InputError, match="made with another model m1"):
        run(*words, "other")
    save("one", "m2")
    run(*words, "one")
    kept = json.loads((folder / "o" / "inputs.json").read_text(encoding="utf-8"))
    assert sorted(kept["models"]) == ["m0", "m1", "m2"]


def test_another_judge_prompt_needs_another_folder(folder, scripted):
    prompt = folder / "p.txt"
    prompt.write_text("{prompt} {response}", encoding="utf-8")
    scripted(JUDGED)
    words = ("judge", "--data", "pairs.jsonl", "--out", "o", "--model", "m", "judge.prompt_file=p.txt")
    run(*words)
    prompt.write_text("{prompt}! {response}", encoding="utf-8")
    with pytest.raises(InputError, match="made with another judge prompt"):
        run(*words)


def test_no_limit_where_the_run_measured_nothing(folder, scripted):
    workers = scripted(JUDGED)
    run("judge", "--data", "pairs.jsonl", "--out", "o", "--model", "m", "evaluate.judge_prompts=0")
    assert workers.works[0].tasks[0].limit is None
