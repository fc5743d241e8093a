"""Early stopping of preference training (paper, section 3.1): checkpoints compete head to head, and the best is kept.

Every `dpo.eval_steps` steps the training pauses and its process exits. The checkpoint answers the prompts that are held
out for this choice, and the judge compares its answers with those of the checkpoint kept so far:

* won (more prompts won than lost): the new checkpoint is kept, and the count of losses starts again at zero;
* lost (more prompts lost than won): the old checkpoint is kept, and the loss is counted;
* tied (as many won as lost, possibly none): no loss, and no reason to stop. The new checkpoint is kept, since it has
  seen more of the data, so a judge that decides nothing gives the model that training without early stopping gives.

Training stops after `dpo.early_stopping_patience` losses without a win between them. In the paper, each checkpoint is
compared with the previous one (every 200 steps, on 253 prompts, by Claude 2); here it is the one kept so far, which is
the previous one until a loss. The first checkpoint has no opponent: how M_t compares with M_t-1 is measured by the
head-to-head evaluation, on other prompts.

Each training segment, its answers and its comparison are stages in the manifest, so an interrupted run resumes between
them, and derives the same decisions from their results.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from srlm.errors import StageError
from srlm.evaluation.tasks import AnswersTask
from srlm.run import stage_inputs
from srlm.run.run_dir import ENTRY_FIELDS
from srlm.workers.jobs import Generate

if TYPE_CHECKING:
    from pathlib import Path

    from srlm.evaluation.schedule import Schedule
    from srlm.run.stage_runner import StageRunner
    from srlm.workers.jobs import Train


Outcome = Literal["won", "tied", "lost"]  # of a checkpoint against the one kept so far


@dataclass(frozen=True, slots=True)
class TrainSegment:
    """A training up to a pause or to its end."""

    name: str  # of the stage
    step: int  # optimizer steps done
    finished: bool
    trained: dict[str, Any]  # the manifest entry


@dataclass
class EarlyStop:
    """One preference training with checkpoint comparisons."""

    runner: StageRunner
    evaluation: Schedule
    t: int
    depends_on: tuple[str, ...]  # the stages that the pairs depend on
    history: list[dict[str, Any]] = field(default_factory=list)

    def train(self, work: Train, every: int, patience: int) -> dict[str, Any]:
        """Train to the end or until `patience` comparisons are lost without a win, and install the kept checkpoint.

        Returns the fields of the training's manifest entry.
        """
        if not self.evaluation.has_held_out("early_stop"):
            raise StageError(
                "dpo.eval_steps: there are no held-out prompts to compare checkpoints on; raise "
                "seed_data.valid_fraction or eft_limit, set head_to_head.prompt_files, or leave dpo.eval_steps out"
            )
        best: TrainSegment | None = None
        lost, pause = 0, every
        while True:
            segment = self._train_segment(work, pause)
            if best is None or segment.step > best.step:
                self._answer(segment)
                outcome = "won" if best is None else self._compare(segment, best)
                self._delete_weights(segment if outcome == "lost" else best)
                best = best if outcome == "lost" and best is not None else segment
                lost = {"won": 0, "tied": lost, "lost": lost + 1}[outcome]
            if segment.finished or lost >= patience:
                break
            pause += every
        self._install(best, work.target)
        self._note_undecided(best)
        return {**_result(segment), "completed": segment.finished, "checkpoints": self.history, "best_step": best.step}

    def _train_segment(self, work: Train, pause: int) -> TrainSegment:
        """Train to an optimizer step, from the pause before it."""
        name, folder = f"m{self.t}/step_{pause}", self._folder()
        if not self.runner.is_done(name, folder, {**self.runner.key_inputs("dpo"), "pause": pause}, self.depends_on):
            self.runner.launch(
                replace(work, name=name, target=self._model("end"), pause_at=pause, pause_to=self._model(pause))
            )
        entry = dict(self.runner.run_dir.entry(name) or {})
        return TrainSegment(name, int(entry["steps"]), bool(entry["completed"]), entry)

    def _answer(self, segment: TrainSegment) -> None:
        run_dir, file = self.runner.run_dir, self._file(segment, "answers")
        task = AnswersTask(f"m{self.t}/step_{segment.step}_answers", run_dir.seed("early_stop.jsonl"), file)
        inputs = stage_inputs.held_out_answers(self.runner.config)
        depends_on = (segment.name, "seed/early_stop")
        if not self.runner.is_done(task.name, file, inputs, depends_on):
            config = self.runner.config
            self.runner.launch(Generate(config, str(self._weights(segment)), config.seed, (task,)))

    def _compare(self, segment: TrainSegment, best: TrainSegment) -> Outcome:
        """Let the judge compare a checkpoint with the one kept so far, and return the outcome."""
        name, file = f"m{self.t}/step_{segment.step}_vs_{best.step}", self._file(segment, f"vs_{best.step}")
        task = self.evaluation.comparison(
            name, self._file(segment, "answers"), self._file(best, "answers"), file, "early_stop.jsonl"
        )
        answers = tuple(f"m{self.t}/step_{step}_answers" for step in (segment.step, best.step))
        if not self.runner.is_done(
            task.name, task.file, self.evaluation.judge_key_inputs(), (*answers, *self.evaluation.judge_dependencies())
        ):
            self.evaluation.compare_all([task])
        entry = self.runner.run_dir.entry(task.name) or {}
        counts = {key: entry[key] for key in ("wins", "ties", "losses", "unparseable", "win_rate")}
        compared = entry["wins"] + entry["ties"] + entry["losses"]
        if compared == 0:
            raise StageError(
                f"{name}: no prompt has a parseable verdict in both orders ({entry['unparseable']} unparseable), so no "
                f"checkpoint can be selected; read some verdicts in {file}, then use another head_to_head.judge or set "
                "head_to_head.justify=false"
            )
        outcome = _outcome(entry["wins"], entry["losses"])
        if not self.history:
            self.history.append({"step": best.step, "kept": True, "outcome": None, **dict.fromkeys(counts)})
        self.history.append({"step": segment.step, "kept": outcome != "lost", "outcome": outcome, **counts})
        kept = best.step if outcome == "lost" else segment.step
        undecided = f"the judge decided none of {compared} comparisons; " if compared == entry["ties"] else ""
        self.runner.report.note(
            f"M{self.t} step {segment.step} against step {best.step}: {undecided}{entry['wins']} won, {entry['ties']} "
            f"tied, {entry['losses']} lost, {entry['unparseable']} unparseable; step {kept} is kept"
        )
        return outcome

    def _note_undecided(self, kept: TrainSegment) -> None:
        """Report that no comparison was decided, if so: early stopping has then chosen nothing."""
        rows = self.history[1:]
        if rows and all(row["wins"] == row["losses"] == 0 for row in rows):
            self.runner.report.note(
                f"M{self.t}: the judge decided none of {sum(row['ties'] for row in rows)} comparisons; early stopping "
                f"cannot choose a checkpoint, so the last one (step {kept.step}) is the model. Use another "
                "head_to_head.judge, or head_to_head.by=pointwise if the judge is trained to score"
            )

    def _delete_weights(self, segment: TrainSegment | None) -> None:
        """Delete the weights of a checkpoint that has lost."""
        if segment is not None:
            shutil.rmtree(self._weights(segment), ignore_errors=True)

    def _install(self, best: TrainSegment, target: Path) -> None:
        """Make the best checkpoint the model, and delete the files that only the training needed."""
        if self._weights(best).is_dir():
            shutil.rmtree(target, ignore_errors=True)
            self._weights(best).replace(target)
        elif not target.is_dir():
            raise StageError(
                f"{self._weights(best)}: the best checkpoint is missing; run `srlm redo {self.runner.run_dir.path} "
                f"{best.name}` to archive the training"
            )
        shutil.rmtree(self._model("end").parent, ignore_errors=True)

    def _folder(self) -> Path:
        return self.runner.run_dir.file(self.t, "checkpoints")

    def _model(self, name: int | str) -> Path:
        return self._folder() / str(name) / "model"

    def _weights(self, segment: TrainSegment) -> Path:
        return self._model("end" if segment.finished else segment.step)

    def _file(self, segment: TrainSegment, name: str) -> Path:
        return self._folder() / str(segment.step) / f"{name}.jsonl"


def _outcome(wins: int, losses: int) -> Outcome:
    return "won" if wins > losses else "lost" if losses > wins else "tied"


def _result(segment: TrainSegment) -> dict[str, Any]:
    """Return the training's own fields of the segment's manifest entry."""
    return {name: value for name, value in segment.trained.items() if name not in ENTRY_FIELDS}
