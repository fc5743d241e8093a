"""The terminal output: one progress bar per stage, and the closing table of a run."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from srlm.evaluation.baselines import READINGS
from srlm.evaluation.implicit_preferences import METRIC
from srlm.evaluation.summary import change, record, share
from srlm.judge_data.stage_names import JUDGEMENT_PAIRS
from srlm.reporter import unit
from srlm.run.model_names import BASE, SFT_BASELINE, iteration, model_name

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from rich.console import Console

    from srlm.run.run_dir import RunDir


class Rate(ProgressColumn):
    """Progress per second since the stage started."""

    def render(self, task: Task) -> Text:
        """Return the rate as text."""
        done = task.completed - task.fields["done_before"]
        rate = f"{done / task.elapsed:.1f}" if task.elapsed and done else "-"
        return Text(f"{rate} {task.fields['unit']}/s")


@dataclass(slots=True)
class _Running:
    """A stage that is running: what it counts, what it had done `before` and when it `began`."""

    name: str
    unit: str
    total: int
    before: int
    done: int
    began: float
    task: TaskID


class Display:
    """A reporter that shows a progress bar per stage, or without a terminal prints a line at the end of each stage."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            Rate(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._title = ""
        self._running: dict[str, _Running] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for stage, one in list(self._running.items()):
            if kind is None or one.done > one.before:  # a stage that failed at once has no progress to show
                self._end(stage)
        self._bars.stop()

    def set_title(self, title: str) -> None:
        """Prefix the names of the following stages with `title` (m1, m2, …)."""
        self._title = title

    def start(self, stage: str, total: int, done: int = 0, *, beside: bool = False) -> None:
        """See `Reporter.start`."""
        for before in list(self._running) if not beside else [stage] * (stage in self._running):
            self._end(before)
        name, counted = f"{self._title} {stage}".strip(), unit(stage)
        task = self._bars.add_task(name, total=total, completed=done, done_before=done, unit=counted)
        self._running[stage] = _Running(name, counted, total, done, done, time.monotonic(), task)

    def advance(self, rows: int = 1, stage: str | None = None) -> None:
        """See `Reporter.advance`."""
        stage = stage or next(reversed(self._running), None)
        if stage not in self._running:
            return
        one = self._running[stage]
        one.done += rows
        self._bars.advance(one.task, rows)
        if one.done >= one.total and len(self._running) > 1:  # the others go on
            self._end(stage)

    def note(self, text: str) -> None:
        """See `Reporter.note`."""
        self.console.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)

    def request_started(self, stage: str, key: str) -> None:
        """See `Reporter.request_started`; the terminal shows finished rows only."""

    def request_finished(self, stage: str, key: str) -> None:
        """See `Reporter.request_finished`."""

    def say(self, text: str) -> None:
        """Print a line."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _end(self, stage: str) -> None:
        one = self._running.pop(stage)
        self._bars.stop_task(one.task)
        if not self.console.is_terminal:
            self.say(f"{one.name}: {one.done}/{one.total} {one.unit}, {time.monotonic() - one.began:.1f} s")


def closing_table(run: RunDir, iterations: int) -> Table:
    """Return a table with one column per model, from M0 on: its data, its judge metrics, its training.

    `SFT` is the SFT baseline.
    """
    models = [name for name in (BASE, SFT_BASELINE) if run.entries(f"{name}/")]
    models += [f"m{t}" for t in range(1, iterations + 1) if trained(run, t)]
    table = Table(title=Text(str(run.path), style="bold"))
    table.add_column("", no_wrap=True)  # in a narrow terminal, the numbers wrap between words
    columns = [_column(run, name) for name in models]
    for name in models:
        table.add_column("SFT" if name == SFT_BASELINE else name.upper(), justify="right", overflow="fold")
    for name in ROWS:
        if name in OPTIONAL and not any(name in column for column in columns):
            continue
        table.add_row(name, *(column.get(name, "-") for column in columns))
    return table


def trained(run: RunDir, model: int | str) -> dict[str, Any] | None:
    """Return the manifest entry of the training of M_t, or of another model by its name."""
    return run.entry(f"{model_name(model)}/dpo") or run.entry(f"{model_name(model)}/sft")


ROWS = (
    "trained by",
    "IFT examples",
    "IFT examples left out",
    "EFT prompts left to IFT",
    "judge examples",
    "judge examples left out",
    "prompts kept",
    "prompts dropped",
    "candidates",
    "candidates truncated",
    "verdicts scored",
    "verdicts missing",
    "verdicts out of range",
    "verdicts conflicting",
    "answers scored",
    "answers without a score",
    "pairs kept",
    "prompts without a pair",
    "pairs of judgements",
    "no pair of judgements",
    "mean score",
    "mean answer length (tokens)",
    "judge accuracy, held-out",
    "change from previous, same pairs",
    "'longer is better', same pairs",
    "judge ties / pairs",
    "implicit preferences, held-out",
    "change from previous, implicit",
    "instructions followed (strict)",
    "change from previous, same prompts",
    "vs. M0: win / tie / loss",
    "vs. SFT: win / tie / loss",
    "vs. M1: win / tie / loss",
    "vs. previous: win / tie / loss",
    "training rows (dropped)",
    "train loss",
    "engine",
    "failed requests",
    "retried requests",
    "minutes",
)


# Rows of the table that only some runs have.
OPTIONAL = frozenset(
    {
        "answers scored",
        "answers without a score",
        "pairs of judgements",
        "no pair of judgements",
        "implicit preferences, held-out",
        "change from previous, implicit",
    }
)


def _column(run: RunDir, model: str) -> dict[str, str]:
    training, pairs, accuracy = (
        trained(run, model),
        run.entry(f"{model}/pairs"),
        run.entry(f"{model}/judge_held_out"),
    )
    entries, t = run.entries(f"{model}/"), iteration(model)
    column = {
        "failed requests": _reasons(_summed_counts(entries, "failed")),
        "retried requests": _reasons(_summed_counts(entries, "retries")),
        "minutes": f"{sum(entry['seconds'] for entry in entries) / 60:.1f}",
    }
    if model == "m1":
        column |= _seed_rows(run)
    if training is not None:
        dropped = training["dropped_too_long"] + training.get("dropped_equal", 0)
        column |= {
            "trained by": "DPO" if run.entry(f"{model}/dpo") else "SFT",
            "training rows (dropped)": f"{training['rows']} ({dropped})",
            "train loss": f"{training['train_loss']:.3f}",
        }
    if pairs is not None:
        column |= _data_rows(pairs)
        if judged := run.entry(f"{model}/{JUDGEMENT_PAIRS}"):
            column |= {"pairs of judgements": str(judged["rows"]), "no pair of judgements": _reasons(judged["drops"])}
        column["engine"] = str((run.entry(f"{model}/candidates") or {}).get("engine", "-"))
    if accuracy is not None:
        column |= _accuracy_rows(accuracy)
        column["change from previous, same pairs"] = _change(run, model, "judge_held_out", "pairwise_accuracy")
    if rules := run.entry(f"{model}/instructions"):
        unanswered = rules.get("unanswered", 0)
        counted = f"\n{unanswered} unanswered: not followed" if unanswered else ""
        column["instructions followed (strict)"] = share(rules["instruction_strict"]) + counted
        column["change from previous, same prompts"] = _change(run, model, "instructions", "instruction_strict")
    for name, other in (("M0", BASE), ("SFT", SFT_BASELINE), ("M1", "m1")):
        if match := run.entry(f"{model}/vs_{other}"):
            column[f"vs. {name}: win / tie / loss"] = record(match)
    if readings := run.entry(f"{model}/{READINGS}"):
        column["implicit preferences, held-out"] = share(readings["log_ratio_per_token"])
        if t > 1:
            column["change from previous, implicit"] = _change(run, model, READINGS, METRIC)
    if t > 2 and (before := run.entry(f"m{t}/vs_m{t - 1}")):
        column["vs. previous: win / tie / loss"] = record(before)
    return column


def _seed_rows(run: RunDir) -> dict[str, str]:
    """Return the sizes of the seed sets that M1 is trained on, and what was left out of them."""
    ift, ranked, judge = (run.entry(f"seed/{name}") or {} for name in ("ift", "eft_ranked", "eft_train"))
    cells: dict[str, str] = {}
    if "left_out" in ift:
        cells |= {"IFT examples": str(ift["rows"]), "IFT examples left out": _reasons(ift["left_out"])}
    if "left_out" in ranked:
        cells["EFT prompts left to IFT"] = str(ranked["left_out"]["ift_prompts"])
    if "downsampled" in judge:
        score = f" of score {judge['downsampled_score']:g}" if judge["downsampled"] else ""
        cells |= {"judge examples": str(judge["rows"]), "judge examples left out": f"{judge['downsampled']}{score}"}
    return cells


def _data_rows(entry: dict[str, Any]) -> dict[str, str]:
    verdicts, drops = entry["verdicts"], dict(entry["drops"])
    over_cap = drops.pop("over_cap", 0)
    return {
        "prompts kept": str(entry["prompts"]),
        "prompts dropped": _reasons(entry["prompts_dropped"]),
        "candidates": str(entry["candidates"]),
        "candidates truncated": str(entry["truncated"]),
        **_outcome_rows(verdicts),
        "pairs kept": _kept(entry["rows"], entry.get("found"), over_cap),
        "prompts without a pair": _reasons(drops),
        "mean score": _number(entry["mean_score"], ".2f"),
        "mean answer length (tokens)": _number(entry["mean_length"], ".0f"),
    }


def _kept(rows: int, found: int | None, over_cap: int) -> str:
    sampled = str(rows) if found is None else f"{rows} of {found}"
    return f"{sampled} (+{over_cap} over cap)" if over_cap else sampled


def _outcome_rows(outcomes: dict[str, int]) -> dict[str, str]:
    """Return the counts of verdicts by outcome, or those of another signal's scores, which have two outcomes."""
    if "out_of_range" not in outcomes:
        return {"answers scored": str(outcomes["scored"]), "answers without a score": str(outcomes["missing"])}
    return {f"verdicts {name.replace('_', ' ')}": str(count) for name, count in outcomes.items()}


def _accuracy_rows(entry: dict[str, Any]) -> dict[str, str]:
    unscored = f" (+{entry['pairs_unscored']} unscored)" if entry["pairs_unscored"] else ""
    return {
        "judge accuracy, held-out": share(entry["pairwise_accuracy"]) if entry["pairs"] else "-\n(n = 0)",
        "'longer is better', same pairs": share(entry["longer_accuracy"]),
        "judge ties / pairs": f"{_number(entry['tied']['value'], '.1%')} of {entry['pairs']}{unscored}",
    }


def _change(run: RunDir, model: str, stage: str, metric: str) -> str:
    """Return the change of a metric from the model that `model` is trained from."""
    if model == BASE:
        return "-"
    before = model_name(max(0, iteration(model) - 1))
    return change(run.file(model, f"{stage}.jsonl"), run.file(before, f"{stage}.jsonl"), metric)


def _summed_counts(entries: list[dict[str, Any]], name: str) -> Counter[str]:
    return sum((Counter(entry.get(name) or {}) for entry in entries), Counter())


def _reasons(counts: Mapping[str, int]) -> str:
    return "\n".join(f"{count} {reason.replace('_', ' ')}" for reason, count in counts.items() if count) or "0"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
