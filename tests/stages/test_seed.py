"""The human-written seed data: three file formats, and errors of invalid files."""

import gzip
import json

import pytest
from srlm.config import SeedDataSection
from srlm.errors import InputError
from srlm.rows.json_lines import read_objects
from srlm.rows.records import Example
from srlm.stages import seed


def section(*files, **settings):
    """Return a section that reads IFT and EFT from the same files, unless overridden."""
    return SeedDataSection(**{"ift": [str(file) for file in files], "eft": [str(file) for file in files]} | settings)


def write(file, *rows):
    file.write_bytes("".join(json.dumps(row) + "\n" for row in rows).encode())
    return file


def answers(prompt, *scores, field="score"):
    return {"prompt": prompt, "answers": [{"text": f"{prompt} {n}", field: s} for n, s in enumerate(scores)]}


def message(text="a", rank=None, replies=(), **facts):
    return {"text": text, "lang": "en", "rank": rank, "replies": list(replies), "deleted": False} | facts


def tree(*replies, text="q", **facts):
    return {"message_tree_id": "1", "tree_state": "ready_for_export", "prompt": message(text, replies=replies, **facts)}


# --- the kinds of files -----------------------------------------------------------------------------------------------


def test_prompt_and_response(tmp_path):
    file = write(tmp_path / "a.jsonl", {"prompt": "q", "response": " a\u2028b ", "more": 1})
    (row,) = seed.read_ift(section(file))
    assert row.prompt == [{"role": "user", "content": "q"}]
    assert row.completion == [{"role": "assistant", "content": " a\u2028b "}]
    assert row.completion_token_ids is None


def test_messages(tmp_path):
    turns = [("system", "be brief"), ("user", "q"), ("assistant", "a"), ("user", "r"), ("assistant", "b")]
    messages = [{"role": role, "content": text} for role, text in turns]
    file = write(tmp_path / "a.jsonl", {"messages": [message | {"name": "x"} for message in messages]})
    (row,) = seed.read_ift(section(file))
    assert row.prompt == messages[:-1]
    assert row.completion == messages[-1:]


def test_ranked_answers_with_scores(tmp_path):
    row = {
        "prompt": "q",
        "answers": [
            {"text": "a", "score": 2.5, "justification": "so so", "rank": 0},
            {"text": "b", "score": 5},
            {"text": "c", "score": 0, "justification": None},
        ],
    }
    (found,) = seed.read_eft(section(write(tmp_path / "a.jsonl", row)))
    assert (found.prompt, found.answers) == ("q", ["a", "b", "c"])
    assert found.scores == [2.5, 5.0, 0.0]
    assert found.justifications == ["so so", "", ""]


def test_ranked_answers_with_ranks(tmp_path):
    file = write(tmp_path / "a.jsonl", answers("q", 7, 0, 3, field="rank"))
    (found,) = seed.read_eft(section(file))
    assert found.scores == [1.0, 5.0, 3.0]


@pytest.mark.parametrize(
    ("ranks", "scores"),
    [
        ([0], [5]),
        ([0, 1], [5, 1]),
        ([1, 0], [1, 5]),
        ([0, 1, 2], [5, 3, 1]),
        ([0, 1, 2, 3], [5, 4, 2, 1]),
        ([0, 1, 2, 3, 4], [5, 4, 3, 2, 1]),
        ([0, 0, 1], [5, 5, 1]),
        ([2, 2, 2], [5, 5, 5]),
        ([10, 40, 20], [5, 1, 3]),
        ([0.5, 0.25], [1, 5]),
    ],
)
def test_scores_from_ranks(ranks, scores):
    assert seed.scores_from_ranks(ranks) == scores


