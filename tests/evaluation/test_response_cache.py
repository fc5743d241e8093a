"""The cache of responses: lines that are none are set aside, and their requests are sent again."""

import json

import pytest
from srlm.evaluation.response_cache import CachedResponse, ResponseCache

from tests.scripted_server import cache, chat_requests, server, start, texts_by_key

__all__ = ["cache", "server", "start"]  # fixtures


def changed(**values):
    return lambda line: json.dumps(json.loads(line) | values).encode()


BAD = {
    "a list of parts": changed(text=[{"type": "text", "text": "re: b"}]),
    "a null text": changed(text=None),
    "a null finish": changed(finish_reason=None),
    "a number as thought": changed(thought=3),
    "a number as id": changed(id=3),
    "an unknown field": changed(model="m"),
    "a missing field": lambda line: json.dumps({"id": json.loads(line)["id"], "text": "re: b"}).encode(),
    "an empty object": lambda _: b"{}",
    "an array": lambda _: b"[]",
    "a repeated key": lambda line: line[:-1] + b', "text": "other"}',
    "no JSON": lambda _: b"nonsense",
    "a torn line": lambda line: line[:-5],
    "two lines in one": lambda line: line[:20] + line,
    "not UTF-8": lambda line: line.replace(b"re: ", b"\xff"),
    "zeros": lambda line: b"\0" * len(line),
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_bad_line_is_set_aside_and_asked_again(server, start, cache, kind, position):
    with start(concurrency=1) as endpoint:
        first = texts_by_key(endpoint.complete(chat_requests("a", "b", "c")))
    lines = cache.read_bytes().splitlines()
    good = lines.copy()
    lines[position] = BAD[kind](lines[position])
    cache.write_bytes(b"\n".join(lines) + b"\n")
    with start() as endpoint:
        assert endpoint.cache_note == (
            f"{cache}: 1 line is not a response; moved to cache.jsonl.bad, and the requests are sent again"
        )
        assert texts_by_key(endpoint.complete(chat_requests("a", "b", "c"))) == first
        assert endpoint.usage.requests == 1
    assert (cache.parent / "cache.jsonl.bad").read_bytes() == lines[position] + b"\n"
    assert sorted(cache.read_bytes().splitlines()) == sorted(good)
    with start() as endpoint:
        assert endpoint.cache_note is None
        list(endpoint.complete(chat_requests("a", "b", "c")))
        assert endpoint.usage.requests == 0


def test_bad_lines_are_counted_and_collected(start, cache):
    cache.parent.mkdir()
    (cache.parent / "cache.jsonl.bad").write_bytes(b"earlier\n")
    row = b'{"id": "x", "text": "t", "finish_reason": "stop"}\n'
    cache.write_bytes(b"one\n" + row + b"\ntwo\n  \nthree")
    endpoint = start()
    assert endpoint.cache_note.startswith(f"{cache}: 3 lines are not a response; moved")
    assert (cache.parent / "cache.jsonl.bad").read_bytes() == b"earlier\none\ntwo\nthree\n"
    assert cache.read_bytes() == row + b"\n  \n"


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_lines_of_earlier_versions_are_responses(tmp_path, end):
    """They have no thought; a complete last line without its line feed counts."""
    path = tmp_path / "cache.jsonl"
    path.write_bytes(b'{"id": "x", "text": "t", "finish_reason": "stop"}' + end)
    stored = ResponseCache(path)
    assert stored.note is None
    assert stored.get("x") == CachedResponse("x", "t", "stop", None)
    stored.add(CachedResponse("y", "u", "length", "hm"))
    stored.close()
    again = ResponseCache(path)
    assert (again.note, again.get("x").text, again.get("y").thought) == (None, "t", "hm")
    assert not path.with_name("cache.jsonl.bad").exists()


@pytest.mark.parametrize("values", [{"text": ["t"]}, {"text": None}, {"finish_reason": None}, {"thought": 3}])
def test_a_value_of_a_wrong_type_is_not_written(tmp_path, values):
    stored = ResponseCache(tmp_path / "cache.jsonl")
    with pytest.raises(TypeError, match="must be a string"):
        stored.add(CachedResponse(**{"id": "x", "text": "t", "finish_reason": "stop"} | values))
    stored.close()
    assert (tmp_path / "cache.jsonl").read_bytes() == b""
