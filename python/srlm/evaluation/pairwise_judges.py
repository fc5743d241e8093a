"""Judges for pairwise comparisons: a local model in an engine, or an endpoint."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from srlm.engines.base import Request, Sampling
from srlm.errors import InputError
from srlm.evaluation.chat_records import ChatRequest
from srlm.evaluation.pairwise import JudgeOutput
from srlm.models import chat
from srlm.models.replies import ReplyReader, said_in
from srlm.models.turn_marks import COMMON, turn_format
from srlm.native import PromptEscaper
from srlm.stages.judge_prompt import prompt_escaper

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from transformers import PreTrainedTokenizerBase

    from srlm.config import HeadToHeadSection
    from srlm.engines.base import Completion, Engine
    from srlm.evaluation.endpoint import Endpoint

VERDICT_PREFIX = "Verdict: "


class LocalJudge:
    """Judges with a local model: by a greedy response, or (`justify: false`) by the log-probabilities of one token."""

    def __init__(self, engine: Engine, head_to_head: HeadToHeadSection, max_model_len: int) -> None:
        self._engine, self._max_model_len = engine, max_model_len
        self._reader = ReplyReader(engine.tokenizer)
        if head_to_head.justify:
            self._verdict_prefix: tuple[int, ...] = ()
            self._sampling = Sampling(0.0, 1.0, head_to_head.max_tokens)
        else:
            self._verdict_prefix, watch = verdict_tokens(engine.tokenizer)
            self._sampling = Sampling(0.0, 1.0, 1, logprob_token_ids=watch)

    def escaper(self, blocks: Sequence[str]) -> PromptEscaper:
        """See `Judge.escaper`; escapes the marks of the model's own chat template as well."""
        return prompt_escaper(tuple(blocks), turn_format(self._engine.tokenizer).marks)

    def ask(self, prompts: Iterable[tuple[str, str]]) -> Iterator[JudgeOutput]:
        """See `Judge.ask`. A prompt that exceeds the engine's context gets a placeholder text without a verdict."""
        fitting = []
        for key, prompt in prompts:
            encode = chat.prefilled_ids if self._verdict_prefix else chat.prompt_ids
            ids = (*encode(self._engine.tokenizer, chat.user(prompt)), *self._verdict_prefix)
            if len(ids) + self._sampling.max_tokens > self._max_model_len:
                yield JudgeOutput(
                    key, f"(no response: the prompt has {len(ids)} tokens, too long for engine.max_model_len)"
                )
            else:
                fitting.append(Request(key, ids, self._sampling, 0))
        for completion in self._engine.generate(fitting):
            if not self._verdict_prefix:
                said = self._reader.read(completion)
                yield JudgeOutput(completion.key, said.text, thought=said.thought)
                continue
            yield _letter_verdict(completion)


def _letter_verdict(completion: Completion) -> JudgeOutput:
    """Return the likelier of the two letters as the verdict, even if another token is likelier still.

    There is no verdict without a token, or if both letters have the probability 0.
    """
    first, second = completion.requested_logprobs[0] if completion.requested_logprobs else (-math.inf, -math.inf)
    if math.isnan(first) or math.isnan(second) or first == second == -math.inf:
        return JudgeOutput(completion.key, "(no verdict: neither A nor B has a probability above 0)")
    label = "tie" if first == second else "A" if first > second else "B"
    odds = math.exp(-abs(first - second))  # of the less likely letter; never overflows
    return JudgeOutput(completion.key, VERDICT_PREFIX + label, (1 if first >= second else odds) / (1 + odds))


def verdict_tokens(tokenizer: PreTrainedTokenizerBase) -> tuple[tuple[int, ...], tuple[int, int]]:
    """Return the token ids of `VERDICT_PREFIX`, and those of the letters A and B after it.

    Raises:
        InputError: the tokenizer does not encode A and B as single tokens after the same prefix.
    """
    first, second = (tokenizer(VERDICT_PREFIX + letter, add_special_tokens=False)["input_ids"] for letter in "AB")
    if len(first) < 2 or first[:-1] != second[:-1] or first[-1] == second[-1]:
        raise InputError(
            "head_to_head.justify=false needs a tokenizer with A and B as single tokens; set head_to_head.justify=true"
        )
    return tuple(first[:-1]), (first[-1], second[-1])


class EndpointJudge:
    """Judges with a model behind an endpoint, greedily, with up to `head_to_head.max_tokens` tokens."""

    def __init__(self, endpoint: Endpoint, head_to_head: HeadToHeadSection) -> None:
        self._endpoint, self._max_tokens = endpoint, head_to_head.max_tokens

    def escaper(self, blocks: Sequence[str]) -> PromptEscaper:
        """See `Judge.escaper`. The server's chat template is unknown, and it may encode the strings of special tokens
        as such, so the control strings of all common templates are escaped."""
        return PromptEscaper(blocks, marks=COMMON, control_strings=True)

    def ask(self, prompts: Iterable[tuple[str, str]]) -> Iterator[JudgeOutput]:
        """See `Judge.ask`."""
        requests = (
            ChatRequest(key, chat.user(prompt), temperature=0.0, top_p=1.0, max_tokens=self._max_tokens, seed=0)
            for key, prompt in prompts
        )
        for response in self._endpoint.complete(requests):
            said = said_in(response.text)
            thoughts = [thought for thought in (response.thought, said.thought) if thought]
            yield JudgeOutput(response.key, said.said, thought="\n".join(thoughts) or None)
