"""New instructions by self-instruct (Wang et al. 2023, arXiv 2212.10560), as the paper uses it.

Each attempt shows seed instructions and earlier generated ones and asks for another; filters drop what is empty, cut
off, too short or long, about pictures and files, or too near to what is there (ROUGE-L). Left out: the paper's fixed
70B prompt writer is an option (`prompts.model`), not the default.

Attempts run in rounds. What a round shows depends on earlier rounds only, and rows are written in the order of the
attempts, so an interrupted stage goes on as if nothing had happened.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from srlm.engines.base import Request, Sampling
from srlm.models import chat
from srlm.native import NoveltyIndex
from srlm.rows.records import DroppedPrompt, Prompt, RowWriter, content_id, derived_seed, resume_rows, write_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from srlm.config import PromptsSection
    from srlm.engines.base import Completion, Engine
    from srlm.reporter import Reporter

STOP = ("\nTask", "\n\nTask")
REQUEST = """Below are tasks that different people gave to an assistant.

{tasks}

Write one more task. It must be clear and complete by itself, and about something else than the tasks above."""


def write_prompts(
    engine: Engine,
    seeds: Sequence[Prompt],
    kept_file: Path,
    dropped_file: Path,
    *,
    prompts: PromptsSection,
    seed: int,
    report: Reporter,
) -> None:
    """Append to `kept_file` until it holds `prompts.count` instructions, and to `dropped_file` what the filters took.

    Gives up, with a note, after `prompts.max_attempts` attempts per prompt asked for.
    """
    kept, attempt = _resume(kept_file, dropped_file, report)
    novelty = _Novelty(seeds, kept, prompts)
    report.start("prompts", prompts.count, len(kept))
    with RowWriter(kept_file) as keep, RowWriter(dropped_file) as drop:
        last = prompts.count * prompts.max_attempts
        while len(kept) < prompts.count and attempt < last:
            round_start = attempt - attempt % prompts.round_size
            pool = [row for row in kept if row.attempt < round_start]
            attempts = range(attempt, min(round_start + prompts.round_size, last))
            shown = {number: _shown(seeds, pool, prompts, seed, number) for number in attempts}
            for number, completion in _in_order(engine, shown, prompts, seed):
                row = _filtered(completion, shown[number], number, prompts, novelty)
                attempt = number + 1
                if isinstance(row, DroppedPrompt):
                    drop.write(row)
                    continue
                keep.write(row)
                kept.append(row)
                report.advance()
                if len(kept) == prompts.count:
                    return
    if len(kept) < prompts.count:
        report.note(
            f"prompts: gave up at {len(kept)} of {prompts.count} after {attempt} attempts (prompts.max_attempts)"
        )


def _resume(kept_file: Path, dropped_file: Path, report: Reporter) -> tuple[list[Prompt], int]:
    """Return the prompts kept so far, and the next attempt: the first one that neither file has.

    Attempts are written in order, but a loss of power may take more of one file's end than of the other's. What came
    after such a gap is cut off, since it was shown prompts that are gone.
    """
    kept, dropped = resume_rows(kept_file, Prompt, report), resume_rows(dropped_file, DroppedPrompt, report)
    done = {row.attempt for row in kept} | {row.attempt for row in dropped}
    attempt = next(number for number in count() if number not in done)
    whole = [row for row in kept if row.attempt < attempt]
    if len(done) > attempt:
        report.note(f"prompts: attempt {attempt} is lost; {len(done) - attempt} later ones are made again")
        write_rows(kept_file, whole)
        write_rows(dropped_file, [row for row in dropped if row.attempt < attempt])
    return whole, attempt


def _shown(
    seeds: Sequence[Prompt], pool: list[Prompt], prompts: PromptsSection, seed: int, attempt: int
) -> list[Prompt]:
    chooser = random.Random(derived_seed(seed, "shown", attempt))
    generated = chooser.sample(pool, min(prompts.examples_generated, len(pool)))
    wanted = prompts.examples_seed + prompts.examples_generated - len(generated)
    shown = [*chooser.sample(list(seeds), min(wanted, len(seeds))), *generated]
    chooser.shuffle(shown)
    return shown


def _in_order(
    engine: Engine, shown: dict[int, list[Prompt]], prompts: PromptsSection, seed: int
) -> Iterator[tuple[int, Completion | None]]:
    """Draw a round's attempts and yield them by number, each as soon as all before it are there.

    None is one that the engine could not draw.
    """
    sampling = Sampling(prompts.temperature, prompts.top_p, prompts.max_tokens, stop=STOP)
    requests = [
        Request(str(number), request_ids(engine, examples), sampling, derived_seed(seed, "prompt", number))
        for number, examples in shown.items()
    ]
    finished: dict[int, Completion] = {}
    due = iter(shown)
    number = next(due)
    for completion in engine.generate(requests):
        finished[int(completion.key)] = completion
        while number in finished:
            yield number, finished.pop(number)
            number = next(due, -1)
    while number >= 0:  # nothing before it is still to come
        yield number, finished.pop(number, None)
        number = next(due, -1)


def request_ids(engine: Engine, examples: Sequence[Prompt]) -> tuple[int, ...]:
    """Return the ids of an attempt: the examples as numbered tasks, and the next number as the answer's opening."""
    tasks = "\n\n".join(f"Task {number}: {example.text}" for number, example in enumerate(examples, 1))
    return chat.prompt_ids(engine.tokenizer, chat.user(REQUEST.format(tasks=tasks)), f"Task {len(examples) + 1}:")


