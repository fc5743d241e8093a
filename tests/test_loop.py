"""The jobs of the loop, in order, with workers that only write the files that a job would write."""

from dataclasses import dataclass, field

import pytest
from srlm import config as configuration
from srlm.evaluation import tasks as evaluation_tasks
from srlm.evaluation.implicit_preferences import ReadPreferences
from srlm.loop import Loop
from srlm.run.run_dir import RunDir
from srlm.run.stage_runner import StageRunner
from srlm.stages import eft
from srlm.workers.jobs import CheckModel, Generate, Train

from tests.scripted import Recorder


@dataclass
class ScriptedLauncher:
    """Stands in for workers; interrupts itself in place of the job number `stop_at`, after its first task."""

    stop_at: int = 99
    works: list = field(default_factory=list)

    def run(self, work, finish):
        if isinstance(work, CheckModel):
            return
        self.works.append(work)
        if isinstance(work, ReadPreferences):
            work.file.parent.mkdir(parents=True, exist_ok=True)
            work.file.write_text("", encoding="utf-8")
            finish(work.name, {"rows": 0})
            return
        if isinstance(work, Train):
            work.target.mkdir(parents=True)
            (work.target / "config.json").write_text("{}", encoding="utf-8")
            finish(work.name, {"rows": 1})
            return
        for task in work.tasks:
            task.file.parent.mkdir(parents=True, exist_ok=True)
            task.file.write_text("", encoding="utf-8")
            finish(task.name, {"rows": 0})
            if len(self.works) > self.stop_at:
                raise KeyboardInterrupt


def jobs(launcher):
    """Return the stages of each job."""
    works = launcher.works
    return [[task.name for task in work.tasks] if isinstance(work, Generate) else [work.name] for work in works]


def run(path, model, launcher, **sections):
    values = {"model": {"name": model, "chat_template": "plain"}, "iterations": 1, **sections}
    values["evaluate"] = {"implicit_preferences": False, **sections.get("evaluate", {})}
    config = configuration.build({**values, "seed_data": {"eft_limit": 8, "ift_limit": 8}})
    with pytest.MonkeyPatch.context() as patch:  # there are no judgements
        patch.setattr(eft, "examples_from_judgements", lambda rows, _, **how: eft.examples_from_ranks(rows, **how))
        Loop(StageRunner(config, RunDir.open(path, config), launcher, Recorder())).run()
    return launcher.works


EVALUATED = ("judge_held_out", "answers")
ORDER = [
    [f"m0/{stage}" for stage in EVALUATED],
    ["sft/sft"],
    ["seed/judgements", *(f"sft/{stage}" for stage in EVALUATED)],
    ["m1/sft"],
    [f"m1/{stage}" for stage in EVALUATED],
]


def test_m0_comes_first_and_the_sft_baseline_is_loaded_once(tiny_model, tmp_path):
    launcher = ScriptedLauncher()
    works = run(tmp_path / "run", tiny_model, launcher, head_to_head={"baselines": ["base", "sft"]})
    assert jobs(launcher) == [*ORDER[:4], [*ORDER[4], "sft/vs_m0", "m1/vs_sft", "m1/vs_m0"]]
    assert works[0].folder == works[1].base == works[3].base == tiny_model
    assert works[0].config.model.chat_template == "plain"  # the template that M1 is trained with
    assert works[2].folder == str(tmp_path / "run" / "sft" / "model")
    assert works[1].card["model"] == "sft of run run"
    assert (works[1].card["trained from"], works[1].card["iteration"]) == (tiny_model, "0")
    assert not (tmp_path / "run" / "m0" / "model").exists()


@pytest.mark.parametrize("source", ["judgements", "ranks"])
def test_nothing_is_evaluated_before_m1_if_not_wanted(tiny_model, tmp_path, source):
    launcher = ScriptedLauncher()
    run(tmp_path / "run", tiny_model, launcher, evaluate={"base": False}, eft={"from": source})
    baseline = [["sft/sft"], ["seed/judgements"]] if source == "judgements" else []
    assert jobs(launcher) == [*baseline, ["m1/sft"], ["m1/judge_held_out", "m1/answers"]]


def test_with_ranks_there_is_no_sft_baseline(tiny_model, tmp_path):
    launcher = ScriptedLauncher()
    run(tmp_path / "run", tiny_model, launcher, eft={"from": "ranks"}, head_to_head={"baselines": ["base", "sft"]})
    assert jobs(launcher) == [ORDER[0], ["m1/sft"], [*ORDER[4], "m1/vs_m0"]]


def test_another_judge_is_loaded_for_the_comparisons(tiny_model, tmp_path):
    launcher = ScriptedLauncher()
    works = run(tmp_path / "run", tiny_model, launcher, eft={"from": "ranks"}, head_to_head={"judge": tiny_model})
    assert jobs(launcher) == [ORDER[0], ["m1/sft"], ORDER[4], ["m1/vs_m0"]]
    assert works[3].folder == tiny_model


