"""A model, its tokenizer, its chat template and the configuration, compared before weights are loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from srlm.errors import InputError, one_line
from srlm.models import chat, generation, shape, template_date

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from transformers import PreTrainedTokenizerBase

    from srlm.config import Config, ModelSection
    from srlm.rows.records import Example, Message, Pair

Row = TypeVar("Row")
Encoded = TypeVar("Encoded")
ADVICE = "use the tokenizer that belongs to the model, or resize the model's embeddings and save it"
MAX_SHOWN = 60  # characters of a row in an error
TEMPLATE_ADVICE = "fix or remove the row, or set model.chat_template"


def model_shape(folder: str, *, trust: bool) -> shape.Shape:
    """Return the shape of a model, with its architecture's defaults.

    Raises:
        InputError: transformers cannot read its configuration.
    """
    from transformers import AutoConfig

    if not (Path(folder) / "config.json").is_file():
        return shape.Shape(None, None)  # the error of loading it says more
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust).to_dict()
    except Exception as error:  # a value of a wrong type can raise anything in the architecture's code
        raise InputError(
            f"model {folder!r}: transformers cannot load it: {one_line(error)}; fix it or use another model"
        ) from error
    return shape.read_shape(folder, config)


def with_engine_length(config: Config, folder: str) -> Config:
    """Return the configuration with `engine.max_model_len` for the model in `folder` (`shape.engine_length`)."""
    found = model_shape(folder, trust=config.model.trust_remote_code)
    length = shape.engine_length(config.engine, found, f"the model {folder!r}")
    return config.model_copy(update={"engine": config.engine.model_copy(update={"max_model_len": length})})


def check_room(config: Config, found: shape.Shape, where: str, *, only_prompts: bool = False) -> None:
    """Check that `engine.max_model_len` fits the model, and leaves room for a prompt before each kind of answer.

    `only_prompts`: for a model that writes prompts and nothing else.

    Raises:
        InputError: names the setting.
    """
    length = shape.engine_length(config.engine, found, where)
    limits = {} if config.prompts.model is not None and not only_prompts else {"prompts": config.prompts.max_tokens}
    if not only_prompts:
        limits["candidates"] = config.candidates.max_tokens
    if config.judge.justify and not only_prompts:
        limits["judge"] = config.judge.max_tokens
    for section, tokens in limits.items():
        if tokens >= length:
            limit = f"the context of {where}" if config.engine.max_model_len is None else "engine.max_model_len"
            raise InputError(
                f"{section}.max_tokens ({tokens}) leaves no room for a prompt: {limit} is {length} tokens; lower it"
            )


def check_tokenizer(tokenizer: PreTrainedTokenizerBase, found: shape.Shape, where: str) -> None:
    """Check that the model has an embedding for every token that a prompt or an answer can contain.

    A special token that no template prints cannot occur: data is encoded without special tokens. Some models are
    shipped with such a token beyond their embeddings.

    Raises:
        InputError: names the first token without an embedding; `where` names the model.
    """
    rows = found.embedding_rows
    if rows is None:
        return
    special = {int(token) for token in tokenizer.all_special_ids}
    special |= {index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
    beyond = {index for index in tokenizer.get_vocab().values() if index >= rows and index not in special}
    beyond |= {token for token in (tokenizer.eos_token_id, *_template_ids(tokenizer)) if token >= rows}
    if beyond:
        token = min(beyond)
        raise InputError(
            f"{where}: its tokenizer has the token {tokenizer.convert_ids_to_tokens(token)!r} with the id {token}, but "
            f"the model has {rows} embeddings; {ADVICE}"
        )


def _template_ids(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Return the ids of conversations that have every role that the template accepts."""
    turns = [*chat.user("a"), *chat.assistant("b"), *chat.user("c")]
    found: set[int] = set()
    for messages in (turns, [{"role": "system", "content": "d"}, *turns]):
        try:
            found.update(chat.prompt_ids(tokenizer, messages))
        except InputError:
            continue  # the template refuses the system role; rows that need it are refused by `_named`
    return found


