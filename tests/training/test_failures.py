"""Failing trainings, and the files that a training leaves alone."""

import re
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from srlm.errors import StageError
from srlm.models import chat, registry
from srlm.rows.records import Example
from srlm.training import train
from srlm.training.saving import check_has_weights

from tests.training.trials import EXAMPLES, PAIRS, Trial


@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_a_loss_that_is_not_finite(trial, kind):
    done = trial()
    with pytest.raises(
        StageError, match=r"not finite; rows of the step: .*\. Lower learning_rate, or check these rows; no ch"
    ):
        getattr(done, kind)(learning_rate=1e30, epochs=5.0, max_grad_norm=1e30)
    assert not done.job.target.exists()
    assert not list(done.job.target.parent.glob("*.partial"))
    assert "nan" in done.job.metrics.read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_it_stops_at_the_step_and_names_its_rows(tiny_model, tmp_path, monkeypatch, kind):
    """One row's forward pass gives NaN: the step with this row is the last one."""
    monkeypatch.setattr(train, "load_trainable", breaks_at("Zebra", train.load_trainable))
    done = Trial(tmp_path / "run", tiny_model, save_steps=1)
    if kind == "sft":
        rows = [*EXAMPLES[:7], Example("the bad one", chat.user("Zebra?"), chat.assistant("yes"))]
    else:
        rows = [*PAIRS[:5], replace(PAIRS[5], prompt=chat.user("Zebra?"))]
    with pytest.raises(StageError) as error:
        getattr(done, kind)(rows, epochs=9.0, batch_size=2, micro_batch_size=1)
    found = re.search(r"the loss of step (\d) is not finite; rows of the step: (.*)\. Lower", str(error.value))
    step = int(found[1])
    assert found[2] == {"sft": "the bad one", "dpo": "c5 against r5"}[kind]
    assert [entry["step"] for entry in done.logged] == list(range(1, step + 1))  # no step after it
    ending = f"the last checkpoint is step {step - 1}" if step > 1 else "no checkpoint was saved"
    assert str(error.value).endswith(ending)
    assert not done.job.target.exists()


def breaks_at(word, load_trainable):
    """Load models whose embedding of a word's first token is NaN in training mode."""

    def load(*arguments):
        model = load_trainable(*arguments)
        token = registry.load_tokenizer(arguments[1].base)(word, add_special_tokens=False)["input_ids"][0]

        def spoil(module, inputs, output):
            return output.masked_fill((inputs[0] == token)[..., None], torch.nan) if module.training else output

        model.get_input_embeddings().register_forward_hook(spoil)
        return model

    return load


def test_weights_that_are_not_finite_after_the_last_step(trial):
    """The last step's loss is finite, but the updated weights are not."""
    done = trial()
    with pytest.raises(StageError, match="not finite"):
        done.sft(EXAMPLES[:4], learning_rate=1e39, epochs=1.0)
    assert not done.job.target.exists()


def test_metrics_are_rewritten(trial):
    done = trial()
    done.sft(max_steps=3)
    done.sft(max_steps=2)
    assert [entry["step"] for entry in done.logged] == [1, 2]


def test_a_folder_of_the_users_beside_the_model_stays(trial):
    """A training removes only its own folder, not others next to the model's."""
    done = trial()
    theirs = done.job.target.with_name("trainer")
    theirs.mkdir(parents=True)
    (theirs / "notes.txt").write_text("mine", encoding="utf-8")
    done.sft(max_steps=1)
    assert (theirs / "notes.txt").read_text(encoding="utf-8") == "mine"
    assert sorted(path.name for path in theirs.parent.iterdir() if path.is_dir()) == ["model", "trainer"]


def test_a_folder_without_weights_is_refused(tmp_path):
    """Some sharding configurations produce one: without a file, or with a file without tensors."""
    with pytest.raises(StageError, match="the trainer saved no weights"):
        check_has_weights(tmp_path)
    save_file({}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(StageError, match="the trainer saved no weights"):
        check_has_weights(tmp_path)
    save_file({"weight": torch.zeros(1)}, tmp_path / "model-00002-of-00002.safetensors")
    check_has_weights(tmp_path)
