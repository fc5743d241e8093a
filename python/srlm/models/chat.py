"""Messages to token ids. Each text is encoded once: token ids are passed on and never re-rendered or re-tokenised.

Whole batches are rendered and tokenised in Rust (`srlm.native.ChatEncoder`). A template that renders differently there
than in transformers is rendered by transformers; token ids that differ between the two raise an error.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakKeyDictionary

from srlm.errors import InputError
from srlm.models import template_date
from srlm.models.turn_marks import turn_format
from srlm.native import ChatEncoder, ChatTemplateError
from srlm.rows.records import Message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import date

    import numpy as np
    from numpy.typing import NDArray
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


Conversation = list[dict[str, str]]
Encoded = TypeVar("Encoded")
Rendered = tuple[str, list[str | None], int]  # prompt; prompt with each answer; code point (see ChatEncoder.broken)


def user(text: str) -> list[Message]:
    """Return a conversation of one user turn."""
    return [{"role": "user", "content": text}]


def assistant(text: str) -> list[Message]:
    """Return one assistant turn."""
    return [{"role": "assistant", "content": text}]


# Inputs that templates are known to treat specially; both renderers must agree on all of them.
PARITY_TEXTS = (
    "Hello",
    "",
    " \n leading and trailing \t\n",
    "\x1f\u2028white\u3000space\x1c",
    "<b>&amp; \"quotes\" 'and' {{ braces }} {% if %} {# notes #}",
    "two\n\nparagraphs\n",
    "<think>\nthought\n</think>\n\nsaid",
    "caf\u00e9 \u4f60\u597d \U0001f600 e\u0301",
    "[INST] a [/INST] ### Response: b\nUser: c",
    "\u00bd",  # Python and Rust disagree on whether this and the next ones are digits, letters or white space
    "\u00b2",
    "\u2177",
    "\u24b6",
    "a\u0903",
    "\x1c",
    "word " * 40,
)
PARITY_CASES: tuple[tuple[Conversation, bool], ...] = (
    *((user(text), True) for text in PARITY_TEXTS),
    *(([*user("Hi"), *assistant(text)], False) for text in PARITY_TEXTS),
    *(([{"role": "system", "content": text}, *user("Hi")], True) for text in PARITY_TEXTS[:5]),
    *(([*user(text), *assistant(text), *user("Hi")], True) for text in PARITY_TEXTS),
    ([{"role": "system", "content": "Be brief."}, *user("Hi"), *assistant("Ho"), *user("a"), *assistant("b")], False),
    ([*user("Hi"), *user("again")], True),
    (assistant("Ho"), False),
    *(([*user("Hi"), {"role": role, "content": "said"}], True) for role in ("tool", "developer", "ipython", "model")),
    ([*user("Hi"), *assistant("Ho")] * 6 + user("a"), True),
)


@dataclass(frozen=True, slots=True)
class CachedEncoder:
    """A tokenizer's encoder, its cache key, and whether the chat template is rendered in Rust."""

    cache_key: tuple[object, ...]
    encoder: ChatEncoder
    renders_in_rust: bool


@dataclass(frozen=True, slots=True)
class FrozenDate:
    """The date that a tokenizer's chat template prints, and the template before it was frozen."""

    day: date
    template: str | dict[str, str]


_encoders: WeakKeyDictionary[PreTrainedTokenizerBase, CachedEncoder] = WeakKeyDictionary()
_frozen: WeakKeyDictionary[PreTrainedTokenizerBase, FrozenDate] = WeakKeyDictionary()


def cached_encoder(tokenizer: PreTrainedTokenizerBase) -> CachedEncoder:
    """Return the encoder of a tokenizer with its current chat template, built on first use.

    Raises:
        InputError: the tokenizer is not a fast tokenizer, has no chat template or no end token, or Rust encodes a text
            to other ids.
    """
    special = tokenizer.special_tokens_map
    cache_key = (tokenizer.chat_template, len(tokenizer), *(f"{name}={special[name]}" for name in special))
    chat = _encoders.get(tokenizer)
    if chat is None or chat.cache_key != cache_key:
        chat = _encoders[tokenizer] = _build_encoder(tokenizer, cache_key)
    return chat


