"""Counting grid values in one pass. The NumPy twins are in ``robuststat.private._counting``."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["collect_buckets", "count_buckets"]

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]


@njit(cache=True, nogil=True)
def count_buckets(
    x: Array, lo: float, inverse: float, last: int, shift: int, counts: IntArray, sums: IntArray
) -> None:
    """Add the grid index of every value to the counts of its bucket.

    The index is ``floor((x - lo) * inverse + 1/2)``, clipped to 0..last; the middle for NaN.

    Parameters
    ----------
    x : ndarray of shape (n,)
        Values.
    lo, inverse : float
        Start of the grid and one over its step.
    last : int
        Largest index.
    shift : int
        A bucket holds ``2**shift`` neighbouring indices.
    counts, sums : ndarray
        Values a bucket, and sums of their indices counted from the start of the bucket; both are
        changed in place, ``sums`` only when ``shift`` is not 0. Length ``(last >> shift) + 1``.
    """
    mask = (1 << shift) - 1
    middle = last // 2
    for i in range(x.shape[0]):
        position = (x[i] - lo) * inverse + 0.5
        if position >= last:
            j = np.int64(last)
        elif position >= 0.0:
            j = np.int64(position)
        elif position < 0.0:
            j = np.int64(0)
        else:
            j = np.int64(middle)
        counts[j >> shift] += 1
        if shift > 0:
            sums[j >> shift] += j & mask


@njit(cache=True, nogil=True)
def collect_buckets(
    x: Array,
    lo: float,
    inverse: float,
    last: int,
    shift: int,
    wanted: NDArray[np.bool_],
    out: IntArray,
    start: int,
) -> int:
    """Write the indices of values in wanted buckets to ``out`` from position ``start``.

    Parameters
    ----------
    x, lo, inverse, last, shift
        As in :func:`count_buckets`.
    wanted : ndarray of bool
        One entry a bucket.
    out : ndarray of int64
        Long enough; changed in place.
    start : int
        First free position.

    Returns
    -------
    int
        First position that is free afterwards.
    """
    middle = last // 2
    for i in range(x.shape[0]):
        position = (x[i] - lo) * inverse + 0.5
        if position >= last:
            j = np.int64(last)
        elif position >= 0.0:
            j = np.int64(position)
        elif position < 0.0:
            j = np.int64(0)
        else:
            j = np.int64(middle)
        if wanted[j >> shift]:
            out[start] = j
            start += 1
    return start
