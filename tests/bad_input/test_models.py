"""Folders that are no model, or one that cannot be trained and asked; chat templates that cannot be used."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bad_input.cases import Case, Shell, hashes, lines, of, write
from tests.bad_input.test_rows import EXAMPLE, PROMPT

Change = Callable[[Path], object]
AGAIN = "copy or save the model again"
RUN = ("run", "quickstart", "model.name=./m", "prompts.count=1")
GENERATE = ("generate", "--model", "./m", "--prompts", "p.jsonl", "--out", "out.jsonl", "engine.kind=transformers")


def put(name: str, content: bytes | str) -> Change:
    return lambda folder: write(folder, {name: content})


def without(*names: str) -> Change:
    return lambda folder: [(folder / name).unlink() for name in names]


def with_values(name: str, **values: object) -> Change:
    def change(folder: Path) -> None:
        found = json.loads((folder / name).read_text(encoding="utf-8")) | values
        kept = {key: value for key, value in found.items() if value is not None}
        (folder / name).write_text(json.dumps(kept), encoding="utf-8")

    return change


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def cut(size: int) -> Change:
    return lambda folder: os.truncate(folder / "model.safetensors", size)


INDEX = json.dumps({"weight_map": {"a": "model-00002-of-00002.safetensors"}})
# Name, change, and what is said of it before anything is loaded.
FOLDERS: list[tuple[str, Change, tuple[str, ...]]] = [
    ("no config.json", without("config.json"), ("has no config.json", "use one that save_pretrained wrote")),
    ("no weights", without("model.safetensors"), ("no .safetensors weights", "save the model with safetensors")),
    ("a pickle", pickled, ("no .safetensors weights", "save the model with safetensors")),
    ("weights cut off", cut(90_000), ("model.safetensors is truncated: it has 90000 bytes", AGAIN)),
    ("weights cut off in the head", cut(1_000), ("model.safetensors is truncated", AGAIN)),
    ("weights of four bytes", cut(4), ("model.safetensors is not a safetensors file", AGAIN)),
    (
        "a pointer of git-lfs",
        put("model.safetensors", "version https://git-lfs.github.com/spec/v1"),
        ("git-lfs", AGAIN),
    ),
    (
        "a missing shard",
        put("model.safetensors.index.json", INDEX),
        ("model-00002-of-00002.safetensors is missing", AGAIN),
    ),
    ("a broken config.json", put("config.json", "{"), ("config.json is not valid JSON", "column 2", AGAIN)),
    ("a config.json that is a list", put("config.json", "[]"), ("config.json is not a JSON object", AGAIN)),
    ("a config.json without a type", put("config.json", "{}"), ("config.json has no model_type", AGAIN)),
    (
        "no tokenizer",
        without("tokenizer.json", "tokenizer_config.json"),
        ("no tokenizer", "save the model's tokenizer"),
    ),
    ("a broken tokenizer.json", put("tokenizer.json", '{"a": '), ("tokenizer.json is not valid JSON", AGAIN)),
]
# What transformers alone can tell.
LOADED: list[tuple[str, Change, tuple[str, ...]]] = [
    (
        "an unknown architecture",
        with_values("config.json", model_type="none-such"),
        ("`none-such`", "use another model"),
    ),
    ("a size that is a text", with_values("config.json", hidden_size="a"), ("hidden_size", "use another model")),
    ("heads that do not fit", with_values("config.json", hidden_size=63), ("hidden size (63)", "use another model")),
    (
        "layers without weights",
        with_values("config.json", num_hidden_layers=3),
        ("no weights for model.layers.2", "again"),
    ),
    ("an empty tokenizer.json", put("tokenizer.json", "{}"), ("cannot load the tokenizer", "tokenizer again")),
    (
        "a broken tokenizer_config.json",
        put("tokenizer_config.json", "{"),
        ("cannot load the tokenizer", "tokenizer again"),
    ),
    (
        "no chat template",
        without("chat_template.jinja"),
        ("has no chat template", "set model.chat_template (e.g. plain)"),
    ),
    ("no end token", with_values("tokenizer_config.json", eos_token=None), ("no end token (eos_token)", "add one")),
    (
        "its own template drops all",
        put("chat_template.jinja", "hi"),
        ("drops the user message", "fix it, or set"),
    ),
]
FIX = "fix it, or set model.chat_template (e.g. plain)"
TEMPLATES = [
    ("raises", "{{ raise_exception('No roles, please') }}", ("fails on a question", "No roles, please", FIX)),
    ("divides by zero", "{{ 1 / 0 }}", ("fails on a question", "division by zero", FIX)),
    ("renders nothing", "", ("drops the user message", FIX)),
    ("says the same always", "Hello.", ("drops the user message", FIX)),
    ("drops the answer", "{{ messages[0].content }}", ("drops the assistant message", FIX)),
    ("leaves its sandbox", "{{ ''.__class__.__mro__[1].__subclasses__() }}", ("'__class__'", "unsafe", FIX)),
    ("looks out of its sandbox", "{{ ''.__class__ }}", ("drops the user message", FIX)),
    ("changes the messages", "{{ messages.append(1) }}", ("'append'", "unsafe", FIX)),
    ("has an unknown filter", "{{ messages | nosuch }}", ("No filter named 'nosuch'", FIX)),
]


def ids(rows: list[tuple[str, object, tuple[str, ...]]]) -> list[str]:
    return [row[0] for row in rows]


@pytest.fixture
def model(shell: Shell, tiny_model: str) -> Path:
    shutil.copytree(tiny_model, shell.folder / "m")
    write(shell.folder, {"p.jsonl": lines(PROMPT), "e.jsonl": lines(EXAMPLE)})
    return shell.folder / "m"


@pytest.mark.parametrize(("name", "change", "says"), FOLDERS, ids=ids(FOLDERS))
@pytest.mark.parametrize("words", [RUN, GENERATE, ("model", "get", "./m")], ids=["run", "generate", "model get"])
def test_a_folder_is_refused(
    name: str, change: Change, says: tuple[str, ...], words: tuple[str, ...], shell: Shell, model: Path
) -> None:
    change(model)
    shell.refuses(Case(name, words, ("model 'm'", *says)))


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(("name", "change", "says"), LOADED, ids=ids(LOADED))
def test_a_model_is_refused_by_its_worker(
    name: str, change: Change, says: tuple[str, ...], shell: Shell, model: Path
) -> None:
    change(model)
    shell.refuses(Case(name, GENERATE, ("model 'm'", *says)))


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(("name", "template", "says"), TEMPLATES, ids=ids(TEMPLATES))
def test_a_chat_template_is_refused(name: str, template: str, says: tuple[str, ...], shell: Shell, model: Path) -> None:
    write(shell.folder, {"mine.jinja": template})
    shell.refuses(
        Case(name, (*GENERATE, "model.chat_template=mine.jinja"), ("model.chat_template 'mine.jinja'", *says))
    )


@pytest.mark.usefixtures("here", "model")
@of(
    Case(
        "a word that is no folder",
        ("generate", "--model", "no such model", *GENERATE[3:]),
        ("'no such model'", "check the name"),
    ),
    Case(
        "no model of the hub",
        ("generate", "--model", "no-such/none", *GENERATE[3:]),
        ("'no-such/none'", "check the name, or use"),
    ),
    Case(
        "a path of many parts",
        ("generate", "--model", "a/b/c", *GENERATE[3:]),
        ("'a/b/c': no such folder", "use a folder"),
    ),
)
def test_a_name_is_refused(case: Case, shell: Shell) -> None:
    shell.refuses(case)


def test_a_run_by_such_a_template_has_made_its_folder_only(shell: Shell, model: Path, here: None) -> None:
    """It is found by the first worker: the folder of the run is there, with what it has from before."""
    write(shell.folder, {"mine.jinja": "Hello."})
    before = hashes(shell.folder)
    code, said = shell.run(*RUN, "model.chat_template=mine.jinja", "engine.kind=transformers")
    assert code == 2
    assert said.rstrip("\n").split("\n")[-1].startswith("srlm: error: model.chat_template 'mine.jinja': ")
    found = hashes(shell.folder)
    assert {name: found[name] for name in before} == before
    made = {name.removeprefix("runs/quickstart/").partition("/")[0] for name in found.keys() - before.keys()}
    assert made <= {
        *("runs", "quickstart", "config.yaml", "manifest.json", "started.json", "environments.json", "weights.json"),
        *("log.jsonl", "logs", "run.lock", "seed"),
    }
