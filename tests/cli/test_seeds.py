"""Several runs as one command, with runs that only write what a finished run has."""

import json

import pytest
from srlm import config as configuration
from srlm import preflight
from srlm.cli import plan, seeds
from srlm.errors import StageError
from srlm.run import shared_stages
from srlm.run.run_dir import RunDir

CONFIG = {"model": {"name": "m"}, "seeds": 2, "control": "random", "iterations": 2}
NAMES = ["seed-0", "seed-0-control", "seed-1", "seed-1-control"]


class Runs:
    """Runs that finish at once, with one pair less in every next one; the run `fails` stops in its middle."""

    def __init__(self, fails=None):
        self.fails, self.started = fails, []

    def __call__(self, config, run, title):
        assert title == f"run-{run.path.name}"
        self.started.append(run.path.name)
        if run.path.name == self.fails:
            raise StageError("gate parse_rate: too low")
        run.finish("m1/sft", {"cache_key": "k", "depends_on": []}, 1.0, {"rows": 1})
        pairs = 9 - len(self.started)
        limit = config.at(2).pairs.max_count
        run.finish("m2/pairs", {"cache_key": "k"}, 1.0, {"rows": pairs if limit is None else min(pairs, limit)})
        (run.path / "report.html").touch()


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setattr(preflight, "preflight", lambda _: None)
    monkeypatch.setattr(plan, "is_finished", lambda path, config: "m2/pairs" in RunDir(path).stages())
    return tmp_path / "run"


def run(path, runs, **values):
    seeds.run_seeds(path, configuration.build({**CONFIG, **values}), runs)
    return runs.started


def test_runs_and_controls_in_order(path, capsys):
    assert run(path, Runs()) == NAMES
    for seed in (0, 1):
        own, control = (RunDir(path / f"seed-{seed}{kind}") for kind in ("", "-control"))
        assert control.entry("m1/sft") is not None
        assert control.entry("m2/pairs")["rows"] <= own.entry("m2/pairs")["rows"]
        limit = configuration.load(str(control.path / "config.yaml")).pairs.max_count
        assert limit == [own.entry("m2/pairs")["rows"]]
    summary = json.loads((path / "summary.json").read_text(encoding="utf-8"))
    assert summary["seeds"] == [0, 1]
    assert summary["conclusion"].startswith("M1 against M0, over 2 seeds: nothing is measured")
    assert 'href="seed-1-control/report.html"' in (path / "report.html").read_text(encoding="utf-8")
    assert "M1 against M0, over 2 seeds" in capsys.readouterr().err


def test_finished_runs_are_skipped(path, capsys):
    run(path, Runs())
    capsys.readouterr()
    assert run(path, Runs()) == []
    shown = capsys.readouterr().err
    assert [line for line in shown.splitlines() if line.endswith(": finished")] == [
        f"{name}: finished" for name in NAMES
    ]


def test_a_failed_run_is_named_and_resumed(path):
    with pytest.raises(StageError, match=r"^seed-1: gate parse_rate: too low$"):
        run(path, Runs(fails="seed-1"))
    assert run(path, Runs()) == ["seed-1", "seed-1-control"]


def test_more_seeds_leave_the_others_alone(path):
    run(path, Runs())
    assert run(path, Runs(), seeds=3) == ["seed-2", "seed-2-control"]


def test_a_run_with_other_shared_stages_restarts_its_control(path, monkeypatch):
    run(path, Runs())
    differs = {"seed-1-control"}
    monkeypatch.setattr(shared_stages, "stages_to_share", lambda _, control: {control.path.name} & differs)
    monkeypatch.setattr(shared_stages, "share", lambda *_: ["taken again"])
    assert run(path, Runs()) == ["seed-1-control"]


def test_status_of_the_folder(path, capsys):
    with pytest.raises(StageError):
        run(path, Runs(fails="seed-1"))
    seeds.print_status(path, ())
    shown = capsys.readouterr().out
    assert "seed-0-control" in shown
    assert "2 of " in shown
    assert "M1 against M0, seed 0 alone" in shown
