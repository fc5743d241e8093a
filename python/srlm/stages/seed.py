"""The human-written seed data: instruction fine-tuning (IFT) examples, and human-ranked answers for evaluation
fine-tuning (EFT). Three formats are read:

* the packaged set (`packaged`);
* JSON lines: `{"messages": [...]}` or `{"prompt": ..., "response": ...}` for IFT, `{"prompt": ..., "answers": [...]}`
  for EFT, each answer `{"text": ..., "score": ...}` or `{"text": ..., "rank": ...}`, with an optional `justification`;
* Open Assistant's export of message trees (`.jsonl`, `.jsonl.gz`): English first turns. The answer that humans ranked
  first becomes an IFT example, all ranked answers become EFT data; synthetic and deleted messages are skipped (paper,
  section 3.1).

`seed_sets` limits and splits them.
"""

from __future__ import annotations

import gzip
import zlib
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from srlm.errors import InputError
from srlm.models import chat
from srlm.rows.json_lines import decode_lines, parse_objects, reason_of
from srlm.rows.records import Example, Prompt, RankedAnswers, content_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from srlm.config import SeedDataSection

T = TypeVar("T")
PACKAGED = "packaged"
Located = tuple[str, dict[str, Any]]  # the location (file and line) of an object, and the object


def read_ift(seed_data: SeedDataSection) -> list[Example]:
    """Read the IFT examples of all sources, without exact duplicates.

    Raises:
        InputError: a file cannot be read, a line is invalid, or there is no example.
    """
    rows = _read_all(seed_data.ift, "ift.jsonl", _ift_rows)
    unique = list({row.id: row for row in rows}.values())
    if not unique:
        raise InputError(f"seed_data.ift ({', '.join(seed_data.ift)}): no IFT example found; SFT needs at least one")
    return unique


def read_eft(seed_data: SeedDataSection) -> list[RankedAnswers]:
    """Read the human-ranked answers of all sources.

    Raises:
        InputError: a file cannot be read, a line is invalid, or the sources hold no ranked answers.
    """
    rows = _read_all(seed_data.eft, "eft.jsonl", eft_rows)
    if seed_data.eft and not rows:
        raise InputError(
            f"seed_data.eft ({', '.join(seed_data.eft)}): no prompt with two or more ranked answers; "
            "use other files, or [] to train no judge"
        )
    return rows


def seed_prompts(ift: Iterable[Example]) -> list[Prompt]:
    """Return the instructions of single-turn IFT examples, as demonstrations for the prompt stage.

    Raises:
        InputError: there is none.
    """
    texts = dict.fromkeys(
        row.prompt[-1]["content"] for row in ift if sum(turn["role"] == "user" for turn in row.prompt) == 1
    )
    if not texts:
        raise InputError("no IFT example has a single user turn, so there is no few-shot demonstration; add some")
    return [Prompt(content_id("prompt", text), text, "seed", [], -1) for text in texts]


def _read_all(sources: list[str], packaged: str, parse: Callable[[Located], list[T]]) -> list[T]:
    return [row for source in sources for located in _read_source(source, packaged) for row in parse(located)]


def _read_source(source: str, packaged: str) -> list[Located]:
    if source == PACKAGED:
        entry = resources.files("srlm") / "data" / "seed" / packaged
        return _located(entry.read_bytes(), f"{PACKAGED} {packaged}")
    path = Path(source)
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if path.suffix == ".gz" else data
    except (OSError, ValueError, EOFError, zlib.error) as error:
        raise InputError(f"seed file {source}: cannot be read: {reason_of(error)}; use another file") from error
    return _located(data, source)


def _located(data: bytes, name: str) -> list[Located]:
    return [(f"{name}, line {number}", value) for number, value in parse_objects(decode_lines(data, name), name)]


def is_tree(value: dict[str, Any]) -> bool:
    """Tell whether an entry is a message tree of Open Assistant's export."""
    return isinstance(value.get("prompt"), dict) and "message_tree_id" in value


def _ift_rows(located: Located) -> list[Example]:
    where, value = located
    if is_tree(value):
        prompt, answers = _tree_answers(value, where)
        best = [text for rank, text in answers if rank == 0]
        return [_example(chat.user(prompt), best[0])] if best else []
    if "messages" in value:
        return [_from_messages(value["messages"], where)]
    if "answers" in value:
        raise InputError(f"{where}: this is a row of ranked answers; list the file in seed_data.eft, not seed_data.ift")
    return [_example(chat.user(required_text(value, "prompt", where)), required_text(value, "response", where))]


