"""Overlap effect with an instrument that is a number, under a constant effect (2.9)."""

from __future__ import annotations

import numpy as np

from robuststat._core.glm import FAMILIES
from robuststat._core.types import Array
from robuststat.iv._nuisances import LogitFit, Problem, fit_logit, least_squares


def numeric_instrument_moments(
    problem: Problem, *, tol: float, max_iter: int
) -> tuple[Array, LogitFit | None]:
    """f_N and f_D (n, 2) with Z - E(Z|X) in place of Z - pi.

    E(Z|X), E(Y|Z,X), and the conditional covariance and variance of the exposure given X are
    linear in their bases; the mean of the exposure is a logit or, for a numeric exposure, linear.
    The moments are orthogonal to all of them.

    Parameters
    ----------
    problem : Problem
        Rows and bases; the basis of the effect is not used.
    tol, max_iter : float, int
        Stopping rule of the logit model.

    Returns
    -------
    moments : ndarray of shape (n, 2)
        f_N and f_D.
    fit : LogitFit or None
        Model of a binary exposure.
    """
    logit = None
    if problem.spread is None:
        logit = fit_logit(
            problem.treatment, problem.a, problem, "treatment", None, tol=tol, max_iter=max_iter
        )
        p = FAMILIES["logit"].mean(_fitted(problem, "treatment", logit.coef))
    else:
        p = _projection(problem, "treatment", problem.a)
    residual = problem.z - _projection(problem, "instrument", problem.z)
    e = problem.a - p
    product = e * (problem.y - _projection(problem, "direct", problem.y))
    f_n = residual * (product - _projection(problem, "confounding", product))
    f_d = residual * (e**2 - _projection(problem, "confounding", e**2))
    return np.column_stack([f_n, f_d]), logit


def _projection(problem: Problem, name: str, target: Array) -> Array:
    return _fitted(problem, name, least_squares(getattr(problem, name), target, problem))


def _fitted(problem: Problem, name: str, coef: Array) -> Array:
    basis = getattr(problem, name)
    values = np.empty(problem.n_obs)
    for rows in problem.blocks():
        values[rows] = basis.at(rows, problem.z[rows]) @ coef
    return values