def test_message_trees(tmp_path):
    file = write(
        tmp_path / "trees.jsonl",
        tree(message("worst", 2), message("best", 0), message("middle", 1), text="ranked"),
        tree(message("a", 0), message("unranked"), text="one ranked answer"),
        tree(message("a"), message("b"), text="no ranks"),
        tree(text="no replies"),
        tree(message("a", 0), message("b", 1), text="synthetic", synthetic=True),
        tree(message("a", 0), message("b", 1), text="deleted", deleted=True),
        tree(message("a", 0), message("b", 1), text="German", lang="de"),
        tree(
            message("synthetic", 0, synthetic=True),
            message("deleted", 1, deleted=True),
            message("German", 2, lang="de"),
            message("good", 3),
            message("bad", 4),
            text="some answers are not for us",
        ),
        tree(message("a", 0, [message("deep", 0), message("deeper", 1)]), text="only the first turn"),
    )
    ift = seed.read_ift(section(file))
    assert {row.prompt[0]["content"]: row.completion[0]["content"] for row in ift} == {
        "ranked": "best",
        "one ranked answer": "a",
        "only the first turn": "a",
    }
    eft = seed.read_eft(section(file))
    assert {row.prompt: dict(zip(row.answers, row.scores, strict=True)) for row in eft} == {
        "ranked": {"best": 5.0, "middle": 3.0, "worst": 1.0},
        "some answers are not for us": {"good": 5.0, "bad": 1.0},
    }
    assert all(row.justifications == [""] * len(row.answers) for row in eft)


def test_sources_are_merged_without_duplicates(tmp_path):
    one = write(tmp_path / "one.jsonl", {"prompt": "q", "response": "a"}, {"prompt": "q", "response": "b"})
    two = write(tmp_path / "two.jsonl", {"messages": seed.chat.user("q") + seed.chat.assistant("a")})
    three = write(tmp_path / "three.jsonl", tree(message("c", 0)))
    rows = seed.read_ift(section(one, two, three, one))
    assert [row.completion[0]["content"] for row in rows] == ["a", "b", "c"]
    packaged = len(seed.read_ift(section("packaged")))
    assert len(seed.read_ift(section("packaged", one))) == packaged + 2


def test_the_packaged_name_is_not_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "packaged", {"prompt": "q", "response": "a"})
    assert len(seed.read_ift(section("packaged"))) > 1
    assert len(seed.read_ift(section("./packaged"))) == 1


def test_compressed_files(tmp_path):
    plain = write(tmp_path / "a.jsonl", tree(message("é", 0), message("b", 1)), tree(message("c", 0), text="r"))
    packed = tmp_path / "a.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert seed.read_ift(section(packed)) == seed.read_ift(section(plain))
    assert seed.read_eft(section(packed)) == seed.read_eft(section(plain))


