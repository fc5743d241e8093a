"""What a worker's log got since its job began: the traces of processes that the engine started.

With several GPUs, vLLM's engine core runs in processes of its own. When one fails, the worker gets an error that only
refers to the output for the cause.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

MAX_BYTES = 1 << 20
ELSEWHERE = ("engine core initialization failed", "enginecore encountered an issue")  # vLLM's words, in lower case
# The last lines of tracebacks; advice on how to avoid running out of memory is no failure.
TRACES = (
    "outofmemoryerror:",
    "error: out of memory",
    "failure 2 'out of memory'",  # NCCL
    "cublas_status_alloc_failed",
    "no available memory for the cache blocks",
)


class LogTail:
    """The end of a log, from its size at creation on."""

    def __init__(self, log: Path) -> None:
        """The log may not exist yet."""
        self._log, self._start = log, log.stat().st_size if log.exists() else 0

    def explains(self, error: BaseException) -> bool:
        """Tell whether memory ran out in another process, whose failure this error reports."""
        text = str(error).lower()
        if not any(phrase in text for phrase in ELSEWHERE):
            return False
        log = self._text().lower()
        return any(trace in log for trace in TRACES)

    def _text(self) -> str:
        with self._log.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(self._start, size - MAX_BYTES))
            return file.read().decode("utf-8", errors="replace")
