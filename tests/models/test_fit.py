"""Model, tokenizer, chat template, configuration and rows, compared before weights are loaded."""

import json
import shutil
from pathlib import Path

import pytest
from srlm import config as configuration
from srlm.config import ModelSection
from srlm.errors import InputError
from srlm.models import chat, fit, registry
from srlm.models.shape import Shape
from srlm.rows.records import Example, Pair, write_rows
from srlm.workers.jobs import CheckModel, Generate
from transformers import AutoTokenizer

from tests.scripted import Recorder
from tests.tiny import CHAT_TEMPLATE
from tests.training.trials import EXAMPLES, Trial
from tests.training.trials import example as long_example

NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
ALTERNATING = (
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Roles must alternate user/assistant') }}{% endif %}{% endfor %}"
)
NOT_A_PREFIX = CHAT_TEMPLATE.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")
SYSTEM = {"role": "system", "content": "Be brief."}


@pytest.fixture
def trial(tmp_path, tiny_model):
    return lambda name="trial", base=tiny_model: Trial(tmp_path / name, base)


@pytest.fixture
def model(tmp_path, tiny_model):
    """Copy the tiny model, with changes of its tokenizer, template and configuration; return the folder."""

    def copy(*, template=None, tokens=(), special=(), pad=None, **config):
        folder = tmp_path / "m"
        shutil.copytree(tiny_model, folder, dirs_exist_ok=True)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        if tokens or special:  # ids follow one another: fill up to the 512 embeddings first
            tokenizer.add_tokens([f"<|fill{number}|>" for number in range(512 - len(tokenizer))], special_tokens=True)
            tokenizer.add_tokens(list(tokens))
            tokenizer.add_tokens(list(special), special_tokens=True)
        if pad is not None:
            tokenizer.pad_token = pad
        if template is not None:
            tokenizer.chat_template = template
        tokenizer.save_pretrained(folder)
        file = folder / "config.json"
        file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), **config}), encoding="utf-8")
        return str(folder)

    return copy


# --- tokens and embeddings --------------------------------------------------------------------------------------------


def test_a_token_without_an_embedding_is_refused(model):
    folder = model(tokens=["zebra"])
    message = r"has the token 'zebra' with the id 512, but the model has 512 embeddings; use the tokenizer that belongs"
    with pytest.raises(InputError, match=message):
        registry.load_tokenizer(folder)


def test_a_special_token_of_the_template_without_an_embedding_is_refused(model):
    with pytest.raises(InputError, match=r"the token '<\|new\|>' with the id 512"):
        registry.load_tokenizer(model(special=["<|new|>"], template=CHAT_TEMPLATE.replace("<|im_start|>", "<|new|>")))


def test_a_special_token_of_the_system_turn_without_an_embedding_is_refused(model):
    template = "{% if messages[0].role == 'system' %}<|new|>{% endif %}" + CHAT_TEMPLATE
    with pytest.raises(InputError, match=r"the token '<\|new\|>' with the id 512"):
        registry.load_tokenizer(model(special=["<|new|>"], template=template))


def test_an_end_token_without_an_embedding_is_refused(model, tmp_path):
    folder = model(special=["<|end|>"])
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.eos_token = "<|end|>"  # noqa: S105
    tokenizer.save_pretrained(folder)
    with pytest.raises(InputError, match=r"the token '<\|end\|>' with the id 512"):
        registry.load_tokenizer(folder)


def test_a_special_token_that_cannot_occur_is_accepted(model):
    """As Gemma 3's image token beyond the embeddings of its text models: data is encoded without special tokens."""
    tokenizer = registry.load_tokenizer(model(special=["<|image|>"]))
    assert tokenizer.convert_tokens_to_ids("<|image|>") == 512
    assert max(chat.prompt_ids(tokenizer, chat.user("an <|image|> here"))) < 512


def test_a_pad_token_without_an_embedding_is_replaced(model):
    """As in many fine-tuned Llama 2 models: padding is masked, so any token with an embedding will do."""
    folder = model(special=["<pad>"], pad="<pad>")
    tokenizer = registry.load_tokenizer(folder)
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    (note,) = fit.notes(folder, tokenizer, ModelSection(name="m"))
    assert note == "model: the pad token 512 is beyond the model's 512 embeddings; rows are padded with the end token"


def test_a_missing_pad_token_is_the_end_token(model):
    folder = Path(model())
    file = folder / "tokenizer_config.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({name: value for name, value in settings.items() if name != "pad_token"}), "utf-8")
    tokenizer = registry.load_tokenizer(str(folder))
    assert tokenizer.pad_token_id == tokenizer.eos_token_id


@pytest.mark.parametrize("special", ["<pad>", "<|im_end|>"], ids=["beyond the embeddings", "the end token"])
def test_training_with_such_a_pad_token_learns_the_end_token(model, trial, special):
    """Rows of different lengths: the end token has a loss although it is the padding, and padding has none."""
    folder = model(special=["<pad>"], pad=special)
    done, other = trial("pad", base=folder).sft(), trial("plain").sft()
    assert done.logged[0]["loss"] == pytest.approx(other.logged[0]["loss"], abs=1e-4)


# --- the context ------------------------------------------------------------------------------------------------------


def build(folder, **values):
    return configuration.build({"model": {"name": folder}, **values})


def test_the_engines_length_follows_the_model(model):
    folder = model(max_position_embeddings=300)
    assert fit.with_engine_length(build(folder), folder).engine.max_model_len == 300
    assert fit.with_engine_length(build(folder, engine={"max_model_len": 200}), folder).engine.max_model_len == 200
    with pytest.raises(InputError, match=r"engine\.max_model_len \(301\) is above the context of the model"):
        fit.with_engine_length(build(folder, engine={"max_model_len": 301}), folder)


