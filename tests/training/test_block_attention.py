"""Attention of a trie in blocks: what each block reads, and that the result is that of the whole mask."""

import random
from types import SimpleNamespace

import pytest
import torch
from srlm.training import block_attention
from srlm.training.block_attention import blocks_of, with_blocks
from srlm.training.prefix_masks import dense_mask
from srlm.training.row_layouts import row_trie


def random_mask(seed=0, window=None):
    chance = random.Random(seed)
    rows = [[1] * 9 + [chance.randrange(2) for _ in range(chance.randrange(1, 20))] for _ in range(12)]
    _, depths, ends, _ = row_trie(rows)
    return dense_mask(torch.from_numpy(depths), torch.from_numpy(ends), window)


@pytest.mark.parametrize("window", [None, 4])
@pytest.mark.parametrize("block", [1, 7, 1000])
def test_blocks_have_all_that_their_nodes_see_and_nothing_else(monkeypatch, block, window):
    monkeypatch.setattr(block_attention, "BLOCK", block)
    visible = random_mask(window=window)[0, 0]
    rebuilt = torch.zeros_like(visible)
    for rows, seen, mask in blocks_of(visible):
        assert rows.stop - rows.start <= block
        assert mask[0, 0].any(0).all()  # no node is read in vain
        rebuilt[rows.start : rows.stop, seen] = mask[0, 0]
    assert torch.equal(rebuilt, visible)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("window", [None, 4])
def test_results_and_gradients_are_those_of_sdpa(monkeypatch, groups, window):
    monkeypatch.setattr(block_attention, "BLOCK", 8)
    mask = random_mask(1, window)
    torch.manual_seed(0)
    nodes = mask.shape[-1]
    query = torch.randn(1, 4, nodes, 8, dtype=torch.float64, requires_grad=True)
    key, value = (torch.randn(1, 4 // groups, nodes, 8, dtype=torch.float64, requires_grad=True) for _ in range(2))
    module = SimpleNamespace(num_key_value_groups=groups, is_causal=True)
    weights = torch.randn(1, nodes, 4, 8, dtype=torch.float64)
    results = []
    for given in (mask, with_blocks(mask.clone())):
        result, _ = block_attention.block_attention(module, query, key, value, given, scaling=0.3)
        results.append((result, *torch.autograd.grad((result * weights).sum(), (query, key, value))))
    for one, other in zip(*results, strict=True):
        assert one.shape == other.shape
        assert torch.allclose(one, other, atol=1e-12)


def test_blocks_compute_less_than_all_pairs():
    """Rows with a common beginning: each reads the beginning and itself."""
    rows = [[*range(200), *range(1000 * number, 1000 * number + 100)] for number in range(1, 9)]
    _, depths, ends, _ = row_trie(rows)
    blocks = blocks_of(dense_mask(torch.from_numpy(depths), torch.from_numpy(ends))[0, 0])
    assert sum(mask.numel() for _, _, mask in blocks) < 0.5 * len(ends) ** 2
