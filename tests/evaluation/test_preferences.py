"""Preference sets: all formats, detection by content, real files, and errors."""

import gzip
import json
from collections import Counter

import pytest
from srlm.errors import InputError
from srlm.evaluation.preferences import Preferences, drop_equal_answers, read_preferences, sample_rows
from srlm.rows.records import RankedAnswers

from tests.conftest import DATA

USER, BOT, SYSTEM = (
    {"role": "user", "content": "q"},
    {"role": "assistant", "content": "a"},
    {"role": "system", "content": "be brief"},
)
OTHER = BOT | {"content": "b"}


def message(text="a", rank=None, replies=()):
    return {"text": text, "lang": "en", "rank": rank, "replies": list(replies), "deleted": False}


def tree(*ranks, text="q"):
    return {"message_tree_id": "1", "prompt": message(text, replies=[message(f"a{r}", r) for r in ranks])}


def llmbar(**changed):
    return {"input": "q", "output_1": "a", "output_2": "b", "label": 2} | changed


def pandalm(*labels, **changed):
    votes = dict(zip(("annotator1", "annotator2", "annotator3"), labels or (1, 1, 0), strict=True))
    return {"idx": 0, "instruction": "do", "input": "this", "response1": "a", "response2": "b"} | votes | changed


def pair(**changed):
    return {"prompt": "q", "chosen": "a", "rejected": "b"} | changed


def as_list(*rows):
    return json.dumps(rows, indent=1).encode()


def as_lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def read(tmp_path, data, kind="auto", name="file"):
    file = tmp_path / name
    file.write_bytes(data)
    return read_preferences(file, kind)


def order(row):
    """The prompt, and for each answer the number of worse ones."""
    return row.prompt, {
        text: sum(other < score for other in row.scores) for text, score in zip(row.answers, row.scores, strict=True)
    }


# --- the formats ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("label", "better"), [(1, {"a": 1, "b": 0}), (2, {"a": 0, "b": 1})])
def test_llmbar(label, better, tmp_path):
    found = read(tmp_path, as_list(llmbar(label=label, more="x")))
    assert [order(row) for row in found.rows] == [("q", better)]
    assert found.annotators is None


@pytest.mark.parametrize(
    ("labels", "better"),
    [
        ((1, 1, 1), {"a": 1, "b": 0}),
        ((2, 1, 2), {"a": 0, "b": 1}),
        ((0, 2, 2), {"a": 0, "b": 1}),
        ((0, 0, 2), {"a": 0, "b": 0}),
        ((0, 0, 0), {"a": 0, "b": 0}),
        ((2, 0, 1), {"a": 0, "b": 0}),  # no majority
        ((1, 2, 0), {"a": 0, "b": 0}),
    ],
)
def test_pandalm(labels, better, tmp_path):
    found = read(tmp_path, as_list(pandalm(*labels), pandalm(2, 2, 2)))
    assert order(found.rows[0]) == ("do\n\nthis", better)
    assert found.annotators == [list(labels), [2, 2, 2]]


@pytest.mark.parametrize(
    ("changed", "prompt", "answers"),
    [
        ({"input": ""}, "do", ["a", "b"]),
        ({"instruction": " "}, "this", ["a", "b"]),
        ({"response1": ""}, "do\n\nthis", ["", "b"]),  # a model that wrote nothing
        ({"response2": True, "response1": False}, "do\n\nthis", ["False", "True"]),
    ],
)
def test_empty_fields_of_pandalm(changed, prompt, answers, tmp_path):
    (row,) = read(tmp_path, as_list(pandalm(**changed))).rows
    assert (row.prompt, row.answers) == (prompt, answers)


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        (pair(more=1), "q"),
        (pair(prompt=[USER], chosen=[BOT], rejected=[OTHER]), "q"),
        (pair(chosen=[BOT], rejected="b"), "q"),
        ({"chosen": [USER, BOT], "rejected": [USER, OTHER]}, "q"),  # the prompt at the head of both
        (pair(prompt="", chosen=[USER, BOT], rejected=[USER, OTHER]), "q"),
        (pair(chosen=[USER, BOT], rejected=[USER, OTHER]), "q"),  # and in a field as well
        (pair(prompt=[SYSTEM, USER], chosen=[BOT], rejected=[OTHER]), "System: be brief\n\nUser: q"),
        (
            {"chosen": [USER, BOT, USER, BOT], "rejected": [USER, BOT, USER, OTHER]},
            "User: q\n\nAssistant: a\n\nUser: q",
        ),
        (pair(chosen=[SYSTEM, USER, BOT], rejected=[SYSTEM, USER, OTHER]), "System: be brief\n\nUser: q"),
    ],
)
def test_chosen_and_rejected(row, prompt, tmp_path):
    found = read(tmp_path, as_lines(row))
    assert [order(one) for one in found.rows] == [(prompt, {"a": 1, "b": 0})]
    assert found.annotators is None


