"""The parts in Rust: reading verdicts, choosing pairs, novelty of prompts, reading JSON lines.

All functions release the GIL while they work. A lone surrogate in a `str` counts as one `?`.
"""

from collections.abc import Iterable, Sequence
from os import PathLike
from typing import final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "NoveltyIndex",
    "__version__",
    "expected_scores",
    "normal_keys",
    "parse_verdicts",
    "read_text_column",
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

def expected_scores(
    logps: NDArray[np.float64] | NDArray[np.float32], digits: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the mean of each row's distribution over the digits, `sum(d p(d)) / sum(p(d))`, as float64 [N].

    Args:
        logps: Log-probabilities in nats of the D digits for each of N replies, [N, D]; -inf for what is impossible.
        digits: What each column stands for, [D].

    A row with a NaN or +inf, or with nothing but -inf, gives NaN.

    Raises:
        ValueError: D differs or is 0, or a digit is not finite.
        TypeError: an array is of another type or number of dimensions.
    """

def read_text_column(path: str | PathLike[str], field: str) -> tuple[list[str], NDArray[np.int64]]:
    """Read one field of text from a file of JSON lines.

    `field` is the name of a field, or a path whose parts are joined by dots (`chosen.0.content`): keys of objects and
    places, from 0, in arrays. Lines end at `\\n` only; a byte order mark, `\\r` before `\\n` and blank lines are
    allowed. Of equal keys the last one counts, and the escape of a lone surrogate is read as `?`.

    Returns:
        The texts of the lines that are not blank, and the numbers of these lines from 1, int64 [N].

    Raises:
        ValueError: a line is not UTF-8, not JSON (`NaN` and `Infinity` are not), no object, or has no string there;
            names the file, the line and the reason. Or `field` is no path.
        OSError: the file cannot be read.
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

def rouge_l(a: str, b: str) -> float:
    """Return the ROUGE-L F1 of two texts, in lower case and without stemming.

    A text without any word has similarity 1 to an identical text and 0 to any other.
    """

@final
class NoveltyIndex:
    """Kept texts, to be compared with new ones by `rouge_l`.

    Threads may search at the same time, but not while another one adds: that raises a RuntimeError.
    """

    def __init__(self) -> None: ...
    def __len__(self) -> int: ...
    def max_similarity(self, text: str) -> tuple[float, int]:
        """Return the similarity and the position of the most similar kept text.

        Of equally similar texts the one added first is returned, and (0.0, -1) while nothing is kept.
        """

    def add(self, text: str) -> None:
        """Keep a text."""

    def add_all(self, texts: Iterable[str]) -> None:
        """Keep several texts, in order."""

def normal_keys(texts: Sequence[str]) -> list[str]:
    """Return a key of 32 hexadecimal digits per text.

    Texts that differ only in case, white space or compatibility characters (NFKC) have the same key. A text has the
    same key on every machine.
    """
