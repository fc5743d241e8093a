"""What a chat template writes between turns: its turn marks, and whether it opens a thought for the model.

Both are derived by rendering a short conversation. Special tokens are no marks: in a message they are encoded as plain
text, and in a reply they are found by their ids (`models.replies`).
"""

from __future__ import annotations

import contextlib
import itertools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from srlm.native import TurnMarks

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Mark = tuple[str, bool, bool]  # text, whether it counts at a line start only, whether it begins the assistant's turn

QUESTIONS, ANSWERS = ("qone", "qtwo", "qlast"), ("aone", "atwo")
MAX_MARK = 100  # a longer line is a system prompt
HARMONY_HEADER, HARMONY_FINAL = "<|start|>assistant", "<|channel|>final<|message|>"
TAG = re.compile(r"<[^<>\n]{1,90}>|\[/?THINK\]|\u25c1/?think\u25b7|<\|channel>\w+")
# Marks of widespread templates that are ordinary text. A judged answer is escaped for all of them, since the driver
# builds judge examples without the tokenizer.
COMMON_MARKS: tuple[Mark, ...] = (
    ("### Instruction:", True, False),
    ("### Human:", True, False),
    ("### User:", True, False),
    ("### System:", True, False),
    ("### Response:", True, True),
    ("### Assistant:", True, True),
    ("[INST]", False, False),
    ("[/INST]", False, False),
    ("<<SYS>>", False, False),
    ("<</SYS>>", False, False),
)
COMMON = TurnMarks(COMMON_MARKS)
NO_MARKS = TurnMarks([])


@dataclass(frozen=True, slots=True)
class TurnFormat:
    """A template's marks; `thought_end` closes the thought that its generation prompt opens ("" if it opens none)."""

    marks: TurnMarks
    thought_end: str

    @property
    def opens_thought(self) -> bool:
        """Whether a reply begins inside a thought."""
        return bool(self.thought_end) and self.thought_end != HARMONY_FINAL


_formats: WeakKeyDictionary[PreTrainedTokenizerBase, tuple[object, TurnFormat]] = WeakKeyDictionary()


def turn_format(tokenizer: PreTrainedTokenizerBase) -> TurnFormat:
    """Return the turn format of a tokenizer's chat template, derived on first use."""
    cached = _formats.get(tokenizer)
    key = str(tokenizer.chat_template)
    if cached is None or cached[0] != key:
        cached = _formats[tokenizer] = (key, _derive(tokenizer))
    return cached[1]


def _derive(tokenizer: PreTrainedTokenizerBase) -> TurnFormat:
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    special |= set(tokenizer.all_special_tokens)
    marks: dict[str, Mark] = {}
    generation_prompt = ""
    for text in _rendered(tokenizer):
        for before, after, own in _borders(text):
            for mark in _marks(text[before:after], special, own=own):
                marks.setdefault(mark[0].casefold(), mark)
        generation_prompt = text[text.rfind(QUESTIONS[-1]) + len(QUESTIONS[-1]) :] or generation_prompt
    return TurnFormat(TurnMarks(list(marks.values())), _thought_end(generation_prompt))


def _rendered(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Render conversations of three questions and of one; a template may refuse either."""
    long = [
        {"role": role, "content": text}
        for role, text in (
            ("user", QUESTIONS[0]),
            ("assistant", ANSWERS[0]),
            ("user", QUESTIONS[1]),
            ("assistant", ANSWERS[1]),
            ("user", QUESTIONS[2]),
        )
    ]
    texts = []
    for messages in (long, long[-1:]):
        with contextlib.suppress(Exception):  # a template may raise anything; its rows will say so
            texts.append(str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)))
    return texts


def _borders(text: str) -> list[tuple[int, int, bool]]:
    """Return (start, end, whether the assistant's turn follows) of the text around messages.

    Before the first message it is the last line only: a system prompt is no mark.
    """
    found = [(text.find(message), len(message), message in ANSWERS) for message in (*QUESTIONS, *ANSWERS)]
    places = sorted((at, at + length, own) for at, length, own in found if at >= 0)
    if not places:
        return []
    between = [(end, start, own) for (_, end, _), (start, _, own) in itertools.pairwise(places) if end < start]
    first = places[0][0]
    return [(text.rfind("\n", 0, first) + 1, first, False), *between, (places[-1][1], len(text), True)]


def _marks(border: str, special: set[str], *, own: bool) -> list[Mark]:
    """Return the marks in the text between two messages: its lines without special tokens."""
    separator = "|".join(re.escape(token) for token in sorted(special, key=len, reverse=True) if token)
    found: list[Mark] = []
    for number, line in enumerate(border.split("\n")):
        parts = re.split(separator, line) if separator else [line]
        pieces = (piece for part in parts for piece in re.split(r"(?<=[>\]])(?=[<\[])", part))
        for position, piece in enumerate(pieces):
            text = piece.strip()
            if _is_mark(text):
                found.append((text, number > 0 and position == 0, own))
    # The last mark before the assistant's turn begins it; those before it end the user's.
    return [(text, at_line_start, own and text == found[-1][0]) for text, at_line_start, _ in found]


def _is_mark(text: str) -> bool:
    """Whether a line is more than a bare word (`assistant` after a special token), and no tag of a thought."""
    if len(text) > MAX_MARK or text.replace(" ", "").isalnum() or not (len(text) > 2 or text[1:] == ":"):
        return False
    return not any(_opens(tag) or _closes(tag) for tag in TAG.findall(text))


def _opens(tag: str) -> bool:
    return NO_MARKS.split(f"{tag}x").open


def _closes(tag: str) -> bool:
    return NO_MARKS.split(f"x{tag}y").thought == "x"


def _thought_end(generation_prompt: str) -> str:
    """Return what closes the thought that a generation prompt opens; "" if it opens none."""
    if generation_prompt.endswith(HARMONY_HEADER):
        return HARMONY_FINAL
    tags = [tag for tag in TAG.findall(generation_prompt) if _opens(tag) or _closes(tag)]
    return _closing_tag(tags[-1]) + "\n\n" if tags and _opens(tags[-1]) else ""


def _closing_tag(tag: str) -> str:
    if tag.startswith("<|channel>"):
        return "<channel|>"
    if tag == "<unused94>":
        return "<unused95>"
    for start, end in (("START_", "END_"), ("begin_", "end_"), ("<|", "<|/")):
        if start in tag:
            return tag.replace(start, end, 1)
    return f"{tag[0]}/{tag[1:]}"
