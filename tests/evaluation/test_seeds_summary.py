"""The summary over seeds, and its sentence, from files as runs write them."""

import json

import pytest
from srlm import config as configuration
from srlm.evaluation.conclusion import NOTHING_MEASURED
from srlm.evaluation.paired import write_cases
from srlm.evaluation.seeds_conclusion import seeds_conclusion
from srlm.evaluation.seeds_summary import summarize
from srlm.rows.records import Candidate, CaseResult, write_rows
from srlm.run.run_dir import RunDir
from srlm.run.seed_folders import SeedRun

CONFIG = configuration.build({"model": {"name": "m"}})
PROMPTS = 20


def measured(run, model, stage, metric, values, prefix="p"):
    """Write the results of one case per prompt."""
    file = run.file(model, f"{stage}.jsonl")
    file.parent.mkdir(parents=True, exist_ok=True)
    write_cases(file, [CaseResult(metric, f"{prefix}{at}", f"{prefix}{at}", value) for at, value in enumerate(values)])
    run.finish(f"{model}/{stage}", {"cache_key": "key"}, 1.0, {})


def answered(run, model, stage, tokens, thought=None):
    """Write a response to every prompt, with as many tokens, and twice as many characters."""
    rows = [
        Candidate(f"{model}c{at}", f"p{at}", 0, "ab" * count, [1] * count, -1.0, "stop", 1, thought)
        for at, count in enumerate(tokens)
    ]
    write_rows(run.file(model, f"{stage}.jsonl"), rows)


def followed(count):
    return [1.0] * count + [0.0] * (PROMPTS - count)


def make(tmp_path, of_seeds, name="seed-{}", control=False):
    """Write runs of M1 and M2; `of_seeds` has the numbers of followed instructions of M0, M1 and M2 by seed."""
    runs = []
    for seed, counts in of_seeds.items():
        run = RunDir(tmp_path / name.format(seed))
        for t, count in enumerate(counts):
            measured(run, f"m{t}", "instructions", "prompt_strict", followed(count))
            answered(run, f"m{t}", "instructions", [10] * PROMPTS)
            if t:
                run.finish("m1/sft" if t == 1 else f"m{t}/dpo", {"cache_key": "key"}, 1.0, {"rows": 4})
            if t > 1:
                run.finish(f"m{t}/pairs", {"cache_key": "key"}, 1.0, {"rows": 9 - seed - control})
        runs.append(SeedRun(run.path, seed, CONFIG, tmp_path if control else None))
    return runs


def with_controls(tmp_path, own, controls):
    return [*make(tmp_path, own), *make(tmp_path, controls, "seed-{}-control", control=True)]


def test_nothing_has_begun(tmp_path):
    found = summarize([SeedRun(tmp_path / "seed-0", 0, CONFIG)], 2)
    assert (found["measures"], found["trained"]) == ({}, {"m1": [], "m2": []})
    assert seeds_conclusion(found) is None


def test_nothing_is_measured(tmp_path):
    run = RunDir(tmp_path / "seed-0")
    tmp_path.joinpath("seed-0").mkdir()
    run.finish("m1/sft", {"cache_key": "key"}, 1.0, {"rows": 4})
    found = summarize([SeedRun(run.path, 0, CONFIG)], 2)
    assert seeds_conclusion(found) == f"M1 against M0, seed 0 alone: {NOTHING_MEASURED}."


def test_two_seeds_and_their_controls(tmp_path):
    found = summarize(with_controls(tmp_path, {0: (4, 6, 16), 1: (4, 5, 18)}, {0: (4, 6, 7), 1: (4, 5, 7)}), 2)
    assert json.loads(json.dumps(found)) == found
    assert found["seeds"] == found["trained"]["m2"] == [0, 1]
    assert found["pairs"] == {"m2": {"run": {"0": 9, "1": 8}, "control": {"0": 8, "1": 7}}}
    assert list(found["measures"]) == ["instructions_followed"]
    models = found["measures"]["instructions_followed"]
    assert set(models["m0"]["run"]) == {"result"}
    assert set(models["m1"]) == {"run"}  # that of the control is the same
    last = models["m2"]
    assert last["run"]["result"]["by_seed"] == {"0": 0.8, "1": 0.9}
    assert last["run"]["change"]["difference"]["value"] == pytest.approx(0.65)
    assert last["control"]["change"]["difference"]["value"] == pytest.approx(0.15)
    assert last["run_minus_control"]["difference"]["value"] == pytest.approx(0.5)
    assert last["run_minus_control"]["outcome"] == "better"
    sentence = seeds_conclusion(found)
    assert sentence.startswith(
        "M2 against M0, over 2 seeds: follows instructions better (85% of 20 prompts, M0 20%, +65.0 points, 95 % "
    )
    assert ", by seed +60.0 to +70.0; random control +15.0, better than it: +50.0 points, 95 % interval " in sentence


