"""What an instruction's arguments may be. A missing one is an error: the benchmark's first code draws it at random."""

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
    """A test of a value from JSON, and what passes it, in words."""

    fits: Callable[[object], bool]
    meaning: str


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_word(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_words(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_word, value))


COUNT = Argument(_is_count, "a whole number, 0 or more")
PLACE = Argument(lambda value: _is_count(value) and value != 0, "a whole number, 1 or more")
WORD = Argument(_is_word, "a text that is not blank")
WORDS = Argument(_is_words, "a list of texts, none of them blank")
LETTER = Argument(lambda value: _is_word(value) and len(str(value)) == 1, "one character")
RELATION = Argument(lambda value: value in RELATIONS, '"less than" or "at least"')
LANGUAGE = Argument(
    lambda value: isinstance(value, str) and value in language.known(), 'the code of a language, such as "de"'
)


def read_arguments(needed: Mapping[str, Argument], given: object, where: str) -> dict[str, object]:
    """Return the arguments in the order of `needed`, without those that are null, which a version of the data
    has for every name there is.

    Raises:
        InputError: an argument is missing, unknown, or not what it may be; begins with `where`.
    """
    if not isinstance(given, dict):
        raise InputError(f"{where}: expected an object of arguments, found {type(given).__name__}")
    found = {str(name): value for name, value in given.items() if value is not None}
    for name in found:
        if name not in needed:
            raise InputError(f"{where}: {_unknown(name, needed)}")
    for name, argument in needed.items():
        if name not in found:
            raise InputError(f"{where}: the argument {name!r} is missing; give {argument.meaning}")
        if not argument.fits(found[name]):
            raise InputError(f"{where}: {name!r} is {found[name]!r}; it must be {argument.meaning}")
    return {name: found[name] for name in needed}


def _unknown(name: str, needed: Mapping[str, Argument]) -> str:
    if not needed:
        return f"this kind takes no argument, but there is {name!r}; remove it"
    near = difflib.get_close_matches(name, needed, 1, 0.5) or list(needed)
    return f"unknown argument {name!r}; did you mean {near[0]!r}?"
