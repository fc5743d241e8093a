"""The rows of a padded batch that predict completion tokens, and the prefix that both answers share."""

from srlm.training.preference_layout import build_layout, common_prefix_length


def test_layout():
    pairs = [
        {"prompt_ids": [1, 2], "chosen_ids": [3, 4, 5], "rejected_ids": [3, 6]},
        {"prompt_ids": [7], "chosen_ids": [8], "rejected_ids": [8, 9, 9]},
    ]
    whole = build_layout(pairs, 5, drop_shared_prefix=False)
    assert whole.rows.tolist() == [1, 2, 3, 11, 12, 5, 15, 16, 17]
    assert whole.labels.tolist() == [3, 4, 5, 3, 6, 8, 8, 9, 9]
    assert (whole.cu_seqlens, whole.shared_cu_seqlens) == ([0, 3, 5, 6, 9], [0, 0, 0])
    dropped = build_layout(pairs, 5, drop_shared_prefix=True)
    assert dropped.rows.tolist() == [2, 3, 12, 16, 17]
    assert dropped.labels.tolist() == [4, 5, 6, 9, 9]
    assert dropped.cu_seqlens == [0, 2, 3, 3, 5]
    assert (dropped.shared_rows.tolist(), dropped.shared_labels.tolist()) == ([1, 5], [3, 8])
    assert dropped.shared_cu_seqlens == [0, 1, 2]
    assert dropped.lengths.tolist() == whole.lengths.tolist() == [[3, 2], [1, 3]]


def test_layout_without_a_prompt():
    """No row predicts the first token of a sequence; TRL leaves it out too."""
    layout = build_layout(
        [{"prompt_ids": [], "chosen_ids": [3, 4, 5], "rejected_ids": [6]}], 3, drop_shared_prefix=False
    )
    assert (layout.rows.tolist(), layout.labels.tolist(), layout.cu_seqlens) == ([0, 1], [4, 5], [0, 2, 2])


def test_a_shared_token_after_differing_first_tokens():
    """Without a prompt the first tokens have no rows, but the tokens after them have different contexts."""
    pair = {"prompt_ids": [], "chosen_ids": [5, 7, 8], "rejected_ids": [6, 7, 9]}
    assert len(build_layout([pair], 3, drop_shared_prefix=True).shared_rows) == 0
    alike = {**pair, "rejected_ids": [5, 7, 9]}
    assert build_layout([alike], 3, drop_shared_prefix=True).shared_labels.tolist() == [7]


def test_common_prefix_length():
    assert common_prefix_length([1, 2, 3], [1, 2, 4]) == 2
    assert common_prefix_length([1, 2], [1, 2, 4]) == 2
    assert common_prefix_length([], [1]) == common_prefix_length([2], [1]) == 0
