"""The kinds of failure, with the exit codes that users see."""

from __future__ import annotations

from typing import Literal

Fault = Literal["out_of_memory", "hung", "died", "engine_error"]


class InputError(Exception):
    """The user's input is wrong (a file, a config value, a model name): one clear line, exit code 2.

    The message says what is wrong, where, and how to fix it.
    """


class RefusedError(InputError):
    """A server refused one request, with this HTTP status; it may still answer others."""

    def __init__(self, text: str, status: int) -> None:
        """See the class."""
        super().__init__(text)
        self.status = status


class StageError(Exception):
    """A stage failed (a crashed worker, an iteration without pairs): one clear line, exit code 1."""


class EngineError(Exception):
    """The engine failed during generation, rather than the stage that called it."""


class WorkerError(StageError):
    """A worker failed in a way that a new worker may not.

    Args:
        kind: how it failed.
        text: the message for the user.
        in_flight: stage and key of each request that its engine had not answered.
        answered: whether it had answered any request before.
    """

    def __init__(
        self, kind: Fault, text: str, in_flight: frozenset[tuple[str, str]] = frozenset(), *, answered: bool = False
    ) -> None:
        """See the class."""
        super().__init__(text)
        self.kind, self.in_flight, self.answered = kind, in_flight, answered


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means out of memory: torch's on a GPU or CPU, vLLM's, or Python's."""
    text = str(error).lower()
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "out of memory" in text
        or "can't allocate memory" in text
        or "cublas_status_alloc_failed" in text
        or "no available memory for the cache blocks" in text
    )


def one_line(error: object, max_length: int = 300) -> str:
    """Return a library's error message as one line, shortened to `max_length` characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= max_length else text[: max_length - 1] + "…"
