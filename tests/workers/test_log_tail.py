"""Memory that ran out in a process of the engine is found in the worker's log."""

import pytest
from srlm.errors import EngineError
from srlm.workers.log_tail import MAX_BYTES, LogTail
from srlm.workers.process import _perform

FAILED = "Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore': 1}"
DEAD = "EngineCore encountered an issue. See stack trace (above) for the root cause."
TRACES = [
    "(EngineCore pid=7) torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
    "(EngineCore pid=7) torch.AcceleratorError: CUDA error: out of memory",
    "(EngineCore pid=7) ValueError: No available memory for the cache blocks. Try increasing ...",
]


@pytest.fixture
def log(tmp_path):
    file = tmp_path / "workers.log"
    file.write_text("an earlier job: CUDA out of memory\n", encoding="utf-8")
    return file


def add(log, text):
    with log.open("a", encoding="utf-8") as file:
        file.write(f"{text}\n")


@pytest.mark.parametrize("text", [FAILED, DEAD])
@pytest.mark.parametrize("trace", TRACES)
def test_the_trace_says_so(log, text, trace):
    tail = LogTail(log)
    assert not tail.explains(RuntimeError(text))
    add(log, trace)
    assert tail.explains(RuntimeError(text))
    assert tail.explains(EngineError(f"EngineDeadError: {text}"))
    assert not tail.explains(RuntimeError("another failure"))


def test_only_the_end_of_a_long_log_is_read(log):
    tail = LogTail(log)
    add(log, TRACES[0])
    add(log, "." * MAX_BYTES)
    assert not tail.explains(RuntimeError(FAILED))


def test_a_log_that_does_not_exist_yet(tmp_path):
    tail = LogTail(tmp_path / "log")
    add(tmp_path / "log", TRACES[0])
    assert tail.explains(RuntimeError(FAILED))


class Sent(list):
    send = list.append


class Failing:
    """A scripted job."""

    def __init__(self, error, log, trace):
        self.error, self.log, self.trace = error, log, trace

    def run(self, *_):
        add(self.log, self.trace)
        raise self.error


@pytest.mark.parametrize(
    ("error", "trace", "sent"),
    [
        (RuntimeError(FAILED), TRACES[0], ("fault", "out_of_memory", f"RuntimeError: {FAILED}")),
        (EngineError(DEAD), TRACES[0], ("fault", "out_of_memory", DEAD)),
        (EngineError(DEAD), "an assertion", ("fault", "engine_error", DEAD)),
        (EngineError("one request: out of memory"), "", ("fault", "engine_error", "one request: out of memory")),
        (EngineError(DEAD), "lower max_num_seqs to avoid running out of memory", ("fault", "engine_error", DEAD)),
        (RuntimeError("CUDA out of memory"), "", ("fault", "out_of_memory", "RuntimeError: CUDA out of memory")),
        (RuntimeError(FAILED), "an assertion", ("crashed", f"RuntimeError: {FAILED}")),
    ],
)
def test_what_the_driver_is_told(log, error, trace, sent):
    connection = Sent()
    assert _perform(connection, Failing(error, log, trace), LogTail(log), is_main=True) == 1
    assert connection == [sent]
