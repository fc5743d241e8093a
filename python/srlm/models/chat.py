"""Messages to token ids, once: nothing that has become ids is rendered or tokenised again.

Templates are rendered and texts tokenised in Rust (`srlm.native.ChatEncoder`) for whole batches. A template that
renders otherwise there than in transformers is left to transformers; ids that differ are an error, never a surprise.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakKeyDictionary

from srlm.errors import InputError
from srlm.native import ChatEncoder, ChatTemplateError
from srlm.rows.records import Message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import numpy as np
    from numpy.typing import NDArray
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


Conversation = list[dict[str, str]]
Encoded = TypeVar("Encoded")
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
    "\u00bd",  # what Python's str and Rust's take for digits, letters and white space differs on these
    "\u00b2",
    "\u2177",
    "\u24b6",
    "a\u0903",
    "\x1c",
    "word " * 40,
)
PARITY: tuple[tuple[Conversation, bool], ...] = (
    *((user(text), True) for text in TEXTS),
    *(([*user("Hi"), *assistant(text)], False) for text in TEXTS),
    *(([{"role": "system", "content": text}, *user("Hi")], True) for text in TEXTS[:5]),
    *(([*user(text), *assistant(text), *user("Hi")], True) for text in TEXTS),
    ([{"role": "system", "content": "Be brief."}, *user("Hi"), *assistant("Ho"), *user("a"), *assistant("b")], False),
    ([*user("Hi"), *user("again")], True),
    (assistant("Ho"), False),
    *(([*user("Hi"), {"role": role, "content": "said"}], True) for role in ("tool", "developer", "ipython", "model")),
    ([*user("Hi"), *assistant("Ho")] * 6 + user("a"), True),
)


@dataclass(frozen=True, slots=True)
class Chat:
    """A tokenizer's encoder, what it was made from, and whether its template is rendered in Rust."""

    made_from: tuple[object, ...]
    encoder: ChatEncoder
    renders: bool


_chats: WeakKeyDictionary[PreTrainedTokenizerBase, Chat] = WeakKeyDictionary()


def chat_of(tokenizer: PreTrainedTokenizerBase) -> Chat:
    """Return the encoder of a tokenizer with its present chat template, made when it is first asked for.

    Raises:
        InputError: the tokenizer is none of Hugging Face's `tokenizers`, has no chat template or no end token, or Rust
            gives other ids for it.
    """
    special = tokenizer.special_tokens_map
    made_from = (tokenizer.chat_template, len(tokenizer), *(f"{name}={special[name]}" for name in special))
    chat = _chats.get(tokenizer)
    if chat is None or chat.made_from != made_from:
        chat = _chats[tokenizer] = _make_chat(tokenizer, made_from)
    return chat


def _make_chat(tokenizer: PreTrainedTokenizerBase, made_from: tuple[object, ...]) -> Chat:
    if not tokenizer.is_fast:
        raise InputError(
            f"the tokenizer ({type(tokenizer).__name__}) has no tokenizer.json; load it with transformers and save it "
            "as a fast tokenizer"
        )
    if tokenizer.chat_template is None or tokenizer.eos_token is None:
        raise InputError("the tokenizer has no chat template or no end token (eos_token); set both")
    json = tokenizer.backend_tokenizer.to_str()
    variables = {name: value for name, value in tokenizer.special_tokens_map.items() if isinstance(value, str)}
    end = str(tokenizer.eos_token)
    try:
        template = str(tokenizer.get_chat_template())
        encoder = ChatEncoder(json, template=template, variables=variables, end_token=end)
        chat = Chat(made_from, encoder, renders=all(_agree(tokenizer, encoder, *case) for case in PARITY))
    except ValueError:  # a template that only transformers can compile
        with _told():
            chat = Chat(made_from, ChatEncoder(json, end_token=end), renders=False)
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
    batch = _Batch(tokenizer, [prompt])
    ids, _ = batch.encoded(lambda rows: batch.chat.encoder.encode_prompts(rows, opening=opening))
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
    batch = _Batch(tokenizer, prompts, (completions, completion_ids))
    ids, mask, offsets = batch.encoded(
        lambda rows, *answers: batch.chat.encoder.encode_examples(rows, *answers, completion_ids=completion_ids)
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
    batch = _Batch(tokenizer, prompts, (chosen, chosen_ids), (rejected, rejected_ids))
    columns = batch.encoded(
        lambda rows, *answers: batch.chat.encoder.encode_pairs(
            rows, *answers, chosen_ids=chosen_ids, rejected_ids=rejected_ids
        )
    )
    first, second, third = (ragged_rows(*column) for column in columns)
    return first, second, third


def check_token_ids(model: PreTrainedModel, rows: Iterable[Sequence[int] | None]) -> None:
    """Check that a model knows all token ids that rows bring along; None is a row without.

    Raises:
        InputError: it does not: another model wrote them.
    """
    known = model.get_input_embeddings().num_embeddings
    highest = max((max(ids, default=-1) for ids in rows if ids is not None), default=-1)
    if highest >= known:
        raise InputError(
            f"the rows hold the token id {highest}, but the model knows only those below {known}; give rows that this "
            "model wrote, or leave their token ids out"
        )


Answers = tuple[Sequence[Sequence[Message]], Sequence[list[int] | None]]  # messages, or the engine's ids


class _Batch:
    """Prompts and their answers, rendered by whoever can."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Sequence[Message]], *answers: Answers
    ) -> None:
        self.chat = chat_of(tokenizer)
        self._tokenizer, self._prompts, self._answers = tokenizer, prompts, answers

    def encoded(self, encode: Callable[..., Encoded]) -> Encoded:
        """Return what `encode` makes of the rows, and of the columns of answers where those are still messages.

        Raises:
            InputError: neither Rust nor transformers can do it; says why.
        """
        if self.chat.renders:
            messages = ([list(row) for row in column] for column in (self._prompts, *(it for it, _ in self._answers)))
            with _told(), contextlib.suppress(ChatTemplateError):  # transformers may know what the template asks for
                return encode(*messages)
        with _told():
            return encode([self._rendered(row) for row in range(len(self._prompts))])

    def _rendered(self, row: int) -> Rendered:
        """Render a prompt, and the prompt with each answer that has no ids, by transformers."""
        answers = [None if ids[row] is not None else texts[row] for texts, ids in self._answers]
        lists = [list(self._prompts[row]), *(list(answer or ()) for answer in answers)]
        marks, texts = self.chat.encoder.broken([message for messages in lists for message in messages])
        content = iter(texts)
        broken = [[{**message, "content": next(content)} for message in messages] for messages in lists]
        before = _apply(self._tokenizer, broken[0], add_generation_prompt=True)
        wholes = [
            None if answer is None else _apply(self._tokenizer, [*broken[0], *messages], add_generation_prompt=False)
            for answer, messages in zip(answers, broken[1:], strict=True)
        ]
        return before, wholes, marks


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Turn what Rust or a template refuses into the user's error."""
    from jinja2 import TemplateError

    try:
        yield
    except TemplateError as error:
        reason = str(error).partition("\n")[0][:200]
        raise InputError(f"the chat template refuses these messages: {reason}") from error
    except ValueError as error:
        raise InputError(str(error)) from error
