"""Retries after a worker failure: scripted failures, and real processes that die at a request."""

import os
import signal
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from srlm import config as configuration
from srlm.engines.base import Completion, Request, Sampling
from srlm.errors import InputError, StageError, WorkerError
from srlm.rows.records import FailedRequest, read_rows
from srlm.workers import launcher as launcher_module
from srlm.workers.jobs import Generate, Resolve, Train
from srlm.workers.launcher import Launcher
from srlm.workers.supervisor import Supervisor

from tests.conftest import HANG_SECONDS
from tests.scripted import Recorder, ScriptedEngine

KEYS = [f"r{number}" for number in range(40)]


@dataclass(frozen=True)
class Task:
    """A stage that requests one answer per key, and appends each key as a line."""

    name: str
    file: Path
    keys: tuple[str, ...] = tuple(KEYS)

    def run(self, engine, config, seed, report):
        done = self.file.read_text(encoding="utf-8").split() if self.file.exists() else []
        missing = [Request(key, (1, 2), Sampling(1.0, 1.0, 8), 0) for key in self.keys if key not in done]
        for answer in engine.generate(missing):
            with self.file.open("a", encoding="utf-8") as out:
                out.write(answer.key + "\n")
        return {"rows": len(self.file.read_text(encoding="utf-8").split())}


def config(**sections):
    return configuration.build({"model": {"name": "m"}} | sections)


def generate(tmp_path, *names, **sections):
    tasks = tuple(Task(name, tmp_path / f"{name.replace('/', '_')}.txt") for name in names)
    return Generate(config(**sections), "folder", 0, tasks)


class ScriptedRuns:
    """Stands in for workers: each call raises the next of `ends`, or finishes all tasks (None)."""

    def __init__(self, *ends):
        self.ends, self.works = list(ends), []

    def __call__(self, work, finish):
        self.works.append(work)
        end = self.ends.pop(0) if self.ends else None
        if isinstance(end, tuple):  # (number of tasks to finish first, error)
            for task in work.tasks[: end[0]]:
                finish(task.name, {"rows": 1})
            raise end[1]
        if end is not None:
            raise end
        for task in work.tasks if isinstance(work, Generate) else [work]:
            finish(task.name, {"rows": 1})


def fault(kind, *out, stage="m2/b", answered=True):
    return WorkerError(kind, f"it {kind}", frozenset((stage, key) for key in out), answered=answered)


def supervise(runs, work):
    """Return the results, the notes and the supervisor."""
    report, finished = Recorder(), {}
    supervisor = Supervisor(runs, report)
    supervisor.run(work, finished.__setitem__)
    return finished, report.notes, supervisor


def test_nothing_fails(tmp_path):
    runs = ScriptedRuns()
    finished, notes, _ = supervise(runs, generate(tmp_path, "m2/a", "m2/b"))
    assert finished == {"m2/a": {"rows": 1}, "m2/b": {"rows": 1}}
    assert (len(runs.works), notes) == (1, [])


@pytest.mark.parametrize("kind", ["died", "hung", "engine_error"])
def test_another_worker_gets_the_remaining_tasks_and_the_suspects(tmp_path, kind):
    runs = ScriptedRuns((1, fault(kind, "x", "y")), fault(kind, "y", "z"))
    finished, notes, _ = supervise(runs, generate(tmp_path, "m2/a", "m2/b"))
    assert [[task.name for task in work.tasks] for work in runs.works] == [["m2/a", "m2/b"], ["m2/b"], ["m2/b"]]
    assert runs.works[2].deaths == {"m2/b": {"x": 1, "y": 2, "z": 1}}
    assert finished == {"m2/a": {"rows": 1}, "m2/b": {"rows": 1, "retries": {kind: 2}}}
    assert len(notes) == 2
    assert "with 2 requests in flight; it is restarted" in notes[0]


def test_sizes_are_halved_until_they_fit_and_kept(tmp_path):
    runs = ScriptedRuns(fault("out_of_memory"), fault("out_of_memory"))
    work = generate(tmp_path, "m2/a", engine={"batch_size": 8, "max_num_seqs": 3})
    finished, notes, supervisor = supervise(runs, work)
    sizes = [(work.config.engine.batch_size, work.config.engine.max_num_seqs) for work in runs.works]
    assert sizes == [(8, 3), (4, 1), (2, 1)]
    kept = {"engine.batch_size": [8, 2], "engine.max_num_seqs": [3, 1]}
    assert supervisor.sizes == finished["m2/a"]["sizes"] == kept
    assert finished["m2/a"]["retries"] == {"out_of_memory": 2}
    assert "retried with engine.batch_size=4, engine.max_num_seqs=1" in notes[0]
    supervisor.run(work, finished.__setitem__)
    assert runs.works[-1].config.engine.batch_size == 2
    changed = replace(work, config=config(engine={"batch_size": 16, "max_num_seqs": 2}))
    supervisor.run(changed, finished.__setitem__)  # the user's own changes are kept
    assert (runs.works[-1].config.engine.batch_size, runs.works[-1].config.engine.max_num_seqs) == (16, 1)


def test_the_default_of_vllm_is_halved_too(tmp_path):
    runs = ScriptedRuns(fault("out_of_memory"), fault("out_of_memory"))
    supervise(runs, generate(tmp_path, "m2/a", engine={"max_num_seqs": None}))
    assert [work.config.engine.max_num_seqs for work in runs.works] == [None, 128, 64]


