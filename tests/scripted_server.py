"""A chat completions server with scripted responses, and helpers to send requests to it.

Tests import its fixtures.
"""

import json
import threading
import time
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from srlm.config import EndpointSection
from srlm.errors import InputError, StageError
from srlm.evaluation.chat_records import ChatRequest
from srlm.evaluation.endpoint import Endpoint

KEY = "sk-very-secret-0123456789"


def completion(text="fine", finish="stop", usage=(10, 2)):
    counted = dict(zip(("prompt_tokens", "completion_tokens"), usage, strict=True)) if usage else None
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": counted}


def question(body):
    return body["messages"][-1]["content"]


def echo(body, number):
    return 200, {}, completion(f"re: {question(body)}")


class ScriptedServer(ThreadingHTTPServer):
    """Responds to request `number` (from 0) with `respond(body, number)`: status, headers, and JSON or text.

    A status of 0 closes the connection without a response.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.respond = echo
        self.lock = threading.Lock()
        self.bodies, self.times, self.authorizations = [], [], []
        self.in_flight = self.max_in_flight = 0
        self.models = ["judge-b", "judge-a"]
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, request, client_address):
        """Ignore clients that disconnect."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet

    def log_message(self, *_):
        """Log nothing."""

    def do_GET(self):
        if self.server.models is None:
            return self.answer(404, {}, "<html>no such page</html>")
        return self.answer(200, {}, {"object": "list", "data": [{"id": name} for name in self.server.models]})

    def do_POST(self):
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with server.lock:
            number = len(server.bodies)
            server.bodies.append(body)
            server.times.append(time.monotonic())
            server.authorizations.append(self.headers["authorization"])
            server.in_flight += 1
            server.max_in_flight = max(server.max_in_flight, server.in_flight)
        assert self.path == "/v1/chat/completions"
        result = server.respond(body, number)
        with server.lock:
            server.in_flight -= 1
        self.answer(*result)

    def answer(self, status, headers, payload):
        if not status:
            self.close_connection = True
            return
        text = payload if isinstance(payload, str) else json.dumps(payload)
        self.send_response(status)
        kind = "text/html" if text.startswith("<") else "application/json"
        for name, value in {"content-type": kind, "content-length": str(len(text.encode())), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text.encode())


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = ScriptedServer()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "answers" / "cache.jsonl"


@pytest.fixture
def start(server, cache):
    """A factory of endpoints on the scripted server that share one cache and retry after milliseconds."""
    started = []

    def make(first_wait=0.002, **settings):
        values = {"base_url": server.url, "model": "judge", "api_key_env": "JUDGE_KEY", "concurrency": 4} | settings
        started.append(Endpoint(EndpointSection(**values), cache, first_wait=first_wait))
        return started[-1]

    yield make
    for endpoint in started:
        endpoint.close()


def chat_request(key="a", text="which?", **settings):
    values = {"temperature": 0.7, "top_p": 0.9, "max_tokens": 32, "seed": 5} | settings
    return ChatRequest(key=key, messages=[{"role": "user", "content": text}], **values)


def chat_requests(*texts_by_key):
    return [chat_request(f"key {text}", text) for text in texts_by_key]


def texts_by_key(responses):
    return {response.key: response.text for response in responses}


def failure(endpoint, *requests):
    """The error of a request; its message is one line, and no part of the traceback contains the API key."""
    with pytest.raises((InputError, StageError)) as caught:
        list(endpoint.complete(requests or [chat_request()]))
    assert KEY not in "".join(traceback.format_exception(caught.value))
    assert len(str(caught.value).splitlines()) == 1
    return caught.value
