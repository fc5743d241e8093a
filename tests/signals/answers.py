"""Prompts and answers of signals' tests."""

from srlm import config as configuration
from srlm.rows.records import Candidate, Prompt, content_id
from srlm.signals.registry import signal_of


def prompt(text, **columns):
    return Prompt(content_id("prompt", text), text, "file", [], -1, columns=columns or None)


def candidates(row, *texts, **fields):
    found = {"token_ids": [1, 2], "logprob": -1.0, "finish_reason": "stop", "seed": 0, **fields}
    return [
        Candidate(content_id("candidate", row.id, index, text), row.id, index, text, **found)
        for index, text in enumerate(texts)
    ]


def build(kind, *, pairs=None, train=None, **signal):
    values = {"model": {"name": "m"}, "signal": {"kind": kind, **signal}, "pairs": pairs or {}, "train": train or {}}
    return configuration.build(values)


def scored(kind, row, *texts, seed=0, **settings):
    """The scores of answers to one prompt."""
    return signal_of(build(kind, **settings)).score_prompt(row, candidates(row, *texts), seed)