def test_ranked_answers_and_pairs_in_one_file(tmp_path):
    ranked = {"prompt": "r", "answers": [{"text": t, "score": s} for t, s in (("a", 2), ("b", 4), ("c", 2))]}
    found = read(tmp_path, as_lines(pair(), ranked, pair(prompt="s")))
    assert [order(row) for row in found.rows] == [
        ("q", {"a": 1, "b": 0}),
        ("r", {"a": 0, "b": 2, "c": 0}),
        ("s", {"a": 1, "b": 0}),
    ]


def test_message_trees(tmp_path):
    found = read(tmp_path, as_lines(tree(1, 0, 2), tree(0, text="one answer"), tree(text="none"), tree(0, 1, text="r")))
    assert [order(row) for row in found.rows] == [("q", {"a0": 2, "a1": 1, "a2": 0}), ("r", {"a0": 1, "a1": 0})]


def test_ids_name_the_content(tmp_path):
    rows = [llmbar(), llmbar(label=1), llmbar(input="r"), llmbar(output_1="c"), llmbar()]
    ids = [row.id for row in read(tmp_path, as_list(*rows)).rows]
    assert len(set(ids)) == 4
    assert ids[0] == ids[4]  # twice in the file, twice here


FORMATS = {
    "llmbar": [llmbar(), llmbar(label=1)],
    "pandalm": [pandalm(), pandalm(2, 2, 2)],
    "jsonl": [pair(), {"prompt": "r", "answers": [{"text": "a", "rank": 0}, {"text": "b", "rank": 1}]}],
    "oasst": [tree(0, 1), tree(1, 0, text="r")],
}


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("write", [as_list, as_lines])
@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.jsonl.gz", "pandalm", "oasst.txt"])
def test_the_format_is_detected_from_the_content(kind, write, name, tmp_path):
    data = write(*FORMATS[kind])
    found = read(tmp_path, data, name=name)
    assert len(found.rows) == 2
    assert found == read(tmp_path, data, kind)
    assert found == read(tmp_path, gzip.compress(data), name=name)
    assert found == read(tmp_path, b"\xef\xbb\xbf\r\n" + data.replace(b"\n", b"\r\n"), name=name)


def test_line_separators_inside_a_text(tmp_path):
    data = json.dumps(pair(chosen="a\u2028b"), ensure_ascii=False).encode()
    assert read(tmp_path, data).rows[0].answers[0] == "a\u2028b"


# --- broken files -----------------------------------------------------------------------------------------------------

