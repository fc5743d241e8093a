"""Packaged data files, and the prompts with instructions among them."""

from collections import Counter

import pytest
from srlm.errors import InputError
from srlm.evaluation.instructions import check, read_instructions
from srlm.rows.sources import PACKAGED, data_file

from benches import make_checks

# For each kind of `make_checks`, an answer that follows any of its instructions, and one that follows none; both may
# need the arguments.
ANSWERS = {
    "words_at_most": ("Short.", "word " * 60),
    "words_at_least": ("word " * 80, "Short."),
    "sentences_at_most": ("One sentence.", "One. Two. Three. Four. Five."),
    "sentences_at_least": ("One. Two. Three. Four. Five. Six.", "One sentence."),
    "no_comma": ("Fine", "Well, no"),
    "bullets": ("{bullets}", "None"),
    "paragraphs": ("{paragraphs}", "Only one"),
    "include": ("{word} it is", "Nothing"),
    "avoid": ("Nothing", "{words}"),
    "word_at_least": ("{word} {word} {word}", "Nothing"),
    "letter_at_most": ("...", "bcdghmpuwy" * 10),
    "letter_at_least": ("bcdghmpuwy" * 10, "..."),
    "title": ("<<A title>>\nText", "A title"),
    "postscript": ("Text\nP.P.S and P.S. more", "Text"),
    "placeholders": ("[a] [b] [c]", "a b c"),
    "highlights": ("*a b* *c d* *e f*", "a b c"),
    "ending": ("Well. {ending}", "Well."),
}


def fill(text, arguments):
    return text.format(
        bullets="* a\n" * arguments.get("num_bullets", 0),
        paragraphs="\n***\n".join("a" for _ in range(arguments.get("num_paragraphs", 0))),
        word=arguments.get("keyword") or (arguments.get("keywords") or [""])[0],
        words=" ".join(arguments.get("forbidden_words", [])),
        ending=arguments.get("end_phrase"),
    )


@pytest.mark.parametrize("part", ["train", "held_out"])
def test_packaged_instructions(part):
    rows = read_instructions(data_file(f"packaged:checks/{part}"))
    counts = Counter(row.key for row in rows)
    assert counts == dict.fromkeys(ANSWERS, 40 if part == "train" else 14)
    assert len({row.prompt for row in rows}) == len(rows)
    for row in rows:
        good, bad = (fill(text, row.arguments[0]) for text in ANSWERS[row.key])
        assert check(row, good).strict == (True,), row
        assert check(row, bad).strict == (False,), row


def test_no_request_is_in_both_files():
    train, held_out = (read_instructions(data_file(f"packaged:checks/{part}")) for part in ("train", "held_out"))
    assert not set(make_checks.TRAIN) & set(make_checks.HELD_OUT)
    assert all(any(request in row.prompt for request in make_checks.TRAIN) for row in train)
    assert not any(request in row.prompt for row in held_out for request in make_checks.TRAIN)


def test_the_files_are_those_that_are_made():
    for name, text in make_checks.files().items():
        assert (make_checks.FOLDER / name).read_text(encoding="utf-8") == text


def test_names(tmp_path):
    assert data_file(str(tmp_path)) == tmp_path
    assert all(data_file(name).is_file() for name in PACKAGED)
    with pytest.raises(InputError, match="packaged:checks: is not a packaged file; these are"):
        data_file("packaged:checks")
