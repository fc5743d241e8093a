"""Prompt generation by self-instruct (Wang et al. 2023, arXiv 2212.10560), as in the paper.

Each attempt is a few-shot request: seed instructions and earlier generated ones are the demonstrations, and the model
writes another one. Filters drop instructions that are empty, cut off, too short or too long, that contain a keyword
(about images and files), or that are too similar to an existing one (ROUGE-L; see `novelty`). The paper's fixed 70B
prompt model is an option (`prompts.model`), not the default.

Attempts run in rounds. The demonstrations of a round depend on earlier rounds only, and rows are written in the order
of the attempts, so an interrupted stage resumes with the same result.
"""

from __future__ import annotations

import random
from itertools import count
from typing import TYPE_CHECKING

from srlm.engines.base import Request, Sampling
from srlm.models import chat
from srlm.models.replies import ReplyReader
from srlm.native import count_words, first_keywords
from srlm.rows.records import DroppedPrompt, Prompt, RowWriter, content_id, derived_seed, write_rows
from srlm.rows.resume import resume_rows
from srlm.stages.novelty import Novelty

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

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
) -> None:
    """Append to `kept_file` until it holds `prompts.count` instructions; append filtered ones to `dropped_file`.

    New instructions must differ from the seeds, from `known` and from one another; `known` are no demonstrations.
    Stops early, with a note, after `prompts.max_attempts` attempts per requested prompt.
    """
    kept, attempt = _resume(kept_file, dropped_file, report)
    novelty, reader = Novelty(seeds, known, kept, prompts), ReplyReader(engine.tokenizer)
    report.start("prompts", prompts.count, len(kept))
    with RowWriter(kept_file) as keep, RowWriter(dropped_file) as drop:
        last = prompts.count * prompts.max_attempts
        while len(kept) < prompts.count and attempt < last:
            round_start = attempt - attempt % prompts.round_size
            pool = [row for row in kept if row.attempt < round_start]
            attempts = range(attempt, min(round_start + prompts.round_size, last))
            examples = {number: _demonstrations(seeds, pool, prompts, seed, number) for number in attempts}
            for number, completion in _completions_in_order(engine, examples, prompts, seed):
                said = None if completion is None else reader.read(completion, prefilled=True, stop=STOP)
                row = _apply_filters(said, examples[number], number, prompts, novelty)
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
            f"prompts: stopped at {len(kept)} of {prompts.count} after {attempt} attempts (prompts.max_attempts)"
        )


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
    seeds: Sequence[Prompt], pool: list[Prompt], prompts: PromptsSection, seed: int, attempt: int
) -> list[Prompt]:
    rng = random.Random(derived_seed(seed, "shown", attempt))
    generated = rng.sample(pool, min(prompts.examples_generated, len(pool)))
    seed_count = prompts.examples_seed + prompts.examples_generated - len(generated)
    demonstrations = [*rng.sample(list(seeds), min(seed_count, len(seeds))), *generated]
    rng.shuffle(demonstrations)
    return demonstrations


def _completions_in_order(
    engine: Engine, examples: dict[int, list[Prompt]], prompts: PromptsSection, seed: int
) -> Iterator[tuple[int, Completion | None]]:
    """Generate a round's attempts and yield them in order, each as soon as all earlier ones have finished.

    A request that failed in the engine is yielded as None.
    """
    sampling = Sampling(prompts.temperature, prompts.top_p, prompts.max_tokens, stop=STOP)
    requests = [
        Request(str(number), request_ids(engine, rows), sampling, derived_seed(seed, "prompt", number))
        for number, rows in examples.items()
    ]
    finished: dict[int, Completion] = {}
    due = iter(examples)
    number = next(due)
    for completion in engine.generate(requests):
        finished[int(completion.key)] = completion
        while number in finished:
            yield number, finished.pop(number)
            number = next(due, -1)
    while number >= 0:  # all requests are done; the remaining gaps have failed
        yield number, finished.pop(number, None)
        number = next(due, -1)


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
