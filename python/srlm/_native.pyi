"""The parts in Rust: reading verdicts, choosing pairs, novelty of prompts.

All functions release the GIL while they work. A lone surrogate in a `str` counts as one `?`.
"""

from collections.abc import Iterable, Sequence
from typing import Literal, Self, final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "NoveltyIndex",
    "__version__",
    "normal_keys",
    "parse_verdicts",
    "rouge_l",
    "select_pairs",
    "select_positives",
]

__version__: str

def parse_verdicts(
    replies: Sequence[str], *, max_score: float = 5.0, pattern: str | None = None
) -> tuple[list[str], NDArray[np.float64], NDArray[np.int64]]:
    """Read the verdict of each judge's reply on the scale 0 to `max_score`.

    Without a `pattern` the last label `Score: <number>` counts. A `pattern` is a regular expression in Rust's syntax
    whose group `score` holds the number; its last match counts. In both cases think blocks and everything after the
    end of the judge's turn are left out.

    Returns:
        One entry per reply each: the outcomes (`scored`, `missing`, `out_of_range` or `conflicting`), the scores
        (NaN unless `scored`), and in an array of two columns where the number begins and ends in the reply, in code
        points as Python indexes a str (-1 where there is none).

    Raises:
        ValueError: `max_score` is not finite and above 0, or `pattern` is invalid or has no group `score`.
    """

def select_pairs(
    prompt: NDArray[np.int64],
    score: NDArray[np.float64],
    expected: NDArray[np.float64],
    usable: NDArray[np.bool_],
    texts: Sequence[str],
    *,
    min_margin: float = 0.0,
) -> tuple[NDArray[np.int64], NDArray[np.int64], dict[str, int]]:
    """Pair the best with the worst answer of each prompt.

    All columns have one entry per answer. `prompt` says which answers belong together, in any order. Answers that are
    not `usable` or have no `score` (NaN) take no part. Equal scores are settled by `expected` (the higher one is
    better; an answer without one, NaN, comes last both as best and as worst), then by the lower row.

    Returns:
        The rows of the chosen and of the rejected answers, prompts in order of first appearance, and the number of
        prompts without a pair by reason: `too_few_scored`, `too_few_usable` (two scores, but not of two usable
        answers), `tied`, `below_margin` and `same_text` (equal but for white space around them). Every reason is
        there, and pairs and drops add up to the prompts.

    Raises:
        ValueError: the columns differ in length, or `min_margin` is not finite and at least 0.
        TypeError: a column is not a one-dimensional array of its type.
    """

def select_positives(
    prompt: NDArray[np.int64],
    score: NDArray[np.float64],
    usable: NDArray[np.bool_],
    texts: Sequence[str],
    *,
    perfect: float,
) -> tuple[NDArray[np.int64], dict[str, int]]:
    """Take all usable answers whose score is at least `perfect`, each text once per prompt.

    Returns:
        Their rows, prompts in order of first appearance and rows of one prompt ascending, and two counts:
        `no_perfect_answer`, the prompts without any, and `same_text`, the answers left out as repeats.

    Raises:
        ValueError: the columns differ in length, or `perfect` is not finite.
        TypeError: a column is not a one-dimensional array of its type.
    """

def rouge_l(a: str, b: str, *, words: Literal["rouge_score", "unicode"] = "rouge_score") -> float:
    """Return the ROUGE-L F-measure of two texts, in lower case and without stemming.

    With `rouge_score` it is the number that Google's package of this name computes (`rougeL`, `use_stemmer=False`),
    to the last bit. That package sees letters and digits of ASCII only: 0.0 for two texts in Russian or Chinese.
    `unicode` splits a text with other letters at everything but Unicode letters and digits, takes each Chinese or
    Japanese character for a word, and gives two identical texts without any word 1.0. Otherwise both agree.

    Raises:
        ValueError: `words` is neither.
    """

@final
class NoveltyIndex:
    """Kept texts, to be compared with new ones by `rouge_l` with the same `words`.

    Threads may search at the same time, but not while another one adds: that raises a RuntimeError.
    `sys.getsizeof` gives the bytes that an index holds.
    """

    def __new__(cls, *, words: Literal["rouge_score", "unicode"] = "rouge_score") -> Self: ...
    def __len__(self) -> int: ...
    def max_similarity(self, text: str) -> tuple[float, int]:
        """Return the similarity and the position of the most similar kept text.

        Of equally similar texts the one added first is returned, and (0.0, -1) while nothing is kept.
        """

    def add(self, text: str) -> None:
        """Keep a text."""

    def add_all(self, texts: Iterable[str]) -> None:
        """Keep several texts, in order."""

    def add_novel(
        self, texts: Iterable[str], threshold: float = 0.7
    ) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.int64]]:
        """Keep each text that resembles none kept before it by more than `threshold`, earlier ones of `texts` too.

        This is the rule of self-instruct's code (Wang et al., arXiv 2212.10560): what is above 0.7 is dropped. The
        decisions are those of comparing every pair in order, whatever the number of threads.

        Returns:
            One entry per text each: whether it was kept, and for a dropped one the similarity and the position, in
            the order of keeping, of the most similar text kept before it (the earliest of equally similar ones). For
            a kept one these are NaN and -1, since pairs that cannot exceed the threshold are not compared to the end;
            `max_similarity` compares them.

        Raises:
            ValueError: `threshold` is not from 0 to 1.
        """

    def counts(self) -> dict[str, int]:
        """Return how many pairs of a new and a kept text each bound left over, in all calls of `add_novel` so far.

        `pairs` are all of them. `met` were met in the inverted index at a rare word of both, with lengths that fit
        (a pair with several such words counts each time), `signature` are those of them whose bitmaps of words are
        near enough, and `overlap` those that have enough words in common, for which ROUGE-L was computed.
        """

def normal_keys(texts: Sequence[str]) -> list[str]:
    """Return a key of 32 hexadecimal digits per text.

    Texts that differ only in case, white space or compatibility characters (NFKC) have the same key. A text has the
    same key on every machine.
    """
