"""What a control takes over from its run, and that neither run's files change with the other's."""

import os

import pytest
from srlm.rows.atomic_file import own_copy
from srlm.rows.records import Candidate, RowWriter
from srlm.rows.resume import resume_rows
from srlm.run import archive, shared_stages
from srlm.run.run_dir import RunDir, content_hash, fingerprint
from srlm.run.shared_stages import share, shared_entries, stages_to_share

STAGES = {
    "seed/ift": ("seed/ift.jsonl", ()),
    "m0/instructions": ("m0/instructions.jsonl", ()),
    "m1/sft": ("m1/model", ("seed/ift",)),
    "m1/instructions": ("m1/instructions.jsonl", ("m1/sft",)),
    "m2/prompts": ("m2/prompts.jsonl", ("m1/sft",)),
    "m2/candidates": ("m2/candidates.jsonl", ("m2/prompts", "m1/sft")),
    "m2/scores": ("m2/scores.jsonl", ("m2/candidates",)),
    "m2/dpo": ("m2/model", ("m2/scores", "m1/sft")),
    "m1/vs_m0": ("m1/vs_m0.jsonl", ("m2/dpo",)),  # M2 is the judge
}
SHARED = ["seed/ift", "m0/instructions", "m1/sft", "m1/instructions", "m2/prompts", "m2/candidates"]


def finish(run, name, text="", key="key"):
    path, depends_on = STAGES[name]
    file = run.path / path
    content = file / "config.json" if not file.suffix else file
    content.parent.mkdir(parents=True, exist_ok=True)
    content.unlink(missing_ok=True)
    content.write_text(f'{{"name": "{name}{text}"}}\n', encoding="utf-8")
    record = {"cache_key": key, "path": path, "depends_on": list(depends_on), "input_hashes": {}}
    run.finish(name, record, 1.0, {"rows": 1, "sha256": {path: content_hash(file)}, "fingerprint": fingerprint(file)})


@pytest.fixture
def pair(tmp_path):
    """A finished run, and the empty directory of its control."""
    run, control = RunDir(tmp_path / "seed-0"), RunDir(tmp_path / "seed-0-control")
    for folder in (run, control):
        folder.path.mkdir()
    for name in STAGES:
        finish(run, name)
    (run.path / "m1" / "metrics.jsonl").write_text("{}\n", encoding="utf-8")
    (run.path / "m0" / "instructions_cases.jsonl").write_text("{}\n", encoding="utf-8")
    (run.path / "environments.json").write_text('{"one": {}}\n', encoding="utf-8")
    return run, control


def test_everything_up_to_the_candidates_is_linked(pair):
    run, control = pair
    assert share(run, control) == []
    assert control.stages() == SHARED
    assert control.entry("m1/sft") == {**run.entry("m1/sft"), "shared_from": "../seed-0"}
    files = ["seed/ift.jsonl", "m1/model/config.json", "m1/metrics.jsonl", "m0/instructions_cases.jsonl"]
    for name in [*files, "m2/candidates.jsonl"]:
        assert (run.path / name).samefile(control.path / name)
    for name in ("m2/scores.jsonl", "m2/model", "m1/vs_m0.jsonl"):
        assert not (control.path / name).exists()
    assert all(RunDir(control.path).state(name) == "done" for name in SHARED)
    assert (control.path / "environments.json").read_text(encoding="utf-8") == '{\n "one": {}\n}\n'
    assert stages_to_share(run, control) == {}
    before = control.path.joinpath("manifest.json").stat().st_mtime_ns
    assert share(run, control) == []
    assert control.path.joinpath("manifest.json").stat().st_mtime_ns == before


def test_a_stage_whose_file_was_changed_is_not_shared(pair):
    run, _ = pair
    (run.path / "m2" / "prompts.jsonl").write_text("other\n", encoding="utf-8")
    assert list(shared_entries(run)) == SHARED[:4]


def test_an_interrupted_sharing_is_completed(pair, monkeypatch):
    run, control = pair
    link, linked = shared_stages._link, []

    def interrupted(source, target):
        if len(linked) == 3:
            raise KeyboardInterrupt
        linked.append(source)
        link(source, target)

    monkeypatch.setattr(shared_stages, "_link", interrupted)
    with pytest.raises(KeyboardInterrupt):
        share(run, control)
    assert control.stages() == []
    monkeypatch.undo()
    assert share(run, RunDir(control.path)) == []
    assert RunDir(control.path).stages() == SHARED


@pytest.mark.parametrize("key", ["key", "other"])
def test_a_recomputed_stage_replaces_the_control_s(pair, key):
    """M1 is trained again with the same settings to other weights, or with others."""
    run, control = pair
    share(run, control)
    finish(control, "m2/scores")
    finish(run, "m1/sft", text="again", key=key)
    notes = share(run, control)
    assert len(notes) == 1
    assert "m1/sft is taken from seed-0 again" in notes[0]
    assert sorted(control.stages()) == sorted(SHARED)  # the scores are archived with what they depended on
    assert (control.path / "archive" / "1" / "m2" / "scores.jsonl").exists()
    assert (run.path / "m1/model/config.json").samefile(control.path / "m1/model/config.json")


def test_files_of_the_control_itself_are_archived(pair):
    run, control = pair
    file = control.path / "seed" / "ift.jsonl"
    file.parent.mkdir()
    file.write_text("mine\n", encoding="utf-8")
    assert len(share(run, control)) == 1
    assert (control.path / "archive/1/seed/ift.jsonl").read_text(encoding="utf-8") == "mine\n"
    assert control.stages() == SHARED


def test_archiving_in_the_control_leaves_the_run_alone(pair):
    run, control = pair
    share(run, control)
    archive.archive_stage(control, "m1/sft")
    assert all(RunDir(run.path).state(name) == "done" for name in STAGES)
    assert (control.path / "archive/1/m1/model/config.json").exists()


def test_files_are_copied_where_there_are_no_links(pair, monkeypatch):
    run, control = pair

    def refuse(*_):
        raise OSError(shared_stages.errno.EPERM, "no links")

    monkeypatch.setattr(os, "link", refuse)
    share(run, control)
    assert not (run.path / "m2/candidates.jsonl").samefile(control.path / "m2/candidates.jsonl")
    assert all(RunDir(control.path).state(name) == "done" for name in SHARED)


def linked(tmp_path, text):
    one, other = tmp_path / "one.jsonl", tmp_path / "other.jsonl"
    one.write_text(text, encoding="utf-8")
    os.link(one, other)
    return one, other


def test_rows_are_never_appended_to_a_linked_file(tmp_path):
    one, other = linked(tmp_path, '{"n": 1}\n')
    with RowWriter(other) as writer:
        writer.write({"n": 2})
    assert one.read_text(encoding="utf-8") == '{"n": 1}\n'
    assert other.read_text(encoding="utf-8") == '{"n": 1}\n{"n": 2}\n'


def test_a_linked_file_is_not_cut_off(tmp_path):
    one, other = linked(tmp_path, '{"id": "torn')
    assert resume_rows(other, Candidate) == []
    assert one.read_text(encoding="utf-8") == '{"id": "torn'
    assert other.read_text(encoding="utf-8") == ""


def test_a_file_with_one_name_stays(tmp_path):
    file = tmp_path / "file"
    own_copy(file)
    file.touch()
    number = file.stat().st_ino
    own_copy(file)
    assert file.stat().st_ino == number