@pytest.mark.parametrize("stop_at", [0, 2, 4])
def test_an_interrupted_evaluation_resumes_at_its_next_stage(tiny_model, tmp_path, stop_at):
    """Of M0, of the SFT baseline in the job that judges the seed, and of M1, which compares answers too."""
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", tiny_model, ScriptedLauncher(stop_at))
    launcher = ScriptedLauncher()
    run(tmp_path / "run", tiny_model, launcher)
    order = [*ORDER[:4], [*ORDER[4], "sft/vs_m0", "m1/vs_m0"]]
    assert jobs(launcher) == [order[stop_at][1:], *order[stop_at + 1 :]]


def test_m0_judges_and_answers_with_the_tasks_of_every_model(tiny_model, tmp_path):
    works = run(tmp_path / "run", tiny_model, ScriptedLauncher(), eft={"from": "ranks"})
    comparison = works[2].tasks[2:]
    assert [task.name for task in comparison] == ["m1/vs_m0"]
    for before, after in zip(works[0].tasks, works[2].tasks[:2], strict=True):
        assert type(before) is type(after)
        assert isinstance(before, evaluation_tasks.JudgeTask | evaluation_tasks.AnswersTask)
        inputs = [name for name in before.__dataclass_fields__ if name not in ("name", "file")]
        assert [getattr(before, name) for name in inputs] == [getattr(after, name) for name in inputs]


def test_ranked_answers_are_read_under_m0_and_every_later_model(tiny_model, tmp_path):
    launcher = ScriptedLauncher()
    works = run(tmp_path / "run", tiny_model, launcher, eft={"from": "ranks"}, evaluate={"implicit_preferences": True})
    evaluated = [*ORDER[4], "m1/vs_m0"]
    assert jobs(launcher) == [ORDER[0], ["m0/implicit_preferences"], ["m1/sft"], evaluated, ["m1/implicit_preferences"]]
    assert (works[1].folder, works[1].base) == (tiny_model, None)
    assert (works[4].folder, works[4].base) == (str(tmp_path / "run" / "m1" / "model"), works[1].file)


def without_pairs(loop, t):
    """Stands in for `Loop.build_pairs`: the files of scripted workers are empty."""
    file = loop.run_dir.file(t, "pairs.jsonl")
    assert not loop.runner.is_done(f"m{t}/pairs", file, {}, (f"m{t}/verdicts",))
    file.write_text("", encoding="utf-8")
    loop.runner.finish(f"m{t}/pairs", {"rows": 0})


NO_EVALUATION = {
    "evaluate": {"base": False, "judge_prompts": 0},
    "head_to_head": {"prompts": 0},
    "eft": {"from": "ranks"},
}


@pytest.fixture
def data_jobs(tiny_model, tmp_path, monkeypatch):
    """The jobs of a run that generate data, as the stages and the model's folder, relative to the run."""

    def found(**sections):
        monkeypatch.setattr(Loop, "build_pairs", without_pairs)
        works = run(tmp_path / "run", tiny_model, ScriptedLauncher(), **sections, **NO_EVALUATION)
        data = [work for work in works if isinstance(work, Generate)]
        return [
            ([task.name for task in work.tasks], work.folder.removeprefix(f"{tmp_path}/run/")) for work in data
        ], data

    return found


@pytest.mark.parametrize("supplier", ["base", "first", "previous", "outside"])
def test_another_model_answers_between_two_jobs_of_m_t(data_jobs, tiny_model, supplier):
    name = tiny_model if supplier == "outside" else supplier
    found, works = data_jobs(iterations=3, suppliers={"model": name})
    scored = [[f"m{t}/candidates", f"m{t}/verdicts"] for t in (2, 3)]
    for_m2 = [
        (["m2/prompts"], "m1/model"),
        (["m2/supplied"], tiny_model),
        (scored[0], "m1/model"),
    ]
    if supplier == "first":  # M1 itself answers
        for_m2 = [(["m2/prompts", *scored[0]], "m1/model")]
    earlier = "m1/model" if supplier in ("first", "previous") else tiny_model
    assert found == [*for_m2, (["m3/prompts"], "m2/model"), (["m3/supplied"], earlier), (scored[1], "m2/model")]
    templates = {work.config.model.chat_template for work in works if work.tasks[0].name.endswith("supplied")}
    assert templates == ({None} if supplier == "outside" else {"plain"})  # a model from outside has its own


def test_with_a_fixed_prompt_writer_m_t_is_loaded_once(data_jobs, tiny_model):
    found, _ = data_jobs(iterations=2, prompts={"model": tiny_model}, suppliers={"model": "previous"})
    scored = ["m2/candidates", "m2/verdicts"]
    assert found == [(["m2/prompts"], tiny_model), (["m2/supplied"], tiny_model), (scored, "m1/model")]
