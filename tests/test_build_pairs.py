"""The loop's step from verdicts to pairs: what is written and noted, and what stops the run there."""

import json

import pytest
from srlm import config as configuration
from srlm.errors import StageError
from srlm.loop import Loop
from srlm.records import read_rows, write_rows
from srlm.reporter import SilentReporter
from srlm.run_dir import RunDir
from srlm.stages import Stages

from tests.test_pairs import FOUR, answer, made_of, rows


class Silent:
    """A reporter, and a launcher that is asked for nothing."""


@pytest.mark.parametrize(
    "method", ["best_worst", "length_controlled", "margin", "positives_only", "random", "top_bottom"]
)
def test_the_loop_makes_what_the_method_asks_for(tmp_path, method):
    words = (f"pairs.method={method}", "pairs.max_per_prompt=2", "seed=3")
    config = configuration.build({"model": {"name": "unused"}}, words)
    run, given = RunDir.open(tmp_path / "run", config), rows(*[FOUR] * 9, [answer(2), answer(2)])
    for name, some in zip(("prompts", "candidates", "verdicts"), given, strict=True):
        write_rows(run.file(2, f"{name}.jsonl"), some)
    run.finish("m2/verdicts", "key", 0.0, {"rows": len(given[2])})
    Loop(Stages(config, run, Silent(), Silent())).build_pairs(2)
    made, drops = made_of(*given, pairs=config.pairs, judge=config.judge, seed=3002)
    file = "positives" if method == "positives_only" else "pairs"
    assert read_rows(run.file(2, f"{file}.jsonl"), type(made[0])) == made
    assert (run.entry("m2/pairs")["rows"], run.entry("m2/pairs")["drops"]) == (len(made), drops)


def prepared(path, given, *words):
    """Return the loop of a run whose candidates for M2 are judged, and what it is told."""
    config = configuration.build({"model": {"name": "unused"}}, words)
    run, told = RunDir.open(path / "run", config), []
    for name, some in zip(("prompts", "candidates", "verdicts"), given, strict=True):
        write_rows(run.file(2, f"{name}.jsonl"), some)
    if run.entry("m2/verdicts") is None:
        run.finish("m2/verdicts", "key", 0.0, {"rows": len(given[2])})
    return Loop(Stages(config, run, Silent(), SilentReporter()), told.append), told


@pytest.mark.parametrize(
    ("words", "missed", "reason"),
    [
        (("gates.pairs_kept=0.9", "gates.pairs_kept_action=stop"), ["pairs_kept"], "m2: not trained: gates.pairs_kept"),
        (("pairs.min_count=9", "gates.pairs_kept=0.5"), [], "m2: only 1 pairs"),
    ],
)
def test_what_stops_the_run_is_kept_and_told_and_asked_again(tmp_path, words, missed, reason):
    given = rows(FOUR, [answer(2), answer(2)])
    loop, told = prepared(tmp_path, given, *words)
    for _ in range(2):  # the same command again stops again
        with pytest.raises(StageError, match=reason) as error:
            loop.build_pairs(2)
    assert told == [1, 1]
    assert loop.run_dir.entry("m2/pairs") is None
    kept = json.loads(loop.run_dir.file(2, "gates.json").read_text())
    assert kept["stopped"] == str(error.value)
    assert [gate["gate"] for gate in kept["quality"]["gates"]] == missed
    assert (kept["rows"], kept["drops"]["tied"], kept["prompts"], kept["quality"]["pairs_kept"]) == (1, 1, 2, 0.5)


def test_a_run_that_goes_on_after_a_gate_keeps_no_file_of_it(tmp_path):
    given, stop = rows(FOUR, [answer(2), answer(2)]), ("gates.pairs_kept_action=stop", "gates.pairs_kept=0.9")
    with pytest.raises(StageError):
        prepared(tmp_path, given, *stop)[0].build_pairs(2)
    loop, told = prepared(tmp_path, given, "gates.pairs_kept=0.1")
    loop.build_pairs(2)
    assert loop.run_dir.entry("m2/pairs")["quality"]["gates"] == told == []
    assert not loop.run_dir.file(2, "gates.json").exists()


def test_repeated_positives_are_no_prompts_without_one(tmp_path):
    given = rows([answer(5, text="twice")] * 3, [answer(2)])
    loop, _ = prepared(tmp_path, given, "pairs.method=positives_only")
    loop.build_pairs(2)
    entry = loop.run_dir.entry("m2/pairs")
    assert entry["drops"] == {"no_perfect_answer": 1, "same_text": 2}
    assert entry["quality"]["pairs_kept"] == 0.5
