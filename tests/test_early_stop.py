"""Early stopping: which checkpoints are compared, which is kept, when training ends, and resuming."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from srlm import config as configuration
from srlm.early_stop import EarlyStop
from srlm.errors import InputError, StageError
from srlm.evaluation.schedule import Schedule
from srlm.evaluation.tasks import AnswersTask
from srlm.run.run_dir import RunDir
from srlm.run.stage_runner import StageRunner
from srlm.workers.jobs import Generate, Train

from tests.scripted import Recorder

EVERY = 10


@dataclass
class ScriptedLauncher:
    """Stands in for workers: segments of a training of `length` steps, and comparisons with these `results`."""

    length: int
    results: dict[tuple[int, int], tuple[int, ...]]  # (step, kept) -> (wins, losses) or (wins, losses, ties)
    fail_at: str | None = None
    done: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # of the run

    def run(self, work, finish):
        names = [work.name] if isinstance(work, Train) else [task.name for task in work.tasks]
        if self.fail_at in names:
            self.fail_at = None
            raise StageError("stopped by the test")
        self.done += names
        if isinstance(work, Train):
            self.train(work, finish)
        else:
            assert isinstance(work, Generate)
            for task in work.tasks:
                self.generate(work, task, finish)

    def train(self, work, finish):
        finished = work.pause_at >= self.length
        folder = work.target if finished else work.pause_to
        folder.mkdir(parents=True)
        steps = min(work.pause_at, self.length)
        (folder / "weights").write_text(str(steps), encoding="utf-8")
        finish(work.name, {"rows": 5, "steps": steps, "completed": finished, "train_loss": 0.5})

    def generate(self, work, task, finish):
        task.file.parent.mkdir(parents=True, exist_ok=True)
        task.file.write_text("", encoding="utf-8")
        result = {"rows": 0}
        if isinstance(task, AnswersTask):
            assert (f"step_{self.weights(work.folder)}_answers") in task.name  # its own weights answer
            assert task.prompts.name == "early_stop.jsonl"
        else:
            assert work.folder.endswith("m1/model")
            step, best = (int(part) for part in task.name.split("step_")[1].split("_vs_"))
            assert task.answers_a.parent.name == str(step)
            assert task.answers_b.parent.name == str(best)
            assert task.prompts.name == "early_stop.jsonl"
            wins, losses, *given = self.results[step, best]
            ties = given[0] if given else 1
            result |= {"wins": wins, "ties": ties, "losses": losses, "unparseable": 2, "win_rate": {"value": 0.5}}
        finish(task.name, result)

    @staticmethod
    def weights(folder):
        return int(Path(folder, "weights").read_text(encoding="utf-8"))


def early_stop(path, launcher, patience=1, held_out=1):
    """Train once, and return the manifest entry and the step whose weights were kept."""
    config = configuration.build(
        {
            "model": {"name": "m"},
            "dpo": {"eval_steps": EVERY, "early_stopping_patience": patience},
            "seed_data": {"eft": ["packaged"]},
        }
    )
    stages = StageRunner(config, RunDir(path), launcher, Recorder())
    for name in ("m2/pairs", "seed/held_out", "seed/early_stop", "m1/sft"):
        if stages.run_dir.entry(name) is None:
            rows = held_out if name == "seed/early_stop" else 1
            stages.run_dir.finish(name, {"cache_key": "key"}, 0.0, {"rows": rows})
    target = path / "m2" / "model"
    work = Train("m2/dpo", "dpo", config, "base", target, path / "m2" / "metrics.jsonl", (), {})
    result = EarlyStop(stages, Schedule(stages), 2, ("m2/pairs",)).train(work, EVERY, patience)
    launcher.notes = stages.report.notes
    return result, int((target / "weights").read_text(encoding="utf-8"))


def kept(result):
    return [(row["step"], row["kept"]) for row in result["checkpoints"]]


def test_training_continues_while_checkpoints_improve(tmp_path):
    launcher = ScriptedLauncher(25, {(20, 10): (5, 2), (25, 20): (4, 3)})
    result, weights = early_stop(tmp_path, launcher)
    assert kept(result) == [(10, True), (20, True), (25, True)]
    assert (weights, result["best_step"], result["steps"]) == (25, 25, 25)
    assert result.keys() == {"rows", "steps", "completed", "train_loss", "checkpoints", "best_step"}
    assert launcher.done == [
        "m2/step_10", "m2/step_10_answers",
        "m2/step_20", "m2/step_20_answers", "m2/step_20_vs_10",
        "m2/step_30", "m2/step_25_answers", "m2/step_25_vs_20",
    ]  # fmt: skip


def test_a_lost_comparison_stops_and_the_best_is_kept(tmp_path):
    launcher = ScriptedLauncher(99, {(20, 10): (5, 2), (30, 20): (2, 3)})
    result, weights = early_stop(tmp_path, launcher)
    assert kept(result) == [(10, True), (20, True), (30, False)]
    assert (weights, result["best_step"], result["steps"]) == (20, 20, 30)
    assert result["checkpoints"][2]["wins"] == 2
    assert result["checkpoints"][0]["win_rate"] is None
    assert not any((tmp_path / "m2" / "checkpoints").rglob("model"))  # only the model's weights are left


WON, TIED, LOST, UNDECIDED = (5, 2), (3, 3), (2, 5), (0, 0, 253)


@pytest.mark.parametrize(
    ("results", "patience", "steps", "expected"),
    [
        # A tie neither stops the training nor counts as a loss, and the later checkpoint is kept.
        ({(20, 10): TIED, (25, 20): TIED}, 1, 25, 25),
        ({(20, 10): UNDECIDED, (25, 20): UNDECIDED}, 1, 25, 25),
        ({(20, 10): TIED, (30, 20): LOST}, 1, 30, 20),
        ({(20, 10): WON, (30, 20): UNDECIDED, (40, 30): LOST}, 1, 40, 30),
        ({(20, 10): LOST}, 1, 20, 10),
        # Patience counts losses; a win starts again at zero, a tie changes nothing.
        ({(20, 10): LOST, (30, 10): LOST}, 2, 30, 10),
        ({(20, 10): LOST, (30, 10): TIED, (40, 30): LOST}, 2, 40, 30),
        ({(20, 10): LOST, (30, 10): WON, (40, 30): LOST, (50, 30): LOST}, 2, 50, 30),
        ({(20, 10): TIED, (30, 20): LOST, (40, 20): UNDECIDED, (45, 40): TIED}, 2, 45, 45),
        ({(20, 10): LOST, (30, 10): LOST, (35, 10): TIED}, 3, 35, 35),
    ],
)
def test_ties_and_patience(tmp_path, results, patience, steps, expected):
    length = steps if steps % EVERY else 99
    launcher = ScriptedLauncher(length, results)
    result, weights = early_stop(tmp_path, launcher, patience)
    assert (result["steps"], result["best_step"], weights) == (steps, expected, expected)
    outcomes = {TIED: "tied", UNDECIDED: "tied", WON: "won", LOST: "lost"}
    assert [row["outcome"] for row in result["checkpoints"]] == [None, *(outcomes[each] for each in results.values())]
    assert not any((tmp_path / "m2" / "checkpoints").rglob("model"))


def test_an_undecided_judge_is_reported(tmp_path):
    launcher = ScriptedLauncher(25, {(20, 10): UNDECIDED, (25, 20): UNDECIDED})
    early_stop(tmp_path, launcher)
    assert launcher.notes[0].startswith("M2 step 20 against step 10: the judge decided none of 253 comparisons; 0 won")
    assert launcher.notes[0].endswith("step 20 is kept")
    assert "the judge decided none of 506 comparisons; early stopping cannot choose a checkpoint" in launcher.notes[-1]
    assert "the last one (step 25) is the model" in launcher.notes[-1]


def test_a_judge_that_decided_anything_is_not_reported_as_undecided(tmp_path):
    launcher = ScriptedLauncher(25, {(20, 10): UNDECIDED, (25, 20): (1, 0, 252)})
    early_stop(tmp_path, launcher)
    assert not any("cannot choose" in note for note in launcher.notes)


@pytest.mark.parametrize("stage", ["m2/step_20_vs_10", "m2/step_30", "m2/step_30_vs_20"])
def test_ties_are_resumed_with_the_same_decisions(tmp_path, stage):
    results = {(20, 10): TIED, (30, 20): LOST}
    launcher = ScriptedLauncher(99, results, fail_at=stage)
    with pytest.raises(StageError):
        early_stop(tmp_path, launcher)
    result, weights = early_stop(tmp_path, launcher)
    assert (result["best_step"], weights) == (20, 20)
    assert len(launcher.done) == len(set(launcher.done))


def test_unparseable_verdicts_select_no_checkpoint(tmp_path):
    launcher = ScriptedLauncher(99, {(20, 10): (0, 0, 0)})
    with pytest.raises(StageError, match=r"no prompt has a parseable verdict in both orders \(2 unparseable\)"):
        early_stop(tmp_path, launcher)
    assert not (tmp_path / "m2" / "model").exists()


def test_no_training_without_held_out_prompts(tmp_path):
    launcher = ScriptedLauncher(99, {})
    with pytest.raises(StageError, match="no held-out prompt"):
        early_stop(tmp_path, launcher, held_out=0)
    assert launcher.done == []


def test_patience_waits_for_a_later_winner(tmp_path):
    results = {(20, 10): (1, 3), (30, 10): (4, 1), (40, 30): (1, 2), (50, 30): (0, 3)}
    launcher = ScriptedLauncher(99, results)
    result, weights = early_stop(tmp_path, launcher, patience=2)
    assert kept(result) == [(10, True), (20, False), (30, True), (40, False), (50, False)]
    assert weights == 30


def test_a_last_checkpoint_that_loses_is_not_kept(tmp_path):
    result, weights = early_stop(tmp_path, ScriptedLauncher(15, {(15, 10): (0, 4)}), patience=5)
    assert kept(result) == [(10, True), (15, False)]
    assert weights == 10


def test_a_training_shorter_than_the_first_pause_is_complete(tmp_path):
    launcher = ScriptedLauncher(7, {})
    result, weights = early_stop(tmp_path, launcher)
    assert (weights, result["best_step"]) == (7, 7)


@pytest.mark.parametrize(
    "stage",
    ["m2/step_10", "m2/step_10_answers", "m2/step_20", "m2/step_20_vs_10", "m2/step_30_answers", "m2/step_30_vs_20"],
)
def test_a_resumed_run_makes_the_same_decisions(tmp_path, stage):
    results = {(20, 10): (5, 2), (30, 20): (2, 3)}
    launcher = ScriptedLauncher(99, results, fail_at=stage)
    with pytest.raises(StageError):
        early_stop(tmp_path, launcher)
    result, weights = early_stop(tmp_path, launcher)
    uninterrupted = ScriptedLauncher(99, results)
    expected, _ = early_stop(tmp_path / "uninterrupted", uninterrupted)
    assert result["checkpoints"] == expected["checkpoints"]
    assert weights == 20
    assert launcher.done == uninterrupted.done  # no stage runs twice


def test_resuming_after_the_model_is_installed(tmp_path):
    """The driver may die between installing the model and recording the stage."""
    launcher = ScriptedLauncher(99, {(20, 10): (1, 2)})
    first = early_stop(tmp_path, launcher)
    assert early_stop(tmp_path, launcher) == first
    assert len(launcher.done) == 5


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"head_to_head": {"prompts": 0}}, "head_to_head.prompts above 0"),
        ({"seed_data": {"eft": []}}, "head_to_head.prompt_files"),
        ({"head_to_head": {"judge": "m2"}}, "set head_to_head.judge to m1"),
    ],
)
def test_invalid_settings(values, words):
    with pytest.raises(InputError) as caught:
        configuration.build({"model": {"name": "m"}, "dpo": {"eval_steps": 5}} | values)
    assert words in str(caught.value)
