"""The parts in Rust: reading verdicts, choosing pairs, novelty of prompts.

All functions release the GIL while they work. A lone surrogate in a `str` counts as one `?`.
"""

from collections.abc import Iterable, Sequence
from typing import Literal, final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "NoveltyIndex",
    "__version__",
    "mean_scores",
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

def mean_scores(
    candidate: NDArray[np.int64], score: NDArray[np.float64], *, candidates: int | None = None
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Average the verdicts on each candidate, summed up in the order of the rows.

    `candidate` has the row of its candidate for each verdict, in any order (verdicts in the order of the candidates
    take the least time), `score` its score, NaN where it has none. `candidates` is how many candidates there are; by
    default the last one with a verdict is the last one. The arrays must not change meanwhile.

    Returns:
        One entry per candidate each: the mean of its scores (NaN where there is none), and how many there are.

    Raises:
        ValueError: the columns differ in length, or a candidate is below 0, not below `candidates`, or, without that,
            no row in view of the number of verdicts.
        MemoryError: there is no room for `candidates`.
        TypeError: a column is not a one-dimensional array of its type.
    """

def select_pairs(
    prompt: NDArray[np.int64],
    score: NDArray[np.float64],
    expected: NDArray[np.float64] | None = None,
    usable: NDArray[np.bool_] | None = None,
    texts: Sequence[str] | None = None,
    *,
    min_margin: float = 0.0,
    method: Literal["best_worst", "length_controlled", "margin", "random", "top_bottom"] = "best_worst",
    seed: int = 0,
    k: int = 2,
    rho: float = 0.1,
    max_per_prompt: int | None = None,
    length: NDArray[np.int64] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int64], dict[str, int]]:
    """Choose pairs of a better and a worse answer to the same prompt.

    All columns have one entry per answer. `prompt` says which answers belong together, in any order (in one piece and
    ascending takes the least time). Answers that are not `usable` or have no `score` (NaN) take no part. Equal scores
    are settled by `expected` (the higher one is better; an answer without one, NaN, comes last both as best and as
    worst), then by the lower row. The two scores of a pair differ, by at least `min_margin`. Without `texts`, answers
    that are the same text are not found out. The arrays must not change meanwhile.

    The methods:
        `best_worst`: the best against the worst answer.
        `length_controlled`: the shortest answer with a score of at least (1 - rho) S + rho s, against the longest with
            one of at most (1 - rho) s + rho S, where S and s are the best and the worst score of the prompt (the
            length control of Meta-Rewarding, arXiv 2407.19594). Of equally short ones the best is taken, of equally
            long ones the worst. From `rho` 0.5 on the tiers overlap, and a prompt whose chosen answer would not have
            the higher score counts as `tied`. The unit is that of `length`, or else the code points of `texts`.
        `margin`: all pairs.
        `random`: one of these pairs, each as likely as another. It depends on `seed` and on the prompt's number, not
            on the rows of other prompts: with the finaliser `mix` of SplitMix64, of n pairs in ascending order of rows
            the one at (mix(mix(seed) + prompt) * n) >> 64, sums modulo 2**64.
        `top_bottom`: each of the `k` best against each of the `k` worst, no answer on both sides: of fewer than 2 `k`
            answers, the better half against the worse one (of an odd number, without the middle).

    Returns:
        The rows of the chosen and of the rejected answers, prompts in order of first appearance, and the number of
        prompts without a pair by reason: `too_few_scored`, `too_few_usable` (two scores, but not of two usable
        answers), `tied`, `below_margin` and `same_text` (what reaches the margin is equal but for white space around
        it). Every reason is there, and prompts with pairs and drops add up to the prompts.

        `margin` and `top_bottom` give several pairs of a prompt, the largest difference first, then the lowest chosen
        and the lowest rejected row. Only the first `max_per_prompt` of them are kept; the further entry `over_cap` is
        the number of pairs (not of prompts) that this left out.

    Raises:
        ValueError: the columns differ in length, `method` is none of these, `min_margin` is not finite and at least 0,
            `seed` is not between 0 and 2**64 - 1, `k` or `max_per_prompt` is not at least 1, `rho` is not between 0 and
            1, or `length_controlled` has neither `length` nor `texts`.
        TypeError: a column is not a one-dimensional array of its type.
    """

def select_positives(
    prompt: NDArray[np.int64],
    score: NDArray[np.float64],
    usable: NDArray[np.bool_] | None = None,
    texts: Sequence[str] | None = None,
    *,
    perfect: float,
) -> tuple[NDArray[np.int64], dict[str, int]]:
    """Take all usable answers whose score is at least `perfect`, each of the `texts` once per prompt.

    The arrays must not change meanwhile.

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
