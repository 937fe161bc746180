"""Generalised method of moments for one effect and J moments, on small matrices.

A moment that is linear in the effect, g = u - beta v, has a covariance that is quadratic in it:
S = S_uu - beta (S_uv + S_vu) + beta^2 S_vv. After one pass over the rows every step costs O(J^3).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from robuststat._core.linalg import solve_psd
from robuststat._core.types import Array, IntArray
from robuststat._core.vcov import meat, sandwich


@dataclass(frozen=True, slots=True)
class EffectFit:
    """GMM estimate of one effect.

    Attributes
    ----------
    effect, variance : float
        Estimate and its variance.
    combination : ndarray of shape (J,)
        What the estimate multiplies the moments by: its influence is the moments times this.
    j_statistic, j_pvalue : float
        Over-identification test with J - 1 degrees of freedom; NaN with one moment.
    n_iter : int
        Steps.
    converged : bool
        Whether the steps became small.
    """

    effect: float
    variance: float
    combination: Array
    j_statistic: float
    j_pvalue: float
    n_iter: int
    converged: bool


@dataclass(frozen=True, slots=True)
class LinearMoments:
    """Averages and joint covariance of u and v.

    Attributes
    ----------
    u, v : ndarray of shape (J,)
        Averages.
    covariance : ndarray of shape (2J, 2J)
        Covariance of one row's (u, v), or of a cluster's totals a row.
    n_obs : int
        Rows.
    """

    u: Array
    v: Array
    covariance: Array
    n_obs: int

    def g(self, beta: float) -> Array:
        """Average moments."""
        return self.u - beta * self.v

    def moment_covariance(self, beta: float) -> Array:
        """Covariance of the moments."""
        J = self.u.size
        cross = self.covariance[:J, J:]
        return np.asarray(
            self.covariance[:J, :J] - beta * (cross + cross.T) + beta**2 * self.covariance[J:, J:]
        )


def linear_moments(u: Array, v: Array, clusters: IntArray | None) -> LinearMoments:
    """Averages and centred covariance of moments (n, J) that are linear in the effect."""
    both = np.hstack([u, v])
    mean = both.mean(axis=0)
    J = u.shape[1]
    S = meat(both - mean, clusters=clusters).matrix
    return LinearMoments(mean[:J], mean[J:], S, u.shape[0])


def weighted_effect(u: Array, v: Array, S: Array) -> float:
    """Minimise the length of u - beta v in the metric of S^-1."""
    Wv = solve_psd(S, v)
    return float(Wv @ u) / float(Wv @ v)


def linear_gmm(
    weighting: LinearMoments,
    variance: LinearMoments,
    method: str,
    *,
    tol: float,
    max_iter: int,
) -> EffectFit:
    """Two-step, iterated or continuously updated GMM from an identity start.

    Parameters
    ----------
    weighting : LinearMoments
        Moments whose covariance weights the equations.
    variance : LinearMoments
        The same averages with the covariance that the standard error is computed from.
    method : {"two-step", "iterated", "cue"}
        When to stop updating the weights.
    tol, max_iter : float, int
        Stopping rule of the iterated weights.
    """
    u, v = weighting.u, weighting.v
    beta = float(v @ u) / float(v @ v)
    n_iter, converged = 0, True
    if u.size > 1:
        steps = 1 if method == "two-step" else max_iter
        converged = method == "two-step"
        for step in range(steps):
            n_iter = step + 1
            old, beta = beta, weighted_effect(u, v, weighting.moment_covariance(beta))
            if abs(beta - old) <= tol * (1.0 + abs(beta)):
                converged = True
                break
        if method == "cue":
            beta, n_iter = _continuous(weighting, beta, variance)
    J = u.size
    S = weighting.moment_covariance(beta)
    Wv = solve_psd(S, v)
    # The score v'W g has derivative -v'W v and variance v'W S W v; S on the right is the true one.
    strength = float(Wv @ v)
    B = np.array([[Wv @ variance.moment_covariance(beta) @ Wv]])
    V = sandwich(np.array([[-strength]]), B, variance.n_obs)
    g = weighting.g(beta)
    statistic = weighting.n_obs * float(g @ solve_psd(S, g))
    over = J > 1
    return EffectFit(
        effect=beta,
        variance=float(V[0, 0]),
        combination=Wv / strength,
        j_statistic=statistic if over else np.nan,
        j_pvalue=float(stats.chi2.sf(statistic, J - 1)) if over else np.nan,
        n_iter=max(n_iter, 1),
        converged=converged,
    )


def _continuous(
    weighting: LinearMoments, start: float, variance: LinearMoments
) -> tuple[float, int]:
    """Minimise g' S(beta)^-1 g near the iterated estimate."""

    def objective(beta: float) -> float:
        g = weighting.g(beta)
        return float(g @ solve_psd(weighting.moment_covariance(beta), g))

    Wv = solve_psd(variance.moment_covariance(start), variance.v)
    width = 10.0 / np.sqrt(variance.n_obs * float(Wv @ variance.v))
    found = optimize.minimize_scalar(
        objective,
        bounds=(start - width, start + width),
        method="bounded",
        options={"xatol": 1e-10 * (1.0 + abs(start))},
    )
    return float(found.x), int(found.nfev)


@dataclass(frozen=True, slots=True)
class ExponentialMoments:
    """Averages of m_i y_i exp(-beta a_i), rows with the same treatment added up.

    Attributes
    ----------
    a : ndarray of shape (m,)
        Distinct treatments.
    totals : ndarray of shape (m, J)
        Sum of m_i y_i over the rows with that treatment, divided by the number of rows.
    """

    a: Array
    totals: Array

    def g(self, beta: float) -> Array:
        """Average moments (J,)."""
        return np.asarray(np.exp(-beta * self.a) @ self.totals)

    def slope(self, beta: float) -> Array:
        """Minus their derivative (J,)."""
        return np.asarray((self.a * np.exp(-beta * self.a)) @ self.totals)


def exponential_moments(product: Array, y: Array, a: Array) -> ExponentialMoments:
    """Add up the rows of each treatment."""
    values, codes = np.unique(a, return_inverse=True)
    totals = np.zeros((values.size, product.shape[1]))
    np.add.at(totals, codes, product * y[:, None])
    return ExponentialMoments(values, totals / y.size)


def roots_in(function: Callable[[float], float], grid: Array) -> list[float]:
    """Roots between neighbours of a grid where the function changes sign."""
    values = np.array([function(float(t)) for t in grid])
    found = [float(t) for t, v in zip(grid, values, strict=True) if v == 0]
    for j in np.flatnonzero(values[1:] * values[:-1] < 0):
        found.append(float(optimize.brentq(function, grid[j], grid[j + 1], xtol=1e-13)))
    return sorted(found)


def smallest_in(function: Callable[[float], float], grid: Array) -> float:
    """Minimiser of a function between the neighbours of the best point of a grid."""
    values = [function(float(t)) for t in grid]
    j = int(np.argmin(values))
    low, high = grid[max(j - 1, 0)], grid[min(j + 1, grid.size - 1)]
    found = optimize.minimize_scalar(
        function, bounds=(low, high), method="bounded", options={"xatol": 1e-11}
    )
    return float(found.x)
