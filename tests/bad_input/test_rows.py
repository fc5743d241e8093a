"""The commands of single stages: files of rows that are missing, broken, or hold values of a wrong type."""

from __future__ import annotations

from typing import Any

import pytest

from tests.bad_input.cases import Case, Shell, hashes, lines, of, write

PROMPT = {"id": "p", "text": "Say tea.", "source": "generated", "parents": [], "attempt": 0}
CANDIDATE = {
    "id": "c",
    "prompt_id": "p",
    "index": 0,
    "text": "tea",
    "token_ids": [5, 2],
    "logprob": -1.0,
    "finish_reason": "stop",
    "seed": 1,
}
VERDICT = {
    "id": "v",
    "candidate_id": "c",
    "sample": 0,
    "text": "Score: 5",
    "outcome": "scored",
    "score": 5.0,
    "expected_score": None,
}
USER, ASSISTANT = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
EXAMPLE = {"id": "x", "prompt": [USER], "completion": [ASSISTANT]}
PAIR = {
    "prompt_id": "p",
    "prompt": [USER],
    "chosen": [ASSISTANT],
    "rejected": [{"role": "assistant", "content": "c"}],
    "chosen_id": "c",
    "rejected_id": "d",
    "chosen_score": 5.0,
    "rejected_score": 1.0,
}
FIX = "fix or remove the line"
# Commands with a file of each kind of row, and a file that is theirs already.
MODEL = ("--model", "m")
PAIRS = ("pairs", "--prompts", "p.jsonl", "--candidates", "c.jsonl", "--verdicts", "v.jsonl", "--out", "out.jsonl")
JUDGE = ("judge", *MODEL, "--prompts", "p.jsonl", "--candidates", "c.jsonl", "--out", "out.jsonl")
GENERATE = ("generate", *MODEL, "--prompts", "p.jsonl", "--out", "out.jsonl")
PROMPTS = ("prompts", *MODEL, "--ift", "e.jsonl", "--out", "out.jsonl")
EARLIER = ("prompts", *MODEL, "--ift", "e.jsonl", "--earlier", "p.jsonl", "--out", "out.jsonl")
HELD_OUT = ("prompts", *MODEL, "--ift", "e.jsonl", "--held-out", "p.jsonl", "--out", "out.jsonl")
SFT = ("sft", *MODEL, "--data", "e.jsonl", "--out", "out")
DPO = ("dpo", *MODEL, "--pairs", "d.jsonl", "--out", "out")
FILES = {
    "p.jsonl": lines(PROMPT),
    "c.jsonl": lines(CANDIDATE),
    "v.jsonl": lines(VERDICT),
    "e.jsonl": lines(EXAMPLE),
    "d.jsonl": lines(PAIR),
    "out.jsonl": "",
}


def row(command: tuple[str, ...], file: str, good: dict[str, Any], *says: str, **changed: Any) -> Case:
    """Return a case of a second row with values that are changed; `...` leaves a field out."""
    values = {name: value for name, value in {**good, "id": "2", **changed}.items() if value is not ...}
    if "id" not in good:
        del values["id"]
    name = f"{command[0]}, {file}: {', '.join(f'{key}={value!r}' for key, value in changed.items())}"
    return Case(name, command, (f"{file}, line 2: ", *says), {**FILES, file: lines(good, values)})


