"""The Rust extension: chat encoding, verdicts, pairs, novelty, words, duplicates, tries and reading JSON lines.

All functions release the GIL during the computation. A lone surrogate in a `str` is treated as `?`.
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
    "PromptEscaper",
    "Reply",
    "TurnMarks",
    "__version__",
    "count_words",
    "exact_duplicates",
    "expected_scores",
    "first_keywords",
    "mean_scores",
    "near_duplicates",
    "normal_keys",
    "parse_verdicts",
    "prefix_trie",
    "read_text_column",
    "rouge_l",
    "select_pairs",
    "select_positives",
    "shared_prefixes",
]

__version__: str

_Messages = list[dict[str, str]]
_Rendered = tuple[str, list[str | None], int]
_Ids = tuple[NDArray[np.int32], NDArray[np.int64]]

class ChatTemplateError(ValueError):
    """A chat template rejects the messages, or uses a feature that only transformers has."""

@final
class ChatEncoder:
    """A tokenizer and its chat template, which encode conversations into rows of token ids.

    Ids are identical to those of Hugging Face's `tokenizers` for every `tokenizer.json` it can load. A plain BPE uses a
    faster lane for text on which both agree (`lane_refusal` is the reason if it does not). It is opened once
    256 KiB are encoded, which takes some tenths of a second. Only the template adds tokens; there is no truncation or
    padding. The string of a special token inside a message is encoded as text.

    A message is a dict of `role` and `content`, both str. Rows are returned as ids, int32 [T], and cumulative lengths,
    int64 [N + 1]: row i is `ids[offsets[i]:offsets[i + 1]]`. Long batches are split over threads, with the same result.
    Methods that take prompts also accept rendered conversations: tuples of the prompt with the generation prompt, a
    list of the prompt with each answer (None if the ids of the answer are given), and the code point from `broken`.
    The template does not see the strings of special tokens in messages either, so it cannot transform them.
    """

    def __new__(
        cls,
        tokenizer_json: str,
        *,
        template: str | None = None,
        variables: Mapping[str, str] | None = None,
        end_token: str | None = None,
    ) -> ChatEncoder:
        """Load a `tokenizer.json` (its content) and compile a Jinja `template`, which may use the `variables`.

        `end_token` ends a completion and counts as special. Without a template only rendered prompts are accepted.

        Raises:
            ValueError: the tokenizer or the template is invalid, or the end token is not in the tokenizer.
        """

    @property
    def lane_refusal(self) -> str | None:
        """The reason why this tokenizer has no fast lane; None if it has one. Opens it."""

    def render(self, messages: _Messages, *, add_generation_prompt: bool) -> str:
        """Render one conversation unchanged, including the strings of special tokens.

        Raises:
            ChatTemplateError: the template rejects the messages.
            ValueError: there is no template.
        """

    def broken(self, messages: _Messages) -> tuple[int, list[str]]:
        """Break up the strings of special tokens in the contents of one conversation, for rendering outside Rust.

        Returns:
            The code point that breaks them, with which the encoding methods restore the texts (0: nothing was broken),
            and the contents.

        Raises:
            ValueError: a role contains a special token, or the contents a special token of one character or every
                Unicode character.
        """

    def encode_texts(self, texts: Sequence[str]) -> _Ids:
        """Return the ids of texts. Strings of special tokens are encoded as special tokens.

        Raises:
            ValueError: the tokenizer has no token for part of a text; the message names the row.
        """

    def encode_prompts(self, prompts: Sequence[_Messages] | Sequence[_Rendered], *, opening: str | None = None) -> _Ids:
        """Return the ids for generation: prompts with the generation prompt and the `opening` of the assistant's turn.

        Raises:
            ChatTemplateError: the template rejects a row; the message names it.
            ValueError: a role contains a special token, or the tokenizer has no token for part of a row; the message
                names it.
        """

    def encode_examples(
        self,
        prompts: Sequence[_Messages] | Sequence[_Rendered],
        completions: Sequence[_Messages] | None = None,
        *,
        completion_ids: Sequence[list[int] | None] | None = None,
        keep_tail: bool = False,
    ) -> tuple[NDArray[np.int32], NDArray[np.bool_], NDArray[np.int64]]:
        """Return ids [T] of prompts with their completions, a completion mask [T], and cumulative lengths [N + 1].

        A completion ends with the end token. With `keep_tail` it is kept as the template renders it, including the text
        after the end token. `completion_ids` that are not None are used unchanged.

        Raises:
            ValueError: see `encode_prompts`; or a prompt is rendered differently when an answer follows.
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
        """Return the rows of prompts, chosen answers and rejected answers; see `encode_examples`."""

