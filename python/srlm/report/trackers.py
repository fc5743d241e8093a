"""A run's curves in TensorBoard, Weights & Biases or Trackio, sent by the driver after every stage.

Sent from the run's files rather than by TRL's own reporters: those run in worker processes, one run of a tracker for
each training, and know nothing of judging and comparing. So curves come stage by stage, not while a training goes on.

`trackers.json` in the run's folder keeps which stages each tracker has, so that running the same command again sends
none twice and goes on in the same run of the tracker. A stage counts as sent once the tracker has taken it: where the
driver is killed in between, it is sent again. TensorBoard then gets the same file once more, and W&B passes over rows
whose number it has; Trackio would show that stage's points twice.

No key is read or kept here: the trackers find their users' own.
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
from srlm.report.curves import TRAININGS, points_of
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
    """One tracker, open for one run."""

    name: TrackerName

    def send(self, stage: str, points: Sequence[Point], first: int) -> None:
        """Take a stage's points, of which the first is the run's `first`, from 0; they are the tracker's on return."""

    def finish(self) -> None:
        """Say that no more comes from this process."""


class TensorBoard:
    """One file of events a stage, in `tensorboard/` of the run's folder; it appears whole."""

    name: TrackerName = "tensorboard"

    def __init__(self, folder: Path) -> None:
        self._summary = _library(self.name, "tensorboard.summary")
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
            # A running TensorBoard reads on in the order of the names.
            file.replace(self._folder / f"events.out.tfevents.{first:010d}.{stage.replace('/', '-')}")

    def finish(self) -> None:
        """See `Tracker.finish`."""


class WandB:
    """A run of Weights & Biases, online or, with WANDB_MODE=offline, in `wandb/` of the run's folder.

    A training's curves have its optimizer steps for an axis and all others the model. What the driver prints, its
    code and its repository's state are not sent.
    """

    name: TrackerName = "wandb"

    def __init__(self, folder: Path, run_name: str, run_id: str, config: Mapping[str, Any]) -> None:
        wandb = _library(self.name, "wandb")
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
            raise InputError(f"report_to: wandb does not start: {reason}; or set WANDB_MODE=offline") from error
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
    """A run of Trackio: local, or where the user's TRACKIO_SPACE_ID or TRACKIO_SERVER_URL say.

    Opened for each stage anew, since closing is what says that all is written.
    """

    name: TrackerName = "trackio"

    def __init__(self, run_name: str, run_id: str, config: Mapping[str, Any]) -> None:
        self._trackio = _library(self.name, "trackio")
        # Trackio knows a run by its name only.
        self._run_name, self._config = f"{run_name}-{run_id}", dict(config)

    def send(self, stage: str, points: Sequence[Point], first: int) -> None:
        """See `Tracker.send`."""
        with contextlib.redirect_stdout(io.StringIO()):  # it prints how to show the dashboard, each time
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
class _Sent:
    """What `trackers.json` keeps: the run's id, and of each tracker the stages it has and how many points they were."""

    id: str = field(default_factory=lambda: uuid.uuid4().hex[:8])
    stages: dict[str, list[str]] = field(default_factory=dict)
    points: dict[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, file: Path) -> _Sent:
        if not file.is_file():
            return cls()
        try:
            kept = json.loads(file.read_text(encoding="utf-8"))
            return cls(str(kept["id"]), dict(kept["stages"]), dict(kept["points"]))
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{file}: not as srlm wrote it ({error}); remove it to send all curves anew") from error

    def write(self, file: Path) -> None:
        write_text(file, json.dumps({"id": self.id, "stages": self.stages, "points": self.points}, indent=1) + "\n")


class Curves:
    """Sends the points of a run's finished stages, each stage once to each tracker."""

    def __init__(self, trackers: Sequence[Tracker], folder: Path, sent: _Sent) -> None:
        self._trackers, self._folder, self._sent = trackers, folder, sent
        self._failed: set[str] = set()

    def send(self, report: Reporter) -> None:
        """Send what the manifest has that the trackers have not; cheap where there is nothing.

        A run is not to end because a tracker cannot be reached: it is said once, and the next stage tries again.
        """
        entries = read_manifest(self._folder) if self._trackers else {}
        for tracker in self._trackers:
            try:
                self._send_missing(tracker, entries)
            except Exception as error:
                if tracker.name not in self._failed:
                    report.note(f"report_to: {tracker.name} took no curves ({type(error).__name__}: {error})")
                self._failed.add(tracker.name)

    def finish(self) -> None:
        """Close the trackers; to be called however the run ends."""
        for tracker in self._trackers:
            tracker.finish()

    def _send_missing(self, tracker: Tracker, entries: Mapping[str, Mapping[str, Any]]) -> None:
        stages = self._sent.stages.setdefault(tracker.name, [])
        for stage, entry in entries.items():
            if _mark(stage, entry) not in stages:
                self._send(tracker, stage, entry)

    def _send(self, tracker: Tracker, stage: str, entry: Mapping[str, Any]) -> None:
        first = self._sent.points.get(tracker.name, 0)
        points = points_of(stage, entry, self._training_rows(stage))
        if points:
            tracker.send(stage, points, first)
        self._sent.stages[tracker.name].append(_mark(stage, entry))
        self._sent.points[tracker.name] = first + len(points)
        self._sent.write(self._folder / "trackers.json")

    def _training_rows(self, stage: str) -> list[dict[str, Any]]:
        file = (self._folder / stage).with_name("metrics.jsonl")
        training = stage.rpartition("/")[2] in TRAININGS and file.is_file()
        return [row for _, row in read_objects(file)] if training else []


def open_curves(names: Sequence[TrackerName], run_name: str, folder: Path, config: Mapping[str, Any]) -> Curves:
    """Open the named trackers for the run in `folder`, the same runs of theirs as before where there are any.

    Raises:
        InputError: a tracker is not installed or does not start.
    """
    if not names:
        return Curves((), folder, _Sent())
    sent = _Sent.read(folder / "trackers.json")
    trackers: list[Tracker] = []
    curves = Curves(trackers, folder, sent)
    try:
        trackers.extend(_open(name, run_name, sent.id, folder, config) for name in dict.fromkeys(names))
    except BaseException:
        curves.finish()  # those that are open
        raise
    sent.write(folder / "trackers.json")
    return curves


def _open(name: TrackerName, run_name: str, run_id: str, folder: Path, config: Mapping[str, Any]) -> Tracker:
    if name == "tensorboard":
        return TensorBoard(folder)
    if name == "wandb":
        return WandB(folder, run_name, run_id, config)
    return Trackio(run_name, run_id, config)


def _library(name: str, module: str) -> Any:  # noqa: ANN401  a library that need not be there has no types
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if error.name in (name, module):
            raise InputError(f"report_to: {name} is not installed; pip install {name}") from error
        raise InputError(f"report_to: {name} cannot be imported ({error}); pip install --upgrade {name}") from error


def _mark(stage: str, entry: Mapping[str, Any]) -> str:
    """Return by what a stage is remembered: one that is made again is sent again."""
    return f"{stage} {entry.get('finished', '')}".rstrip()
