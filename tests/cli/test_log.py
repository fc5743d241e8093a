"""Terminal output is also kept in the event log of the run."""

import io
import json

from rich.console import Console
from srlm.cli.display import Display
from srlm.cli.log import LoggedDisplay
from srlm.run.run_dir import RunDir


def test_stage_starts_and_notes_are_logged(tmp_path):
    run, console = RunDir(tmp_path), Console(file=io.StringIO(), width=100, color_system=None)
    with Display(console) as display:
        logged = LoggedDisplay(display, run)
        logged.start("seed", 3)
        logged.set_title("M2")
        logged.start("dpo", 9, 4)
        logged.advance(2)
        logged.note("a word")
        logged.request_started("m2/candidates", "key")
        logged.request_finished("m2/candidates", "key")
    events = [json.loads(line) for line in run.path.joinpath("log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert all(event.pop("time") for event in events)
    assert events == [
        {"event": "began", "stage": "seed", "total": 3, "done": 0, "unit": "rows"},
        {"event": "began", "stage": "M2 dpo", "total": 9, "done": 4, "unit": "steps"},
        {"event": "note", "text": "a word"},
    ]
    shown = console.file.getvalue()
    assert "seed: 0/3 rows" in shown
    assert "a word\n" in shown
    assert "M2 dpo: 6/9 steps" in shown
