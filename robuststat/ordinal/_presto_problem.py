"""Rows of a PRESTO fit: sorted by class, columns standardised, loss and derivatives.

Internally eta_k = alpha_k + z'beta_k with standardised columns z, weights of sum one, and
psi_1 = beta_1, psi_k = beta_k - beta_{k-1}. Only the display has the opposite sign.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

from robuststat._core.types import Array, BoolArray, IntArray
from robuststat.ordinal._links import Link, get_link, interval_terms

# Number of cells above which the compiled pass is worth loading numba for (about a second).
KERNEL_MIN_CELLS = 400_000
# Rows of a weighted Gram matrix that are worked on at once, so that they stay in the cache.
_BLOCK = 8192


@dataclass(frozen=True, slots=True)
class Columns:
    """Standardised covariates of class-sorted rows, with a column of ones in front.

    Attributes
    ----------
    matrix : ndarray of shape (n, 1 + p), or list of CSR matrices (one a class)
        Standardised, or sparse as given: then centred and scaled when used.
    mean, scale : ndarray of shape (p,)
        Weighted mean, and weighted standard deviation (1 where zero, or not standardised).
    low, high : ndarray of shape (p,)
        Range of each column, in its own unit.
    usable : ndarray of bool of shape (p,)
        Columns that vary.
    """

    matrix: Any
    mean: Array
    scale: Array
    low: Array
    high: Array
    usable: BoolArray

    @property
    def n_columns(self) -> int:
        """Number of covariates p."""
        return int(self.mean.size)

    def take(self, J: IntArray) -> Array:
        """Dense standardised columns J with ones in front, of shape (n, 1 + len(J))."""
        if not isinstance(self.matrix, list):
            if J.size == self.n_columns:
                return np.asarray(self.matrix)
            return np.ascontiguousarray(self.matrix[:, np.concatenate([[0], J + 1])])
        parts = [slab[:, J].toarray() for slab in self.matrix]
        dense = (np.vstack(parts) - self.mean[J]) / self.scale[J]
        return np.hstack([np.ones((len(dense), 1)), dense])

    def crossprod(self, starts: IntArray, upper: Array, lower: Array) -> Array:
        """Slopes' part of the log-likelihood gradient, of shape (q, p)."""
        q = len(starts) - 2
        G = np.zeros((q, self.n_columns))
        sums = np.zeros(q)
        for c in range(q + 1):
            rows = slice(starts[c], starts[c + 1])
            is_sparse = isinstance(self.matrix, list)
            slab = self.matrix[c] if is_sparse else self.matrix[rows, 1:]
            for k, values in ((c, upper[rows]), (c - 1, lower[rows])):
                if 0 <= k < q:
                    G[k] += slab.T @ values
                    sums[k] += values.sum()
        if isinstance(self.matrix, list):
            G = (G - sums[:, None] * self.mean) / self.scale
        return G


@dataclass(frozen=True, slots=True)
class Problem:
    """All that a fit needs of the data.

    Attributes
    ----------
    columns : Columns
        Covariates.
    starts : ndarray of shape (K + 1,)
        First sorted row of each class, and n.
    w : ndarray of shape (n,)
        Weights of sum one.
    offset : ndarray of shape (n,)
        Added to every boundary.
    link : str
        Name of the link.
    total : float
        Sum of the weights as given.
    order : ndarray of shape (n,)
        Sorted row -> entry of the response.
    """

    columns: Columns
    starts: IntArray
    w: Array
    offset: Array
    link: str
    total: float
    order: IntArray

    @property
    def n_boundaries(self) -> int:
        """Number of boundaries q = K - 1."""
        return len(self.starts) - 2


@dataclass(frozen=True, slots=True)
class Point:
    """Loss and derivatives at one parameter value.

    Attributes
    ----------
    loss : float
        Minus the weighted mean log-likelihood.
    gradient : ndarray of shape (q, 1 + J)
        Of the loss in (alpha, beta) of the columns at hand.
    rows : ndarray of shape (5, n)
        Weighted derivatives of each row, as in ``robuststat.kernels.ordinal.logit_rows``.
    """

    loss: float
    gradient: Array
    rows: Array


