"""Checks before a run of the file that accelerate reads; most other checks are tested where they are defined."""

import pytest
from srlm import config as configuration
from srlm.errors import InputError
from srlm.preflight import preflight

CHECKPOINTING = "distributed_type: FSDP\nfsdp_config:\n  fsdp_activation_checkpointing: true\n"


def check(tmp_path, text, **values):
    file = tmp_path / "fsdp.yaml"
    file.write_text(text, encoding="utf-8")
    launch = {"processes": 2, "accelerate_config": str(file)}
    preflight(configuration.build({"model": {"name": "org/model"}, "launch": launch, **values}))


@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_dropout_that_is_not_recomputed(tmp_path, kind):
    other = {"sft": "dpo", "dpo": "sft"}[kind]
    with pytest.raises(InputError, match=rf"set {kind}\.gradient_checkpointing=true, or set {kind}\.dropout=0"):
        check(tmp_path, CHECKPOINTING, **{other: {"dropout": 0}})


def test_accepted(tmp_path):
    none = {"sft": {"dropout": 0}, "dpo": {"dropout": 0}}
    check(tmp_path, CHECKPOINTING, **none)
    for text in (CHECKPOINTING.replace("true", "false"), "distributed_type: MULTI_GPU\n", "fsdp_config: {}\n", ""):
        check(tmp_path, text)


def test_not_yaml(tmp_path):
    with pytest.raises(InputError, match=r"fsdp\.yaml \(launch\.accelerate_config\): invalid YAML: .*; fix it"):
        check(tmp_path, "fsdp_config: [")
