"""Walk over all subsets of variables by elimination.

The NumPy twin is ``robuststat.invariance._sweep.walk_batches``.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["walk_subsets"]

Array = NDArray[np.float64]


@njit(cache=True, nogil=True)
def _eliminate(
    old: Array,
    new: Array,
    floors: Array,
    j: int,
    b: Array,
    rank: NDArray[np.int64],
    new_rank: NDArray[np.int64],
) -> None:
    """Eliminate variable j from the pivot matrices; leaves the multipliers in ``b``."""
    q = old.shape[1]
    for g in range(old.shape[0]):
        pivot = old[g, j, j]
        live = pivot > floors[g, j]
        new_rank[g] = rank[g] + (1 if live else 0)
        for k in range(j + 1, q):
            b[g, k] = old[g, j, k] / pivot if live else 0.0
        for k in range(j + 1, q):
            for i in range(k, q):
                new[g, k, i] = old[g, k, i] - b[g, k] * old[g, j, i]


@njit(cache=True, nogil=True)
def _follow(
    old: Array,
    new: Array,
    mean: Array,
    new_mean: Array,
    pivot_of: NDArray[np.int64],
    j: int,
    b: Array,
) -> None:
    """Take variable j off the other rows with the multipliers of their pivot matrix."""
    q = old.shape[1]
    for c in range(old.shape[0]):
        g = pivot_of[c]
        diagonal = old[c, j, j]
        for k in range(j + 1, q):
            new_mean[c, k] = mean[c, k] - b[g, k] * mean[c, j]
            shift = old[c, j, k] - b[g, k] * diagonal
            for i in range(k, q):
                new[c, k, i] = old[c, k, i] - b[g, k] * old[c, j, i] - b[g, i] * shift


@njit(cache=True, nogil=True)
def walk_subsets(
    pivots: Array,
    squares: Array,
    means: Array,
    pivot_of: NDArray[np.int64],
    floors: Array,
    max_size: int,
    masks: NDArray[np.int64],
    out_pivots: Array,
    out_ranks: NDArray[np.int64],
    out_squares: Array,
    out_means: Array,
) -> int:
    """Eliminate every subset of the first m variables, depth first, and read off the outcome.

    One step is a rank-one update of the block of later variables (a row of a Cholesky factor), and
    going back is free. Half of all subsets end in the last variable and cost almost nothing: the
    average over all subsets is a constant number of operations a matrix.

    Parameters
    ----------
    pivots : ndarray of shape (G, m + 1, m + 1)
        Scatter matrices that are eliminated; the outcome comes last.
    squares, means : ndarray of shapes (C, m + 1, m + 1), (C, m + 1)
        Scatter matrices and means of other rows, which get the coefficients of a pivot matrix.
    pivot_of : ndarray of shape (C,)
        Pivot matrix that each of them follows.
    floors : ndarray of shape (G, m)
        A pivot at or below it counts as zero: the variable is left out there.
    max_size : int
        Largest number of variables eliminated.
    masks : ndarray of shape (S,)
        Receives the variables of each subset as bits.
    out_pivots, out_ranks : ndarray of shape (S, G)
        Receive residual sums of squares and numbers of variables eliminated.
    out_squares, out_means : ndarray of shape (S, C)
        Receive centred residual sums of squares and mean residuals.

    Returns
    -------
    int
        Number of subsets.
    """
    G, q, C, m = pivots.shape[0], pivots.shape[1], squares.shape[0], pivots.shape[1] - 1
    depth = min(m, max_size)
    P = np.empty((depth + 1, G, q, q))
    D = np.empty((depth + 1, C, q, q))
    M = np.empty((depth + 1, C, q))
    ranks = np.zeros((depth + 1, G), dtype=np.int64)
    b = np.empty((G, q))
    following = np.zeros(depth + 1, dtype=np.int64)
    chosen = np.zeros(depth + 1, dtype=np.int64)
    P[0], D[0], M[0] = pivots, squares, means
    count, level, fresh = 0, 0, True
    while level >= 0:
        if fresh:
            masks[count] = chosen[level]
            for g in range(G):
                out_pivots[count, g] = P[level, g, m, m]
                out_ranks[count, g] = ranks[level, g]
            for c in range(C):
                out_squares[count, c] = D[level, c, m, m]
                out_means[count, c] = M[level, c, m]
            count += 1
            fresh = False
        j = following[level]
        if j >= m or level >= depth:
            level -= 1
            continue
        following[level] = j + 1
        _eliminate(P[level], P[level + 1], floors, j, b, ranks[level], ranks[level + 1])
        _follow(D[level], D[level + 1], M[level], M[level + 1], pivot_of, j, b)
        chosen[level + 1] = chosen[level] | (np.int64(1) << j)
        following[level + 1] = j + 1
        level += 1
        fresh = True
    return count