VALUES = [
    Case(
        "pairs: a list over the iterations of a run",
        (*PAIRS, "pairs.rho=[0, 0.3]"),
        ("pairs.rho: is a list over the iterations of a run", "set one value, as pairs.rho=0.1"),
        FILES,
    ),
    row(EARLIER, "p.jsonl", PROMPT, "'text' must be a string (found 5)", FIX, text=5),
    row(HELD_OUT, "p.jsonl", PROMPT, "unknown field 'texts'", "a Prompt has: id, text", texts=1),
    row(HELD_OUT, "p.jsonl", PROMPT, "unknown field 'attempt'", "a RankedAnswers has", id=..., answers=["a", "b"]),
    row(PAIRS, "v.jsonl", VERDICT, "'score' must be a number or null (found '5')", FIX, score="5"),
    row(PAIRS, "v.jsonl", VERDICT, "'score' must be a number or null (found True)", FIX, score=True),
    row(PAIRS, "v.jsonl", VERDICT, "'score' must be null unless 'outcome' is 'scored'", FIX, score=None),
    row(PAIRS, "v.jsonl", VERDICT, "'score' must be", "(found 1000", FIX, score=10**400),
    row(PAIRS, "v.jsonl", VERDICT, "'outcome' must be one of 'scored'", "(found 'good')", FIX, outcome="good"),
    row(PAIRS, "v.jsonl", VERDICT, "'sample' must be an integer from 0", "(found -1)", FIX, sample=-1),
    row(PAIRS, "v.jsonl", VERDICT, "'id' must be a string (found None)", FIX, id=None),
    row(PAIRS, "v.jsonl", VERDICT, "the id 'v' appears twice (see line 1)", "remove one", id="v"),
    row(PAIRS, "v.jsonl", VERDICT, "unknown field 'scores'", "a Verdict has: id, candidate_id", scores=1),
    row(PAIRS, "v.jsonl", VERDICT, "field 'score' is missing", "a Verdict has: id, candidate_id", score=...),
    row(
        PAIRS,
        "c.jsonl",
        CANDIDATE,
        "'token_ids' must be a list of non-negative integers",
        "['a']",
        FIX,
        token_ids=["a"],
    ),
    row(
        PAIRS, "c.jsonl", CANDIDATE, "'token_ids' must be a list of non-negative integers", "[-1]", FIX, token_ids=[-1]
    ),
    row(PAIRS, "c.jsonl", CANDIDATE, "'token_ids' must be a list of non-negative integers", FIX, token_ids=[2**31]),
    row(PAIRS, "c.jsonl", CANDIDATE, "'text' must be a string (found None)", FIX, text=None),
    row(PAIRS, "c.jsonl", CANDIDATE, "'index' must be an integer from 0", "(found -1)", FIX, index=-1),
    row(PAIRS, "c.jsonl", CANDIDATE, "'index' must be an integer from 0", "(found 1.0)", FIX, index=1.0),
    row(PAIRS, "c.jsonl", CANDIDATE, "'logprob' must be a number if 'source' is 'own' (found None)", FIX, logprob=None),
    row(PAIRS, "c.jsonl", CANDIDATE, "'logprob' must be a number or null (found 'x')", FIX, logprob="x"),
    row(PAIRS, "c.jsonl", CANDIDATE, "'source' must be one of 'own', 'hot', 'model', 'human'", FIX, source="me"),
    row(PAIRS, "c.jsonl", CANDIDATE, "'finish_reason' must be one of 'stop', 'length'", FIX, finish_reason="eos"),
    row(PAIRS, "c.jsonl", CANDIDATE, "the id 'c' appears twice (see line 1)", "remove one", id="c"),
    row(JUDGE, "c.jsonl", CANDIDATE, "'text' must be a string (found ['tea'])", FIX, text=["tea"]),
    row(JUDGE, "p.jsonl", PROMPT, "'text' must be a string (found 3)", FIX, text=3),
    row(GENERATE, "p.jsonl", PROMPT, "'parents' must be a list, each entry a string", "[1]", FIX, parents=[1]),
    row(GENERATE, "p.jsonl", PROMPT, "'source' must be one of 'seed', 'generated'", FIX, source="mine"),
    row(GENERATE, "p.jsonl", PROMPT, "field 'text' is missing", "a Prompt has: id, text", text=...),
    row(GENERATE, "p.jsonl", PROMPT, "the id 'p' appears twice (see line 1)", "remove one", id="p"),
    row(PROMPTS, "e.jsonl", EXAMPLE, "'prompt' must be a non-empty list of messages", "(found 'a')", FIX, prompt="a"),
    row(SFT, "e.jsonl", EXAMPLE, "'prompt' must be a non-empty list of messages", "(found [])", FIX, prompt=[]),
    row(
        SFT, "e.jsonl", EXAMPLE, "'completion' must be", "strings 'role' and 'content'", FIX, completion=[{"role": "a"}]
    ),
    row(SFT, "e.jsonl", EXAMPLE, "'completion_token_ids' must be", "or null", FIX, completion_token_ids=[1.5]),
    row(SFT, "e.jsonl", EXAMPLE, "unknown field 'response'", "an Example has: id, prompt", response="b"),
    row(DPO, "d.jsonl", PAIR, "'chosen_score' must be a number (found '5')", FIX, chosen_score="5"),
    row(DPO, "d.jsonl", PAIR, "'chosen' must be a non-empty list of messages", "(found 'tea')", FIX, chosen="tea"),
    row(DPO, "d.jsonl", PAIR, "field 'rejected' is missing", "a Pair has: prompt_id", rejected=...),
]


