"""Who answers besides M_t: the rows, resuming, what pairs may use them for, and what reads M_t's own answers only."""

import random
from dataclasses import replace

import numpy as np
import pytest
from srlm.config import CandidatesSection, PairsSection, SuppliersSection
from srlm.engines.base import Completion
from srlm.errors import InputError
from srlm.evaluation.data_metrics import data_metrics
from srlm.models import chat
from srlm.rows.records import Candidate, Pair, Prompt, Score, content_id, read_rows, write_rows
from srlm.signals.registry import signal_of
from srlm.stages import generation, pairs, suppliers
from srlm.stages.candidates import CandidatesStage, write_candidates
from srlm.stages.score_table import read_answers, read_scores
from srlm.stages.supplied_answers import SuppliedAnswers
from srlm.training.kl import _sample_answers
from srlm.training.sampled_logps import read_sampled

from tests.scripted import Interrupted, Recorder, ScriptedEngine
from tests.signals.answers import build, candidates, prompt, select

PROMPTS = [
    Prompt(f"p{n}", f"Question {n}?", "file", [], -1, columns={"response": f"Human {n}."} if n != 1 else None)
    for n in range(3)
]
ALL = SuppliersSection(hot_per_prompt=2, hot_temperature=1.7, model="previous", model_per_prompt=2, human=True)
SECTION = CandidatesSection(per_prompt=2, temperature=0.4, max_tokens=9)


def draw(request):
    return Completion(request.key, [97, 98, 2], f"answer {request.key}", -1.5, "stop", [[]] * 3)


@pytest.fixture
def supplied(tmp_path, tiny_tokenizer):
    """The file of another model's answers; it gave one answer only to the last prompt."""
    file, engine = tmp_path / "supplied.jsonl", ScriptedEngine(tiny_tokenizer, draw)
    write_candidates(engine, PROMPTS, file, candidates=SECTION, seed=5, report=Recorder(), source="model")
    rows = read_rows(file, Candidate)
    assert {row.source for row in rows} == {"model"}
    write_rows(file, [row for row in rows if (row.prompt_id, row.index) != ("p2", 0)])
    return file


@pytest.fixture
def write(tmp_path, tiny_tokenizer, supplied):
    def write(name="candidates.jsonl", *, keeps_tokens=True, section=ALL, **settings):
        engine, report = ScriptedEngine(tiny_tokenizer, draw, **settings), Recorder()
        others = SuppliedAnswers(supplied, keeps_tokens=keeps_tokens) if section.model else None
        stage = CandidatesStage(
            engine,
            PROMPTS,
            tmp_path / name,
            candidates=SECTION,
            seed=0,
            report=report,
            suppliers=section,
            supplied=others,
        )
        try:
            generation.run(engine, stage)
        except Interrupted:
            engine.interrupted = True
        return engine, report, read_rows(tmp_path / name, Candidate)

    return write


def test_the_index_says_who_answered(write):
    _, report, rows = write()
    found = {(row.prompt_id, row.index): (row.source, row.text) for row in rows}
    expected = {}
    for n in range(3):
        expected |= {(f"p{n}", index): ("own" if index < 2 else "hot", f"answer p{n}.{index}") for index in range(4)}
        expected |= {(f"p{n}", 4 + place): ("model", f"answer p{n}.{place}") for place in range(2)}
        expected[f"p{n}", 6] = ("human", f"Human {n}.")
    del expected["p2", 4], expected["p1", 6]
    assert found == expected
    assert len(rows) == len({row.id for row in rows}) == len(expected)
    assert all(row.id == content_id("candidate", row.prompt_id, row.index, row.text) for row in rows)
    assert (report.starts, report.advanced) == ([("candidates", 12, 0)], 12)  # what the engine samples


