"""The Rust extension: chat encoding, replies, verdicts, pairs, novelty, words, duplicates, tries and JSON lines.

Every function releases the GIL during the computation, and its result does not depend on the number of threads. The
docstrings and types are in `_native.pyi`.
"""

from srlm._native import (
    ChatEncoder,
    ChatTemplateError,
    NearDuplicateIndex,
    NoveltyIndex,
    PromptEscaper,
    Reply,
    TurnMarks,
    __version__,
    count_words,
    exact_duplicates,
    expected_scores,
    first_keywords,
    mean_scores,
    near_duplicates,
    normal_keys,
    parse_verdicts,
    prefix_trie,
    read_text_column,
    rouge_l,
    select_pairs,
    select_positives,
    shared_prefixes,
)

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
