"""Windows of sorted values. The NumPy twins are in ``robuststat.private._envelopes_sorted``."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["mad_ends", "window_widths"]


@njit(cache=True, nogil=True)
def window_widths(x: Any, sizes: NDArray[np.int64], out: Any) -> Any:
    """Width of the shortest window of sorted values, for windows of several sizes.

    Parameters
    ----------
    x : ndarray of shape (n,)
        Sorted, float64 or int64.
    sizes : ndarray of int64
        Values in a window, in 1..n.
    out : ndarray
        One entry a size, of the type of x; changed in place.

    Returns
    -------
    ndarray
        ``out`` itself.
    """
    n = x.shape[0]
    for s in range(sizes.shape[0]):
        p = sizes[s]
        best = x[n - 1] - x[0]
        for i in range(n - p + 1):
            width = x[i + p - 1] - x[i]
            best = min(best, width)
        out[s] = best
    return out


@njit(cache=True, nogil=True)
def mad_ends(x: Any, a: Any, b: Any, h: int, width: Any, out: Any) -> Any:
    """Twice the smallest (h-k)-th and largest (h+k)-th distance from a point of [a_k, b_k].

    Parameters
    ----------
    x : ndarray of shape (n,)
        Sorted, float64 or int64.
    a, b : ndarray of shape (K + 1,)
        Ends of the interval of the centre.
    h : int
        Rank of the distance.
    width : number
        Width of the range.
    out : ndarray of shape (2, K + 1)
        Of the type of x, zeros; changed in place.

    Returns
    -------
    ndarray
        ``out`` itself.
    """
    n = x.shape[0]
    for k in range(a.shape[0]):
        p = h - k
        if p >= 1:
            best = 2 * width
            for i in range(n - p + 1):
                first, last = x[i], x[i + p - 1]
                best = min(best, max(last - first, 2 * max(last - b[k], a[k] - first)))
            out[0, k] = best
        p = h + k
        if p > n:
            out[1, k] = 2 * width
            continue
        left, right = 2 * width, 2 * width
        for i in range(n - p + 1):
            first, last = x[i], x[i + p - 1]
            left = min(left, 2 * max(a[k] - first, last - a[k]))
            right = min(right, 2 * max(b[k] - first, last - b[k]))
        top = max(left, right)
        for i in range(n - p):
            twice = x[i] + x[i + p]
            if 2 * a[k] <= twice <= 2 * b[k]:
                top = max(top, x[i + p] - x[i])
        out[1, k] = top
    return out
