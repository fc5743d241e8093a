"""Instruction following: parsing rows, strict and loose checks, accuracies, and generation."""

import contextlib
import dataclasses
import json
import socket

import pytest
from srlm.errors import InputError
from srlm.evaluation import instructions
from srlm.evaluation.instructions import CheckResult, answers_stage, case_results, check, read_instructions, score
from srlm.evaluation.rules import counting, language
from srlm.models import chat
from srlm.rows.records import Candidate, read_rows
from srlm.stages import generation

from tests.conftest import DATA
from tests.evaluation.test_rules import CASES
from tests.scripted import Interrupted, Recorder, ScriptedEngine

COMMA, QUOTES, END, BULLETS, WORDS, FORBIDDEN = (
    "punctuation:no_comma",
    "startend:quotation",
    "startend:end_checker",
    "detectable_format:number_bullet_lists",
    "length_constraints:number_words",
    "keywords:forbidden_words",
)
REAL = DATA / "ifeval" / "input_data.jsonl"


def row_of(*kinds, prompt="Say something.", key=7):
    """A row of the data; each of `kinds` is a kind, or a kind with its arguments."""
    pairs = [kind if isinstance(kind, tuple) else (kind, {}) for kind in kinds]
    names, arguments = zip(*pairs, strict=True) if pairs else ((), ())
    return {"key": key, "prompt": prompt, "instruction_id_list": list(names), "kwargs": list(arguments)}


@pytest.fixture
def read(tmp_path):
    def read(*rows):
        file = tmp_path / "rows.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return read_instructions(file)

    return read


@pytest.fixture(scope="module")
def real():
    if not REAL.is_file():
        pytest.skip("IFEval's data is not beside the checkout")
    return read_instructions(REAL)


def test_read(read):
    first, second = read(row_of(COMMA, (WORDS, {"num_words": 9, "relation": "at least"})), row_of(QUOTES, key="b"))
    assert (first.key, second.key, first.prompt) == ("7", "b", "Say something.")
    assert first.kinds == (COMMA, WORDS)
    assert first.arguments == ({}, {"num_words": 9, "relation": "at least"})
    assert first.id != second.id


def test_nulls_count_as_absent(read):
    (bare,) = read(row_of((WORDS, {"relation": "at least", "num_words": 9}), COMMA))
    nulls = dict.fromkeys(["keywords", "num_words", "letter", "relation"])
    (full,) = read(row_of((WORDS, {**nulls, "num_words": 9, "relation": "at least"}), (COMMA, nulls), key=8))
    assert full.arguments == bare.arguments
    assert full.id == bare.id


LESS = {"num_words": 9, "relation": "less than"}
BROKEN = [
    ([1], "line 1: expected a JSON object"),
    ({"prompt": "a"}, "line 1: field 'key' is missing"),
    ({**row_of(COMMA), "prompt": " "}, "line 1: 'prompt' must be a non-blank string"),
    ({**row_of(COMMA), "prompt": None}, "line 1: 'prompt' must be a non-blank string"),
    ({**row_of(COMMA), "kwargs": []}, "non-empty lists of the same length"),
    (row_of(), "non-empty lists of the same length"),
    (
        row_of("punctuation:no_commas"),
        "line 1: unknown instruction 'punctuation:no_commas'.*did you mean 'punctuation:no_comma'",
    ),
    (row_of("sentence:keyword"), "did you mean '"),
    ({**row_of(COMMA), "instruction_id_list": [5]}, "unknown instruction 5"),
    (row_of((COMMA, None)), "no_comma: expected an object of arguments, found NoneType"),
    (row_of((COMMA, {"commas": 0})), "no_comma: this instruction takes no arguments .found 'commas'.; remove it"),
    (row_of((WORDS, {**LESS, "num_word": 2})), "unknown argument 'num_word'; did you mean 'num_words'?"),
    (row_of((WORDS, {"num_words": 9})), "'relation' is missing; set it to \"less than\" or"),
    (row_of((WORDS, {**LESS, "num_words": None})), "'num_words' is missing; set it to an integer"),
    (row_of((WORDS, {**LESS, "num_words": -1})), "'num_words' is -1; it must be an integer of at least 0"),
    (row_of((WORDS, {**LESS, "num_words": 2.0})), "'num_words' is 2.0"),
    (row_of((WORDS, {**LESS, "num_words": True})), "'num_words' is True"),
    (row_of((WORDS, {**LESS, "relation": "at most"})), "'relation' is 'at most'"),
    (row_of((WORDS, {**LESS, "relation": ["at least"]})), "'relation' is \\['at least'\\]"),
    (row_of(("language:response_language", {"language": "german"})), "'language' is 'german'.*such as \"de\""),
    (row_of(("language:response_language", {"language": []})), "'language' is \\[\\]"),
    (row_of((FORBIDDEN, {"forbidden_words": []})), "a list of non-blank strings"),
    (row_of((FORBIDDEN, {"forbidden_words": "bad"})), "a list of non-blank strings"),
    (row_of((FORBIDDEN, {"forbidden_words": ["a", ""]})), "a list of non-blank strings"),
    (row_of((END, {"end_phrase": "  "})), "a non-blank string"),
    (
        row_of(("keywords:letter_frequency", {"letter": "ab", "let_frequency": 1, "let_relation": "at least"})),
        "'letter' is 'ab'; it must be a single character",
    ),
    (
        row_of(
            (
                "length_constraints:nth_paragraph_first_word",
                {"num_paragraphs": 2, "nth_paragraph": 0, "first_word": "a"},
            )
        ),
        "'nth_paragraph' is 0; it must be an integer of at least 1",
    ),
]


