"""Choice of the penalty: stratified cross-validation on one grid, or an information criterion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from scipy import special

from robuststat._core.crossfit import make_folds
from robuststat._core.errors import DataError, warn
from robuststat._core.types import Array, IntArray
from robuststat.ordinal._base import SCORE_FLOOR
from robuststat.ordinal._links import get_link
from robuststat.ordinal._predict import log_class_probabilities, padded
from robuststat.ordinal._presto_fit import Recipe, fit_path, null_solution, raw_fit
from robuststat.ordinal._presto_problem import Problem
from robuststat.ordinal._presto_solve import Solution

SCORINGS = ("log_loss", "brier", "rare_log_loss", "rare_brier", "misclass")
CRITERIA = ("aic", "bic", "ebic")
# Weight of the number of models in EBIC (Chen and Chen 2008, gamma = 1/2).
_EBIC_GAMMA = 0.5


@dataclass(frozen=True, slots=True)
class Rows:
    """Entries of a response with their covariates.

    Attributes
    ----------
    X : ndarray or sparse matrix of shape (m, p)
        Covariates.
    codes : ndarray of shape (m,)
        Class numbers.
    weights : ndarray of shape (m,)
        Weights.
    offset : ndarray of shape (m,) or None
        Offset.
    groups : ndarray of shape (m,) or None
        What folds keep together.
    """

    X: Any
    codes: IntArray
    weights: Array
    offset: Array | None
    groups: IntArray | None

    def part(self, rows: IntArray) -> Rows:
        """Take some of the entries."""
        return Rows(
            self.X[rows],
            self.codes[rows],
            self.weights[rows],
            None if self.offset is None else self.offset[rows],
            None if self.groups is None else self.groups[rows],
        )


@dataclass(frozen=True, slots=True)
class CrossValidation:
    """Scores of every penalty.

    Attributes
    ----------
    scores, std_errors : ndarray of shape (L,)
        Mean over folds (lower is better), and its standard error.
    n_folds : int
        Folds used.
    """

    scores: Array
    std_errors: Array
    n_folds: int


def fold_number(cv: Any, codes: IntArray) -> Any:
    """Return the folds asked for, or fewer so that every class is in every part."""
    smallest = int(np.bincount(codes).min())
    if smallest < 2:
        raise DataError(
            f"Class number {int(np.bincount(codes).argmin()) + 1} has {smallest} row; choosing lam "
            "by cross-validation needs at least 2. Give lam a number, or lam='bic'."
        )
    if not isinstance(cv, int | np.integer) or smallest >= int(cv):
        return cv
    warn(f"The smallest class has {smallest} rows: {smallest} folds are used instead of {cv}.")
    return smallest


def cross_validate(
    rows: Rows,
    recipe: Recipe,
    lambdas: Array,
    *,
    cv: Any,
    scoring: str,
    rare: int,
    rng: np.random.Generator,
    n_jobs: int | None,
) -> CrossValidation:
    """Out-of-fold scores of a grid of penalties.

    Parameters
    ----------
    rows : Rows
        Data.
    recipe : Recipe
        Options of the fits; the box must be that of all rows.
    lambdas : ndarray of shape (L,)
        Grid shared by all folds, largest first.
    cv : int, splitter or list of (train, test)
        Folds; an integer spreads every class evenly.
    scoring : str
        One of :data:`SCORINGS`.
    rare : int
        Number of the rare class (first or last).
    rng : numpy.random.Generator
        Seeds the folds.
    n_jobs : int or None
        Threads; the result does not depend on it.
    """
    cv = fold_number(cv, rows.codes)
    n = len(rows.codes)
    splits = make_folds(n, cv, 1, rng, groups=rows.groups, strata=rows.codes)[0][0]
    K = len(recipe.factors) + 1
    for number, (train, _) in enumerate(splits):
        lacking = np.setdiff1d(np.arange(K), rows.codes[train])
        if lacking.size:
            raise DataError(
                f"The training part of fold {number + 1} has no row of class number "
                f"{lacking[0] + 1}. Use an integer cv, which spreads classes over folds, fewer "
                "folds, or larger clusters apart."
            )
    run = delayed(_fold_scores)
    scores = np.array(
        Parallel(n_jobs=n_jobs, prefer="threads")(
            run(rows, recipe, lambdas, train, test, scoring, rare)
            for train, test in splits
            if test.size
        )
    )
    spread = scores.std(axis=0, ddof=1) if len(scores) > 1 else np.zeros(len(lambdas))
    return CrossValidation(scores.mean(axis=0), spread / np.sqrt(len(scores)), len(scores))


def _fold_scores(
    rows: Rows,
    recipe: Recipe,
    lambdas: Array,
    train: IntArray,
    test: IntArray,
    scoring: str,
    rare: int,
) -> Array:
    inside, out = rows.part(train), rows.part(test)
    problem = recipe.problem(inside.X, inside.codes, inside.weights, inside.offset)
    fits = fit_path(problem, recipe, null_solution(problem, recipe), lambdas)
    score = _SCORES[scoring]
    found = []
    for fit in fits:
        raw = raw_fit(problem, fit)
        eta = raw.intercept - np.asarray(out.X @ raw.coef.T)
        eta = eta if out.offset is None else eta + out.offset[:, None]
        losses = score(eta, out.codes, recipe.link, rare)
        found.append(np.average(losses, weights=out.weights))
    return np.array(found)


def _log_loss(eta: Array, codes: IntArray, link: str, rare: int) -> Array:
    bounds, i = padded(eta), np.arange(len(codes))
    with np.errstate(all="ignore"):
        log_p = get_link(link).log_interval(bounds[i, codes + 1], bounds[i, codes])
    return -np.maximum(log_p, np.log(SCORE_FLOOR))


def _probabilities(eta: Array, link: str) -> Array:
    return np.maximum(np.exp(log_class_probabilities(eta, get_link(link))), SCORE_FLOOR)


def _brier(eta: Array, codes: IntArray, link: str, rare: int) -> Array:
    p = _probabilities(eta, link)
    return np.asarray(((np.eye(p.shape[1])[codes] - p) ** 2).sum(axis=1))


def _rare_logs(eta: Array, link: str, rare: int) -> tuple[Array, Array]:
    """Log probabilities of the rare class and of all others."""
    k, first = (0, True) if rare == 0 else (eta.shape[1] - 1, False)
    with np.errstate(all="ignore"):
        below, above = get_link(link).logcdf(eta[:, k]), get_link(link).logsf(eta[:, k])
    return (below, above) if first else (above, below)


def _rare_log_loss(eta: Array, codes: IntArray, link: str, rare: int) -> Array:
    event, other = _rare_logs(eta, link, rare)
    return -np.maximum(np.where(codes == rare, event, other), np.log(SCORE_FLOOR))


def _rare_brier(eta: Array, codes: IntArray, link: str, rare: int) -> Array:
    return np.asarray(((codes == rare) - np.exp(_rare_logs(eta, link, rare)[0])) ** 2)


def _misclass(eta: Array, codes: IntArray, link: str, rare: int) -> Array:
    return np.asarray(_probabilities(eta, link).argmax(axis=1) != codes, dtype=np.float64)


_SCORES: dict[str, Callable[[Array, IntArray, str, int], Array]] = {
    "log_loss": _log_loss,
    "brier": _brier,
    "rare_log_loss": _rare_log_loss,
    "rare_brier": _rare_brier,
    "misclass": _misclass,
}


def choose(found: CrossValidation, selection: str) -> int:
    """Position of the penalty to use; of several equally good ones the largest."""
    best = int(found.scores.argmin())
    if selection == "min":
        return best
    limit = found.scores[best] + found.std_errors[best]
    return int(np.flatnonzero(found.scores <= limit)[0])


def criterion(problem: Problem, fits: list[Solution], kind: str) -> Array:
    """AIC, BIC or EBIC of every fit, (L,); weights count as repetitions of rows."""
    df = np.array([fit.df for fit in fits], dtype=np.float64)
    value = 2.0 * problem.total * np.array([fit.loss for fit in fits])
    if kind == "aic":
        return np.asarray(value + 2.0 * df)
    value = value + np.log(problem.total) * df
    if kind == "ebic":
        q = problem.n_boundaries
        m = fits[0].psi.size
        chosen = df - q
        models = (
            special.gammaln(m + 1) - special.gammaln(chosen + 1) - special.gammaln(m - chosen + 1)
        )
        value = value + 2.0 * _EBIC_GAMMA * models
    return np.asarray(value)
