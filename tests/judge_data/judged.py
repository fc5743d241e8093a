"""Answers with judgements, in the files of M_t's data."""

from srlm import config as configuration
from srlm.rows.records import Verdict, content_id, write_rows

from tests.signals.answers import candidates, prompt

PROMPT, OTHER = prompt("How much is 2 + 2?"), prompt("Name a river.")


def build(kind="meta_judge", *, judge=None, **judge_data):
    values = {"model": {"name": "m"}, "engine": {"max_model_len": 4000}}
    values |= {"judge": judge or {"samples": 4}, "judge_data": {"kind": kind, **judge_data}}
    return configuration.build(values)


def verdict(answer_id, sample, text, score, finish_reason="stop"):
    outcome = "missing" if score is None else "scored"
    row_id = content_id("verdict", answer_id, sample, text)
    return Verdict(row_id, answer_id, sample, text, outcome, score, None, None, finish_reason)


def judgements(answer, *scores, words="because of"):
    return [verdict(answer.id, n, f"{words} {n}.\nScore: {score:g}", float(score)) for n, score in enumerate(scores)]


def write(folder, prompts, answers, verdicts):
    for name, rows in (("prompts", prompts), ("candidates", answers), ("verdicts", verdicts)):
        write_rows(folder / f"{name}.jsonl", rows)
    return folder


def two_prompts(folder):
    """The first prompt's second answer has the highest variance; the second prompt's scores do not vary."""
    first, second = candidates(PROMPT, "four", "five"), candidates(OTHER, "Po", "Rhine")
    verdicts = [*judgements(first[0], 3, 4, 3, 3), *judgements(first[1], 1, 5, 2, 5)]
    verdicts += [*judgements(second[0], 3.3, 3.3, 3.3), *judgements(second[1], 2, 2, 2)]
    write(folder, [PROMPT, OTHER], [*first, *second], verdicts)
    return first[1], verdicts[4:8]
