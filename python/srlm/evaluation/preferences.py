"""Preference sets: human-ranked answers to evaluate a judge on, in common formats.

* Open Assistant's message trees, and JSON lines of `{"prompt": …, "answers": [{"text": …, "score": …}, …]}`, both
  parsed as for the seed data;
* JSON lines of `{"prompt": …, "chosen": …, "rejected": …}`: strings, or lists of messages as in TRL, with an explicit
  prompt or an implicit one (a common prefix of both conversations);
* LLMBar (arXiv 2310.07641): `input`, `output_1`, `output_2`, and `label` 1 or 2 for the better one;
* PandaLM's test set (arXiv 2306.05087): `instruction`, `input`, `response1`, `response2`, and the labels of
  `annotator1` to `annotator3`, 0 for a tie, 1 or 2 for the better one. The majority label counts; three different
  labels are a tie.

Each of them may be JSON lines or one JSON list, gzipped or not; this is detected from the content, not from the file's
name. Duplicate rows are kept. Not supported: Parquet, which `datasets` converts to JSON lines.
"""

from __future__ import annotations

import gzip
import random
import zlib
from collections import Counter
from dataclasses import dataclass
from itertools import compress
from typing import TYPE_CHECKING, Any, Literal

from srlm.errors import InputError
from srlm.rows.equal_answers import equal_pairs, groups_of_equal
from srlm.rows.json_lines import parse_located, reason_of
from srlm.rows.records import RankedAnswers, content_id, derived_seed
from srlm.stages import seed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Kind = Literal["oasst", "llmbar", "pandalm", "jsonl"]
Located = tuple[str, dict[str, Any]]  # (location in the file, object)
BETTER, WORSE = 5.0, 1.0  # the scores that the seed data assigns to two ranks
ANNOTATORS = ("annotator1", "annotator2", "annotator3")


@dataclass(frozen=True, slots=True)
class Preferences:
    """Ranked answers; equal scores are a human tie. `annotators` has PandaLM's three labels for each row."""

    rows: list[RankedAnswers]
    annotators: list[list[int]] | None


def read_preferences(path: Path, kind: Literal["auto"] | Kind = "auto") -> Preferences:
    """Read a preference set; `auto` detects its format from the first object.

    Raises:
        InputError: the file cannot be read, an entry is invalid or of another format, there are no ranked answers, or
            the answers to each prompt are the same.
    """
    objects = parse_located(_unpacked(path), str(path))
    known = _kind_of(*objects[0]) if kind == "auto" and objects else kind
    rows = [row for located in objects for row in _READERS[known](located)]
    if not rows:
        raise InputError(f"{path}: contains no prompt with two or more ranked answers; use another file")
    if all(len(groups_of_equal(row.answers)) == 1 for row in rows):
        raise InputError(f"{path}: the answers to each of its {len(rows)} prompts are the same; use another file")
    return Preferences(rows, [_labels(located) for located in objects] if known == "pandalm" else None)


def drop_equal_answers(preferences: Preferences) -> tuple[Preferences, int]:
    """Drop the rows whose answers are all the same; also return the number of their pairs."""
    keep = [len(groups_of_equal(row.answers)) > 1 for row in preferences.rows]
    labels = preferences.annotators
    kept = Preferences(list(compress(preferences.rows, keep)), None if labels is None else list(compress(labels, keep)))
    dropped = [row for row, is_kept in zip(preferences.rows, keep, strict=True) if not is_kept]
    return kept, sum(map(equal_pairs, dropped))


def sample_rows(preferences: Preferences, limit: int | None, seed: int) -> Preferences:
    """Return at most `limit` rows, sampled with the seed, in their original order."""
    rows, labels = preferences.rows, preferences.annotators
    if limit is None or limit >= len(rows):
        return preferences
    indices = sorted(random.Random(derived_seed(seed, "preferences")).sample(range(len(rows)), limit))
    return Preferences(
        [rows[index] for index in indices], None if labels is None else [labels[index] for index in indices]
    )


