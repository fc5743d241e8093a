"""A run in which every stage is recorded as done, and what another configuration would recompute of it."""

import pytest
from srlm import config as configuration
from srlm.cli.plan import stages_to_recompute
from srlm.loop import Loop
from srlm.run.run_dir import RunDir, with_date
from srlm.run.stage_runner import UPSTREAM_CHANGED, StageRunner
from srlm.stages import eft

from tests.scripted import Recorder

JUDGED = {"verdicts", "judge_held_out"}  # kinds of stages
COMPARED = {"vs_m0", "vs_m1"}


def build(**values):
    return configuration.build({"model": {"name": "m"}} | values)


class AllDone(StageRunner):
    """Records every stage that needs a model as done, without running it."""

    def is_done(self, name, file, parts, depends_on=()):
        record = self.plan(name, file, parts, depends_on).record(self.run_dir.path)
        if name.startswith("seed/") and name != "seed/judgements":
            return False  # these are written by the loop itself
        if file.suffix:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
        self.run_dir.finish(name, record, 0.0, {"rows": 4, "kl_from_m1": 1.0})
        return True


def finished(folder, model, template=None, **values):
    """Record a run to M2 in which every stage is done, and return its directory."""
    model = {"name": model, "chat_template": template}
    ranks = {"eft": {"from": "ranks"}, "seed_data": {"eft_limit": 8, "ift_limit": 8}}
    config = configuration.build({"model": model, "iterations": 2, **ranks, **values})
    config = with_date(folder / "run", config)
    run = RunDir.open(folder / "run", config)
    with pytest.MonkeyPatch.context() as patch:  # because there are no judgements
        patch.setattr(eft, "examples_from_judgements", lambda rows, _, **how: eft.examples_from_ranks(rows, **how))
        Loop(AllDone(config, run, None, Recorder())).run()
    return run.path


def changed(run, *words):
    """Return the kinds of stages that read these settings, and the names of all stages to recompute."""
    again = stages_to_recompute(run, configuration.load(str(run / "config.yaml"), words))
    kinds = {name.partition("/")[2] for name, reason in again.items() if reason != UPSTREAM_CHANGED}
    return kinds, set(again)
