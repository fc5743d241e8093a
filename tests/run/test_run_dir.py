"""The run directory: opening it, resuming in it, and when a stage is done."""

import importlib.metadata
import json
import os
import re
import shutil

import pytest
from srlm import config as configuration
from srlm.errors import InputError
from srlm.run.run_dir import FORMAT, RunDir, content_hash, fingerprint, read_config


def make_config(**values):
    return configuration.build({"model": {"name": "m"}, **values})


@pytest.fixture
def run(tmp_path):
    return RunDir.open(tmp_path / "run", make_config())


def contents(folder):
    """Every file below a folder, with its bytes and modification time."""
    return {
        path.relative_to(folder): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


# --- opening ----------------------------------------------------------------------------------------------------------


def test_a_new_folder(tmp_path):
    path, config = tmp_path / "runs" / "new", make_config(judge={"samples": 2}, name="new")
    RunDir.open(path, config)
    assert [entry.name for entry in path.iterdir()] == ["config.yaml"]
    assert read_config(path) == config
    text = (path / "config.yaml").read_text(encoding="utf-8")
    assert "top_p: 0.9" in text  # every default is written out


def test_an_existing_empty_folder(tmp_path):
    RunDir.open(tmp_path, make_config())
    assert read_config(tmp_path) == make_config()


def test_resuming(run):
    run.finish("seed/ift", {"cache_key": "k"}, 1.0, {"rows": 3})
    again = RunDir.open(run.path, make_config())
    assert again.entry("seed/ift") == run.entry("seed/ift")


def test_a_run_may_be_extended(run):
    run.finish("seed/ift", {"cache_key": "k"}, 1.0, {"rows": 3})
    longer = make_config(iterations=5, endpoint={"concurrency": 2, "api_key_env": "OTHER", "price_in": 1.0})
    assert RunDir.open(run.path, longer).entry("seed/ift") is not None
    assert read_config(run.path) == longer


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        ({"judge": {"samples": 4, "top_p": 0.5}, "eft": {"from": "ranks"}}, True),
        ({"model": {"name": "other"}}, True),
        ({"endpoint": {"model": "other"}}, True),
        ({"iterations": 7, "launch": {"processes": 2}}, False),
        ({"engine": {"batch_size": 1, "max_num_seqs": 2, "gpu_memory_utilization": 0.5}}, False),
        ({"dpo": {"save_steps": None}, "sft": {"micro_batch_size": 2}}, False),
    ],
)
def test_a_configuration_that_gives_other_rows_archives_the_previous_one(values, kept, run):
    run.finish("seed/ift", {"cache_key": "k"}, 1.0, {"rows": 3})
    previous = (run.path / "config.yaml").read_text()
    now = configuration.build({"model": {"name": "m"}} | values)
    assert RunDir.open(run.path, now).entry("seed/ift") is not None
    assert read_config(run.path) == now
    file = run.path / "archive" / "1" / "config.yaml"
    assert (file.read_text() == previous) if kept else not file.exists()


def test_a_run_of_another_name_is_refused(run):
    before = contents(run.path)
    with pytest.raises(InputError) as error:
        RunDir.open(run.path, make_config(name="other"))
    assert str(error.value) == (
        f"{run.path}: is the directory of the run 'run', not of 'other'; nothing was changed. Use another "
        "--run-dir, or the previous name"
    )
    assert contents(run.path) == before


def test_a_folder_with_other_content_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(InputError, match=r"not empty and not a run directory.*use another --run-dir"):
        RunDir.open(tmp_path, make_config())
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("model: [", "not valid YAML"),
        ("model: {name: m}\nold_key: 1", "unknown key 'old_key'"),
        ("", "key 'model' is missing"),
    ],
)
def test_a_broken_configuration_in_the_folder(text, reason, tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(text)
    for open_it in (lambda: RunDir.open(tmp_path, make_config()), lambda: read_config(tmp_path)):
        with pytest.raises(InputError) as error:
            open_it()
        assert str(error.value).startswith(f"{file}: {reason}")
    assert file.read_text() == text


@pytest.mark.parametrize("below", ["", "run", "deep/run"])
def test_a_file_in_place_of_a_folder(below, tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(InputError, match=r"run directory .*(Not a directory|File exists); use another --run-dir"):
        RunDir.open(file / below, make_config())
    assert file.read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_parent_without_write_permission(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match=r"run directory .*: Permission denied; use another --run-dir"):
        RunDir.open(tmp_path / "run", make_config())


@pytest.mark.parametrize("path", [".", "none"])
def test_reading_the_configuration_of_another_folder(path, tmp_path):
    with pytest.raises(InputError, match="not a run directory"):
        read_config(tmp_path / path)


def test_paths(tmp_path):
    run = RunDir(tmp_path)
    assert run.seed("ift.jsonl") == tmp_path / "seed" / "ift.jsonl"
    assert run.model(3) == tmp_path / "m3" / "model"
    assert run.file(2, "pairs.jsonl") == tmp_path / "m2" / "pairs.jsonl"
    assert run.log_file == tmp_path / "logs" / "workers.log"
    assert list(tmp_path.iterdir()) == []


# --- stages -----------------------------------------------------------------------------------------------------------


def test_a_stage_that_was_not_started(run):
    assert run.entry("m2/prompts") is None
    assert run.known_stages() == {}


def finished(run, name="m2/prompts", file="m2/prompts.jsonl", rows=3):
    """Finish a stage, and return its file."""
    path = run.path / file
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b'{"text": "a\xe2\x80\xa8b\xc2\x85"}\n' * rows)
    facts = {"rows": rows, "sha256": {file: content_hash(path)}, "fingerprint": fingerprint(path)}
    run.finish(name, {"cache_key": "k", "path": file}, 1.26, {**facts, "engine": "scripted"})
    return path


def test_a_stage_that_is_done(run):
    file = finished(run)
    for opened in (run, RunDir(run.path)):
        opened.check("m2/prompts", file)
        assert opened.state("m2/prompts") == "done"
    entry = RunDir(run.path).entry("m2/prompts")
    assert {name: entry[name] for name in ("cache_key", "seconds", "rows", "engine")} == {
        "cache_key": "k",
        "seconds": 1.3,
        "rows": 3,
        "engine": "scripted",
    }
    assert entry["versions"]["torch"] == importlib.metadata.version("torch")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}", entry["finished"])


