"""Several runs in one folder: one per seed, and the control of each (`seeds`, `control`).

    RUN_DIR/seeds.yaml        the configuration of all of them
    RUN_DIR/seed-0            an ordinary run directory
    RUN_DIR/seed-0-control    the same run with random scores; `shared_stages` has what it takes over from seed-0
    RUN_DIR/seed-1 ...

The folder itself is no run directory: `seeds.yaml` stands in place of `config.yaml`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from srlm import config as configuration
from srlm.config import SignalSection
from srlm.errors import InputError
from srlm.rows.records import write_text
from srlm.run.lock import LOCK
from srlm.run.run_dir import CONFIG, SEEDS, read_manifest, with_date

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from srlm.config import Config


@dataclass(frozen=True, slots=True)
class SeedRun:
    """One of the runs: its directory, its seed and its configuration, that of an ordinary run.

    `of` is the directory of the run that it is the control of, or None.
    """

    path: Path
    seed: int
    config: Config
    of: Path | None = None

    @property
    def name(self) -> str:
        """The name of its directory."""
        return self.path.name


def has_several(path: Path) -> bool:
    """Tell whether a folder holds the runs of seeds and controls."""
    return (path / SEEDS).is_file()


def read_seeds_config(path: Path, overrides: tuple[str, ...] = ()) -> Config:
    """Return the configuration of the runs in a folder.

    Raises:
        InputError: it cannot be read.
    """
    return configuration.load(str(path / SEEDS), overrides)


def started_runs(path: Path) -> list[Path]:
    """Return the directories of the runs in a folder that have begun."""
    runs = seed_runs(path, read_seeds_config(path))
    return [run.path for run in runs if (run.path / CONFIG).is_file()]


def seed_runs(path: Path, config: Config) -> list[SeedRun]:
    """Return what `iter_seed_runs` yields."""
    return list(iter_seed_runs(path, config))


def iter_seed_runs(path: Path, config: Config) -> Iterator[SeedRun]:
    """Yield the runs of a folder in the order in which they run: a seed's run, then its control.

    A control's limits on pairs come from the manifest that its run has when the control is reached.
    """
    for seed in range(config.seed, config.seed + config.seeds):
        folder = path / f"seed-{seed}"
        own = config.model_copy(update={"seed": seed, "seeds": 1, "control": "none"})
        yield SeedRun(folder, seed, own)
        if config.control == "random":
            yield SeedRun(path / f"{folder.name}-control", seed, control_config(own, folder), folder)


def control_config(config: Config, run: Path) -> Config:
    """Return the configuration of a run's control: random scores, and per iteration at most as many pairs.

    A minimum margin is in the units of the run's own signal, so the control has none.

    Raises:
        InputError: the run's manifest cannot be read.
    """
    entries = read_manifest(run)
    counts: list[int] = []
    for t in range(2, config.iterations + 1):
        if (entry := entries.get(f"m{t}/pairs")) is None:
            break
        counts.append(entry["rows"])
    limits: dict[str, Any] = {"max_count": counts} if counts else {}
    pairs = config.pairs.model_copy(update={"min_margin": 0.0, **limits})
    return config.model_copy(update={"signal": SignalSection(kind="random"), "pairs": pairs})


def open_folder(path: Path, config: Config) -> None:
    """Create the folder of several runs, or resume in it, and keep their configuration there.

    Raises:
        InputError: the folder is that of one run, of runs of another name, or has other files; nothing is written.
    """
    file = path / SEEDS
    if (path / CONFIG).is_file():
        raise InputError(
            f"{path}: is the directory of one run, and seeds or control need a folder for several; use another "
            f"--run-dir. To keep that run as the first one, move it to NEW_DIR/seed-{config.seed} before"
        )
    if file.is_file():
        if (name := configuration.load(str(file)).name) != config.name:
            raise InputError(
                f"{path}: holds the runs {name!r}, not {config.name!r}; nothing was changed. Use another --run-dir, or "
                "the previous name"
            )
    elif path.exists():
        expected = {LOCK, *(run.name for run in seed_runs(path, config))}
        if other := sorted(entry.name for entry in path.iterdir() if entry.name not in expected):
            raise InputError(f"{path}: not empty (it has {other[0]}), and no folder of runs; use another --run-dir")
    try:
        path.mkdir(parents=True, exist_ok=True)
        write_text(file, configuration.to_yaml(config))
    except OSError as error:
        raise InputError(f"run directory {path}: {error.strerror}; use another --run-dir") from error


def with_common_date(path: Path, config: Config) -> Config:
    """Return the configuration with `model.date`: as set, else that of the runs in the folder, else today."""
    if config.model.date is not None:
        return config
    if has_several(path):
        day = read_seeds_config(path).model.date
        return config.model_copy(update={"model": config.model.model_copy(update={"date": day})})
    return with_date(path / f"seed-{config.seed}", config)
