"""Load a configuration from YAML and `key=value` overrides, explain its errors, and write it as YAML."""

from __future__ import annotations

import difflib
import re
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from srlm.config.renamed import current_name, use_current_names, warn
from srlm.config.schema import Config
from srlm.config.section import LIST, ONE_VALUE
from srlm.config.training import LoraSection
from srlm.errors import InputError, one_line
from srlm.rows.checks import short_repr
from srlm.rows.json_lines import reason_of

# Parts of a pydantic error location that are no keys.
NOT_KEYS = ("list[str]", "literal['all-linear']", "[key]", ONE_VALUE, LIST)
COMMAND_LINE = "command line"  # the source of overrides, in messages


def packaged_names() -> list[str]:
    """Return the names of the configurations that come with the package."""
    folder = resources.files("srlm") / "configs"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load(source: str, overrides: tuple[str, ...] = ()) -> Config:
    """Read the configuration `source` (a path, or the name of a packaged one) and apply `key=value` overrides.

    Raises:
        InputError: the source does not exist or does not parse, or a key, type or value is wrong.
    """
    text, where = _read(source)
    try:
        values = _parse_yaml(text)
    except ValueError as error:
        raise InputError(f"{where}: not valid YAML: {error}; fix the file") from error
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise InputError(f"{where}: expected a mapping of settings, found {type(values).__name__}")
    return build(values, overrides, where)


def build(values: dict[str, Any], overrides: tuple[str, ...] = (), where: str = "configuration") -> Config:
    """Check `values` after applying `key=value` overrides; `where` names their source in errors."""
    use_current_names(values, where)  # before the overrides, which may use the current name
    for word in overrides:
        _override(values, word)
    use_current_names(values, COMMAND_LINE)
    _check_strings(values, where)
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise InputError("; ".join(_explain(item, where, overrides) for item in error.errors())) from error


def to_yaml(config: Config) -> str:
    """Return the resolved configuration, every default written out, as YAML that `load` reads back."""
    return yaml.dump(
        config.model_dump(mode="json", by_alias=True), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100
    )


def changes(before: Config, now: Config) -> dict[str, str]:
    """Return the full paths of the keys whose values differ, in order, with both values as `before → now`."""
    left, right = (flatten(config.model_dump(mode="json", by_alias=True)) for config in (before, now))
    keys = sorted(key for key in left.keys() | right.keys() if left.get(key) != right.get(key))
    return {key: f"{left.get(key)} → {right.get(key)}" for key in keys}


def describe(model: type[BaseModel] = Config, prefix: str = "") -> list[tuple[str, str, str]]:
    """Return (full key, default, description) of every field, in order."""
    rows: list[tuple[str, str, str]] = []
    for name, field in model.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            rows += describe(section, f"{key}.")
        else:
            default = "(required)" if field.is_required() else yaml.safe_dump(field.default, default_flow_style=True)
            rows.append((key, default.replace("\n...", "").strip(), field.description or ""))
            if name == "lora":
                rows += describe(LoraSection, f"{key}.")
    return rows


class _Loader(yaml.SafeLoader):
    """Parses `1e-6` as a number, which YAML 1.1 takes for a string."""


_Loader.yaml_implicit_resolvers = {
    **yaml.SafeLoader.yaml_implicit_resolvers,
    **{
        first: [
            ("tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$")),
            *yaml.SafeLoader.yaml_implicit_resolvers.get(first, []),
        ]
        for first in "-+0123456789"
    },
}


class _Dumper(yaml.SafeDumper):
    """Quotes a string that `_Loader` would parse as a number."""


_Dumper.yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers


def _unique_mapping(loader: Any, node: Any) -> dict[Any, Any]:  # noqa: ANN401  PyYAML's types are loose
    nodes = [key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]  # other keys may override `<<`
    keys = [loader.construct_object(key, deep=True) for key in nodes]
    duplicate = next((index for index, key in enumerate(keys) if key in keys[:index]), None)
    if duplicate is not None:
        mark = nodes[duplicate].start_mark
        raise yaml.constructor.ConstructorError(None, None, f"the key {keys[duplicate]!r} appears twice", mark)
    return dict(loader.construct_mapping(node, deep=True))


_Loader.add_constructor("tag:yaml.org,2002:map", _unique_mapping)