def test_hot_samples_differ_in_temperature_only(write):
    engine, _, _ = write()
    samplings = {request.key: request.sampling for request in engine.requests}
    assert len(samplings) == 12
    own, hot = samplings["p0.1"], samplings["p0.2"]
    assert (own.temperature, hot.temperature) == (0.4, 1.7)
    assert replace(hot, temperature=0.4) == own


@pytest.mark.parametrize("after", [0, 1, 5, 11])
def test_resumed_without_repeating_a_row(write, after):
    _, _, undisturbed = write("undisturbed")
    _, _, first = write(fail_after=after)
    _, _, rows = write()
    assert rows[: len(first)] == first
    assert sorted(rows, key=lambda row: row.id) == sorted(undisturbed, key=lambda row: row.id)


def test_texts_of_outsiders_are_tokenized_as_they_are_trained_on(write, tiny_tokenizer):
    def ids(row):
        question = next(each.text for each in PROMPTS if each.id == row.prompt_id)
        return chat.completion_ids(tiny_tokenizer, chat.user(question), chat.assistant(row.text))

    _, _, rows = write(keeps_tokens=False)
    for row in rows:
        if row.source in ("human", "model"):
            assert (row.token_ids, row.logprob) == (ids(row), None)
        else:
            assert (row.token_ids, row.logprob) == ([97, 98, 2], -1.5)
    _, _, rows = write("kept")
    assert {tuple(row.token_ids) for row in rows if row.source == "model"} == {(97, 98, 2)}


def test_without_suppliers_there_are_own_answers_only(write):
    _, _, rows = write(section=SuppliersSection())
    assert {row.source for row in rows} == {"own"}
    assert len(rows) == 6


# --- pairs ------------------------------------------------------------------------------------------------------------


def table(seed, count=40):
    """Prompts with answers of random sources and scores."""
    draws = random.Random(seed)
    rows = [prompt(f"Question {number}?") for number in range(count)]
    given = [
        replace(row, source=draws.choice(suppliers.SOURCES))
        for each in rows
        for row in candidates(each, *(f"answer {index}" for index in range(draws.randint(1, 6))))
    ]
    return rows, given, [Score(row.id, row.id, float(draws.randint(0, 4)), draws.random()) for row in given]


@pytest.mark.parametrize("seed", range(20))
def test_best_and_worst_of_those_that_may_be(seed):
    rows, given, scored = table(seed)
    answers = read_answers(rows, given)
    found = pairs.select(answers, read_scores(answers, scored, max_score=4.0), pairs=PairsSection())
    score = {row.candidate_id: row.score for row in scored}
    expected = {}
    for row in rows:
        own = [each for each in given if each.prompt_id == row.id]
        high = [score[each.id] for each in own if each.source in ("own", "human")]
        low = [score[each.id] for each in own if each.source != "human"]
        if high and low and max(high) > min(low):
            expected[row.id] = max(high), min(low)
    made = {row.prompt_id: (row.chosen_score, row.rejected_score) for row in found.rows(rows, given)}
    assert made == expected
    sources = {row.id: row.source for row in given}
    for row in found.rows(rows, given):
        assert sources[row.chosen_id] in ("own", "human")
        assert sources[row.rejected_id] != "human"


@pytest.mark.parametrize("method", ["length_controlled", "margin", "random", "top_bottom"])
def test_every_method_heeds_the_sources(method):
    rows, given, scored = table(1, count=200)
    answers = read_answers(rows, given)
    found = pairs.select(answers, read_scores(answers, scored, max_score=4.0), pairs=PairsSection(method=method))
    sources = {row.id: row.source for row in given}
    sides = {(sources[row.chosen_id], sources[row.rejected_id]) for row in found.rows(rows, given)}
    assert sides == {(one, other) for one in ("own", "human") for other in ("own", "hot", "model")}