def missing(command: tuple[str, ...], file: str, *says: str) -> Case:
    return Case(
        f"{command[0]}: {file} is missing",
        command,
        (file, "No such file", *says) if not says else (file, *says),
        {name: content for name, content in FILES.items() if name != file},
    )


def broken(command: tuple[str, ...], file: str) -> Case:
    content = FILES[file] + '{"id": \n'
    return Case(
        f"{command[0]}: {file} is broken",
        command,
        (f"{file}, line 2", "not valid JSON", FIX),
        {**FILES, file: content},
    )


def empty(command: tuple[str, ...], file: str) -> Case:
    return Case(
        f"{command[0]}: {file} is empty",
        command,
        (f"{file}: contains no rows", "use a file with"),
        {**FILES, file: "\n"},
    )


READS = [
    (JUDGE, "p.jsonl"),
    (JUDGE, "c.jsonl"),
    (GENERATE, "p.jsonl"),
    (PROMPTS, "e.jsonl"),
    (SFT, "e.jsonl"),
    (DPO, "d.jsonl"),
]
WHOLE = [
    *(missing(command, file, "no such file", "check the path") for command, file in READS),
    *(missing(PAIRS, file, "No such file", "use another file") for file in ("p.jsonl", "c.jsonl", "v.jsonl")),
    *(
        broken(command, file)
        for command, file in (*READS, *((PAIRS, file) for file in ("p.jsonl", "c.jsonl", "v.jsonl")))
    ),
    *(empty(command, file) for command, file in READS),
    Case("pairs: a folder for a file", PAIRS, ("'--verdicts'", "'v.jsonl' is a directory"), {"v.jsonl/x": ""}),
    Case(
        "generate: out below a file",
        (*GENERATE[:-1], "p.jsonl/out"),
        ("p.jsonl/out", "is not a folder", "another --out"),
        FILES,
    ),
    Case(
        "pairs: out below a file",
        (*PAIRS[:-1], "p.jsonl/out"),
        ("p.jsonl/out", "p.jsonl is not a folder", "use another output"),
        FILES,
    ),
    Case("sft: out is there", (*SFT[:-1], "e.jsonl"), ("'--out'", "'e.jsonl' is a file"), FILES),
    Case(
        "sft: out is a folder",
        (*SFT[:-1], "there"),
        ("there: already exists", "use another --out"),
        {**FILES, "there/x": ""},
    ),
    Case(
        "sft: a key that is not there",
        (*SFT, "sft.epoch=1"),
        ("command line", "unknown key 'sft.epoch'", "did you mean"),
        FILES,
    ),
    Case(
        "judge: no such model",
        (*JUDGE[:2], "./no", *JUDGE[3:]),
        ("model './no'", "no such folder", "use a folder"),
        FILES,
    ),
    Case(
        "judge: replies that are no JSON",
        ("judge", "--parse-only", "--replies", "r.jsonl", "--out", "out.jsonl"),
        ("r.jsonl, line 1", "not valid JSON", "fix or remove"),
        {**FILES, "r.jsonl": "Score: 4\n"},
    ),
    Case(
        "judge: replies without the field",
        ("judge", "--parse-only", "--replies", "p.jsonl", "--field", "x", "--out", "out.jsonl"),
        ("p.jsonl, line 1", "field `x` is missing", "add it or use another field"),
        FILES,
    ),
    Case(
        "judge: replies that are numbers",
        ("judge", "--parse-only", "--replies", "p.jsonl", "--field", "attempt", "--out", "out.jsonl"),
        ("p.jsonl, line 1", "field `attempt` is a number", "use another field"),
        FILES,
    ),
    Case(
        "dedup: a missing file",
        ("dedup", "no.jsonl", "--out", "out.jsonl"),
        ("no.jsonl", "No such file", "another file"),
        FILES,
    ),
    Case(
        "dedup: no such field",
        ("dedup", "p.jsonl", "--out", "out.jsonl", "--field", "x"),
        ("p.jsonl, line 1", "no field 'x'", "--field"),
        FILES,
    ),
    Case(
        "dedup: no text",
        ("dedup", "p.jsonl", "--out", "out.jsonl", "--field", "attempt"),
        ("p.jsonl, line 1", "is not a string", "--field"),
        FILES,
    ),
    Case(
        "dedup: onto itself",
        ("dedup", "p.jsonl", "--out", "p.jsonl"),
        ("p.jsonl", "given as IN and as --out", "another file"),
        FILES,
    ),
    Case(
        "dedup: a threshold of 2",
        ("dedup", "p.jsonl", "--out", "out.jsonl", "--threshold", "2"),
        ("threshold", "2"),
        FILES,
    ),
    Case(
        "dedup: no index", ("dedup", "p.jsonl", "--out", "out.jsonl", "--index", "c.jsonl"), ("c.jsonl", "index"), FILES
    ),
    Case(
        "dedup: broken JSON",
        ("dedup", "b.jsonl", "--out", "out.jsonl"),
        ("b.jsonl, line 1", "not valid JSON", FIX),
        {"b.jsonl": "{"},
    ),
]


