"""What is measured of which model, what of it is done, and who compares."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from srlm import config as configuration
from srlm.cli.status import stage_names
from srlm.errors import InputError
from srlm.evaluation import schedule
from srlm.evaluation.baselines import baselines
from srlm.evaluation.schedule import Schedule, run_model
from srlm.evaluation.tasks import CompareThroughEndpoint
from srlm.rows.records import Example, Prompt, RankedAnswers, read_rows
from srlm.run.run_dir import RunDir
from srlm.run.stage_runner import StageRunner
from srlm.workers.jobs import Generate

from tests.scripted import Recorder

RANKED = [RankedAnswers(f"r{n}", f"question {n}", ["a", "b"], [5.0, 1.0], ["", ""]) for n in range(4)]


@dataclass
class ScriptedLauncher:
    """Stands in for workers: writes an empty file for each task, and notes by whom it was done."""

    works: list = field(default_factory=list)

    def run(self, work, finish):
        self.works.append(work)
        for task in work.tasks:
            task.file.parent.mkdir(parents=True, exist_ok=True)
            task.file.write_text("", encoding="utf-8")
            finish(task.name, {"rows": 0})


def make(path: Path, **sections) -> tuple[Schedule, ScriptedLauncher]:
    """A run whose seed is made and whose models M1 to M3 are trained."""
    config = configuration.build({"model": {"name": "m"}} | sections)
    launcher = ScriptedLauncher()
    stages = StageRunner(config, RunDir(path), launcher, Recorder())
    for name, rows in (("seed/eft_valid", 4), ("m1/sft", 1), ("m2/dpo", 1), ("m3/dpo", 1)):
        if stages.run_dir.entry(name) is None:
            stages.run_dir.finish(name, {"cache_key": name}, 0.0, {"rows": rows})
    made = Schedule(stages)
    ift = [Example("e", [{"role": "user", "content": "x"}], [{"role": "assistant", "content": "b"}])]
    made.make_held_out(ift=ift, ranked=[replace(RANKED[0], prompt="taught")], valid=RANKED)
    return made, launcher


def names(tasks):
    return [task.name for task in tasks]


def do(made, launcher, t):
    if tasks := made.tasks(t):
        made.runner.launch(Generate(made.runner.config, "folder", 0, tuple(tasks)))
    made.compare(t)


def test_by_default_a_model_judges_and_answers(tmp_path):
    made, _ = make(tmp_path)
    assert names(made.tasks(1)) == ["m1/judge_held_out", "m1/answers"]


def test_everything(tmp_path):
    rules, preferences = tmp_path / "rules.jsonl", tmp_path / "preferences.jsonl"
    rules.write_text("rules", encoding="utf-8")
    preferences.write_text("preferences", encoding="utf-8")
    made, _ = make(tmp_path / "run", evaluate={"preferences": {"mine": str(preferences)}, "instructions": str(rules)})
    assert names(made.tasks(2)) == ["m2/judge_held_out", "m2/judge_mine", "m2/answers", "m2/instructions"]


def test_nothing(tmp_path):
    made, launcher = make(tmp_path, evaluate={"judge_prompts": 0}, head_to_head={"prompts": 0})
    assert made.tasks(1) == []
    made.compare(2)
    assert launcher.works == []


def test_what_is_done_is_not_asked_for_again(tmp_path):
    made, launcher = make(tmp_path)
    do(made, launcher, 1)
    assert made.tasks(1) == []
    again, _ = make(tmp_path)
    assert again.tasks(1) == []


def test_each_model_meets_the_one_before_and_the_first(tmp_path):
    made, launcher = make(tmp_path)
    for t in (1, 2, 3):
        do(made, launcher, t)
    compared = [work for work in launcher.works if "vs" in work.tasks[0].name]
    assert [names(work.tasks) for work in compared] == [["m2/vs_m1"], ["m3/vs_m2", "m3/vs_m1"]]
    assert all(work.folder == str(tmp_path / "m1" / "model") for work in compared)  # M1 judges all
    last = compared[1].tasks[0]
    assert last.answers_a == tmp_path / "m3" / "answers.jsonl"
    assert last.answers_b == tmp_path / "m2" / "answers.jsonl"


def test_a_later_judge_makes_up_for_what_came_before_it(tmp_path):
    made, launcher = make(tmp_path, head_to_head={"judge": "m3", "baselines": ["previous"]})
    for t in (1, 2):
        do(made, launcher, t)
    assert not any("vs" in task.name for work in launcher.works for task in work.tasks)
    do(made, launcher, 3)
    assert names(launcher.works[-1].tasks) == ["m2/vs_m1", "m3/vs_m2"]
    assert launcher.works[-1].folder == str(tmp_path / "m3" / "model")


def test_an_endpoint_compares(tmp_path):
    made, launcher = make(tmp_path, head_to_head={"judge": "endpoint"}, endpoint={"model": "x"})
    for t in (1, 2):
        do(made, launcher, t)
    work = launcher.works[-1]
    assert isinstance(work, CompareThroughEndpoint)
    assert names(work.tasks) == ["m2/vs_m1"]


def test_another_model_compares_by_its_own_template(tmp_path, tiny_model):
    made, launcher = make(tmp_path, head_to_head={"judge": tiny_model}, model={"name": "m", "chat_template": "plain"})
    for t in (1, 2):
        do(made, launcher, t)
    assert launcher.works[-1].folder == tiny_model
    assert launcher.works[-1].config.model.chat_template is None


def test_another_file_of_preferences_is_another_stage(tmp_path):
    preferences = tmp_path / "preferences.jsonl"
    preferences.write_text("one", encoding="utf-8")
    sections = {"evaluate": {"preferences": {"mine": str(preferences)}}}
    made, launcher = make(tmp_path / "run", **sections)
    do(made, launcher, 1)
    preferences.write_text("two", encoding="utf-8")
    again, _ = make(tmp_path / "run", **sections)
    assert names(again.tasks(1)) == ["m1/judge_mine"]
    assert again.runner.report.notes[0].startswith(
        "m1/judge_mine: recomputed because evaluate.preferences.mine changed; "
    )


def weights(head):
    """A safetensors file without a tensor."""
    return len(head).to_bytes(8, "little") + head.encode()


@pytest.mark.parametrize("changed", ["weights", "prompt"])
def test_another_judge_is_another_comparison(tmp_path, changed):
    judge, prompt = tmp_path / "judge", tmp_path / "prompt.txt"
    judge.mkdir()
    (judge / "model.safetensors").write_bytes(weights("{}"))
    (judge / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    (judge / "tokenizer.json").write_text("{}", encoding="utf-8")
    prompt.write_text("{prompt} {first} {second}", encoding="utf-8")
    sections = {"head_to_head": {"judge": str(judge), "prompt_file": str(prompt)}}
    made, launcher = make(tmp_path / "run", **sections)
    for t in (1, 2):
        do(made, launcher, t)
    again, launcher = make(tmp_path / "run", **sections)
    again.compare(2)
    assert launcher.works == []  # the same judge: it is done
    if changed == "weights":
        (judge / "model.safetensors").write_bytes(weights('{"__metadata__": {}}'))
    else:
        prompt.write_text("{prompt}? {first} {second}", encoding="utf-8")
    later, launcher = make(tmp_path / "run", **sections)  # as the same command does, later
    later.compare(2)
    assert [task.name for work in launcher.works for task in work.tasks] == ["m2/vs_m1"]
    reason = {"weights": "judge's weights", "prompt": "pairwise prompt"}[changed]
    assert later.runner.report.notes[0].startswith(f"m2/vs_m1: recomputed because {reason} changed; ")


@pytest.mark.parametrize(
    ("head_to_head", "named"),
    [
        ({}, "m1"),
        ({"by": "pointwise"}, "m1 (pointwise)"),
        ({"judge": "endpoint"}, "gpt (endpoint)"),
        ({"judge": "j"}, "j"),
    ],
)
def test_what_a_judge_is_called(head_to_head, named):
    sections = {"model": {"name": "m"}, "head_to_head": head_to_head, "endpoint": {"model": "gpt"}}
    assert schedule.judge_name(configuration.build(sections)) == named


@pytest.mark.parametrize(
    ("against", "t", "expected"),
    [
        (["previous", "first"], 1, []),
        (["previous", "first"], 2, [1]),
        (["previous", "first"], 4, [3, 1]),
        (["first"], 4, [1]),
        (["previous"], 4, [3]),
        ([], 4, []),
    ],
)
def test_opponents(against, t, expected):
    assert baselines(configuration.HeadToHeadSection(baselines=against), t) == expected


@pytest.mark.parametrize(
    ("judge", "number"),
    [("m1", 1), ("m12", 12), ("endpoint", None), ("m", None), ("mine", None), ("m1/model", None), ("m²", None)],
)
def test_models_of_the_run_by_name(judge, number):
    assert run_model(judge) == number


@pytest.mark.parametrize("sections", [{}, {"head_to_head": {"baselines": []}, "dpo": {"eval_steps": 5}}])
def test_status_names_what_the_schedule_does(tmp_path, sections):
    made, launcher = make(tmp_path, iterations=3, **sections)
    for t in (1, 2, 3):
        do(made, launcher, t)
    done = {task.name for work in launcher.works for task in work.tasks}
    listed = set(stage_names(made.runner.config))
    assert done <= listed
    assert "seed/held_out" in listed
    assert ("seed/early_stop" in listed) == (made.runner.config.dpo.eval_steps is not None)
    assert {name for name in made.runner.run_dir.stages() if name.startswith("seed/")} <= listed
    assert "m3/answers" in done


def prompts_of(path, name):
    return {row.text for row in read_rows(path / "seed" / f"{name}.jsonl", Prompt)}


STOPS = {"dpo": {"eval_steps": 5}, "seed_data": {"eft": ["packaged"]}}


def test_checkpoints_are_chosen_on_other_prompts_than_models_are_compared_on(tmp_path):
    made, _ = make(tmp_path, **STOPS)
    compare, early_stop = prompts_of(tmp_path, "held_out"), prompts_of(tmp_path, "early_stop")
    assert (len(compare), len(early_stop)) == (2, 2)
    assert compare | early_stop == {row.prompt for row in RANKED}
    [note] = made.runner.report.notes
    assert note.startswith("seed: 2 held-out prompts choose checkpoints (dpo.eval_steps), 2 others compare models; ")
    assert note.endswith("so few hardly tell checkpoints apart")
    judge, answers = made.tasks(1)
    assert judge.exclude == tmp_path / "seed" / "early_stop.jsonl"
    assert answers.prompts == tmp_path / "seed" / "held_out.jsonl"
    again, _ = make(tmp_path, **STOPS)
    assert again.runner.report.notes == []  # only when they are chosen


def test_without_early_stopping_nothing_is_left_out(tmp_path):
    made, _ = make(tmp_path)
    assert len(prompts_of(tmp_path, "held_out")) == 4
    assert not (tmp_path / "seed" / "early_stop.jsonl").exists()
    assert made.tasks(1)[0].exclude is None


def test_early_stopping_later_measures_the_judge_again(tmp_path):
    made, launcher = make(tmp_path)
    do(made, launcher, 1)
    again, _ = make(tmp_path, **STOPS)
    assert names(again.tasks(1)) == ["m1/judge_held_out", "m1/answers"]


def test_status_names_sets_of_preferences():
    sections = {"evaluate": {"preferences": {"mine": "f"}}, "iterations": 3}
    assert "m2/judge_mine" in stage_names(configuration.build({"model": {"name": "m"}} | sections))


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"evaluate": {"preferences": {"mine": "nowhere.jsonl"}}}, "nowhere.jsonl"),
        ({"evaluate": {"instructions": "nowhere.jsonl"}}, "nowhere.jsonl"),
        ({"head_to_head": {"prompt_files": ["nowhere.jsonl"]}}, "nowhere.jsonl"),
        ({"head_to_head": {"judge": "./nowhere"}}, "nowhere"),
    ],
)
def test_slips_are_found_before_anything_is_written(sections, words):
    with pytest.raises(InputError) as caught:
        schedule.preflight(configuration.build({"model": {"name": "m"}} | sections))
    assert words in str(caught.value)


@pytest.mark.parametrize("name", ["Mine", "a-b", "../x", "", "a/b"])
def test_names_of_sets_cannot_be_paths(name):
    with pytest.raises(InputError, match=r"evaluate\.preferences"):
        configuration.build({"model": {"name": "m"}, "evaluate": {"preferences": {name: "f"}}})


def test_an_endpoint_needs_a_model():
    with pytest.raises(InputError, match=r"endpoint\.model"):
        configuration.build({"model": {"name": "m"}, "head_to_head": {"judge": "endpoint"}})
