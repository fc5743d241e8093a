"""Rule-checked instruction following: IFEval (Zhou et al. 2023, arXiv 2311.07911).

Each prompt has one or more verifiable instructions (`srlm.evaluation.rules`). Strict accuracy checks the response as it
is. Loose accuracy also accepts the response without its first line, its last line or both, each also without asterisks;
this forgives "Sure, here it is:" and bold type. Not reported: accuracies of instruction groups ("keywords"), as
`by_kind` is finer.
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
from srlm.rows.records import CaseResult, Prompt, content_id
from srlm.stages.candidates import CandidatesStage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from srlm.engines.base import Engine
    from srlm.evaluation.estimates import Estimate
    from srlm.reporter import Reporter

FIELDS = ("key", "prompt", "instruction_id_list", "kwargs")


@dataclass(frozen=True, slots=True)
class InstructionPrompt:
    """A prompt with its instructions: their kinds, and the arguments of each, in the order of the data.

    `key` is the row's name in the data; `id` is a hash of the other fields.
    """

    id: str
    key: str
    prompt: str
    kinds: tuple[str, ...]
    arguments: tuple[Mapping[str, object], ...]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Whether a response follows each instruction of its prompt, in their order."""

    strict: tuple[bool, ...]
    loose: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class InstructionAccuracy:
    """The four accuracies of the paper, and instruction-level strict accuracy by kind of instruction.

    Prompt-level: all instructions of a prompt must be followed. Instruction-level: each instruction counts separately.
    `unanswered` is the number of prompts without a response, which follow none of their instructions.
    """

    prompt_strict: Estimate
    instruction_strict: Estimate
    prompt_loose: Estimate
    instruction_loose: Estimate
    by_kind: dict[str, Estimate]
    unanswered: int


def read_instructions(path: Path) -> list[InstructionPrompt]:
    """Read prompts in the benchmark's format. Null arguments count as absent; unknown fields are ignored.

    Raises:
        InputError: the file cannot be read or is empty, a row is invalid, has an unknown kind or wrong arguments, or
            appears twice.
    """
    rows: dict[str, InstructionPrompt] = {}
    for number, value in read_objects(path):
        row = instruction_row(value, f"{path}, line {number}")
        if row.id in rows:
            raise InputError(
                f"{path}, line {number}: the same prompt and instructions appear twice; remove one of them"
            )
        rows[row.id] = row
    if not rows:
        raise InputError(f"{path}: contains no prompts; use a file in the format of IFEval's input_data.jsonl")
    return list(rows.values())


def check(row: InstructionPrompt, answer: str) -> CheckResult:
    """Check a response against every instruction of its prompt. A blank response follows none."""
    rules = [(RULES[kind].follows, given) for kind, given in zip(row.kinds, row.arguments, strict=True)]
    strict = tuple(bool(answer.strip()) and follows(answer, **given) for follows, given in rules)
    variants = _variants(answer)
    loose = tuple(
        followed or any(follows(text, **given) for text in variants)
        for followed, (follows, given) in zip(strict, rules, strict=True)
    )
    return CheckResult(strict, loose)


def score(rows: Sequence[InstructionPrompt], answers: Mapping[str, str]) -> InstructionAccuracy:
    """Compute the accuracies of the responses, given by row id; intervals are over prompts.

    A row without a response counts like one with a blank response: no instruction is followed. Leaving it out would
    raise the accuracies of a model that fails to answer.
    """
    checked = [check(row, answers.get(row.id, "")) for row in rows]
    strict, loose = [each.strict for each in checked], [each.loose for each in checked]
    sizes = [len(row.kinds) for row in rows]
    return InstructionAccuracy(
        prompt_strict=mean([all(each) for each in strict]),
        instruction_strict=ratio([sum(each) for each in strict], sizes),
        prompt_loose=mean([all(each) for each in loose]),
        instruction_loose=ratio([sum(each) for each in loose], sizes),
        by_kind={
            kind: _kind_accuracy(kind, rows, strict) for kind in sorted({kind for row in rows for kind in row.kinds})
        },
        unanswered=sum(row.id not in answers for row in rows),
    )


def case_results(rows: Sequence[InstructionPrompt], answers: Mapping[str, str]) -> list[CaseResult]:
    """Return the result of every prompt and of every instruction, for the changes from one model to another."""
    found = []
    for row in rows:
        checked = check(row, answers.get(row.id, ""))
        for kind, followed in (("strict", checked.strict), ("loose", checked.loose)):
            found.append(CaseResult(f"prompt_{kind}", row.id, row.id, float(all(followed))))
            found += [
                CaseResult(f"instruction_{kind}", f"{row.id}.{index}", row.id, float(each))
                for index, each in enumerate(followed)
            ]
    return found


def answers_stage(
    engine: Engine, rows: Sequence[InstructionPrompt], file: Path, *, max_tokens: int, report: Reporter
) -> CandidatesStage:
    """Return the stage that appends the missing responses to `file`: one greedy `Candidate` per prompt."""
    prompts = [Prompt(row.id, row.prompt, "seed", [], -1) for row in rows]
    greedy = CandidatesSection(temperature=0.0, top_p=1.0, max_tokens=max_tokens).model_copy(update={"per_prompt": 1})
    return CandidatesStage(engine, prompts, file, candidates=greedy, seed=0, report=report, stage="instructions")


def instruction_row(value: dict[str, object], where: str) -> InstructionPrompt:
    """Return one row of the benchmark's format; `where` names it in errors.

    Raises:
        InputError: see `read_instructions`.
    """
    for name in FIELDS:
        if name not in value:
            raise InputError(f"{where}: field {name!r} is missing; a row has: {', '.join(FIELDS)}")
    prompt, kinds, given = value["prompt"], value["instruction_id_list"], value["kwargs"]
    if not isinstance(prompt, str) or not prompt.strip():
        raise InputError(f"{where}: 'prompt' must be a non-blank string")
    if not isinstance(kinds, list) or not kinds or not isinstance(given, list) or len(given) != len(kinds):
        raise InputError(f"{where}: 'instruction_id_list' and 'kwargs' must be non-empty lists of the same length")
    arguments = tuple(_arguments(kind, each, where) for kind, each in zip(kinds, given, strict=True))
    name = content_id("instructed", prompt, kinds, arguments)
    return InstructionPrompt(name, str(value["key"]), prompt, tuple(kinds), arguments)


def _arguments(kind: object, given: object, where: str) -> dict[str, object]:
    if not isinstance(kind, str) or kind not in RULES:
        near = difflib.get_close_matches(str(kind), RULES, 1, 0.0)[0]
        raise InputError(f"{where}: unknown instruction {kind!r}; did you mean {near!r}?")
    return read_arguments(RULES[kind].arguments, given, f"{where}, {kind}")


def _variants(answer: str) -> list[str]:
    """Return the variants that the loose check accepts, without blanks and duplicates."""
    lines = answer.split("\n")
    cut = [answer, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
    return [text for text in dict.fromkeys(cut + [text.replace("*", "") for text in cut]) if text.strip()]


def _kind_accuracy(kind: str, rows: Sequence[InstructionPrompt], strict: Sequence[tuple[bool, ...]]) -> Estimate:
    of_kind = [
        [followed for name, followed in zip(row.kinds, each, strict=True) if name == kind]
        for row, each in zip(rows, strict, strict=True)
    ]
    return ratio([sum(each) for each in of_kind], [len(each) for each in of_kind])
