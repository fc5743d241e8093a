"""Type and range checks of a row's values, derived from its dataclass's annotations.

The checks are built once per class, since files hold hundreds of thousands of rows; `records.row_from_json` applies
them to every row.
"""

from __future__ import annotations

import math
import reprlib
import types
from collections.abc import Callable
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

Predicate = Callable[[Any], bool]
Checks = tuple[tuple[str, Predicate, str], ...]
INT_LIMIT = 2**31  # exclusive limit of token ids, indices and seeds in Rust and torch
MAX_EXACT_INT = 2**53  # integers up to here are exact as float64

_cache: dict[type[Any], Checks] = {}
_short = reprlib.Repr()
_short.maxlevel, _short.maxstring, _short.maxother = 2, 60, 60


def short_repr(value: object) -> str:
    """Return a short one-line representation of any value."""
    return _short.repr(value)


def field_checks(kind: type[Any]) -> Checks:
    """Return (field, predicate, description of valid values) for each field of a row class."""
    if kind not in _cache:
        hints = get_type_hints(kind, include_extras=True)
        _cache[kind] = tuple((name, *_check(hint)) for name, hint in hints.items())
    return _cache[kind]


def row_problem(row: object) -> str | None:
    """Return what is wrong with the values of a row, or None.

    A row class checks constraints between its fields in an optional method `problem`.
    """
    for name, is_valid, expected in field_checks(type(row)):
        value = getattr(row, name)
        if not is_valid(value):
            return f"{name!r} must be {expected} (found {short_repr(value)})"
    return row.problem() if hasattr(row, "problem") else None


def _check(hint: Any) -> tuple[Predicate, str]:  # noqa: ANN401  any annotation
    if hint in _PLAIN:
        return _PLAIN[hint]
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _is_natural, f"an integer from 0 to {INT_LIMIT - 1}"
    if origin is Literal:
        names = frozenset(parts)
        return lambda value: type(value) is str and value in names, "one of " + ", ".join(map(repr, parts))
    if origin is list:
        return _list(parts[0])
    if origin is dict:
        return lambda value: type(value) is dict, "an object"
    if origin in (Union, types.UnionType):
        tests, descriptions = zip(*map(_check, parts), strict=True)
        return lambda value: any(test(value) for test in tests), " or ".join(descriptions)
    raise TypeError(f"unsupported annotation of a row's field: {hint}")


def _list(item: Any) -> tuple[Predicate, str]:  # noqa: ANN401  any annotation
    if get_origin(item) is dict:
        return _are_messages, "a non-empty list of messages, each with the strings 'role' and 'content'"
    if get_origin(item) is Annotated:
        return _are_natural, "a list of non-negative integers"
    is_valid, expected = _check(item)
    return lambda value: type(value) is list and all(map(is_valid, value)), f"a list, each entry {expected}"


def _is_natural(value: object) -> bool:
    return type(value) is int and 0 <= value < INT_LIMIT


def _are_natural(value: object) -> bool:
    if type(value) is not list:
        return False
    # A row holds hundreds of token ids: every term is one pass in C.
    return not value or (set(map(type, value)) == {int} and min(value) >= 0 and max(value) < INT_LIMIT)


def _is_number(value: object) -> bool:
    return (type(value) is float and math.isfinite(value)) or (
        type(value) is int and -MAX_EXACT_INT <= value <= MAX_EXACT_INT
    )


def _are_messages(value: object) -> bool:
    return type(value) is list and bool(value) and all(map(_is_message, value))


def _is_message(value: object) -> bool:
    if type(value) is not dict or not {"role", "content"} <= value.keys():
        return False
    return all(type(text) is str for text in value.values())


_PLAIN: dict[Any, tuple[Predicate, str]] = {
    str: (lambda value: type(value) is str, "a string"),
    int: (lambda value: type(value) is int and -INT_LIMIT <= value < INT_LIMIT, "an integer"),
    float: (_is_number, "a number"),
    types.NoneType: (lambda value: value is None, "null"),
}
