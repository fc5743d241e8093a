"""Reading JSON lines: UTF-8, split on `\\n` only, and stricter than Python's `json`.

U+2028 and similar characters are legal inside a JSON string, and `str.splitlines` would split a row there. NaN,
Infinity and duplicate keys are errors.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

from srlm.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BOM = b"\xef\xbb\xbf"
FIX_LINE = "fix or remove the line"  # advice for a user's own file


def read_objects(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """Return what `iter_objects` yields."""
    return list(iter_objects(path))


def iter_objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, object) for every non-blank line, with one line in memory at a time.

    Raises:
        InputError: the file cannot be read, or a line is not a JSON object; names the file, the line and the reason.
    """
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if (found := parse_line(line, path, number)) is not None:
                    yield number, found
    except (OSError, ValueError) as error:  # a path with a NUL character raises ValueError
        raise InputError(f"{path}: cannot be read: {reason_of(error)}; use another file") from error


def parse_line(line: bytes, path: Path, number: int, advice: str = FIX_LINE) -> dict[str, Any] | None:
    """Return the object on one line of a file, or None for a blank line; errors as in `iter_objects`."""
    where = f"{path}, line {number}"
    text = _decoded(line.removeprefix(BOM) if number == 1 else line, where)
    return _object(_parse(text, where, advice), where, advice) if text.strip() else None


def is_blank(line: bytes, path: Path, number: int) -> bool:
    """Tell whether `parse_line` skips a line."""
    if line[:1] == b"{":  # nearly all lines
        return False
    return not _decoded(line.removeprefix(BOM) if number == 1 else line, f"{path}, line {number}").strip()


def read_bytes(path: Path) -> bytes:
    """Return the content of a user's file.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:  # a path with a NUL character raises ValueError
        raise InputError(f"{path}: cannot be read: {reason_of(error)}; use another file") from error


def read_object(file: Path) -> dict[str, Any]:
    """Return the JSON object in a file that a run wrote, or {} if there is no such file.

    Raises:
        InputError: the file is not a valid JSON object.
    """
    if not file.is_file():
        return {}
    try:
        found = parse_json(read_bytes(file).decode("utf-8"))
    except ValueError as error:
        raise InputError(f"{file}: not valid JSON ({error}); restore it from a backup") from error
    if not isinstance(found, dict):
        raise InputError(f"{file}: not a JSON object; restore it from a backup")
    return found


def reason_of(error: Exception) -> str:
    """Return a short reason why a file cannot be opened or read."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def parse_objects(lines: list[str], name: str) -> list[tuple[int, dict[str, Any]]]:
    """Return (line number, object) for every non-blank line; `name` is the file's name in errors."""
    found = [(number, f"{name}, line {number}", line) for number, line in enumerate(lines, 1) if line.strip()]
    return [(number, _object(_parse(line, where), where)) for number, where, line in found]


def parse_values(data: bytes, name: str) -> list[tuple[str, object]]:
    """Return (location, value) for each entry of a JSON list or each line of JSON lines.

    Raises:
        InputError: the data are not UTF-8, or not valid JSON; names the line.
    """
    lines = decode_lines(data, name)
    if not next((line for line in lines if line.strip()), "").lstrip().startswith("["):
        found = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
        return [(f"{name}, line {number}", _parse(line, f"{name}, line {number}")) for number, line in found]
    values = cast("list[object]", _parse("\n".join(lines), name, "fix the file"))  # it starts with "["
    return [(f"{name}, entry {number}", value) for number, value in enumerate(values, 1)]


def parse_located(data: bytes, name: str) -> list[tuple[str, dict[str, Any]]]:
    """Return (location, object) as `parse_values` does; a value that is not an object is an error."""
    return [(where, _object(value, where)) for where, value in parse_values(data, name)]


def decode_lines(data: bytes, name: str) -> list[str]:
    """Split bytes on line feeds and decode each as UTF-8 (a leading byte order mark is allowed)."""
    lines = data.removeprefix(BOM).split(b"\n")
    return [_decoded(line, f"{name}, line {number}") for number, line in enumerate(lines, 1)]


def _decoded(line: bytes, where: str) -> str:
    try:
        return line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: not UTF-8 ({error.reason}); save the file as UTF-8") from error


def _reject_constant(name: str) -> None:
    raise ValueError(f"JSON has no {name}")


def _reject_duplicate_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object, rejecting duplicate keys: `json` would silently keep the last value."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} appears twice")
    return found


_decoder = json.JSONDecoder(parse_constant=_reject_constant, object_pairs_hook=_reject_duplicate_keys)


def parse_json(text: str) -> Any:  # noqa: ANN401  whatever JSON holds
    """Parse a JSON text; NaN, Infinity and duplicate keys are errors.

    Raises:
        ValueError: it is not valid JSON; the message is one line.
    """
    try:
        return _decoder.decode(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}" if "\n" in text else f"column {error.colno}"
        raise ValueError(f"{error.msg.removesuffix(' at')}, {where}") from error
    except RecursionError as error:
        raise ValueError("lists or objects are nested too deeply") from error
    except ValueError as error:
        # Drop Python's advice on raising its own digit limit, which does not help a user.
        raise ValueError(str(error).partition(" for integer string conversion")[0]) from error


def _parse(text: str, where: str, advice: str = FIX_LINE) -> object:
    try:
        return parse_json(text)
    except ValueError as error:
        raise InputError(f"{where}: not valid JSON: {error}; {advice}") from error


def _object(value: object, where: str, advice: str = FIX_LINE) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{where}: expected a JSON object, found {type(value).__name__}; {advice}")
    return value
