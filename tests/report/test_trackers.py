"""Curves are sent once each: the order with a scripted tracker, the files with TensorBoard, Trackio and W&B.

The three libraries are in `.cache/trackers`, which `make test` fills; tests of a missing one are skipped.
"""

from __future__ import annotations

import importlib
import json
import struct
import subprocess
import sys

import pytest
from srlm.errors import InputError
from srlm.report import trackers
from srlm.report.curves import Point
from srlm.report.trackers import open_curves
from srlm.run.run_dir import FORMAT

from tests.conftest import ROOT
from tests.scripted import Recorder

LIBRARIES = ROOT / ".cache" / "trackers"
LOSS = [{"step": 1, "loss": 0.75}, {"step": 2, "loss": 0.5}]
MANIFEST = {
    "seed/ift": {"cache_key": "a", "rows": 48},
    "m1/sft": {"cache_key": "b", "steps": 2},
    "m1/eval": {"cache_key": "c", "accuracy": 0.25},
}
LATER = {"m2/eval": {"cache_key": "d", "accuracy": 0.5}}
# All metrics of the manifest, in order; all floats are exact in float32, the precision of TensorBoard.
POINTS = [
    ("m1/sft", 0, [Point("m1/step", 1, {"m1/loss": 0.75}), Point("m1/step", 2, {"m1/loss": 0.5})]),
    ("m1/eval", 3, [Point("model", 1, {"eval/accuracy": 0.25})]),
    ("m2/eval", 4, [Point("model", 2, {"eval/accuracy": 0.5})]),
]
POINTS[0][2].append(Point("model", 1, {"sft/steps": 2.0}))


@pytest.fixture
def folder(tmp_path):
    """A run directory with one evaluated model."""
    folder = tmp_path / "run"
    (folder / "m1").mkdir(parents=True)
    (folder / "m1" / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in LOSS))
    write_manifest(folder, MANIFEST)
    return folder


def write_manifest(folder, entries):
    entries = {stage: {"format": FORMAT, **entry} for stage, entry in entries.items()}
    (folder / "manifest.json").write_text(json.dumps(entries))


class ScriptedTracker:
    """Records what it is sent; fails at the stage `fail_at`."""

    name = "trackio"

    def __init__(self, fail_at=None):
        self.sent, self.fail_at, self.finished = [], fail_at, 0

    def send(self, stage, points, first):
        if stage == self.fail_at:
            raise OSError("full")
        self.sent.append((stage, first, list(points)))

    def finish(self):
        self.finished += 1


@pytest.fixture
def opened(folder, monkeypatch):
    """Open the run's curves with this scripted tracker."""

    def opened(tracker):
        monkeypatch.setattr(trackers, "_open", lambda *_: tracker)
        return open_curves(["trackio"], "mine", folder, {})

    return opened


def test_each_stage_once(folder, opened):
    tracker = ScriptedTracker()
    curves = opened(tracker)
    curves.send(Recorder())
    curves.send(Recorder())
    assert tracker.sent == POINTS[:2]
    write_manifest(folder, MANIFEST | LATER)
    curves.send(Recorder())
    curves.finish()
    assert (tracker.sent, tracker.finished) == (POINTS, 1)


def test_the_same_command_again_sends_what_is_new(folder, opened):
    opened(ScriptedTracker()).send(Recorder())
    again = ScriptedTracker()
    opened(again).send(Recorder())
    assert again.sent == []
    write_manifest(folder, MANIFEST | LATER)
    opened(again).send(Recorder())
    assert again.sent == POINTS[2:]


def test_a_stage_that_failed_is_sent_again(opened):
    broken, report = ScriptedTracker(fail_at="m1/eval"), Recorder()
    curves = opened(broken)
    curves.send(report)  # must not end the run
    curves.send(report)
    assert report.notes == ["report_to: curves not sent to trackio (OSError: full)"]
    again = ScriptedTracker()
    opened(again).send(Recorder())
    assert (broken.sent, again.sent) == (POINTS[:1], POINTS[1:2])