BROKEN = [
    (llmbar(), llmbar(label=0), "'label' must be 1 or 2 (found 0)"),
    (llmbar(), llmbar(label="1"), "'label' must be 1 or 2 (found '1')"),
    (llmbar(), llmbar(label=True), "'label' must be 1 or 2 (found True)"),
    (llmbar(), llmbar(label=1.0), "'label' must be 1 or 2 (found 1.0)"),
    (llmbar(), {"input": "q", "output_1": "a", "output_2": "b"}, "'label' must be 1 or 2 (found None)"),
    (llmbar(), llmbar(output_2=" "), "'output_2' is empty"),
    (llmbar(), llmbar(output_1=None), "'output_1' is missing"),
    (llmbar(), llmbar(input=["q"]), "'input' is not a string"),
    (llmbar(), pandalm(), "'output_1' is missing"),
    (llmbar(), tree(0, 1), "'output_1' is missing"),
    (pandalm(), pandalm(1, 1, 3), "'annotator3' must be 0, 1 or 2 (found 3)"),
    (pandalm(), pandalm(1, False, 1), "'annotator2' must be 0, 1 or 2 (found False)"),
    (pandalm(), pandalm(None, 1, 1), "'annotator1' must be 0, 1 or 2 (found None)"),
    (pandalm(), pandalm(instruction="", input=" "), "'instruction' and 'input' are both empty"),
    (pandalm(), pandalm(input=None), "'input' is missing"),
    (pandalm(), pandalm(response1=3), "'response1' is not a string"),
    (pandalm(), llmbar(), "'instruction' is missing"),
    (pair(), {"prompt": "q", "chosen": "a"}, "expected 'prompt' with 'chosen' and 'rejected', or with 'answers'"),
    (pair(), {"prompt": "q"}, "expected 'prompt' with 'chosen' and 'rejected'"),
    (pair(), {"chosen": "a", "rejected": "b"}, "'prompt' is missing or empty"),
    (pair(), pair(prompt=""), "'prompt' is missing or empty"),
    (pair(), pair(prompt=[]), "'prompt' is missing or empty"),
    (pair(), pair(prompt=" "), "'prompt': 'content' is empty"),
    (pair(), pair(prompt=3), "'prompt' must be a string or a list of messages"),
    (pair(), pair(chosen=""), "'chosen': 'content' is empty"),
    (pair(), pair(rejected=[]), "'rejected' must be a string or a list of messages"),
    (pair(), pair(rejected={"text": "b"}), "'rejected' must be a string or a list of messages"),
    (pair(), pair(chosen=None), "'chosen' must be a string or a list of messages"),
    (pair(), pair(chosen=["a"]), "'chosen': 'role' is missing"),
    (pair(), pair(chosen=[{"role": "assistant"}]), "'chosen': 'content' is missing"),
    (pair(), pair(chosen=[USER]), "the last message of 'chosen' must have the role 'assistant'"),
    (pair(), pair(prompt=[USER, BOT]), "the last message of 'prompt' must have the role 'user'"),
    (pair(), pair(chosen=[USER, BOT]), "'chosen' and 'rejected' differ before their last message"),
    (
        pair(),
        pair(prompt="r", chosen=[USER, BOT], rejected=[USER, OTHER]),
        "'chosen' begins with another prompt than 'prompt'",
    ),
    (pair(), {"prompt": "q", "answers": [{"text": "a", "score": 1}]}, "a list of at least two"),
    (pair(), {"prompt": "q", "answers": [{"text": "a", "score": 1}, {"text": "b"}]}, "every answer needs a number"),
    (tree(0, 1), pair(), "not a message tree"),
    (tree(0, 1), tree(0, 1, text=" "), "'text' is empty"),
    (tree(0, 1), tree(0, "1"), "'rank' must be an integer"),
]


@pytest.mark.parametrize(("good", "bad", "reason"), BROKEN)
@pytest.mark.parametrize(("write", "place"), [(as_list, "entry 2"), (as_lines, "line 2")])
def test_a_broken_entry_is_named(good, bad, reason, write, place, tmp_path):
    with pytest.raises(InputError) as error:
        read(tmp_path, write(good, bad, good))
    text = str(error.value)
    assert text.startswith(f"{tmp_path / 'file'}, {place}")
    assert reason in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", ": contains no prompt with two or more ranked answers"),
        (b" \n\n", ": contains no prompt with two or more ranked answers"),
        (b"[]", ": contains no prompt with two or more ranked answers"),
        (as_lines(tree(0), tree()), ": contains no prompt with two or more ranked answers"),
        (as_list({"question": "q", "a": 1}), ", entry 1: unknown preference format with the fields 'question', 'a';"),
        (as_lines({}), ", line 1: unknown preference format with the fields no fields;"),
        (as_lines(pair())[:-4], ", line 1: not valid JSON"),
        (as_lines(pair(), 3), ", line 2: expected a JSON object, found int"),
        (b'"text"', ", line 1: expected a JSON object, found str"),
        (as_list(llmbar())[:-4], ": not valid JSON"),
        (b"[" * 100_000, ": not valid JSON"),
        (as_list(llmbar(), "x"), ", entry 2: expected a JSON object, found str"),
        (as_list(llmbar(), [llmbar()]), ", entry 2: expected a JSON object, found list"),
        (b'\n{"prompt": "\xff"}', ", line 2: not UTF-8"),
        (b'[\n{"input": "\xff"}]', ", line 2: not UTF-8"),
        (gzip.compress(as_lines(pair()) * 50, mtime=0)[:-12], ": cannot be read: Compressed file ended before"),
        (gzip.compress(as_lines(pair()), mtime=0)[:-8] + bytes(8), ": cannot be read: CRC check failed"),
        (b"\x1f\x8b" + bytes(40), ": cannot be read: "),
        (gzip.compress(as_lines(pair()), mtime=0)[:10] + b"\xff" * 20, ": cannot be read: "),
    ],
)
def test_a_broken_file_is_named(data, reason, tmp_path):
    with pytest.raises(InputError) as error:
        read(tmp_path, data)
    assert str(error.value).startswith(f"{tmp_path / 'file'}{reason}")
    assert "\n" not in str(error.value)


