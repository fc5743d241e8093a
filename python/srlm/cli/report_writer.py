"""Writes a run's report in a thread, so that the next job does not wait for it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Self

from srlm.run import output_lock

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from srlm.reporter import Reporter


class ReportWriter:
    """Writes one report at a time; the last one is complete when this context is left."""

    def __init__(self, run_dir: Path, report: Reporter) -> None:
        self._run_dir, self._report = run_dir, report
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._wait()

    def start(self) -> None:
        """Write the report of what the run directory has now, or a little later."""
        self._wait()
        self._thread = threading.Thread(target=self._write, name="report")
        self._thread.start()

    def _wait(self) -> None:
        if self._thread is not None:
            self._thread.join()

    def _write(self) -> None:
        """Write it; a failure here must not end a run of many hours."""
        from srlm.report.page import report_file, write_report

        try:
            with output_lock.held(report_file(self._run_dir)):
                write_report(self._run_dir)
        except Exception as error:
            self._report.note(
                f"report not written: {type(error).__name__}: {error}; retry with `srlm report {self._run_dir}`"
            )
