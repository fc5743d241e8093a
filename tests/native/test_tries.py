"""Rows of token ids as a trie."""

import random

import numpy as np
import pytest
from srlm.native import prefix_trie, shared_prefixes


def pack(rows):
    ids = np.array([token for row in rows for token in row], np.int64)
    return ids, np.cumsum([0, *map(len, rows)])


def ragged_rows(seed, count=30):
    """Rows over few tokens, so that many share beginnings or are equal, and some are empty."""
    chance = random.Random(seed)
    return [[chance.randrange(3) for _ in range(chance.randrange(9))] for _ in range(count)]


@pytest.mark.parametrize("seed", range(5))
def test_every_beginning_is_one_node_below_its_own_beginning(seed):
    rows = ragged_rows(seed)
    ids, offsets = pack(rows)
    tokens, depths, ends, nodes = prefix_trie(ids, offsets)
    beginnings = {tuple(row[:length]) for row in rows for length in range(1, len(row) + 1)}
    assert len(tokens) == len(beginnings)
    for row, start in zip(rows, offsets, strict=False):
        for length in range(1, len(row) + 1):
            node = nodes[start + length - 1]
            path = [int(tokens[other]) for other in range(node + 1) if node < ends[other]]
            assert path == row[:length]
            assert depths[node] == length - 1


@pytest.mark.parametrize("seed", range(5))
def test_sorted_rows_and_what_they_share(seed):
    rows = ragged_rows(seed)
    order, shared = shared_prefixes(*pack(rows))
    assert order.tolist() == sorted(range(len(rows)), key=lambda row: (rows[row], row))
    before = []
    for row, count in zip(order, shared, strict=True):
        equal = [left == right for left, right in zip(before, rows[row], strict=False)]
        assert count == next((place for place, same in enumerate(equal) if not same), len(equal))
        before = rows[row]


def test_nothing():
    empty = np.empty(0, np.int64)
    assert [len(part) for part in prefix_trie(empty, np.array([0]))] == [0, 0, 0, 0]
    assert [len(part) for part in prefix_trie(empty, np.array([0, 0, 0]))] == [0, 0, 0, 0]
    assert [len(part) for part in shared_prefixes(empty, np.array([0]))] == [0, 0]


@pytest.mark.parametrize("offsets", [[], [1, 3], [0, 2], [0, 4], [0, 2, 1, 3], [0, -1, 3]])
def test_wrong_offsets(offsets):
    ids = np.array([1, 2, 3])
    for function in (prefix_trie, shared_prefixes):
        with pytest.raises(
            ValueError, match=r"offsets must start at 0, never fall, and end at the number of ids \(3\)"
        ):
            function(ids, np.array(offsets, np.int64))


def test_wrong_types():
    for function in (prefix_trie, shared_prefixes):
        with pytest.raises(TypeError, match="ids must be a one-dimensional numpy array of int64"):
            function(np.array([1, 2], np.int32), np.array([0, 2]))
        with pytest.raises(TypeError, match="offsets must be a one-dimensional numpy array of int64"):
            function(np.array([1, 2]), [0, 2])
