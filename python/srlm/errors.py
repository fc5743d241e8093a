"""The kinds of failure, and the exit code of each that a user meets."""

from __future__ import annotations

from typing import Literal

Fault = Literal["out_of_memory", "hung", "died", "engine_error"]


class InputError(Exception):
    """The user's input is wrong (a file, a config value, a model name): one clear line, exit code 2.

    The message says what is wrong, where, and how to mend it.
    """


class RefusedError(InputError):
    """A server refuses one question, with this HTTP status; whether it answers others is not said."""

    def __init__(self, text: str, status: int) -> None:
        """See the class."""
        super().__init__(text)
        self.status = status


class StageError(Exception):
    """A stage could not do its work (a crashed worker, an iteration without pairs): one clear line, exit code 1."""


class EngineError(Exception):
    """An engine failed at a request, in a way that is not the stage's."""


class WorkerError(StageError):
    """A worker came to an end that another one might not come to.

    Args:
        kind: what happened to it.
        text: for the user.
        out: keys of the requests that its engine was at.
        answered: whether it answered any request before.
    """

    def __init__(self, kind: Fault, text: str, out: frozenset[str] = frozenset(), *, answered: bool = False) -> None:
        """See the class."""
        super().__init__(text)
        self.kind, self.out, self.answered = kind, out, answered


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error is want of memory: torch's on a GPU and on a CPU, vLLM's, or Python's."""
    text = str(error).lower()
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "out of memory" in text
        or "can't allocate memory" in text
        or "cublas_status_alloc_failed" in text
        or "no available memory for the cache blocks" in text
    )


def one_line(error: object, longest: int = 300) -> str:
    """Return what a library says in one line, which many do in several."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= longest else text[: longest - 1] + "…"
