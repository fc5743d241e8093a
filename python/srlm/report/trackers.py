"""Logs the curves of a run to TensorBoard, Weights & Biases or Trackio; the driver sends them after every stage.

The curves are sent from the files of the run, not by the reporting integrations of TRL: those run in worker processes,
start one tracker run per training, and do not cover judging and comparisons. So curves arrive stage by stage, not
during a training.

`trackers.json` in the run directory records the stages that each tracker has. If the same command runs again, it
resumes the same tracker run and sends no stage twice. A stage is recorded once the tracker has accepted it. If the
driver is killed in between, the stage is sent again: TensorBoard gets the same file again, W&B ignores rows with a
known step, and Trackio shows the points of that stage twice.

No API key is read or stored here: the tracker libraries find the user's own.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import tempfile
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from srlm.errors import InputError
from srlm.report.curves import TRAINING_STAGES, stage_points
from srlm.rows.json_lines import read_objects
from srlm.rows.records import write_text
from srlm.run.run_dir import read_manifest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from srlm.report.curves import Point
    from srlm.reporter import Reporter

TrackerName = Literal["tensorboard", "wandb", "trackio"]
PROJECT = "srlm"


class Tracker(Protocol):
    """An experiment tracker that is open for one run."""

    name: TrackerName

    def send(self, stage: str, points: Sequence[Point], first: int) -> None:
        """Log the points of a stage and return once the tracker has accepted them.

        `first` is the index, from 0, of the first of these points among all points of the run.
        """

    def finish(self) -> None:
        """Close the tracker: this process sends no more points."""


class TensorBoard:
    """One event file per stage in `RUN_DIR/tensorboard`, created atomically."""

    name: TrackerName = "tensorboard"

    def __init__(self, folder: Path) -> None:
        self._summary = _import_library(self.name, "tensorboard.summary")
        self._folder = folder / "tensorboard"

    def send(self, stage: str, points: Sequence[Point], first: int) -> None:
        """See `Tracker.send`."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._folder.parent, prefix="tensorboard-", suffix=".partial") as scratch:
            writer = self._summary.Writer(scratch)
            for point in points:
                for name, value in point.metrics.items():
                    writer.add_scalar(name, value, point.step)
            writer.close()
            (file,) = Path(scratch).iterdir()
            # A running TensorBoard reads the files in the order of their names.
            file.replace(self._folder / f"events.out.tfevents.{first:010d}.{stage.replace('/', '-')}")

    def finish(self) -> None:
        """See `Tracker.finish`."""


class WandB:
    """A run of Weights & Biases: online, or with WANDB_MODE=offline in `RUN_DIR/wandb`.

    The x axis of a training's curves is the optimizer step, that of all others the model. Console output, code and the
    state of the git repository are not sent.
    """

    name: TrackerName = "wandb"

    def __init__(self, folder: Path, run_name: str, run_id: str, config: Mapping[str, Any]) -> None:
        wandb = _import_library(self.name, "wandb")
        try:
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", PROJECT),
                name=run_name,
                id=run_id,
                resume="allow",
                dir=str(folder),
                config=dict(config),
                settings=wandb.Settings(console="off", silent=True, disable_git=True, disable_code=True),
            )
        except wandb.Error as error:
            reason = str(error).partition("\n")[0]
            raise InputError(
                f"report_to: wandb failed to start: {reason}; set WANDB_MODE=offline to log locally"
            ) from error
        self._axes: dict[str, str] = {}

    def send(self, stage: str, points: Sequence[Point], first: int) -> None:
        """See `Tracker.send`."""
        for number, point in enumerate(points, first):
            for name in point.metrics:
                if self._axes.get(name) != point.axis:
                    self._run.define_metric(name, step_metric=point.axis)
                    self._axes[name] = point.axis
            self._run.log({**point.metrics, point.axis: point.step}, step=number, commit=True)

    def finish(self) -> None:
        """See `Tracker.finish`."""
        self._run.finish()


class Trackio:
    """A run of Trackio: local, or at the user's TRACKIO_SPACE_ID or TRACKIO_SERVER_URL.

    It is opened and closed for every stage, because only closing it ensures that all points are written.
    """

    name: TrackerName = "trackio"

    def __init__(self, run_name: str, run_id: str, config: Mapping[str, Any]) -> None:
        self._trackio = _import_library(self.name, "trackio")
        # Trackio identifies a run by its name only.
        self._run_name, self._config = f"{run_name}-{run_id}", dict(config)

    def send(self, stage: str, points: Sequence[Point], first: int) -> None:
        """See `Tracker.send`."""
        with contextlib.redirect_stdout(io.StringIO()):  # init prints how to open the dashboard every time
            run = self._trackio.init(
                project=PROJECT,
                name=self._run_name,
                config=self._config,
                resume="allow",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )
            for point in points:
                run.log(dict(point.metrics), step=point.step)
            self._trackio.finish()

    def finish(self) -> None:
        """See `Tracker.finish`."""


