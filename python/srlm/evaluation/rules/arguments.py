"""Validation of an instruction's arguments. A missing one is an error; the benchmark's code samples it at random."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from srlm.errors import InputError
from srlm.evaluation.rules import language
from srlm.evaluation.rules.counting import RELATIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True, slots=True)
class Argument:
    """A check of a JSON value, and a description of the valid values."""

    is_valid: Callable[[object], bool]
    description: str


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_word(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_words(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_word, value))


COUNT = Argument(_is_count, "an integer of at least 0")
POSITION = Argument(lambda value: _is_count(value) and value != 0, "an integer of at least 1")
WORD = Argument(_is_word, "a non-blank string")
WORDS = Argument(_is_words, "a list of non-blank strings")
LETTER = Argument(lambda value: _is_word(value) and len(str(value)) == 1, "a single character")
RELATION = Argument(lambda value: value in RELATIONS, '"less than" or "at least"')
LANGUAGE = Argument(
    lambda value: isinstance(value, str) and value in language.supported_languages(), 'a language code such as "de"'
)


def read_arguments(required: Mapping[str, Argument], given: object, where: str) -> dict[str, object]:
    """Return the arguments in the order of `required`. Nulls are ignored: a version of the data lists all names.

    Raises:
        InputError: an argument is missing, unknown or invalid; the message begins with `where`.
    """
    if not isinstance(given, dict):
        raise InputError(f"{where}: expected an object of arguments, found {type(given).__name__}")
    found = {str(name): value for name, value in given.items() if value is not None}
    for name in found:
        if name not in required:
            raise InputError(f"{where}: {_unknown(name, required)}")
    for name, argument in required.items():
        if name not in found:
            raise InputError(f"{where}: the argument {name!r} is missing; set it to {argument.description}")
        if not argument.is_valid(found[name]):
            raise InputError(f"{where}: {name!r} is {found[name]!r}; it must be {argument.description}")
    return {name: found[name] for name in required}


def _unknown(name: str, required: Mapping[str, Argument]) -> str:
    if not required:
        return f"this instruction takes no arguments (found {name!r}); remove it"
    near = difflib.get_close_matches(name, required, 1, 0.5) or list(required)
    return f"unknown argument {name!r}; did you mean {near[0]!r}?"
