"""Prompts and answers of signals' tests."""

from srlm import config as configuration
from srlm.rows.records import Candidate, Prompt, content_id, write_rows
from srlm.signals.registry import signal_of
from srlm.stages import pairs
from srlm.stages.score_table import read_answers


def prompt(text, **columns):
    return Prompt(content_id("prompt", text), text, "file", [], -1, columns=columns or None)


def candidates(row, *texts, **fields):
    found = {"token_ids": [1, 2], "logprob": -1.0, "finish_reason": "stop", "seed": 0, **fields}
    return [
        Candidate(content_id("candidate", row.id, index, text), row.id, index, text, **found)
        for index, text in enumerate(texts)
    ]


def build(kind, *, method="best_worst", train="dpo", **signal):
    signal = {"kind": kind, **signal}
    values = {"model": {"name": "m"}, "signal": signal, "pairs": {"method": method}, "train": {"kind": train}}
    if kind == "human":
        values |= {"suppliers": {"human": True}, "prompts": {"source": "files", "files": ["seed"]}}
    return configuration.build(values)


def scored(kind, row, *texts, seed=0, **settings):
    """The scores of answers to one prompt."""
    return signal_of(build(kind, **settings)).score_prompt(row, candidates(row, *texts), seed)


def select(kind, tmp_path, rows, given, **settings):
    """The selected pairs of texts, or the winners' texts, from score rows in a file."""
    config = build(kind, **settings).at(2)
    signal, file = signal_of(config), tmp_path / "scores.jsonl"
    write_rows(file, [row for some in signal.score_rows(rows, given, 0) for row in some])
    answers = read_answers(rows, given)
    by_sft = config.train.kind == "sft"
    chosen = pairs.select(answers, signal.read(answers, file), pairs=config.pairs, winners=by_sft, seed=0)
    texts = [given[row].text for row in answers.row]
    if by_sft:
        return [texts[index] for index in chosen.chosen]
    return [(texts[one], texts[other]) for one, other in zip(chosen.chosen, chosen.rejected, strict=True)]
