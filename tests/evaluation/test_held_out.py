"""Held-out prompts for head-to-head comparisons."""

import pytest
from srlm.config import HeadToHeadSection
from srlm.errors import InputError, StageError
from srlm.evaluation.held_out import held_out_prompts, held_out_sets, read_prompts, without_prompts
from srlm.models import chat
from srlm.rows.records import Example, RankedAnswers

from tests.conftest import DATA


def ranked(text):
    return RankedAnswers(f"r{text}", text, ["x", "y"], [5.0, 1.0], ["", ""])


def example(text):
    return Example(f"e{text}", chat.user(text), chat.assistant("answer"))


def texts(rows):
    return [row.text for row in rows]


def sampled(valid, section=None, *, ift=(), taught=(), seed=0):
    return held_out_prompts(section or HeadToHeadSection(), valid, ift=ift, ranked=taught, seed=seed)


def test_without_files_the_held_out_ranked_prompts_are_used():
    rows = sampled([ranked("one"), ranked("two")])
    assert texts(rows) == ["one", "two"]
    assert all(row.source == "seed" for row in rows)


def test_training_prompts_and_duplicates_are_removed():
    valid = [ranked("one"), ranked("ONE "), ranked("two"), ranked("three")]
    assert texts(sampled(valid, ift=[example("Two")], taught=[ranked("Three")])) == ["one"]


def test_a_limit_samples_with_the_seed():
    valid = [ranked(f"prompt {number}") for number in range(50)]
    section = HeadToHeadSection(prompts=5)
    one, again, other = (texts(sampled(valid, section, seed=seed)) for seed in (1, 1, 2))
    assert one == again != other
    assert len(one) == 5
    assert one == sorted(one, key=lambda text: int(text.split()[1]))  # in the order of the file


def split(valid, section=None, *, ift=(), taught=(), seed=0, early_stop=True):
    section = section or HeadToHeadSection()
    found = held_out_sets(section, valid, ift=ift, ranked=taught, seed=seed, early_stop=early_stop)
    return texts(found.compare), texts(found.early_stop)


@pytest.mark.parametrize(
    ("total", "limit", "sizes"),
    [
        (2, 256, (1, 1)),
        (3, 256, (2, 1)),  # the odd one is for comparing models
        (10, 256, (5, 5)),
        (541, 253, (253, 253)),  # the paper's sizes
        (400, 253, (200, 200)),
        (11, 1, (1, 1)),
    ],
)
def test_early_stopping_has_prompts_of_its_own(total, limit, sizes):
    valid = [ranked(f"prompt {number}") for number in range(total)]
    compare, early_stop = split(valid, HeadToHeadSection(prompts=limit))
    assert (len(compare), len(early_stop)) == sizes
    assert not set(compare) & set(early_stop)
    assert compare == sorted(compare, key=lambda text: int(text.split()[1]))
    assert early_stop == sorted(early_stop, key=lambda text: int(text.split()[1]))


def test_the_split_depends_on_the_texts_and_the_seed_only():
    valid = [ranked(f"prompt {number}") for number in range(41)]
    one, again = split(valid), split(valid[::-1])
    assert [set(part) for part in one] == [set(part) for part in again]
    assert one != split(valid, seed=1)


def test_training_prompts_and_duplicates_are_in_neither_part():
    valid = [ranked("one"), ranked("ONE "), ranked("two"), ranked("three"), ranked("four")]
    compare, early_stop = split(valid, ift=[example("Two")], taught=[ranked("Three")])
    assert sorted([*compare, *early_stop]) == ["four", "one"]


def test_without_early_stopping_nothing_is_split():
    valid = [ranked("one"), ranked("two")]
    assert split(valid, early_stop=False) == (["one", "two"], [])


@pytest.mark.parametrize("total", [0, 1])
def test_too_few_prompts_to_split(total):
    with pytest.raises(StageError, match=rf"dpo\.eval_steps: {total} held-out prompts, but .* at least 2; raise"):
        split([ranked(f"prompt {number}") for number in range(total)])


def test_rows_whose_prompts_choose_checkpoints_are_left_out():
    rows = [ranked("One"), ranked("two"), ranked("one "), ranked("three")]
    prompts = held_out_prompts(HeadToHeadSection(), [ranked("one"), ranked("three")], ift=(), ranked=(), seed=0)
    assert [row.prompt for row in without_prompts(rows, prompts)] == ["two"]


def test_switched_off():
    assert sampled([ranked("one")], HeadToHeadSection(prompts=0)) == []


@pytest.mark.parametrize(
    "content",
    [
        '"one"\n"two"\n',
        '{"prompt": "one"}\n\n{"prompt": "two", "x": 1}\n',
        '{"question": "one"}\r\n{"instruction": "two"}\r\n',
        '{"turns": ["one", "then"]}\n{"text": "two"}',
        '["one", {"prompt": "two"}]',
        '\ufeff[\n{"instruction": "one"},\n"two"]\n',
    ],
)
def test_forms_of_files(tmp_path, content):
    file = tmp_path / "prompts.jsonl"
    file.write_text(content, encoding="utf-8")
    assert read_prompts(file) == ["one", "two"]
    section = HeadToHeadSection(prompt_files=[str(file)])
    assert texts(sampled([ranked("other")], section)) == ["one", "two"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", ["line 1", "not valid JSON"]),
        ('"ok"\nnonsense', ["line 2", "not valid JSON"]),
        ("[1, 2", ["not valid JSON", "fix the file"]),
        ("3", ["line 1", "not a string"]),
        ('{"x": "y"}', ["line 1", "expected one of the fields prompt, instruction"]),
        ('{"prompt": " "}', ["line 1", "empty"]),
        ('{"turns": []}', ["line 1", "not a string"]),
        ("\n", ["contains no prompts"]),
        ("[]", ["contains no prompts"]),
        ('["ok", null]', ["entry 2", "not a string"]),
    ],
)
def test_broken_files(tmp_path, content, words):
    file = tmp_path / "prompts.jsonl"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read_prompts(file)
    assert all(word in str(caught.value) for word in [str(file), *words])
    assert "\n" not in str(caught.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_prompts(tmp_path / "none.jsonl")


@pytest.mark.parametrize(
    ("name", "count", "first"),
    [
        ("oasst/prompt_lottery_en_250_text.jsonl", 250, "Can you tell me about GLaDOS?"),
        ("mt-bench/question.jsonl", 80, "Compose an engaging travel blog post"),
        ("ifeval/input_data.jsonl", 541, "Write a 300+ word summary"),
    ],
)
def test_real_files(name, count, first):
    file = DATA / name
    if not file.is_file():
        pytest.skip("the real data are not beside the checkout")
    found = read_prompts(file)
    assert len(found) == count
    assert found[0].startswith(first)
