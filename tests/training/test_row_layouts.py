"""Layouts of rows: padded, and as a trie; and the masks of a trie."""

import random

import numpy as np
import pytest
import torch
from srlm.training.prefix_masks import MaskForm, block_mask, dense_mask
from srlm.training.row_layouts import pad_rows, row_trie, share_rows

FORM = MaskForm("sdpa", {"full_attention": None})
ROWS = [[5, 6, 7, 8], [5, 6, 9], [5, 6, 7, 8, 9, 9], [4], [5, 6, 9]]


def tokens_of(layout):
    return [layout.input_ids.reshape(-1)[nodes].tolist() for nodes in layout.nodes]


def test_padded_rows():
    layout = pad_rows(ROWS, 0)
    assert layout.input_ids.shape == layout.attention_mask.shape == (5, 6)
    assert tokens_of(layout) == ROWS
    assert layout.attention_mask.sum(1).tolist() == [4, 3, 6, 1, 3]
    assert set(layout.model_inputs(torch.device("cpu"))) == {"input_ids", "attention_mask"}
    assert pad_rows(ROWS, 0, masked=False).attention_mask is None


def test_shared_rows():
    layout = share_rows(ROWS, FORM)
    assert tokens_of(layout) == ROWS
    assert layout.input_ids.tolist() == [[4, 5, 6, 7, 8, 9, 9, 9]]  # each beginning once, and no padding
    assert layout.depths.tolist() == [0, 0, 1, 2, 3, 4, 5, 2]
    assert np.array_equal(layout.nodes[1], layout.nodes[4])  # equal rows
    inputs = layout.model_inputs(torch.device("cpu"))
    assert inputs["position_ids"].tolist() == [layout.depths.tolist()]


def random_trie(seed):
    chance = random.Random(seed)
    rows = [[chance.randrange(2) for _ in range(chance.randrange(1, 12))] for _ in range(20)]
    _, depths, ends, nodes = row_trie(rows)
    return torch.from_numpy(depths), torch.from_numpy(ends), nodes


@pytest.mark.parametrize("window", [None, 1, 3])
@pytest.mark.parametrize("seed", range(3))
def test_a_node_sees_its_own_beginning(seed, window):
    depths, ends, nodes = random_trie(seed)
    mask = dense_mask(depths, ends, window)[0, 0]
    for row in nodes:
        for place, node in enumerate(row):
            first = 0 if window is None else max(0, place - window + 1)
            assert mask[node].nonzero()[:, 0].tolist() == sorted(row[first : place + 1].tolist())


@pytest.mark.parametrize("window", [None, 3])
def test_the_block_mask_is_the_dense_one(window):
    """The function that flex attention evaluates per pair, and the blocks that it does not skip."""
    depths, ends, _ = random_trie(1)
    dense = dense_mask(depths, ends, window)[0, 0]
    blocks = block_mask(depths, ends, window)
    place = torch.arange(len(ends))
    pairs = torch.meshgrid(place, place, indexing="ij")
    assert torch.equal(blocks.mask_mod(torch.tensor(0), torch.tensor(0), *pairs), dense)
    assert blocks.to_dense()[0, 0].bool().any(1).all()


def test_blocks_without_a_visible_pair_are_skipped():
    """Two long rows without a common beginning: neither attends to the other."""
    _, depths, ends, _ = row_trie([[1] * 256, [2] * 256])
    blocks = block_mask(torch.from_numpy(depths), torch.from_numpy(ends))
    expected = [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1]]
    assert blocks.to_dense()[0, 0].tolist() == expected


def test_forms_of_masks():
    depths, ends, _ = random_trie(2)
    boolean = FORM.mask(depths, ends)
    added = MaskForm("eager", {"full_attention": None}, torch.float64).mask(depths, ends)
    assert added.dtype == torch.float64
    assert torch.equal(added == 0, boolean)
    assert (added[~boolean] == torch.finfo(torch.float64).min).all()
    by_type = MaskForm("sdpa", {"full_attention": None, "sliding_attention": 2}).mask(depths, ends)
    assert torch.equal(by_type["full_attention"], boolean)
    assert torch.equal(by_type["sliding_attention"], dense_mask(depths, ends, 2))


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_flex_attention_gives_what_sdpa_does():
    """Its forward pass, which is all that it has on a CPU."""
    from torch.nn.attention.flex_attention import flex_attention

    depths, ends, _ = random_trie(3)
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 1, 2, len(ends), 16).unbind()
    dense = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=dense_mask(depths, ends))
    flex = flex_attention(query, key, value, block_mask=block_mask(depths, ends))
    assert torch.allclose(flex, dense, atol=1e-5)
