"""What makes a stage done, and what is made again."""

from dataclasses import dataclass, field

import pytest
from srlm import config as configuration
from srlm.errors import InputError, StageError
from srlm.run.run_dir import RunDir
from srlm.run.stage_runner import Stages
from srlm.workers.jobs import Resolve

from tests.scripted import Recorder


def build(**values):
    return configuration.build({"model": {"name": "m"}} | values)


@dataclass
class ScriptedLauncher:
    """Stands in for workers: notes what it is to do."""

    works: list = field(default_factory=list)

    def run(self, work, finish):
        self.works.append(work)
        finish(work.name, {"folder": "found", "rows": 3})


@pytest.fixture
def stages(tmp_path):
    return Stages(build(), RunDir(tmp_path), ScriptedLauncher(), Recorder())


def test_a_stage_is_done_once_it_is_recorded(stages, tmp_path):
    file = tmp_path / "rows.jsonl"
    assert not stages.is_done("m1/x", file, {"a": 1})
    file.write_text("{}\n{}\n{}\n", encoding="utf-8")
    stages.finish("m1/x", {"rows": 3})
    assert stages.is_done("m1/x", file, {"a": 1})


@pytest.mark.parametrize(
    ("t", "method", "name"), [(1, "random", "m1/sft"), (2, "random", "m2/dpo"), (2, "positives_only", "m2/sft")]
)
def test_the_stage_that_gives_a_model(tmp_path, t, method, name):
    stages = Stages(build(pairs={"method": method}), RunDir(tmp_path), ScriptedLauncher(), Recorder())
    assert stages.trained(t) == name


def make(stages, *names, parts=None):
    """Do stages, each made from the one before; returns those that were not done."""
    made, before = [], ()
    for name in names:
        file = stages.run_dir.path / f"{name}.jsonl"
        if not stages.is_done(name, file, (parts or {}).get(name, {}), before):
            file.parent.mkdir(exist_ok=True)
            file.write_text(f"{name} {parts}\n", encoding="utf-8")
            stages.finish(name, {"rows": 1})
            made.append(name)
        before = (name,)
    return made


def reopened(stages, **values):
    """The run as the next command finds it."""
    config = build(**values)
    run = RunDir.open(stages.run_dir.path, config)
    return Stages(config, run, ScriptedLauncher(), Recorder())


NAMES = ("m2/a", "m2/b", "m2/c")


def test_what_follows_from_a_change_is_made_again_and_the_rest_is_not(tmp_path):
    stages = Stages(build(), RunDir.open(tmp_path / "run", build()), ScriptedLauncher(), Recorder())
    run = stages.run_dir.path
    assert make(stages, *NAMES, parts={"m2/b": stages.sections("judge")}) == list(NAMES)
    stages = reopened(stages)
    assert make(stages, *NAMES, parts={"m2/b": stages.sections("judge")}) == []
    stages = reopened(stages, judge={"samples": 9, "top_p": 0.5}, engine={"max_model_len": 9})
    old = {name: (run / f"{name}.jsonl").read_text(encoding="utf-8") for name in NAMES}
    assert make(stages, *NAMES, parts={"m2/b": stages.sections("judge")}) == ["m2/b", "m2/c"]
    (note,) = stages.report.notes
    assert note.startswith("m2/b: made again, since judge.samples is 3 → 9, judge.top_p is 0.9 → 0.5; what was there, ")
    assert note.endswith(f", with m2/c that came of it, is kept in {run / 'aside' / '1'}")
    assert (run / "m2/a.jsonl").read_text(encoding="utf-8") == old["m2/a"]
    for name in ("m2/b", "m2/c"):
        assert (run / "aside" / "1" / f"{name}.jsonl").read_text(encoding="utf-8") == old[name]
        assert (run / f"{name}.jsonl").read_text(encoding="utf-8") != old[name]


def test_rows_of_a_stage_that_only_began_are_not_gone_on_from_with_other_settings(tmp_path):
    stages = Stages(build(), RunDir(tmp_path), ScriptedLauncher(), Recorder())
    file = tmp_path / "m2" / "a.jsonl"
    assert not stages.is_done("m2/a", file, {"x": 1})
    file.parent.mkdir()
    file.write_text("half\n", encoding="utf-8")
    again = Stages(build(), RunDir(tmp_path), ScriptedLauncher(), Recorder())
    assert not again.is_done("m2/a", file, {"x": 1})
    assert file.exists()  # the same settings go on
    assert not again.is_done("m2/a", file, {"x": 2})
    assert not file.exists()
    assert (tmp_path / "aside" / "1" / "m2" / "a.jsonl").read_text(encoding="utf-8") == "half\n"
    assert again.report.notes == [
        f"m2/a: made again, since x has changed; what was there is kept in {tmp_path / 'aside' / '1'}"
    ]


def test_another_version_of_the_code_makes_rows_again(stages, tmp_path, monkeypatch):
    assert make(stages, *NAMES) == list(NAMES)
    monkeypatch.setattr("srlm.run.stage_runner.FORMAT", 99)
    again = Stages(build(), RunDir(tmp_path), ScriptedLauncher(), Recorder())
    assert make(again, *NAMES) == list(NAMES)
    assert "since srlm's format of runs has changed" in again.report.notes[0]


def test_rows_that_were_changed_by_hand_stop_the_run(stages, tmp_path):
    make(stages, *NAMES)
    (tmp_path / "m2/a.jsonl").write_text("mine\n", encoding="utf-8")
    with pytest.raises(InputError, match="not as it was left"):
        make(Stages(build(), RunDir(tmp_path), ScriptedLauncher(), Recorder()), *NAMES)


def test_a_folder_is_a_model_and_another_name_is_looked_for(stages, tiny_model):
    assert stages.resolve(tiny_model, None) == tiny_model
    assert stages.launcher.works == []
    assert stages.resolve("owner/name", "r") == "found"
    assert stages.launcher.works == [Resolve("model", "owner/name", "r")]


def test_a_stage_that_ends_without_its_file_is_not_done(stages, tmp_path):
    assert not stages.is_done("m2/a", tmp_path / "m2" / "a.jsonl", {})
    with pytest.raises(StageError, match=r"m2/a: ended without .*a\.jsonl"):
        stages.finish("m2/a", {"rows": 1})
    assert stages.run_dir.entry("m2/a") is None


def test_rows_of_which_nothing_is_known_are_not_gone_on_from(stages, tmp_path):
    file = tmp_path / "m2" / "a.jsonl"
    file.parent.mkdir()
    file.write_text("an earlier srlm's\n", encoding="utf-8")
    assert not stages.is_done("m2/a", file, {})
    assert not file.exists()
    assert (tmp_path / "aside/1/m2/a.jsonl").read_text(encoding="utf-8") == "an earlier srlm's\n"
    assert stages.report.notes[0].startswith(f"m2/a: {file} was there, made from what is not known; it is kept in ")


def test_a_run_of_an_earlier_srlm_is_not_made_again_unasked(stages, tmp_path):
    stages.run_dir.finish("m2/a", {"key": "k"}, 0.0, {"rows": 1})
    with pytest.raises(InputError, match=r"made by an earlier srlm, .* go on with that version, or let `srlm redo"):
        stages.is_done("m2/a", tmp_path / "m2" / "a.jsonl", {})
