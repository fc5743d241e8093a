"""Who compares answers: a model in an engine, or a server behind an endpoint."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from srlm.engines.base import Request, Sampling
from srlm.errors import InputError
from srlm.evaluation.endpoint import Ask
from srlm.evaluation.pairwise import Answer
from srlm.models import chat

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from transformers import PreTrainedTokenizerBase

    from srlm.config import HeadToHeadSection
    from srlm.engines.base import Engine
    from srlm.evaluation.endpoint import Endpoint

OPENING = "Verdict: "


class LocalJudge:
    """Compares with a model: by a greedy reply, or (`justify: false`) by the one token of its verdict."""

    def __init__(self, engine: Engine, head_to_head: HeadToHeadSection, max_model_len: int) -> None:
        self._engine, self._max_model_len = engine, max_model_len
        if head_to_head.justify:
            self._opening: tuple[int, ...] = ()
            self._sampling = Sampling(0.0, 1.0, head_to_head.max_tokens)
        else:
            self._opening, watch = verdict_tokens(engine.tokenizer)
            self._sampling = Sampling(0.0, 1.0, 1, watch=watch)

    def ask(self, questions: Iterable[tuple[str, str]]) -> Iterator[Answer]:
        """See `Judge.ask`; what is too long for the engine has no verdict, and says so in its place."""
        fitting = []
        for key, question in questions:
            ids = (*chat.prompt_ids(self._engine.tokenizer, chat.user(question)), *self._opening)
            if len(ids) + self._sampling.max_tokens > self._max_model_len:
                yield Answer(key, f"(no reply: the question has {len(ids)} tokens, too many for the engine)")
            else:
                fitting.append(Request(key, ids, self._sampling, 0))
        for completion in self._engine.generate(fitting):
            if not self._opening:
                yield Answer(completion.key, completion.text)
                continue
            # Only the two letters were asked for, so the likelier one is the verdict, whatever else was likelier yet.
            first, second = completion.watched[0]
            word = "tie" if first == second else "A" if first > second else "B"
            yield Answer(completion.key, OPENING + word, 1 / (1 + math.exp(second - first)))


def verdict_tokens(tokenizer: PreTrainedTokenizerBase) -> tuple[tuple[int, ...], tuple[int, int]]:
    """Return the ids of what a verdict opens with, and those of the letters A and B after it.

    Raises:
        InputError: the tokenizer has them not as one token each after the same opening.
    """
    first, second = (tokenizer(OPENING + letter, add_special_tokens=False)["input_ids"] for letter in "AB")
    if len(first) < 2 or first[:-1] != second[:-1] or first[-1] == second[-1]:
        raise InputError(
            "head_to_head.justify=false needs a tokenizer with A and B as single tokens; set head_to_head.justify=true"
        )
    return tuple(first[:-1]), (first[-1], second[-1])


class EndpointJudge:
    """Compares by asking a server; greedy, with `head_to_head.max_tokens`."""

    def __init__(self, endpoint: Endpoint, head_to_head: HeadToHeadSection) -> None:
        self._endpoint, self._max_tokens = endpoint, head_to_head.max_tokens

    def ask(self, questions: Iterable[tuple[str, str]]) -> Iterator[Answer]:
        """See `Judge.ask`."""
        asks = (
            Ask(key, chat.user(question), temperature=0.0, top_p=1.0, max_tokens=self._max_tokens, seed=0)
            for key, question in questions
        )
        for reply in self._endpoint.ask(asks):
            yield Answer(reply.key, reply.text)
