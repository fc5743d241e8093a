"""What a model said: one function for all stages that use generated text.

A completion may hold thoughts, and further turns that the model invented. `ReplyReader` separates them, by token ids
where a special token marks the border, and otherwise by text (`srlm.native.TurnMarks.split`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from srlm.models.turn_marks import NO_MARKS, turn_format

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerBase

    from srlm.native import Reply
    from srlm.rows.records import FinishReason

HARMONY_TOKENS = frozenset({"<|channel|>", "<|message|>", "<|start|>", "<|end|>", "<|constrain|>", "<|call|>"})


@dataclass(frozen=True, slots=True)
class Said:
    """What was said in a completion, and what was thought (None: nothing).

    `tokens` is the number of the completion's token ids before another turn begins; None if none begins. Then the
    `finish_reason` is "stop": what was said is complete. `open` tells whether the completion ends inside a thought, so
    that nothing was said.
    """

    text: str
    thought: str | None
    tokens: int | None
    finish_reason: FinishReason
    open: bool
    _source: _Source
    _reply: Reply

    def token_at(self, at: int) -> int:
        """Return the index of the token id that holds character `at` of `text`."""
        return self._source.token_at(self._reply.position(at))


class Generated(Protocol):
    """An engine's completion, as far as it is needed here."""

    @property
    def token_ids(self) -> list[int]:
        """The generated ids."""

    @property
    def text(self) -> str:
        """Their text without special tokens, before a stop string."""

    @property
    def finish_reason(self) -> FinishReason:
        """Whether the model ended it."""


def said_in(text: str) -> Reply:
    """Split a reply whose chat template is unknown, such as an endpoint's."""
    return NO_MARKS.split(text)


class ReplyReader:
    """Reads the completions of a model with a tokenizer and its chat template."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer, self._format = tokenizer, turn_format(tokenizer)
        special = {index: token.content for index, token in tokenizer.added_tokens_decoder.items() if token.special}
        special |= dict(zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True))
        self._special = special
        self._of_thoughts = {index for index, text in special.items() if _delimits_thought(text)}

    def read(self, completion: Generated, *, prefilled: bool = False, stop: Sequence[str] = ()) -> Said:
        """Return what was said in a completion.

        Args:
            completion: An engine's completion.
            prefilled: Whether the request put words into the assistant's mouth, after any thought.
            stop: The request's stop strings.
        """
        source, is_cut = self._source(completion)
        text = completion.text
        if is_cut or not source.skip_special:
            text = source.decoded(len(source.token_ids))
            for string in stop:
                text = text.partition(string)[0]
        reply = self._format.marks.split(text, in_thought=self._format.opens_thought and not prefilled)
        tokens = len(source.token_ids) if is_cut else None
        if reply.turn is not None:
            tokens = source.token_at(reply.turn)
        finish_reason = completion.finish_reason if tokens is None else "stop"
        untouched = reply.turn is None and not reply.open and len(reply.said) == len(text)
        # Text that Rust returns has no lone surrogates.
        return Said(text if untouched else reply.said, reply.thought, tokens, finish_reason, reply.open, source, reply)

    def _source(self, completion: Generated) -> tuple[_Source, bool]:
        """Return the token ids before the first special token that ends the turn, and whether anything follows it."""
        ids = completion.token_ids
        ends = [index for index, token in enumerate(ids) if token in self._special and token not in self._of_thoughts]
        end = ends[0] if ends else len(ids)
        has_tags = any(token in self._of_thoughts for token in ids[:end])
        follows = any(token not in self._special for token in ids[end:])
        return _Source(self._tokenizer, ids[:end], skip_special=not has_tags), follows


@dataclass(frozen=True, slots=True)
class _Source:
    """Token ids, and how they are decoded."""

    tokenizer: PreTrainedTokenizerBase
    token_ids: Sequence[int]
    skip_special: bool

    def decoded(self, count: int) -> str:
        """Return the text of the first `count` token ids."""
        return str(self.tokenizer.decode(self.token_ids[:count], skip_special_tokens=self.skip_special))

    def token_at(self, at: int) -> int:
        """Return the index of the token id that holds character `at` of the decoded text."""
        low, high = 0, len(self.token_ids) - 1
        while low < high:
            middle = (low + high) // 2
            if len(self.decoded(middle + 1)) > at:
                high = middle
            else:
                low = middle + 1
        return low


def _delimits_thought(token: str) -> bool:
    if token in HARMONY_TOKENS:
        return True
    return NO_MARKS.split(f"{token}x").open or NO_MARKS.split(f"x{token}y").thought == "x"