def encode_examples(
    tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example]
) -> tuple[list[list[int]], list[list[bool]]]:
    """Return the ids and the completion masks of examples (`chat.encode_examples`).

    Raises:
        InputError: the chat template refuses an example; names it.
    """

    def encode(rows: Sequence[Example]) -> tuple[list[list[int]], list[list[bool]]]:
        return chat.encode_examples(
            tokenizer,
            [row.prompt for row in rows],
            [row.completion for row in rows],
            [row.completion_token_ids for row in rows],
        )

    return _named(encode, examples, lambda row: _label(row.id, row.prompt))


def encode_pairs(
    tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Pair]
) -> tuple[list[list[int]], list[list[int]], list[list[int]]]:
    """Return the ids of the prompts, the chosen and the rejected answers of pairs (`chat.encode_pairs`).

    Raises:
        InputError: the chat template refuses a pair; names it.
    """

    def encode(rows: Sequence[Pair]) -> tuple[list[list[int]], list[list[int]], list[list[int]]]:
        return chat.encode_pairs(
            tokenizer,
            [row.prompt for row in rows],
            [row.chosen for row in rows],
            [row.rejected for row in rows],
            [row.chosen_token_ids for row in rows],
            [row.rejected_token_ids for row in rows],
        )

    return _named(encode, pairs, lambda row: _label(row.prompt_id, row.prompt))


def _named(encode: Callable[[Sequence[Row]], Encoded], rows: Sequence[Row], label: Callable[[Row], str]) -> Encoded:
    """Return `encode(rows)`; if the template refuses a row, the error names the first such row.

    Raises:
        InputError: the template refuses the roles of a row or their order, or does not render its prompt as a prefix
            of prompt and answer.
    """
    try:
        return encode(rows)
    except InputError:
        for row in rows:
            try:
                encode([row])
            except InputError as error:
                raise InputError(f"row {label(row)}: {error}; {TEMPLATE_ADVICE}") from error
        raise


def _label(name: str, prompt: Sequence[Message]) -> str:
    """Return a row's name with the roles and the beginning of its prompt."""
    text = " ".join(" ".join(message["content"] for message in prompt).split())
    shown = text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"
    return f"{name} ({', '.join(message['role'] for message in prompt)}: {shown!r})"


def notes(folder: str, tokenizer: PreTrainedTokenizerBase, model: ModelSection) -> list[str]:
    """Return what a user should know about a model that is going to be trained."""
    trust = model.trust_remote_code
    found = model_shape(folder, trust=trust)
    lines = []
    if prints_date(tokenizer):
        lines.append(date_note(model))
    shipped_pad = _shipped_pad(folder, trust=trust)
    if shipped_pad is not None and found.embedding_rows is not None and shipped_pad >= found.embedding_rows:
        lines.append(
            f"model: the pad token {shipped_pad} is beyond the model's {found.embedding_rows} embeddings; rows are "
            "padded with the end token"
        )
    reason = generation.refusal(folder, trust=trust)
    if reason is not None:
        lines.append(
            f"model: transformers refuses its {generation.FILE} ({reason}); trained models are saved with its special "
            "tokens only"
        )
    return lines


def prints_date(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Tell whether a tokenizer's chat template prints the date."""
    return chat.frozen_date(tokenizer) is not None


def date_note(model: ModelSection) -> str:
    """Return the note on a chat template that prints the date."""
    if model.date is None:
        return (
            f"model: the chat template prints today's date; it prints {template_date.DEFAULT} here, so that rows do "
            "not depend on the day; set model.date for another"
        )
    return f"model: the chat template prints today's date; it prints {model.date} in this run (model.date)"


def _shipped_pad(folder: str, *, trust: bool) -> int | None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust)
    return None if tokenizer.pad_token_id is None else int(tokenizer.pad_token_id)
