"""Archived stages: which ones, to which folder, and that a crash in between loses nothing."""

import json

import pytest
from click.testing import CliRunner
from srlm import config as configuration
from srlm.cli import main
from srlm.errors import InputError
from srlm.run import archive, archive_folders
from srlm.run.run_dir import RunDir


def make_run(path):
    """A run of finished stages with their files; a checkpoint's answers are inside the folder of another stage."""
    run = RunDir.open(path / "run", configuration.build({"model": {"name": "m"}}))
    made = {
        "m2/prompts": ("m2/prompts.jsonl", []),
        "m2/pairs": ("m2/pairs.jsonl", ["m2/prompts"]),
        "m2/step_2": ("m2/checkpoints", ["m2/pairs"]),
        "m2/step_2_answers": ("m2/checkpoints/2/answers.jsonl", []),
        "m2/dpo": ("m2/model", ["m2/pairs"]),
        "m3/prompts": ("m3/prompts.jsonl", ["m2/dpo"]),
        "m1/answers": ("m1/answers.jsonl", []),
    }
    for name, (file, depends_on) in made.items():
        path = run.path / file
        if path.suffix:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name, encoding="utf-8")
        else:
            path.mkdir(parents=True)
        run.finish(name, {"cache_key": name, "path": file, "depends_on": depends_on}, 0.0, {"rows": 1})
    for beside in ("m2/prompts_dropped.jsonl", "m2/metrics.jsonl", "m2/gates.json", "m2/model/weights"):
        (run.path / beside).write_text(beside, encoding="utf-8")
    return run


def files(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("manifest.json", "log.jsonl", "started.json", "config.yaml")
    }


def test_a_stage_is_archived_with_its_dependents_only(tmp_path):
    run = make_run(tmp_path)
    before = files(run.path)
    moved = archive.archive_stage(run, "m2/pairs")
    assert moved.folder == run.path / "archive" / "1"
    assert moved.stages == ["m2/pairs", "m2/step_2", "m2/step_2_answers", "m2/dpo", "m3/prompts"]
    stay = {"m1/answers.jsonl", "m2/prompts.jsonl", "m2/prompts_dropped.jsonl"}
    assert files(moved.folder) == {name: text for name, text in before.items() if name not in stay}
    assert {name for name in files(run.path) if not name.startswith("archive")} == stay
    assert RunDir(run.path).stages() == ["m2/prompts", "m1/answers"]
    assert list(json.loads((moved.folder / "manifest.json").read_text())) == moved.stages


@pytest.mark.parametrize("suffix", ["failed", "scores", "cases"])
def test_files_beside_a_stage_are_archived_with_it(tmp_path, suffix):
    run = make_run(tmp_path)
    beside = run.path / "m1" / f"answers_{suffix}.jsonl"
    beside.write_text("x", encoding="utf-8")
    moved = archive.archive_stage(run, "m1/answers")
    assert not beside.exists()
    assert (moved.folder / "m1" / beside.name).is_file()


def test_segments_of_a_training_are_archived_with_it(tmp_path):
    """Its checkpoints have no weights any more: the best one became the model."""
    moved = archive.archive_stage(make_run(tmp_path), "m2/dpo")
    assert moved.stages == ["m2/step_2", "m2/step_2_answers", "m2/dpo", "m3/prompts"]


def test_each_command_has_its_own_folder(tmp_path):
    run = make_run(tmp_path)
    archive.archive_stage(run, "m1/answers")
    archive.archive_stage(run, "m3/prompts")
    assert archive_folders.archived_stages(run.path).keys() == {"archive/1"}
    archive.archive_stage(RunDir(run.path), "m2/prompts")
    assert archive_folders.archived_stages(run.path).keys() == {"archive/1", "archive/2"}


def killed(*_):
    raise KeyboardInterrupt


@pytest.mark.parametrize("when", ["manifest", "started", "move"])
def test_a_kill_while_archiving_loses_nothing(tmp_path, monkeypatch, when):
    run = make_run(tmp_path)
    before = set(files(run.path).values())
    with monkeypatch.context() as patch:
        if when in (broken := {"manifest": "_write_manifest", "started": "_write_started"}):
            patch.setattr(RunDir, broken[when], killed)
        else:
            patch.setattr(archive, "write_text", killed)
        with pytest.raises(KeyboardInterrupt):
            archive.archive_stage(run, "m2/pairs")
    again = RunDir(run.path)
    if "m2/pairs" in again.known_stages():
        archive.archive_stage(again, "m2/pairs")
    assert RunDir(run.path).stages() == ["m2/prompts", "m1/answers"]
    assert set(files(run.path).values()) == before
    assert not (run.path / "m2" / "pairs.jsonl").exists()


def test_an_unknown_stage(tmp_path):
    run = make_run(tmp_path)
    with pytest.raises(InputError, match="no stage 'm2/pears'; the run has: m2/prompts, m2/pairs"):
        archive.archive_stage(run, "m2/pears")


def test_changed_settings_come_from_the_archived_configuration(tmp_path):
    run = make_run(tmp_path)
    now = configuration.build({"model": {"name": "m"}, "judge": {"samples": 9}})
    assert archive_folders.changed_settings(run.path, now) == {}
    RunDir.open(run.path, now)
    assert archive_folders.changed_settings(run.path, now) == {"judge.samples": "3 → 9"}


def test_the_command(tmp_path):
    run = make_run(tmp_path)
    result = CliRunner().invoke(main.srlm, ["redo", str(run.path), "m3/prompts"])
    assert (result.exit_code, result.output) == (
        0,
        f"archived in {run.path / 'archive' / '1'}: m3/prompts; `srlm run` recomputes them\n",
    )
    assert "m3/prompts" not in RunDir(run.path).stages()
    with pytest.raises(InputError, match="not a run directory"):
        main.srlm.main(["redo", str(tmp_path / "none"), "m3/prompts"], standalone_mode=False)
