"""Seed files that are broken, packed wrongly, or hold something else: found before a run's folder is made."""

from __future__ import annotations

import gzip

import pytest

from tests.bad_input.cases import Case, Content, Shell, lines, of

GOOD = '{"prompt": "a", "response": "b"}\n'
FIX = "fix or remove"


def ift(name: str, content: Content, *says: str, file: str = "in.jsonl") -> Case:
    return Case(name, ("run", "quickstart", f"seed_data.ift=[{file}]"), says, {file: content})


def eft(name: str, content: Content, *says: str) -> Case:
    return Case(f"eft: {name}", ("run", "quickstart", "seed_data.eft=[in.jsonl]"), says, {"in.jsonl": content})


def turns(*roles: str) -> str:
    return lines({"messages": [{"role": role, "content": "a"} for role in roles]})


def answers(*values: object) -> str:
    return lines({"prompt": "a", "answers": list(values)})


JSON = [
    ift("broken JSON", GOOD + '{"prompt": \n', "in.jsonl, line 2", "not valid JSON", "column 12", FIX),
    ift("truncated JSON", GOOD + '{"prompt": "a", "resp', "in.jsonl, line 2", "Unterminated string", FIX),
    ift("a list", GOOD + "[1]\n", "in.jsonl, line 2", "expected a JSON object, found list", FIX),
    ift("a number", "3\n", "in.jsonl, line 1", "expected a JSON object, found int", FIX),
    ift("two objects a line", GOOD.strip() + GOOD, "in.jsonl, line 1", "Extra data", FIX),
    ift("NaN", '{"prompt": "a", "response": NaN}', "in.jsonl, line 1", "JSON has no NaN", FIX),
    ift("Infinity", '{"x": -Infinity}', "in.jsonl, line 1", "JSON has no -Infinity", FIX),
    ift("Latin-1", '{"prompt": "é"}'.encode("latin-1"), "in.jsonl, line 1", "not UTF-8", "save the file as UTF-8"),
    ift("UTF-16", GOOD.encode("utf-16"), "in.jsonl, line 1", "not UTF-8", "save the file as UTF-8"),
    ift("UTF-16 without a mark", GOOD.encode("utf-16-le"), "in.jsonl, line 1", "not valid JSON", FIX),
    ift("NUL in a string", b'{"prompt": "a\0"}', "in.jsonl, line 1", "Invalid control character", FIX),
    ift("NULs only", b"\0" * 64, "in.jsonl, line 1", "not valid JSON", FIX),
    ift("deep lists", "[" * 100_000, "in.jsonl, line 1", "nested too deeply", FIX),
    ift("deep objects", '{"a":' * 100_000 + "1" + "}" * 100_000, "in.jsonl, line 1", "nested too deeply", FIX),
    ift("a number of 5,000 digits", '{"x": ' + "9" * 5000 + "}", "in.jsonl, line 1", "Exceeds the limit", FIX),
    ift("a key twice", GOOD + '{"prompt": "a", "prompt": "b"}', "in.jsonl, line 2", "'prompt' appears twice", FIX),
    ift("a key twice inside", '{"x": [{"a": 1, "a": 1}]}', "in.jsonl, line 1", "'a' appears twice", FIX),
]
FIELDS = [
    ift(
        "no response",
        lines({"prompt": "a"}),
        "in.jsonl, line 1",
        "'response' is missing",
        "expected a non-empty string",
    ),
    ift("an empty answer", lines({"prompt": "a", "response": " \n"}), "line 1", "'response' is empty", "expected"),
    ift(
        "a null",
        lines({"prompt": None, "response": "b"}),
        "line 1",
        "'prompt' is missing",
        "expected a non-empty string",
    ),
    ift(
        "a number for a text", lines({"prompt": "a", "response": 5}), "line 1", "'response' is not a string", "expected"
    ),
    ift("no row", "\n\n", "seed_data.ift (in.jsonl)", "no IFT example", "at least one"),
    ift(
        "ranked answers as IFT",
        answers(),
        "in.jsonl, line 1",
        "row of ranked answers",
        "list the file in seed_data.eft",
    ),
    ift("an unknown role", turns("human", "assistant"), "line 1", "unknown role 'human'", "use system, user or"),
    ift("the user's word last", turns("user", "assistant", "user"), "line 1", "the last of 'messages'", "must be"),
    ift("an assistant first", turns("assistant", "user", "assistant"), "line 1", "roles", "must alternate"),
    ift("a user twice", turns("user", "user", "assistant"), "line 1", "user, user", "must alternate"),
    ift("a late system turn", turns("user", "system", "assistant"), "line 1", "system", "must alternate"),
    ift("no user", turns("system", "assistant"), "line 1", "system, assistant", "must alternate"),
    ift("one turn", turns("assistant"), "line 1", "'messages' must be a list", "at least a user"),
    ift(
        "messages that are texts",
        lines({"messages": ["a", "b"]}),
        "line 1",
        "'role' is missing",
        "expected a non-empty string",
    ),
    eft("one answer", answers({"text": "x", "score": 1}), "in.jsonl, line 1", "'answers'", "at least two"),
    eft(
        "no scores", answers({"text": "x"}, {"text": "y"}), "line 1", "every answer needs a number 'score'", "or 'rank'"
    ),
    eft("scores in quotes", answers({"text": "x", "score": "5"}, {"text": "y", "score": "4"}), "line 1", "a number"),
    eft(
        "a score of 1e999",
        '{"prompt": "a", "answers": [{"text": "x", "score": 1e999}, {"text": "y", "score": 2}]}',
        "in.jsonl, line 1",
        "a number 'score'",
    ),
    eft(
        "an empty answer",
        answers({"text": "", "score": 1}, {"text": "y", "score": 2}),
        "line 1",
        "'text' is empty",
        "a non-empty string",
    ),
    eft(
        "answers that are texts",
        answers("x", "y"),
        "in.jsonl, line 1",
        "'text' is missing",
        "expected a non-empty string",
    ),
    eft(
        "no ranked answers",
        '{"message_tree_id": "1", "prompt": {"lang": "de"}}',
        "seed_data.eft (in.jsonl)",
        "no prompt with two or more ranked answers",
        "use other files",
    ),
]
PACKED = gzip.compress(GOOD.encode() * 100)
FILES = [
    ift("gzip cut off", PACKED[:40], "in.jsonl.gz", "ended before the end", "use another file", file="in.jsonl.gz"),
    ift("no gzip", GOOD, "in.jsonl.gz", "Not a gzipped file", "use another file", file="in.jsonl.gz"),
    ift("gzip with a wrong sum", PACKED[:-8] + b"12345678", "in.gz", "CRC", "use another file", file="in.gz"),
    ift("gzip by another name", PACKED, "in.jsonl, line 1", "not UTF-8", "save the file as UTF-8"),
    *(
        Case(f"{key} that is {what}", ("run", "quickstart", f"{key}={value}", "model.name=."), says)
        for key in ("seed_data.ift", "seed_data.eft")
        for what, value, says in (
            ("missing", "[no.jsonl]", ("seed file no.jsonl", "No such file", "use another file")),
            ("a folder", "[.]", ("seed file .", "Is a directory", "use another file")),
        )
    ),
]


@of(*JSON, *FIELDS, *FILES)
def test_a_seed_file_is_refused(case: Case, shell: Shell) -> None:
    shell.refuses(case)


@pytest.mark.slow
def test_a_line_of_100_megabytes(shell: Shell) -> None:
    """Whole it would be a row; cut off it is one clear line, which does not repeat what it read."""
    (shell.folder / "in.jsonl").write_bytes(b'{"prompt": "' + b"a" * 100_000_000)
    code, said = shell.run("run", "quickstart", "seed_data.ift=[in.jsonl]")
    assert code == 2
    assert len(said) < 300
    assert "in.jsonl, line 1: not valid JSON: Unterminated string" in said
    assert [path.name for path in shell.folder.iterdir()] == ["in.jsonl"]
