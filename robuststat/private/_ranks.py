"""Order statistics of grid indices: from sorted values, or from counts without sorting.

Ranks run from 1 to n. Records that an adversary may set to the ends of the range are modelled by
``x_(j) = lo`` for j < 1 and ``x_(j) = hi`` for j > n.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from robuststat._core.types import IntArray

_MASK = (1 << 32) - 1


class Ranks(ABC):
    """Order statistics x_(1) <= ... <= x_(n) of integers in lo..hi.

    Attributes
    ----------
    n : int
        Number of values.
    lo, hi : int
        Ends of the range.
    """

    n: int
    lo: int
    hi: int

    @abstractmethod
    def _inside(self, ranks: IntArray) -> Any:
        """Order statistics of ranks in 1..n."""

    @abstractmethod
    def sum_below(self, rank: int) -> int:
        """Exact sum of x_(1), ..., x_(rank), for rank in 0..n."""

    @abstractmethod
    def counts_around(self, values: IntArray) -> tuple[IntArray, IntArray]:
        """Count values smaller than, and not larger than, some of the order statistics held."""

    def at(self, ranks: Any) -> IntArray:
        """Order statistics, with ``lo`` and ``hi`` beyond the ends."""
        wanted = np.asarray(ranks, dtype=np.int64)
        found = np.where(wanted < 1, self.lo, self.hi)
        inside = (wanted >= 1) & (wanted <= self.n)
        if inside.any():
            found[inside] = self._inside(wanted[inside])
        return found

    def block_sum(self, first: int, last: int) -> int:
        """Exact sum of x_(first), ..., x_(last) with 1 <= first, last <= n."""
        return self.sum_below(last) - self.sum_below(first - 1)


@dataclass(frozen=True, slots=True)
class Piece:
    """Sorted values of consecutive ranks; values equal to one of them are all here.

    Attributes
    ----------
    start : int
        Rank of the first value.
    values : ndarray of int64
        Sorted.
    before : int
        Sum of all smaller order statistics.
    """

    start: int
    values: IntArray
    before: int


class SortedRanks(Ranks):
    """Order statistics in some windows of ranks, each sorted; one window for all of the data."""

    def __init__(self, pieces: Sequence[Piece], n: int, lo: int, hi: int) -> None:
        self.pieces = tuple(pieces)
        self.n, self.lo, self.hi = n, lo, hi

    @classmethod
    def from_values(cls, values: IntArray, lo: int, hi: int) -> SortedRanks:
        """All order statistics of integers in any order."""
        return cls.from_sorted(np.sort(values), lo, hi)

    @classmethod
    def from_sorted(cls, values: IntArray, lo: int, hi: int) -> SortedRanks:
        """All order statistics of sorted integers."""
        return cls([Piece(1, values, 0)], len(values), lo, hi)

    @property
    def all_values(self) -> IntArray:
        """Sorted values, where all of them are held."""
        (piece,) = self.pieces
        assert len(piece.values) == self.n
        return piece.values

    def _piece(self, rank: int) -> Piece:
        for piece in self.pieces:
            if piece.start <= rank < piece.start + len(piece.values):
                return piece
        raise AssertionError(f"rank {rank} lies outside of the windows that were sorted")

    def _inside(self, ranks: IntArray) -> IntArray:
        if len(self.pieces) == 1:
            piece = self._piece(int(ranks.min()))
            assert ranks.max() < piece.start + len(piece.values)
            return np.asarray(piece.values[ranks - piece.start])
        return np.array([self._piece(int(r)).values[r - self._piece(int(r)).start] for r in ranks])

    def sum_below(self, rank: int) -> int:
        """Exact sum of the ``rank`` smallest values."""
        if rank == 0:
            return 0
        piece = self._piece(rank)
        return piece.before + exact_sum(piece.values[: rank - piece.start + 1])

    def counts_around(self, values: IntArray) -> tuple[IntArray, IntArray]:
        """Count values smaller than, and not larger than, some that are held."""
        below, upto = np.zeros_like(values), np.zeros_like(values)
        for piece in self.pieces:
            if len(piece.values):
                here = (values >= piece.values[0]) & (values <= piece.values[-1])
                for out, side in ((below, "left"), (upto, "right")):
                    found = np.searchsorted(piece.values, values[here], side=side)  # type: ignore[call-overload]
                    out[here] = piece.start - 1 + found
        return below, upto


class CountedRanks(Ranks):
    """Order statistics of values given by how often each grid index occurs.

    Parameters
    ----------
    counts : ndarray of int64
        Counts of the indices offset, offset + 1, ...
    lo, hi : int
        Ends of the range.
    offset : int
        Index of the first count.
    """

    def __init__(self, counts: IntArray, lo: int, hi: int, offset: int = 0) -> None:
        self.counts = counts
        self.offset = offset
        self.cumulative = np.cumsum(counts)
        self.n = int(self.cumulative[-1]) if len(counts) else 0
        self.lo, self.hi = lo, hi

    def _inside(self, ranks: IntArray) -> IntArray:
        return np.searchsorted(self.cumulative, ranks, side="left") + self.offset

    def sum_below(self, rank: int) -> int:
        """Exact sum of the ``rank`` smallest values."""
        if rank == 0:
            return 0
        j = int(np.searchsorted(self.cumulative, rank, side="left"))
        full = self.counts[:j]
        # Indices times counts stay below 2**62: at most 2**22 indices and 2**40 rows.
        total = int(full @ np.arange(j, dtype=np.int64)) if j else 0
        seen = int(self.cumulative[j - 1]) if j else 0
        return total + j * (rank - seen) + self.offset * rank

    def counts_around(self, values: IntArray) -> tuple[IntArray, IntArray]:
        """Count values smaller than, and not larger than, some that occur."""
        upto = self.cumulative[values - self.offset]
        return upto - self.counts[values - self.offset], upto

    def within(self, first: int, last: int) -> CountedRanks:
        """Only the values in first..last, with that range."""
        a, b = first - self.offset, last - self.offset + 1
        return CountedRanks(
            self.counts[max(a, 0) : max(b, 0)], first, last, max(first, self.offset)
        )

    def sorted(self) -> SortedRanks:
        """All values in order, by counting."""
        indices = np.arange(self.offset, self.offset + len(self.counts), dtype=np.int64)
        return SortedRanks.from_sorted(np.repeat(indices, self.counts), self.lo, self.hi)


def exact_sum(values: IntArray) -> int:
    """Sum of int64 values below 2**45 that cannot overflow."""
    high = int(np.sum(values >> 32)) if len(values) and values.max() > _MASK else 0
    return (high << 32) + int(np.sum(values & _MASK)) if high else int(np.sum(values))
