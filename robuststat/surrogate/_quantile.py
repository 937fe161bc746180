"""Roots of design-adjusted quantile regressions.

The moments are minus the derivative of S(b) = sum c_i rho_tau(y_i - x_i'b) over expert and
predicted rows, with c_i negative where a labelled row's prediction is taken off. S is piecewise
linear; with c_i >= 0 it is convex and its minimum is the usual quantile regression. Newton steps
on a smoothed S, with a bandwidth that shrinks, lead close to the minimum; steps from vertex to
vertex then end exactly in one [D]. At such a vertex the average score is zero up to the jumps of
k rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from robuststat._core.errors import IdentificationError
from robuststat._core.optim import ConvergenceInfo, newton
from robuststat._core.types import Array, IntArray

# Bandwidths of the smoothed steps, in standard deviations of the first residuals.
_BANDWIDTHS = (1.0, 0.3, 0.1, 0.03)
_MAX_PIVOTS = 2000
# Kinks looked at first along an edge; nearly every edge ends at one of them.
_NEAR = 512


def minimise_check_loss(
    X: Array, y: Array, weights: Array, quantile: float, start: Array | None = None
) -> tuple[Array, ConvergenceInfo]:
    """Local minimum of ``sum w rho_tau(y - X b)``; the global one when no weight is negative.

    Parameters
    ----------
    X : ndarray of shape (n, k)
        Design.
    y : ndarray of shape (n,)
        Outcome.
    weights : ndarray of shape (n,)
        Weights of any sign; rows of zero weight should be left out before.
    quantile : float
        tau.
    start : ndarray of shape (k,), optional
        First value; weighted least squares on the rows of positive weight when None.

    Returns
    -------
    theta : ndarray of shape (k,)
        A vertex: k rows have residual zero.
    convergence : ConvergenceInfo
        Steps from vertex to vertex.
    """
    if start is None:
        root = np.sqrt(np.maximum(weights, 0.0))
        start = np.asarray(np.linalg.lstsq(X * root[:, None], y * root, rcond=None)[0], dtype=float)
    return _vertex(X, y, weights, quantile, _smoothed(X, y, weights, quantile, start))


def _smoothed(X: Array, y: Array, weights: Array, quantile: float, start: Array) -> Array:
    """Follow the minimum of the smoothed loss while its bandwidth shrinks."""
    theta, total = start, float(np.abs(weights).sum())
    residual = y - X @ start
    spread = float(np.sqrt(np.abs(weights) @ residual**2 / total))
    for share in _BANDWIDTHS:
        width = share * spread
        if width <= 0.0:
            break

        def average(b: Array, width: float = width) -> tuple[Array, Array]:
            z = (X @ b - y) / width
            slope = weights * norm.pdf(z) / width
            score = X.T @ (weights * (quantile - norm.cdf(z))) / total
            return score, -(X * slope[:, None]).T @ X / total

        found, _, info = newton(average, theta, tol=1e-3, max_iter=15)
        if not np.isfinite(found).all() or info.max_step > 10.0 * (1.0 + np.abs(theta).max()):
            break
        theta = found
    return theta


@dataclass(slots=True)
class _Edge:
    """Direction along which the loss falls from a vertex."""

    position: int
    direction: Array
    slope: float


def _vertex(
    X: Array, y: Array, weights: Array, quantile: float, theta: Array
) -> tuple[Array, ConvergenceInfo]:
    basis = _first_basis(X, y, weights, theta)
    scale = float(np.abs(weights) @ np.abs(X).max(axis=1))
    # Rounded data put more than k rows on one plane, where the k edges of one basis do not show
    # every way down. Outcomes moved apart a little do; a vertex that is a minimum for them is one
    # for the outcomes given.
    noise = np.random.default_rng(0).random(y.size)
    apart = y + 1e-9 * float(np.abs(y).max()) * noise
    for pivot in range(_MAX_PIVOTS):
        residual = apart - X @ np.linalg.solve(X[basis], apart[basis])
        edge = _steepest(X, residual, weights, quantile, basis, 1e-12 * scale)
        if edge is None:
            theta = np.asarray(np.linalg.solve(X[basis], y[basis]), dtype=np.float64)
            return theta, ConvergenceInfo(True, pivot + 1, 0.0, 0.0, "reached a vertex")
        entering = _end_of_edge(X @ edge.direction, residual, weights, edge.slope, basis)
        if entering is None:
            break
        basis[edge.position] = entering
    words = "no vertex is a minimum: the corrections outweigh the predictions"
    return theta, ConvergenceInfo(False, _MAX_PIVOTS, np.inf, np.inf, words)


def _first_basis(X: Array, y: Array, weights: Array, theta: Array) -> IntArray:
    """Rows of positive weight closest to the fitted plane that determine it."""
    usable = np.flatnonzero(weights > 0.0)
    order = usable[np.argsort(np.abs(y[usable] - X[usable] @ theta), kind="stable")]
    k = X.shape[1]
    size = np.abs(X[usable]).max(axis=0)
    size[size == 0.0] = 1.0
    chosen: list[int] = []
    left: list[Array] = []
    for i in order:
        # Gram-Schmidt: a row that repeats the span of those chosen cannot add a coefficient.
        row = X[i] / size
        length = float(np.linalg.norm(row))
        for q in left:
            row = row - (row @ q) * q
        rest = float(np.linalg.norm(row))
        if rest > 1e-6 * length:
            chosen.append(int(i))
            left.append(row / rest)
            if len(chosen) == k:
                return np.array(chosen)
    raise IdentificationError(
        f"Only {len(chosen)} of {k} coefficients of the quantile regression are determined by rows "
        "of positive weight. Use fewer covariates or more labels."
    )


def _steepest(
    X: Array, residual: Array, weights: Array, quantile: float, basis: IntArray, slack: float
) -> _Edge | None:
    """Edge of steepest descent from the vertex of ``basis``; None at a minimum."""
    inverse = np.asarray(np.linalg.inv(X[basis]), dtype=np.float64)
    signed = weights * (quantile - (residual < 0.0))
    signed[basis] = 0.0
    through = (X.T @ signed) @ inverse
    own = weights[basis]
    up, down = own * (1.0 - quantile) - through, own * quantile + through
    # An edge is as long as its direction: compare slopes per unit of length.
    length = np.linalg.norm(inverse, axis=0)
    best_up, best_down = int(np.argmin(up / length)), int(np.argmin(down / length))
    if up[best_up] / length[best_up] <= down[best_down] / length[best_down]:
        j, sign, slope = best_up, 1.0, float(up[best_up])
    else:
        j, sign, slope = best_down, -1.0, float(down[best_down])
    return None if slope >= -slack else _Edge(j, sign * inverse[:, j], slope)


def _end_of_edge(
    change: Array, residual: Array, weights: Array, slope: float, basis: IntArray
) -> int | None:
    """Row whose kink ends the descent along an edge; None when the loss falls for ever."""
    moving = change != 0.0
    moving[basis] = False
    rows = np.flatnonzero(moving)
    distance = residual[rows] / change[rows]
    ahead = distance > 0.0
    rows, distance = rows[ahead], distance[ahead]
    gain = weights[rows] * np.abs(change[rows])
    n_near = min(_NEAR, rows.size)
    while rows.size:
        if n_near < rows.size:
            near = np.argpartition(distance, n_near - 1)[:n_near]
        else:
            near = np.arange(rows.size)
        near = near[np.argsort(distance[near], kind="stable")]
        reached = slope + np.cumsum(gain[near])
        stop = np.flatnonzero(reached >= 0.0)
        if stop.size:
            return int(rows[near[stop[0]]])
        if n_near >= rows.size:
            return None
        n_near = min(8 * n_near, rows.size)
    return None
