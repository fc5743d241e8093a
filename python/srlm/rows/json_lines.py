"""JSON lines as they are read: UTF-8, split on `\\n` only, and strict where Python's `json` is not.

U+2028 and its kin are legal inside a JSON string, and `str.splitlines` would break a row there. NaN, Infinity and a key
that is there twice are errors.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

from srlm.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BOM = b"\xef\xbb\xbf"
MEND = "mend or remove the line"  # advice of a file of the user's


def read_objects(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """Return what `iter_objects` yields."""
    return list(iter_objects(path))


def iter_objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, object) for every line that is not blank, holding one line at a time.

    Raises:
        InputError: the file cannot be read, or a line is no JSON object; names the file, the line and the reason.
    """
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if (found := parse_line(line, path, number)) is not None:
                    yield number, found
    except (OSError, ValueError) as error:  # a name with a NUL character is a ValueError
        raise InputError(f"{path}: cannot be read: {reason_of(error)}; name another file") from error


def parse_line(line: bytes, path: Path, number: int, advice: str = MEND) -> dict[str, Any] | None:
    """Return the object of one line of a file, None for a blank one; errors as in `iter_objects`."""
    where = f"{path}, line {number}"
    text = _decoded(line.removeprefix(BOM) if number == 1 else line, where)
    return _object(_parse(text, where, advice), where, advice) if text.strip() else None


def is_blank(line: bytes, path: Path, number: int) -> bool:
    """Tell whether `parse_line` passes a line over."""
    if line[:1] == b"{":  # nearly all of them
        return False
    return not _decoded(line.removeprefix(BOM) if number == 1 else line, f"{path}, line {number}").strip()


def read_bytes(path: Path) -> bytes:
    """Return the content of a file that the user named.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:  # a name with a NUL character is a ValueError
        raise InputError(f"{path}: cannot be read: {reason_of(error)}; name another file") from error


def read_object(file: Path) -> dict[str, Any]:
    """Return a JSON object that a run wrote as a file of its own; {} without the file.

    Raises:
        InputError: it is not what a run writes.
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
    """Return in a few words why a file cannot be opened or read."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def parse_objects(lines: list[str], name: str) -> list[tuple[int, dict[str, Any]]]:
    """Return (line number, object) for every line that is not blank; `name` is the file in errors."""
    found = [(number, f"{name}, line {number}", line) for number, line in enumerate(lines, 1) if line.strip()]
    return [(number, _object(_parse(line, where), where)) for number, where, line in found]


def parse_values(data: bytes, name: str) -> list[tuple[str, object]]:
    """Return (where it stands, value) for each value of one JSON list, or else of JSON lines.

    Raises:
        InputError: it is not UTF-8, or not valid JSON; names the line.
    """
    lines = decode_lines(data, name)
    if not next((line for line in lines if line.strip()), "").lstrip().startswith("["):
        found = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
        return [(f"{name}, line {number}", _parse(line, f"{name}, line {number}")) for number, line in found]
    values = cast("list[object]", _parse("\n".join(lines), name, "mend the file"))  # it opens as a list
    return [(f"{name}, entry {number}", value) for number, value in enumerate(values, 1)]


def parse_located(data: bytes, name: str) -> list[tuple[str, dict[str, Any]]]:
    """Return (where it stands, object) as `parse_values` does; a value that is no object is an error."""
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


def _no_number(name: str) -> None:
    raise ValueError(f"JSON has no {name}")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object whose keys are all different: of two equal ones `json` would take the last, silently."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} is there twice")
    return found


_decoder = json.JSONDecoder(parse_constant=_no_number, object_pairs_hook=_once)


def parse_json(text: str) -> Any:  # noqa: ANN401  whatever JSON holds
    """Return the value of a JSON text; NaN, Infinity and a key that is there twice are errors.

    Raises:
        ValueError: it is not valid JSON; says why in one line.
    """
    try:
        return _decoder.decode(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}" if "\n" in text else f"column {error.colno}"
        raise ValueError(f"{error.msg.removesuffix(' at')}, {place}") from error
    except RecursionError as error:
        raise ValueError("lists or objects are nested too deeply") from error
    except ValueError as error:
        # Python says how its own limit is raised, which helps nobody here.
        raise ValueError(str(error).partition(" for integer string conversion")[0]) from error


def _parse(text: str, where: str, advice: str = MEND) -> object:
    try:
        return parse_json(text)
    except ValueError as error:
        raise InputError(f"{where}: not valid JSON: {error}; {advice}") from error


def _object(value: object, where: str, advice: str = MEND) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{where}: expected a JSON object, found {type(value).__name__}; {advice}")
    return value