@pytest.mark.parametrize(("row", "message"), BROKEN)
def test_broken_rows(read, row, message):
    with pytest.raises(InputError, match=message) as error:
        read(row)
    assert "\n" not in str(error.value)
    assert "rows.jsonl, line 1" in str(error.value)


def test_repeated_and_absent_rows(read, tmp_path):
    with pytest.raises(InputError, match="line 3: the same prompt and instructions appear twice"):
        read(row_of(COMMA), row_of(QUOTES), row_of(COMMA, key=9))
    with pytest.raises(InputError, match="contains no prompts"):
        read()
    with pytest.raises(InputError, match="cannot be read"):
        read_instructions(tmp_path / "none.jsonl")


END_BYE = (END, {"end_phrase": "Bye."})
TWO_BULLETS = (BULLETS, {"num_bullets": 2})
NOT_BAD = (FORBIDDEN, {"forbidden_words": ["bad"]})


@pytest.mark.parametrize(
    ("kind", "answer", "strict", "loose"),
    [
        (COMMA, "fine", True, True),
        (COMMA, "Sure, here it is:\nfine", False, True),
        (COMMA, "fine\nI hope, it helps", False, True),
        (COMMA, "Sure, here:\nfine\nI hope, it helps", False, True),
        (COMMA, "fine\nyes, no\nfine", False, False),
        (COMMA, "Sure, here: fine", False, False),
        (QUOTES, 'Here:\n"a"', False, True),
        (QUOTES, '**"a"**', False, True),
        (QUOTES, 'Here:\n\n*"a"*\n\n', False, True),
        (QUOTES, 'Dear all:\nHere:\n"a"', False, False),  # only one of the first lines is removed
        (END_BYE, "So. **Bye.**", False, True),
        (END_BYE, "So. Bye.\n- end", False, True),
        (TWO_BULLETS, "* a\n* b\n* c", False, True),
        (TWO_BULLETS, "* a", False, False),
        (NOT_BAD, "bad", False, False),  # without its line the rest is blank, which follows nothing
        (NOT_BAD, "bad\n\n", False, False),
        (NOT_BAD, "bad\n***", False, True),
        (NOT_BAD, "b*ad", True, True),
        (COMMA, "", False, False),
        (COMMA, " \n\t", False, False),
    ],
)
def test_strict_and_loose(read, kind, answer, strict, loose):
    (row,) = read(row_of(kind))
    assert check(row, answer) == CheckResult((strict,), (loose,))


def test_instructions_keep_their_order(read):
    (row,) = read(row_of(QUOTES, COMMA, TWO_BULLETS, COMMA))
    assert check(row, "one, two\n- a\n- b\nbye") == CheckResult((False, False, True, False), (False, True, True, True))