@of(*VALUES, *WHOLE)
def test_rows_are_refused(case: Case, shell: Shell) -> None:
    shell.refuses(case)


@pytest.mark.usefixtures("here")
@of(
    Case(
        "another kind",
        GENERATE,
        ("out.jsonl, line 1", "unknown field 'attempt'", "a Candidate has"),
        {"out.jsonl": lines(PROMPT)},
    ),
    Case(
        "a text without a line end",
        GENERATE,
        ("out.jsonl", "its last line is not a partial Candidate", "use another file"),
        {"out.jsonl": "notes"},
    ),
    Case(
        "rows and such a text",
        GENERATE,
        ("out.jsonl", "its last line is not a partial Candidate", "use another file"),
        {"out.jsonl": lines(CANDIDATE) + "my notes"},
    ),
)
def test_a_file_named_by_mistake_for_output_stays_as_it_is(case: Case, shell: Shell, tiny_model: str) -> None:
    """Rows are appended to a file that is there, and a torn last line is cut off: only where it is one."""
    words = tuple(tiny_model if word == "m" else word for word in case.words)
    shell.refuses(Case(case.name, (*words, "engine.kind=transformers"), case.says, {**FILES, **case.files}))


def test_pairs_of_rows_that_do_not_belong_together(shell: Shell) -> None:
    write(shell.folder, {**FILES, "c.jsonl": lines({**CANDIDATE, "prompt_id": "q"})})
    before = hashes(shell.folder)
    code, said = shell.run(*PAIRS)
    assert (code, said.count("\n")) == (2, 1)
    assert "candidate c: its prompt q is not in the file of prompts" in said
    assert hashes(shell.folder) == before


def test_pairs_are_not_written_over_what_they_are_made_of(shell: Shell) -> None:
    write(shell.folder, {"p.jsonl": lines(PROMPT), "c.jsonl": lines(CANDIDATE), "v.jsonl": lines(VERDICT)})
    before = hashes(shell.folder)
    given = ("--prompts", "p.jsonl", "--candidates", "c.jsonl", "--verdicts", "v.jsonl", "--out", "./c.jsonl")
    code, said = shell.run("pairs", *given)
    assert (code, said) == (2, "srlm: error: --out c.jsonl: is an input file; use another --out\n")
    assert hashes(shell.folder) == before