def test_a_file_that_cannot_be_read(tmp_path):
    for path, reason in ((tmp_path / "none", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(InputError) as error:
            read_preferences(path)
        assert str(error.value) == f"{path}: cannot be read: {reason}; use a file of human preferences"


@pytest.mark.parametrize("kind", FORMATS)
def test_an_explicit_format_is_enforced(kind, tmp_path):
    for other, rows in FORMATS.items():
        if other != kind:
            with pytest.raises(InputError, match="entry 1: "):
                read(tmp_path, as_list(*rows), kind)


# --- real files -------------------------------------------------------------------------------------------------------


def real(name):
    file = DATA / name
    if not file.exists():
        pytest.skip(f"{name} is not beside the checkout")
    return file


def test_llmbars_real_files():
    found = {file.stem: read_preferences(file) for file in sorted(real("llmbar").glob("*.json"))}
    sizes = {name.removeprefix("LLMBar_"): len(one.rows) for name, one in found.items()}
    assert sizes.pop("Natural") == 100
    assert sizes == {
        "Adversarial_GPTInst": 92,
        "Adversarial_GPTOut": 47,
        "Adversarial_Manual": 46,
        "Adversarial_Neighbor": 134,
    }
    natural = found["LLMBar_Natural"].rows
    assert Counter(1 + row.scores.index(max(row.scores)) for row in natural) == {1: 42, 2: 58}
    assert len({row.id for row in natural}) == 100
    raw = json.loads(real("llmbar/LLMBar_Natural.json").read_text(encoding="utf-8"))
    assert [(row.prompt, *row.answers) for row in natural] == [(r["input"], r["output_1"], r["output_2"]) for r in raw]


def test_pandalms_real_file():
    found = read_preferences(real("pandalm/testset-v1.json"))
    assert len(found.rows) == len(found.annotators) == 999
    assert Counter(order(row)[1][row.answers[0]] - order(row)[1][row.answers[1]] for row in found.rows) == {
        1: 422,  # 368 by all three, 33 against a 2, 21 against a tie
        -1: 472,  # 426, 36 and 10
        0: 105,  # 85 by all three, 13 against a 2, 7 against a 1
    }
    assert len({row.prompt for row in found.rows}) == 170
    assert sum("" in row.answers for row in found.rows) == 54


def test_open_assistants_real_file(oasst):
    rows = read_preferences(oasst).rows
    assert (len(rows), sum(len(row.answers) for row in rows)) == (94, 313)


def test_rows_are_sampled_with_the_seed():
    rows = [RankedAnswers(str(n), str(n), ["a", "b"], [1.0, 0.0], ["", ""]) for n in range(20)]
    whole = Preferences(rows, [[n % 3] * 3 for n in range(20)])
    one, again, other = (sample_rows(whole, 5, seed) for seed in (1, 1, 2))
    assert one == again != other
    assert len(one.rows) == 5
    assert [int(row.id) for row in one.rows] == sorted(int(row.id) for row in one.rows)
    assert one.annotators == [[int(row.id) % 3] * 3 for row in one.rows]
    assert sample_rows(whole, None, 1) is sample_rows(whole, 20, 1) is whole


EQUAL = {
    "LLMBar": llmbar(output_1="same", output_2="same \n"),
    "PandaLM": pandalm(1, 1, 2, response1="same", response2="same"),
    "both empty": pandalm(1, 1, 2, response1="", response2=" "),
    "chosen and rejected": pair(chosen="same", rejected=" same"),
    "messages": pair(
        chosen=[{"role": "assistant", "content": "same"}], rejected=[{"role": "assistant", "content": "same\n"}]
    ),
    "ranked": {"prompt": "p", "answers": [{"text": "same", "score": n} for n in range(3)]},
}
GOOD = {"LLMBar": llmbar(), "PandaLM": pandalm(2, 2, 2), "both empty": pandalm(2, 2, 2)}


@pytest.mark.parametrize("kind", EQUAL)
def test_rows_of_equal_answers_are_dropped_and_counted(kind, tmp_path):
    good = GOOD.get(kind, pair())
    found, pairs = drop_equal_answers(read(tmp_path, as_lines(EQUAL[kind], good, EQUAL[kind])))
    assert found.rows == read(tmp_path, as_lines(good)).rows
    assert pairs == (6 if kind == "ranked" else 2)
    if "PandaLM" in kind or kind == "both empty":
        assert found.annotators == [[2, 2, 2]]


@pytest.mark.parametrize("kind", EQUAL)
def test_a_file_of_equal_answers_is_an_error(kind, tmp_path):
    with pytest.raises(InputError, match="file: the answers to each of its 2 prompts are the same; use another file"):
        read(tmp_path, as_lines(EQUAL[kind], EQUAL[kind]))
