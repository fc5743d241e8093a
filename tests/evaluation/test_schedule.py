"""What is measured of which model, what of it is done, and who compares."""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from srlm import config as configuration
from srlm.cli.status import stage_names
from srlm.errors import InputError
from srlm.evaluation import schedule
from srlm.evaluation.baselines import baselines, matches, measured_before_m1, wants_held_out
from srlm.evaluation.schedule import Schedule, run_model
from srlm.evaluation.tasks import CompareThroughEndpoint
from srlm.rows.records import Example, Prompt, RankedAnswers, read_rows
from srlm.run.run_dir import RunDir
from srlm.run.stage_runner import StageRunner
from srlm.workers.jobs import CheckModel, Generate

from tests.scripted import Recorder

RANKED = [RankedAnswers(f"r{n}", f"question {n}", ["a", "b"], [5.0, 1.0], ["", ""]) for n in range(4)]


@dataclass
class ScriptedLauncher:
    """Stands in for workers: writes an empty file for each task, and notes by whom it was done."""

    works: list = field(default_factory=list)

    def run(self, work, finish):
        if isinstance(work, CheckModel):
            return
        self.works.append(work)
        for task in work.tasks:
            task.file.parent.mkdir(parents=True, exist_ok=True)
            task.file.write_text("", encoding="utf-8")
            finish(task.name, {"rows": 0})


def make(path: Path, **sections) -> tuple[Schedule, ScriptedLauncher]:
    """A run whose seed is made, whose models are trained, and whose M0 is in a folder `m0-weights` beside it."""
    base = path.with_name("m0-weights")
    if not base.exists():
        save_weights(base)
    sections["evaluate"] = {"implicit_preferences": False, **sections.get("evaluate", {})}
    config = configuration.build({"model": {"name": str(base)}} | sections)
    launcher = ScriptedLauncher()
    stages = StageRunner(config, RunDir(path), launcher, Recorder())
    for name, rows in (("seed/eft_valid", 4), ("sft/sft", 1), ("m1/sft", 1), ("m2/dpo", 1), ("m3/dpo", 1)):
        if stages.run_dir.entry(name) is None:
            stages.run_dir.finish(name, {"cache_key": name}, 0.0, {"rows": rows})
    made = Schedule(stages)
    ift = [Example("e", [{"role": "user", "content": "x"}], [{"role": "assistant", "content": "b"}])]
    made.make_held_out(ift=ift, ranked=[replace(RANKED[0], prompt="taught")], valid=RANKED)
    return made, launcher