def test_winners_may_not_be_hot():
    row = prompt("Question?")
    given = [
        replace(each, source=source) for each, source in zip(candidates(row, "a", "b"), ("own", "hot"), strict=True)
    ]
    answers, scored = read_answers([row], given), [Score(each.id, each.id, 1.0) for each in given]
    found = pairs.select(answers, read_scores(answers, scored, max_score=1.0), pairs=PairsSection(), winners=True)
    assert [given[index].source for index in answers.row[found.chosen]] == ["own"]


def test_a_prompt_whose_answers_may_all_only_be_rejected_gives_no_pair():
    row = prompt("Question?")
    given = [replace(each, source="hot") for each in candidates(row, "a", "b")]
    answers, scored = read_answers([row], given), [Score("1", given[0].id, 1.0), Score("2", given[1].id, 0.0)]
    found = pairs.select(answers, read_scores(answers, scored, max_score=1.0), pairs=PairsSection())
    assert (len(found), found.drops["too_few_usable"], found.prompts_with_pair) == (0, 1, 0)


def test_the_human_answer_against_own_ones(tmp_path):
    rows = [prompt(f"Question {number}?", response="Human.") for number in range(40)]
    given = []
    for row in rows:
        human, *own = candidates(row, "Human.", "a", "b")
        given += [replace(human, source="human"), *own]
    found = select("human", tmp_path, rows, given)
    assert {pair[0] for pair in found} == {"Human."}
    assert len(found) == 40
    assert {pair[1] for pair in found} == {"a", "b"}  # by chance
    with pytest.raises(InputError, match=r"the prompt 'Why\?' has no text in the column 'response'"):
        signal_of(build("human")).check([*rows, prompt("Why?")])


# --- what reads M_t's own answers only --------------------------------------------------------------------------------


def mixed():
    row = prompt("Question?")
    given = candidates(row, "a", "a", "b", "c", "d", token_ids=[1, 2])
    sources = ("own", "own", "hot", "model", "human")
    given = [replace(each, source=source) for each, source in zip(given, sources, strict=True)]
    given[4] = replace(given[4], token_ids=[1] * 50, logprob=None)
    return row, given


def test_metrics_of_collapse_and_means_count_own_answers(tmp_path):
    from srlm.evaluation.data_metrics import row_counts

    row, given = mixed()
    answers = read_answers([row], given)
    scored = [Score(str(n), each.id, float(n), answer=each.text) for n, each in enumerate(given)]
    table = read_scores(answers, scored, max_score=4.0)
    found = data_metrics(answers, table, 1)
    assert (found.distinct_answers, found.vote_share) == (1.0, 1.0)
    counts = row_counts(pairs.select(answers, table, pairs=PairsSection()), tmp_path / "none.jsonl")
    assert (counts["candidates"], counts["mean_score"], counts["mean_length"]) == (5, 0.5, 2.0)
    np.testing.assert_array_equal(answers.own, [True, True, False, False, False])


def test_only_answers_of_m_t_have_its_log_probabilities(tmp_path):
    row, given = mixed()
    write_rows(tmp_path / "candidates.jsonl", given)
    fields = {
        "prompt_id": row.id,
        "prompt": [],
        "chosen": [],
        "rejected": [],
        "chosen_score": 1.0,
        "rejected_score": 0.0,
    }
    every = [Pair(chosen_id=each.id, rejected_id=each.id, **fields) for each in given]
    known = read_sampled([tmp_path / "candidates.jsonl"], every)
    assert set(known) == {each.id for each in given if each.source in ("own", "hot")}
    assert {each.source for each in _sample_answers(given, 0)} == {"own"}


# --- the user's mistakes ----------------------------------------------------------------------------------------------


def test_no_row_has_a_human_answer():
    suppliers.check_human([])
    suppliers.check_human([prompt("a"), prompt("b", response="yes")])
    for columns in ({}, {"response": " "}, {"response": 3}):
        with pytest.raises(InputError, match=r"no row has one that is a text; add it, or set suppliers\.human=false"):
            suppliers.check_human([prompt("a", **columns)])
