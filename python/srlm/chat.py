"""Messages to token ids, once: nothing that has become ids is rendered or tokenised again.

Templates are rendered and texts tokenised in Rust (`srlm.native.ChatEncoder`) for whole batches. A template that
renders otherwise there than in transformers is left to transformers; ids that differ are an error, never a surprise.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from srlm.errors import InputError
from srlm.native import ChatEncoder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from transformers import PreTrainedTokenizerBase

    from srlm.records import Message

Conversation = list[dict[str, str]]
Rendered = tuple[str, list[str | None], int]  # the prompt; the prompt with each answer; marks (see ChatEncoder.broken)


def user(text: str) -> list[Message]:
    """Return a conversation of one user turn."""
    return [{"role": "user", "content": text}]


def assistant(text: str) -> list[Message]:
    """Return one assistant turn."""
    return [{"role": "assistant", "content": text}]


# What templates are known to treat differently; both renderers must agree on all of it.
TEXTS = (
    "Hello",
    "",
    " \n leading and trailing \t\n",
    "\x1f\u2028white\u3000space\x1c",
    "<b>&amp; \"quotes\" 'and' {{ braces }} {% if %} {# notes #}",
    "two\n\nparagraphs\n",
    "<think>\nthought\n</think>\n\nsaid",
    "caf\u00e9 \u4f60\u597d \U0001f600 e\u0301",
    "[INST] a [/INST] ### Response: b\nUser: c",
)
PARITY: tuple[tuple[Conversation, bool], ...] = (
    *((user(text), True) for text in TEXTS),
    *(([*user("Hi"), *assistant(text)], False) for text in TEXTS),
    *(([{"role": "system", "content": text}, *user("Hi")], True) for text in TEXTS[:5]),
    *(([*user(text), *assistant(text), *user("Hi")], True) for text in TEXTS),
    ([{"role": "system", "content": "Be brief."}, *user("Hi"), *assistant("Ho"), *user("a"), *assistant("b")], False),
    ([*user("Hi"), *user("again")], True),
    (assistant("Ho"), False),
)


@dataclass(frozen=True, slots=True)
class Chat:
    """A tokenizer's encoder, and whether its template is rendered in Rust."""

    template: str
    encoder: ChatEncoder
    renders: bool


_chats: WeakKeyDictionary[PreTrainedTokenizerBase, Chat] = WeakKeyDictionary()


def chat_of(tokenizer: PreTrainedTokenizerBase) -> Chat:
    """Return the encoder of a tokenizer with its present chat template, made when it is first asked for.

    Raises:
        InputError: the tokenizer is none of Hugging Face's `tokenizers`, or Rust gives other ids for it.
    """
    template = str(tokenizer.get_chat_template())
    chat = _chats.get(tokenizer)
    if chat is None or chat.template != template:
        chat = _chats[tokenizer] = _make_chat(tokenizer, template)
    return chat


def _make_chat(tokenizer: PreTrainedTokenizerBase, template: str) -> Chat:
    if not tokenizer.is_fast:
        raise InputError(
            f"the tokenizer ({type(tokenizer).__name__}) has no tokenizer.json; load it with transformers and save it "
            "as a fast tokenizer"
        )
    json = tokenizer.backend_tokenizer.to_str()
    variables = {name: value for name, value in tokenizer.special_tokens_map.items() if isinstance(value, str)}
    end = str(tokenizer.eos_token)
    try:
        encoder = ChatEncoder(json, template=template, variables=variables, end_token=end)
        chat = Chat(template, encoder, renders=all(_agree(tokenizer, encoder, *case) for case in PARITY))
    except ValueError:  # a template that only transformers can compile
        chat = Chat(template, ChatEncoder(json, end_token=end), renders=False)
    _check_ids(tokenizer, chat.encoder)
    return chat


def _agree(
    tokenizer: PreTrainedTokenizerBase, encoder: ChatEncoder, messages: Conversation, add_generation_prompt: bool
) -> bool:
    try:
        expected: str | None = _apply(tokenizer, messages, add_generation_prompt=add_generation_prompt)
    except Exception:  # a template may raise anything; the other renderer then has to refuse as well
        expected = None
    try:
        found: str | None = encoder.render(messages, add_generation_prompt=add_generation_prompt)
    except ValueError:
        found = None
    return found == expected


def _check_ids(tokenizer: PreTrainedTokenizerBase, encoder: ChatEncoder) -> None:
    texts = [*TEXTS, *(f"{text} {token}{text}" for text in TEXTS[:3] for token in tokenizer.all_special_tokens)]
    for text, ids in zip(texts, ragged_rows(*encoder.encode_texts(texts)), strict=True):
        if ids != _encode(tokenizer, text):
            raise InputError(
                f"the tokenizer's ids for {text!r} are not those of the `tokenizers` library built into srlm; install "
                "a version of tokenizers that this version of srlm names"
            )


