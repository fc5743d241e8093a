"""Answers and commands in the form that AlpacaEval and lm-evaluation-harness read; `mt_bench` has FastChat's.

The tools themselves are not called: judging by them costs their users' keys and hardware. AlpacaEval's instructions
are not packaged, they come from a file of its own format.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from srlm.errors import InputError
from srlm.rows.json_lines import parse_located, read_bytes
from srlm.rows.records import Candidate, Prompt, content_id, read_rows, write_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from srlm.config import Config
    from srlm.engines.base import Engine
    from srlm.reporter import Reporter

SPLIT_BY_LM_EVAL = frozenset("\"',()[]{}")  # what its parser of model arguments gives a meaning of its own


@dataclass(frozen=True, slots=True)
class Instruction:
    """One of AlpacaEval's instructions, and the data set that it came from where the file says so."""

    text: str
    dataset: str | None


@dataclass(frozen=True, slots=True)
class Answer:
    """A model's output for an instruction."""

    instruction: str
    output: str
    dataset: str | None = None


def read_instructions(file: Path) -> list[Instruction]:
    """Read `instruction` and, where it is there, `dataset` of every row; other fields are passed over.

    The file is a JSON list, as AlpacaEval's own, or JSON lines.

    Raises:
        InputError: the file cannot be read, has no row, or a row has no such text; names file and row.
    """
    found = [_instruction(row, where) for where, row in _json_rows(file)]
    if not found:
        raise InputError(f'{file}: has no instructions; give a JSON list of {{"instruction": …}}, or one a line')
    return found


def prompts_of(instructions: Sequence[Instruction]) -> list[Prompt]:
    """Return the different instructions as prompts, in order: what `candidates.write_candidates` answers."""
    return [
        Prompt(content_id("prompt", text), text, "seed", [], -1)
        for text in dict.fromkeys(it.text for it in instructions)
    ]


def answered(instructions: Sequence[Instruction], candidates: Sequence[Candidate]) -> list[Answer]:
    """Return each instruction with its first candidate's text, stripped as AlpacaEval strips what it generates.

    Raises:
        InputError: an instruction has no candidate.
    """
    texts = {row.prompt_id: row.text for row in candidates if row.index == 0}
    ids = {prompt.text: prompt.id for prompt in prompts_of(instructions)}
    missing = [it.text for it in instructions if ids[it.text] not in texts]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(instructions)} instructions have no answer, the first is {missing[0][:60]!r}; "
            "answer the same file of instructions again"
        )
    return [Answer(it.text, texts[ids[it.text]].strip(), it.dataset) for it in instructions]


def alpaca_eval(answers: Sequence[Answer], generator: str, out: Path) -> None:
    """Write AlpacaEval's `outputs.json`; `generator` is the name that its leaderboard shows.

    Raises:
        InputError: `out` does not end in .json, by which AlpacaEval knows the format.
    """
    if out.suffix != ".json":
        raise InputError(f"{out}: AlpacaEval knows its format by the ending .json; give a name that ends so")
    rows = [
        ({} if row.dataset is None else {"dataset": row.dataset})
        | {"instruction": row.instruction, "output": row.output, "generator": generator}
        for row in answers
    ]
    write_text(out, json.dumps(rows, indent=1) + "\n")  # ASCII: read the same under any locale


@dataclass(frozen=True, slots=True)
class AlpacaEvalTask:
    """Answer AlpacaEval's instructions once each and write `file` for AlpacaEval (a `worker.Task`)."""

    name: str
    instructions: Path
    file: Path
    generator: str

    @property
    def kept(self) -> Path:
        """The answers so far, as rows of `Candidate`, from which an interrupted export goes on."""
        return self.file.with_suffix(".candidates")

    def run(self, engine: Engine, config: Config, seed: int, report: Reporter) -> dict[str, Any]:
        """See `worker.Task.run`."""
        from srlm.stages.candidates import write_candidates

        instructions = read_instructions(self.instructions)
        once = config.candidates.model_copy(update={"per_prompt": 1})
        write_candidates(engine, prompts_of(instructions), self.kept, candidates=once, seed=seed, report=report)
        alpaca_eval(answered(instructions, read_rows(self.kept, Candidate)), self.generator, self.file)
        return {"rows": len(instructions)}


def lm_eval_command(
    model: Path,
    tasks: Sequence[str],
    output: Path,
    *,
    chat: bool = True,
    backend: str = "hf",
    dtype: str = "auto",
    batch_size: str = "auto",
) -> str:
    """Return the lm-evaluation-harness command (0.4.10 or newer) that evaluates a saved model, quoted for a shell.

    `chat` renders each question with the model's chat template, as the model was trained; `dtype` "auto" is that of the
    saved weights, float32 for what srlm trained.

    Raises:
        InputError: no task is named, a name is not one word, `model` is no model's folder, or its path has a character
            at which lm_eval splits arguments.
    """
    folder = str(model.absolute())
    if not (model / "config.json").is_file():
        raise InputError(f"{model}: no model's folder (no config.json); give one that srlm saved, such as m2/model")
    if SPLIT_BY_LM_EVAL & set(folder):
        raise InputError(f"{folder}: lm_eval takes commas, quotes and brackets for its own; rename or link the folder")
    if not tasks or any(not task or task[0] == "-" or set(task) & set(", \t\n") for task in tasks):
        raise InputError(f"lm_eval tasks {list(tasks)}: name at least one, each in a word of its own")
    words = ["lm_eval", "run", "--model", backend, "--model_args", f"pretrained={folder}", f"dtype={dtype}"]
    words += ["--tasks", *tasks, *(["--apply_chat_template"] if chat else [])]
    return shlex.join([*words, "--batch_size", batch_size, "--output_path", str(output.absolute())])


def _json_rows(file: Path) -> list[tuple[str, dict[str, Any]]]:
    return parse_located(read_bytes(file), str(file))


def _instruction(row: dict[str, Any], where: str) -> Instruction:
    text, dataset = row.get("instruction"), row.get("dataset")
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"{where}: `instruction` has to be a text that is not empty; mend or remove the row")
    if dataset is not None and not isinstance(dataset, str):
        raise InputError(f"{where}: `dataset` has to be a text; mend it or leave it out")
    return Instruction(text, dataset)
