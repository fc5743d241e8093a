"""When a stage is done, and which stages are recomputed."""

from dataclasses import dataclass, field

import pytest
from srlm import config as configuration
from srlm.errors import InputError, StageError
from srlm.run.run_dir import ENTRY_FIELDS, RunDir
from srlm.run.stage_runner import StageRunner
from srlm.workers.jobs import Resolve

from tests.scripted import Recorder


def build(**values):
    return configuration.build({"model": {"name": "m"}} | values)


@dataclass
class ScriptedLauncher:
    """Stands in for workers: records the jobs."""

    works: list = field(default_factory=list)

    def run(self, work, finish):
        self.works.append(work)
        finish(work.name, {"folder": "found", "rows": 3})


@pytest.fixture
def stages(tmp_path):
    return StageRunner(build(), RunDir(tmp_path), ScriptedLauncher(), Recorder())


def test_a_stage_is_done_once_it_is_recorded(stages, tmp_path):
    file = tmp_path / "rows.jsonl"
    assert not stages.is_done("m1/x", file, {"a": 1})
    file.write_text("{}\n{}\n{}\n", encoding="utf-8")
    stages.finish("m1/x", {"rows": 3})
    assert stages.is_done("m1/x", file, {"a": 1})


def test_a_stage_that_shared_its_worker_has_its_own_seconds(stages, tmp_path):
    file = tmp_path / "rows.jsonl"
    stages.is_done("m1/x", file, {"a": 1})
    file.write_text("{}\n", encoding="utf-8")
    result = {"rows": 1, "seconds": 71.26}
    stages.finish("m1/x", result)
    assert stages.run_dir.entry("m1/x")["seconds"] == 71.3
    assert result["seconds"] == 71.26


def test_the_fields_of_a_manifest_entry_are_known(stages, tmp_path):
    stages.run_dir.environment = "environment"
    file = tmp_path / "rows.jsonl"
    stages.is_done("m1/x", file, {"a": 1})
    file.write_text("{}\n", encoding="utf-8")
    stages.finish("m1/x", {})
    assert stages.run_dir.entry("m1/x").keys() == ENTRY_FIELDS - {"shared_from"}


@pytest.mark.parametrize(
    ("model", "kind", "name"),
    [
        (1, "dpo", "m1/sft"),
        (2, "dpo", "m2/dpo"),
        (2, "sft", "m2/sft"),
        ("sft", "dpo", "sft/sft"),
        ("m3", "dpo", "m3/dpo"),
    ],
)
def test_the_training_stage_of_a_model(tmp_path, model, kind, name):
    stages = StageRunner(build(train={"kind": kind}), RunDir(tmp_path), ScriptedLauncher(), Recorder())
    assert stages.training_stage(model) == name


def make(stages, *names, parts=None):
    """Run stages, each depending on the previous one, and return those that were not done."""
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
    """Open the run again, as the next command does."""
    config = build(**values)
    run = RunDir.open(stages.run_dir.path, config)
    return StageRunner(config, run, ScriptedLauncher(), Recorder())


NAMES = ("m2/a", "m2/b", "m2/c")


def test_a_changed_stage_and_its_dependents_are_recomputed(tmp_path):
    stages = StageRunner(build(), RunDir.open(tmp_path / "run", build()), ScriptedLauncher(), Recorder())
    run = stages.run_dir.path
    assert make(stages, *NAMES, parts={"m2/b": stages.key_inputs("judge")}) == list(NAMES)
    stages = reopened(stages)
    assert make(stages, *NAMES, parts={"m2/b": stages.key_inputs("judge")}) == []
    stages = reopened(stages, judge={"samples": 9, "top_p": 0.5}, engine={"max_model_len": 9})
    old = {name: (run / f"{name}.jsonl").read_text(encoding="utf-8") for name in NAMES}
    assert make(stages, *NAMES, parts={"m2/b": stages.key_inputs("judge")}) == ["m2/b", "m2/c"]
    (note,) = stages.report.notes
    assert note == (
        "m2/b: recomputed because judge.samples changed: 3 → 9, judge.top_p changed: 0.9 → 0.5; the previous output "
        f"and its dependents (m2/c) is archived in {run / 'archive' / '1'}"
    )
    assert (run / "m2/a.jsonl").read_text(encoding="utf-8") == old["m2/a"]
    for name in ("m2/b", "m2/c"):
        assert (run / "archive" / "1" / f"{name}.jsonl").read_text(encoding="utf-8") == old[name]
        assert (run / f"{name}.jsonl").read_text(encoding="utf-8") != old[name]


