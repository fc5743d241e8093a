"""The recorded inputs of rows: equal inputs, refused ones, and models that may be added."""

import json

import pytest
from srlm.errors import InputError
from srlm.run.provenance import claim


@pytest.fixture
def model(tmp_path):
    def make(name, content="{}"):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(content, encoding="utf-8")
        return str(folder)

    return make


def claimed(tmp_path, folders, **settings):
    claim(tmp_path / "note", tmp_path / "rows", folders, settings, "use another --out")


def test_equal_inputs_are_accepted(tmp_path, model):
    for _ in range(2):
        claimed(tmp_path, {"a": model("a")}, seed=1, part={"x": [1, None]})


@pytest.mark.parametrize("settings", [{"seed": 2}, {"seed": 1, "more": 0}, {}])
def test_other_settings_are_refused_by_name(tmp_path, model, settings):
    claimed(tmp_path, {"a": model("a")}, seed=1)
    before = (tmp_path / "note").read_text(encoding="utf-8")
    with pytest.raises(InputError) as caught:
        claimed(tmp_path, {"a": model("a")}, **settings)
    name = "more" if "more" in settings else "seed"
    assert str(caught.value) == f"{tmp_path / 'rows'}: has rows made with another {name}; use another --out"
    assert (tmp_path / "note").read_text(encoding="utf-8") == before


def test_other_weights_are_refused_and_a_copy_is_not(tmp_path, model):
    claimed(tmp_path, {"a": model("a")})
    claimed(tmp_path, {"a": model("copy")})
    with pytest.raises(InputError, match="made with another model a"):
        claimed(tmp_path, {"a": model("a", '{"x": 1}')})


def test_models_may_be_added(tmp_path, model):
    claimed(tmp_path, {"a": model("a")})
    claimed(tmp_path, {"a": model("a"), "b": model("b", "[]")})
    claimed(tmp_path, {"b": model("b", "[]")})
    assert sorted(json.loads((tmp_path / "note").read_text(encoding="utf-8"))["models"]) == ["a", "b"]


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"models": 3}'])
def test_a_broken_record(tmp_path, model, text):
    (tmp_path / "note").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="not a valid record of inputs"):
        claimed(tmp_path, {"a": model("a")})
