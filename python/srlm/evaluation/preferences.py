"""Files of human preferences: ranked answers to measure a judge on, from formats that are in use.

* Open Assistant's message trees, and JSON lines of `{"prompt": …, "answers": [{"text": …, "score": …}, …]}`, both read
  as the seed is;
* JSON lines of `{"prompt": …, "chosen": …, "rejected": …}`: texts, or lists of messages as TRL has them, with the
  prompt in a field of its own or at the head of both conversations;
* LLMBar (arXiv 2310.07641): `input`, `output_1`, `output_2`, and `label` 1 or 2 for the better one;
* PandaLM's test set (arXiv 2306.05087): `instruction`, `input`, `response1`, `response2`, and the labels of
  `annotator1` to `annotator3`, 0 for a tie, 1 or 2 for the better one. The majority counts; three different are a tie.

Any of them may be JSON lines or one JSON list, packed by gzip or not; the content tells, not the file's name. Every
row stays, also one that a file has twice. Left out: sets that come as Parquet, which `datasets` turns into JSON lines.
"""

from __future__ import annotations

import gzip
import random
import zlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from srlm.errors import InputError
from srlm.rows.json_lines import parse_located, reason_of
from srlm.rows.records import RankedAnswers, content_id, derived_seed
from srlm.stages import seed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Kind = Literal["oasst", "llmbar", "pandalm", "jsonl"]
Located = tuple[str, dict[str, Any]]  # where the object stands, and the object
BETTER, WORSE = 5.0, 1.0  # what the seed makes of two ranks
ANNOTATORS = ("annotator1", "annotator2", "annotator3")


@dataclass(frozen=True, slots=True)
class Preferences:
    """Ranked answers, equal scores being the humans' tie; `annotators` has PandaLM's three labels for each row."""

    rows: list[RankedAnswers]
    annotators: list[list[int]] | None


def read_preferences(path: Path, kind: Literal["auto"] | Kind = "auto") -> Preferences:
    """Read a file of human preferences; `auto` tells its format by its first object.

    Raises:
        InputError: the file cannot be read, an entry is broken or of another format, or nothing in it was ranked.
    """
    objects = parse_located(_unpacked(path), str(path))
    known = _kind_of(*objects[0]) if kind == "auto" and objects else kind
    rows = [row for located in objects for row in _READERS[known](located)]
    if not rows:
        raise InputError(f"{path}: no prompt with two or more ranked answers in it; give another file")
    return Preferences(rows, [_labels(located) for located in objects] if known == "pandalm" else None)


def draw(preferences: Preferences, limit: int | None, seed: int) -> Preferences:
    """Return at most `limit` of the rows, drawn by the seed, in their order."""
    rows, labels = preferences.rows, preferences.annotators
    if limit is None or limit >= len(rows):
        return preferences
    places = sorted(random.Random(derived_seed(seed, "preferences")).sample(range(len(rows)), limit))
    return Preferences(
        [rows[place] for place in places], None if labels is None else [labels[place] for place in places]
    )


