"""How a training fails, and what it leaves alone."""

import pytest
import torch
from safetensors.torch import save_file
from srlm.errors import StageError
from srlm.saving import check_written

from tests.training.trials import EXAMPLES


@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_a_loss_that_is_not_finite(trial, kind):
    done = trial()
    with pytest.raises(StageError, match=r"loss of step \d+ is not finite; lower learning_rate\. Nothing was saved"):
        getattr(done, kind)(learning_rate=1e30, epochs=5.0, max_grad_norm=1e30)
    assert not done.job.target.exists()
    assert not list(done.job.target.parent.glob("*.partial"))
    assert "nan" in done.job.metrics.read_text(encoding="utf-8")


def test_weights_that_are_not_finite_after_the_last_step(trial):
    """The last step's own loss is finite, but what it made of the weights is not."""
    done = trial()
    with pytest.raises(StageError, match="not finite"):
        done.sft(EXAMPLES[:4], learning_rate=1e39, epochs=1.0)
    assert not done.job.target.exists()


def test_curve_is_written_anew(trial):
    done = trial()
    done.sft(max_steps=3)
    done.sft(max_steps=2)
    assert [entry["step"] for entry in done.logged] == [1, 2]


def test_a_folder_of_the_users_beside_the_model_stays(trial):
    """What a training removes afterwards is its own, whatever stands beside the model's folder."""
    done = trial()
    theirs = done.job.target.with_name("trainer")
    theirs.mkdir(parents=True)
    (theirs / "notes.txt").write_text("mine", encoding="utf-8")
    done.sft(max_steps=1)
    assert (theirs / "notes.txt").read_text(encoding="utf-8") == "mine"
    assert sorted(path.name for path in theirs.parent.iterdir() if path.is_dir()) == ["model", "trainer"]


def test_a_folder_without_weights_is_refused(tmp_path):
    """Some ways of sharding leave one behind: without a file, or with a file that holds nothing."""
    with pytest.raises(StageError, match="the trainer saved no weights"):
        check_written(tmp_path)
    save_file({}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(StageError, match="the trainer saved no weights"):
        check_written(tmp_path)
    save_file({"weight": torch.zeros(1)}, tmp_path / "model-00002-of-00002.safetensors")
    check_written(tmp_path)
