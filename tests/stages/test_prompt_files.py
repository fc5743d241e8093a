"""Prompts from the user's files: reading, slices per iteration, and the mixture with self-written ones."""

import json

import pytest
from srlm.config import PromptsSection
from srlm.errors import InputError
from srlm.rows.records import Example, Prompt, content_id, read_rows, write_rows
from srlm.stages import prompt_files
from srlm.stages.prompt_sources import from_files, writer


@pytest.fixture
def file(tmp_path):
    def write(*rows, name="p.jsonl"):
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return str(path)

    return write


def read(*names, ift=()):
    return prompt_files.read_prompt_files(names, lambda: ift)


def section(**values):
    return PromptsSection(**{"source": "files", "files": ["f"], "count": 4, **values})


def test_columns_are_kept(file, tmp_path):
    rows = read(file({"prompt": "One?", "answer": 3, "kwargs": [{"n": None}]}, {"prompt": "Two?"}))
    assert [(row.text, row.columns, row.source) for row in rows] == [
        ("One?", {"answer": 3, "kwargs": [{"n": None}]}, "file"),
        ("Two?", None, "file"),
    ]
    write_rows(tmp_path / "rows.jsonl", rows)
    assert read_rows(tmp_path / "rows.jsonl", Prompt) == rows


def test_repeated_rows_count_once(file):
    rows = read(
        file({"prompt": "One?", "a": 1}, {"prompt": "One?", "a": 1}), file({"prompt": "One?", "a": 1}, name="q.jsonl")
    )
    assert len(rows) == 1


@pytest.mark.parametrize(
    ("rows", "part"),
    [
        ([{"prompt": "One?", "a": 1}, {"prompt": "One?", "a": 2}], "line 2: the same prompt as in"),
        ([{"question": "One?"}], "the column 'prompt' is missing; the row has question"),
        ([{"prompt": "  "}], "the column 'prompt' is empty or not a string"),
        ([{"prompt": ["One?"]}], "the column 'prompt' is empty or not a string"),
        ([], "no prompts"),
    ],
)
def test_wrong_files(file, rows, part):
    with pytest.raises(InputError) as error:
        read(file(*rows))
    assert part in str(error.value)
    assert "p.jsonl" in str(error.value)


ROWS = [Prompt(f"id{number}", f"Prompt {number}", "file", [], -1) for number in range(14)]


def test_slices_are_disjoint_and_the_same_again():
    taken = [prompt_files.slice_for(t, ROWS, section(), [], 1) for t in (2, 3, 4)]
    ids = [row.id for some in taken for row in some]
    assert len(ids) == len(set(ids)) == 12
    assert taken == [prompt_files.slice_for(t, ROWS, section(), [], 1) for t in (2, 3, 4)]
    assert taken[0] != prompt_files.slice_for(2, ROWS, section(), [], 2)
    assert [row.id for row in taken[0]] != [row.id for row in ROWS[:4]]


def test_held_out_prompts_are_left_out():
    held_out = [f" PROMPT {number} " for number in range(10)]
    found = prompt_files.slice_for(2, ROWS, section(), held_out, 0)
    assert {row.id for row in found} == {"id10", "id11", "id12", "id13"}


def test_too_few_prompts():
    with pytest.raises(InputError, match=r"14 prompts that are not held out, and 16 are needed.*prompts.cycle=true"):
        prompt_files.slice_for(5, ROWS, section(), [], 0)
    again = prompt_files.slice_for(5, ROWS, section(cycle=True), [], 0)
    used = [row for t in (2, 3, 4) for row in prompt_files.slice_for(t, ROWS, section(), [], 0)]
    assert len({row.id for row in again}) == 4
    assert [row.id for row in again[2:]] == [row.id for row in used[:2]]
    with pytest.raises(InputError, match="add prompts"):
        prompt_files.slice_for(2, ROWS, section(cycle=True, count=15), [], 0)


@pytest.mark.parametrize(("share", "count"), [(0.0, 4), (0.25, 3), (0.5, 2), (0.1, 4)])
def test_the_share_that_the_model_writes(share, count):
    assert from_files(section(self_instruct_share=share)) == count
    assert from_files(PromptsSection(count=4)) == 0


def test_another_model_writes_only_where_something_is_written():
    assert writer(PromptsSection(model="big")) == "big"
    assert writer(section(model="big")) is None
    assert writer(section(model="big", self_instruct_share=0.5)) == "big"


def example(text, answer, before=()):
    prompt = [*before, {"role": "user", "content": text}]
    return Example(content_id("example", prompt, answer), prompt, [{"role": "assistant", "content": answer}])


def test_the_seed_is_a_source(file):
    several_turns = example("Three?", "3", before=[{"role": "user", "content": "Hi"}])
    ift = [example("One?", "1"), several_turns, example("Two?", "2"), example("One?", "another")]
    rows = read("seed", file({"prompt": "Four?"}), ift=ift)
    assert [(row.text, row.columns, row.source) for row in rows] == [
        ("One?", {"response": "1"}, "file"),
        ("Two?", {"response": "2"}, "file"),
        ("Four?", None, "file"),
    ]


def test_content_of_rows_depends_on_their_columns(file):
    one, other = (read(file({"prompt": "One?", "answer": answer})) for answer in (1, 2))
    assert [row.id for row in one] == [row.id for row in other]
    assert prompt_files.content_ids(one) != prompt_files.content_ids(other)
