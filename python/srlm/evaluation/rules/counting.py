"""Counts of words, sentences and capitalized words, and the two relations that the rules compare them with.

The counts are those of IFEval's code for any language: a Chinese sentence is one word. `srlm.native.count_words`, which
filters generated prompts, counts the words of every script.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from punkt import PunktSentenceTokenizer

RELATIONS = ("less than", "at least")
# Word boundaries: white space, and the punctuation that Penn Treebank tokenization splits off. Not hyphens, slashes,
# periods inside a word, and a comma or colon before a digit.
_SEPARATORS = re.compile(r"""[\s;@#$%&?!*\[\](){}<>"`«»\u201c\u201d\u2018\u2019\u2012-\u2015]+|--|\.{2,}|[:,](?!\d)""")
_CLITIC = re.compile(r"(?:(?<=[^'])(?:'s|'m|'d|'ll|'re|'ve|n't)|(?<=\bcan)not)(?=\.?$)", re.IGNORECASE)


def satisfies(count: int, relation: str, bound: int) -> bool:
    """Return whether `count` is "less than" or "at least" `bound`."""
    return count < bound if relation == "less than" else count >= bound


def words(text: str) -> int:
    """Count runs of letters, digits and underscores."""
    return len(re.findall(r"\w+", text))


def sentences(text: str) -> int:
    """Count sentences as split by Punkt's English model (Kiss and Strunk 2006)."""
    return len(_splitter().tokenize(text))


def capital_words(text: str) -> int:
    """Count words in all capitals; a clitic ("I'LL", "CANNOT") counts as a separate word."""
    pieces = (piece for word in _SEPARATORS.split(text) for piece in _CLITIC.sub(r" \g<0>", word).split())
    return sum(piece.isupper() for piece in pieces)


@functools.cache
def _splitter() -> PunktSentenceTokenizer:
    import punkt

    return punkt.tokenizer_for("english")
