"""Sums of rows within groups. The NumPy twin is in ``robuststat._core.vcov.cluster_sums``."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["segment_sums"]

Array = NDArray[np.float64]


@njit(cache=True, nogil=True)
def segment_sums(psi: Array, codes: NDArray[np.int64], out: Array) -> Array:
    """Add every row of ``psi`` to the row of ``out`` that its group code points to.

    Parameters
    ----------
    psi : ndarray of shape (m, k)
        Rows to add, C-contiguous float64.
    codes : ndarray of shape (m,)
        Group of each row, in 0..G-1. The compiled loop does not check bounds: the caller does.
    out : ndarray of shape (G, k)
        Running totals, changed in place.

    Returns
    -------
    ndarray of shape (G, k)
        ``out`` itself.
    """
    for i in range(psi.shape[0]):
        group = codes[i]
        for j in range(psi.shape[1]):
            out[group, j] += psi[i, j]
    return out