def _build_encoder(tokenizer: PreTrainedTokenizerBase, cache_key: tuple[object, ...]) -> CachedEncoder:
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
        chat = CachedEncoder(
            cache_key, encoder, renders_in_rust=all(_renders_alike(tokenizer, encoder, *case) for case in PARITY_CASES)
        )
    except ValueError:  # only transformers can compile this template
        with _as_input_errors():
            chat = CachedEncoder(cache_key, ChatEncoder(json, end_token=end), renders_in_rust=False)
    _check_ids(tokenizer, chat.encoder)
    return chat


def _renders_alike(
    tokenizer: PreTrainedTokenizerBase, encoder: ChatEncoder, messages: Conversation, add_generation_prompt: bool
) -> bool:
    try:
        expected: str | None = render(tokenizer, messages, add_generation_prompt=add_generation_prompt)
    except Exception:  # a template may raise anything; the Rust renderer must then fail as well
        expected = None
    try:
        found: str | None = encoder.render(messages, add_generation_prompt=add_generation_prompt)
    except ValueError:
        found = None
    return found == expected


def _check_ids(tokenizer: PreTrainedTokenizerBase, encoder: ChatEncoder) -> None:
    texts = [
        *PARITY_TEXTS,
        *(f"{text} {token}{text}" for text in PARITY_TEXTS[:3] for token in tokenizer.all_special_tokens),
    ]
    for text, ids in zip(texts, ragged_rows(*encoder.encode_texts(texts)), strict=True):
        if ids != _encode(tokenizer, text):
            raise InputError(
                f"the tokenizer's ids for {text!r} differ from those of the `tokenizers` library built into srlm; "
                "install a version of tokenizers that this version of srlm requires"
            )


def render(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], *, add_generation_prompt: bool) -> str:
    """Render messages with transformers; a template that prints the date prints the frozen one."""
    frozen = _frozen.get(tokenizer)
    variables = {} if frozen is None else {template_date.FUNCTION: template_date.frozen_function(frozen.day)}
    return str(
        tokenizer.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=add_generation_prompt, **variables
        )
    )


def set_frozen_date(tokenizer: PreTrainedTokenizerBase, day: date, template: str | dict[str, str]) -> None:
    """Make templates of a tokenizer print `day`; `template` is the template (or several) before it was frozen."""
    _frozen[tokenizer] = FrozenDate(day, template)


def frozen_date(tokenizer: PreTrainedTokenizerBase) -> date | None:
    """Return the date that a tokenizer's chat template prints, or None if it prints none."""
    frozen = _frozen.get(tokenizer)
    return None if frozen is None else frozen.day


def template_before_freezing(tokenizer: PreTrainedTokenizerBase) -> str | dict[str, str] | None:
    """Return the chat template that a tokenizer was loaded with."""
    frozen = _frozen.get(tokenizer)
    return tokenizer.chat_template if frozen is None else frozen.template


def _encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def ragged_rows(ids: NDArray[np.int32], offsets: NDArray[np.int64]) -> list[list[int]]:
    """Split `ids` [T] at `offsets` [N + 1] into N lists."""
    ends = offsets.tolist()
    values = ids.tolist()
    return [values[start:end] for start, end in pairwise(ends)]


def prompt_ids(tokenizer: PreTrainedTokenizerBase, prompt: Sequence[Message], opening: str = "") -> tuple[int, ...]:
    """Return the prompt ids of a request: the conversation, the generation prompt, and the prefill `opening`."""
    batch = _Batch(tokenizer, [prompt])
    ids, _ = batch.encoded(lambda rows: batch.chat.encoder.encode_prompts(rows, opening=opening))
    return tuple(ids.tolist())


def prefilled_ids(tokenizer: PreTrainedTokenizerBase, prompt: Sequence[Message], opening: str = "") -> tuple[int, ...]:
    """Return the prompt ids of a request whose answer is prefilled with `opening`.

    A thought that the template opens in the prompt is closed first: the answer is said, not thought.
    """
    return prompt_ids(tokenizer, prompt, turn_format(tokenizer).thought_end + opening)


