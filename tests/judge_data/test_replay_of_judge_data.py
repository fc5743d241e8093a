"""`srlm replay` derives the pairs of judgements again, and finds what was changed."""

import pytest
from srlm.judge_data.registry import judge_data_of
from srlm.replay import problem_lines, replay
from srlm.rows.records import write_rows
from srlm.run.run_dir import RunDir
from srlm.run.stage_runner import StageRunner, data_seed

from tests.judge_data.judged import build, two_prompts
from tests.judge_data.test_meta_judge import Meta, compare
from tests.scripted import Recorder
from tests.test_replay import change

PAIRS, COMPARISONS = "m2/judgement_pairs.jsonl: derived again", "m2/judgement_comparisons.jsonl: ids, verdicts"


@pytest.fixture
def run(tmp_path, tiny_tokenizer):
    config = build()
    stages = StageRunner(config, RunDir.open(tmp_path / "run", config), None, Recorder())
    folder = stages.run_dir.file(2, "prompts.jsonl").parent
    folder.mkdir()
    two_prompts(folder)
    compare(folder, Meta(tiny_tokenizer))
    made = judge_data_of(config, 2).build(folder, data_seed(config, 2))
    write_rows(folder / "judgement_pairs.jsonl", made.rows)
    for name in ("verdicts", "judgement_comparisons", "judgement_pairs"):
        stages.plan(f"m2/{name}", folder / f"{name}.jsonl", {})
        stages.finish(f"m2/{name}", made.counts() if name == "judgement_pairs" else {"rows": 12})
    return tmp_path / "run"


def problems(run):
    return problem_lines([check for check in replay(run) if check.name in (PAIRS, COMPARISONS)])


def test_unchanged_rows_pass(run):
    rows = {check.name: check.rows for check in replay(run)}
    assert (rows[PAIRS], rows[COMPARISONS]) == (1, 12)
    assert problems(run) == []


def test_a_changed_pair_is_found(run):
    change(run / "m2" / "judgement_pairs.jsonl", 0, chosen_score=9.0)
    assert problems(run) == [f"{PAIRS}: line 1: the judgements give another pair here"]


def test_a_lost_pair_and_changed_counts_are_found(run):
    (run / "m2" / "judgement_pairs.jsonl").write_text("", encoding="utf-8")
    assert problems(run) == [f"{PAIRS}: 0 rows, the judgements give 1"]
    manifest = run / "manifest.json"
    text = manifest.read_text(encoding="utf-8")
    assert '"undecided": 0' in text
    manifest.write_text(text.replace('"undecided": 0', '"undecided": 1'), encoding="utf-8")
    assert any("drops: {'no_variance': 1, 'undecided': 1" in line for line in problems(run))


def test_a_changed_comparison_is_found(run):
    change(run / "m2" / "judgement_comparisons.jsonl", 0, verdict="tie")
    assert any(line.startswith(f"{COMPARISONS}: line 1: its text parses as") for line in problems(run))