def test_a_gain_that_the_control_has_too(tmp_path):
    found = summarize(with_controls(tmp_path, {0: (4, 6, 16)}, {0: (4, 6, 15)}), 2)
    sentence = seeds_conclusion(found)
    assert sentence.startswith("M2 against M0, seed 0 alone: follows instructions better (")
    assert "; random control +55.0, not shown to differ from it: +5.0 points, " in sentence


def test_a_control_that_is_not_finished(tmp_path):
    controls = {0: (4, 6, 5), 1: (4, 6)}
    sentence = seeds_conclusion(summarize(with_controls(tmp_path, {0: (4, 6, 16), 1: (4, 6, 16)}, controls), 2))
    assert "over 2 seeds: " in sentence
    assert "; random control +5.0, better than it: +55.0 points, " in sentence
    assert sentence.endswith(", 1 of 2 seeds).")


def test_a_loss(tmp_path):
    sentence = seeds_conclusion(summarize(with_controls(tmp_path, {0: (14, 6, 2)}, {0: (14, 6, 14)}), 2))
    assert "follows instructions worse (" in sentence
    assert "random control +0.0, worse than it: -60.0 points" in sentence


def test_a_seed_that_is_not_finished(tmp_path):
    runs = make(tmp_path, {0: (4, 6, 16), 1: (4, 5)})
    found = summarize(runs, 2)
    assert found["trained"] == {"m1": [0, 1], "m2": [0]}
    assert seeds_conclusion(found).startswith("M2 against M0, seed 0 alone: ")


@pytest.mark.parametrize(("thought", "equal"), [(None, 8), ("Hm.", 8)])
def test_responses_of_equal_length(tmp_path, thought, equal):
    """Of the 16 prompts gained or kept, those in which M2's response is as long as M0's count."""
    runs = make(tmp_path, {0: (4, 6, 16)})
    run = RunDir(runs[0].path)
    answered(run, "m2", "instructions", [12] * equal + [13] * (PROMPTS - equal), thought)
    found = summarize(runs, 2)["measures"]["instructions_followed"]["m2"]["run"]["change_at_equal_length"]
    assert found["difference"]["n"] == equal
    assert found["difference"]["value"] == pytest.approx((equal - 4) / equal)


def test_lengths_are_characters_where_a_model_thought(tmp_path):
    runs = make(tmp_path, {0: (4, 6, 16)})
    run = RunDir(runs[0].path)
    rows = [Candidate(f"c{at}", f"p{at}", 0, "ab" * 10, [1] * 90, -1.0, "stop", 1, "Hm.") for at in range(PROMPTS)]
    write_rows(run.file("m2", "instructions.jsonl"), rows)
    found = summarize(runs, 2)["measures"]["instructions_followed"]["m2"]["run"]
    assert found["change_at_equal_length"]["difference"]["n"] == PROMPTS


def test_win_rates_and_implicit_preferences_are_compared_with_even(tmp_path):
    runs = make(tmp_path, {0: (4, 6, 16), 1: (4, 6, 16)})
    for each in runs:
        run = RunDir(each.path)
        measured(run, "m0", "implicit_preferences", "log_ratio_per_token", [])
        measured(run, "m2", "vs_m0", "win_rate", [1.0] * 15 + [0.5] * 5)
        # The held-out prompts of another seed are others.
        measured(run, "m2", "implicit_preferences", "log_ratio_per_token", [0.0] * 12 + [1.0] * 8, f"s{each.seed}p")
        for model, right in (("m0", 8), ("m2", 17)):
            measured(run, model, "judge_held_out", "pairwise_accuracy", followed(right), f"s{each.seed}p")
    found = summarize(runs, 2)
    rates, implicit, judge = (
        found["measures"][key]["m2"]["run"] for key in ("win_rate", "implicit_preferences", "judge_accuracy")
    )
    assert "m0" not in found["measures"]["win_rate"]
    assert "m0" not in found["measures"]["implicit_preferences"]
    assert (rates["change"]["difference"]["value"], rates["change"]["prompts"]) == (pytest.approx(0.375), 20)
    assert rates["change"]["outcome"] == "better"
    assert (implicit["change"]["difference"]["value"], implicit["change"]["prompts"]) == (pytest.approx(-0.1), 40)
    assert implicit["change"]["outcome"] == "same"
    assert (judge["change"]["difference"]["value"], judge["change"]["prompts"]) == (pytest.approx(0.45), 40)
    assert "change_at_equal_length" not in judge  # the model's own responses are not measured
    sentence = seeds_conclusion(found)
    assert "over 2 seeds: judges better (85% of the held-out pairs of 40 prompts ordered right, M0 40%, " in sentence
    assert "; answers better (88% win rate on 20 prompts, even 50%, +37.5 points" in sentence
    assert "; not shown to have moved towards or away from the answers that humans prefer (40% of " in sentence