@dataclass
class _SentState:
    """The content of `trackers.json`: the run's id, and for each tracker its stages and the number of their points."""

    id: str = field(default_factory=lambda: uuid.uuid4().hex[:8])
    stages: dict[str, list[str]] = field(default_factory=dict)
    points: dict[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, file: Path) -> _SentState:
        if not file.is_file():
            return cls()
        try:
            kept = json.loads(file.read_text(encoding="utf-8"))
            return cls(str(kept["id"]), dict(kept["stages"]), dict(kept["points"]))
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{file}: invalid content ({error}); delete it to send all curves again") from error

    def write(self, file: Path) -> None:
        write_text(file, json.dumps({"id": self.id, "stages": self.stages, "points": self.points}, indent=1) + "\n")


class Curves:
    """Sends the points of a run's finished stages to the trackers, each stage once per tracker."""

    def __init__(self, trackers: Sequence[Tracker], folder: Path, sent: _SentState) -> None:
        self._trackers, self._folder, self._sent = trackers, folder, sent
        self._failed: set[str] = set()

    def send(self, report: Reporter) -> None:
        """Send the stages in the manifest that the trackers lack; cheap if there are none.

        An unreachable tracker does not end the run: the failure is noted once, and the next stage tries again.
        """
        entries = read_manifest(self._folder) if self._trackers else {}
        for tracker in self._trackers:
            try:
                self._send_missing(tracker, entries)
            except Exception as error:
                if tracker.name not in self._failed:
                    report.note(f"report_to: curves not sent to {tracker.name} ({type(error).__name__}: {error})")
                self._failed.add(tracker.name)

    def finish(self) -> None:
        """Close the trackers; call this however the run ends."""
        for tracker in self._trackers:
            tracker.finish()

    def _send_missing(self, tracker: Tracker, entries: Mapping[str, Mapping[str, Any]]) -> None:
        stages = self._sent.stages.setdefault(tracker.name, [])
        for stage, entry in entries.items():
            if _stage_id(stage, entry) not in stages:
                self._send(tracker, stage, entry)

    def _send(self, tracker: Tracker, stage: str, entry: Mapping[str, Any]) -> None:
        first = self._sent.points.get(tracker.name, 0)
        points = stage_points(stage, entry, self._training_rows(stage))
        if points:
            tracker.send(stage, points, first)
        self._sent.stages[tracker.name].append(_stage_id(stage, entry))
        self._sent.points[tracker.name] = first + len(points)
        self._sent.write(self._folder / "trackers.json")

    def _training_rows(self, stage: str) -> list[dict[str, Any]]:
        file = (self._folder / stage).with_name("metrics.jsonl")
        training = stage.rpartition("/")[2] in TRAINING_STAGES and file.is_file()
        return [row for _, row in read_objects(file)] if training else []


def open_curves(names: Sequence[TrackerName], run_name: str, folder: Path, config: Mapping[str, Any]) -> Curves:
    """Open the named trackers for the run in `folder`, resuming their runs if they exist.

    Raises:
        InputError: a tracker is not installed or does not start.
    """
    if not names:
        return Curves((), folder, _SentState())
    sent = _SentState.read(folder / "trackers.json")
    trackers: list[Tracker] = []
    curves = Curves(trackers, folder, sent)
    try:
        trackers.extend(_open(name, run_name, sent.id, folder, config) for name in dict.fromkeys(names))
    except BaseException:
        curves.finish()  # closes the trackers that are already open
        raise
    sent.write(folder / "trackers.json")
    return curves


def _open(name: TrackerName, run_name: str, run_id: str, folder: Path, config: Mapping[str, Any]) -> Tracker:
    if name == "tensorboard":
        return TensorBoard(folder)
    if name == "wandb":
        return WandB(folder, run_name, run_id, config)
    return Trackio(run_name, run_id, config)


def _import_library(name: str, module: str) -> Any:  # noqa: ANN401  an optional library has no types
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if error.name in (name, module):
            raise InputError(f"report_to: {name} is not installed; pip install {name}") from error
        raise InputError(f"report_to: {name} cannot be imported ({error}); pip install --upgrade {name}") from error


def _stage_id(stage: str, entry: Mapping[str, Any]) -> str:
    """Return the id of a stage in `trackers.json`; it changes if the stage is recomputed, which sends it again."""
    return f"{stage} {entry.get('finished', '')}".rstrip()