def make_problem(
    X: Any, codes: IntArray, weights: Array, offset: Array | None, *, link: str, standardize: bool
) -> Problem:
    """Sort rows by class and standardise columns.

    Parameters
    ----------
    X : ndarray or sparse matrix of shape (m, p)
        Covariates, one row an entry of the response.
    codes : ndarray of shape (m,)
        Class numbers 0..K-1, all of which occur.
    weights : ndarray of shape (m,)
        Positive weights.
    offset : ndarray of shape (m,) or None
        Added to every boundary.
    link : str
        Link.
    standardize : bool
        Whether columns are divided by their weighted standard deviation.
    """
    order = np.argsort(codes, kind="stable")
    total = float(weights.sum())
    w = weights[order] / total
    counts = np.bincount(codes)
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Problem(
        columns=_standardised(X, order, starts, w, standardize),
        starts=starts,
        w=w,
        offset=np.zeros(order.size) if offset is None else offset[order],
        link=link,
        total=total,
        order=order,
    )


def _standardised(
    X: Any, order: IntArray, starts: IntArray, w: Array, standardize: bool
) -> Columns:
    if hasattr(X, "tocsr"):
        rows: Any = X.tocsr()[order]
        mean = np.asarray(rows.T @ w)
        square = np.asarray(rows.multiply(rows).T @ w)
        low = np.asarray(rows.min(axis=0).todense()).ravel()
        high = np.asarray(rows.max(axis=0).todense()).ravel()
        variance = np.maximum(square - mean**2, 0.0)
        matrix: Any = [rows[s:e] for s, e in itertools.pairwise(starts)]
    else:
        dense = np.empty((X.shape[0], X.shape[1] + 1))
        dense[:, 0] = 1.0
        dense[:, 1:] = X[order]
        matrix = dense
        mean = w @ dense[:, 1:]
        dense[:, 1:] -= mean
        variance = w @ dense[:, 1:] ** 2
        low, high = X.min(axis=0), X.max(axis=0)
    usable = high > low
    sd = np.sqrt(variance)
    scale = np.where(usable & (sd > 0), sd, 1.0) if standardize else np.ones_like(mean)
    if not isinstance(matrix, list):
        matrix[:, 1:] /= scale
        # A constant column is zero to the last bit, so that it can never enter.
        matrix[:, 1 + np.flatnonzero(~usable)] = 0.0
    return Columns(matrix, mean, scale, low, high, usable)


def evaluate(problem: Problem, Z: Array, theta: Array) -> Point:
    """Loss, gradient and row weights at ``theta`` (q, 1 + J) on the columns Z (n, 1 + J)."""
    if problem.link == "logit" and Z.size >= KERNEL_MIN_CELLS:
        from robuststat.kernels.ordinal import logit_rows

        gradient, rows = np.empty_like(theta), np.zeros((5, len(Z)))
        start, w, o = problem.starts, problem.w, problem.offset
        loss = logit_rows(Z, start, w, o, np.ascontiguousarray(theta), gradient, rows)
        return Point(float(loss), gradient, rows)
    loss, rows = _rows(problem, Z, theta)
    if not np.isfinite(loss):
        return Point(np.inf, np.zeros_like(theta), rows)
    gradient = np.zeros_like(theta)
    q, starts = len(theta), problem.starts
    for c in range(q + 1):
        s = slice(starts[c], starts[c + 1])
        if c < q:
            gradient[c] -= rows[0, s] @ Z[s]
        if c > 0:
            gradient[c - 1] -= rows[1, s] @ Z[s]
    return Point(loss, gradient, rows)


