"""The run directory: opening it, going on in it, and what makes a stage done."""

import importlib.metadata
import json
import os
import re

import pytest
from srlm import config as configuration
from srlm.errors import InputError
from srlm.run_dir import RunDir, read_config


def make_config(**values):
    return configuration.build({"model": {"name": "m"}, **values})


@pytest.fixture
def run(tmp_path):
    return RunDir.open(tmp_path / "run", make_config())


def contents(folder):
    """Every file below a folder, with its bytes and the time it was written."""
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


def test_an_empty_folder_that_is_there(tmp_path):
    RunDir.open(tmp_path, make_config())
    assert read_config(tmp_path) == make_config()


def test_going_on(run):
    run.finish("seed/ift", "k", 1.0, {"rows": 3})
    again = RunDir.open(run.path, make_config())
    assert again.entry("seed/ift") == run.entry("seed/ift")


def test_a_run_may_be_extended(run):
    run.finish("seed/ift", "k", 1.0, {"rows": 3})
    longer = make_config(iterations=5, endpoint={"concurrency": 2, "api_key_env": "OTHER", "price_in": 1.0})
    assert RunDir.open(run.path, longer).entry("seed/ift") is not None
    assert read_config(run.path) == longer


@pytest.mark.parametrize(
    ("values", "keys"),
    [
        ({"seed": 1}, "seed"),
        ({"judge": {"samples": 4, "top_p": 0.5}, "eft": {"from": "ranks"}}, "eft.from, judge.samples, judge.top_p"),
        ({"model": {"name": "other"}}, "model.name"),
        ({"sft": {"lora": {}}}, "sft.lora.alpha, sft.lora.rank, sft.lora.target_modules"),
        ({"seed": 1, "iterations": 7}, "seed"),
        ({"endpoint": {"model": "other"}}, "endpoint.model"),
        ({"endpoint": {"base_url": "http://localhost:1/v1", "timeout": 9.0}}, "endpoint.base_url"),
    ],
)
def test_another_configuration_is_refused(values, keys, run):
    run.finish("seed/ift", "k", 1.0, {"rows": 3})
    before = contents(run.path)
    with pytest.raises(InputError) as error:
        RunDir.open(run.path, configuration.build({"model": {"name": "m"}} | values))
    assert str(error.value).startswith(f"{run.path}: made with another configuration; these keys differ: {keys}. ")
    assert "Nothing was changed; give another --run-dir, or the old values" in str(error.value)
    assert contents(run.path) == before


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(InputError, match=r"not empty and not a run's folder.*give another --run-dir"):
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
def test_a_file_in_the_way(below, tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(InputError, match=r"run directory .*(Not a directory|File exists); give another --run-dir"):
        RunDir.open(file / below, make_config())
    assert file.read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_parent_that_may_not_be_written(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match=r"run directory .*: Permission denied; give another --run-dir"):
        RunDir.open(tmp_path / "run", make_config())


@pytest.mark.parametrize("path", [".", "none"])
def test_reading_the_configuration_of_no_run(path, tmp_path):
    with pytest.raises(InputError, match="not a run's folder"):
        read_config(tmp_path / path)


def test_paths(tmp_path):
    run = RunDir(tmp_path)
    assert run.seed("ift.jsonl") == tmp_path / "seed" / "ift.jsonl"
    assert run.model(3) == tmp_path / "m3" / "model"
    assert run.file(2, "pairs.jsonl") == tmp_path / "m2" / "pairs.jsonl"
    assert run.log_file == tmp_path / "logs" / "workers.log"
    assert list(tmp_path.iterdir()) == []


# --- stages -----------------------------------------------------------------------------------------------------------


def test_a_stage_that_was_not_begun(run):
    assert run.entry("m2/prompts") is None
    assert not run.is_done("m2/prompts", "k", run.file(2, "prompts.jsonl"))


def rows_file(run, count=3, name="prompts.jsonl"):
    file = run.file(2, name)
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b'{"text": "a\xe2\x80\xa8b\xc2\x85"}\n' * count)
    return file