def test_a_generation_refuses_a_length_above_the_context_before_it_loads(model, monkeypatch):
    folder = model(max_position_embeddings=300)
    monkeypatch.setattr(Generate, "load", lambda *_: pytest.fail("loaded"))
    with pytest.raises(InputError, match="is above the context"):
        Generate(build(folder, engine={"max_model_len": 4096}), folder, 0, ()).run(Recorder(), lambda *_: None)


ROOM = [
    ({}, 300, r"candidates\.max_tokens \(1024\) leaves no room for a prompt: the context of m is 300 tokens"),
    ({"candidates": {"max_tokens": 9}}, 256, r"prompts\.max_tokens \(256\) leaves no room"),
    ({"candidates": {"max_tokens": 9}, "prompts": {"model": "o"}}, 256, r"judge\.max_tokens \(256\) leaves no room"),
    ({"engine": {"max_model_len": 1000}}, None, r"candidates\.max_tokens \(1024\) .*: engine\.max_model_len is 1000"),
    ({"engine": {"max_model_len": 5000}}, 4096, r"engine\.max_model_len \(5000\) is above the context of m"),
    ({"candidates": {"max_tokens": 9}, "prompts": {"model": "o"}, "judge": {"justify": False}}, 256, None),
    ({}, None, None),
    ({}, 131072, None),
]  # fmt: skip


@pytest.mark.parametrize(("values", "context", "message"), ROOM)
def test_room_for_prompts(values, context, message):
    config = build("m", **values)
    if message is None:
        fit.check_room(config, Shape(None, context), "m")
    else:
        with pytest.raises(InputError, match=message):
            fit.check_room(config, Shape(None, context), "m")


def test_rows_longer_than_the_context_are_dropped(trial, tmp_path, model):
    done = trial(base=model(max_position_embeddings=60)).sft([*EXAMPLES, long_example(9, 100)], max_length=200)
    assert done.trained.dropped_too_long == 1
    assert "training: the model's context is 60 tokens, below max_length (200)" in done.report.notes


# --- the template and the rows ----------------------------------------------------------------------------------------


def example(name, *prompt):
    return Example(name, list(prompt), chat.assistant("yes"))


GOOD = example("good", *chat.user("Why?"))
REFUSED = {
    "a system role": (
        NO_SYSTEM + CHAT_TEMPLATE, example("e1", SYSTEM, *chat.user("Who are you?")),
        r"row e1 \(system, user: 'Be brief. Who are you\?'\): the chat template rejects .*System role not supported",
    ),
    "two user turns": (
        ALTERNATING + CHAT_TEMPLATE, example("e2", *chat.user("a"), *chat.user("b")),
        r"row e2 \(user, user: 'a b'\): the chat template rejects .*Roles must alternate",
    ),
    "a conversation that begins with an answer": (
        ALTERNATING + CHAT_TEMPLATE, example("e3", *chat.assistant("a"), *chat.user("b")),
        r"row e3 \(assistant, user: 'a b'\): .*Roles must alternate",
    ),
    "no prefix": (NOT_A_PREFIX, example("e4", *chat.user("a")), r"row good \(user: 'Why\?'\): .*prompt"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_rows_that_the_template_refuses(model, trial, tmp_path, monkeypatch, name):
    """In a run's check, and in a training: before weights are loaded, with the row."""
    template, row, message = REFUSED[name]
    folder = model(template=template)
    monkeypatch.setattr(registry, "load_model", lambda *_, **__: pytest.fail("loaded"))
    write_rows(tmp_path / "ift.jsonl", [GOOD, row])
    check = CheckModel("check", build(folder), folder, (tmp_path / "ift.jsonl",))
    with pytest.raises(InputError, match=message):
        check.run(Recorder(), lambda *_: None)
    with pytest.raises(InputError, match=message) as error:
        trial(base=folder).sft([GOOD, row])
    assert "fix or remove the row, or set model.chat_template" in str(error.value)


def test_a_pair_that_the_template_refuses(model, trial, monkeypatch):
    monkeypatch.setattr(registry, "load_model", lambda *_, **__: pytest.fail("loaded"))
    bad = Pair("p7", [SYSTEM, *chat.user("Hm?")], chat.assistant("a"), chat.assistant("b"), "c", "r", 5.0, 1.0)
    with pytest.raises(InputError, match=r"row p7 \(system, user: 'Be brief\. Hm\?'\): .*System role not supported"):
        trial(base=model(template=NO_SYSTEM + CHAT_TEMPLATE)).dpo([bad])


def test_the_check_of_a_good_model(model, tmp_path):
    write_rows(tmp_path / "ift.jsonl", [GOOD])
    folder = model(template="{{ strftime_now('%Y') }}" + CHAT_TEMPLATE)
    report, finished = Recorder(), {}
    config = configuration.build({"model": {"name": folder, "date": "2026-11-03"}})
    CheckModel("check", config, folder, (tmp_path / "ift.jsonl",)).run(report, finished.__setitem__)
    assert finished == {"check": {}}
    assert report.notes == [
        "model: the chat template prints today's date; it prints 2026-11-03 in this run (model.date)"
    ]


def test_a_command_says_which_date_it_prints(model, trial, monkeypatch):
    folder = model(template="{{ strftime_now('%Y') }}" + CHAT_TEMPLATE)
    notes = trial(base=folder).sft().report.notes
    assert sum("it prints 2024-07-26 here" in note for note in notes) == 1
    report = Recorder()
    Generate(build(folder, engine={"kind": "transformers"}), folder, 0, ()).run(report, lambda *_: None)
    assert sum("it prints 2024-07-26 here" in note for note in report.notes) == 1
