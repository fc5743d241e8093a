"""Renamed keys and values: old names are accepted with a warning, and refused beside the new name."""

import pytest
from srlm import config as configuration
from srlm.config.renamed import KEYS, VALUES
from srlm.errors import InputError

MODEL = {"model": {"name": "m"}}
OLD = {
    "dpo.patience": (3, lambda config: config.dpo.early_stopping_patience),
    "engine.policy_check": ("warn", lambda config: config.engine.weight_check),
    "head_to_head.against": (["first", "base"], lambda config: config.head_to_head.baselines),
    "prompts.rouge_words": ("rouge_score", lambda config: config.prompts.rouge_tokenizer),
}


def test_every_old_key_is_tested_and_every_new_name_is_a_key():
    assert OLD.keys() == KEYS.keys()
    keys = {key for key, _, _ in configuration.describe()}
    assert set(KEYS.values()) <= keys
    assert not set(KEYS) & keys
    assert {key for key, _ in VALUES} <= keys


@pytest.mark.parametrize("old", OLD)
@pytest.mark.parametrize("by_override", [False, True])
def test_an_old_key_is_accepted_with_a_warning(old, by_override, caplog):
    value, read = OLD[old]
    section, _, key = old.partition(".")
    if by_override:
        config = configuration.build(dict(MODEL), (f"{old}={value}",), "my.yaml")
    else:
        config = configuration.build({**MODEL, section: {key: value}}, (), "my.yaml")
    assert read(config) == value
    source = "command line" if by_override else "my.yaml"
    assert [record.getMessage() for record in caplog.records] == [
        f"{source}: {old} is now called {KEYS[old]}; the old name will be removed in the next release"
    ]


@pytest.mark.parametrize(("old", "new"), [("comparison", "pairwise"), ("scores", "pointwise")])
def test_an_old_value_is_accepted_with_a_warning(old, new, caplog):
    config = configuration.build({**MODEL, "head_to_head": {"by": old}})
    assert config.head_to_head.by == new
    assert f"head_to_head.by={old} is now called {new}" in caplog.text


@pytest.mark.parametrize("by_override", [False, True])
def test_a_value_that_has_moved_to_another_key(by_override, caplog):
    words = ("pairs.method=positives_only",) if by_override else ()
    values = {} if by_override else {"pairs": {"method": "positives_only", "min_margin": 1.0}}
    config = configuration.build({**MODEL, **values, "judge": {"samples": 2}}, words)
    assert (config.train.kind, config.pairs.method) == ("sft", "best_worst")
    assert config.pairs.min_margin == (0.0 if by_override else 1.0)
    assert "pairs.method=positives_only is now called train.kind=sft" in caplog.text


def test_new_names_give_no_warning(caplog):
    configuration.build({**MODEL, "head_to_head": {"by": "pointwise", "baselines": []}})
    assert caplog.records == []


def test_old_and_new_name_together_are_refused():
    values = {**MODEL, "dpo": {"patience": 1, "early_stopping_patience": 2}}
    with pytest.raises(
        InputError, match=r"dpo\.patience is the old name of dpo\.early_stopping_patience, and both are set"
    ):
        configuration.build(values)


def test_a_wrong_value_under_an_old_key_names_the_command_line(caplog):
    with pytest.raises(InputError, match=r"^command line: dpo\.early_stopping_patience: "):
        configuration.build(dict(MODEL), ("dpo.patience=0",), "my.yaml")


@pytest.mark.parametrize("in_file", ["patience", "early_stopping_patience"])
@pytest.mark.parametrize("override", ["dpo.patience", "dpo.early_stopping_patience"])
def test_an_override_wins_over_the_file_under_either_name(in_file, override):
    values = {**MODEL, "dpo": {in_file: 3}}
    assert configuration.build(values, (f"{override}=7",)).dpo.early_stopping_patience == 7


def test_an_old_value_on_the_command_line_is_accepted(caplog):
    assert configuration.build(dict(MODEL), ("head_to_head.by=scores",)).head_to_head.by == "pointwise"
    assert caplog.records[0].getMessage().startswith("command line: head_to_head.by=scores is now called pointwise; ")