def test_score(read):
    rows = read(
        row_of(COMMA, prompt="a"),
        row_of(COMMA, QUOTES, END_BYE, prompt="b"),
        row_of(QUOTES, QUOTES, prompt="c"),
        row_of(COMMA, prompt="d"),
    )
    answers = dict(zip([row.id for row in rows], ["fine", "No, sir. Bye.", '*"a"*', ""], strict=True))
    got = score(rows, answers)
    # strict: a 1 of 1; b 1 of 3 (the end); c 0 of 2, by the asterisks; d 0 of 1. Loose: c 2 of 2.
    figures = [got.prompt_strict, got.instruction_strict, got.prompt_loose, got.instruction_loose]
    assert [(figure.value, figure.n) for figure in figures] == [(1 / 4, 4), (2 / 7, 7), (2 / 4, 4), (4 / 7, 7)]
    assert all(figure.low <= figure.value <= figure.high for figure in figures)
    by_kind = {kind: (figure.value, figure.n) for kind, figure in got.by_kind.items()}
    assert by_kind == {COMMA: (1 / 3, 3), END: (1, 1), QUOTES: (0, 3)}
    assert list(by_kind) == sorted(by_kind)


def test_a_prompt_without_a_response_counts_as_not_followed(read):
    rows = read(row_of(COMMA, prompt="a"), row_of(COMMA, QUOTES, prompt="b", key=9))
    got = score(rows, {rows[0].id: "fine"})
    figures = [got.prompt_strict, got.instruction_strict, got.prompt_loose, got.instruction_loose]
    assert [(figure.value, figure.n) for figure in figures] == [(1 / 2, 2), (1 / 3, 3), (1 / 2, 2), (1 / 3, 3)]
    assert {kind: (figure.value, figure.n) for kind, figure in got.by_kind.items()} == {COMMA: (0.5, 2), QUOTES: (0, 1)}
    assert got.unanswered == 1
    assert got == dataclasses.replace(score(rows, {rows[0].id: "fine", rows[1].id: " "}), unanswered=1)
    assert score(rows, {row.id: "fine" for row in rows}).unanswered == 0


def test_the_result_of_every_case_gives_the_accuracies(read):
    rows = read(row_of(COMMA, prompt="a"), row_of(COMMA, QUOTES, END_BYE, prompt="b"), row_of(QUOTES, prompt="c"))
    answers = dict(zip([row.id for row in rows], ["fine", "No, sir. Bye.", '*"a"*'], strict=True))
    got, cases = score(rows, answers), case_results(rows, answers)
    assert len({(case.metric, case.id) for case in cases}) == len(cases)
    for metric in ("prompt_strict", "instruction_strict", "prompt_loose", "instruction_loose"):
        values = [case.value for case in cases if case.metric == metric]
        assert sum(values) / len(values) == getattr(got, metric).value


@pytest.fixture
def write(tmp_path, tiny_tokenizer, read):
    rows = read(*(row_of(COMMA, prompt=f"Prompt {number}") for number in range(4)))

    def write(name, **settings):
        engine = ScriptedEngine(tiny_tokenizer, lambda request: f"answer to {request.key}", **settings)
        report, file = Recorder(), tmp_path / name
        with contextlib.suppress(Interrupted):
            generation.run(engine, answers_stage(engine, rows, file, max_tokens=30, report=report))
        return engine, report, read_rows(file, Candidate)

    return rows, write


def test_answers(write, tiny_tokenizer):
    rows, write = write
    engine, report, answers = write("answers")
    assert [answer.prompt_id for answer in answers] == [row.id for row in rows]
    assert [(answer.text, answer.index) for answer in answers] == [(f"answer to {row.id}.0", 0) for row in rows]
    for row, request in zip(rows, engine.requests, strict=True):
        assert request.prompt_ids == chat.prompt_ids(tiny_tokenizer, chat.user(row.prompt))
        assert (request.sampling.temperature, request.sampling.top_p, request.sampling.max_tokens) == (0, 1, 30)
    assert (report.starts, report.advanced) == ([("instructions", 4, 0)], 4)
    assert score(rows, {answer.prompt_id: answer.text for answer in answers}).prompt_strict.value == 1


