"""The two kinds of failure a user meets, and the exit code of each."""

from __future__ import annotations


class InputError(Exception):
    """The user's input is wrong (a file, a config value, a model name): one clear line, exit code 2.

    The message says what is wrong, where, and how to mend it.
    """


class StageError(Exception):
    """A stage could not do its work (a crashed worker, an iteration without pairs): one clear line, exit code 1."""


def one_line(error: object, longest: int = 300) -> str:
    """Return what a library says in one line, which many do in several."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= longest else text[: longest - 1] + "…"
