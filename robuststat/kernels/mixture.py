"""Mixture densities and cross-entropy moments. NumPy twins: ``robuststat.sampling._density``."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["squared_distances", "weighted_moments"]

Array = NDArray[np.float64]


@njit(cache=True, nogil=True)
def squared_distances(points: Array, means: Array, inverse: Array, out: Array) -> Array:
    """Squared Mahalanobis distance of every point to every component.

    Parameters
    ----------
    points : ndarray of shape (n, d)
        Points, C-contiguous float64.
    means : ndarray of shape (S, d)
        Centres.
    inverse : ndarray of shape (S, d, d)
        Inverse Cholesky factors, lower triangular; what is above the diagonal is not read.
    out : ndarray of shape (n, S)
        Filled in place.

    Returns
    -------
    ndarray of shape (n, S)
        ``out`` itself.
    """
    n, d = points.shape
    for i in range(n):
        for s in range(means.shape[0]):
            total = 0.0
            for a in range(d):
                z = 0.0
                for b in range(a + 1):
                    z += inverse[s, a, b] * (points[i, b] - means[s, b])
                total += z * z
            out[i, s] = total
    return out


@njit(cache=True, nogil=True)
def weighted_moments(points: Array, weights: Array, shift: Array, mean: Array, cov: Array) -> None:
    """Weighted means and covariances of the same points under several columns of weights.

    One pass over the points accumulates sums about ``shift``; the covariances are moved to the
    means at the end.

    Parameters
    ----------
    points : ndarray of shape (n, d)
        Points, C-contiguous float64.
    weights : ndarray of shape (n, K)
        Non-negative weights; every column has a positive sum.
    shift : ndarray of shape (d,)
        Something near the points: sums about it keep their digits.
    mean, cov : ndarray of shape (K, d) and (K, d, d)
        Zeros on entry, filled in place; the weighted covariance has divisor sum(weights).
    """
    n, d = points.shape
    K = weights.shape[1]
    total = np.zeros(K)
    for i in range(n):
        for k in range(K):
            a = weights[i, k]
            if a == 0.0:
                continue
            total[k] += a
            for b in range(d):
                z = points[i, b] - shift[b]
                mean[k, b] += a * z
                for c in range(b + 1):
                    cov[k, b, c] += a * z * (points[i, c] - shift[c])
    for k in range(K):
        for b in range(d):
            mean[k, b] /= total[k]
        for b in range(d):
            for c in range(b + 1):
                value = cov[k, b, c] / total[k] - mean[k, b] * mean[k, c]
                cov[k, b, c] = value
                cov[k, c, b] = value
        for b in range(d):
            mean[k, b] += shift[b]