def parse_verdicts(
    replies: Sequence[str], *, max_score: float = 5.0, pattern: str | None = None
) -> tuple[list[str], NDArray[np.float64], NDArray[np.int64]]:
    """Parse the verdict in each judge's reply on the scale 0 to `max_score`.

    Without a `pattern` the label of the verdict counts, such as `Score: <number>` or `Total: <number>`, by the rules in
    docs/verdicts.md. A `pattern` is a regular expression in Rust's syntax whose group `score` matches the number; its
    last match counts. In both cases thoughts and everything after the end of the judge's turn are ignored (see
    `TurnMarks.split`).

    Returns:
        With one entry per reply: the outcomes (`scored`, `missing`, `out_of_range` or `conflicting`), the scores (NaN
        unless `scored`), and the spans of the numbers, int64 [N, 2]: start and end in the reply in code points, as
        Python indexes a str (-1 if there is none).

    Raises:
        ValueError: `max_score` is not finite and above 0, or `pattern` is invalid or has no group `score`.
    """

def expected_scores(
    logps: NDArray[np.float64] | NDArray[np.float32], digits: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the mean of each row's distribution over the digits, `sum(d p(d)) / sum(p(d))`, as float64 [N].

    Args:
        logps: Log-probabilities in nats of the D digits for each of N replies, [N, D]; -inf for an impossible digit.
        digits: The value of each column, [D].

    A row with a NaN or +inf, or with -inf only, gives NaN.

    Raises:
        ValueError: the arrays differ in D, D is 0, or a digit is not finite.
        TypeError: an array has another dtype or number of dimensions.
    """

def mean_scores(
    candidate: NDArray[np.int64], score: NDArray[np.float64], *, candidates: int | None = None
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the mean score of each candidate over its verdicts.

    Scores are rounded to nine decimals and summed exactly (as long as a candidate's scores sum to less than 9e6), so
    equal means compare equal, in any order of the verdicts: the mean of 1.1 and 2.2 is that of 1.65 and 1.65.

    For each verdict, `candidate` has the row of its candidate, in any order (sorted by candidate is fastest), and
    `score` its score, NaN if it has none. `candidates` is the number of candidates; by default it is one more than the
    largest row in `candidate`. The arrays must not change during the call.

    Returns:
        With one entry per candidate: the mean of its scores (NaN if it has none), and the number of its scores.

    Raises:
        ValueError: the columns differ in length, or a candidate is below 0, not below `candidates`, or, if that is not
            given, implausibly large for the number of verdicts.
        MemoryError: there is not enough memory for `candidates`.
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
    may_be_chosen: NDArray[np.bool_] | None = None,
    may_be_rejected: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int64], dict[str, int]]:
    """Select pairs of a better and a worse answer to the same prompt.

    All columns have one entry per answer. `prompt` is the prompt of each answer, in any order (ascending and contiguous
    is fastest). Answers that are not `usable` or have no `score` (NaN) are ignored. Ties are broken by `expected` (the
    higher one is better; an answer without one, NaN, comes last both as best and as worst), then by the lower row. The
    two scores of a pair differ, by at least `min_margin`. Without `texts`, answers with the same text are not detected.
    `may_be_chosen` and `may_be_rejected` limit which answers may be the chosen or the rejected one of a pair, and best
    and worst are those among them; one that may be neither is not usable.
    The arrays must not change during the call.

    The methods:
        `best_worst`: the best against the worst answer.
        `length_controlled`: the shortest answer with a score of at least (1 - rho) S + rho s, against the longest with
            one of at most (1 - rho) s + rho S, where S and s are the best and the worst score of the prompt (the
            length control of Meta-Rewarding, arXiv 2407.19594). Among equally short ones the best is taken, among
            equally long ones the worst. For `rho` >= 0.5 the tiers overlap, and a prompt whose chosen answer does not
            have the higher score counts as `tied`. Lengths are those in `length`, by default code points of `texts`.
        `margin`: all pairs.
        `random`: one of these pairs, sampled uniformly. It depends only on `seed` and the prompt's number, not on the
            rows of other prompts: with the finaliser `mix` of SplitMix64 and n pairs in ascending order of rows, the
            pair at index (mix(mix(seed) + prompt) * n) >> 64, with sums modulo 2**64.
        `top_bottom`: each of the `k` best against each of the `k` worst; of equally bad answers those that are not
            among the best come first. With fewer than 2 `k` answers, the better half against the worse half (without
            the middle answer of an odd number).

    Returns:
        The rows of the chosen and of the rejected answers, prompts in order of first appearance, and the number of
        prompts without a pair by reason: `too_few_scored`, `too_few_usable` (two or more scored answers, but fewer than
        two of them usable, or none that may be chosen, or none that may be rejected), `tied`, `below_margin` and
        `same_text` (the pairs that reach the margin differ at most in surrounding white space). All reasons are
        present, and every prompt has pairs or counts under one reason.

        `margin` and `top_bottom` give several pairs per prompt, ordered by difference (largest first, rounded to nine
        decimals), then by chosen row, then by rejected row. Only the first `max_per_prompt` of them are kept; the
        additional entry `over_cap` is the number of pairs (not of prompts) dropped by this limit.

    Raises:
        ValueError: the columns differ in length, `method` is unknown, `min_margin` is not finite and at least 0,
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
    may_be_chosen: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.int64], dict[str, int]]:
    """Select all usable answers that `may_be_chosen` with a score of at least `perfect`.

    Each of the `texts` is selected once per prompt.

    The arrays must not change during the call.

    Returns:
        Their rows, prompts in order of first appearance and rows of one prompt ascending, and two counts:
        `no_perfect_answer`, the prompts without one, and `same_text`, the answers dropped as repeats.

    Raises:
        ValueError: the columns differ in length, or `perfect` is not finite.
        TypeError: a column is not a one-dimensional array of its type.
    """

