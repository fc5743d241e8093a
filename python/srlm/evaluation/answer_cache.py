"""Answers that a server has given, kept by what was asked, so that an evaluation that was stopped pays nothing twice.

JSON lines, one answer each. What names an answer is a hash over the server's address, the model, the messages and all
sampling settings, but not over who asks. The address is part of it because names such as `judge` or `default` mean
another model on another server: asking again costs little beside a figure that mixes two judges. The questions are not
kept: they are many times as long as the answers, and whoever asks has them.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from srlm.rows.records import RowWriter, content_id, resume_rows

if TYPE_CHECKING:
    from pathlib import Path

    from srlm.config import EndpointSection
    from srlm.evaluation.endpoint import Ask


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """What the server wrote to what `id` names, and why it stopped there."""

    id: str
    text: str
    finish_reason: str


def question_id(endpoint: EndpointSection, ask: Ask) -> str:
    """Return the name of what is asked: the same for the same content, whatever the key."""
    return content_id(
        "chat",
        endpoint.base_url.rstrip("/"),
        endpoint.model,
        [sorted(message.items()) for message in ask.messages],
        float(ask.temperature),
        float(ask.top_p),
        ask.max_tokens,
        ask.seed,
    )


class AnswerCache:
    """The answers in a file of JSON lines, which is made where there is none.

    Raises:
        InputError: a line in the middle of the file is broken. A torn last line is cut off.
    """

    def __init__(self, path: Path) -> None:
        self._answers = {answer.id: answer for answer in resume_rows(path, KeptAnswer)}
        self._open = ExitStack()
        self._writer = self._open.enter_context(RowWriter(path))

    def get(self, question: str) -> KeptAnswer | None:
        """Return the answer to what is named so, if there is one."""
        return self._answers.get(question)

    def add(self, answer: KeptAnswer) -> None:
        """Keep an answer: it is handed to the operating system before anybody sees it."""
        self._writer.write(answer)
        self._answers[answer.id] = answer

    def close(self) -> None:
        """Close the file."""
        self._open.close()
