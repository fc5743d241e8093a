"""Rule-checked instruction following: IFEval (Zhou et al. 2023, arXiv 2311.07911).

Each prompt has one or more instructions whose following a rule can check (`srlm.evaluation.rules`). Strict: the answer
as it is. Loose: the answer, or what is left of it without its first line, its last line, both, or its asterisks; it
forgives "Sure, here it is:" and bold type. Left out: the accuracies of groups of kinds ("keywords"), since `by_kind` is
finer.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from srlm.config import CandidatesSection
from srlm.errors import InputError
from srlm.evaluation.estimates import mean, ratio
from srlm.evaluation.rules.arguments import read_arguments
from srlm.evaluation.rules.registry import RULES
from srlm.rows.json_lines import read_objects
from srlm.rows.records import Prompt, content_id
from srlm.stages.candidates import write_candidates

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from srlm.engines.base import Engine
    from srlm.evaluation.estimates import Estimate
    from srlm.reporter import Reporter

FIELDS = ("key", "prompt", "instruction_id_list", "kwargs")


@dataclass(frozen=True, slots=True)
class Instructed:
    """A prompt and its instructions: their kinds, and as many sets of arguments, in the order of the data.

    `id` is a hash of the rest but the `key`, which is the data's own name for the row.
    """

    id: str
    key: str
    prompt: str
    kinds: tuple[str, ...]
    arguments: tuple[Mapping[str, object], ...]


@dataclass(frozen=True, slots=True)
class Checked:
    """Which instructions of a prompt an answer follows, in their order."""

    strict: tuple[bool, ...]
    loose: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Followed:
    """The four accuracies of the paper, and strict accuracy by kind of instruction.

    Per prompt, all of its instructions must be followed; per instruction, each counts for itself.
    """

    prompt_strict: Estimate
    instruction_strict: Estimate
    prompt_loose: Estimate
    instruction_loose: Estimate
    by_kind: dict[str, Estimate]


def read_instructions(path: Path) -> list[Instructed]:
    """Read prompts in the benchmark's format; arguments that are null count as not given, other fields are ignored.

    Raises:
        InputError: the file cannot be read or is empty, a row is broken, has an unknown kind or wrong arguments, or is
            there twice.
    """
    rows: dict[str, Instructed] = {}
    for number, value in read_objects(path):
        row = _row(value, f"{path}, line {number}")
        if row.id in rows:
            raise InputError(f"{path}, line {number}: the same prompt and instructions came before; remove one of them")
        rows[row.id] = row
    if not rows:
        raise InputError(f"{path}: holds no prompt; give a file in the format of IFEval's input_data.jsonl")
    return list(rows.values())


def check(row: Instructed, answer: str) -> Checked:
    """Check an answer against every instruction of its prompt. A blank answer follows none."""
    rules = [(RULES[kind].follows, given) for kind, given in zip(row.kinds, row.arguments, strict=True)]
    strict = tuple(bool(answer.strip()) and follows(answer, **given) for follows, given in rules)
    variants = _variants(answer)
    loose = tuple(
        followed or any(follows(text, **given) for text in variants)
        for followed, (follows, given) in zip(strict, rules, strict=True)
    )
    return Checked(strict, loose)


def score(rows: Sequence[Instructed], answers: Mapping[str, str]) -> Followed:
    """Score the answers, by the ids of their rows; intervals are over prompts.

    Raises:
        InputError: a row has no answer. Left out it would raise the figures, counted as wrong it would lower them.
    """
    missing = [row for row in rows if row.id not in answers]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(rows)} prompts have no answer, the first is key {missing[0].key}; "
            "write all answers before scoring them"
        )
    checked = [check(row, answers[row.id]) for row in rows]
    strict, loose = [each.strict for each in checked], [each.loose for each in checked]
    sizes = [len(row.kinds) for row in rows]
    return Followed(
        prompt_strict=mean([all(each) for each in strict]),
        instruction_strict=ratio([sum(each) for each in strict], sizes),
        prompt_loose=mean([all(each) for each in loose]),
        instruction_loose=ratio([sum(each) for each in loose], sizes),
        by_kind={kind: _of_kind(kind, rows, strict) for kind in sorted({kind for row in rows for kind in row.kinds})},
    )


def write_answers(engine: Engine, rows: Sequence[Instructed], file: Path, *, max_tokens: int, report: Reporter) -> None:
    """Append the answers that `file` still lacks, one greedy `Candidate` a prompt, written as it finishes.

    Raises:
        StageError: a prompt and `max_tokens` do not fit the engine.
    """
    prompts = [Prompt(row.id, row.prompt, "seed", [], -1) for row in rows]
    greedy = CandidatesSection(temperature=0.0, top_p=1.0, max_tokens=max_tokens).model_copy(update={"per_prompt": 1})
    write_candidates(engine, prompts, file, candidates=greedy, seed=0, report=report, stage="instructions")


def _row(value: dict[str, object], where: str) -> Instructed:
    for name in FIELDS:
        if name not in value:
            raise InputError(f"{where}: field {name!r} is missing; a row has: {', '.join(FIELDS)}")
    prompt, kinds, given = value["prompt"], value["instruction_id_list"], value["kwargs"]
    if not isinstance(prompt, str) or not prompt.strip():
        raise InputError(f"{where}: 'prompt' must be a text that is not blank")
    if not isinstance(kinds, list) or not kinds or not isinstance(given, list) or len(given) != len(kinds):
        raise InputError(f"{where}: 'instruction_id_list' and 'kwargs' must be lists of the same length, 1 or more")
    arguments = tuple(_arguments(kind, each, where) for kind, each in zip(kinds, given, strict=True))
    name = content_id("instructed", prompt, kinds, arguments)
    return Instructed(name, str(value["key"]), prompt, tuple(kinds), arguments)


def _arguments(kind: object, given: object, where: str) -> dict[str, object]:
    if not isinstance(kind, str) or kind not in RULES:
        near = difflib.get_close_matches(str(kind), RULES, 1, 0.0)[0]
        raise InputError(f"{where}: unknown kind of instruction {kind!r}; the nearest that exists is {near!r}")
    return read_arguments(RULES[kind].arguments, given, f"{where}, {kind}")


def _variants(answer: str) -> list[str]:
    """Return what the loose check may look at, without what is blank or there twice."""
    lines = answer.split("\n")
    cut = [answer, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
    return [text for text in dict.fromkeys(cut + [text.replace("*", "") for text in cut]) if text.strip()]


def _of_kind(kind: str, rows: Sequence[Instructed], strict: Sequence[tuple[bool, ...]]) -> Estimate:
    of_kind = [
        [followed for name, followed in zip(row.kinds, each, strict=True) if name == kind]
        for row, each in zip(rows, strict, strict=True)
    ]
    return ratio([sum(each) for each in of_kind], [len(each) for each in of_kind])
