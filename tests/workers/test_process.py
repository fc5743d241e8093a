"""Jobs as a worker runs them."""

from pathlib import Path

import pytest
from srlm import config as configuration
from srlm.training import dpo, sft
from srlm.training.training_job import TrainingResult
from srlm.workers.jobs import Train

from tests.scripted import Recorder


@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_a_training_saves_as_its_section_says(kind, tmp_path, monkeypatch):
    config = configuration.build(
        {
            "model": {"name": "m"},
            "sft": {"save_steps": 7, "save_minutes": 2},
            "dpo": {"save_steps": 9, "save_minutes": 3},
        }
    )
    jobs, results = [], {}

    def scripted(rows, *, job, report, **section):
        other = {"sampled": {}} if kind == "dpo" else {"max_score": config.judge.max_score}
        assert section == {kind: getattr(config, kind), **other}
        jobs.append(job)
        return TrainingResult(len(rows), 0, 3, 0.5, 100)

    monkeypatch.setattr(sft, "train_sft", scripted)
    monkeypatch.setattr(dpo, "train_dpo", scripted)
    work = Train(f"m1/{kind}", kind, config, "base", tmp_path / "model", tmp_path / "metrics.jsonl", ())
    work.run(Recorder(), results.__setitem__)
    assert [(job.save_steps, job.save_minutes) for job in jobs] == [{"sft": (7, 2), "dpo": (9, 3)}[kind]]
    assert jobs[0].target == Path(tmp_path / "model")
    assert results[f"m1/{kind}"]["completed"] is True