@dataclass
class _Novelty:
    """The instructions so far, and the Rust index that finds the nearest."""

    rows: list[Prompt]
    ids: dict[str, str]  # of the texts: a repeat would share its id
    index: NoveltyIndex
    limit: float

    def __init__(self, seeds: Sequence[Prompt], kept: Sequence[Prompt], prompts: PromptsSection) -> None:
        self.rows, self.limit = [*seeds, *kept], prompts.max_rouge_l
        self.ids = {row.text: row.id for row in self.rows}
        self.index = NoveltyIndex(words=prompts.rouge_words)
        self.index.add_all([row.text for row in self.rows])

    def add(self, row: Prompt) -> tuple[float, str] | None:
        """Add a row unless it is too near to one so far; then return the similarity to the nearest, and its id."""
        if row.text in self.ids:
            return 1.0, self.ids[row.text]
        kept, similarity, nearest = self.index.add_novel([row.text], self.limit)
        if not kept[0]:
            return float(similarity[0]), self.rows[nearest[0]].id
        self.rows.append(row)
        self.ids[row.text] = row.id
        return None


def _filtered(
    completion: Completion | None, shown: list[Prompt], attempt: int, prompts: PromptsSection, novelty: _Novelty
) -> Prompt | DroppedPrompt:
    parents = [row.id for row in shown]
    if completion is None:
        return DroppedPrompt(content_id("prompt", ""), "", "failed", parents, attempt, None, None)
    text = completion.text.strip()
    row = Prompt(content_id("prompt", text), text, "generated", parents, attempt)
    if reason := drop_reason(text, completion.finish_reason == "length", prompts):
        return DroppedPrompt(row.id, text, reason, parents, attempt, None, None)
    if near := novelty.add(row):
        return DroppedPrompt(row.id, text, "not_novel", parents, attempt, *near)
    return row


def drop_reason(text: str, cut_off: bool, prompts: PromptsSection) -> str | None:
    """Return why an instruction is no good by itself (whatever else is there), or None."""
    words = text.split()
    lowered = set(re.findall(r"\w+", text.lower()))
    checks = {
        "empty": not words,
        "cut_off": cut_off,
        "too_short": len(words) < prompts.min_words,
        "too_long": len(words) > prompts.max_words,
        "keyword": any(word.lower() in lowered for word in prompts.keywords),
    }
    return next((reason for reason, failed in checks.items() if failed), None)
