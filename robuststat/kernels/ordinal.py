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
def _row_terms(
    a: float, b: float, has_a: bool, has_b: bool
) -> tuple[float, float, float, float, float, float]:
    """Log p of one row and its derivatives; a and b count only where the row has them."""
    up, low, up2, low2, mixed, log_p = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    r = 0.0
    if has_a and has_b:
        d = a - b
        if not d > 0.0:
            return -np.inf, up, low, up2, low2, mixed
        e = np.exp(-d)
        one = -np.expm1(-d)
        log_p += np.log(one)
        r = e / one
        mixed = r / one
    if has_a:
        t = np.exp(-abs(a))
        tail = t / (1.0 + t) if a > 0 else 1.0 / (1.0 + t)
        log_p -= np.log1p(t) + max(-a, 0.0)
        up = tail + r
        up2 = tail * (1.0 - tail) + mixed
    if has_b:
        t = np.exp(-abs(b))
        head = 1.0 / (1.0 + t) if b > 0 else t / (1.0 + t)
        log_p -= np.log1p(t) + max(b, 0.0)
        low = -head - r
        low2 = head * (1.0 - head) + mixed
    return log_p, up, low, up2, low2, mixed


@njit(cache=True, nogil=True)
def _slab(
    Z: Array,
    first: int,
    last: int,
    w: Array,
    offset: Array,
    upper: Array,
    lower: Array,
    has: tuple[bool, bool],
    g_upper: Array,
    g_lower: Array,
    rows: Array,
) -> float:
    """Loss of the rows of one class; fills their rows and adds to two gradients."""
    loss = 0.0
    n_columns = Z.shape[1]
    has_a, has_b = has
    for i in range(first, last):
        a = offset[i]
        b = offset[i]
        for j in range(n_columns):
            a += Z[i, j] * upper[j]
            b += Z[i, j] * lower[j]
        log_p, up, low, up2, low2, mixed = _row_terms(a, b, has_a, has_b)
        if log_p == -np.inf:
            return np.inf
        weight = w[i]
        loss -= weight * log_p
        up *= weight
        low *= weight
        rows[0, i] = up
        rows[1, i] = low
        rows[2, i] = weight * up2
        rows[3, i] = weight * low2
        rows[4, i] = weight * mixed
        for j in range(n_columns):
            g_upper[j] -= up * Z[i, j]
            g_lower[j] -= low * Z[i, j]
    return loss


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
    q = theta.shape[0]
    loss = 0.0
    gradient[:, :] = 0.0
    # The first class has no lower boundary and the last no upper one: theirs add zeros.
    nothing = np.zeros(Z.shape[1])
    unused = np.zeros(Z.shape[1])
    for c in range(q + 1):
        has_a, has_b = c < q, c > 0
        upper = theta[c] if has_a else nothing
        lower = theta[c - 1] if has_b else nothing
        g_upper = gradient[c] if has_a else unused
        g_lower = gradient[c - 1] if has_b else unused
        part = _slab(
            Z,
            starts[c],
            starts[c + 1],
            w,
            offset,
            upper,
            lower,
            (has_a, has_b),
            g_upper,
            g_lower,
            rows,
        )
        if part == np.inf:
            return np.inf
        loss += part
    return loss


@njit(cache=True, nogil=True)
def _sweep(A: Array, l1: Array, x: Array, u: Array, full: bool) -> float:
    """One round over all coordinates, or those that are not zero; u is the gradient."""
    m = x.shape[0]
    worst = 0.0
    for j in range(m):
        if x[j] == 0.0 and (not full or abs(u[j]) <= l1[j]):
            continue
        curvature = A[j, j]
        target = curvature * x[j] - u[j]
        shrunk = max(abs(target) - l1[j], 0.0)
        new = shrunk / curvature if target > 0.0 else -shrunk / curvature
        change = new - x[j]
        if change != 0.0:
            worst = max(worst, abs(change) * curvature)
            x[j] = new
            for i in range(m):
                u[i] += A[j, i] * change
    return worst


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
    u = b.copy()
    for j in range(x.shape[0]):
        if x[j] != 0.0:
            u += A[j] * x[j]
    violation = np.inf
    full = True
    for sweep in range(max_sweeps):
        worst = _sweep(A, l1, x, u, full)
        if full:
            violation = worst
            if worst <= tol:
                return violation, sweep + 1
            full = False
        elif worst <= tol:
            # The coordinates that move have settled: look at all of them again.
            full = True
    return violation, max_sweeps
