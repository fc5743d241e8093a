"""Prompt generation by self-instruct (Wang et al. 2023, arXiv 2212.10560), as in the paper.

Each attempt is a few-shot request: seed instructions and earlier generated ones are the demonstrations, and the model
writes another one. Filters drop instructions that are empty, cut off, too short or too long, that contain a keyword
(about images and files), or that are too similar to an existing one (ROUGE-L; see `novelty`). The paper's fixed 70B
prompt model is an option (`prompts.model`), not the default.

The demonstrations of attempt n come from prompts kept among the attempts up to n - `prompts.round_size` only. So that
many attempts can be in flight at any time, whatever their order of completion; they are filtered and written in their
own order, so the rows are the same for any order, and an interrupted stage resumes with the same result.
"""

from __future__ import annotations

import contextlib
import math
import random
from bisect import bisect_right
from itertools import count
from typing import TYPE_CHECKING, Any, Self

from srlm.engines.base import Request, Sampling
from srlm.models import chat
from srlm.models.replies import ReplyReader
from srlm.native import count_words, first_keywords
from srlm.rows.records import DroppedPrompt, Prompt, RowWriter, content_id, derived_seed, write_rows
from srlm.rows.resume import resume_rows
from srlm.stages import generation
from srlm.stages.novelty import Novelty

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

    from srlm.config import PromptsSection
    from srlm.engines.base import Completion, Engine
    from srlm.models.replies import Said
    from srlm.reporter import Reporter
    from srlm.stages.novelty import KnownPrompt

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
    known: Sequence[KnownPrompt] = (),
    given: Sequence[Prompt] = (),
) -> None:
    """Append to `kept_file` until it holds `prompts.count` instructions; see `PromptsStage`."""
    settings: Any = {"prompts": prompts, "seed": seed, "report": report, "known": known, "given": given}
    generation.run(engine, PromptsStage(engine, seeds, kept_file, dropped_file, **settings))


class PromptsStage:
    """Writes instructions to `kept_file` until it holds `prompts.count`, and filtered ones to `dropped_file`.

    New instructions must differ from the seeds, from `known`, from `given` and from one another. `given` are those from
    the user's files: they come first, count, and are demonstrations as well; `known` are not.
    Stops early, with a note, after `prompts.max_attempts` attempts per requested prompt.
    """

    def __init__(
        self,
        engine: Engine,
        seeds: Sequence[Prompt],
        kept_file: Path,
        dropped_file: Path,
        *,
        prompts: PromptsSection,
        seed: int,
        report: Reporter,
        known: Sequence[KnownPrompt] = (),
        given: Sequence[Prompt] = (),
    ) -> None:
        """Read what an interrupted stage has left."""
        self._engine, self._seeds, self._prompts, self._seed, self._report = engine, seeds, prompts, seed, report
        self._kept_file, self._dropped_file, self._files = kept_file, dropped_file, contextlib.ExitStack()
        self._kept, self._due = _resume(kept_file, dropped_file, report)  # the due attempt is filtered next
        self._given = len(given)
        self._add_given(given)
        self._last = prompts.count * prompts.max_attempts
        self._examples: dict[int, list[Prompt]] = {}  # of the attempts that are not filtered yet
        self._completions: dict[int, Completion] = {}  # of the attempts behind the due one
        self._novelty, self._reader = Novelty(seeds, known, self._kept, prompts), ReplyReader(engine.tokenizer)
        self._sampling = Sampling(prompts.temperature, prompts.top_p, prompts.max_tokens, stop=STOP)
        report.start("prompts", prompts.count, len(self._kept))

    @property
    def is_complete(self) -> bool:
        """See `GenerationStage.is_complete`."""
        return len(self._kept) >= self._prompts.count

    def __enter__(self) -> Self:
        """See `GenerationStage`."""
        self._keep = self._files.enter_context(RowWriter(self._kept_file))
        self._drop = self._files.enter_context(RowWriter(self._dropped_file))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """See `GenerationStage`."""
        self._files.__exit__(kind, error, trace)

    def requests(self) -> Iterator[Request | None]:
        """See `GenerationStage.requests`."""
        attempt = self._due
        while not self.is_complete and self._due < self._last:
            if attempt < min(self._due + self._useful_attempts(), self._last):
                self._examples[attempt] = _demonstrations(self._seeds, self._kept, self._prompts, self._seed, attempt)
                ids = request_ids(self._engine, self._examples[attempt])
                yield Request(str(attempt), ids, self._sampling, derived_seed(self._seed, "prompt", attempt))
                attempt += 1
            elif not self._filter_due():
                yield None
        if not self.is_complete:
            self._report.note(
                f"prompts: stopped at {len(self._kept)} of {self._prompts.count} after {self._due} attempts "
                "(prompts.max_attempts)"
            )

    def receive(self, completion: Completion) -> None:
        """See `GenerationStage.receive`."""
        self._completions[int(completion.key)] = completion
        self._filter_due()

    def _useful_attempts(self) -> int:
        """Return how many attempts may be in flight or wait to be filtered: near the end no more than are likely to be
        needed, half as many again as at the rate so far. What is asked in vain changes no row."""
        missing = self._prompts.count - len(self._kept)
        expected = missing * (self._due + 1) / (len(self._kept) - self._given + 1)
        return min(self._prompts.round_size, math.ceil(1.5 * expected))

    def _add_given(self, given: Sequence[Prompt]) -> None:
        """Write the given prompts that an interrupted stage has not written; they precede every attempt."""
        written = {row.id for row in self._kept}
        with RowWriter(self._kept_file) as file:
            for row in given:
                if row.id not in written:
                    file.write(row)
                    self._kept.append(row)

    def _filter_due(self) -> bool:
        """Filter and write the attempts that are answered or have failed, in order; tell whether there were any."""
        first = self._due
        while self._due in self._examples and not self.is_complete:
            completion = self._completions.pop(self._due, None)
            if completion is None and not self._engine.has_failed(str(self._due)):
                break
            said = None if completion is None else self._reader.read(completion, prefilled=True, stop=STOP)
            examples = self._examples.pop(self._due)
            row = _apply_filters(said, examples, self._due, self._prompts, self._novelty)
            self._due += 1
            self._write(row)
        return self._due > first

    def _write(self, row: Prompt | DroppedPrompt) -> None:
        if isinstance(row, DroppedPrompt):
            self._drop.write(row)
        else:
            self._keep.write(row)
            self._kept.append(row)
            self._report.advance()


