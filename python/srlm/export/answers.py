"""Model outputs for AlpacaEval, and commands for lm-evaluation-harness; see `mt_bench` for FastChat.

The tools themselves are not called, as their judges need API keys or hardware. AlpacaEval's instructions are not
packaged; they are read from a file in its format.
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

LM_EVAL_SPECIAL_CHARS = frozenset("\"',()[]{}")  # special in its parser of model arguments


@dataclass(frozen=True, slots=True)
class Instruction:
    """One of AlpacaEval's instructions, and its source dataset if the file has one."""

    text: str
    dataset: str | None


@dataclass(frozen=True, slots=True)
class ModelOutput:
    """A model's output for an instruction."""

    instruction: str
    output: str
    dataset: str | None = None


def read_instructions(file: Path) -> list[Instruction]:
    """Read `instruction` and the optional `dataset` of every row; other fields are ignored.

    The file is a JSON list, like AlpacaEval's own, or JSON lines.

    Raises:
        InputError: the file cannot be read, is empty, or a row has no instruction; the message names file and row.
    """
    found = [_instruction(row, where) for where, row in _json_rows(file)]
    if not found:
        raise InputError(f'{file}: contains no instructions; use a JSON list of {{"instruction": …}}, or one per line')
    return found


def unique_prompts(instructions: Sequence[Instruction]) -> list[Prompt]:
    """Return the distinct instructions as prompts for `candidates.write_candidates`, in order."""
    return [
        Prompt(content_id("prompt", text), text, "seed", [], -1)
        for text in dict.fromkeys(it.text for it in instructions)
    ]


def outputs_for(instructions: Sequence[Instruction], candidates: Sequence[Candidate]) -> list[ModelOutput]:
    """Return each instruction with its first candidate's text, stripped like AlpacaEval's own generations.

    Raises:
        InputError: an instruction has no candidate.
    """
    texts = {row.prompt_id: row.text for row in candidates if row.index == 0}
    ids = {prompt.text: prompt.id for prompt in unique_prompts(instructions)}
    missing = [it.text for it in instructions if ids[it.text] not in texts]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(instructions)} instructions have no output, the first is {missing[0][:60]!r}; "
            "run the same command again"
        )
    return [ModelOutput(it.text, texts[ids[it.text]].strip(), it.dataset) for it in instructions]


def write_alpaca_eval(outputs: Sequence[ModelOutput], generator: str, out: Path) -> None:
    """Write AlpacaEval's `outputs.json`; `generator` is the model's name on the leaderboard.

    Raises:
        InputError: `out` does not end in .json, from which AlpacaEval infers the format.
    """
    if out.suffix != ".json":
        raise InputError(f"{out}: AlpacaEval requires the extension .json; use another name")
    rows = [
        ({} if row.dataset is None else {"dataset": row.dataset})
        | {"instruction": row.instruction, "output": row.output, "generator": generator}
        for row in outputs
    ]
    write_text(out, json.dumps(rows, indent=1) + "\n")  # ASCII: independent of the locale


@dataclass(frozen=True, slots=True)
class AlpacaEvalTask:
    """Answer each of AlpacaEval's instructions once and write `file` for AlpacaEval (a `workers.tasks.Task`)."""

    name: str
    instructions: Path
    file: Path
    generator: str

    @property
    def partial_file(self) -> Path:
        """The answers so far, as `Candidate` rows, from which an interrupted export resumes."""
        return self.file.with_suffix(".candidates")

    def run(self, engine: Engine, config: Config, seed: int, report: Reporter) -> dict[str, Any]:
        """See `Task.run`."""
        from srlm.stages.candidates import write_candidates

        instructions = read_instructions(self.instructions)
        once = config.candidates.model_copy(update={"per_prompt": 1})
        write_candidates(
            engine, unique_prompts(instructions), self.partial_file, candidates=once, seed=seed, report=report
        )
        write_alpaca_eval(outputs_for(instructions, read_rows(self.partial_file, Candidate)), self.generator, self.file)
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

    `chat` applies the model's chat template, as in training; `dtype` "auto" is that of the saved weights, float32 for
    models trained by srlm.

    Raises:
        InputError: there are no tasks, a task name is invalid, `model` is not a model directory, or its path contains a
            character that is special to lm_eval.
    """
    folder = str(model.absolute())
    if not (model / "config.json").is_file():
        raise InputError(f"{model}: not a model directory (no config.json); use one that srlm saved, such as m2/model")
    if LM_EVAL_SPECIAL_CHARS & set(folder):
        raise InputError(
            f"{folder}: lm_eval cannot parse commas, quotes and brackets in a path; rename or link the directory"
        )
    if not tasks or any(not task or task[0] == "-" or set(task) & set(", \t\n") for task in tasks):
        raise InputError(f"invalid lm_eval tasks {list(tasks)}; use at least one name, without spaces and commas")
    words = ["lm_eval", "run", "--model", backend, "--model_args", f"pretrained={folder}", f"dtype={dtype}"]
    words += ["--tasks", *tasks, *(["--apply_chat_template"] if chat else [])]
    return shlex.join([*words, "--batch_size", batch_size, "--output_path", str(output.absolute())])


def _json_rows(file: Path) -> list[tuple[str, dict[str, Any]]]:
    return parse_located(read_bytes(file), str(file))


def _instruction(row: dict[str, Any], where: str) -> Instruction:
    text, dataset = row.get("instruction"), row.get("dataset")
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"{where}: `instruction` must be a non-empty string; fix or remove the row")
    if dataset is not None and not isinstance(dataset, str):
        raise InputError(f"{where}: `dataset` must be a string; fix or remove it")
    return Instruction(text, dataset)