def test_one_manifest_for_all_stages(run):
    for number, name in enumerate(("seed/ift", "m1/sft", "m2/prompts")):
        run.finish(name, {"cache_key": str(number)}, 0, {"rows": number})
    manifest = json.loads((run.path / "manifest.json").read_text(encoding="utf-8"))
    assert {name: entry["rows"] for name, entry in manifest.items()} == {"seed/ift": 0, "m1/sft": 1, "m2/prompts": 2}
    run.finish("m1/sft", {"cache_key": "new"}, 0, {"rows": 9})
    assert RunDir(run.path).entry("m1/sft")["cache_key"] == "new"


def test_a_started_stage_is_known_until_it_is_done(run):
    run.start("m2/prompts", {"cache_key": "k", "path": "m2/prompts.jsonl"})
    assert RunDir(run.path).known_stages() == {
        "m2/prompts": {"format": FORMAT, "cache_key": "k", "path": "m2/prompts.jsonl"}
    }
    assert run.entry("m2/prompts") is None
    run.finish("m2/prompts", {"cache_key": "k"}, 0, {"rows": 1})
    assert json.loads((run.path / "started.json").read_text()) == {}


def test_a_changed_file(run):
    file = finished(run)
    file.write_bytes(file.read_bytes().replace(b"a", b"z"))  # as many rows, of the same size
    os.utime(file, ns=(1, 1))
    assert run.state("m2/prompts") == "changed"
    with pytest.raises(InputError) as error:
        run.check("m2/prompts", file)
    assert str(error.value) == (
        f"{file}: has been changed, but stage m2/prompts is done according to the manifest; restore it, or run "
        f"`srlm redo {run.path} m2/prompts` to archive the stage and everything that depends on it"
    )


def test_a_copy_with_other_times_is_accepted(run):
    file = finished(run)
    os.utime(file, ns=(1, 1))
    assert run.state("m2/prompts") == "changed"
    run.check("m2/prompts", file)
    assert RunDir(run.path).state("m2/prompts") == "done"


def test_a_missing_file(run):
    file = finished(run)
    file.unlink()
    assert run.state("m2/prompts") == "missing"
    with pytest.raises(InputError) as error:
        run.check("m2/prompts", file)
    assert str(error.value).startswith(
        f"{file}: is missing, but stage m2/prompts is done according to the manifest; restore"
    )


def test_changed_weights_of_a_model(run, tiny_model):
    model = run.model(1)
    shutil.copytree(tiny_model, model)
    facts = {"sha256": {"m1/model": content_hash(model)}, "fingerprint": fingerprint(model)}
    run.finish("m1/sft", {"cache_key": "k", "path": "m1/model"}, 0, facts)
    run.check("m1/sft", model)
    (model / "README.md").write_text("the model card does not affect outputs")
    run.check("m1/sft", model)
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(InputError, match="has been changed"):
        run.check("m1/sft", model)


@pytest.mark.parametrize("text", ["{", "", '{"a": {"key": ', "[]", '"text"'])
def test_a_broken_manifest(text, run):
    file = run.path / "manifest.json"
    file.write_text(text)
    with pytest.raises(InputError) as error:
        RunDir.open(run.path, make_config())
    assert str(error.value).startswith(f"{file}: ")
    assert "restore it" in str(error.value)


@pytest.mark.parametrize("name", ["manifest.json", "started.json"])
@pytest.mark.parametrize(("fields", "shown"), [({}, "before 3"), ({"format": FORMAT + 1}, f"{FORMAT + 1}")])
def test_a_run_of_another_format_is_refused_and_left_unchanged(name, fields, shown, run):
    (run.path / name).write_text(json.dumps({"seed/ift": {"key": "k", "seconds": 1.0, **fields}}))
    before = contents(run.path)
    with pytest.raises(InputError, match="run format"):
        RunDir.open(run.path, make_config(judge={"samples": 9}))
    with pytest.raises(InputError) as error:
        RunDir(run.path)
    assert str(error.value) == (
        f"{run.path / name}: written by another version of srlm (run format {shown}, this version needs {FORMAT}); "
        "finish the run with that version, or start a new one with another --run-dir"
    )
    assert contents(run.path) == before


def test_the_log(run):
    run.log("started", version="1")
    run.finish("m2/prompts", {"cache_key": "k"}, 2.0, {"rows": 3})
    lines = [json.loads(line) for line in (run.path / "log.jsonl").read_text(encoding="utf-8").split("\n")[:-1]]
    assert [(line["event"], line.get("stage"), line.get("rows")) for line in lines] == [
        ("started", None, None),
        ("finished", "m2/prompts", 3),
    ]
    assert all(line["time"] for line in lines)
