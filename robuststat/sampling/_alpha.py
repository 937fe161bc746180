"""Shares of the auxiliary densities: the convex problem of the joint loss, solved with a bound.

F(alpha) = mean_n c_n / q(X_n), q = q_0 + s sum_k alpha_k g_k, alpha in the simplex; c_n >= 0 and
the fixed part q_0 hold no alpha. [D] With D_k = s mean_n c_n g_k / q^2 the gradient is -D, so
F(alpha) - F* <= max_k D_k - sum_k alpha_k D_k by convexity, and alpha_k sqrt(D_k), normalised,
never increases F (it minimises Cauchy's majoriser of 1/q). Both are free of the scale of c.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import optimize

from robuststat._core.types import Array

__all__ = ["Shares", "solve_shares", "solve_shares_slsqp"]

_SMALLEST = 1e-14  # below it a share cannot grow again by multiplication
_PAPER_BOUND = 9e-12
# Newton steps take n K^2 multiplications each: with more components the others are cheaper.
_NEWTON_COMPONENTS = 200
_WARM_STEPS = 16


@dataclass(frozen=True, slots=True)
class Shares:
    """Solution of the problem of the shares.

    Attributes
    ----------
    alpha : ndarray of shape (K,)
        Shares, adding up to one.
    objective : float
        F(alpha).
    gap : float
        Bound of (F(alpha) - F*) / F(alpha).
    n_iter : int
        Evaluations of F.
    """

    alpha: Array
    objective: float
    gap: float
    n_iter: int


@dataclass(frozen=True, slots=True)
class _Problem:
    cost: Array  # (n,)
    G: Array  # (n, K), s * g_k
    fixed: Array  # (n,)

    def value_and_slope(self, alpha: Array) -> tuple[float, Array]:
        q = self.fixed + self.G @ alpha
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(self.cost > 0, self.cost / q, 0.0)
            slope = np.where(self.cost > 0, ratio / q, 0.0)
        n = len(q)
        return float(ratio.sum() / n), self.G.T @ slope / n


def _prepare(
    log_cost: Array, log_g: Array, log_fixed: Array, share: float
) -> tuple[_Problem, float]:
    """Rows rescaled by their largest density; rows without cost left out."""
    keep = np.isfinite(log_cost)
    log_cost, log_g, log_fixed = log_cost[keep], log_g[keep], log_fixed[keep]
    top = np.maximum(log_g.max(axis=1), log_fixed)
    scaled = log_cost - top
    level = float(scaled.max()) if scaled.size else 0.0
    problem = _Problem(
        cost=np.exp(scaled - level),
        G=share * np.exp(log_g - top[:, None]),
        fixed=np.exp(log_fixed - top),
    )
    factor = np.exp(min(level, 700.0)) * len(top) / max(len(keep), 1)
    return problem, float(factor)


def _step(alpha: Array, slope: Array) -> Array:
    new = alpha * np.sqrt(slope)
    total = new.sum()
    return new / total if total > 0 else alpha


def _clip(alpha: Array) -> Array:
    alpha = np.maximum(alpha, _SMALLEST)
    return np.asarray(alpha / alpha.sum())


def solve_shares(
    log_cost: Array,
    log_g: Array,
    start: Array,
    *,
    log_fixed: Array | None = None,
    share: float = 1.0,
    tol: float = 1e-4,
    max_iter: int = 500,
) -> Shares:
    """Minimise F over the simplex by accelerated multiplicative steps, to a certified gap.

    Parameters
    ----------
    log_cost : ndarray of shape (n,)
        Logarithm of c_n; -inf where a point costs nothing.
    log_g : ndarray of shape (n, K)
        Logarithm of g_k at the points.
    start : ndarray of shape (K,)
        First shares.
    log_fixed : ndarray of shape (n,), optional
        Logarithm of the fixed part q_0.
    share : float
        s, the part of q that alpha divides.
    tol : float
        Largest relative gap at which to stop.
    max_iter : int
        Largest number of evaluations of F.

    Returns
    -------
    Shares
    """
    if log_fixed is None:
        log_fixed = np.full(len(log_cost), -np.inf)
    problem, factor = _prepare(log_cost, log_g, log_fixed, share)
    alpha = _clip(np.asarray(start, dtype=np.float64))
    if len(problem.cost) == 0:
        return Shares(alpha, 0.0, 0.0, 0)
    newton = len(alpha) <= _NEWTON_COMPONENTS
    alpha, used = _multiplicative(problem, alpha, tol, _WARM_STEPS if newton else max_iter)
    while newton and used < max_iter:
        value, slope = problem.value_and_slope(alpha)
        if _gap(alpha, value, slope) <= tol:
            break
        new, more = _newton(problem, alpha, value, slope)
        used += more + 1
        if new is None:  # rounding stops the descent: the multiplicative step needs no line search
            alpha, more = _multiplicative(problem, alpha, tol, max_iter - used)
            used += more
            break
        alpha = new
    value, slope = problem.value_and_slope(alpha)
    return Shares(alpha, value * factor, _gap(alpha, value, slope), used)


def _multiplicative(
    problem: _Problem, alpha: Array, tol: float, max_iter: int
) -> tuple[Array, int]:
    """Multiplicative steps with squared extrapolation (Varadhan and Roland 2008) on logarithms."""
    value, slope = problem.value_and_slope(alpha)
    used = 1
    while _gap(alpha, value, slope) > tol and used < max_iter:
        first = _step(alpha, slope)
        second = _step(first, problem.value_and_slope(first)[1])
        best = (problem.value_and_slope(second)[0], second)
        used += 2
        a, b, c = (np.log(np.maximum(x, 1e-300)) for x in (alpha, first, second))
        r, v = b - a, (c - b) - (b - a)
        norm = float(np.linalg.norm(v))
        length = max(1.0, float(np.linalg.norm(r)) / norm) if norm > 0 else 1.0
        while length > 1.01 and used < max_iter:
            exponent = a + 2.0 * length * r + length**2 * v
            trial = _clip(np.exp(exponent - exponent.max()))
            trial_value = problem.value_and_slope(trial)[0]
            used += 1
            if trial_value < best[0]:
                best = (trial_value, trial)
                break
            length = 1.0 + (length - 1.0) / 4.0
        alpha = _clip(best[1])
        value, slope = problem.value_and_slope(alpha)
        used += 1
    return alpha, used


def _newton(
    problem: _Problem, alpha: Array, value: float, slope: Array
) -> tuple[Array | None, int]:
    """One step to the minimum of the quadratic model over the simplex, with a line search.

    The model 0.5 z'Hz - (D + H alpha)'z over z >= 0, 1'z = 1 is non-negative least squares in the
    Cholesky factor of H; the sum is a row with a large weight.
    """
    q = problem.fixed + problem.G @ alpha
    with np.errstate(divide="ignore", invalid="ignore"):
        curvature = np.where(problem.cost > 0, 2.0 * problem.cost / q**3, 0.0) / len(q)
    H = (problem.G * curvature[:, None]).T @ problem.G
    H[np.diag_indices_from(H)] += 1e-12 * np.trace(H) / len(H)
    factor = np.linalg.cholesky(H)
    target = np.linalg.solve(factor, slope + H @ alpha)
    heavy = 1e4 * np.sqrt(np.trace(H) / len(H))
    rows = np.vstack([factor.T, np.full((1, len(alpha)), heavy)])
    z, _ = optimize.nnls(rows, np.append(target, heavy), maxiter=30 * len(alpha))
    if not z.sum() > 0:
        return None, 0
    direction = z / z.sum() - alpha
    decrease = -float(slope @ direction)
    length = 1.0
    for used in range(1, 30):
        trial = _clip(alpha + length * direction)
        if problem.value_and_slope(trial)[0] <= value + 1e-4 * length * decrease:
            return trial, used
        length *= 0.5
    return None, 30


def _gap(alpha: Array, value: float, slope: Array) -> float:
    return float(slope.max() - alpha @ slope) / value if value > 0 else 0.0


def solve_shares_slsqp(log_cost: Array, log_g: Array, start: Array) -> Shares:
    """Minimise F as the paper's authors did: SLSQP with its default, absolute tolerance.

    The step depends on the unit of the outcomes; it is here to reproduce the published method.
    """
    log_fixed = np.full(len(log_cost), -np.inf)
    problem, factor = _prepare(log_cost, log_g, log_fixed, 1.0)
    first = np.clip(np.asarray(start, dtype=np.float64), _PAPER_BOUND, 1.0)

    def objective(alpha: Any) -> Any:
        value, slope = problem.value_and_slope(alpha)
        return factor * value, -factor * slope

    # scipy's stubs have no overload for SLSQP with a value and a derivative.
    minimize: Any = optimize.minimize
    found = minimize(
        objective,
        first / first.sum(),
        jac=True,
        method="SLSQP",
        bounds=[(_PAPER_BOUND, 1.0)] * len(first),
        constraints={
            "type": "eq",
            "fun": lambda alpha: float(alpha.sum()) - 1.0,
            "jac": lambda alpha: np.ones_like(alpha),
        },
    )
    alpha = np.clip(found.x, _PAPER_BOUND, 1.0)
    alpha = alpha / alpha.sum()
    value, slope = problem.value_and_slope(alpha)
    return Shares(alpha, value * factor, _gap(alpha, value, slope), int(found.nfev))
