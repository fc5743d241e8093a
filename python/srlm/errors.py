"""The two kinds of failure a user meets, and the exit code of each."""

from __future__ import annotations


class InputError(Exception):
    """The user's input is wrong (a file, a config value, a model name): one clear line, exit code 2.

    The message says what is wrong, where, and how to mend it.
    """


class StageError(Exception):
    """A stage could not do its work (a crashed worker, an iteration without pairs): one clear line, exit code 1."""
