"""Where ids stand in a list, for lists of millions: 64 bits an id in place of a string in a dict.

Ids are 16 hex digits of a SHA-256 (`records.content_id`), so 64 bits are all that they hold. An id of another form, in
a file of the user's own, stands for 64 bits of its own hash: that two of n ids then share their bits is no likelier
(n * n / 2**65; for a million 3 in 10**8) than that two contents share their 16 digits.
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
    """Return the 64 bits that stand for an id."""
    if _CONTENT_ID.fullmatch(key):
        return int(key, 16)
    digest = hashlib.blake2b(key.encode("utf-8", errors="surrogatepass"), digest_size=8)
    return int.from_bytes(digest.digest(), "big")


def id_numbers(keys: Iterable[str]) -> NDArray[np.uint64]:
    """Return the 64 bits of each id, [N]."""
    return np.frombuffer(array("Q", map(id_number, keys)), dtype=np.uint64)


def repeated(numbers: array[int]) -> bool:
    """Tell whether a number is there more than once."""
    return len(np.unique(np.array(numbers, dtype=np.uint64))) < len(numbers)


class Ids:
    """A list of ids, by their numbers: which place an id has. 24 bytes an id."""

    def __init__(self, numbers: NDArray[np.uint64]) -> None:
        self.numbers = numbers  # [N], in the order of the list
        self._order = np.argsort(numbers, kind="stable")  # [N] equal ones in the order of the list
        self._sorted = numbers[self._order]  # [N]

    @classmethod
    def of(cls, keys: Iterable[str]) -> Ids:
        """Return the ids of a list."""
        return cls(id_numbers(keys))

    def __len__(self) -> int:
        return len(self.numbers)

    def __contains__(self, key: str) -> bool:
        return self.place(key) is not None

    def place(self, key: str) -> int | None:
        """Return where an id stands for the first time, None where it does not."""
        place = int(self.places(np.array([id_number(key)], dtype=np.uint64))[0])
        return None if place < 0 else place

    def places(self, numbers: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return where each of these ids stands for the first time, -1 for one that does not: [M]."""
        if not len(self):
            return np.full(len(numbers), -1, dtype=np.int64)
        at = np.minimum(np.searchsorted(self._sorted, numbers), len(self) - 1)  # [M]
        return np.where(self._sorted[at] == numbers, self._order[at], -1)

    @property
    def first(self) -> NDArray[np.bool_]:
        """Whether an id stands at its place for the first time: [N]."""
        new = np.ones(len(self), dtype=np.bool_)  # [N] where another id begins in the sorted list
        new[1:] = self._sorted[1:] != self._sorted[:-1]
        marks = np.zeros(len(self), dtype=np.bool_)
        marks[self._order[new]] = True
        return marks
