"""The index of ids, by 64-bit numbers."""

import random

import numpy as np
import pytest
from srlm.rows.ids import IdIndex, id_number
from srlm.rows.records import content_id


def test_an_id_is_its_own_number():
    assert id_number("00000000000000ff") == 255
    assert id_number("ffffffffffffffff") == 2**64 - 1


@pytest.mark.parametrize(
    "key",
    ["", "p0", "0x000000000000ff", "00000000000000FF", "0000_0000_0000_ff", " 0000000000000ff", "00000000000000ff\n",
     "00000000000000ff0", "\u0660" * 16, "\ud800", "é"],
)  # fmt: skip
def test_other_ids_are_hashed(key):
    assert 2**32 < id_number(key) < 2**64  # and so not that of what `int` would make of it
    assert id_number(key) == id_number(key)


def test_different_ids_have_different_numbers():
    keys = {content_id(n) for n in range(1000)} | {f"{content_id(n)}.{n}" for n in range(1000)} | {"", "p", "P"}
    assert len({id_number(key) for key in keys}) == len(keys)


@pytest.mark.parametrize("seed", range(5))
def test_indices_are_those_of_a_list(seed):
    draw = random.Random(seed)
    known = [draw.choice([content_id(n), f"p{n}"]) for n in range(200)]
    keys = [draw.choice(known) for _ in range(150)]
    ids = IdIndex.of(iter(keys))
    assert len(ids) == 150
    assert [ids.index(key) for key in known] == [keys.index(key) if key in keys else None for key in known]
    assert [key in ids for key in known] == [key in keys for key in known]
    expected = [keys.index(key) if key in keys else -1 for key in known]
    assert ids.indices(np.array([id_number(key) for key in known], dtype=np.uint64)).tolist() == expected
    assert ids.is_first.tolist() == [keys.index(key) == place for place, key in enumerate(keys)]


def test_no_ids():
    ids = IdIndex.of([])
    assert (len(ids), "x" in ids, ids.is_first.tolist()) == (0, False, [])
    assert ids.indices(np.array([1], dtype=np.uint64)).tolist() == [-1]