def _rows(problem: Problem, Z: Array, theta: Array) -> tuple[float, Array]:
    q, starts = len(theta), problem.starts
    rows = np.zeros((5, len(Z)))
    loss = 0.0
    link = get_link(problem.link)
    for c in range(q + 1):
        s = slice(starts[c], starts[c + 1])
        o, w = problem.offset[s], problem.w[s]
        a = Z[s] @ theta[c] + o if c < q else None
        b = Z[s] @ theta[c - 1] + o if c > 0 else None
        if a is not None and b is not None and not (a > b).all():
            return np.inf, rows
        terms = _logit_terms(a, b) if problem.link == "logit" else _link_terms(link, a, b)
        loss -= float(w @ terms[0])
        for part, values in enumerate(terms[1:]):
            if values is not None:
                rows[part, s] = w * values
    return loss, rows


Terms = tuple[Array, Array | None, Array | None, Array | None, Array | None, Array | None]


def _logit_terms(a: Array | None, b: Array | None) -> Terms:
    """Log-probability of one class and its derivatives; see the spec of the kernel."""
    up = low = up2 = low2 = mixed = None
    log_p: Any = 0.0
    r: Any = 0.0
    if a is not None and b is not None:
        one = -np.expm1(b - a)
        log_p = np.log(one)
        r = (1.0 - one) / one
        mixed = r / one
    g: Any = 0.0 if mixed is None else mixed
    if a is not None:
        tail = special.expit(-a)
        log_p = log_p + special.log_expit(a)
        up, up2 = tail + r, tail * (1.0 - tail) + g
    if b is not None:
        head = special.expit(b)
        log_p = log_p + special.log_expit(-b)
        low, low2 = -head - r, head * (1.0 - head) + g
    return log_p, up, low, up2, low2, mixed


def _link_terms(link: Link, a: Array | None, b: Array | None) -> Terms:
    size = len(a) if a is not None else len(b)  # type: ignore[arg-type]
    upper = np.full(size, np.inf) if a is None else a
    lower = np.full(size, -np.inf) if b is None else b
    t = interval_terms(link, upper, lower)
    # Probabilities below the smallest number: a step to halve, not a value.
    log_p = np.where(np.isfinite(t.log_p), t.log_p, -np.inf)
    return log_p, t.upper, t.lower, t.upper2, t.lower2, t.cross


def weighted_gram(Z: Array, h: Array) -> Array:
    """Z' diag(h) Z in blocks of rows."""
    if len(Z) <= _BLOCK:
        return np.asarray((Z * h[:, None]).T @ Z)
    total = np.zeros((Z.shape[1], Z.shape[1]))
    for s in range(0, len(Z), _BLOCK):
        part = Z[s : s + _BLOCK]
        total += (part * h[s : s + _BLOCK, None]).T @ part
    return total


def hessian(problem: Problem, Z: Array, rows: Array) -> Array:
    """Hessian of the loss in (alpha, beta), of shape (q, 1 + J, q, 1 + J): block tridiagonal."""
    q, starts = problem.n_boundaries, problem.starts
    m = Z.shape[1]
    H = np.zeros((q, m, q, m))
    for c in range(q + 1):
        s = slice(starts[c], starts[c + 1])
        part = Z[s]
        if c < q:
            H[c, :, c, :] += weighted_gram(part, rows[2, s])
        if c > 0:
            H[c - 1, :, c - 1, :] += weighted_gram(part, rows[3, s])
        if 0 < c < q:
            mixed = weighted_gram(part, rows[4, s])
            H[c, :, c - 1, :] -= mixed
            H[c - 1, :, c, :] -= mixed
    return H


def outer_rows(problem: Problem, rows: Array) -> Array:
    """Rows with squared scores in place of second derivatives: never indefinite (cauchit)."""
    w = problem.w
    up, low = rows[0] / w, rows[1] / w
    return np.array([rows[0], rows[1], w * up * up, w * low * low, -w * up * low])


def reverse_sum(values: Array, axis: int) -> Array:
    """Sum over boundaries l >= k: what a derivative in beta is in psi."""
    backwards = (slice(None),) * axis + (slice(None, None, -1),)
    return np.asarray(values[backwards].cumsum(axis)[backwards])