def _unpacked(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
    except (OSError, ValueError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read: {reason_of(error)}; use a file of human preferences") from error


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
        f"{where}: unknown preference format with the fields {found}; expected an Open Assistant tree, or 'answers', "
        "'chosen' and 'rejected', 'output_1' and 'output_2' (LLMBar), or 'response1' and 'response2' (PandaLM)"
    )


def _oasst(located: Located) -> list[RankedAnswers]:
    where, value = located
    if not seed.is_tree(value):
        raise InputError(f"{where}: not a message tree ('message_tree_id' and a 'prompt' message); remove it")
    return seed.eft_rows(located)


def _llmbar(located: Located) -> list[RankedAnswers]:
    where, value = located
    answers = [seed.required_text(value, field, where) for field in ("output_1", "output_2")]
    return [_pair(seed.required_text(value, "input", where), answers, _label(value, "label", (1, 2), where))]


def _pandalm(located: Located) -> list[RankedAnswers]:
    where, value = located
    parts = [_string(value, field, where) for field in ("instruction", "input")]
    prompt = "\n\n".join(part for part in parts if part.strip())
    if not prompt:
        raise InputError(f"{where}: 'instruction' and 'input' are both empty; set at least one of them")
    answers = [_string(value, field, where) for field in ("response1", "response2")]
    label, votes = Counter(_labels(located)).most_common(1)[0]
    return [_pair(prompt, answers, label if votes > 1 else 0)]


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
    """Return a text that may be empty: PandaLM's data has empty responses, and `true` for "True"."""
    text = value.get(field)
    if isinstance(text, bool):
        return str(text)
    if not isinstance(text, str):
        raise InputError(f"{where}: {field!r} {'is missing' if text is None else 'is not a string'}; expected a string")
    return text


def _jsonl(located: Located) -> list[RankedAnswers]:
    where, value = located
    if "answers" in value:
        return seed.eft_rows(located)
    if "chosen" not in value or "rejected" not in value:
        raise InputError(f"{where}: expected 'prompt' with 'chosen' and 'rejected', or with 'answers'")
    given = _turns(value["prompt"], "prompt", "user", where) if value.get("prompt") else []
    chosen, rejected = (_turns(value[field], field, "assistant", where) for field in ("chosen", "rejected"))
    return [_pair(_prompt_text(given, chosen, rejected, where), [chosen[-1][1], rejected[-1][1]], 1)]


Turns = list[tuple[str, str]]  # (role, text)


def _turns(value: object, field: str, role: str, where: str) -> Turns:
    """Return a string or a list of messages as turns; the last one must have the role `role`."""
    messages = [{"role": role, "content": value}] if isinstance(value, str) else value
    if not isinstance(messages, list) or not messages:
        raise InputError(f"{where}: {field!r} must be a string or a list of messages")
    source = f"{where}, {field!r}"
    turns = [
        (seed.required_text(message, "role", source), seed.required_text(message, "content", source))
        for message in messages
    ]
    if turns[-1][0] != role:
        raise InputError(f"{where}: the last message of {field!r} must have the role {role!r}")
    return turns


def _prompt_text(given: Turns, chosen: Turns, rejected: Turns, where: str) -> str:
    """Return the prompt as one text: a single turn as it is, several turns with their roles before them."""
    if chosen[:-1] != rejected[:-1]:
        raise InputError(
            f"{where}: 'chosen' and 'rejected' differ before their last message; both must answer the same prompt"
        )
    turns = chosen[:-1] or given
    if given and turns[-len(given) :] != given:
        raise InputError(f"{where}: 'chosen' begins with another prompt than 'prompt'; remove one of them")
    if not turns:
        raise InputError(f"{where}: 'prompt' is missing or empty; expected a string or a list of messages")
    if len(turns) == 1:
        return turns[0][1]
    return "\n\n".join(f"{role.capitalize()}: {text}" for role, text in turns)


def _pair(prompt: str, answers: list[str], label: int) -> RankedAnswers:
    """Return a row of two answers; `label` is 1 or 2 for the better one, 0 for a tie."""
    scores = [BETTER if label in (0, number) else WORSE for number in (1, 2)]
    return RankedAnswers(content_id("ranked", prompt, answers, scores), prompt, answers, scores, ["", ""])


_READERS: dict[str, Callable[[Located], list[RankedAnswers]]] = {
    "oasst": _oasst,
    "llmbar": _llmbar,
    "pandalm": _pandalm,
    "jsonl": _jsonl,
}
