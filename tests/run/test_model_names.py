"""The names of a run's models."""

import pytest
from srlm.run.model_names import display_name, is_model, iteration, model_name, training_order


@pytest.mark.parametrize(
    ("model", "name", "shown", "t"),
    [
        ("m0", "m0", "M0", 0),
        ("sft", "sft", "SFT baseline", 0),
        (0, "m0", "M0", 0),
        (1, "m1", "M1", 1),
        ("m12", "m12", "M12", 12),
    ],
)
def test_names(model, name, shown, t):
    assert (model_name(model), display_name(model), iteration(name)) == (name, shown, t)
    assert is_model(name)


@pytest.mark.parametrize("name", ["", "m", "seed", "m1/sft", "mine", "m-1", "m\u0661", "M1", "archive", "sft2"])
def test_other_names(name):
    assert not is_model(name)


def test_models_are_sorted_in_the_order_in_which_they_are_made():
    names = ["m10", "m2", "sft", "m1", "m0"]
    assert sorted(names, key=training_order) == ["m0", "sft", "m1", "m2", "m10"]
