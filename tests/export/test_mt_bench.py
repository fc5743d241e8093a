"""MT-Bench: conversations of two turns, resuming, and FastChat's file."""

import contextlib
import json

import pytest
from srlm.config import build
from srlm.errors import InputError
from srlm.export.mt_bench import MtBenchTask, Question, TurnAnswer, read_questions, write_model_answers, write_turns
from srlm.models import chat
from srlm.rows.records import read_rows

from tests.scripted import Interrupted, Recorder, ScriptedEngine

QUESTIONS = [
    Question(81, "writing", ["Write a line.", "Shorten it."]),
    Question(111, "math", ["What is 2 + 2?", "And twice that?"]),
    Question(131, "stem", ["Why is ice light?"]),
    Question("x", "cooking", ["Boil an egg.", "And two?"]),
]


def reply(request):
    return f" reply {request.seed}\n"


@pytest.fixture
def write(tmp_path, tiny_tokenizer):
    """Answer the questions into a file of this name; returns the engine, the reporter and the rows."""

    def write(name, *, questions=QUESTIONS, seed=0, temperature=None, **settings):
        engine, report = ScriptedEngine(tiny_tokenizer, reply, **settings), Recorder()
        file = tmp_path / name
        with contextlib.suppress(Interrupted):
            write_turns(engine, questions, file, temperature=temperature, seed=seed, report=report)
        return engine, report, read_rows(file, TurnAnswer)

    return write


def test_the_second_turn_follows_the_first_answer(write, tiny_tokenizer):
    engine, report, rows = write("turns")
    texts = {(row.question_id, row.turn): row.text for row in rows}
    assert [(row.question_id, row.turn) for row in rows] == [
        *((81, 0), (111, 0), (131, 0), ("x", 0)),
        *((81, 1), (111, 1), ("x", 1)),
    ]
    expected = [
        *(chat.user(question.turns[0]) for question in QUESTIONS),
        *(
            [
                *chat.user(question.turns[0]),
                *chat.assistant(texts[question.id, 0].strip()),
                *chat.user(question.turns[1]),
            ]
            for question in QUESTIONS
            if len(question.turns) == 2
        ),
    ]
    assert [request.prompt_ids for request in engine.requests] == [
        chat.prompt_ids(tiny_tokenizer, messages) for messages in expected
    ]
    assert (report.starts, report.advanced) == ([("mt-bench", 7, 0)], 7)


def test_sampling(write):
    engine, _, rows = write("turns")
    assert [request.sampling.temperature for request in engine.requests] == [0.7, 0.0, 0.1, 0.7, 0.7, 0.0, 0.7]
    assert {(request.sampling.top_p, request.sampling.max_tokens) for request in engine.requests} == {(1.0, 1024)}
    assert [row.seed for row in rows] == [request.seed for request in engine.requests]
    assert len({row.seed for row in rows}) == 7
    assert {row.seed for row in write("other", seed=1)[2]}.isdisjoint(row.seed for row in rows)
    assert {request.sampling.temperature for request in write("set", temperature=0.3)[0].requests} == {0.3}


@pytest.mark.parametrize("after", range(8))
@pytest.mark.parametrize("group", [1, 3])
def test_resumes_at_the_row(write, after, group):
    _, _, undisturbed = write("undisturbed")
    _, report, first = write("turns", fail_after=after, group=group)
    assert len(first) == report.advanced == after
    engine, report, rows = write("turns", group=group)
    assert rows[:after] == first
    assert len(engine.requests) == 7 - after
    assert report.starts == [("mt-bench", 7, after)]
    assert sorted(rows, key=lambda row: row.id) == sorted(undisturbed, key=lambda row: row.id)


def test_an_edited_question_is_answered_again(write):
    write("turns")
    changed = [Question(81, "writing", ["Write a line.", "Lengthen it."]), *QUESTIONS[1:]]
    engine, _, _ = write("turns", questions=changed)
    assert len(engine.requests) == 1


def test_the_file_for_fastchat(write, tmp_path):
    _, _, rows = write("turns")
    file = tmp_path / "answers" / "m2.jsonl"
    write_model_answers(QUESTIONS, rows, file)
    texts = {(row.question_id, row.turn): row.text.strip() for row in rows}
    answers = [json.loads(line) for line in file.read_text("ascii").splitlines()]
    assert [row["question_id"] for row in answers] == [81, 111, 131, "x"]
    assert {row["model_id"] for row in answers} == {"m2"}
    assert len({row["answer_id"] for row in answers}) == 4
    for question, row in zip(QUESTIONS, answers, strict=True):
        turns = [texts[question.id, turn] for turn in range(len(question.turns))]
        assert row["choices"] == [{"index": 0, "turns": turns}]
        assert set(row) == {"question_id", "answer_id", "model_id", "choices", "tstamp"}
        assert isinstance(row["tstamp"], float)


def test_a_turn_without_an_answer(write, tmp_path):
    _, _, rows = write("turns", fail_after=5)
    with pytest.raises(InputError, match="question 111: turn 2 has no answer"):
        write_model_answers(QUESTIONS, rows, tmp_path / "m2.jsonl")
    assert not (tmp_path / "m2.jsonl").exists()


def test_a_file_name_that_fastchat_rejects(tmp_path):
    with pytest.raises(InputError, match=r"with the extension \.jsonl"):
        write_model_answers([], [], tmp_path / "m2.json")


def test_task(tmp_path, tiny_tokenizer):
    questions = tmp_path / "question.jsonl"
    questions.write_text('{"question_id": 1, "category": "math", "turns": ["a", "b"], "reference": ["c", "d"]}\n')
    task = MtBenchTask("mt-bench", questions, tmp_path / "m2.jsonl", temperature=0.2, max_tokens=9)
    engine = ScriptedEngine(tiny_tokenizer, reply)
    assert task.run(engine, build({"model": {"name": "unused"}}, (), "test"), 0, Recorder()) == {"rows": 1}
    assert {(it.sampling.temperature, it.sampling.max_tokens) for it in engine.requests} == {(0.2, 9)}
    assert sorted(file.name for file in tmp_path.glob("m2*")) == ["m2.jsonl", "m2.turns"]
    assert len(json.loads(task.file.read_text())["choices"][0]["turns"]) == 2


GOOD = '{"question_id": 1, "category": "math", "turns": ["a"]}\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "contains no questions"),
        (GOOD + "{", "line 2: not valid JSON"),
        (GOOD + GOOD, "line 2: question_id 1 appears twice"),
        ('{"category": "math", "turns": ["a"]}', "line 1: `question_id` must be"),
        ('{"question_id": true, "category": "math", "turns": ["a"]}', "line 1: `question_id` must be"),
        ('{"question_id": 1, "turns": ["a"]}', "line 1: `category` must be"),
        ('{"question_id": 1, "category": "math"}', "line 1: `turns` must be"),
        ('{"question_id": 1, "category": "math", "turns": []}', "line 1: `turns` must be"),
        ('{"question_id": 1, "category": "math", "turns": ["a", " "]}', "line 1: `turns` must be"),
        ('{"question_id": 1, "category": "math", "turns": "a"}', "line 1: `turns` must be"),
    ],
)
def test_broken_questions(tmp_path, text, message):
    file = tmp_path / "question.jsonl"
    file.write_text(text)
    with pytest.raises(InputError) as error:
        read_questions(file)
    assert message in str(error.value)
    assert str(error.value).startswith(str(file))
