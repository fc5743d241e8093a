"""What the values of a row may be, told from its dataclass's annotations.

Made once a class, since rows are read by the hundred thousand; `records.row_from` asks for every row that it builds.
"""

from __future__ import annotations

import math
import reprlib
import types
from collections.abc import Callable
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

Fits = Callable[[Any], bool]
Checks = tuple[tuple[str, Fits, str], ...]
MOST = 2**31  # what Rust and torch hold of a token id, an index or a seed
EXACT = 2**53  # whole numbers up to here are the same as floats

_made: dict[type[Any], Checks] = {}
_short = reprlib.Repr()
_short.maxlevel, _short.maxstring, _short.maxother = 2, 60, 60


def shown(value: object) -> str:
    """Return a value as a short text of one line, whatever it is."""
    return _short.repr(value)


def checks_of(kind: type[Any]) -> Checks:
    """Return (field, test, what passes it in words) for each field of a dataclass of rows."""
    if kind not in _made:
        hints = get_type_hints(kind, include_extras=True)
        _made[kind] = tuple((name, *_check(hint)) for name, hint in hints.items())
    return _made[kind]


def problem_of(row: object) -> str | None:
    """Return what is wrong with the values of a row, or None.

    A class of rows whose values must fit each other says so in a method `problem`.
    """
    for name, fits, meaning in checks_of(type(row)):
        value = getattr(row, name)
        if not fits(value):
            return f"{name!r} must be {meaning} (found {shown(value)})"
    return row.problem() if hasattr(row, "problem") else None


def _check(hint: Any) -> tuple[Fits, str]:  # noqa: ANN401  any annotation
    if hint in _PLAIN:
        return _PLAIN[hint]
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _is_natural, f"a whole number from 0 to {MOST - 1}"
    if origin is Literal:
        names = frozenset(parts)
        return lambda value: type(value) is str and value in names, "one of " + ", ".join(map(repr, parts))
    if origin is list:
        return _list(parts[0])
    if origin in (Union, types.UnionType):
        tests, words = zip(*map(_check, parts), strict=True)
        return lambda value: any(test(value) for test in tests), " or ".join(words)
    raise TypeError(f"a field of a row may not be {hint}")


def _list(item: Any) -> tuple[Fits, str]:  # noqa: ANN401  any annotation
    if get_origin(item) is dict:
        return _are_messages, "a list of messages, one or more, each with the texts 'role' and 'content'"
    if get_origin(item) is Annotated:
        return _are_natural, "a list of whole numbers from 0"
    one, words = _check(item)
    return lambda value: type(value) is list and all(map(one, value)), f"a list, each entry {words}"


def _is_natural(value: object) -> bool:
    return type(value) is int and 0 <= value < MOST


def _are_natural(value: object) -> bool:
    if type(value) is not list:
        return False
    # Token ids by the hundred: each line is one pass in C.
    return not value or (set(map(type, value)) == {int} and min(value) >= 0 and max(value) < MOST)


def _is_number(value: object) -> bool:
    return (type(value) is float and math.isfinite(value)) or (type(value) is int and -EXACT <= value <= EXACT)


def _are_messages(value: object) -> bool:
    return type(value) is list and bool(value) and all(map(_is_message, value))


def _is_message(value: object) -> bool:
    if type(value) is not dict or not {"role", "content"} <= value.keys():
        return False
    return all(type(text) is str for text in value.values())


_PLAIN: dict[Any, tuple[Fits, str]] = {
    str: (lambda value: type(value) is str, "a text"),
    int: (lambda value: type(value) is int and -MOST <= value < MOST, "a whole number"),
    float: (_is_number, "a number"),
    types.NoneType: (lambda value: value is None, "null"),
}
