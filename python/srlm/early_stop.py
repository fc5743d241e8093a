"""Early stop of preference training (paper, section 3.1): checkpoints are compared as models are, and the best is kept.

Every `dpo.eval_steps` steps the training pauses and its process ends; the checkpoint answers the held-out prompts, and
the judge compares its answers with those of the best checkpoint so far. It becomes the best if it wins more often than
it loses. After `dpo.patience` comparisons in a row that it does not win, training stops. The first checkpoint is the
first best: how M_t fares against M_t-1 is the head to head's to tell.

Each leg, its answers and its comparison are stages in the manifest, so that a run which was stopped goes on between
them; what was decided follows from them again.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from srlm.errors import StageError
from srlm.evaluation.tasks import AnswersTask
from srlm.run import cache_keys
from srlm.workers.jobs import Generate

if TYPE_CHECKING:
    from pathlib import Path

    from srlm.evaluation.schedule import Schedule
    from srlm.run.stage_runner import Stages
    from srlm.workers.jobs import Train

# What the manifest adds to what a training says.
ENTRY = frozenset(
    {"key", "path", "made_from", "made_with", "sha256", "fingerprint", "seconds", "finished", "versions", "environment"}
)


@dataclass(frozen=True, slots=True)
class Leg:
    """A training up to a pause, or to its end."""

    name: str  # of its stage
    step: int  # optimizer steps done
    finished: bool
    trained: dict[str, Any]  # the manifest's entry


@dataclass
class EarlyStop:
    """One preference training with comparisons on its way."""

    stages: Stages
    evaluation: Schedule
    t: int
    made_from: tuple[str, ...]  # the stages that the pairs come from
    history: list[dict[str, Any]] = field(default_factory=list)

    def train(self, work: Train, every: int, patience: int) -> dict[str, Any]:
        """Train until the end or until `patience` comparisons are lost; `work.target` is the best checkpoint then.

        Returns what the manifest keeps of the training.
        """
        if not self.evaluation.has_held_out():
            raise StageError(
                "dpo.eval_steps: there is no held-out prompt to compare checkpoints on; raise seed_data.valid_fraction "
                "or eft_limit, name other head_to_head.prompt_files, or leave dpo.eval_steps out"
            )
        best: Leg | None = None
        lost, pause = 0, every
        while True:
            leg = self._leg(work, pause)
            if best is None or leg.step > best.step:
                self._answer(leg)
                better = best is None or self._beats(leg, best)
                self._forget(best if better else leg)
                best, lost = (leg, 0) if better or best is None else (best, lost + 1)
            if leg.finished or lost >= patience:
                break
            pause += every
        self._install(best, work.target)
        return {**_facts(leg), "to_its_end": leg.finished, "checkpoints": self.history, "best_step": best.step}

    def _leg(self, work: Train, pause: int) -> Leg:
        """Train to an optimizer step, from the pause before it."""
        name, folder = f"m{self.t}/step_{pause}", self._folder()
        if not self.stages.is_done(name, folder, {**self.stages.sections("dpo"), "pause": pause}, self.made_from):
            self.stages.launch(
                replace(work, name=name, target=self._model("end"), pause_at=pause, pause_to=self._model(pause))
            )
        entry = dict(self.stages.run_dir.entry(name) or {})
        return Leg(name, int(entry["steps"]), bool(entry["to_its_end"]), entry)

    def _answer(self, leg: Leg) -> None:
        run_dir, file = self.stages.run_dir, self._file(leg, "answers")
        task = AnswersTask(f"m{self.t}/step_{leg.step}_answers", run_dir.seed("held_out.jsonl"), file)
        parts = self.stages.sections("candidates", "engine", but=cache_keys.ONCE)
        made_from = (leg.name, "seed/held_out")
        if not self.stages.is_done(task.name, file, parts, made_from):
            config = self.stages.config
            self.stages.launch(Generate(config, str(self._weights(leg)), config.seed, (task,)))

    def _beats(self, leg: Leg, best: Leg) -> bool:
        """Let the judge compare two checkpoints."""
        name, file = f"m{self.t}/step_{leg.step}_vs_{best.step}", self._file(leg, f"vs_{best.step}")
        task = self.evaluation.comparison(name, self._file(leg, "answers"), self._file(best, "answers"), file)
        answers = tuple(f"m{self.t}/step_{step}_answers" for step in (leg.step, best.step))
        if not self.stages.is_done(
            task.name, task.file, self.evaluation.judge_parts(), (*answers, *self.evaluation.judge_stages())
        ):
            self.evaluation.compare_all([task])
        entry = self.stages.run_dir.entry(task.name) or {}
        counts = {key: entry[key] for key in ("wins", "ties", "losses", "unread", "win_rate")}
        if entry["wins"] + entry["ties"] + entry["losses"] == 0:
            raise StageError(
                f"{name}: no prompt has a readable verdict in both orders ({entry['unread']} have none), so no "
                f"checkpoint can be chosen; read some in {file}, then take another head_to_head.judge, or set "
                "head_to_head.justify=false"
            )
        better = entry["wins"] > entry["losses"]
        if not self.history:
            self.history.append({"step": best.step, "kept": True, **dict.fromkeys(counts)})
        self.history.append({"step": leg.step, "kept": better, **counts})
        ending = "" if better else f"; step {best.step} stays the best"
        self.stages.report.note(
            f"M{self.t} step {leg.step} against step {best.step}: {entry['wins']} won, {entry['ties']} tied, "
            f"{entry['losses']} lost, {entry['unread']} not read{ending}"
        )
        return better

    def _forget(self, leg: Leg | None) -> None:
        """Free the disk of the weights of a checkpoint that has lost."""
        if leg is not None:
            shutil.rmtree(self._weights(leg), ignore_errors=True)

    def _install(self, best: Leg, target: Path) -> None:
        """Make the best checkpoint the model, and remove what only the training needed."""
        if self._weights(best).is_dir():
            shutil.rmtree(target, ignore_errors=True)
            self._weights(best).replace(target)
        elif not target.is_dir():
            raise StageError(
                f"{self._weights(best)}: missing, and it is the best checkpoint; let `srlm redo "
                f"{self.stages.run_dir.path} {best.name}` set the training aside"
            )
        shutil.rmtree(self._model("end").parent, ignore_errors=True)

    def _folder(self) -> Path:
        return self.stages.run_dir.file(self.t, "checkpoints")

    def _model(self, name: int | str) -> Path:
        return self._folder() / str(name) / "model"

    def _weights(self, leg: Leg) -> Path:
        return self._model("end" if leg.finished else leg.step)

    def _file(self, leg: Leg, name: str) -> Path:
        return self._folder() / str(leg.step) / f"{name}.jsonl"


def _facts(leg: Leg) -> dict[str, Any]:
    """Return what the leg's training said, without what the manifest adds to each entry."""
    return {name: value for name, value in leg.trained.items() if name not in ENTRY}