def test_a_training_is_retried_with_smaller_micro_batches(tmp_path):
    train = Train("m2/dpo", "dpo", config(dpo={"micro_batch_size": 6, "batch_size": 12}), "m1", tmp_path, tmp_path, ())
    runs = ScriptedRuns(fault("out_of_memory"), fault("out_of_memory"))
    finished, _, _ = supervise(runs, train)
    assert [work.config.dpo.micro_batch_size for work in runs.works] == [6, 3, 1]
    assert {work.config.dpo.batch_size for work in runs.works} == {12}
    assert finished["m2/dpo"]["sizes"] == {"dpo.micro_batch_size": [6, 1]}


def test_a_training_is_retried_with_fewer_tokens_at_once(tmp_path):
    sft = {"micro_batch_size": 2, "batch_size": 4, "micro_batch_tokens": 512}
    train = Train("m1/sft", "sft", config(sft=sft), "m0", tmp_path, tmp_path, ())
    runs = ScriptedRuns(fault("out_of_memory"), fault("out_of_memory"))
    finished, _, supervisor = supervise(runs, train)
    sizes = [(work.config.sft.micro_batch_size, work.config.sft.micro_batch_tokens) for work in runs.works]
    assert sizes == [(2, 512), (1, 256), (1, 128)]
    assert finished["m1/sft"]["sizes"] == {"sft.micro_batch_size": [2, 1], "sft.micro_batch_tokens": [512, 128]}
    changed = replace(train, config=config(sft={**sft, "micro_batch_tokens": None}))
    supervisor.run(changed, finished.__setitem__)  # the user's own changes are kept
    assert (runs.works[-1].config.sft.micro_batch_size, runs.works[-1].config.sft.micro_batch_tokens) == (1, None)


def test_one_row_of_few_tokens_is_the_least(tmp_path):
    sft = {"micro_batch_size": 1, "micro_batch_tokens": 200}
    train = Train("m1/sft", "sft", config(sft=sft), "m0", tmp_path, tmp_path, ())
    with pytest.raises(WorkerError, match="out_of_memory"):
        supervise(ScriptedRuns(fault("out_of_memory")), train)


@pytest.mark.parametrize(
    ("ends", "sections", "message", "tried"),
    [
        ([fault("out_of_memory")], {"engine": {"batch_size": 1, "max_num_seqs": 1}}, "it out_of_memory", 1),
        ([fault("died")], {}, "it died", 1),  # without a request in flight: while loading
        ([InputError("no such folder")], {}, "no such folder", 1),
        ([fault("died", "x", answered=False)] * 9, {}, r"it died \(5 times in a row without progress", 5),
    ],
)
def test_failures_that_end_the_run(tmp_path, ends, sections, message, tried):
    runs = ScriptedRuns(*ends)
    with pytest.raises((StageError, InputError), match=message):
        supervise(runs, generate(tmp_path, "m2/a", **sections))
    assert len(runs.works) == tried


def test_other_jobs_are_not_retried():
    with pytest.raises(StageError, match="it died"):
        supervise(ScriptedRuns(fault("died", "x")), Resolve("model", "m", None))


# --- real processes ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Deadly(Generate):
    """Generates with a scripted engine that kills its process, hangs or raises at one request."""

    bad: str = ""
    how: str = "kill"

    def load(self, report):
        def write(request):
            if request.key == self.bad:
                if self.how == "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                if self.how == "hang":
                    time.sleep(2 * HANG_SECONDS)
                raise RuntimeError("device-side assert")
            return Completion(request.key, [1], "yes", -1.0, "stop", [[]])

        return ScriptedEngine(None, write, group=8)


@pytest.fixture
def driver(tmp_path, monkeypatch):
    monkeypatch.setattr(launcher_module, "_heavy_packages", lambda *_: [])
    report = Recorder()
    return Launcher(tmp_path / "workers.log", report, config(engine={"stall_seconds": 5.0}), kinds=()), report


@pytest.mark.parametrize(("how", "kind"), [("kill", "died"), ("hang", "hung"), ("raise", "engine_error")])
def test_only_the_request_that_ends_every_engine_is_marked_as_failed(driver, tmp_path, how, kind):
    launcher, report = driver
    tasks = generate(tmp_path, "m2/a", "m2/b").tasks
    finished = {}
    work = Deadly(config(), "folder", 0, (tasks[0], replace(tasks[1], keys=("s",))), bad="r17", how=how)
    launcher.run(work, finished.__setitem__)
    assert sorted(tasks[0].file.read_text().split()) == sorted(set(KEYS) - {"r17"})
    assert Counter(tasks[0].file.read_text().split()).most_common(1)[0][1] == 1  # none twice
    assert read_rows(tmp_path / "m2_a_failed.jsonl", FailedRequest) == [FailedRequest("r17", "engine_died", 2, 8)]
    assert finished["m2/a"]["failed"] == {"engine_died": 1}
    assert finished["m2/a"]["retries"] == {kind: 3}
    assert finished["m2/b"]["rows"] == 1
    assert "retries" not in finished["m2/b"]
    assert len([note for note in report.notes if "is restarted" in note]) == 3