def test_trackers_that_are_open_are_closed_if_another_does_not_open(folder, monkeypatch):
    tracker = ScriptedTracker()

    def open_one(name, *_):
        if name == "wandb":
            raise InputError("no key")
        return tracker

    monkeypatch.setattr(trackers, "_open", open_one)
    with pytest.raises(InputError, match="no key"):
        open_curves(["trackio", "wandb"], "mine", folder, {})
    assert tracker.finished == 1


def test_a_tracker_that_joins_later_gets_all(folder, opened):
    opened(ScriptedTracker()).send(Recorder())
    other = ScriptedTracker()
    other.name = "wandb"
    opened(other).send(Recorder())
    assert other.sent == POINTS[:2]


def test_nothing_done_yet(folder, opened):
    (folder / "manifest.json").unlink()
    tracker = ScriptedTracker()
    opened(tracker).send(Recorder())
    assert tracker.sent == []


def test_without_trackers_nothing_is_written(folder):
    curves = open_curves([], "mine", folder, {})
    curves.send(Recorder())
    curves.finish()
    assert not (folder / "trackers.json").exists()


@pytest.mark.parametrize("text", ["{", "[]", '{"id": "a"}', '{"id": "a", "stages": 3, "points": {}}'])
def test_broken_state(folder, text):
    (folder / "trackers.json").write_text(text)
    with pytest.raises(InputError, match=r"trackers\.json: invalid content .*; delete it"):
        open_curves(["trackio"], "mine", folder, {})


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "trackio"])
def test_a_library_that_is_missing(folder, name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match=f"^report_to: {name} is not installed; pip install {name}$"):
        open_curves([name], "mine", folder, {})


def test_a_library_that_is_broken(folder, tmp_path, monkeypatch):
    (tmp_path / "trackio.py").write_text("import a_part_that_is_missing")
    monkeypatch.delitem(sys.modules, "trackio", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=r"trackio cannot be imported \(No module named 'a_part"):
        open_curves(["trackio"], "mine", folder, {})


@pytest.fixture
def library(monkeypatch):
    """Import a tracker's library for a test, and let it go again."""
    used = []

    def library(name):
        if not (LIBRARIES / name).is_dir():
            pytest.skip(f"{name} is not in .cache/trackers")
        monkeypatch.syspath_prepend(LIBRARIES)
        used.append(importlib.import_module(name))
        return used[-1]

    yield library
    for module in used:
        if module.__name__ == "wandb":
            module.teardown()  # stop its service and drop the settings that it read
        # Imported modules count as installed, also for TRL, which was imported before.
        for name in [name for name in sys.modules if name.partition(".")[0] == module.__name__]:
            del sys.modules[name]


def send_twice(name, folder):
    """Send all stages as two processes would, the last stage from the second."""
    for entries in (MANIFEST, MANIFEST | LATER):
        write_manifest(folder, entries)
        curves = open_curves([name], "mine", folder, {"dpo": {"beta": 0.1}})
        curves.send(Recorder())
        curves.send(Recorder())
        curves.finish()