def _apply(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], *, add_generation_prompt: bool) -> str:
    return str(
        tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=add_generation_prompt)
    )


def _encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def ragged_rows(ids: NDArray[np.int32], offsets: NDArray[np.int64]) -> list[list[int]]:
    """Return the rows of `ids` [T], whose cumulative lengths are `offsets` [N + 1], as N lists."""
    ends = offsets.tolist()
    values = ids.tolist()
    return [values[start:end] for start, end in pairwise(ends)]


def prompt_ids(tokenizer: PreTrainedTokenizerBase, prompt: Sequence[Message], opening: str = "") -> tuple[int, ...]:
    """Return the ids that an engine continues: the conversation, the assistant's mark, and its turn's `opening`."""
    chat = chat_of(tokenizer)
    with _told():
        ids, _ = chat.encoder.encode_prompts(_rows(tokenizer, chat, [prompt]), opening=opening)
    return tuple(ids.tolist())


def completion_ids(
    tokenizer: PreTrainedTokenizerBase, prompt: Sequence[Message], completion: Sequence[Message]
) -> list[int]:
    """Return the ids of an answer as an engine would write it: its text as the template renders it, then the end token.

    Raises:
        InputError: the template renders the prompt differently once an answer follows.
    """
    (ids,), (mask,) = encode_examples(tokenizer, [prompt], [completion], [None])
    return [token for token, wanted in zip(ids, mask, strict=True) if wanted]


def encode_examples(
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[Message]],
    completions: Sequence[Sequence[Message]],
    completion_ids: Sequence[list[int] | None],
) -> tuple[list[list[int]], list[list[bool]]]:
    """Return N rows of ids, each a prompt and its completion, and masks that are true for the completion.

    Where an engine's own `completion_ids` are given they are passed on.

    Raises:
        InputError: the template refuses a row, or renders its prompt differently once an answer follows.
    """
    chat = chat_of(tokenizer)
    rows = _rows(tokenizer, chat, prompts, (completions, completion_ids))
    with _told():
        ids, mask, offsets = chat.encoder.encode_examples(
            rows, [list(row) for row in completions] if chat.renders else None, completion_ids=completion_ids
        )
    ends = offsets.tolist()
    masks = mask.tolist()
    return ragged_rows(ids, offsets), [masks[start:end] for start, end in pairwise(ends)]


def encode_pairs(
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[Message]],
    chosen: Sequence[Sequence[Message]],
    rejected: Sequence[Sequence[Message]],
    chosen_ids: Sequence[list[int] | None],
    rejected_ids: Sequence[list[int] | None],
) -> tuple[list[list[int]], list[list[int]], list[list[int]]]:
    """Return the ids of N prompts, of their chosen and of their rejected answers; see `encode_examples`."""
    chat = chat_of(tokenizer)
    rows = _rows(tokenizer, chat, prompts, (chosen, chosen_ids), (rejected, rejected_ids))
    answers = [[list(row) for row in column] if chat.renders else None for column in (chosen, rejected)]
    with _told():
        columns = chat.encoder.encode_pairs(rows, *answers, chosen_ids=chosen_ids, rejected_ids=rejected_ids)
    first, second, third = (ragged_rows(*column) for column in columns)
    return first, second, third


def _rows(
    tokenizer: PreTrainedTokenizerBase,
    chat: Chat,
    prompts: Sequence[Sequence[Message]],
    *answers: tuple[Sequence[Sequence[Message]], Sequence[list[int] | None]],
) -> list[Any]:
    """Return what Rust is given: messages or, where it cannot render them, what transformers renders."""
    if chat.renders:
        return [list(prompt) for prompt in prompts]
    return [
        _rendered(tokenizer, chat, prompt, [None if ids[row] is not None else texts[row] for texts, ids in answers])
        for row, prompt in enumerate(prompts)
    ]


def _rendered(
    tokenizer: PreTrainedTokenizerBase,
    chat: Chat,
    prompt: Sequence[Message],
    answers: Sequence[Sequence[Message] | None],
) -> Rendered:
    lists = [list(prompt), *(list(answer or ()) for answer in answers)]
    marks, texts = chat.encoder.broken([message["content"] for messages in lists for message in messages])
    content = iter(texts)
    broken = [[{**message, "content": next(content)} for message in messages] for messages in lists]
    before = _apply(tokenizer, broken[0], add_generation_prompt=True)
    wholes = [
        None if answer is None else _apply(tokenizer, [*broken[0], *messages], add_generation_prompt=False)
        for answer, messages in zip(answers, broken[1:], strict=True)
    ]
    return before, wholes, marks


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Turn what Rust refuses into the user's error."""
    try:
        yield
    except ValueError as error:
        raise InputError(str(error)) from error
