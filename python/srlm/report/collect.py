"""Reads a run directory into plain data: the manifest by model, training metrics, answer lengths.

Missing data (a stage that is disabled or not reached yet) is None or empty here, and the page shows "not measured".
The rows of pairs and verdicts are not read here, because there may be millions of them (see `samples`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from srlm.errors import InputError
from srlm.evaluation import gates
from srlm.evaluation.baselines import READINGS
from srlm.evaluation.estimates import NONE, Estimate
from srlm.evaluation.paired import Cases, read_cases
from srlm.rows.json_lines import parse_line, read_object
from srlm.run.model_names import display_name, is_model, iteration, model_name, training_order
from srlm.run.run_dir import config_file, read_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

Entry = dict[str, Any]
RESTORE = "restore the line"  # advice in errors: the rows of a run must not be edited


@dataclass(frozen=True, slots=True)
class Match:
    """A comparison of the model named `model` with `against`; rates are those of `model`, and a tie counts half."""

    model: str
    against: str
    judge: str
    win_rate: Estimate
    length_controlled: Estimate
    entry: Entry


@dataclass(frozen=True, slots=True)
class ModelData:
    """The data of a model: its manifest entries by stage, and the small files of its directory.

    `key` names it, as in `run.model_names`: M_t, or a baseline that is made before M1 (t = 0).
    """

    key: str
    stages: dict[str, Entry]
    halted: Entry  # metrics of the data if these stopped the run before training M_t, else empty
    metrics: list[Entry]  # one per logged step
    answer_lengths: list[int]  # in tokens, of its answers to the held-out prompts
    cases: dict[str, Cases] = field(default_factory=dict)  # by stage: its result on every case of a metric

    @property
    def t(self) -> int:
        """The iteration: t of M_t, 0 for M0 and for the SFT baseline."""
        return iteration(self.key)

    @property
    def name(self) -> str:
        """M0, SFT baseline, M1, …."""
        return display_name(self.key)

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
            _match(self.key, stage.removeprefix("vs_"), entry)
            for stage, entry in self.stages.items()
            if stage.startswith("vs_") and is_model(stage.removeprefix("vs_"))
        ]
        return sorted(found, key=lambda match: training_order(match.against), reverse=True)

    def match(self, against: int | str) -> Match | None:
        """Return the comparison with M_`against`, or with another model by its name."""
        return next((match for match in self.matches if match.against == model_name(against)), None)

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
    models: list[ModelData]  # in order, from M0; the last may not be trained yet

    @property
    def seed(self) -> int:
        """The run's seed."""
        found = self.config.get("seed")
        return found if isinstance(found, int) else 0

    @property
    def trained(self) -> list[ModelData]:
        """The trained models M1, M2, …."""
        return [model for model in self.models if model.t > 0 and model.training is not None]

    @property
    def baselines(self) -> list[ModelData]:
        """M0 and the SFT baseline, as far as they are evaluated."""
        return [model for model in self.models if model.t == 0]

    @property
    def versions(self) -> dict[str, str]:
        """The package versions that the last finished stage recorded."""
        entries = sorted(self.manifest.values(), key=lambda entry: str(entry.get("finished", "")))
        return next((dict(entry["versions"]) for entry in reversed(entries) if entry.get("versions")), {})

    def model(self, model: int | str) -> ModelData | None:
        """Return M_t, or another model by its name."""
        return next((found for found in self.models if found.key == model_name(model)), None)


def read_run(path: Path) -> RunData:
    """Read a run directory; the run may be unfinished.

    Raises:
        InputError: `path` is not a run directory, or its configuration or manifest cannot be read.
    """
    config = _read_config(config_file(path))
    manifest = read_manifest(path)
    folders = {stage.partition("/")[0] for stage in manifest}
    models = [_read_model(path, key, manifest) for key in sorted(filter(is_model, folders), key=training_order)]
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
    return _is_judging(stage) or stage in ("instructions", READINGS) or stage.startswith("vs_")


def _match(model: str, against: str, entry: Entry) -> Match:
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


def _read_model(path: Path, key: str, manifest: dict[str, Entry]) -> ModelData:
    folder, prefix = path / key, f"{key}/"
    stages = {name.removeprefix(prefix): entry for name, entry in manifest.items() if name.startswith(prefix)}
    return ModelData(
        key=key,
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
