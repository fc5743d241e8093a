"""`srlm status`: rows of finished and of started stages."""

import subprocess
import sys

from rich.console import Console
from srlm import config as configuration
from srlm import progress
from srlm.cli.status import stage_names, status_table
from srlm.run.run_dir import RunDir


def shown(run, config):
    """Return the state and the rows of each stage."""
    console = Console(width=160)
    with console.capture() as capture:
        console.print(status_table(run, config))
    lines = [line.split("│") for line in capture.get().splitlines() if "│" in line]
    return {cells[1].strip(): (cells[2].strip(), cells[3].strip()) for cells in lines}


def test_rows_of_finished_and_of_started_stages(tmp_path):
    config = configuration.build({"model": {"name": "m"}, "iterations": 2})
    run = RunDir.open(tmp_path / "run", config)
    run.finish("seed/ift", {"cache_key": "k"}, 1.0, {"rows": 3})
    file = run.file(2, "candidates.jsonl")
    file.parent.mkdir()
    file.write_bytes(b"{}\n{}\n{}")
    rows = shown(run.path, config)
    assert rows["seed/ift"] == ("done", "3")
    assert rows["seed/eft_ranked"] == ("next", "")
    assert rows["m2/candidates"] == ("", "2")
    progress.write_count(file, 6, 700)  # noted rows are not counted again
    assert shown(run.path, config)["m2/candidates"] == ("", "700")


def test_the_stages_of_judge_data_come_before_the_pairs_that_they_give():
    def of(kind, t):
        judge_data = {"kind": kind, "until": 2}
        config = configuration.build({"model": {"name": "m"}, "iterations": 3, "judge_data": judge_data})
        return [name.partition("/")[2] for name in stage_names(config) if name.startswith(f"m{t}/")][:8]

    plain = ["prompts", "candidates", "verdicts", "pairs", "dpo", "judge_held_out"]
    assert of("none", 2)[:6] == of("meta_judge", 3)[:6] == plain
    expected = ["prompts", "candidates", "verdicts", "judgement_comparisons", "pairs", "judgement_pairs", "dpo"]
    assert of("meta_judge", 2)[:7] == expected
    modified = ["modified_prompts", "modified_answers", "modified_verdicts"]
    assert of("modified_instruction", 2) == [*plain[:3], *modified, "pairs", "judgement_pairs"]


def test_status_imports_nothing_slow(tmp_path):
    run = RunDir.open(tmp_path / "run", configuration.build({"model": {"name": "m"}}))
    code = """
import sys
from srlm.cli.main import srlm
srlm(["status", sys.argv[1]], standalone_mode=False)
sys.exit(" ".join({"numpy", "torch", "openai"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code, run.path], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""
    assert "seed/ift" in done.stdout