def _unpacked(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
    except (OSError, ValueError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read: {reason_of(error)}; give a file of human preferences") from error


def _kind_of(where: str, value: dict[str, Any]) -> Kind:
    if seed.is_tree(value):
        return "oasst"
    if "output_1" in value:
        return "llmbar"
    if "response1" in value:
        return "pandalm"
    if "answers" in value or "chosen" in value:
        return "jsonl"
    found = ", ".join(map(repr, list(value)[:8])) or "no fields"
    raise InputError(
        f"{where}: no format of preferences has these fields ({found}); expected an Open Assistant tree, or 'answers', "
        "'chosen' and 'rejected', 'output_1' and 'output_2' (LLMBar), or 'response1' and 'response2' (PandaLM)"
    )


def _oasst(located: Located) -> list[RankedAnswers]:
    where, value = located
    if not seed.is_tree(value):
        raise InputError(f"{where}: no message tree ('message_tree_id' and a 'prompt' message); remove it")
    return seed.eft_rows(located)


def _llmbar(located: Located) -> list[RankedAnswers]:
    where, value = located
    answers = [seed.text_of(value, field, where) for field in ("output_1", "output_2")]
    return [_two(seed.text_of(value, "input", where), answers, _label(value, "label", (1, 2), where))]


def _pandalm(located: Located) -> list[RankedAnswers]:
    where, value = located
    parts = [_string(value, field, where) for field in ("instruction", "input")]
    prompt = "\n\n".join(part for part in parts if part.strip())
    if not prompt:
        raise InputError(f"{where}: 'instruction' and 'input' are both empty; one of them must hold the question")
    answers = [_string(value, field, where) for field in ("response1", "response2")]
    label, votes = Counter(_labels(located)).most_common(1)[0]
    return [_two(prompt, answers, label if votes > 1 else 0)]


def _labels(located: Located) -> list[int]:
    where, value = located
    return [_label(value, field, (0, 1, 2), where) for field in ANNOTATORS]


def _label(value: dict[str, Any], field: str, allowed: tuple[int, ...], where: str) -> int:
    label = value.get(field)
    if not isinstance(label, int) or isinstance(label, bool) or label not in allowed:
        *others, last = map(str, allowed)
        raise InputError(f"{where}: {field!r} must be {', '.join(others)} or {last} (found {label!r})")
    return label


def _string(value: dict[str, Any], field: str, where: str) -> str:
    """Return a text that may be empty: models that PandaLM compares wrote nothing at times, or `true` for "True"."""
    text = value.get(field)
    if isinstance(text, bool):
        return str(text)
    if not isinstance(text, str):
        raise InputError(f"{where}: {field!r} {'is missing' if text is None else 'is not a string'}; expected a text")
    return text


def _jsonl(located: Located) -> list[RankedAnswers]:
    where, value = located
    if "answers" in value:
        return seed.eft_rows(located)
    if "chosen" not in value or "rejected" not in value:
        raise InputError(f"{where}: expected 'prompt' with 'chosen' and 'rejected', or with 'answers'")
    given = _turns(value["prompt"], "prompt", "user", where) if value.get("prompt") else []
    chosen, rejected = (_turns(value[field], field, "assistant", where) for field in ("chosen", "rejected"))
    return [_two(_question(given, chosen, rejected, where), [chosen[-1][1], rejected[-1][1]], 1)]


Turns = list[tuple[str, str]]  # (role, text)


def _turns(value: object, field: str, role: str, where: str) -> Turns:
    """Return a text or a list of messages as turns, the last of which must be `role`'s."""
    messages = [{"role": role, "content": value}] if isinstance(value, str) else value
    if not isinstance(messages, list) or not messages:
        raise InputError(f"{where}: {field!r} must be a text or a list of messages")
    place = f"{where}, {field!r}"
    turns = [(seed.text_of(message, "role", place), seed.text_of(message, "content", place)) for message in messages]
    if turns[-1][0] != role:
        raise InputError(f"{where}: the last message of {field!r} must have the role {role!r}")
    return turns


def _question(given: Turns, chosen: Turns, rejected: Turns, where: str) -> str:
    """Return the prompt as one text: the user's only turn, or all turns with their roles before them."""
    if chosen[:-1] != rejected[:-1]:
        raise InputError(
            f"{where}: 'chosen' and 'rejected' differ before their last message; both must answer the same"
        )
    turns = chosen[:-1] or given
    if given and turns[-len(given) :] != given:
        raise InputError(f"{where}: 'chosen' begins with another prompt than 'prompt' has; remove one of them")
    if not turns:
        raise InputError(f"{where}: 'prompt' is missing or empty; expected a text or a list of messages")
    if len(turns) == 1:
        return turns[0][1]
    return "\n\n".join(f"{role.capitalize()}: {text}" for role, text in turns)


def _two(prompt: str, answers: list[str], label: int) -> RankedAnswers:
    """Return a row of two answers of which number `label` is better; 0 for a tie."""
    scores = [BETTER if label in (0, number) else WORSE for number in (1, 2)]
    return RankedAnswers(content_id("ranked", prompt, answers, scores), prompt, answers, scores, ["", ""])


_READERS: dict[str, Callable[[Located], list[RankedAnswers]]] = {
    "oasst": _oasst,
    "llmbar": _llmbar,
    "pandalm": _pandalm,
    "jsonl": _jsonl,
}
