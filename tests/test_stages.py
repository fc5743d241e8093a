"""What decides a stage's key: settings, and the content of files that they name."""

from dataclasses import dataclass, field

import pytest
from srlm import config as configuration
from srlm.run_dir import RunDir
from srlm.stages import Stages, sections
from srlm.worker import Resolve

from tests.scripted import Recorder


def build(**values):
    return configuration.build({"model": {"name": "m"}} | values)


def test_only_the_named_sections_and_the_seed_count():
    one, other = build(judge={"samples": 2}), build(judge={"samples": 3})
    assert sections(one, "engine") == sections(other, "engine")
    assert sections(one, "judge") != sections(other, "judge")
    assert sections(one) != sections(build(seed=1))


@pytest.mark.parametrize(
    ("section", "key", "fields"),
    [
        ("judge", "judge prompt", "{prompt} {response}"),
        ("head_to_head", "comparing prompt", "{prompt} {first} {second}"),
    ],
)
def test_the_content_of_a_prompt_file_counts(tmp_path, section, key, fields):
    file = tmp_path / "prompt.txt"
    file.write_text(fields, encoding="utf-8")
    config = build(**{section: {"prompt_file": str(file)}})
    before = sections(config, section)
    file.write_text(f"{fields}!", encoding="utf-8")
    assert {name for name, part in sections(config, section).items() if part != before[name]} == {key}


def test_the_content_of_a_chat_template_counts_for_every_stage(tmp_path):
    file = tmp_path / "template.jinja"
    file.write_text("{{ messages }}", encoding="utf-8")
    config = build(model={"name": "m", "chat_template": str(file)})
    before = sections(config)
    file.write_text("{{ messages }}!", encoding="utf-8")
    assert sections(config) != before


def test_how_often_checkpoints_are_kept_does_not_count():
    rare, often = (build(sft={"save_steps": steps}, dpo={"save_steps": steps}) for steps in (None, 5))
    assert sections(rare, "sft", "dpo") == sections(often, "sft", "dpo")


@dataclass
class ScriptedLauncher:
    """Stands in for workers: notes what it is to do."""

    works: list = field(default_factory=list)

    def run(self, work, finish):
        self.works.append(work)
        finish(work.name, {"folder": "found", "rows": 3})


@pytest.fixture
def stages(tmp_path):
    return Stages(build(), RunDir(tmp_path), ScriptedLauncher(), Recorder())


def test_a_stage_is_done_once_it_is_recorded(stages, tmp_path):
    file = tmp_path / "rows.jsonl"
    assert not stages.is_done("m1/x", file, {"a": 1})
    file.write_text("{}\n{}\n{}\n", encoding="utf-8")
    stages.finish("m1/x", {"rows": 3})
    assert stages.is_done("m1/x", file, {"a": 1})


def test_the_stage_that_gave_a_model(stages, tmp_path):
    assert stages.trained(2) == "m2/sft"
    stages.is_done("m2/dpo", tmp_path / "model", {})
    stages.finish("m2/dpo", {"rows": 1})
    assert stages.trained(2) == "m2/dpo"


def test_a_folder_is_a_model_and_another_name_is_looked_for(stages, tiny_model):
    assert stages.resolve(tiny_model, None) == tiny_model
    assert stages.launcher.works == []
    assert stages.resolve("owner/name", "r") == "found"
    assert stages.launcher.works == [Resolve("model", "owner/name", "r")]