def test_byte_order_marks_and_line_ends_of_other_systems(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_bytes(b'\xef\xbb\xbf{"prompt": "q", "response": "a"}\r\n\r\n{"prompt": "q", "response": "b"}')
    assert [row.completion[0]["content"] for row in seed.read_ift(section(file))] == ["a", "b"]


def test_no_judge_is_trained_without_sources():
    assert seed.read_eft(section("packaged", eft=[])) == []


# --- demonstrations ---------------------------------------------------------------------------------------------------


def example(*turns):
    return Example("1", [{"role": role, "content": text} for role, text in turns], [])


def test_seed_prompts():
    one, other = example(("user", "a")), example(("system", "be brief"), ("user", "b"))
    longer = example(("user", "c"), ("assistant", "d"), ("user", "e"))
    rows = seed.seed_prompts([one, other, one, longer])
    assert [(row.text, row.source, row.parents) for row in rows] == [("a", "seed", []), ("b", "seed", [])]
    assert rows[0].id != rows[1].id
    assert rows == seed.seed_prompts([one, other])
    for examples in ([], [longer]):
        with pytest.raises(InputError, match="no IFT example has a single user turn"):
            seed.seed_prompts(examples)


# --- broken files -----------------------------------------------------------------------------------------------------

USER, BOT = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
GOOD = {"prompt": "good", "response": "a", "answers": [{"text": "a", "score": 1}, {"text": "b", "score": 2}]}

BROKEN_IFT = [
    ({"prompt": "q"}, "'response' is missing; expected a non-empty string"),
    ({"response": "a"}, "'prompt' is missing; expected a non-empty string"),
    ({"prompt": "q", "response": " \n"}, "'response' is empty"),
    ({"prompt": "q", "response": 3}, "'response' is not a string"),
    ({"prompt": ["q"], "response": "a"}, "'prompt' is not a string"),
    (answers("q", 1, 2), "ranked answers; list the file in seed_data.eft, not seed_data.ift"),
    ({"messages": [USER, BOT | {"role": "bot"}]}, "unknown role 'bot'; use system, user or assistant"),
    ({"messages": [USER, BOT, USER]}, "the last of 'messages' must be an assistant turn"),
    ({"messages": [BOT]}, "at least a user and an assistant turn"),
    ({"messages": "q"}, "'messages' must be a list"),
    ({"messages": None}, "'messages' must be a list"),
    ({"messages": ["q", "a"]}, "'role' is missing"),
    ({"messages": [{"role": "user"}, BOT]}, "'content' is missing"),
    ({"messages": [USER | {"content": ""}, BOT]}, "'content' is empty"),
    ({"messages": [USER, BOT | {"content": [{"type": "text", "text": "a"}]}]}, "'content' is not a string"),
]
BROKEN_EFT = [
    ({"prompt": "q", "response": "a"}, "expected 'prompt' and 'answers', a list of at least two"),
    ({"messages": [USER, BOT]}, "expected 'prompt' and 'answers'"),
    (answers("q", 1), "a list of at least two"),
    ({"prompt": "q", "answers": {"a": 1, "b": 2}}, "a list of at least two"),
    ({"prompt": "q", "answers": ["a", "b"]}, "'text' is missing"),
    (answers("", 1, 2) | {"answers": GOOD["answers"]}, "'prompt' is empty"),
    ({"answers": GOOD["answers"]}, "'prompt' is missing"),
    (answers("q", 1, None), "every answer needs a number 'score' (higher is better) or 'rank' (0 is best)"),
    (answers("q", 1, "2"), "every answer needs a number 'score'"),
    (answers("q", True, False), "every answer needs a number 'score'"),
    ({"prompt": "q", "answers": [{"text": "a", "score": 1}, {"text": "b", "rank": 1}]}, "every answer needs a number"),
    (answers("q", 1, float("nan")), ""),
    (answers("q", 1, float("inf")), ""),
    (answers("q", 1, 10**400), ""),
]
BROKEN_TREES = [
    tree("a"),
    tree(message(rank="first")),
    tree(message(rank=0), message(rank=[1])),
    tree(message(None, rank=0), message("b", rank=1)),
    tree(message("", rank=0), message("b", rank=1)),
    tree(message(rank=0), message("b", rank=1), text=None),
    tree(message(rank=0), message("b", rank=1), text=" "),
    {"message_tree_id": "1", "prompt": {"lang": "en", "replies": [message(rank=0), message("b", rank=1)]}},
    {"message_tree_id": "1", "prompt": {"text": "q", "lang": "en", "replies": 3}},
]


@pytest.mark.parametrize(
    ("load", "row", "reason"),
    [
        *((seed.read_ift, row, reason) for row, reason in BROKEN_IFT),
        *((seed.read_eft, row, reason) for row, reason in BROKEN_EFT),
        *((load, row, "") for row in BROKEN_TREES for load in (seed.read_ift, seed.read_eft)),
    ],
)
def test_a_wrong_row_is_named(load, row, reason, tmp_path):
    good = {"messages": [USER, BOT]} if load is seed.read_ift else GOOD
    file = write(tmp_path / "a.jsonl", good, row, good)
    with pytest.raises(InputError) as error:
        load(section(file))
    assert str(error.value).startswith(f"{file}, line 2: ")
    assert reason in str(error.value)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b'{"prompt": "q"\n', ", line 1: not valid JSON"),
        (b"\n[1]\n", ", line 2: expected a JSON object, found list"),
        (b'{"prompt": "\xff", "response": "a"}', ", line 1: not UTF-8"),
    ],
)
@pytest.mark.parametrize("load", [seed.read_ift, seed.read_eft])
@pytest.mark.parametrize("packed", [False, True])
def test_a_broken_line_is_named(data, problem, load, packed, tmp_path):
    file = tmp_path / ("a.jsonl.gz" if packed else "a.jsonl")
    file.write_bytes(gzip.compress(data) if packed else data)
    with pytest.raises(InputError) as error:
        load(section(file))
    assert str(error.value).startswith(f"{file}{problem}")


