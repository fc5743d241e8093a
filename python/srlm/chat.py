"""Messages to token ids, once: nothing that has become ids is rendered or tokenised again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from srlm.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerBase

    from srlm.records import Message


def user(text: str) -> list[Message]:
    """Return a conversation of one user turn."""
    return [{"role": "user", "content": text}]


def assistant(text: str) -> list[Message]:
    """Return one assistant turn."""
    return [{"role": "assistant", "content": text}]


def prompt_ids(tokenizer: PreTrainedTokenizerBase, prompt: Sequence[Message], opening: str = "") -> tuple[int, ...]:
    """Return the ids that an engine continues: the conversation, the assistant's mark, and its turn's `opening`."""
    return tuple(_encode(tokenizer, _render(tokenizer, prompt, add_generation_prompt=True) + opening))


def completion_ids(
    tokenizer: PreTrainedTokenizerBase, prompt: Sequence[Message], completion: Sequence[Message]
) -> list[int]:
    """Return the ids of an answer as an engine would write it: its text as the template renders it, then the end token.

    Raises:
        InputError: the template renders the prompt differently once an answer follows.
    """
    before = _render(tokenizer, prompt, add_generation_prompt=True)
    whole = _render(tokenizer, [*prompt, *completion], add_generation_prompt=False)
    if not whole.startswith(before):
        raise InputError(
            "the chat template renders a prompt differently once an answer follows, so that answers cannot be told "
            "apart from prompts; set model.chat_template to one that does not"
        )
    text = whole[len(before) :]
    end = str(tokenizer.eos_token)
    # What the template puts after the end token (a line feed, often) an engine never writes.
    text = text[: text.rfind(end)] if end in text else text.rstrip()
    return [*_encode(tokenizer, text), int(tokenizer.eos_token_id)]


def _render(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], *, add_generation_prompt: bool) -> str:
    harmless = [{**message, "content": neutralised(tokenizer, message["content"])} for message in messages]
    return str(tokenizer.apply_chat_template(harmless, tokenize=False, add_generation_prompt=add_generation_prompt))


def neutralised(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """Break up the strings of special tokens inside a message, by a zero-width space, so that they stay text.

    An answer that holds the end-of-turn mark could otherwise end its judge's question and write a verdict itself.
    """
    for token in tokenizer.all_special_tokens:
        text = text.replace(token, f"{token[:1]}\u200b{token[1:]}")
    return text


def _encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    # The template writes the begin token itself; a second one is the classic fault of rendering and encoding apart.
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])
