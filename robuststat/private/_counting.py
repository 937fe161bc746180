"""From data in memory or in chunks to order statistics of grid indices, without sorting them all.

One pass counts the indices in buckets of neighbouring grid points. With few grid points these
counts are the data; otherwise a second pass sorts only the buckets that hold wanted ranks.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from robuststat._core.errors import DataError
from robuststat._core.types import Array, IntArray
from robuststat.private._grid import Grid
from robuststat.private._intake import NanPolicy, read_column
from robuststat.private._ranks import CountedRanks, Piece, Ranks, SortedRanks, exact_sum

# Below this many rows sorting costs less than loading the compiled loops.
KERNEL_MIN_ROWS = 200_000
BUCKET_BITS = 20  # counts of 2**21 buckets fit the cache
CHUNK_ROWS = 1 << 20


class Counter:
    """Counts and, for coarse buckets, sums of grid indices.

    Parameters
    ----------
    grid : Grid
        Public grid.
    """

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.shift = max(0, grid.last.bit_length() - 1 - BUCKET_BITS)
        size = (grid.last >> self.shift) + 1
        self.counts = np.zeros(size, dtype=np.int64)
        self.sums = np.zeros(size if self.shift else 1, dtype=np.int64)

    def add(self, x: Array) -> None:
        """Count the values of one chunk."""
        grid = self.grid
        if len(x) >= KERNEL_MIN_ROWS:
            kernel = importlib.import_module("robuststat.kernels.buckets")
            args = (grid.lo, 1 / grid.step, grid.last, self.shift, self.counts, self.sums)
            kernel.count_buckets(x, *args)
            return
        index = grid.index(x)
        bucket = index >> self.shift
        self.counts += np.bincount(bucket, minlength=len(self.counts))
        if self.shift:
            np.add.at(self.sums, bucket, index & ((1 << self.shift) - 1))

    def collect(self, x: Array, wanted: Any, out: IntArray, start: int) -> int:
        """Append the indices in wanted buckets to ``out``; return the next free position."""
        grid = self.grid
        if len(x) >= KERNEL_MIN_ROWS:
            kernel = importlib.import_module("robuststat.kernels.buckets")
            args = (grid.lo, 1 / grid.step, grid.last, self.shift, wanted, out, start)
            return int(kernel.collect_buckets(x, *args))
        index = grid.index(x)
        index = index[wanted[index >> self.shift]]
        out[start : start + len(index)] = index
        return start + len(index)


class GridSample:
    """Data of one release as grid indices; lives only inside ``fit``.

    Parameters
    ----------
    chunks : sequence of ndarray
        Values, read once or twice.
    grid : Grid
        Public grid.
    """

    def __init__(self, chunks: Sequence[Array], grid: Grid) -> None:
        self.grid, self.chunks = grid, chunks
        self.n = sum(len(chunk) for chunk in chunks)
        self._counter: Counter | None = None
        if self.n >= KERNEL_MIN_ROWS:
            self._counter = Counter(grid)
            for chunk in chunks:
                self._counter.add(chunk)

    @classmethod
    def from_counter(cls, counter: Counter) -> GridSample:
        """Sample known by its counts only, which must be those of single grid points."""
        assert counter.shift == 0
        sample = cls((), counter.grid)
        sample._counter, sample.n = counter, int(counter.counts.sum())
        return sample

    def all_ranks(self) -> SortedRanks:
        """Every order statistic."""
        if self._counter is not None and self._counter.shift == 0:
            return self._counted().sorted()
        out, start = np.empty(self.n, dtype=np.int64), 0
        for chunk in self.chunks:
            for part in _slices(chunk):
                out[start : start + len(part)] = self.grid.index(part)
                start += len(part)
        out.sort()
        return SortedRanks.from_sorted(out, 0, self.grid.last)

    def ranks(self, windows: Iterable[tuple[int, int]]) -> Ranks:
        """Order statistics with ranks in the windows (first, last), and sums below them."""
        if self._counter is None:
            return self.all_ranks()
        if self._counter.shift == 0:
            return self._counted()
        return self._windows(self._counter, windows)

    def ranks_of_parts(self) -> Ranks:
        """Order statistics that can be restricted to parts of the grid."""
        counted = self._counter is not None and self._counter.shift == 0
        return self._counted() if counted else self.all_ranks()

    def clipped_sum(self, low: int, high: int) -> int:
        """Exact sum of the indices, clipped to low..high."""
        if self._counter is not None and self._counter.shift == 0:
            counts = self._counter.counts
            index = np.clip(np.arange(len(counts), dtype=np.int64), low, high)
            return int(counts @ index)
        parts = (part for chunk in self.chunks for part in _slices(chunk))
        return sum(exact_sum(np.clip(self.grid.index(part), low, high)) for part in parts)

    def _counted(self) -> CountedRanks:
        assert self._counter is not None
        return CountedRanks(self._counter.counts, 0, self.grid.last)

    def _windows(self, counter: Counter, windows: Iterable[tuple[int, int]]) -> SortedRanks:
        cumulative = np.cumsum(counter.counts)
        wanted = np.zeros(len(counter.counts), dtype=np.bool_)
        for first, last in windows:
            ends = np.clip([first, last], 1, self.n)
            left, right = np.searchsorted(cumulative, ends, side="left")
            wanted[left : right + 1] = True
        values = np.empty(int(counter.counts[wanted].sum()), dtype=np.int64)
        start = 0
        for chunk in self.chunks:
            start = counter.collect(chunk, wanted, values, start)
        values.sort()
        return SortedRanks(_pieces(counter, cumulative, wanted, values), self.n, 0, self.grid.last)


def _pieces(counter: Counter, cumulative: IntArray, wanted: Any, values: IntArray) -> list[Piece]:
    """Cut sorted values of wanted buckets into runs of neighbouring buckets."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], wanted.view(np.int8), [0]])))
    pieces, used = [], 0
    for left, right in edges.reshape(-1, 2):
        before = int(cumulative[left - 1]) if left else 0
        size = int(cumulative[right - 1]) - before
        base = int(counter.counts[:left] @ np.arange(left, dtype=np.int64)) << counter.shift
        total = base + int(counter.sums[:left].sum())
        pieces.append(Piece(before + 1, values[used : used + size], total))
        used += size
    return pieces


