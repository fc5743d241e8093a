"""The parts in Rust: chat encoding, verdicts, pairs, novelty, duplicates and reading JSON lines.

All functions release the GIL while they work. A lone surrogate in a `str` counts as one `?`.
"""

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from typing import Literal, Self, final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ChatEncoder",
    "ChatTemplateError",
    "NearDuplicateIndex",
    "NoveltyIndex",
    "__version__",
    "exact_duplicates",
    "expected_scores",
    "mean_scores",
    "near_duplicates",
    "normal_keys",
    "parse_verdicts",
    "read_text_column",
    "rouge_l",
    "select_pairs",
    "select_positives",
]

__version__: str

_Messages = list[dict[str, str]]
_Rendered = tuple[str, list[str | None], int]
_Ids = tuple[NDArray[np.int32], NDArray[np.int64]]

class ChatTemplateError(ValueError):
    """A chat template refuses the messages, or asks for what only transformers has."""

@final
class ChatEncoder:
    """A tokenizer and its chat template: conversations to rows of token ids.

    Ids are those of Hugging Face's `tokenizers` for every `tokenizer.json` it reads; a plain BPE goes over a faster
    lane wherever both have been found to agree (`lane_refusal` says why not). No tokens are added that a template does
    not write, and truncation and padding are left out. The string of a special token inside a message stays text.

    A message is a dict of `role` and `content`, both str. Rows are returned as ids, int32 [T], and cumulative lengths,
    int64 [N + 1]: row i is `ids[offsets[i]:offsets[i + 1]]`. Long batches are spread over threads; the result is the
    same.
    Where a method takes prompts it also takes what was rendered elsewhere: tuples of the prompt with the assistant's
    mark, a list with the prompt and each answer (None where the answer's ids are given), and the number from `broken`.
    A template does not see special tokens in messages either: what it does to their strings it does not do to them.
    """

    def __new__(
        cls,
        tokenizer_json: str,
        *,
        template: str | None = None,
        variables: Mapping[str, str] | None = None,
        end_token: str | None = None,
    ) -> ChatEncoder:
        """Read a `tokenizer.json` (its text) and compile a Jinja `template`, which may name the `variables`.

        `end_token` ends a completion and counts as special. Without a template only rendered prompts are taken.

        Raises:
            ValueError: the tokenizer or the template cannot be read, or the end token is not in the tokenizer.
        """

    @property
    def lane_refusal(self) -> str | None:
        """Why the fast lane is closed for this tokenizer, or None where it is open."""

    def render(self, messages: _Messages, *, add_generation_prompt: bool) -> str:
        """Render one conversation as it is, special tokens' strings included.

        Raises:
            ChatTemplateError: the template refuses the messages.
            ValueError: there is no template.
        """

    def broken(self, messages: _Messages) -> tuple[int, list[str]]:
        """Break up the strings of special tokens in the contents of one conversation, before it is rendered elsewhere.

        Returns:
            The code point that breaks them, which the encoding methods need to mend the texts (0: nothing was broken),
            and the contents.

        Raises:
            ValueError: a role holds a special token, or a content one of one character, or all of Unicode.
        """

    def encode_texts(self, texts: Sequence[str]) -> _Ids:
        """Return the ids of texts, in which the strings of special tokens are tokens.

        Raises:
            ValueError: the tokenizer has no token for part of a text; names the row.
        """

    def encode_prompts(self, prompts: Sequence[_Messages] | Sequence[_Rendered], *, opening: str | None = None) -> _Ids:
        """Return the ids that an engine continues: prompts, the assistant's mark, and the `opening` of its turn.

        Raises:
            ChatTemplateError: the template refuses a row; names it.
            ValueError: a role holds a special token, or the tokenizer has no token for part of a row; names it.
        """

    def encode_examples(
        self,
        prompts: Sequence[_Messages] | Sequence[_Rendered],
        completions: Sequence[_Messages] | None = None,
        *,
        completion_ids: Sequence[list[int] | None] | None = None,
        keep_tail: bool = False,
    ) -> tuple[NDArray[np.int32], NDArray[np.bool_], NDArray[np.int64]]:
        """Return ids [T] of prompts with their completions, a mask [T] of the completions, and cumulative lengths.

        A completion ends with the end token; `keep_tail` keeps it as the template renders it instead, with what stands
        behind the end token. `completion_ids` are taken as they are where they are not None.

        Raises:
            ValueError: see `encode_prompts`; or a prompt is rendered differently once an answer follows.
        """

    def encode_pairs(
        self,
        prompts: Sequence[_Messages] | Sequence[_Rendered],
        chosen: Sequence[_Messages] | None = None,
        rejected: Sequence[_Messages] | None = None,
        *,
        chosen_ids: Sequence[list[int] | None] | None = None,
        rejected_ids: Sequence[list[int] | None] | None = None,
        keep_tail: bool = False,
    ) -> tuple[_Ids, _Ids, _Ids]:
        """Return the rows of prompts, of chosen and of rejected answers; see `encode_examples`."""

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

