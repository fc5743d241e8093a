"""DPO on two processes with a pause, compared with the same training without, through the program's launcher.

Both run in one launch, one after the other, so that packages are imported once.
"""

from __future__ import annotations

import faulthandler
import json
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file
from srlm import config as configuration
from srlm.errors import StageError
from srlm.rows.records import Pair, read_rows, write_rows
from srlm.workers.jobs import Finish, Train
from srlm.workers.launcher import Launcher

from tests.conftest import HANG_SECONDS, ROOT
from tests.integration.distributed_dpo import let_fsdp_run_on_a_cpu
from tests.integration.test_distributed import FSDP_2, pair, write_config
from tests.scripted import Recorder

if TYPE_CHECKING:
    from pathlib import Path

    from srlm.reporter import Reporter

pytestmark = pytest.mark.slow

STEPS, PAUSE = 7, 5  # four steps an epoch: in the middle of the second


@dataclass(frozen=True, slots=True)
class Pausing(Train):
    """Trains to the end; then, in another folder, to a pause, and in a second call to the end."""

    def run(self, report: Reporter, finish: Finish) -> None:
        """See `Train.run`."""
        from srlm.training.dpo import train_dpo
        from srlm.training.training_job import TrainingJob

        faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
        if os.environ.get("ACCELERATE_USE_FSDP") == "true":
            let_fsdp_run_on_a_cpu()
        config, pairs = self.config, read_rows(self.data[0], Pair)
        job = TrainingJob(self.base, self.target, self.metrics, config.model, config.seed, 2, self.card)
        parted = replace(job, target=self.target.with_name("parted"), metrics=self.metrics.with_name("parted.jsonl"))
        paused = replace(parted, pause_at=PAUSE, pause_to=self.target.with_name("paused"))
        done = [train_dpo(pairs, dpo=config.dpo, job=part, report=report) for part in (job, paused, parted)]
        finish(
            self.name, {"steps": [result.steps for result in done], "finished": [result.finished for result in done]}
        )


def losses(file: Path) -> list[float]:
    entries = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [entry["loss"] for entry in entries if "loss" in entry]


def pause_and_resume(folder: Path, base: str, accelerate_config: Path | None) -> None:
    write_rows(folder / "pairs.jsonl", [pair(number) for number in range(16)])
    settings = {
        "learning_rate": 1e-3,
        "min_learning_rate": 1e-4,
        "warmup_ratio": 0.2,
        "dropout": 0.2,
        "epochs": 1.75,
        "batch_size": 4,
        "micro_batch_size": 1,
    }
    launch = {"processes": 2, "accelerate_config": accelerate_config and str(accelerate_config)}
    config = configuration.build({"model": {"name": base}, "dpo": settings, "seed": 3, "launch": launch})
    card = {"model": "m2"}
    work = Pausing(
        "m2", "dpo", config, base, folder / "whole", folder / "metrics.jsonl", (folder / "pairs.jsonl",), card
    )
    log, results, report = folder / "workers.log", {}, Recorder()
    try:
        Launcher(log, report, config, kinds=()).run(work, results.__setitem__)
    except StageError as error:
        pytest.fail(f"{error}\n{log.read_text(encoding='utf-8')[-6000:]}")
    assert results["m2"] == {"steps": [STEPS, PAUSE, STEPS], "finished": [True, False, True]}
    assert report.starts[-1] == ("dpo", STEPS, PAUSE)
    whole, parted, paused = (load_file(folder / name / "model.safetensors") for name in ("whole", "parted", "paused"))
    assert whole.keys() == parted.keys() == paused.keys()
    assert all(torch.equal(whole[name], parted[name]) for name in whole)
    assert not all(torch.equal(whole[name], paused[name]) for name in whole)
    assert losses(folder / "metrics.jsonl") == losses(folder / "parted.jsonl")
    assert len(losses(folder / "parted.jsonl")) == STEPS
    assert not list(folder.glob("*.trainer"))


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])))


def test_ddp(tmp_path: Path, tiny_model: str) -> None:
    pause_and_resume(tmp_path, tiny_model, None)


def test_fsdp(tmp_path: Path, tiny_model: str) -> None:
    file = write_config(tmp_path, distributed_type="FSDP", use_cpu=True, mixed_precision="no", fsdp_config=FSDP_2)
    pause_and_resume(tmp_path, tiny_model, file)
