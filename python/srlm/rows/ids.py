"""A compact index of ids for lists of millions: 64 bits per id instead of a string in a dict.

Ids are 16 hex digits of a SHA-256 (`records.content_id`), so 64 bits hold all of their information. An id in another
format, from a user's own file, is hashed to 64 bits. The probability that two of n ids collide (n * n / 2**65, which is
3 in 10**8 for a million) is then the same as that of two contents sharing their 16 digits.
"""

from __future__ import annotations

import hashlib
import re
from array import array
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

_CONTENT_ID = re.compile("[0-9a-f]{16}")


def id_number(key: str) -> int:
    """Return the 64-bit number of an id."""
    if _CONTENT_ID.fullmatch(key):
        return int(key, 16)
    digest = hashlib.blake2b(key.encode("utf-8", errors="surrogatepass"), digest_size=8)
    return int.from_bytes(digest.digest(), "big")


def id_numbers(keys: Iterable[str]) -> NDArray[np.uint64]:
    """Return the 64-bit number of each id, [N]."""
    return np.frombuffer(array("Q", map(id_number, keys)), dtype=np.uint64)


def has_duplicates(numbers: array[int]) -> bool:
    """Tell whether a number occurs more than once."""
    return len(np.unique(np.array(numbers, dtype=np.uint64))) < len(numbers)


class IdIndex:
    """Maps ids to their positions in a list, by their 64-bit numbers. Takes 24 bytes per id."""

    def __init__(self, numbers: NDArray[np.uint64]) -> None:
        self.numbers = numbers  # [N], in the order of the list
        self._order = np.argsort(numbers, kind="stable")  # [N], equal numbers in the order of the list
        self._sorted = numbers[self._order]  # [N]

    @classmethod
    def of(cls, keys: Iterable[str]) -> IdIndex:
        """Build the index of a list of ids."""
        return cls(id_numbers(keys))

    def __len__(self) -> int:
        return len(self.numbers)

    def __contains__(self, key: str) -> bool:
        return self.index(key) is not None

    def index(self, key: str) -> int | None:
        """Return the position of the first occurrence of an id, or None."""
        index = int(self.indices(np.array([id_number(key)], dtype=np.uint64))[0])
        return None if index < 0 else index

    def indices(self, numbers: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return the position of the first occurrence of each id, by its number, or -1: [M]."""
        if not len(self):
            return np.full(len(numbers), -1, dtype=np.int64)
        at = np.minimum(np.searchsorted(self._sorted, numbers), len(self) - 1)  # [M]
        return np.where(self._sorted[at] == numbers, self._order[at], -1)

    @property
    def is_first(self) -> NDArray[np.bool_]:
        """Whether each position is the first occurrence of its id: [N]."""
        new = np.ones(len(self), dtype=np.bool_)  # [N], true where a new id begins in the sorted list
        new[1:] = self._sorted[1:] != self._sorted[:-1]
        marks = np.zeros(len(self), dtype=np.bool_)
        marks[self._order[new]] = True
        return marks
