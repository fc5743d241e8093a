"""MT-Bench: a model's answers in multi-turn conversations, in the format of FastChat's judge.

All first turns are answered, then all second turns, with the first answers in the context. Every answer is written as a
row when it finishes; FastChat's file is written from the rows at the end. FastChat does the judging
(`fastchat.llm_judge`). There is one choice per question, as its judge ignores all others.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from srlm.engines.base import Request, Sampling
from srlm.errors import InputError
from srlm.models import chat
from srlm.models.replies import ReplyReader
from srlm.rows.json_lines import read_objects
from srlm.rows.records import FinishReason, Natural, RowWriter, content_id, derived_seed, read_rows, write_text
from srlm.rows.resume import resume_rows

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from srlm.config import Config
    from srlm.engines.base import Engine
    from srlm.reporter import Reporter
    from srlm.rows.records import Message

# FastChat's temperatures (fastchat/llm_judge/common.py, 0.2.36); any other category uses DEFAULT_TEMPERATURE.
TEMPERATURES = {
    "writing": 0.7,
    "roleplay": 0.7,
    "extraction": 0.0,
    "math": 0.0,
    "coding": 0.0,
    "reasoning": 0.0,
    "stem": 0.1,
    "humanities": 0.1,
    "arena-hard-200": 0.0,
}
DEFAULT_TEMPERATURE = 0.7


@dataclass(frozen=True, slots=True)
class Question:
    """A question, with the user's turns."""

    id: int | str
    category: str
    turns: list[str]


@dataclass(frozen=True, slots=True)
class TurnAnswer:
    """A model's answer in one turn. `id` is a hash of the turns so far, so an edited question is answered again."""

    id: str
    question_id: int | str
    turn: Natural
    text: str
    finish_reason: FinishReason
    seed: Natural
    thought: str | None = None


def read_questions(file: Path) -> list[Question]:
    """Read FastChat's `question.jsonl`.

    Raises:
        InputError: a line is invalid, a question appears twice, or there are none; names file, line and field.
    """
    questions: dict[int | str, Question] = {}
    for number, row in read_objects(file):
        question = _question(row, f"{file}, line {number}")
        if question.id in questions:
            raise InputError(f"{file}, line {number}: question_id {question.id!r} appears twice; change one of them")
        questions[question.id] = question
    if not questions:
        raise InputError(f"{file}: contains no questions; use FastChat's question.jsonl")
    return list(questions.values())


def _question(row: dict[str, Any], where: str) -> Question:
    name, category, turns = row.get("question_id"), row.get("category"), row.get("turns")
    if not isinstance(name, int | str) or isinstance(name, bool):
        raise InputError(f"{where}: `question_id` must be an integer or a string; add it")
    if not isinstance(category, str):
        raise InputError(f"{where}: `category` must be a string, such as writing; add it")
    if not isinstance(turns, list) or not turns or not all(isinstance(turn, str) and turn.strip() for turn in turns):
        raise InputError(f"{where}: `turns` must be a list of non-empty strings, one per turn; fix it")
    return Question(name, category, turns)


def write_turns(
    engine: Engine,
    questions: Sequence[Question],
    file: Path,
    *,
    temperature: float | None = None,
    top_p: float = 1.0,
    max_tokens: int = 1024,
    seed: int,
    report: Reporter,
) -> None:
    """Append the missing answers to `file`: the first turn of all questions, then the second, and so on.

    `temperature` None uses FastChat's temperature for each category. Earlier answers are stripped in the conversation,
    as in FastChat.
    """
    answers = {row.id: row for row in resume_rows(file, TurnAnswer, report)}
    ids = {_turn_id(question, turn) for question in questions for turn in range(len(question.turns))}
    report.start("mt-bench", len(ids), len(ids & answers.keys()))
    reader = ReplyReader(engine.tokenizer)
    with RowWriter(file) as writer:
        for turn in range(max(len(question.turns) for question in questions)):
            wanted = {_turn_id(question, turn): question for question in questions if turn < len(question.turns)}
            missing = {key: question for key, question in wanted.items() if key not in answers}
            requests = (
                Request(
                    key,
                    chat.prompt_ids(engine.tokenizer, _conversation(question, turn, answers)),
                    Sampling(_temperature(question, temperature), top_p, max_tokens),
                    derived_seed(seed, "mt-bench", key),
                )
                for key, question in missing.items()
            )
            for done in engine.generate(requests):
                request_seed, said = derived_seed(seed, "mt-bench", done.key), reader.read(done)
                row = TurnAnswer(
                    done.key, missing[done.key].id, turn, said.text, said.finish_reason, request_seed, said.thought
                )
                answers[row.id] = row
                writer.write(row)
                report.advance()


def write_model_answers(questions: Sequence[Question], answers: Sequence[TurnAnswer], out: Path) -> None:
    """Write FastChat's file of a model's answers. The model is named after the file, as in FastChat.

    Raises:
        InputError: `out` does not end in .jsonl, or a turn has no answer.
    """
    if out.suffix != ".jsonl":
        raise InputError(f"{out}: FastChat requires the name of the model with the extension .jsonl; use another name")
    texts = {row.id: row.text.strip() for row in answers}
    rows = [_model_answer(question, texts, out.stem) for question in questions]
    write_text(out, "".join(json.dumps(row) + "\n" for row in rows))  # ASCII: FastChat reads by the locale's encoding


@dataclass(frozen=True, slots=True)
class MtBenchTask:
    """Answer MT-Bench's questions and write `file` for FastChat (a `workers.tasks.Task`)."""

    name: str
    questions: Path
    file: Path
    temperature: float | None = None
    max_tokens: int = 1024

    @property
    def partial_file(self) -> Path:
        """The answers so far, from which an interrupted export resumes. FastChat reads only *.jsonl."""
        return self.file.with_suffix(".turns")

    def run(self, engine: Engine, config: Config, seed: int, report: Reporter) -> dict[str, Any]:
        """See `Task.run`; the configuration does not affect MT-Bench's answers."""
        questions = read_questions(self.questions)
        settings: dict[str, Any] = {"temperature": self.temperature, "max_tokens": self.max_tokens}
        write_turns(engine, questions, self.partial_file, seed=seed, report=report, **settings)
        write_model_answers(questions, read_rows(self.partial_file, TurnAnswer), self.file)
        return {"rows": len(questions)}


def _turn_id(question: Question, turn: int) -> str:
    return content_id("mt-bench", question.id, question.turns[: turn + 1])


def _temperature(question: Question, given: float | None) -> float:
    return TEMPERATURES.get(question.category, DEFAULT_TEMPERATURE) if given is None else given


def _conversation(question: Question, turn: int, answers: dict[str, TurnAnswer]) -> list[Message]:
    messages: list[Message] = []
    for earlier in range(turn):
        text = answers[_turn_id(question, earlier)].text.strip()
        messages += [*chat.user(question.turns[earlier]), *chat.assistant(text)]
    return messages + chat.user(question.turns[turn])


def _model_answer(question: Question, texts: dict[str, str], model: str) -> dict[str, Any]:
    ids = [_turn_id(question, turn) for turn in range(len(question.turns))]
    for turn, name in enumerate(ids, 1):
        if name not in texts:
            raise InputError(f"question {question.id}: turn {turn} has no answer; run the same command again to resume")
    turns = [texts[name] for name in ids]
    return {
        "question_id": question.id,
        "answer_id": content_id("mt-bench answer", model, question.id, turns),
        "model_id": model,
        "choices": [{"index": 0, "turns": turns}],
        "tstamp": time.time(),
    }