def shared_prefixes(ids: NDArray[np.int64], offsets: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sort rows of token ids, so that neighbours share the longest beginnings. `ids` and `offsets` as in `prefix_trie`.

    Returns:
        order [N], the rows in lexicographic order, equal ones in their given order; and shared [N], the number of
        tokens that each row of `order` shares with the one before it (0 for the first).

    Raises:
        ValueError: the offsets do not start at 0, rise, and end at T.
    """

def rouge_l(a: str, b: str, *, words: Literal["rouge_score", "unicode"] = "rouge_score") -> float:
    """Return the ROUGE-L F-measure of two texts, in lower case and without stemming.

    `rouge_score` is bit-identical to Google's package of this name (`rougeL`, `use_stemmer=False`). That package uses
    ASCII letters and digits only: the result is 0.0 for two texts in Russian or Chinese. `unicode` splits a text with
    non-ASCII letters at everything but Unicode letters, their marks and digits, treats each letter of a script without
    spaces between words (Chinese, Japanese, Thai, Lao, Khmer, Burmese …) as a word, and returns 1.0 for two identical
    texts without words. Otherwise both agree.

    Raises:
        ValueError: `words` is unknown.
    """

@final
class PromptEscaper:
    """Escapes texts that are inserted into a prompt, so that they cannot close their block or begin another turn.

    One character of each tag that looks like one of the prompt's `blocks` (`response` for `<response>`), and of each
    mark of a chat template, becomes a character reference, such as `&lt;`. Look-alikes count: texts are compared by
    their skeletons (Unicode Technical Standard 39), without case, white space, slashes and invisible characters.

    Args:
        blocks: The names of the prompt's blocks.
        marks: The marks of the judge's chat template that are ordinary text.
        control_strings: Also escape the control strings of common templates, such as `<|im_end|>`.
    """

    def __new__(
        cls, blocks: Sequence[str], *, marks: TurnMarks | None = None, control_strings: bool = False
    ) -> Self: ...
    def escape(self, text: str) -> str:
        """Return the escaped text."""

@final
class Reply:
    """A reply, split by `TurnMarks.split`. All positions are in code points."""

    @property
    def said(self) -> str:
        """The text outside thoughts, before another turn. Parts that a thought separates are joined by a line feed."""

    @property
    def thought(self) -> str | None:
        """What was thought; None if nothing was."""

    @property
    def turn(self) -> int | None:
        """The position in the reply at which another turn begins; None if there is none."""

    @property
    def open(self) -> bool:
        """Whether the reply ends inside a thought; then nothing was said."""

    @property
    def starts(self) -> list[tuple[int, int]]:
        """For each part of `said`: its start there, and its start in the reply."""

    def position(self, at: int) -> int:
        """Return the position in the reply of position `at` in `said`."""

@final
class TurnMarks:
    """The marks with which a chat template begins and ends turns, compiled for searching.

    Args:
        marks: Each mark as (text, whether it counts at the start of a line only, whether it begins the assistant's own
            turn). Case-insensitive, except for words that count in the middle of a line. Those of the assistant are
            dropped where a reply begins with them.
    """

    def __new__(cls, marks: Sequence[tuple[str, bool, bool]]) -> Self: ...
    @property
    def marks(self) -> list[tuple[str, bool, bool]]:
        """The marks as they were given."""

    def split(self, reply: str, *, in_thought: bool = False) -> Reply:
        """Split a reply into what was said and what was thought.

        Thoughts in the formats of common reasoning models are recognized (`<think>`, `[THINK]`, Harmony's channels and
        others). Another turn begins at a control string of a common chat template, at a line that starts with a
        speaker such as `User:`, or at one of the marks; not between backticks or in a closed code block.

        Args:
            reply: The generated text, with or without special tokens.
            in_thought: Whether the prompt has opened a thought: a reply that never closes it is all thought.
        """

@final
class NoveltyIndex:
    """An index of kept texts, which compares new ones with them by `rouge_l` with the same `words`.

    Threads may search concurrently, but not while another thread adds texts: that raises a RuntimeError.
    `sys.getsizeof` returns the memory of the index in bytes.
    """

    def __new__(cls, *, words: Literal["rouge_score", "unicode"] = "rouge_score") -> Self: ...
    def __len__(self) -> int: ...
    def max_similarity(self, text: str) -> tuple[float, int]:
        """Return the similarity and the index of the most similar kept text.

        Of equally similar texts the one added first is returned, and (0.0, -1) if the index is empty.
        """

    def add(self, text: str) -> None:
        """Keep a text."""

    def add_all(self, texts: Iterable[str]) -> None:
        """Keep several texts, in order."""

    def add_novel(
        self, texts: Iterable[str], threshold: float = 0.7
    ) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.int64]]:
        """Keep each text whose similarity to every text kept before it (earlier `texts` too) is at most `threshold`.

        This is the rule of Self-Instruct's code (Wang et al., arXiv 2212.10560): a similarity above 0.7 is dropped. The
        decisions are those of comparing every pair in order, for any number of threads.

        Returns:
            With one entry per text: whether it was kept, and for a dropped text the similarity and the index, in
            insertion order, of the most similar text kept before it (the earliest of equally similar ones). For a kept
            text these are NaN and -1, since pairs that cannot exceed the threshold are not compared in full; use
            `max_similarity` for these.

        Raises:
            ValueError: `threshold` is not from 0 to 1.
        """

    def counts(self) -> dict[str, int]:
        """Return the number of pairs of a new and a kept text that passed each bound, over all calls of `add_novel`.

        `pairs` counts all pairs, `met` those found in the inverted index at a common rare word with compatible lengths
        (a pair with several such words counts each time), `signature` those of them whose word bitmaps are similar
        enough, and `overlap` those with enough common words, for which ROUGE-L was computed.
        """

def normal_keys(texts: Sequence[str]) -> list[str]:
    """Return a key of 32 hexadecimal digits for each text.

    Texts that differ only in case, white space or compatibility characters (full-width letters, half-width kana,
    ligatures, presentation forms, letters of a font, `…`, `℃`, `㎏`) have the same key. The normal form is NFKC, lower
    case, with single spaces, but without NFKC's mappings that change the meaning: superscripts, subscripts, fractions,
    enclosed characters, signs with digits, spacing marks and single Hangul letters stay as they are, so `2⁵` differs
    from `25`. A text has the same key on every machine.
    """

def count_words(texts: Sequence[str]) -> NDArray[np.int64]:
    """Return the number of words of each text.

    A word is a piece between white space, as in `str.split`; in scripts without spaces between words (Chinese,
    Japanese, Thai, Lao, Khmer, Burmese) the words of ICU's dictionaries count, without punctuation. In such scripts
    without a dictionary each letter is a word; in Tibetan, each syllable.

    Returns:
        Counts [N].
    """

def first_keywords(texts: Sequence[str], keywords: Sequence[str]) -> NDArray[np.int64]:
    """Return for each text the index of the first of `keywords` that occurs in it.

    A keyword is a phrase. Case, white space, compatibility characters (see `normal_keys`), invisible characters, and
    the kind of hyphen or apostrophe do not matter. It occurs where no letter, digit, mark or underscore continues it:
    `.NET` is in "a .NET app", not in "example.net". A keyword that ends in a symbol may be followed by a digit (`C++`
    in "C++17"). In scripts without spaces between words both ends must be ends of words, as ICU's dictionaries find
    them. A keyword without a visible character never occurs.

    Returns:
        Indices [N]; -1 if none occurs.
    """

def exact_duplicates(texts: Sequence[str]) -> NDArray[np.int64]:
    """Return for each text the row of the first text with the same normal form (see `normal_keys`).

    The normal forms of texts with equal keys are compared in full.

    Returns:
        Row numbers [N]; the first text of each normal form has its own.
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
    """Return for each text the row of the first text of its cluster; see `NearDuplicateIndex`.

    Returns:
        Row numbers [N]; the first text of each cluster has its own.

    Raises:
        ValueError: an option is out of range.
    """

@final
class NearDuplicateIndex:
    """Clusters of texts that share most of their n-grams, among all texts added so far.

    A text is represented by its set of n-grams: of `ngram` words, or of characters including the spaces between words,
    of its normal form (see `normal_keys`). Words are separated by white space; in scripts without spaces between words
    each letter is one. A text of fewer words (characters) has one n-gram of all of them. Two texts
    are linked if their sets are equal, or if they were compared and have a Jaccard similarity of at least `threshold`.
    Clusters are the connected components of these links.

    MinHash signatures of `permutations` values determine which texts are compared. They are split into the longest
    bands with which a pair exactly at the threshold is found with a probability of at least 0.99, and pairs above it
    with a higher one (128 values and 0.8: 21 bands of 6, 0.998). Every link is verified on the sets, so there is none
    below the threshold. An empty text is linked only to other empty ones.

    The clusters do not depend on how texts were split into batches, on the number of threads or on the machine. The
    index takes eight bytes per distinct n-gram of each distinct text, and about 20 per band of it. A call while another
    thread adds texts raises a RuntimeError.

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
        """The minimum Jaccard similarity of linked texts."""

    @property
    def ngram(self) -> int:
        """The number of units per n-gram."""

    @property
    def unit(self) -> Literal["word", "char"]:
        """The unit of the n-grams."""

    @property
    def permutations(self) -> int:
        """The length of a signature."""

    @property
    def seed(self) -> int:
        """The seed of the signatures."""

    def add(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Add texts and return for each of them the row of the first text of its cluster.

        Rows count all texts added so far. A new text may link two clusters of earlier batches: they are merged, and the
        first row is the smaller of the two. `clusters` returns the current result for earlier rows.
        """

    def clusters(self) -> NDArray[np.int64]:
        """Return for each text added so far the row of the first text of its current cluster."""

    def save(self, path: str | PathLike[str]) -> None:
        """Save the index with an atomic rename. Equal indexes have equal files.

        Raises:
            OSError: the file cannot be written.
        """

    @staticmethod
    def load(path: str | PathLike[str]) -> NearDuplicateIndex:
        """Load a saved index.

        Raises:
            ValueError: the file is not a saved index, has another version of the format, or is damaged.
            OSError: the file cannot be read.
        """

def prefix_trie(
    ids: NDArray[np.int64], offsets: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Lay out rows of token ids as a trie, in which every shared beginning exists once.

    Nodes are in depth-first order, so node j is node i or one of its ancestors if and only if `j <= i < ends[j]`.

    Args:
        ids: [T], the tokens of all rows, one after the other.
        offsets: [N + 1], cumulative lengths: row i is `ids[offsets[i]:offsets[i + 1]]`.

    Returns:
        tokens [M], the token of each node; depths [M], its number of ancestors; ends [M], the node behind the last one
        below it; and nodes [T], the node of each token of `ids`.

    Raises:
        ValueError: the offsets do not start at 0, rise, and end at T.
    """

def read_text_column(path: str | PathLike[str], field: str) -> tuple[list[str], NDArray[np.int64]]:
    """Read one text field from a file of JSON lines.

    `field` is the name of a field, or a path of parts joined by dots (`chosen.0.content`): keys of objects and indices,
    from 0, into arrays. Lines end at `\\n` only; a byte order mark, `\\r` before `\\n` and blank lines are allowed. The
    escape of a lone surrogate is read as `?`.

    Returns:
        The texts of the non-blank lines, and the numbers of these lines from 1, int64 [N].

    Raises:
        ValueError: a line is not UTF-8, not JSON (`NaN` and `Infinity` are not), not an object, has an object in which
            a key appears twice, or has no string at the path; the message names the file, the line and the reason. Or
            `field` is not a path.
        OSError: the file cannot be read.
    """