def completion_ids(
    tokenizer: PreTrainedTokenizerBase, prompt: Sequence[Message], completion: Sequence[Message]
) -> list[int]:
    """Return the ids of an answer as an engine would generate it: its rendered text, then the end token.

    Raises:
        InputError: the template renders the prompt differently when an answer follows.
    """
    (ids,), (mask,) = encode_examples(tokenizer, [prompt], [completion], [None])
    return [token for token, in_completion in zip(ids, mask, strict=True) if in_completion]


def encode_examples(
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[Message]],
    completions: Sequence[Sequence[Message]],
    completion_ids: Sequence[list[int] | None],
) -> tuple[list[list[int]], list[list[bool]]]:
    """Return N rows of ids, each a prompt and its completion, and masks that are true for the completion.

    An engine's `completion_ids` are used unchanged if they are given.

    Raises:
        InputError: the template rejects a row, or renders its prompt differently when an answer follows.
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
    """Return the ids of N prompts, of their chosen and their rejected answers; see `encode_examples`."""
    batch = _Batch(tokenizer, prompts, (chosen, chosen_ids), (rejected, rejected_ids))
    columns = batch.encoded(
        lambda rows, *answers: batch.chat.encoder.encode_pairs(
            rows, *answers, chosen_ids=chosen_ids, rejected_ids=rejected_ids
        )
    )
    first, second, third = (ragged_rows(*column) for column in columns)
    return first, second, third


def check_token_ids(model: PreTrainedModel, rows: Iterable[Sequence[int] | None]) -> None:
    """Check that all token ids in rows are in a model's vocabulary; None is a row without token ids.

    Raises:
        InputError: they are not, since another model generated them.
    """
    vocabulary = model.get_input_embeddings().num_embeddings
    highest = max((max(ids, default=-1) for ids in rows if ids is not None), default=-1)
    if highest >= vocabulary:
        raise InputError(
            f"the rows hold the token id {highest}, but the model's vocabulary has {vocabulary} tokens; use rows that "
            "this model generated, or remove their token ids"
        )


Answers = tuple[Sequence[Sequence[Message]], Sequence[list[int] | None]]  # messages, and the engine's ids if known


class _Batch:
    """Prompts and their answers, rendered in Rust if possible, else by transformers."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Sequence[Message]], *answers: Answers
    ) -> None:
        self.chat = cached_encoder(tokenizer)
        self._tokenizer, self._prompts, self._answers = tokenizer, prompts, answers

    def encoded(self, encode: Callable[..., Encoded]) -> Encoded:
        """Call `encode` with the messages of prompts and answers, or with rows rendered by transformers.

        Raises:
            InputError: neither Rust nor transformers can render the rows; gives the reason.
        """
        if self.chat.renders_in_rust:
            messages = ([list(row) for row in column] for column in (self._prompts, *(it for it, _ in self._answers)))
            # On a ChatTemplateError transformers may still support what the template uses.
            with _as_input_errors(), contextlib.suppress(ChatTemplateError):
                return encode(*messages)
        with _as_input_errors():
            return encode([self._rendered(row) for row in range(len(self._prompts))])

    def _rendered(self, row: int) -> Rendered:
        """Render a prompt, and the prompt with each answer that has no ids, with transformers."""
        answers = [None if ids[row] is not None else texts[row] for texts, ids in self._answers]
        lists = [list(self._prompts[row]), *(list(answer or ()) for answer in answers)]
        marks, texts = self.chat.encoder.broken([message for messages in lists for message in messages])
        content = iter(texts)
        broken = [[{**message, "content": next(content)} for message in messages] for messages in lists]
        before = render(self._tokenizer, broken[0], add_generation_prompt=True)
        wholes = [
            None if answer is None else render(self._tokenizer, [*broken[0], *messages], add_generation_prompt=False)
            for answer, messages in zip(answers, broken[1:], strict=True)
        ]
        return before, wholes, marks


@contextlib.contextmanager
def _as_input_errors() -> Iterator[None]:
    """Convert errors of Rust or of a template to InputError."""
    from jinja2 import TemplateError

    try:
        yield
    except TemplateError as error:
        reason = str(error).partition("\n")[0][:200]
        raise InputError(f"the chat template rejects these messages: {reason}") from error
    except ValueError as error:
        raise InputError(str(error)) from error