def test_generation_resumes(write):
    _, write = write
    _, _, undisturbed = write("undisturbed")
    _, _, first = write("answers", fail_after=2, group=3)
    engine, report, answers = write("answers", group=3)
    assert answers[:2] == first
    assert len(engine.requests) == report.advanced == 2
    assert report.starts == [("instructions", 4, 2)]
    assert sorted(answers, key=lambda row: row.id) == sorted(undisturbed, key=lambda row: row.id)


def test_no_network(read, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a check opened a socket")

    for cached in (counting._splitter, language._factory, language.supported_languages):
        cached.cache_clear()
    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)
    for kind, (arguments, follows, does_not) in CASES.items():
        (row,) = read(row_of((kind, arguments)))
        assert check(row, follows[0]).strict == (True,)
        assert check(row, does_not[0]).strict == (False,)


ANSWERS = {
    "empty": "",
    "long": 'This is a sentence, and * so is [this]. <<Here>> "it" goes on!\n\n' * 80,
    "without an end": "<<[[**((``" * 3000,
    "unicode": "Ünïcödé \u2028 \U0001f600 \ud800 \0 日本語のテキスト。 שלום ١٢٣ ﬁ ẞ İ",
    "HTML": "<!DOCTYPE html>\n<html><body><p>A &amp; B</p><ul>\n<li>one</li>\n</ul></body></html>",
}


@pytest.mark.parametrize("name", ANSWERS)
def test_real_rows_take_any_answer(real, name):
    assert len(real) == 541
    assert sum(len(row.kinds) for row in real) == 834
    assert {kind for row in real for kind in row.kinds} == set(CASES)
    checked = [check(row, ANSWERS[name]) for row in real]
    assert all(len(each.strict) == len(each.loose) == len(row.kinds) for row, each in zip(real, checked, strict=True))
    assert all(loose or not strict for each in checked for strict, loose in zip(each.strict, each.loose, strict=True))
    if name == "empty":
        assert not any(any(each.loose) for each in checked)


SIMPLE = {
    "combination:repeat_prompt": lambda answer, prompt_to_repeat: f"{prompt_to_repeat}\n{answer}",
    "detectable_content:number_placeholders": lambda answer, num_placeholders: answer + " [x]" * num_placeholders,
    "detectable_content:postscript": lambda answer, postscript_marker: f"{answer}\n{postscript_marker}. more",
    "detectable_format:constrained_response": lambda answer: f"{answer} My answer is maybe.",
    "detectable_format:number_bullet_lists": lambda answer, num_bullets: answer + "\n* point" * num_bullets,
    "detectable_format:title": lambda answer: f"{answer} <<A title>>",
    "keywords:existence": lambda answer, keywords: " ".join([answer, *keywords]),
    "punctuation:no_comma": lambda answer: answer.replace(",", ""),
    "startend:end_checker": lambda answer, end_phrase: f"{answer} {end_phrase}",
    "startend:quotation": lambda answer: f'"{answer}"',
}


def test_real_rows_followed_by_construction(real):
    """Rows of simple kinds are followed by an answer that is constructed for them, and not by "Pebbles, dust."."""
    last = ["punctuation:no_comma", "startend:end_checker", "startend:quotation", "combination:repeat_prompt"]
    rows = [row for row in real if set(row.kinds) <= set(SIMPLE) and len(set(row.kinds) & set(last)) < 2]
    assert len(rows) > 150
    for row in rows:
        answer = "Pebbles, dust."
        assert check(row, answer).strict == (False,) * len(row.kinds)
        for kind, given in sorted(zip(row.kinds, row.arguments, strict=True), key=lambda pair: pair[0] in last):
            answer = SIMPLE[kind](answer, **given)
        assert check(row, answer) == CheckResult((True,) * len(row.kinds), (True,) * len(row.kinds)), (row.key, answer)


def test_real_rows_score(real):
    got = score(real, {row.id: "A short answer." for row in real})
    assert (got.prompt_strict.n, got.instruction_strict.n) == (541, 834)
    assert got.by_kind["punctuation:no_comma"].value == 1
    assert got.by_kind["startend:quotation"].value == 0
    assert sum(figure.n for figure in got.by_kind.values()) == 834
    assert got.prompt_strict.value <= got.instruction_strict.value
    assert got.prompt_strict.value <= got.prompt_loose.value
    assert instructions.RULES.keys() == got.by_kind.keys()