def _resume(kept_file: Path, dropped_file: Path, report: Reporter) -> tuple[list[Prompt], int]:
    """Return the prompts kept so far, and the next attempt: the first one that neither file has.

    Attempts are written in order, but after a loss of power one file may have lost more of its end than the other. Rows
    after such a gap are dropped, since their demonstrations may be lost.
    """
    kept, dropped = resume_rows(kept_file, Prompt, report), resume_rows(dropped_file, DroppedPrompt, report)
    done = {row.attempt for row in kept} | {row.attempt for row in dropped}
    attempt = next(number for number in count() if number not in done)
    before_gap = [row for row in kept if row.attempt < attempt]
    if len(done) > attempt:
        report.note(f"prompts: attempt {attempt} is lost; {len(done) - attempt} later ones are recomputed")
        write_rows(kept_file, before_gap)
        write_rows(dropped_file, [row for row in dropped if row.attempt < attempt])
    return before_gap, attempt


def _demonstrations(
    seeds: Sequence[Prompt], kept: Sequence[Prompt], prompts: PromptsSection, seed: int, attempt: int
) -> list[Prompt]:
    """Choose an attempt's demonstrations; `kept` has all prompts kept up to attempt - `round_size`, and maybe more."""
    rng = random.Random(derived_seed(seed, "shown", attempt))
    pool = bisect_right(kept, attempt - prompts.round_size, key=lambda row: row.attempt)
    generated = [kept[index] for index in rng.sample(range(pool), min(prompts.examples_generated, pool))]
    seed_count = prompts.examples_seed + prompts.examples_generated - len(generated)
    demonstrations = [*rng.sample(list(seeds), min(seed_count, len(seeds))), *generated]
    rng.shuffle(demonstrations)
    return demonstrations


def request_ids(engine: Engine, examples: Sequence[Prompt]) -> tuple[int, ...]:
    """Return the prompt ids of an attempt: the examples as numbered tasks; the next number prefills the answer."""
    tasks = "\n\n".join(f"Task {number}: {example.text}" for number, example in enumerate(examples, 1))
    return chat.prefilled_ids(engine.tokenizer, chat.user(REQUEST.format(tasks=tasks)), f"Task {len(examples) + 1}:")


def _apply_filters(
    said: Said | None, examples: list[Prompt], attempt: int, prompts: PromptsSection, novelty: Novelty
) -> Prompt | DroppedPrompt:
    parents = [row.id for row in examples]
    if said is None:
        return DroppedPrompt(content_id("prompt", ""), "", "failed", parents, attempt, None, None)
    text = said.text.strip()
    row = Prompt(content_id("prompt", text), text, "generated", parents, attempt, said.thought)
    if reason := drop_reason(text, said.finish_reason == "length", prompts):
        return DroppedPrompt(row.id, text, reason, parents, attempt, None, None, said.thought)
    if near := novelty.add(row):
        reason, similarity, similar_to = near
        return DroppedPrompt(row.id, text, reason, parents, attempt, similarity, similar_to, said.thought)
    return row


def drop_reason(text: str, cut_off: bool, prompts: PromptsSection) -> str | None:
    """Return the first filter (other than novelty) that an instruction fails, or None."""
    words = int(count_words([text])[0])
    checks = {
        "empty": words == 0,
        "cut_off": cut_off,
        "too_short": words < prompts.min_words,
        "too_long": words > prompts.max_words,
        "keyword": first_keywords([text], prompts.keywords)[0] >= 0,
    }
    return next((reason for reason, failed in checks.items() if failed), None)