def save_weights(folder: Path, head: str = "{}") -> None:
    """Write the files of a model folder that its hash needs: weights without a tensor."""
    folder.mkdir(exist_ok=True)
    (folder / "model.safetensors").write_bytes(len(head).to_bytes(8, "little") + head.encode())
    (folder / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    (folder / "tokenizer.json").write_text("{}", encoding="utf-8")


def names(tasks):
    return [task.name for task in tasks]


def do(made, launcher, t):
    """Evaluate M_t as the loop does; with M1 also the models before it."""
    if t == 1:
        made.measure_base()
        evaluate(made, "sft")
    evaluate(made, t)
    made.compare(t)


def evaluate(made, model):
    if tasks := made.tasks(model):
        made.runner.launch(Generate(made.runner.config, "folder", 0, tuple(tasks)))


STAGES = ["judge_held_out", "answers"]


@pytest.mark.parametrize("model", ["m0", "sft", 1, 3])
def test_by_default_every_model_judges_and_answers(tmp_path, model):
    made, _ = make(tmp_path / "run")
    name = model if isinstance(model, str) else f"m{model}"
    assert names(made.tasks(model)) == [f"{name}/{stage}" for stage in STAGES]


def test_m0_is_loaded_once_from_its_own_folder(tmp_path):
    made, launcher = make(tmp_path / "run")
    made.measure_base()
    made.measure_base()
    [work] = launcher.works
    assert work.folder == str(tmp_path / "m0-weights")
    assert names(work.tasks) == ["m0/judge_held_out", "m0/answers"]
    assert work.seed == 1  # no other job's: those of M1, M2 … begin at 2, and the SFT baseline has the run's own
    assert made.runner.run_dir.known_stages()["m0/answers"]["depends_on"] == ["seed/held_out"]


def test_m0_is_evaluated_once(tmp_path):
    make(tmp_path / "run")[0].measure_base()
    assert make(tmp_path / "run")[0].tasks("m0") == []
    again, _ = make(tmp_path / "run", head_to_head={"prompts": 2})
    assert names(again.tasks("m0")) == ["m0/answers"]


def test_other_weights_of_m0_are_evaluated_again(tmp_path):
    make(tmp_path / "run")[0].measure_base()
    save_weights(tmp_path / "m0-weights", '{"__metadata__": {}}')
    again, _ = make(tmp_path / "run")
    assert names(again.tasks("m0")) == ["m0/judge_held_out", "m0/answers"]
    notes = [note.partition("; ")[0] for note in again.runner.report.notes]
    reason = "recomputed because the base model's weights changed"
    assert notes == [f"m0/judge_held_out: {reason}", f"m0/answers: {reason}"]


@pytest.mark.parametrize("sections", [{"evaluate": {"base": False}}, {"eft": {"from": "ranks"}}])
def test_models_that_are_not_evaluated(tmp_path, sections):
    """All of those before M1 on request, and the SFT baseline if there is none."""
    made, launcher = make(tmp_path / "run", **sections)
    for t in (1, 2):
        do(made, launcher, t)
    done = {task.name for work in launcher.works for task in work.tasks}
    assert done == {name for name in stage_names(made.runner.config) if name in done}
    assert not {name for name in done if name.startswith("sft/") or name.endswith("vs_sft")}
    assert ("m2/vs_m0" in done) == ("m0/answers" in done) == ("evaluate" not in sections)
    assert "m2/vs_m1" in done


def test_m0_can_be_evaluated_later(tmp_path):
    made, launcher = make(tmp_path / "run", evaluate={"base": False})
    for t in (1, 2):
        do(made, launcher, t)
    again, launcher = make(tmp_path / "run")
    for t in (1, 2):
        do(again, launcher, t)
    found = [task.name for work in launcher.works for task in work.tasks]
    evaluated = [f"{model}/{stage}" for model in ("m0", "sft") for stage in STAGES]
    assert found == [*evaluated, "sft/vs_m0", "m1/vs_m0", "m2/vs_m0"]
    assert again.runner.report.notes == []  # nothing is archived


def test_everything(tmp_path):
    rules, preferences = tmp_path / "rules.jsonl", tmp_path / "preferences.jsonl"
    rules.write_text("rules", encoding="utf-8")
    preferences.write_text("preferences", encoding="utf-8")
    made, _ = make(tmp_path / "run", evaluate={"preferences": {"mine": str(preferences)}, "instructions": str(rules)})
    stages = ["judge_held_out", "judge_mine", "answers", "instructions"]
    assert names(made.tasks(2)) == [f"m2/{stage}" for stage in stages]
    assert names(made.tasks("m0")) == [f"m0/{stage}" for stage in stages]
    assert names(made.tasks("sft")) == [f"sft/{stage}" for stage in stages]


def test_nothing(tmp_path):
    made, launcher = make(tmp_path, evaluate={"judge_prompts": 0}, head_to_head={"prompts": 0})
    made.measure_base()
    assert made.tasks(1) == []
    made.compare(2)
    assert launcher.works == []


def test_what_is_done_is_not_asked_for_again(tmp_path):
    made, launcher = make(tmp_path)
    do(made, launcher, 1)
    assert made.tasks(1) == []
    again, _ = make(tmp_path)
    assert again.tasks(1) == []


def test_each_model_meets_the_one_before_the_first_and_m0(tmp_path):
    made, launcher = make(tmp_path)
    for t in (1, 2, 3):
        do(made, launcher, t)
    compared = [work for work in launcher.works if "vs" in work.tasks[0].name]
    assert [names(work.tasks) for work in compared] == [
        ["sft/vs_m0", "m1/vs_m0"],
        ["m2/vs_m1", "m2/vs_m0"],
        ["m3/vs_m2", "m3/vs_m1", "m3/vs_m0"],
    ]
    assert all(work.folder == str(tmp_path / "m1" / "model") for work in compared)  # M1 judges all
    assert compared[2].tasks[2].answers_b == tmp_path / "m0" / "answers.jsonl"
    last = compared[2].tasks[0]
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
    assert names(work.tasks) == ["m2/vs_m1", "m2/vs_m0"]


def test_another_model_compares_by_its_own_template(tmp_path, tiny_model):
    made, launcher = make(
        tmp_path, head_to_head={"judge": tiny_model}, model={"name": tiny_model, "chat_template": "plain"}
    )
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
    assert names(again.tasks("m0")) == ["m0/judge_mine"]
    again, _ = make(tmp_path / "run", **sections)
    assert names(again.tasks(1)) == ["m1/judge_mine"]
    assert again.runner.report.notes[0].startswith(
        "m1/judge_mine: recomputed because evaluate.preferences.mine changed; "
    )


@pytest.mark.parametrize("changed", ["weights", "prompt"])
def test_another_judge_is_another_comparison(tmp_path, changed):
    judge, prompt = tmp_path / "judge", tmp_path / "prompt.txt"
    save_weights(judge)
    prompt.write_text("{prompt} {first} {second}", encoding="utf-8")
    sections = {"head_to_head": {"judge": str(judge), "prompt_file": str(prompt)}}
    made, launcher = make(tmp_path / "run", **sections)
    for t in (1, 2):
        do(made, launcher, t)
    again, launcher = make(tmp_path / "run", **sections)
    compare_again(again)
    assert launcher.works == []  # the same judge: it is done
    if changed == "weights":
        save_weights(judge, '{"__metadata__": {}}')
    else:
        prompt.write_text("{prompt}? {first} {second}", encoding="utf-8")
    later, launcher = make(tmp_path / "run", **sections)  # as the same command does, later
    compare_again(later)
    compared = ["sft/vs_m0", "m1/vs_m0", "m2/vs_m1", "m2/vs_m0"]
    assert [task.name for work in launcher.works for task in work.tasks] == compared
    reason = {"weights": "judge's weights", "prompt": "pairwise prompt"}[changed]
    notes = [note.partition("; ")[0] for note in later.runner.report.notes]
    assert notes == [f"{name}: recomputed because {reason} changed" for name in compared]


def compare_again(made):
    """Compare up to M2, after the loop has found everything before it done."""
    for model in ("m0", "sft", 1, 2):
        assert made.tasks(model) == []
    made.compare(2)


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


EVERY = ["previous", "first", "base", "sft"]


def config_with(against, **sections):
    return configuration.build({"model": {"name": "m"}, "head_to_head": {"baselines": against}} | sections)


@pytest.mark.parametrize(
    ("against", "model", "expected"),
    [
        (["previous", "first"], 1, []),
        (["previous", "first"], 2, ["m1"]),
        (["previous", "first"], 4, ["m3", "m1"]),
        (["first"], 4, ["m1"]),
        (["previous"], 4, ["m3"]),
        ([], 4, []),
        (["base"], 1, ["m0"]),
        (["base"], 3, ["m0"]),
        (["sft"], 1, ["sft"]),
        (["sft"], 4, ["sft"]),
        (["base", "sft", "first", "previous"], 3, ["m2", "m1", "sft", "m0"]),  # in any order
        (EVERY, 2, ["m1", "sft", "m0"]),
        (EVERY, 1, ["sft", "m0"]),
        (EVERY, "sft", ["m0"]),
        (["sft"], "sft", []),
        (EVERY, "m0", []),
    ],
)
def test_opponents(against, model, expected):
    assert baselines(config_with(against), model) == expected


@pytest.mark.parametrize(
    ("sections", "before", "expected"),
    [
        ({}, ["m0", "sft"], [("sft", "m0"), ("m1", "sft"), ("m1", "m0")]),
        ({"eft": {"from": "ranks"}}, ["m0"], [("m1", "m0")]),
        ({"seed_data": {"eft": []}}, ["m0"], [("m1", "m0")]),
        ({"evaluate": {"base": False}}, [], []),
    ],
)
def test_models_before_m1_and_their_comparisons(sections, before, expected):
    config = config_with(EVERY, **sections)
    assert measured_before_m1(config) == before
    assert matches(config, 1) == expected


@pytest.mark.parametrize(
    ("against", "sections", "expected"),
    [
        (["base"], {}, True),
        (["sft"], {}, True),
        ([], {}, False),
        ([], {"dpo": {"eval_steps": 5}}, True),
        (["sft"], {"eft": {"from": "ranks"}}, False),  # there is no such model
        (["base", "sft"], {"evaluate": {"base": False}}, False),
        (["base", "previous"], {"evaluate": {"base": False}}, True),
    ],
)
def test_prompts_are_held_out_if_something_is_compared(against, sections, expected):
    assert wants_held_out(config_with(against, **sections)) == expected


@pytest.mark.parametrize(
    ("judge", "number"),
    [("m1", 1), ("m12", 12), ("endpoint", None), ("m", None), ("mine", None), ("m1/model", None), ("m²", None)],
)
def test_models_of_the_run_by_name(judge, number):
    assert run_model(judge) == number


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"head_to_head": {"baselines": []}, "dpo": {"eval_steps": 5}},
        {"head_to_head": {"baselines": EVERY}},
        {"head_to_head": {"baselines": EVERY}, "eft": {"from": "ranks"}},
        {"head_to_head": {"baselines": EVERY}, "evaluate": {"base": False}},
        {"head_to_head": {"prompts": 0}},
        {"evaluate": {"judge_prompts": 0}},
    ],
)
def test_status_names_what_the_schedule_does(tmp_path, sections):
    made, launcher = make(tmp_path, iterations=3, **sections)
    for t in (1, 2, 3):
        do(made, launcher, t)
    done = {task.name for work in launcher.works for task in work.tasks}
    listed = set(stage_names(made.runner.config))
    evaluated = {name for name in listed if re.search(r"/(judge_|answers|vs_)", name)}
    assert done == evaluated
    compares = made.runner.config.head_to_head.prompts > 0
    assert ("seed/held_out" in listed) == ("m3/answers" in done) == compares
    assert ("seed/early_stop" in listed) == (compares and made.runner.config.dpo.eval_steps is not None)
    assert {name for name in made.runner.run_dir.stages() if name.startswith("seed/")} <= listed


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