def _from_messages(messages: object, where: str) -> Example:
    if not isinstance(messages, list) or len(messages) < 2:
        raise InputError(f"{where}: 'messages' must be a list of at least a user and an assistant turn")
    turns = [
        {"role": required_text(turn, "role", where), "content": required_text(turn, "content", where)}
        for turn in messages
    ]
    unknown = next((turn["role"] for turn in turns if turn["role"] not in ("system", "user", "assistant")), None)
    if unknown is not None:
        raise InputError(f"{where}: unknown role {unknown!r}; use system, user or assistant")
    if turns[-1]["role"] != "assistant":
        raise InputError(f"{where}: the last of 'messages' must be an assistant turn, since SFT trains on it")
    roles = [turn["role"] for turn in turns if turn is not turns[0] or turn["role"] != "system"]
    if roles != ["user", "assistant"] * (len(roles) // 2):
        raise InputError(
            f"{where}: the roles of 'messages' are {', '.join(turn['role'] for turn in turns)}; after an optional "
            "system turn, user and assistant must alternate"
        )
    return _example(turns[:-1], turns[-1]["content"])


def _example(prompt: list[dict[str, str]], answer: str) -> Example:
    return Example(content_id("example", prompt, answer), prompt, chat.assistant(answer))


def eft_rows(located: Located) -> list[RankedAnswers]:
    """Return the ranked answers of an entry: one row, or none.

    Raises:
        InputError: the entry is invalid.
    """
    where, value = located
    if is_tree(value):
        prompt, ranked = _tree_answers(value, where)
        if len(ranked) < 2:
            return []
        texts = [text for _, text in ranked]
        return [_ranked(prompt, texts, scores_from_ranks([rank for rank, _ in ranked]), [""] * len(texts))]
    answers = value.get("answers")
    if not isinstance(answers, list) or len(answers) < 2:
        raise InputError(f"{where}: expected 'prompt' and 'answers', a list of at least two")
    texts = [required_text(answer, "text", where) for answer in answers]
    justifications = [str(answer.get("justification") or "") for answer in answers]
    return [_ranked(required_text(value, "prompt", where), texts, _scores(answers, where), justifications)]


def _ranked(prompt: str, texts: list[str], scores: list[float], justifications: list[str]) -> RankedAnswers:
    return RankedAnswers(
        content_id("ranked", prompt, texts, scores, justifications), prompt, texts, scores, justifications
    )


def _scores(answers: list[dict[str, Any]], where: str) -> list[float]:
    for field in ("score", "rank"):
        values = [answer.get(field) for answer in answers]
        if all(_is_number(value) for value in values):
            numbers = [float(value) for value in values if value is not None]
            return numbers if field == "score" else scores_from_ranks(numbers)
    raise InputError(f"{where}: every answer needs a number 'score' (higher is better) or 'rank' (0 is best)")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9


def scores_from_ranks(ranks: list[float] | list[int]) -> list[float]:
    """Map ranks (0 is best) to evenly spaced scores from 5 down to 1, rounded to integers for up to five ranks."""
    order = sorted(set(ranks))
    step = 4 / max(1, len(order) - 1)
    scores = [5 - step * order.index(rank) for rank in ranks]
    # With more than five ranks, rounding would tie answers that the humans ordered.
    return scores if len(order) > 5 else [float(round(score)) for score in scores]


def _tree_answers(tree: dict[str, Any], where: str) -> tuple[str, list[tuple[int, str]]]:
    """Return the first turn of an Open Assistant tree and its (rank, answer)s, best first; none if it is unusable."""
    prompt = tree["prompt"]
    if not _usable(prompt):
        return "", []
    replies = prompt.get("replies") or []
    if not isinstance(replies, list) or not all(isinstance(reply, dict) for reply in replies):
        raise InputError(f"{where}: 'replies' must be a list of messages")
    usable = [reply for reply in replies if _usable(reply) and reply.get("rank") is not None]
    if not all(isinstance(reply["rank"], int) for reply in usable):
        raise InputError(f"{where}: 'rank' must be an integer")
    ranked = [(reply["rank"], required_text(reply, "text", where)) for reply in usable]
    return required_text(prompt, "text", where), sorted(ranked)


def _usable(message: dict[str, Any]) -> bool:
    return message.get("lang") == "en" and not message.get("deleted") and not message.get("synthetic")


def required_text(value: object, field: str, where: str) -> str:
    """Return a field that must be a non-blank string.

    Raises:
        InputError: it is missing, empty or not a string.
    """
    text = value.get(field) if isinstance(value, dict) else None
    if not isinstance(text, str) or not text.strip():
        problem = "is missing" if text is None else "is empty" if isinstance(text, str) else "is not a string"
        raise InputError(f"{where}: {field!r} {problem}; expected a non-empty string")
    return text
