"""Changes over several seeds, against computations that share no code with them."""

import math
from itertools import product

import numpy as np
import pytest
from srlm.evaluation.over_seeds import _mean_change, change_over_seeds, equally_long, even, means, spread
from srlm.evaluation.paired import paired_change
from srlm.rows.records import CaseResult


def cases(values, metric="m"):
    """One case per prompt, by the prompt's name; a list of values gives a prompt several cases."""
    return [
        CaseResult(metric, f"{prompt}.{index}", prompt, float(value))
        for prompt, of_prompt in values.items()
        for index, value in enumerate(of_prompt if isinstance(of_prompt, list) else [of_prompt])
    ]


def drawn(seeds, prompts, chance, start):
    draw = np.random.default_rng(start)
    return {seed: cases({f"p{at}": draw.random() < chance for at in range(prompts)}) for seed in range(seeds)}


def test_the_same_prompts_in_every_seed_are_resampled_by_their_means():
    before, after = drawn(3, 120, 0.4, 1), drawn(3, 120, 0.6, 2)
    change = change_over_seeds(after, before)
    values = np.array([[b.value - a.value for a, b in zip(before[s], after[s], strict=True)] for s in range(3)])
    of_prompts = values.mean(axis=0)  # [P]
    draw = np.random.default_rng(7)
    resampled = np.array([of_prompts[draw.integers(0, 120, 120)].mean() for _ in range(20000)])
    assert change.difference.value == pytest.approx(of_prompts.mean())
    assert (change.difference.low, change.difference.high) == pytest.approx(
        tuple(np.quantile(resampled, [0.025, 0.975])), abs=0.01
    )
    assert (change.difference.n, change.prompts) == (360, 120)
    assert list(change.spread.by_seed.values()) == pytest.approx(values.mean(axis=1).tolist())
    assert change.spread.deviation == pytest.approx(values.mean(axis=1).std(ddof=1))


def test_one_seed_is_the_paired_change_of_a_run():
    before, after = drawn(1, 90, 0.4, 1), drawn(1, 90, 0.7, 2)
    change, single = change_over_seeds(after, before), paired_change(after[0], before[0])
    assert (change.difference, change.p_value, change.outcome) == (single.difference, single.p_value, single.outcome)
    assert change.spread.deviation is None


def test_prompts_that_only_some_seeds_have():
    """Each seed is pooled over its own cases, and seeds count alike."""
    before = {0: cases({"a": [0, 0, 0], "b": 0}), 1: cases({"b": 1, "c": [0.5, 0]})}
    after = {0: cases({"a": [1, 1, 0], "b": 0.5}), 1: cases({"b": 0, "c": [0.5, 1]})}
    change = change_over_seeds(after, before)
    assert change.spread.by_seed == pytest.approx({0: 2.5 / 4, 1: 0})
    assert change.difference.value == pytest.approx(2.5 / 8)
    assert (change.difference.n, change.prompts) == (7, 3)


def test_every_resample_of_prompts_that_only_some_seeds_have():
    top = [{"a": 2.0, "b": 0.5}, {"b": -1.0, "c": 1.0}]
    below = [{"a": 3, "b": 1}, {"b": 1, "c": 2}]
    names = ["a", "b", "c"]
    arrays = [np.array([[of.get(name, 0) for name in names] for of in table], dtype=float) for table in (top, below)]
    for chosen in product(range(3), repeat=3):
        values = []
        for sums, counts in zip(top, below, strict=True):
            cases_drawn = sum(counts.get(names[at], 0) for at in chosen)
            total = sum(sums.get(names[at], 0) for at in chosen)
            values.append(total / cases_drawn if cases_drawn else math.nan)
        found = _mean_change(*arrays, np.array([chosen]))
        assert found == pytest.approx([sum(values) / 2], nan_ok=True)


def test_the_test_flips_whole_prompts_in_all_seeds():
    before = {0: cases({f"p{at}": 0 for at in range(7)}), 1: cases({f"p{at}": at % 2 for at in range(3, 9)})}
    after = {0: cases({f"p{at}": at != 2 for at in range(7)}), 1: cases({f"p{at}": 1 for at in range(3, 9)})}
    sums = {}
    for seed in (0, 1):
        for old, new in zip(before[seed], after[seed], strict=True):
            sums[old.prompt] = sums.get(old.prompt, 0) + new.value - old.value
    flipped = [
        abs(sum(s * v for s, v in zip(signs, sums.values(), strict=True))) for signs in product((1, -1), repeat=9)
    ]
    expected = sum(value >= abs(sum(sums.values())) for value in flipped) / len(flipped)
    assert change_over_seeds(after, before).p_value == pytest.approx(expected)


def test_a_gain_that_one_of_two_seeds_shows_on_the_same_prompts_is_averaged():
    names = [f"p{at}" for at in range(40)]
    before = {seed: cases(dict.fromkeys(names, 0)) for seed in (0, 1)}
    after = {0: cases(dict.fromkeys(names, 1)), 1: cases(dict.fromkeys(names, 0))}
    change = change_over_seeds(after, before)
    assert (change.difference.value, change.spread.low, change.spread.high) == (0.5, 0, 1)
    assert change.outcome == "better"
    opposite = change_over_seeds({0: after[0], 1: before[1]}, {0: before[0], 1: after[0]})
    assert (opposite.difference.value, opposite.outcome) == (0, "same")


def test_a_seed_whose_models_share_too_few_cases_is_left_out():
    before = {0: cases({"a": 0, "b": 0}), 1: cases(dict.fromkeys("abcde", 0)), 2: cases({"a": 1})}
    after = {0: cases({"a": 1, "b": 0}), 1: cases({"a": 1, "b": 1})}
    change = change_over_seeds(after, before)
    assert change.spread.by_seed == {0: 0.5}
    assert change_over_seeds({1: after[1]}, before) is None
    assert change_over_seeds({}, {}) is None


def test_only_some_prompts_of_each_seed():
    before, after = ({seed: cases({"a": value, "b": 0}) for seed in (0, 1)} for value in (0, 1))
    change = change_over_seeds(after, before, only={0: {"a"}, 1: {"b"}})
    assert change.spread.by_seed == {0: 1, 1: 0}
    assert change.difference.n == 2
    assert change_over_seeds(after, before, only={}) is None


def test_results_against_an_even_one():
    won = {0: cases({"a": 1, "b": 0.5, "c": 1})}
    assert change_over_seeds(won, even(won)).difference.value == pytest.approx(1 / 3)


def test_spread():
    assert spread({}) is None
    assert spread({3: 0.5}).deviation is None
    assert spread({0: 1.0, 1: 3.0}).deviation is None
    found = spread({0: 1.0, 1: 3.0, 2: 5.0})
    assert (found.mean, found.low, found.high, found.deviation) == (3, 1, 5, 2)
    assert means({0: cases({"a": 1, "b": 0}), 1: []}).by_seed == {0: 0.5}


def test_equally_long_responses():
    first = {"same": 7, "quarter": 100, "more": 100, "blank": 0, "blanks": 0, "alone": 3}
    second = {"same": 7, "quarter": 125, "more": 126, "blank": 1, "blanks": 0}
    assert equally_long(first, second) == equally_long(second, first) == {"same", "quarter", "blanks"}
