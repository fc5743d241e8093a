"""How the rows of a step are divided into forward passes."""

import random

import pytest
from srlm.training.passes import PassPlanner, shared_groups
from srlm.training.prefix_masks import MaskForm
from srlm.training.row_layouts import row_trie

FORM = MaskForm("sdpa", {"full_attention": None})


def planner(*, form=FORM, max_nodes=50, max_examples=3, rows_of=lambda example: [example["input_ids"]]):
    return PassPlanner(rows_of, max_examples, 0, form, max_nodes)


def random_examples(count, seed=0):
    chance = random.Random(seed)
    beginnings = [[chance.randrange(9) for _ in range(12)] for _ in range(3)]
    return [
        {"input_ids": [*chance.choice(beginnings), *(chance.randrange(9) for _ in range(chance.randrange(20)))]}
        for _ in range(count)
    ]


@pytest.mark.parametrize("max_nodes", [1, 20, 50, 10_000])
@pytest.mark.parametrize("seed", range(3))
def test_every_example_once_and_within_the_budget(max_nodes, seed):
    examples = random_examples(30, seed)
    passes = planner(max_nodes=max_nodes).passes(examples)
    found = [id(example) for one in passes for example in one.examples]
    assert sorted(found) == sorted(map(id, examples))
    for one in passes:
        count = one.layout.input_ids.numel()
        assert count <= max_nodes or len(one.examples) == 1  # longer than the budget: a pass of its own
        assert count == len(row_trie([example["input_ids"] for example in one.examples])[0])
    if max_nodes == 10_000:
        assert len(passes) == 1


def test_rows_with_a_common_beginning_are_in_one_pass():
    rows = [[1] * 20 + [2], [3] * 20 + [4], [1] * 20 + [5], [3] * 20 + [6]]
    assert sorted(map(sorted, shared_groups([[row] for row in rows], 25))) == [[0, 2], [1, 3]]


def test_both_rows_of_a_pair_are_in_one_pass():
    pairs = [[[1, 2, 3], [9, 9, 9]], [[1, 2, 4], [9, 9, 8]], [[10], [11]]]
    assert sorted(map(sorted, shared_groups(pairs, 8))) == [[0, 1], [2]]  # 4 + 4 nodes, then 2
    assert len(shared_groups(pairs, 6)) == 3


def test_equal_rows_count_their_nodes_once():
    assert shared_groups([[[1, 2, 3]]] * 5, 3) == [[0, 1, 2, 3, 4]]


def test_padded_passes_have_rows_of_similar_length():
    examples = [{"input_ids": [1] * length} for length in (1, 9, 2, 8, 3, 7)]
    passes = planner(form=None).passes(examples)
    assert [[len(example["input_ids"]) for example in one.examples] for one in passes] == [[9, 8, 7], [3, 2, 1]]


@pytest.mark.parametrize("form", [FORM, None])
def test_a_pass_without_examples_computes_one_token(form):
    """Other processes may wait for it."""
    one = planner(form=form).one([])
    assert one.examples == []
    assert one.layout.input_ids.tolist() == [[0]]
    assert planner(form=form).passes([]) == []


def test_rows_without_tokens():
    groups = shared_groups([[[]], [[1]], [[]]], 5)
    assert sorted(index for group in groups for index in group) == [0, 1, 2]
