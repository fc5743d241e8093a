"""The summary of several seeds and their controls, from the files that the runs wrote; `summary.json` has it.

For every measure of the closing sentence and every model: the mean over seeds with its spread, the change from M0, the
same change where both responses are about equally long, all of that for the random control, and the run minus its
control (see `over_seeds` for what is paired and resampled).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from srlm.evaluation.baselines import READINGS
from srlm.evaluation.implicit_preferences import METRIC
from srlm.evaluation.over_seeds import BySeed, SeedChange, Spread, change_over_seeds, equally_long, even, means
from srlm.evaluation.paired import read_cases
from srlm.rows.records import Candidate, iter_rows
from srlm.run.model_names import BASE, model_name
from srlm.run.run_dir import RunDir

if TYPE_CHECKING:
    from collections.abc import Sequence

    from srlm.rows.records import CaseResult
    from srlm.run.seed_folders import SeedRun

Runs = dict[int, RunDir]  # by seed


@dataclass(frozen=True, slots=True)
class Measure:
    """One measure: the stage and the metric of its cases.

    `responses` is the stem of the file of the measured responses, None if the model answers nothing itself. `absolute`:
    M0 has a result of its own; otherwise the results are already relative to M0, which is even by definition.
    """

    key: str
    stage: str
    metric: str
    responses: str | None
    absolute: bool


MEASURES = (
    Measure("judge_accuracy", "judge_held_out", "pairwise_accuracy", None, absolute=True),
    Measure("instructions_followed", "instructions", "prompt_strict", "instructions", absolute=True),
    Measure("win_rate", f"vs_{BASE}", "win_rate", "answers", absolute=False),
    Measure("implicit_preferences", READINGS, METRIC, None, absolute=False),
)


def summarize(runs: Sequence[SeedRun], iterations: int) -> dict[str, Any]:
    """Return the summary as JSON values; measures and models that no run has are absent.

    Raises:
        InputError: a manifest or a file of rows cannot be read.
    """
    own: Runs = {run.seed: RunDir(run.path) for run in runs if run.of is None}
    controls: Runs = {run.seed: RunDir(run.path) for run in runs if run.of is not None}
    models = [model_name(t) for t in range(iterations + 1)]
    measured = {measure.key: _measure(measure, models, own, controls) for measure in MEASURES}
    return {
        "seeds": sorted(own),
        "control": "random" if controls else "none",
        "trained": {name: [seed for seed, run in own.items() if _is_trained(run, name)] for name in models[1:]},
        "pairs": {
            name: {"run": _pairs(own, name)} | ({"control": _pairs(controls, name)} if controls else {})
            for name in models[2:]
        },
        "measures": {key: found for key, found in measured.items() if found},
    }


def _is_trained(run: RunDir, model: str) -> bool:
    return any(run.entry(f"{model}/{stage}") for stage in ("dpo", "sft"))


def _pairs(runs: Runs, model: str) -> dict[str, int]:
    """Return the number of pairs (or winners) that M_t was trained on, by seed."""
    entries = {seed: run.entry(f"{model}/pairs") for seed, run in runs.items()}
    return {str(seed): entry["rows"] for seed, entry in entries.items() if entry is not None}


def _measure(measure: Measure, models: Sequence[str], own: Runs, controls: Runs) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for model in models:
        cases = _cases(measure, model, own)
        if not (result := _of_model(measure, model, own, cases)):
            continue
        found[model] = {"run": result}
        if model in models[2:]:  # M0 and M1 of a control are those of its run
            controlled = _cases(measure, model, controls)
            if other := _of_model(measure, model, controls, controlled):
                found[model]["control"] = other
            if (difference := change_over_seeds(cases, controlled)) is not None:
                found[model]["run_minus_control"] = _change_values(difference)
    return found


def _of_model(measure: Measure, model: str, runs: Runs, cases: BySeed) -> dict[str, Any]:
    """Return the spread of a model's results, and its change from M0; empty if no run has results."""
    if (result := means(cases)) is None:
        return {}
    values: dict[str, Any] = {"result": _spread_values(result)}
    if model == BASE:
        return values
    before = _cases(measure, BASE, runs) if measure.absolute else even(cases)
    if (change := change_over_seeds(cases, before)) is not None:
        values["change"] = _change_values(change)
    if measure.responses is not None:
        alike = {seed: equally_long(*_lengths(run, model, measure.responses)) for seed, run in runs.items()}
        if (at_equal_length := change_over_seeds(cases, before, only=alike)) is not None:
            values["change_at_equal_length"] = _change_values(at_equal_length)
    return values


def _cases(measure: Measure, model: str, runs: Runs) -> BySeed:
    """Return the results of M_t by seed, of the runs that have finished this evaluation."""
    found: dict[int, list[CaseResult]] = {}
    for seed, run in runs.items():
        if run.entry(f"{model}/{measure.stage}") is not None:
            found[seed] = read_cases(run.file(model, f"{measure.stage}.jsonl")).get(measure.metric, [])
    return {seed: cases for seed, cases in found.items() if cases}


def _lengths(run: RunDir, model: str, stem: str) -> tuple[dict[str, int], dict[str, int]]:
    """Return the lengths of M_t's and of M0's responses by prompt: in tokens, or in characters if either thought.

    The token ids of a response that was thought about before have the thought too.
    """
    rows = [_responses(run, name, stem) for name in (model, BASE)]
    in_tokens = all(row.thought is None for each in rows for row in each.values())
    lengths = [{prompt: _tokens(row) if in_tokens else len(row.text) for prompt, row in each.items()} for each in rows]
    return lengths[0], lengths[1]


def _responses(run: RunDir, model: str, stem: str) -> dict[str, Candidate]:
    file = run.file(model, f"{stem}.jsonl")
    if run.entry(f"{model}/{stem}") is None or not file.is_file():
        return {}
    return {row.prompt_id: row for row in iter_rows(file, Candidate)}


def _tokens(row: Candidate) -> int:
    return len(row.token_ids) if row.answer_tokens is None else row.answer_tokens


def _change_values(change: SeedChange) -> dict[str, Any]:
    return {**asdict(change), "spread": _spread_values(change.spread), "outcome": change.outcome}


def _spread_values(found: Spread) -> dict[str, Any]:
    return {**asdict(found), "by_seed": {str(seed): value for seed, value in found.by_seed.items()}}
