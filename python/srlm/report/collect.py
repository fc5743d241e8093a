"""Reads a run directory into plain data: the manifest by model, training metrics, answer lengths.

Missing data (a stage that is disabled or not reached yet) is None or empty here, and the page shows "not measured".
The rows of pairs and verdicts are not read here, because there may be millions of them (see `samples`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from srlm.errors import InputError
from srlm.evaluation import gates
from srlm.evaluation.estimates import NONE, Estimate
from srlm.evaluation.paired import Cases, read_cases
from srlm.rows.json_lines import parse_line, read_object
from srlm.run.run_dir import config_file, read_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

Entry = dict[str, Any]
RESTORE = "restore the line"  # advice in errors: the rows of a run must not be edited


@dataclass(frozen=True, slots=True)
class Match:
    """A comparison of M_`model` with M_`against`; rates are those of M_`model`, and a tie counts half."""

    model: int
    against: int
    judge: str
    win_rate: Estimate
    length_controlled: Estimate
    entry: Entry


@dataclass(frozen=True, slots=True)
class ModelData:
    """The data of M_t: its manifest entries by stage, and the small files of its directory."""

    t: int
    stages: dict[str, Entry]
    halted: Entry  # metrics of the data if these stopped the run before training M_t, else empty
    metrics: list[Entry]  # one per logged step
    answer_lengths: list[int]  # in tokens, of its answers to the held-out prompts
    cases: dict[str, Cases] = field(default_factory=dict)  # by stage: its result on every case of a metric

    @property
    def name(self) -> str:
        """M1, M2, …."""
        return f"M{self.t}"

    @property
    def training(self) -> Entry | None:
        """The manifest entry of its training."""
        return self.stages.get("dpo") or self.stages.get("sft")

    @property
    def training_method(self) -> str:
        """The training method: DPO or SFT."""
        return "DPO" if "dpo" in self.stages else "SFT"

    @property
    def judging(self) -> dict[str, Entry]:
        """Its metrics as a judge by the name of the set (`held_out` first)."""
        found = {stage.removeprefix("judge_"): entry for stage, entry in self.stages.items() if _is_judging(stage)}
        return dict(sorted(found.items(), key=lambda item: (item[0] != "held_out", item[0])))

    @property
    def matches(self) -> list[Match]:
        """Its comparisons with earlier models, the most recent model first."""
        found = [
            _match(self.t, int(stage.removeprefix("vs_m")), entry)
            for stage, entry in self.stages.items()
            if re.fullmatch(r"vs_m\d+", stage)
        ]
        return sorted(found, key=lambda match: -match.against)

    def match(self, against: int) -> Match | None:
        """Return the comparison with M_`against`."""
        return next((match for match in self.matches if match.against == against), None)

    @property
    def data(self) -> Entry | None:
        """The entry of its training data (pairs or positives), also if these stopped the run."""
        return self.stages.get("pairs") or self.halted or None

    @property
    def positives_only(self) -> bool:
        """Whether it is trained on positives only, without pairs."""
        return "no_perfect_answer" in ((self.data or {}).get("drops") or {})

    @property
    def data_metrics(self) -> Entry:
        """The metrics of that data."""
        return (self.data or {}).get("data_metrics") or {}


@dataclass(frozen=True, slots=True)
class RunData:
    """A run: its configuration and its results so far."""

    path: Path
    name: str
    config: Entry
    manifest: dict[str, Entry]
    models: list[ModelData]  # in order, from M1; the last may not be trained yet

    @property
    def seed(self) -> int:
        """The run's seed."""
        found = self.config.get("seed")
        return found if isinstance(found, int) else 0

    @property
    def trained(self) -> list[ModelData]:
        """The trained models."""
        return [model for model in self.models if model.training is not None]

    @property
    def versions(self) -> dict[str, str]:
        """The package versions that the last finished stage recorded."""
        entries = sorted(self.manifest.values(), key=lambda entry: str(entry.get("finished", "")))
        return next((dict(entry["versions"]) for entry in reversed(entries) if entry.get("versions")), {})

    def model(self, t: int) -> ModelData | None:
        """Return M_t."""
        return next((model for model in self.models if model.t == t), None)


def read_run(path: Path) -> RunData:
    """Read a run directory; the run may be unfinished.

    Raises:
        InputError: `path` is not a run directory, or its configuration or manifest cannot be read.
    """
    config = _read_config(config_file(path))
    manifest = read_manifest(path)
    numbers = sorted({int(found[1]) for stage in manifest if (found := re.match(r"m([1-9]\d*)/", stage))})
    models = [_read_model(path, t, manifest) for t in numbers]
    return RunData(
        path=path, name=str(config.get("name") or path.name), config=config, manifest=manifest, models=models
    )


def estimate(entry: Mapping[str, Any] | None, key: str) -> Estimate:
    """Return an entry's estimate, or the empty estimate if the entry has none."""
    found = (entry or {}).get(key)
    if not isinstance(found, dict) or found.get("value") is None:
        return NONE
    return Estimate(found["value"], found.get("low"), found.get("high"), found.get("n") or 0)


def _is_judging(stage: str) -> bool:
    return stage.startswith("judge_")


def _has_cases(stage: str) -> bool:
    return _is_judging(stage) or stage == "instructions" or stage.startswith("vs_m")


def _match(model: int, against: int, entry: Entry) -> Match:
    return Match(
        model=model,
        against=against,
        judge=str(entry.get("judge") or "unknown"),
        win_rate=estimate(entry, "win_rate"),
        length_controlled=estimate(entry, "length_controlled"),
        entry=entry,
    )


def _read_config(file: Path) -> Entry:
    try:
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: not valid YAML ({' '.join(str(error).split())}); restore it") from error
    if not isinstance(config, dict):
        raise InputError(f"{file}: not a mapping of sections; restore it")
    return config


def _read_model(path: Path, t: int, manifest: dict[str, Entry]) -> ModelData:
    folder, prefix = path / f"m{t}", f"m{t}/"
    stages = {name.removeprefix(prefix): entry for name, entry in manifest.items() if name.startswith(prefix)}
    return ModelData(
        t=t,
        stages=stages,
        halted={} if "pairs" in stages else read_object(folder / gates.FILE),
        metrics=list(_complete_rows(folder / "metrics.jsonl")),
        answer_lengths=[
            len(row["token_ids"]) for row in _complete_rows(folder / "answers.jsonl") if "token_ids" in row
        ],
        cases={stage: read_cases(folder / f"{stage}.jsonl") for stage in stages if _has_cases(stage)},
    )


def complete_lines(file: Path) -> Iterator[tuple[int, bytes]]:
    """Yield a file's complete lines with their numbers, without blank ones; nothing if the file does not exist.

    An incomplete last line, of a run that is active or was stopped, is skipped.
    """
    if not file.is_file():
        return
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if line.endswith(b"\n") and line.strip():
                yield number, line


def _complete_rows(file: Path) -> Iterator[Entry]:
    for number, line in complete_lines(file):
        yield parse_line(line, file, number, RESTORE) or {}