def test_a_stage_that_is_done(run):
    file, key = rows_file(run), run.key("m2/prompts", {"count": 3})
    run.finish("m2/prompts", key, 1.26, {"rows": 3, "engine": "scripted"})
    assert run.is_done("m2/prompts", key, file)
    assert RunDir(run.path).is_done("m2/prompts", key, file)
    entry = RunDir(run.path).entry("m2/prompts")
    assert {name: entry[name] for name in ("key", "seconds", "rows", "engine")} == {
        "key": key,
        "seconds": 1.3,
        "rows": 3,
        "engine": "scripted",
    }
    assert entry["versions"]["torch"] == importlib.metadata.version("torch")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}", entry["finished"])


def test_stages_are_kept_together(run):
    for number, name in enumerate(("seed/ift", "m1/sft", "m2/prompts")):
        run.finish(name, str(number), 0, {"rows": number})
    manifest = json.loads((run.path / "manifest.json").read_text(encoding="utf-8"))
    assert {name: entry["rows"] for name, entry in manifest.items()} == {"seed/ift": 0, "m1/sft": 1, "m2/prompts": 2}
    run.finish("m1/sft", "new", 0, {"rows": 9})
    assert RunDir(run.path).entry("m1/sft")["key"] == "new"


def test_a_stage_made_from_other_inputs(run):
    file = rows_file(run)
    run.finish("m2/prompts", "old", 0, {"rows": 3})
    with pytest.raises(InputError) as error:
        run.is_done("m2/prompts", "new", file)
    assert str(error.value) == (
        f"{run.path}: stage m2/prompts was made from other inputs than now; use another --run-dir"
    )


@pytest.mark.parametrize("rows", [0, 2, 4])
def test_a_file_with_other_rows_than_were_made(rows, run):
    file = rows_file(run, rows)
    run.finish("m2/prompts", "k", 0, {"rows": 3})
    with pytest.raises(InputError) as error:
        run.is_done("m2/prompts", "k", file)
    assert str(error.value) == f"{file}: has {rows} rows, the manifest says 3; restore the file"


def test_a_file_that_is_gone(run):
    file = rows_file(run)
    run.finish("m2/prompts", "k", 0, {"rows": 3})
    file.unlink()
    with pytest.raises(InputError) as error:
        run.is_done("m2/prompts", "k", file)
    assert str(error.value) == f"{file}: missing, but the manifest says that stage m2/prompts is done; restore it"


def test_a_model_is_done_if_its_folder_is_there(run):
    run.finish("m1/sft", "k", 0, {"rows": 40})
    with pytest.raises(InputError, match="missing, but the manifest says that stage m1/sft is done"):
        run.is_done("m1/sft", "k", run.model(1))
    run.model(1).mkdir(parents=True)
    assert run.is_done("m1/sft", "k", run.model(1))


def test_keys(run):
    run.finish("a", "key of a", 0, {})
    run.finish("b", "key of b", 0, {})
    keys = [
        run.key("stage", {"samples": 3}),
        run.key("stage", {"samples": 4}),
        run.key("other", {"samples": 3}),
        run.key("stage", {"samples": 3}, ("a",)),
        run.key("stage", {"samples": 3}, ("b",)),
        run.key("stage", {"samples": 3}, ("a", "b")),
    ]
    assert len(set(keys)) == len(keys)
    assert run.key("stage", {"samples": 3}, ("a", "b")) == RunDir(run.path).key("stage", {"samples": 3}, ("a", "b"))
    run.finish("a", "another key of a", 0, {})
    assert run.key("stage", {"samples": 3}, ("a",)) != keys[3]


@pytest.mark.parametrize("text", ["{", "", '{"a": {"key": ', "[]", '"text"'])
def test_a_broken_manifest(text, run):
    file = run.path / "manifest.json"
    file.write_text(text)
    with pytest.raises(InputError) as error:
        RunDir.open(run.path, make_config())
    assert str(error.value).startswith(f"{file}: ")
    assert "restore it" in str(error.value)


def test_the_log(run):
    run.log("started", version="1")
    run.finish("m2/prompts", "k", 2.0, {"rows": 3})
    lines = [json.loads(line) for line in (run.path / "log.jsonl").read_text(encoding="utf-8").split("\n")[:-1]]
    assert [(line["event"], line.get("stage"), line.get("rows")) for line in lines] == [
        ("started", None, None),
        ("finished", "m2/prompts", 3),
    ]
    assert all(line["time"] for line in lines)
