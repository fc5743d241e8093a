"""The pairs sampled for the report, and the outcome of every candidate."""

import dataclasses

import pytest
from srlm.errors import InputError
from srlm.report.collect import read_run
from srlm.report.samples import read_samples
from srlm.rows.records import write_rows

from tests.report_run import HOSTILE, candidate, change_manifest, make_run, pair, verdict


def many(tmp_path, pairs):
    """Write a run with many pairs in M2's file and as many again in M3's."""
    make_run(tmp_path)
    change_manifest(tmp_path, lambda manifest: manifest.update({"m3/pairs": manifest["m2/pairs"]}))
    for t in (2, 3):
        rows = [
            dataclasses.replace(pair(0, 0, 1), prompt=[{"role": "user", "content": f"{t}-{i}"}]) for i in range(pairs)
        ]
        write_rows(tmp_path / f"m{t}" / "pairs.jsonl", rows)
    return tmp_path


def prompts(samples):
    return [row["prompt"] for row in samples.pairs]


def test_a_small_run_shows_all_pairs(tmp_path):
    samples = read_samples(read_run(make_run(tmp_path)), 10)
    assert samples.total == 2
    assert prompts(samples) == ["Question 0? An answer.", "Question 1? An answer."]
    assert samples.pairs[1] == {
        "model": 2,
        "prompt": "Question 1? An answer.",
        "chosen": {"text": "An answer.", "score": 3.0, "length": 14,
                   "verdicts": [{"outcome": "scored", "score": 3.0, "text": "An answer. Score: 3.0"}]},
        "rejected": {"text": "An answer.", "score": 1.0, "length": 17,
                     "verdicts": [{"outcome": "scored", "score": 3.0, "text": "An answer. Score: 3.0"}]},
    }  # fmt: skip


def test_the_sample_covers_all_iterations_and_is_reproducible(tmp_path):
    run = read_run(many(tmp_path, 200))
    sampled = read_samples(run, 100)
    assert sampled.total == 400
    assert len(set(prompts(sampled))) == 100
    assert sampled == read_samples(run, 100)
    order = {f"{t}-{i}": (t, i) for t in (2, 3) for i in range(200)}
    assert prompts(sampled) == sorted(prompts(sampled), key=order.__getitem__)
    # Sampled from all iterations alike: 50 each on average, four standard deviations (of 4.3) to either side.
    assert 32 < sum(row["model"] == 2 for row in sampled.pairs) < 68
    # Uniform within a file: the mean index is 99.5, four standard deviations (of 5) to either side.
    assert 79 < sum(order[prompt][1] for prompt in prompts(sampled)) / 100 < 120


def test_another_seed_samples_other_pairs(tmp_path):
    run = read_run(many(tmp_path, 100))
    other = dataclasses.replace(run, config=run.config | {"seed": 8})
    assert prompts(read_samples(run, 20)) != prompts(read_samples(other, 20))


def test_every_candidate_is_counted_once(tmp_path):
    outcomes = read_samples(read_run(make_run(tmp_path)), 10).outcomes
    assert outcomes == {2: {"in a pair": 4, "not scored": 1, "truncated": 1, "not in a pair": 2}}


@pytest.mark.parametrize("text", ['"outcome": "scored"', '\\"outcome\\": \\"scored\\"', HOSTILE])
def test_a_text_is_not_taken_for_a_field(tmp_path, text):
    make_run(tmp_path)
    write_rows(tmp_path / "m2" / "verdicts.jsonl", [verdict(5, None, "missing", text)])
    write_rows(tmp_path / "m2" / "candidates.jsonl", [candidate(5, '", "finish_reason": "length", "' + text)])
    samples = read_samples(read_run(tmp_path), 10)
    assert samples.outcomes[2] == {"in a pair": 0, "not scored": 1, "truncated": 0, "not in a pair": 0}


def test_a_conversation_is_shown_with_its_roles(tmp_path):
    make_run(tmp_path)
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    write_rows(tmp_path / "m2" / "pairs.jsonl", [dataclasses.replace(pair(0, 0, 1), prompt=turns)])
    assert prompts(read_samples(read_run(tmp_path), 1)) == ["system: Be brief.\n\nuser: Why?"]


def test_pairs_without_token_ids_have_no_length(tmp_path):
    make_run(tmp_path)
    write_rows(tmp_path / "m2" / "pairs.jsonl", [dataclasses.replace(pair(0, 0, 1), chosen_token_ids=None)])
    assert read_samples(read_run(tmp_path), 1).pairs[0]["chosen"]["length"] is None


def test_a_broken_row_is_named(tmp_path):
    make_run(tmp_path)
    file = tmp_path / "m2" / "pairs.jsonl"
    file.write_text(file.read_text() + "{broken\n")
    with pytest.raises(InputError, match=r"pairs\.jsonl, line 3: not valid JSON: "):
        read_samples(read_run(tmp_path), 10)
