"""A PRESTO path: penalty grid, crossing rules, and fits from the largest penalty down."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from robuststat._core.errors import CollinearityError, ConvergenceWarning, warn
from robuststat._core.linalg import collinear_columns
from robuststat._core.types import Array, IntArray
from robuststat.ordinal._presto_problem import Problem, make_problem, weighted_gram
from robuststat.ordinal._presto_quadratic import Constraints
from robuststat.ordinal._presto_solve import (
    Penalty,
    Solution,
    pulled_inside,
    solve,
    start_solution,
)

# Rows a boundary that are added at once when boundaries cross in the sample (crossing="train").
_CUTS = 5
# A penalty that keeps every penalised difference at zero, whatever the data.
_ENDLESS = 1e12


@dataclass(frozen=True, slots=True)
class Recipe:
    """Options of a fit, free of data.

    Attributes
    ----------
    link, crossing : str
        Link; "box", "train" or "allow".
    l1_ratio : float
        Share of the l1 part of the penalty.
    factors : ndarray of shape (q, p)
        Relative penalty of each difference.
    standardize : bool
        Whether columns are divided by their standard deviation.
    box : tuple of two ndarray of shape (p,), or None
        Lower and upper limit of each column in its own unit.
    tol, max_iter : float, int
        Accuracy of the optimality conditions; Newton steps for each working set.
    names : tuple of str
        Names of the columns, for messages.
    """

    link: str
    crossing: str
    l1_ratio: float
    factors: Array
    standardize: bool
    box: tuple[Array, Array] | None
    tol: float
    max_iter: int
    names: tuple[str, ...] = ()

    def problem(self, X: Any, codes: IntArray, weights: Array, offset: Array | None) -> Problem:
        """Rows made ready for this recipe."""
        return make_problem(X, codes, weights, offset, link=self.link, standardize=self.standardize)

    def constraints(self, problem: Problem) -> Constraints | None:
        """Constraints of the box; None where boundaries may cross or there is one only."""
        q, columns = problem.n_boundaries, problem.columns
        if self.crossing != "box" or q < 2:
            return None
        low, high = (columns.low, columns.high) if self.box is None else self.box
        half = np.where(columns.usable, 0.5 * (high - low) / columns.scale, 0.0)
        centre = (0.5 * (high + low) - columns.mean) / columns.scale
        centre = np.where(columns.usable, centre, 0.0)
        return Constraints(np.arange(1, q), np.tile(half, (q - 1, 1)), np.tile(centre, (q - 1, 1)))


def padded_box(low: Array, high: Array, margin: float) -> tuple[Array, Array]:
    """Widen a box by ``margin`` half-widths on every side."""
    widen = 0.5 * margin * (high - low)
    return low - widen, high + widen


def null_solution(problem: Problem, recipe: Recipe) -> Solution:
    """Return the fit in which every penalised difference is zero."""
    start = start_solution(problem, min(recipe.tol, 1e-10), recipe.max_iter)
    free = (recipe.factors == 0.0) & problem.columns.usable
    if not free.any():
        return start
    check_identified(problem, recipe, 1.0)
    found = _solve(problem, recipe, Penalty(_ENDLESS, 1.0, recipe.factors), start, start)
    return replace(found, lam=np.inf, objective=found.loss)


def largest_lambda(null: Solution, recipe: Recipe) -> float:
    """Smallest penalty at which all penalised differences are zero (l1_ratio at least 0.01)."""
    v = recipe.factors * max(recipe.l1_ratio, 0.01)
    penalised = v > 0.0
    if not penalised.any():
        return 0.0
    return float((np.abs(null.gradient[penalised]) / v[penalised]).max())


def lambda_grid(top: float, n_lambdas: int, ratio: float) -> Array:
    """Penalties from ``top`` down to ``ratio * top``, equally spaced in logs."""
    # Without any covariate that varies every penalty gives the same fit.
    top = top if top > 0.0 else 1.0
    grid = np.geomspace(top, ratio * top, n_lambdas)
    # The first fit is exactly null, not null up to rounding.
    grid[0] = top * (1.0 + 1e-12)
    return grid


def check_identified(problem: Problem, recipe: Recipe, lam: float) -> None:
    """Refuse unpenalised columns that are constant or linear combinations of others."""
    free = np.flatnonzero((recipe.factors * lam == 0.0).any(axis=0))
    if free.size == 0:
        return
    gram = weighted_gram(problem.columns.take(free), problem.w)
    names = ["(Intercept)", *(recipe.names[j] if recipe.names else f"x{j}" for j in free)]
    found = collinear_columns(gram, names, gram=True)
    if found.dependent:
        raise CollinearityError(
            f"The unpenalised fit is not identified: {found.message()} Or use lam > 0."
        )


def _solve(
    problem: Problem, recipe: Recipe, penalty: Penalty, start: Solution, null: Solution
) -> Solution:
    """Optimum at one penalty under the crossing rule."""
    if recipe.crossing != "train" or problem.n_boundaries < 2:
        constraints = recipe.constraints(problem)
        if constraints is not None:
            start = pulled_inside(start, null, constraints)
        return solve(
            problem,
            penalty,
            start,
            constraints=constraints,
            tol=recipe.tol,
            max_iter=recipe.max_iter,
        )
    cuts = start.constraints
    now = start
    for _ in range(200):
        now = solve(
            problem, penalty, now, constraints=cuts, tol=recipe.tol, max_iter=recipe.max_iter
        )
        more = _violated_rows(problem, now)
        if more is None:
            break
        cuts = more if cuts is None else _joined(cuts, more)
        now = pulled_inside(replace(now, multipliers=np.zeros(cuts.count)), null, cuts)
    return now


def _violated_rows(problem: Problem, solution: Solution) -> Constraints | None:
    """Training rows in which boundaries cross, the worst few of each boundary."""
    J = np.flatnonzero((solution.psi != 0.0).any(axis=0))
    Z = problem.columns.take(J)
    boundary, rows = [], []
    for k in range(1, problem.n_boundaries):
        gap = Z[:, 1:] @ solution.psi[k, J] + solution.alpha[k] - solution.alpha[k - 1]
        worst = np.argsort(gap, kind="stable")[:_CUTS]
        worst = worst[gap[worst] < 0.0]
        boundary += [k] * worst.size
        rows += worst.tolist()
    if not rows:
        return None
    centre = np.zeros((len(rows), problem.columns.n_columns))
    centre[:, J] = Z[rows, 1:]
    if J.size < problem.columns.n_columns:
        centre = _rows_of(problem, rows)
    return Constraints(np.array(boundary), np.zeros_like(centre), centre)


def _rows_of(problem: Problem, rows: list[int]) -> Array:
    columns = problem.columns
    if not isinstance(columns.matrix, list):
        return np.asarray(columns.matrix[rows, 1:])
    found = np.empty((len(rows), columns.n_columns))
    for position, i in enumerate(rows):
        c = int(np.searchsorted(problem.starts, i, side="right")) - 1
        found[position] = columns.matrix[c][i - problem.starts[c]].toarray().ravel()
    return (found - columns.mean) / columns.scale


def _joined(first: Constraints, second: Constraints) -> Constraints:
    return Constraints(
        np.concatenate([first.boundary, second.boundary]),
        np.vstack([first.half, second.half]),
        np.vstack([first.centre, second.centre]),
    )


def fit_path(problem: Problem, recipe: Recipe, null: Solution, lambdas: Array) -> list[Solution]:
    """Optima along decreasing penalties, each started at the one before.

    Parameters
    ----------
    problem : Problem
        Data.
    recipe : Recipe
        Options.
    null : Solution
        From :func:`null_solution`.
    lambdas : ndarray of shape (L,)
        Penalties, largest first.

    Returns
    -------
    list of Solution
    """
    fits: list[Solution] = []
    now = null
    for lam in lambdas:
        if lam == 0.0:  # otherwise null_solution has checked the columns without penalty
            check_identified(problem, recipe, 0.0)
        penalty = Penalty(float(lam), recipe.l1_ratio, recipe.factors)
        now = _solve(problem, recipe, penalty, now, null)
        fits.append(now)
    return fits


def warn_convergence(fits: list[Solution], tol: float) -> None:
    """Say how far from optimal the worst fit is, when it missed the tolerance."""
    missed = [fit for fit in fits if fit.kkt > max(10.0 * tol, 1e-9)]
    if missed:
        worst = max(missed, key=lambda fit: fit.kkt)
        warn(
            f"{len(missed)} of {len(fits)} fits did not converge: the optimality conditions are "
            f"violated by up to {worst.kkt:.1e} (lam={worst.lam:.3g}, {worst.n_iter} Newton steps, "
            f"tol={tol:g}). Raise max_iter, or leave out the smallest penalties.",
            ConvergenceWarning,
        )


@dataclass(frozen=True, slots=True)
class RawFit:
    """Coefficients on the raw scale in the clm sign.

    Attributes
    ----------
    intercept : ndarray of shape (q,)
        Thresholds.
    coef : ndarray of shape (q, p)
        Slopes of each boundary.
    """

    intercept: Array
    coef: Array


def raw_fit(problem: Problem, solution: Solution) -> RawFit:
    """Coefficients of a solution: P(y <= k) = F(intercept_k - coef_k'x)."""
    columns = problem.columns
    beta = solution.beta / columns.scale
    return RawFit(solution.alpha - beta @ columns.mean, 0.0 - beta)
