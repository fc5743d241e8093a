"""Which rows of a padded batch predict an answer's tokens, and which of them both answers share."""

from srlm.training.preference_layout import common_beginning, lay_out


def test_layout():
    pairs = [
        {"prompt_ids": [1, 2], "chosen_ids": [3, 4, 5], "rejected_ids": [3, 6]},
        {"prompt_ids": [7], "chosen_ids": [8], "rejected_ids": [8, 9, 9]},
    ]
    whole = lay_out(pairs, 5, leave_out_shared=False)
    assert whole.rows.tolist() == [1, 2, 3, 11, 12, 5, 15, 16, 17]
    assert whole.labels.tolist() == [3, 4, 5, 3, 6, 8, 8, 9, 9]
    assert (whole.cuts, whole.shared_cuts) == ([0, 3, 5, 6, 9], [0, 0, 0])
    apart = lay_out(pairs, 5, leave_out_shared=True)
    assert apart.rows.tolist() == [2, 3, 12, 16, 17]
    assert apart.labels.tolist() == [4, 5, 6, 9, 9]
    assert apart.cuts == [0, 2, 3, 3, 5]
    assert (apart.shared_rows.tolist(), apart.shared_labels.tolist()) == ([1, 5], [3, 8])
    assert apart.shared_cuts == [0, 1, 2]
    assert apart.lengths.tolist() == whole.lengths.tolist() == [[3, 2], [1, 3]]


def test_layout_without_a_prompt():
    """Nothing predicts the first token of all; TRL leaves it out too."""
    layout = lay_out([{"prompt_ids": [], "chosen_ids": [3, 4, 5], "rejected_ids": [6]}], 3, leave_out_shared=False)
    assert (layout.rows.tolist(), layout.labels.tolist(), layout.cuts) == ([0, 1], [4, 5], [0, 2, 2])


def test_a_shared_beginning_after_an_unlike_first_token():
    """Without a prompt the first tokens predict nothing themselves, but what follows them has another context."""
    pair = {"prompt_ids": [], "chosen_ids": [5, 7, 8], "rejected_ids": [6, 7, 9]}
    assert len(lay_out([pair], 3, leave_out_shared=True).shared_rows) == 0
    alike = {**pair, "rejected_ids": [5, 7, 9]}
    assert lay_out([alike], 3, leave_out_shared=True).shared_labels.tolist() == [7]


def test_common_beginning():
    assert common_beginning([1, 2, 3], [1, 2, 4]) == 2
    assert common_beginning([1, 2], [1, 2, 4]) == 2
    assert common_beginning([], [1]) == common_beginning([2], [1]) == 0
