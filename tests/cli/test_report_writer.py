"""The report is written beside the run, one at a time, and is complete when the run ends."""

import threading

import pytest
from srlm.cli.report_writer import ReportWriter
from srlm.report import page

from tests.scripted import Recorder


@pytest.fixture
def written(monkeypatch):
    """Replace `write_report`; return the events, and an event without which no report is complete."""
    events, go_on = [], threading.Event()

    def write_report(run_dir):
        events.append("began")
        assert go_on.wait(60)
        events.append("complete")

    monkeypatch.setattr(page, "write_report", write_report)
    return events, go_on


def test_the_run_goes_on_while_the_report_is_written(written, tmp_path):
    events, go_on = written
    with ReportWriter(tmp_path, Recorder()) as writer:
        writer.start()
        assert "complete" not in events
        go_on.set()
    assert events == ["began", "complete"]


def test_one_report_at_a_time(written, tmp_path):
    events, go_on = written
    with ReportWriter(tmp_path, Recorder()) as writer:
        writer.start()
        threading.Timer(0.2, go_on.set).start()
        writer.start()
    assert events == ["began", "complete"] * 2


def test_the_report_is_complete_if_the_run_fails(written, tmp_path):
    events, go_on = written
    go_on.set()

    def run():
        with ReportWriter(tmp_path, Recorder()) as writer:
            writer.start()
            raise KeyError("m2")

    with pytest.raises(KeyError):
        run()
    assert events == ["began", "complete"]


def test_a_report_that_cannot_be_written_does_not_end_the_run(monkeypatch, tmp_path):
    def broken(_):
        raise ValueError("no figure")

    monkeypatch.setattr(page, "write_report", broken)
    report = Recorder()
    with ReportWriter(tmp_path, report) as writer:
        writer.start()
    assert report.notes == [f"report not written: ValueError: no figure; retry with `srlm report {tmp_path}`"]


def test_without_a_report_nothing_is_waited_for(tmp_path):
    with ReportWriter(tmp_path, Recorder()):
        pass