PACKED = gzip.compress(b'{"prompt": "q", "response": "a"}\n' * 50)


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.jsonl", None, "No such file"),
        ("a.jsonl.gz", b"{}", "Not a gzipped file"),
        ("a.jsonl.gz", PACKED[:-12], "ended before"),
        ("a.jsonl.gz", PACKED[:-8] + bytes(8), "CRC check failed"),
        ("a.jsonl.gz", PACKED[:10] + b"\xff" * 20, ""),
    ],
    ids=["missing", "not packed", "cut off", "wrong checksum", "no deflate data"],
)
def test_an_unreadable_file_is_named(name, data, reason, tmp_path):
    file = tmp_path / name
    if data is not None:
        file.write_bytes(data)
    with pytest.raises(InputError) as error:
        seed.read_ift(section(file))
    assert str(error.value).startswith(f"seed file {file}: cannot be read: ")
    assert reason in str(error.value)


@pytest.mark.parametrize("rows", [[], [tree(text="no replies")], [tree(message("a", 0), text="q", synthetic=True)]])
def test_no_seed_examples(rows, tmp_path):
    file = write(tmp_path / "a.jsonl", *rows)
    with pytest.raises(InputError) as error:
        seed.read_ift(section(file))
    assert str(error.value) == f"seed_data.ift ({file}): no IFT example found; SFT needs at least one"
    with pytest.raises(InputError) as error:
        seed.read_eft(section(file))
    assert f"seed_data.eft ({file}): no prompt with two or more ranked answers; use other files, or []" in str(
        error.value
    )


# --- Open Assistant's real export -------------------------------------------------------------------------------------


def human_ranks(oasst):
    """First turn -> [(rank, text)], counted from the raw JSON: English, by humans, not deleted."""
    found = {}
    for _, value in read_objects(oasst):
        first = value["prompt"]
        if first["synthetic"] or first["deleted"] or first["lang"] != "en":
            continue
        found[first["text"]] = [
            (reply["rank"], reply["text"])
            for reply in first["replies"]
            if isinstance(reply.get("rank"), int)
            and (reply["synthetic"], reply["deleted"], reply["lang"]) == (False, False, "en")
        ]
    return found


def ordered(values):
    return sum(one < other for one in values for other in values)


def test_real_ift_answers(oasst):
    best = {text: reply for text, replies in human_ranks(oasst).items() for rank, reply in replies if rank == 0}
    rows = seed.read_ift(section(oasst))
    assert len(rows) == len(best) == 94
    assert {row.prompt[0]["content"]: row.completion[0]["content"] for row in rows} == best


def test_real_eft_answers(oasst):
    ranked = {text: replies for text, replies in human_ranks(oasst).items() if len(replies) > 1}
    rows = seed.read_eft(section(oasst))
    assert len(rows) == len(ranked) == 94
    assert sum(len(row.answers) for row in rows) == sum(map(len, ranked.values())) == 313
    assert {row.prompt: row.answers for row in rows} == {
        text: [reply for _, reply in sorted(replies)] for text, replies in ranked.items()
    }
    assert all((max(row.scores), min(row.scores)) == (5.0, 1.0) for row in rows)
    assert all(row.scores == sorted(row.scores, reverse=True) for row in rows)


def test_real_answers_keep_their_human_order(oasst):
    ranks = [[rank for rank, _ in replies] for replies in human_ranks(oasst).values()]
    rows = seed.read_eft(section(oasst))
    assert sum(ordered(row.scores) for row in rows) == sum(map(ordered, ranks)) == 416
