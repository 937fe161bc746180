"""Estimating equations: solve them, check their derivative, stack nuisance scores, run GMM.

A family supplies scores and their derivative; every variance then follows from
V = A^-1 B A^-T / n with A the average derivative and B the meat of the scores.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
from scipy import stats

from robuststat._core.errors import DataError
from robuststat._core.glm import row_blocks
from robuststat._core.linalg import solve_square, symmetrise
from robuststat._core.optim import ConvergenceInfo, newton
from robuststat._core.types import Array


class SumMoments(Protocol):
    """Estimating equations of which only averages are asked for.

    Attributes
    ----------
    n_obs : int
        Number of rows.
    n_moments : int
        Number q of equations; equal to the number of parameters unless over-identified.
    """

    @property
    def n_obs(self) -> int: ...

    @property
    def n_moments(self) -> int: ...

    def sums(self, theta: Array) -> tuple[Array, Array]:
        """Average score (q,) and average derivative A (q, k) at ``theta``."""
        ...


class Moments(SumMoments, Protocol):
    """Estimating equations E psi(row; theta) = 0 on a fixed set of rows."""

    def scores(self, theta: Array, rows: slice) -> Array:
        """Scores of some rows, of shape (m, q)."""
        ...


@dataclass(frozen=True, slots=True)
class FunctionMoments:
    """Moments given as plain functions of (theta, data).

    Attributes
    ----------
    score : callable
        ``score(theta, data) -> (n, q)``.
    data : object
        Whatever the functions need.
    n_obs, n_moments : int
        Shape of what ``score`` returns.
    jacobian : callable or None
        ``jacobian(theta, data) -> (q, k)``, the average derivative; central differences of the
        average score when None.
    """

    score: Callable[[Array, Any], Array]
    data: Any
    n_obs: int
    n_moments: int
    jacobian: Callable[[Array, Any], Array] | None = None

    def sums(self, theta: Array) -> tuple[Array, Array]:
        """Average score and average derivative."""
        mean = self.score(theta, self.data).mean(axis=0)
        if self.jacobian is not None:
            return mean, self.jacobian(theta, self.data)
        return mean, numerical_jacobian(lambda t: self.score(t, self.data).mean(axis=0), theta)

    def scores(self, theta: Array, rows: slice) -> Array:
        """Scores of some rows."""
        return self.score(theta, self.data)[rows]


@dataclass(frozen=True, slots=True)
class MomentSolution:
    """Root of a set of estimating equations.

    Attributes
    ----------
    theta : ndarray of shape (k,)
        Root.
    jacobian : ndarray of shape (k, k)
        Average derivative of the scores at the root.
    convergence : ConvergenceInfo
        How the iteration ended.
    """

    theta: Array
    jacobian: Array
    convergence: ConvergenceInfo


@dataclass(frozen=True, slots=True)
class GMMSolution:
    """Two-step generalised method of moments.

    Attributes
    ----------
    theta : ndarray of shape (k,)
        Estimate.
    vcov : ndarray of shape (k, k)
        (A' M^-1 A)^-1 / n with M the meat at the estimate.
    j_statistic, j_pvalue : float
        Hansen's test that all q moments can hold at once; NaN when q = k.
    j_df : int
        q - k.
    bread : ndarray of shape (k, q)
        (A' M^-1 A)^-1 A' M^-1, up to sign the influence of each moment on the estimate.
    convergence : ConvergenceInfo
        Record of the second step.
    """

    theta: Array
    vcov: Array
    j_statistic: float
    j_df: int
    j_pvalue: float
    bread: Array
    convergence: ConvergenceInfo


def numerical_jacobian(function: Callable[[Array], Array], theta: Array) -> Array:
    """Central differences of ``function`` at ``theta``, of shape (q, k)."""
    columns = []
    for j in range(theta.size):
        # Cube root of the rounding unit balances truncation and cancellation.
        step = np.finfo(float).eps ** (1 / 3) * max(1.0, abs(float(theta[j])))
        up, down = theta.copy(), theta.copy()
        up[j] += step
        down[j] -= step
        columns.append((function(up) - function(down)) / (up[j] - down[j]))
    return np.column_stack(columns)


def check_jacobian(moments: Moments, theta: Array) -> float:
    """Largest deviation of the analytic derivative from central differences.

    Relative to the largest entry of the derivative. Tests call this for every score.
    """
    analytic = moments.sums(theta)[1]
    numeric = numerical_jacobian(lambda t: moments.sums(t)[0], theta)
    return float(np.abs(analytic - numeric).max() / max(np.abs(numeric).max(), 1e-300))


def solve_moments(
    moments: SumMoments, start: Array, *, tol: float = 1e-10, max_iter: int = 50
) -> MomentSolution:
    """Root of exactly identified estimating equations by Newton's method.

    Parameters
    ----------
    moments : SumMoments
        As many equations as parameters.
    start : ndarray of shape (k,)
        First value.
    tol, max_iter : float, int
        Stopping rule of ``newton``.

    Returns
    -------
    MomentSolution
    """
    theta, jacobian, convergence = newton(moments.sums, start, tol=tol, max_iter=max_iter)
    return MomentSolution(theta, jacobian, convergence)


def all_scores(moments: Moments, theta: Array) -> Array:
    """Scores of all rows, of shape (n, q)."""
    return moments.scores(theta, slice(0, moments.n_obs))


def mean_outer_product(moments: Moments, theta: Array) -> Array:
    """``(1/n) sum psi psi'`` in row blocks, of shape (q, q)."""
    q = moments.n_moments
    total = np.zeros((q, q))
    for rows in row_blocks(moments.n_obs, q):
        psi = moments.scores(theta, rows)
        total += psi.T @ psi
    return total / moments.n_obs


def solve_gmm(
    moments: SumMoments,
    start: Array,
    *,
    meat: Callable[[Array], Array] | None = None,
    tol: float = 1e-10,
    max_iter: int = 50,
) -> GMMSolution:
    """Two-step GMM for q >= k moments: identity weights first, then the inverse meat.

    Parameters
    ----------
    moments : SumMoments
        At least as many equations as parameters.
    start : ndarray of shape (k,)
        First value.
    meat : callable, optional
        Maps theta to the meat M (q, q) of the scores there, for clusters or sampling designs;
        rows are independent when None, and ``moments`` must have ``scores``.
    tol, max_iter : float, int
        Stopping rule of each step.

    Returns
    -------
    GMMSolution

    Raises
    ------
    DataError
        When there are fewer moments than parameters.
    """
    q, k = moments.n_moments, start.size
    if q < k:
        raise DataError(
            f"{q} moments cannot determine {k} parameters. Add moments or drop parameters."
        )
    spread: Callable[[Array], Array] = meat or partial(mean_outer_product, moments)  # type: ignore[arg-type]
    theta, _ = _gauss_newton(moments, start, np.eye(q), tol, max_iter)
    weight = solve_square(spread(theta), np.eye(q))
    theta, convergence = _gauss_newton(moments, theta, weight, tol, max_iter)
    mean, derivative = moments.sums(theta)
    half = solve_square(spread(theta), derivative).T
    bread = solve_square(half @ derivative, half)
    vcov = solve_square(half @ derivative, np.eye(k)) / moments.n_obs
    statistic = moments.n_obs * float(mean @ weight @ mean)
    over = q - k
    j_statistic = statistic if over else np.nan
    j_pvalue = float(stats.chi2.sf(statistic, over)) if over else np.nan
    return GMMSolution(theta, symmetrise(vcov), j_statistic, over, j_pvalue, bread, convergence)


def _gauss_newton(
    moments: SumMoments, start: Array, weight: Array, tol: float, max_iter: int
) -> tuple[Array, ConvergenceInfo]:
    """Minimise the weighted length of the average score: a root of A' W g = 0."""

    def first_order(theta: Array) -> tuple[Array, Array]:
        mean, derivative = moments.sums(theta)
        # The second-derivative term of the objective is left out (Gauss-Newton); it vanishes as
        # the moments do.
        return derivative.T @ weight @ mean, derivative.T @ weight @ derivative

    theta, _, convergence = newton(first_order, start, tol=tol, max_iter=max_iter)
    return theta, convergence


def nuisance_coefficient(cross_derivative: Array, nuisance_derivative: Array) -> Array:
    """Return what to take off the scores for each unit of a nuisance score, of shape (r, k).

    The stacked system (psi, nuisance) has the block-triangular derivative
    [[A, C], [0, A_n]]; eliminating the nuisance block leaves psi - C A_n^-1 nuisance, that is
    ``psi - nuisance @ nuisance_coefficient(C, A_n)`` for scores stored by row.

    Parameters
    ----------
    cross_derivative : ndarray of shape (k, r)
        Average derivative of the scores with respect to the nuisance parameters.
    nuisance_derivative : ndarray of shape (r, r)
        Average derivative of the nuisance scores.
    """
    return np.asarray(np.linalg.solve(nuisance_derivative.T, cross_derivative.T))


def stack_nuisance(
    psi: Array, nuisance: Array, cross_derivative: Array, nuisance_derivative: Array
) -> Array:
    """Scores (n, k) corrected for nuisance parameters estimated by the scores (n, r)."""
    return psi - nuisance @ nuisance_coefficient(cross_derivative, nuisance_derivative)
