"""The CPU path in Rust, for use from Python: reading verdicts, choosing pairs, novelty and duplicates.

Every function releases the GIL while it works and gives the same result on one thread and on many. The docstrings and
types are in `_native.pyi`.
"""

from srlm._native import (
    NoveltyIndex,
    __version__,
    mean_scores,
    normal_keys,
    parse_verdicts,
    rouge_l,
    select_pairs,
    select_positives,
)

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