def _parse_yaml(text: str) -> Any:  # noqa: ANN401  any YAML value
    """Parse a YAML text.

    Raises:
        ValueError: the text is not valid YAML; the message is one line.
    """
    try:
        return yaml.load(text, _Loader)  # noqa: S506  a SafeLoader
    except yaml.MarkedYAMLError as error:
        what, mark = [part for part in (error.context, error.problem) if part], error.problem_mark or error.context_mark
        place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise ValueError(one_line(", ".join(what)) + place) from error
    except RecursionError as error:
        raise ValueError("lists or mappings are nested too deeply") from error
    except (yaml.YAMLError, ValueError) as error:  # a ValueError: a date that does not exist
        raise ValueError(one_line(error)) from error


def _read(source: str) -> tuple[str, str]:
    path = Path(source)
    if path.suffix not in (".yaml", ".yml") and "/" not in source and source in packaged_names():
        packaged = resources.files("srlm") / "configs" / f"{source}.yaml"
        return packaged.read_text(encoding="utf-8"), f"{source} (packaged)"
    try:
        return path.read_text(encoding="utf-8"), str(path)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8; save the file as UTF-8") from error
    except (OSError, ValueError) as error:
        raise InputError(
            f"configuration {source!r}: {reason_of(error)}; use a YAML file or one of: {', '.join(packaged_names())}"
        ) from error


def _override(values: dict[str, Any], word: str) -> None:
    key, equals, text = word.partition("=")
    if not equals or not key:
        raise InputError(f"{word!r}: expected key=value, for example judge.samples=3")
    try:
        value = _parse_yaml(text) if text else None
    except ValueError as error:
        raise InputError(f"{word!r}: the value is not valid YAML: {error}") from error
    *parents, last = current_name(key).split(".")
    if current_name(key) != key:
        warn(COMMAND_LINE, key, current_name(key))
    for parent in parents:
        if not isinstance(values.get(parent), dict):
            values[parent] = {}
        values = values[parent]
    values[last] = value


def _check_strings(values: dict[str, Any], where: str) -> None:
    """Refuse NUL characters and lone surrogates: no file name may have them, but a YAML escape can spell them."""
    left, seen = list(values.items()), set[int]()
    while left:
        key, value = left.pop()
        if isinstance(value, dict | list) and id(value) not in seen:  # aliases can make small YAML large
            seen.add(id(value))
            inner = value.items() if isinstance(value, dict) else ((None, item) for item in value)
            left += [(key if name is None else f"{key}.{name}", item) for name, item in inner]
        elif isinstance(value, str) and (bad := re.search("[\0\ud800-\udfff]", value)):
            raise InputError(f"{where}: {key}: contains {bad[0]!r}, which is not allowed in a file name; remove it")


def _explain(error: Any, where: str, overrides: tuple[str, ...]) -> str:  # noqa: ANN401  pydantic's ErrorDetails
    path = [str(part) for part in error["loc"] if str(part) not in NOT_KEYS]
    key = ".".join(path)
    source = (
        COMMAND_LINE
        if any(_overlaps(current_name(word.partition("=")[0]).split("."), path) for word in overrides)
        else where
    )
    if error["type"] == "extra_forbidden":
        return f"{source}: unknown key {key!r}{_nearest(path)}"
    if error["type"] == "missing":
        hint = ", or model.name=MODEL to the command" if key == "model" else ""
        return f"{source}: key {key!r} is missing; add it{hint}"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] in ("model_type", "dict_type"):
        message = f"expected a section of keys, such as {path[-1]}: {{key: value}}"
    found = f" (found {short_repr(error['input'])})" if not isinstance(error["input"], dict) else ""
    return f"{source}: {key + ': ' if key else ''}{message}{found}"


def _overlaps(override: list[str], path: list[str]) -> bool:
    """Return whether one of two keys is a prefix of the other."""
    shorter = min(len(override), len(path))
    return shorter > 0 and override[:shorter] == path[:shorter]


def _nearest(path: list[str]) -> str:
    valid = [key for key, _, _ in describe()]
    sections = sorted(
        {".".join(key.split(".")[:depth]) for key in valid for depth in (1, 2) if key.count(".") >= depth}
    )
    key = ".".join(path)
    siblings = [name for name in valid + sections if name.rpartition(".")[0] == key.rpartition(".")[0]]
    match = difflib.get_close_matches(key, siblings, 1, 0.6) or difflib.get_close_matches(key, valid + sections, 1, 0.5)
    if not match:
        same_name = [name for name in valid if name.rpartition(".")[2] == path[-1]]
        match = same_name[:1]
    return f"; did you mean {match[0]!r}?" if match else "; `srlm config --describe` lists the keys"


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested sections as a flat mapping with keys `section.key`."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return flat
