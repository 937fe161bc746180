"""Loops of the ordinal models: one pass over class-sorted rows, and coordinate descent.

The NumPy twins are ``robuststat.ordinal._presto_problem._logit_terms`` and
``robuststat.ordinal._presto_quadratic.active_set``.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["lasso_descent", "logit_rows"]

Array = NDArray[np.float64]


@njit(cache=True, nogil=True)
def logit_rows(
    Z: Array,
    starts: NDArray[np.int64],
    w: Array,
    offset: Array,
    theta: Array,
    gradient: Array,
    rows: Array,
) -> float:
    """Loss, gradient and row weights of cumulative logits in one pass over class-sorted rows.

    Parameters
    ----------
    Z : ndarray of shape (n, 1 + p)
        A column of ones, then covariates; rows of class 0 first, then class 1, ...
    starts : ndarray of shape (K + 1,)
        First row of each class, and n.
    w, offset : ndarray of shape (n,)
        Weights, and what is added to every linear predictor.
    theta : ndarray of shape (q, 1 + p)
        Threshold and slopes of each boundary: eta = theta @ z.
    gradient : ndarray of shape (q, 1 + p)
        Filled with the gradient of the loss.
    rows : ndarray of shape (5, n)
        Filled with w times: derivatives of log p in the upper and lower boundary, minus the second
        derivatives in each, and plus the mixed one.

    Returns
    -------
    float
        Minus the weighted log-likelihood; infinite when boundaries cross in a row.
    """
    n_columns = Z.shape[1]
    q = theta.shape[0]
    loss = 0.0
    gradient[:, :] = 0.0
    for c in range(q + 1):
        for i in range(starts[c], starts[c + 1]):
            a = offset[i]
            b = offset[i]
            if c < q and c > 0:
                for j in range(n_columns):
                    a += Z[i, j] * theta[c, j]
                    b += Z[i, j] * theta[c - 1, j]
            elif c < q:
                for j in range(n_columns):
                    a += Z[i, j] * theta[c, j]
            else:
                for j in range(n_columns):
                    b += Z[i, j] * theta[c - 1, j]
            up, low, up2, low2, mixed, log_p = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
            r, g = 0.0, 0.0
            if c < q and c > 0:
                d = a - b
                if d <= 0.0:
                    return np.inf
                e = np.exp(-d)
                one = -np.expm1(-d)
                log_p += np.log(one)
                r = e / one
                g = r / one
                mixed = g
            if c < q:
                t = np.exp(-abs(a))
                upper_tail = t / (1.0 + t) if a > 0 else 1.0 / (1.0 + t)
                log_p -= np.log1p(t) + max(-a, 0.0)
                up = upper_tail + r
                up2 = upper_tail * (1.0 - upper_tail) + g
            if c > 0:
                t = np.exp(-abs(b))
                lower_tail = 1.0 / (1.0 + t) if b > 0 else t / (1.0 + t)
                log_p -= np.log1p(t) + max(b, 0.0)
                low = -lower_tail - r
                low2 = lower_tail * (1.0 - lower_tail) + g
            loss -= w[i] * log_p
            rows[0, i] = w[i] * up
            rows[1, i] = w[i] * low
            rows[2, i] = w[i] * up2
            rows[3, i] = w[i] * low2
            rows[4, i] = w[i] * mixed
            if c < q:
                for j in range(n_columns):
                    gradient[c, j] -= rows[0, i] * Z[i, j]
            if c > 0:
                for j in range(n_columns):
                    gradient[c - 1, j] -= rows[1, i] * Z[i, j]
    return loss


@njit(cache=True, nogil=True)
def lasso_descent(
    A: Array, b: Array, l1: Array, x: Array, tol: float, max_sweeps: int
) -> tuple[float, int]:
    """Minimise b'x + x'Ax/2 + sum(l1 |x|) by coordinate descent with covariance updates.

    Parameters
    ----------
    A : ndarray of shape (m, m)
        Symmetric, with a positive diagonal.
    b, l1 : ndarray of shape (m,)
        Linear term and penalties.
    x : ndarray of shape (m,)
        Start; overwritten with the solution.
    tol : float
        Largest violation of the optimality conditions that is accepted.
    max_sweeps : int
        Sweeps over the coordinates before giving up.

    Returns
    -------
    violation : float
        Of the optimality conditions in the last full sweep.
    sweeps : int
        Sweeps used.
    """
    m = x.shape[0]
    u = b.copy()
    for j in range(m):
        if x[j] != 0.0:
            for i in range(m):
                u[i] += A[i, j] * x[j]
    violation = np.inf
    full = True
    for sweep in range(max_sweeps):
        worst = 0.0
        for j in range(m):
            if not full and x[j] == 0.0:
                continue
            if x[j] == 0.0 and abs(u[j]) <= l1[j]:
                continue
            curvature = A[j, j]
            target = curvature * x[j] - u[j]
            if target > l1[j]:
                new = (target - l1[j]) / curvature
            elif target < -l1[j]:
                new = (target + l1[j]) / curvature
            else:
                new = 0.0
            change = new - x[j]
            if change != 0.0:
                worst = max(worst, abs(change) * curvature)
                x[j] = new
                for i in range(m):
                    u[i] += A[j, i] * change
        if full:
            violation = worst
            if worst <= tol:
                return violation, sweep + 1
            full = False
        elif worst <= tol:
            # The coordinates that move have settled: look at all of them again.
            full = True
    return violation, max_sweeps
