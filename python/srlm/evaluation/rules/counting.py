"""What the rules count: words, sentences, words in capitals; and the two relations that a count is held against."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from punkt import PunktSentenceTokenizer

RELATIONS = ("less than", "at least")
# Where a word ends: white space, and the marks that the Penn Treebank's tokenization sets apart. Not there: hyphens,
# slashes, full stops inside a word, and the comma or colon of a number.
_APART = re.compile(r"""[\s;@#$%&?!*\[\](){}<>"`«»\u201c\u201d\u2018\u2019\u2012-\u2015]+|--|\.{2,}|[:,](?!\d)""")
_CLITIC = re.compile(r"(?:(?<=[^'])(?:'s|'m|'d|'ll|'re|'ve|n't)|(?<=\bcan)not)(?=\.?$)", re.IGNORECASE)


def holds(count: int, relation: str, bound: int) -> bool:
    """Return whether `count` is "less than" or "at least" `bound`."""
    return count < bound if relation == "less than" else count >= bound


def words(text: str) -> int:
    """Count runs of letters, digits and underscores."""
    return len(re.findall(r"\w+", text))


def sentences(text: str) -> int:
    """Count sentences as Punkt's English model parts them (Kiss and Strunk 2006)."""
    return len(_splitter().tokenize(text))


def capital_words(text: str) -> int:
    """Count words without a small letter and with a capital one; a clitic ("I'LL", "CANNOT") is a word of its own."""
    pieces = (piece for word in _APART.split(text) for piece in _CLITIC.sub(r" \g<0>", word).split())
    return sum(piece.isupper() for piece in pieces)


@functools.cache
def _splitter() -> PunktSentenceTokenizer:
    import punkt

    return punkt.tokenizer_for("english")