def test_partial_rows_are_not_resumed_with_other_settings(tmp_path):
    stages = StageRunner(build(), RunDir(tmp_path), ScriptedLauncher(), Recorder())
    file = tmp_path / "m2" / "a.jsonl"
    assert not stages.is_done("m2/a", file, {"x": 1})
    file.parent.mkdir()
    file.write_text("half\n", encoding="utf-8")
    again = StageRunner(build(), RunDir(tmp_path), ScriptedLauncher(), Recorder())
    assert not again.is_done("m2/a", file, {"x": 1})
    assert file.exists()  # the same settings resume
    assert not again.is_done("m2/a", file, {"x": 2})
    assert not file.exists()
    assert (tmp_path / "archive" / "1" / "m2" / "a.jsonl").read_text(encoding="utf-8") == "half\n"
    assert again.report.notes == [
        f"m2/a: recomputed because x changed; the previous output is archived in {tmp_path / 'archive' / '1'}"
    ]


def test_a_run_of_another_format_is_refused(stages, tmp_path, monkeypatch):
    assert make(stages, *NAMES) == list(NAMES)
    monkeypatch.setattr("srlm.run.run_dir.FORMAT", 99)
    with pytest.raises(InputError, match=r"run format 4, this version needs 99\); finish the run with that version"):
        RunDir(tmp_path)


def test_rows_changed_by_hand_stop_the_run(stages, tmp_path):
    make(stages, *NAMES)
    (tmp_path / "m2/a.jsonl").write_text("mine\n", encoding="utf-8")
    with pytest.raises(InputError, match="has been changed"):
        make(StageRunner(build(), RunDir(tmp_path), ScriptedLauncher(), Recorder()), *NAMES)


def test_a_converted_model_needs_no_worker(stages, tmp_path, monkeypatch):
    monkeypatch.setenv("SRLM_CACHE", str(tmp_path))
    name = "SmolLM2-135M-Instruct"
    assert stages.resolve(name, None) == "found"  # a worker converts it
    folder = tmp_path / "models" / name.lower()
    folder.mkdir(parents=True)
    (folder / "config.json").touch()
    assert stages.resolve(name, None) == str(folder)
    assert stages.launcher.works == [Resolve("model", name, None)]


def test_a_folder_is_a_model_and_other_names_are_resolved(stages, tiny_model):
    assert stages.resolve(tiny_model, None) == tiny_model
    assert stages.launcher.works == []
    assert stages.resolve("owner/name", "r") == "found"
    assert stages.launcher.works == [Resolve("model", "owner/name", "r")]


def test_a_stage_without_its_file_is_not_done(stages, tmp_path):
    assert not stages.is_done("m2/a", tmp_path / "m2" / "a.jsonl", {})
    with pytest.raises(StageError, match=r"m2/a: finished without writing .*a\.jsonl"):
        stages.finish("m2/a", {"rows": 1})
    assert stages.run_dir.entry("m2/a") is None


def test_rows_from_unknown_inputs_are_not_resumed(stages, tmp_path):
    file = tmp_path / "m2" / "a.jsonl"
    file.parent.mkdir()
    file.write_text("an earlier srlm's\n", encoding="utf-8")
    assert not stages.is_done("m2/a", file, {})
    assert not file.exists()
    assert (tmp_path / "archive/1/m2/a.jsonl").read_text(encoding="utf-8") == "an earlier srlm's\n"
    assert stages.report.notes[0].startswith(f"m2/a: {file} existed, from unknown inputs; archived in ")


def test_a_run_of_an_older_version_is_refused_instead_of_recomputed(stages, tmp_path):
    stages.run_dir.finish("m2/a", {"cache_key": "k"}, 0.0, {"rows": 1})
    manifest = tmp_path / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"format": 4,', ""), encoding="utf-8")
    with pytest.raises(InputError, match=r"run format before 3, .* finish the run with that version, or start a new"):
        RunDir(tmp_path)