def test_tensorboard(library, folder):
    library("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    send_twice("tensorboard", folder)
    files = sorted(file.name for file in (folder / "tensorboard").iterdir())
    assert [name.rpartition(".")[2] for name in files] == ["m1-sft", "m1-eval", "m2-eval"]
    read = EventAccumulator(str(folder / "tensorboard"))
    read.Reload()
    curves = {
        tag: [(event.step, make_ndarray(event.tensor_proto).item()) for event in read.Tensors(tag)]
        for tag in read.Tags()["tensors"]
    }
    assert curves == {
        "m1/loss": [(1, 0.75), (2, 0.5)],
        "sft/steps": [(1, 2.0)],
        "eval/accuracy": [(1, 0.25), (2, 0.5)],
    }
    assert sorted(file.name for file in folder.iterdir()) == ["m1", "manifest.json", "tensorboard", "trackers.json"]


def test_tensorboard_rewrites_the_file_of_a_stage_that_is_sent_again(library, folder):
    library("tensorboard")
    tracker = trackers.TensorBoard(folder)
    for _ in range(2):
        for stage, first, points in POINTS:
            tracker.send(stage, points, first)
    assert len(list((folder / "tensorboard").iterdir())) == 3


def test_trackio(library, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))  # read when it is imported
    library("trackio")
    from trackio.sqlite_storage import SQLiteStorage

    send_twice("trackio", folder)
    (run,) = SQLiteStorage.get_runs("srlm")
    assert run == f"mine-{json.loads((folder / 'trackers.json').read_text())['id']}"
    rows = [{name: row[name] for name in row if name != "timestamp"} for row in SQLiteStorage.get_logs("srlm", run)]
    assert rows == [{**point.metrics, "step": point.step} for _, _, points in POINTS for point in points]
    assert capsys.readouterr().out == ""


def wandb_records(file):
    """Yield the records of a W&B file: a header of 7 bytes, then blocks of 32 KiB of (checksum, length, kind, data)."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, offset, kept = file.read_bytes(), 7, b""
    while offset < len(data):
        left = 32768 - offset % 32768
        if left < 7:
            offset += left
            continue
        _, length, kind = struct.unpack("<IHB", data[offset : offset + 7])
        kept += data[offset + 7 : offset + 7 + length]
        offset += 7 + length
        if kind in (1, 4):  # whole, or its last part
            yield Record.FromString(kept)
            kept = b""


def wandb_history(folder):
    for file in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        for record in wandb_records(file):
            if record.WhichOneof("record_type") == "history":
                yield {"/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}


def test_wandb(library, folder, monkeypatch):
    wandb = library("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    send_twice("wandb", folder)
    wandb.teardown()  # as at the end of a process: only then is everything on disk
    expected = [
        {**point.metrics, point.axis: point.step, "_step": number}
        for number, point in enumerate(point for _, _, points in POINTS for point in points)
    ]
    rows = [
        {name: value for name, value in row.items() if name not in ("_timestamp", "_runtime")}
        for row in wandb_history(folder)
    ]
    assert sorted(rows, key=lambda row: row["_step"]) == expected
    records = [record for file in folder.glob("wandb/offline-run-*/*.wandb") for record in wandb_records(file)]
    runs = [record.run for record in records if record.WhichOneof("record_type") == "run"]
    run_id = json.loads((folder / "trackers.json").read_text())["id"]
    assert {(run.run_id, run.display_name, run.project) for run in runs} == {(run_id, "mine", "srlm")}
    axes = {record.metric.name: record.metric.step_metric for record in records if record.metric.name}
    assert axes["m1/loss"] == "m1/step"
    assert axes["eval/accuracy"] == axes["sft/steps"] == "model"


def test_wandb_ignores_rows_that_it_has(library, folder, monkeypatch):
    wandb = library("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    tracker = trackers.WandB(folder, "mine", "ab12", {})
    for stage, first, points in (*POINTS, *POINTS):
        tracker.send(stage, points, first)
    tracker.finish()
    wandb.teardown()
    assert [row["_step"] for row in wandb_history(folder)] == [0, 1, 2, 3, 4]


def test_wandb_without_a_key(library, folder, tmp_path, monkeypatch):
    library("wandb")
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path))
    with pytest.raises(InputError, match="report_to: wandb failed to start: No API key") as error:
        open_curves(["wandb"], "mine", folder, {})
    assert "\n" not in str(error.value)


def test_the_driver_stays_light():
    heavy = "{'torch', 'wandb', 'trackio', 'tensorboard'}"
    code = f"import sys, srlm.report.trackers; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout.strip() == b"[]"
