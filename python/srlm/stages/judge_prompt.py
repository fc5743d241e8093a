"""The judge prompt: its template, and how texts are inserted so that an answer cannot break out of its block."""

from __future__ import annotations

import functools
import re
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from srlm.errors import InputError
from srlm.models.turn_marks import COMMON_MARKS
from srlm.native import PromptEscaper, TurnMarks, parse_verdicts
from srlm.rows.json_lines import reason_of
from srlm.rows.sources import PREFIX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from srlm.config import JudgeSection

FIELDS = ("{prompt}", "{response}")
# By the value of `judge.prompt_file`; each has a second file, NAME_direct.txt, for `judge.justify: false`.
PACKAGED = {f"{PREFIX}multiple_choice": "judge_prompt_multiple_choice"}
CLOSING_TAG = re.compile(r"</([A-Za-z][\w.-]*)>")


def read_template(judge: JudgeSection) -> str:
    """Return the judge prompt template: a packaged one or the user's file.

    `packaged:multiple_choice` describes five levels and asks for one, in our own words: the form of judge prompt that
    the paper compares with its additive one, and found worse.

    Raises:
        InputError: no packaged prompt has the name, or the file cannot be read, or does not hold the fields {prompt}
            and {response} exactly once.
    """
    given = judge.prompt_file
    if given is None or given in PACKAGED:
        name = "judge_prompt" if given is None else PACKAGED[given]
        file = f"{name}.txt" if judge.justify else f"{name}_direct.txt"
        return (resources.files("srlm") / "data" / file).read_text(encoding="utf-8").strip()
    if given.startswith(PREFIX):
        known = ", ".join(PACKAGED)
        raise InputError(f"judge.prompt_file {given!r}: is not a packaged judge prompt; these are: {known}")
    return read_prompt_file("judge.prompt_file", given, FIELDS)


def read_prompt_file(key: str, name: str, fields: tuple[str, ...]) -> str:
    """Return the text of the prompt file that the configuration key `key` names.

    Raises:
        InputError: it cannot be read, or does not hold each field exactly once.
    """
    try:
        text = Path(name).read_text(encoding="utf-8").strip()
    except UnicodeDecodeError as error:
        raise InputError(f"{key} {name!r}: cannot be read: not UTF-8 ({error.reason}); save it as UTF-8") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{key} {name!r}: cannot be read: {reason_of(error)}; use another file") from error
    for field in fields:
        if text.count(field) != 1:
            raise InputError(
                f"{key} {name!r}: the field {field} occurs {text.count(field)} times; it must occur exactly once"
            )
    return text


def check(judge: JudgeSection) -> None:
    """Validate the judge prompt and the score pattern before any model is loaded.

    Raises:
        InputError: see `read_template`, or the pattern is not a regular expression with a group `score`.
    """
    read_template(judge)
    try:
        parse_verdicts([], max_score=judge.max_score, pattern=judge.score_pattern)
    except ValueError as error:
        raise InputError(f"judge.score_pattern: {error}") from error


def fill(template: str, prompt: str, response: str, marks: TurnMarks | None = None) -> str:
    """Insert a question and an answer into the judge prompt (see `fill_fields`).

    `marks` are those of the judge's chat template; without them those of common templates are escaped.
    """
    escaper = prompt_escaper(block_names(template), marks)
    return fill_fields(template, dict(zip(FIELDS, (prompt, response), strict=True)), escaper)


def fill_fields(template: str, values: Mapping[str, str], escaper: PromptEscaper) -> str:
    """Insert texts into a prompt's fields, in one pass: braces and field names inside a text are not expanded.

    This guards against prompt injection: in a text, what looks like a tag of the template's own blocks, such as
    `</response>`, or like a mark with which the judge's chat template begins a turn, is escaped (see `PromptEscaper`),
    so that a text can neither close its block or open another one, nor end the judge's question.
    """
    values = {field: escaper.escape(text) for field, text in values.items()}
    return re.sub("|".join(map(re.escape, values)), lambda match: values[match[0]], template)


@functools.lru_cache(maxsize=64)
def block_names(template: str) -> tuple[str, ...]:
    """Return the names of a template's blocks, from their closing tags."""
    return tuple(sorted({name.lower() for name in CLOSING_TAG.findall(template)}))


@functools.lru_cache(maxsize=64)
def prompt_escaper(blocks: tuple[str, ...], marks: TurnMarks | None) -> PromptEscaper:
    """Return the escaper for a prompt with these blocks, and a judge whose chat template has these marks."""
    derived = () if marks is None else marks.marks
    return PromptEscaper(blocks, marks=TurnMarks([*COMMON_MARKS, *derived]))
