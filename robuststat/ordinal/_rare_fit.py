"""Penalised logistic likelihood in row blocks: Fisher scoring, leverages, profiles.

The penalised log-likelihoods are

- "none": l(b) = sum w [y eta - log(1 + e^eta)];
- "jeffreys": l(b) + log det(X' W X) / 2, W = diag(w p (1 - p)) (Firth 1993), with score
  X'(w (y - p) + h (1/2 - p)), h the diagonal of W^1/2 X (X' W X)^-1 X' W^1/2;
- "logf": l(b) + sum_j [m b_j / 2 - m log(1 + e^b_j)] over the slopes (Greenland and Mansournia
  2015), as if m rows with outcome 1/2 had covariate j equal to one and everything else zero.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy import linalg
from scipy.special import expit

from robuststat._core.glm import row_blocks
from robuststat._core.linalg import solve_psd
from robuststat._core.optim import ConvergenceInfo
from robuststat._core.types import Array, BoolArray

Penalty = Literal["none", "jeffreys", "logf"]

# Above this many cells leverages are left out of the first steps, which are long anyway.
_MANY_CELLS = 500_000


@dataclass(frozen=True, slots=True)
class LogitProblem:
    """Rows and penalty of a binary regression.

    Attributes
    ----------
    X : ndarray of shape (n, k)
        Design, column of ones included.
    y : ndarray of shape (n,)
        Outcome between 0 and 1.
    weights : ndarray of shape (n,)
        Positive; repetitions of the row.
    offset : ndarray of shape (n,) or None
        Added to the linear predictor.
    penalty : {"none", "jeffreys", "logf"}
        See the module.
    prior_df : float
        m of "logf".
    slopes : ndarray of bool of shape (k,)
        Coefficients that "logf" penalises.
    names : tuple of str
        Names of the columns, for messages.
    """

    X: Array
    y: Array
    weights: Array
    offset: Array | None
    penalty: Penalty
    prior_df: float
    slopes: BoolArray
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LogitPoint:
    """The problem at one coefficient vector.

    Attributes
    ----------
    loglik : float
        Log-likelihood with its penalty.
    plain_loglik : float
        The same without penalty.
    score : ndarray of shape (k,)
        Derivative of ``loglik``.
    information : ndarray of shape (k, k)
        X' W X, and the prior's curvature for "logf".
    mean : ndarray of shape (n,)
        Fitted probabilities.
    hat : ndarray of shape (n,) or None
        Leverages h; None where they were not asked for.
    """

    loglik: float
    plain_loglik: float
    score: Array
    information: Array
    mean: Array
    hat: Array | None


@dataclass(frozen=True, slots=True)
class LogitFit:
    """Maximum of a penalised likelihood, possibly with some coefficients held fixed."""

    beta: Array
    point: LogitPoint
    convergence: ConvergenceInfo


def evaluate(problem: LogitProblem, beta: Array, *, leverages: bool | None = None) -> LogitPoint:
    """Penalised likelihood, score and information at ``beta``.

    Parameters
    ----------
    problem : LogitProblem
        Rows.
    beta : ndarray of shape (k,)
        Coefficients.
    leverages : bool, optional
        Whether to compute h; by default where the score needs it. Without h the score of
        "jeffreys" is that of the likelihood alone.
    """
    X, y, w = problem.X, problem.y, problem.weights
    n, k = X.shape
    mean = np.empty(n)
    score, information, loglik = np.zeros(k), np.zeros((k, k)), 0.0
    for rows in row_blocks(n, k):
        block = X[rows]
        eta = block @ beta
        if problem.offset is not None:
            eta += problem.offset[rows]
        p = np.asarray(expit(eta))
        mean[rows] = p
        loglik += float(w[rows] @ (y[rows] * eta - np.logaddexp(0.0, eta)))
        score += block.T @ (w[rows] * (y[rows] - p))
        information += (block * (w[rows] * p * (1.0 - p))[:, None]).T @ block
    plain, hat = loglik, None
    if problem.penalty == "logf":
        b, m = np.where(problem.slopes, beta, 0.0), problem.prior_df * problem.slopes
        loglik += float(m @ (0.5 * b - np.logaddexp(0.0, b)))
        score = score + m * (0.5 - expit(b))
        information = information + np.diag(m * expit(b) * expit(-b))
    wanted = problem.penalty == "jeffreys" if leverages is None else leverages
    root = None
    if wanted or problem.penalty == "jeffreys":
        root = _root(information, problem.names)
    if problem.penalty == "jeffreys" and root is not None:
        loglik += float(np.log(np.diag(root)).sum())
    if wanted and root is not None:
        hat = hat_diagonal(X, w * mean * (1.0 - mean), root)
        if problem.penalty == "jeffreys":
            score = score + X.T @ (hat * (0.5 - mean))
    return LogitPoint(loglik, plain, score, information, mean, hat)


def _root(information: Array, names: tuple[str, ...]) -> Array:
    """Lower Cholesky factor; a singular matrix is a CollinearityError that names columns."""
    try:
        return np.asarray(linalg.cholesky(information, lower=True))
    except linalg.LinAlgError:
        solve_psd(information, np.eye(len(information)), names)
        raise


def hat_diagonal(X: Array, weights: Array, root: Array) -> Array:
    """Leverages v_i x_i' (L L')^-1 x_i in row blocks, of shape (n,)."""
    n, k = X.shape
    inverse = linalg.solve_triangular(root, np.eye(k), lower=True)
    hat = np.empty(n)
    for rows in row_blocks(n, k):
        part = X[rows] @ inverse.T
        hat[rows] = np.einsum("ij,ij->i", part, part)
    return hat * weights


# An overshooting step may overflow; it is halved.
@np.errstate(over="ignore")
def fit_logit(
    problem: LogitProblem,
    start: Array,
    *,
    fixed: BoolArray | None = None,
    tol: float = 1e-10,
    max_iter: int = 100,
) -> LogitFit:
    """Maximise a penalised likelihood by Fisher scoring.

    Parameters
    ----------
    problem : LogitProblem
        Rows.
    start : ndarray of shape (k,)
        First value; fixed coefficients keep theirs.
    fixed : ndarray of bool of shape (k,), optional
        Coefficients held at their start.
    tol : float
        Stops when no coefficient moves by more than ``tol`` of its standard error.
    max_iter : int
        Steps.

    Returns
    -------
    LogitFit
    """
    free = np.ones(len(start), dtype=bool) if fixed is None else ~fixed
    beta = np.array(start, dtype=np.float64)
    lazy = problem.penalty == "jeffreys" and problem.X.size > _MANY_CELLS
    point = evaluate(problem, beta, leverages=False if lazy else None)
    size, words = np.inf, "no free coefficient"
    if not free.any():
        return LogitFit(beta, point, ConvergenceInfo(True, 0, 0.0, 0.0, words))
    names = tuple(np.array(problem.names)[free])
    for iteration in range(1, max_iter + 1):
        block = point.information[np.ix_(free, free)]
        solved = solve_psd(block, np.column_stack([point.score[free], np.eye(len(block))]), names)
        step = np.zeros(len(beta))
        step[free] = solved[:, 0]
        size = float((np.abs(step[free]) / np.sqrt(np.diag(solved[:, 1:]))).max())
        small = size <= tol and not lazy
        lazy = lazy and size > 0.3 and iteration < 8
        beta, point = _damped(problem, beta, step, point, leverages=False if lazy else None)
        if small:
            gradient = float(np.abs(point.score[free]).max()) / len(problem.y)
            done = ConvergenceInfo(True, iteration, size, gradient, "converged")
            return LogitFit(beta, point, done)
    gradient = float(np.abs(point.score[free]).max()) / len(problem.y)
    words = f"no convergence in {max_iter} steps (last step {size:.2g} standard errors)"
    return LogitFit(beta, point, ConvergenceInfo(False, max_iter, size, gradient, words))


def _damped(
    problem: LogitProblem, beta: Array, step: Array, point: LogitPoint, leverages: bool | None
) -> tuple[Array, LogitPoint]:
    """Halve the step until the penalised likelihood does not fall."""
    limit = point.loglik - 1e-9 * (1.0 + abs(point.loglik))
    for _ in range(12):
        try:
            new = evaluate(problem, beta + step, leverages=leverages)
        except (linalg.LinAlgError, ValueError):
            # So far out that every probability is 0 or 1 to rounding.
            step = 0.5 * step
            continue
        if new.loglik >= limit:
            return beta + step, new
        step = 0.5 * step
    return beta, evaluate(problem, beta)


def null_fit(problem: LogitProblem, intercept: int | None) -> LogitFit:
    """Maximum likelihood with the intercept only (offset kept); all zero without one."""
    k = problem.X.shape[1]
    plain = replace(problem, penalty="none")
    fixed = np.ones(k, dtype=bool)
    start = np.zeros(k)
    if intercept is not None:
        fixed[intercept] = False
        share = float(np.average(problem.y, weights=problem.weights))
        start[intercept] = np.log(share / (1.0 - share))
    return fit_logit(plain, start, fixed=fixed)


def bias_of_ml(fit: LogitFit, problem: LogitProblem, row_weights: Array | None = None) -> Array:
    """Bias of order 1/n of the maximum likelihood estimate (King and Zeng 2001, eq. 13-14).

    Parameters
    ----------
    fit : LogitFit
        Maximum likelihood fit with leverages.
    problem : LogitProblem
        Its rows.
    row_weights : ndarray of shape (n,), optional
        tau/ybar for events and (1 - tau)/(1 - ybar) for others, where the fit was weighted so;
        only that of the events enters the formula.

    Returns
    -------
    ndarray of shape (k,)
        (X'WX)^-1 X'W xi with xi = Q_ii ((1 + w1) p - w1) / 2.
    """
    assert fit.point.hat is not None
    p, w1 = fit.point.mean, 1.0
    if row_weights is not None:
        w1 = float(row_weights[problem.y > 0.5][0])
    # W xi is h ((1 + w1) p - w1) / 2, since h = W Q_ii.
    xi = 0.5 * fit.point.hat * ((1.0 + w1) * p - w1)
    return solve_psd(fit.point.information, problem.X.T @ xi, problem.names)