def _slices(x: Array) -> Iterator[Array]:
    for start in range(0, len(x), CHUNK_ROWS):
        yield x[start : start + CHUNK_ROWS]


def is_chunked(X: Any) -> bool:
    """Whether data come as an iterator, or a function that returns one."""
    if hasattr(X, "__array__") or hasattr(X, "columns") or hasattr(X, "schema"):
        return False
    return hasattr(X, "__next__") or (callable(X) and not hasattr(X, "shape"))


def read_sample(X: Any, grid: Grid, owner: str, nan_policy: NanPolicy) -> GridSample:
    """Read the data of a release, whole or in chunks.

    Parameters
    ----------
    X : array, frame with one column, iterator of such chunks, or function that returns one
        An iterator is read once; where a second pass is needed, its indices are kept.
    grid : Grid
        Public grid.
    owner : str
        Name put in front of messages.
    nan_policy : {"raise", "clip_mid"}
        See ``read_column``.

    Returns
    -------
    GridSample

    Raises
    ------
    DataError, TypeError
        As ``read_column``; for no rows at all.
    """
    middle = grid.value(grid.middle)
    if not is_chunked(X):
        x = read_column(X, owner, nan_policy=nan_policy, middle=middle)
        return GridSample([x], grid)
    counter = Counter(grid)
    kept: list[Array] = []
    rows = 0
    for chunk in X() if callable(X) else X:
        x = read_column(chunk, owner, nan_policy=nan_policy, middle=middle)
        rows += len(x)
        if counter.shift == 0:
            counter.add(x)
        else:
            # On the grid a value and its index carry the same; the index is read again later.
            kept.append(np.asarray(grid.lo + grid.index(x) * grid.step))
    if rows == 0:
        raise DataError(f"{owner}: the chunks hold no rows. Pass at least one.")
    return GridSample.from_counter(counter) if counter.shift == 0 else GridSample(kept, grid)