def exact_duplicates(texts: Sequence[str]) -> NDArray[np.int64]:
    """Return for each text the row of the first text that equals it but for what `normal_keys` leaves out.

    Texts with equal keys are compared in full.

    Returns:
        Row numbers [N]; a text that is the first of its kind has its own.
    """

def near_duplicates(
    texts: Sequence[str],
    *,
    threshold: float = 0.8,
    ngram: int = 3,
    unit: Literal["word", "char"] = "word",
    permutations: int = 128,
    seed: int = 0,
) -> NDArray[np.int64]:
    """Return for each text the row of the first text of its cluster: one pass of `NearDuplicateIndex`.

    Returns:
        Row numbers [N]; a text that is the first of its cluster has its own.

    Raises:
        ValueError: an option is out of its range.
    """

@final
class NearDuplicateIndex:
    """Clusters of texts that share most of their n-grams, among all texts added so far.

    A text is its set of n-grams: of `ngram` words, or characters with the spaces between words, after the text is
    brought to the form that `normal_keys` compares. A text of fewer words (characters) has one n-gram, of all of them.
    Two texts are linked if their sets are equal, or have a Jaccard similarity of at least `threshold` and were
    compared. A cluster is what links connect, directly or over other texts.

    Which texts are compared is decided by MinHash signatures of `permutations` values, cut into the longest bands by
    which a pair exactly at the threshold is found with a probability of at least 0.99, and any pair above it with a
    higher one (128 values and 0.8: 21 bands of 6, 0.998). Every link is confirmed on the sets, so there is none below
    the threshold. An empty text is linked only to other empty ones.

    The clusters do not depend on how texts were split into batches, on the number of threads or on the machine. The
    index holds eight bytes for each distinct n-gram of each distinct text, and some 20 for each band of it. A call
    while another thread adds raises a RuntimeError.

    Raises:
        ValueError: `threshold` is not above 0 and at most 1, `ngram` not from 1 to 64, `unit` unknown, or
            `permutations` not from 1 to 4096 or too few for the threshold.
    """

    def __new__(
        cls,
        *,
        threshold: float = 0.8,
        ngram: int = 3,
        unit: Literal["word", "char"] = "word",
        permutations: int = 128,
        seed: int = 0,
    ) -> Self: ...
    def __len__(self) -> int: ...
    @property
    def threshold(self) -> float:
        """The least Jaccard similarity of linked texts."""

    @property
    def ngram(self) -> int:
        """How many units make an n-gram."""

    @property
    def unit(self) -> Literal["word", "char"]:
        """What n-grams are made of."""

    @property
    def permutations(self) -> int:
        """The length of a signature."""

    @property
    def seed(self) -> int:
        """The seed of the signatures."""

    def add(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Add texts and return for each of them the row of the first text of its cluster.

        Rows count all texts added so far. A new text may link two clusters of earlier batches: they are one from then
        on, and its first row is the lesser of both. `clusters` has the answer for earlier rows.
        """

    def clusters(self) -> NDArray[np.int64]:
        """Return for each text added so far the row of the first text of its cluster, as of now."""

    def save(self, path: str | PathLike[str]) -> None:
        """Save the index, by atomic rename: equal indexes have equal files.

        Raises:
            OSError: the file cannot be written.
        """

    @staticmethod
    def load(path: str | PathLike[str]) -> NearDuplicateIndex:
        """Load a saved index.

        Raises:
            ValueError: the file is no saved index, of another version of the format, or damaged.
            OSError: the file cannot be read.
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
