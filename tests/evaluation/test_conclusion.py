"""The last line of a run."""

import pytest
from srlm.evaluation.conclusion import NOTHING_MEASURED, conclusion
from srlm.evaluation.paired import write_cases
from srlm.rows.records import CaseResult
from srlm.run.run_dir import RunDir

TRAINED = {"rows": 4}


def make_run(tmp_path, entries):
    run = RunDir(tmp_path / "run")
    for name, result in entries.items():
        run.finish(name, {"cache_key": "key"}, 1.0, result)
    return run


def judged(run, model, values, metric="pairwise_accuracy", stage="judge_held_out"):
    """Write the results of one case per prompt."""
    file = run.file(model, f"{stage}.jsonl")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    write_cases(file, [CaseResult(metric, f"c{at}", f"p{at}", value) for at, value in enumerate(values)])
    share = {"value": sum(values) / len(values), "low": 0.0, "high": 1.0, "n": len(values)}
    run.finish(f"{model}/{stage}", {"cache_key": "key"}, 1.0, {metric: share})


def match(wins, ties, losses, low, high):
    rate = {"value": (wins + ties / 2) / (wins + ties + losses), "low": low, "high": high, "n": wins + ties + losses}
    return {"wins": wins, "ties": ties, "losses": losses, "win_rate": rate}


def test_nothing_is_trained(tmp_path):
    assert conclusion(make_run(tmp_path, {"m0/answers": TRAINED}), 3) is None


def test_nothing_is_measured(tmp_path):
    assert conclusion(make_run(tmp_path, {"m1/sft": TRAINED}), 3) == f"M1 against M0: {NOTHING_MEASURED}."


def test_every_measure_of_the_last_model_is_named(tmp_path):
    vs = match(9, 0, 16, 0.2, 0.56)
    run = make_run(
        tmp_path, {"m1/sft": TRAINED, "m2/dpo": TRAINED, "m2/vs_m0": vs, "m1/vs_m0": match(20, 0, 5, 0.6, 1)}
    )
    judged(run, "m0", [0.0] * 12 + [1.0] * 8)
    judged(run, "m2", [0.0] * 2 + [1.0] * 18)
    for model, values in (("m0", [1.0, 0.0] * 10), ("m2", [1.0, 0.0] * 9 + [0.0, 1.0])):
        judged(run, model, values, "prompt_strict", "instructions")
    text = conclusion(run, 3)
    assert text.startswith(
        "M2 against M0: judges better (90% of 20 held-out pairs ordered right, M0 40%, +50.0 points, "
    )
    assert "; not shown to follow instructions better or worse (50% of 20 prompts, M0 50%, +0.0 points" in text
    assert text.endswith("; not shown to answer better or worse (25 of 25 prompts decided: 9 won, 16 lost).")


@pytest.mark.parametrize(("own", "word"), [([1.0] * 20, "judges better"), ([0.0] * 20, "judges worse")])
def test_better_and_worse(tmp_path, own, word):
    run = make_run(tmp_path, {"m1/sft": TRAINED})
    judged(run, "m0", [0.5] * 20)
    judged(run, "m1", own)
    assert conclusion(run, 1).startswith(f"M1 against M0: {word} (")


def test_a_difference_that_few_prompts_show_is_not_claimed(tmp_path):
    run = make_run(tmp_path, {"m1/sft": TRAINED})
    judged(run, "m0", [0.0] * 5)
    judged(run, "m1", [1.0] * 5)
    assert conclusion(run, 1).startswith("M1 against M0: not shown to judge better or worse (100% of 5 ")


def test_models_measured_on_other_cases_are_not_compared(tmp_path):
    run = make_run(tmp_path, {"m1/sft": TRAINED})
    judged(run, "m1", [1.0] * 9)
    assert conclusion(run, 1) == f"M1 against M0: {NOTHING_MEASURED}."
