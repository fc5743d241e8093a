"""The rows of a padded batch that predict completion tokens, and the prefix that both answers share."""

from srlm.training.preference_layout import build_layout, common_prefix_length, pair_rows
from srlm.training.row_layouts import pad_rows


def layout_of(pairs, *, drop_shared_prefix):
    """The layout of pairs in padded rows: chosen, rejected, chosen, ..."""
    rows = [row for example in pairs for row in pair_rows(example)]
    return build_layout(pad_rows(rows, 0), pairs, drop_shared_prefix=drop_shared_prefix)


def test_layout():
    pairs = [
        {"prompt_ids": [1, 2], "chosen_ids": [3, 4, 5], "rejected_ids": [3, 6]},
        {"prompt_ids": [7], "chosen_ids": [8], "rejected_ids": [8, 9, 9]},
    ]
    whole = layout_of(pairs, drop_shared_prefix=False)
    assert whole.rows.tolist() == [1, 2, 3, 6, 7, 10, 15, 16, 17]
    assert whole.labels.tolist() == [3, 4, 5, 3, 6, 8, 8, 9, 9]
    assert (whole.cu_seqlens, whole.shared_cu_seqlens) == ([0, 3, 5, 6, 9], [0, 0, 0])
    dropped = layout_of(pairs, drop_shared_prefix=True)
    assert dropped.rows.tolist() == [2, 3, 7, 16, 17]
    assert dropped.labels.tolist() == [4, 5, 6, 9, 9]
    assert dropped.cu_seqlens == [0, 2, 3, 3, 5]
    assert (dropped.shared_rows.tolist(), dropped.shared_labels.tolist()) == ([1, 10], [3, 8])
    assert dropped.shared_cu_seqlens == [0, 1, 2]
    assert dropped.lengths.tolist() == whole.lengths.tolist() == [[3, 2], [1, 3]]


def test_layout_without_a_prompt():
    """No row predicts the first token of a sequence; TRL leaves it out too."""
    layout = layout_of([{"prompt_ids": [], "chosen_ids": [3, 4, 5], "rejected_ids": [6]}], drop_shared_prefix=False)
    assert (layout.rows.tolist(), layout.labels.tolist(), layout.cu_seqlens) == ([0, 1], [4, 5], [0, 2, 2])


def test_a_shared_token_after_differing_first_tokens():
    """Without a prompt the first tokens have no rows, but the tokens after them have different contexts."""
    pair = {"prompt_ids": [], "chosen_ids": [5, 7, 8], "rejected_ids": [6, 7, 9]}
    assert len(layout_of([pair], drop_shared_prefix=True).shared_rows) == 0
    alike = {**pair, "rejected_ids": [5, 7, 9]}
    assert layout_of([alike], drop_shared_prefix=True).shared_labels.tolist() == [7]


def test_common_prefix_length():
    assert common_prefix_length([1, 2, 3], [1, 2, 4]) == 2
    assert common_prefix_length([1, 2], [1, 2, 4]) == 2
    assert common_prefix_length([], [1]) == common_prefix_length([2], [1]) == 0
