"""The CPU path in Rust, for use from Python: verdicts, pairs, novelty, duplicates and JSON lines.

Every function releases the GIL while it works and gives the same result on one thread and on many. The docstrings and
types are in `_native.pyi`.
"""

from srlm._native import (
    NoveltyIndex,
    __version__,
    expected_scores,
    normal_keys,
    parse_verdicts,
    read_text_column,
    rouge_l,
    select_pairs,
    select_positives,
)

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
