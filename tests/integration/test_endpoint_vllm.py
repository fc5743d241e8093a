"""A real endpoint: vLLM's server on this machine, with a tiny random model."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from srlm.config import EndpointSection
from srlm.engines import factory
from srlm.errors import InputError
from srlm.evaluation.chat_records import REFUSED, ChatRequest, ChatResponse
from srlm.evaluation.endpoint import Endpoint

from tests.conftest import HANG_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

SETTINGS = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": f"0-{(os.cpu_count() or 1) - 1}",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # one process less to start
    "VLLM_NO_USAGE_STATS": "1",
}
# Seeded requests may not be prefilled in chunks on a CPU (`srlm.engines.vllm`).
WORDS = [
    "--served-model-name=tiny",
    "--host=127.0.0.1",
    "--dtype=float32",
    "--enforce-eager",
    "--max-model-len=512",
    "--max-num-seqs=8",
    "--no-enable-chunked-prefill",
    "--max-num-batched-tokens=4096",
]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_healthy(port: int) -> bool:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except OSError:
            return False


def wait_until_healthy(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + HANG_SECONDS
    while not is_healthy(port):
        if time.monotonic() > deadline or server.poll() is not None:
            pytest.fail(f"the server did not start:\n{log.read_text(errors='replace')[-4000:]}")
        time.sleep(0.1)


def stop(server: subprocess.Popen[bytes]) -> None:
    """Stop the server and all its processes."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.wait(60)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


@pytest.fixture
def served(tiny_model: str, tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The base URL of a server, and its process."""
    if importlib.util.find_spec("vllm") is None or not factory.vllm_is_cpu_build():
        pytest.skip("vLLM's CPU build is not installed")
    port, log = free_port(), tmp_path / "server.log"
    # The module that `vllm serve` runs; the command itself needs a package named `vllm`, which the CPU build is not.
    module = "vllm.entrypoints.openai.api_server"
    command = [sys.executable, "-m", module, f"--model={tiny_model}", f"--port={port}", *WORDS]
    with log.open("wb") as out:
        server = subprocess.Popen(
            command, env={**os.environ, **SETTINGS}, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        wait_until_healthy(port, server, log)
        yield f"http://127.0.0.1:{port}/v1", server
    finally:
        stop(server)


def questions(seed: int = 0) -> list[ChatRequest]:
    words = ["Which?", "Why, après tout, and 😀?", *(f"What is {number}?" for number in range(6))]
    return [
        ChatRequest(f"q{number}", [{"role": "user", "content": text}], 1.0, 0.9, 8, seed + number)
        for number, text in enumerate(words)
    ]


def by_key(replies: Iterator[ChatResponse]) -> dict[str, tuple[str, str]]:
    return {reply.key: (reply.text, reply.finish_reason) for reply in replies}


def test_a_real_server(
    served: tuple[str, subprocess.Popen[bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, server = served
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    section = EndpointSection(base_url=url, model="tiny", concurrency=4, price_in=1e6, price_out=1e6, max_retries=0)
    with Endpoint(section, tmp_path / "one.jsonl") as endpoint:
        first = by_key(endpoint.complete(questions()))
        usage = endpoint.usage
        too_long = ChatRequest("long", [{"role": "user", "content": "x"}], 1.0, 0.9, 600, 0)
        assert by_key(endpoint.complete([too_long]))["long"][1] == REFUSED  # because it has answered others
        assert "max_model_len=512" in str(endpoint.first_refusal)
    with (
        Endpoint(section, tmp_path / "first.jsonl") as endpoint,
        pytest.raises(InputError, match=r"refuses the request \(HTTP 400: .*max_model_len=512"),
    ):
        list(endpoint.complete([too_long]))
    assert sorted(first) == [f"q{number}" for number in range(8)]
    assert {finish for _, finish in first.values()} <= {"stop", "length"}
    assert len(set(first.values())) == 8
    assert (usage.requests, usage.cached, usage.retries) == (8, 0, 0)
    assert 8 <= usage.completion_tokens <= 8 * 8
    assert usage.prompt_tokens > 8 * len("<|im_start|>user")
    assert usage.cost == usage.prompt_tokens + usage.completion_tokens

    with Endpoint(section, tmp_path / "another.jsonl") as endpoint:
        assert by_key(endpoint.complete(questions())) == first  # the seed is respected …
        assert by_key(endpoint.complete(questions(seed=100))) != first  # … and matters
    with pytest.raises(InputError, match=r"which serves: tiny$"):
        Endpoint(section.model_copy(update={"model": None}), tmp_path / "none.jsonl")
    unknown = section.model_copy(update={"model": "unknown"})
    with (
        Endpoint(unknown, tmp_path / "none.jsonl") as endpoint,
        pytest.raises(InputError, match=r"has no model 'unknown'.*HTTP 404: The model `unknown` does not exist"),
    ):
        list(endpoint.complete(questions()))

    stop(server)
    with Endpoint(section, tmp_path / "one.jsonl") as endpoint:
        assert by_key(endpoint.complete(questions())) == first
        assert (endpoint.usage.requests, endpoint.usage.cached, endpoint.usage.cost) == (0, 8, 0.0)
