"""Intervals for PRESTO: one Newton step from the penalised optimum removes its shrinkage.

theta~ = theta^ - H^-1 g with gradient g and Hessian H of the loss at the penalised optimum, over
all thresholds and slopes; variance H^-1 / W, or a sandwich of the scores. With more parameters than
the data identify, rows of nodewise lasso fits replace H^-1 (van de Geer et al. 2014).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from robuststat._core.errors import DataError
from robuststat._core.resample import bootstrap
from robuststat._core.rng import RandomState
from robuststat._core.types import Array, IntArray
from robuststat._core.vcov import meat
from robuststat.ordinal._presto_choice import Rows
from robuststat.ordinal._presto_fit import Recipe, fit_path, null_solution, raw_fit
from robuststat.ordinal._presto_problem import Problem, evaluate, hessian
from robuststat.ordinal._presto_solve import Solution

# Parameters a row above which the inverse information is not trusted.
_MAX_SHARE = 0.5
# Parameters above which a dense variance matrix is not formed.
MAX_PARAMETERS = 2000


@dataclass(frozen=True, slots=True)
class Inference:
    """Estimates with their variance, in the clm sign on the raw scale.

    Attributes
    ----------
    estimate : ndarray of shape (q + q p,)
        Thresholds, then slopes boundary by boundary.
    vcov : ndarray of shape (q + q p, q + q p)
        Variance.
    kind : str
        "hessian", "HC0", "CR0", "nodewise" or "bootstrap".
    n_clusters : int or None
        Clusters.
    n_failed : int
        Replicates of a bootstrap that could not be fitted.
    """

    estimate: Array
    vcov: Array
    kind: str
    n_clusters: int | None = None
    n_failed: int = 0


def debiased(
    problem: Problem,
    solution: Solution,
    vcov: str,
    clusters: IntArray | None,
    counts: Array | None = None,
) -> Inference:
    """One-step estimate and its variance.

    Parameters
    ----------
    problem : Problem
        Data.
    solution : Solution
        Penalised optimum.
    vcov : {"hessian", "HC0", "CR0"}
        Inverse information, or a sandwich.
    clusters : ndarray of shape (n,) or None
        Group of each entry of the response.

    Raises
    ------
    DataError
        When the information matrix is singular.
    """
    columns = problem.columns
    J = np.flatnonzero(columns.usable)
    Z = columns.take(J)
    q, m = problem.n_boundaries, J.size + 1
    theta = np.hstack([solution.alpha[:, None], solution.beta[:, J]])
    point = evaluate(problem, Z, theta)
    H = hessian(problem, Z, point.rows).reshape(q * m, q * m)
    nodewise = q * m > _MAX_SHARE * len(problem.w)
    inverse = _nodewise(H, len(problem.w)) if nodewise else _inverse(H)
    step = inverse @ point.gradient.ravel()
    estimate = theta.ravel() - step
    n_clusters = None
    if vcov == "hessian":
        V = inverse @ H @ inverse.T / problem.total if nodewise else inverse / problem.total
    else:
        influence = _scores(problem, Z, point.rows) @ inverse.T
        if counts is not None and clusters is None:
            # Units of one entry are independent: their scores are squared one by one.
            influence = influence / np.sqrt(counts[problem.order])[:, None]
        codes = None if clusters is None else clusters[problem.order]
        found = meat(influence, clusters=codes)
        V, n_clusters = found.matrix * len(influence), found.n_clusters
    L = _to_raw(problem, J)
    kind = "nodewise" if nodewise else vcov
    V = L @ V @ L.T
    return Inference(L @ estimate, 0.5 * (V + V.T), kind, n_clusters)


def _inverse(H: Array) -> Array:
    scale = np.sqrt(np.maximum(np.diag(H), 1e-300))
    unit = H / scale / scale[:, None]
    try:
        factor = linalg.cho_factor(unit, lower=True)
    except linalg.LinAlgError as error:
        raise DataError("The information matrix is singular.") from error
    inverse = linalg.cho_solve(factor, np.eye(len(H)))
    if np.abs(inverse).max() > 1e12:
        raise DataError("The information matrix is singular.")
    inverse = inverse / scale / scale[:, None]
    return np.asarray(0.5 * (inverse + inverse.T))


def _nodewise(H: Array, n: int) -> Array:
    """Rows of an approximate inverse by lasso regressions of each parameter on the others."""
    from robuststat.kernels.ordinal import lasso_descent

    m = len(H)
    scale = np.sqrt(np.maximum(np.diag(H), 1e-300))
    C = np.ascontiguousarray(H / scale / scale[:, None])
    penalty = np.sqrt(np.log(m) / n)
    inverse = np.empty_like(C)
    for j in range(m):
        # The coordinate itself is held at -1: its column is the linear term.
        b, l1 = -C[:, j].copy(), np.full(m, penalty)
        b[j], l1[j] = 0.0, np.inf
        x = np.zeros(m)
        lasso_descent(C, b, l1, x, 1e-9, 10_000)
        row = -x
        row[j] = 1.0
        inverse[j] = row / (1.0 - C[j] @ x)
    return inverse / scale / scale[:, None]


def _scores(problem: Problem, Z: Array, rows: Array) -> Array:
    """Return the derivatives of w_i log p_i in (alpha, beta), of shape (n, q (1 + J))."""
    q, m = problem.n_boundaries, Z.shape[1]
    scores = np.zeros((len(Z), q, m))
    for c in range(q + 1):
        s = slice(problem.starts[c], problem.starts[c + 1])
        if c < q:
            scores[s, c] = rows[0, s, None] * Z[s]
        if c > 0:
            scores[s, c - 1] = rows[1, s, None] * Z[s]
    return scores.reshape(len(Z), q * m)


def _to_raw(problem: Problem, J: IntArray) -> Array:
    """Linear map of (alpha, beta) by boundary to raw thresholds and slopes in the clm sign."""
    columns, q = problem.columns, problem.n_boundaries
    p, m = columns.n_columns, J.size + 1
    L = np.zeros((q + q * p, q * m))
    for k in range(q):
        L[k, k * m] = 1.0
        L[k, k * m + 1 : (k + 1) * m] = -columns.mean[J] / columns.scale[J]
        L[q + k * p + J, k * m + 1 + np.arange(J.size)] = -1.0 / columns.scale[J]
    return L


@dataclass(frozen=True, slots=True)
class _Refit:
    """Coefficients at one penalty as a function of row weights."""

    rows: Rows
    recipe: Recipe
    lam: float

    def __call__(self, draw: Array) -> Array:
        weights = self.rows.weights * draw
        kept = np.flatnonzero(weights > 0.0)
        part, recipe = self.rows.part(kept), self.recipe
        if np.unique(part.codes).size < len(recipe.factors) + 1:
            raise DataError("A class was not drawn.")
        problem = recipe.problem(part.X, part.codes, weights[kept], part.offset)
        null = null_solution(problem, recipe)
        raw = raw_fit(problem, fit_path(problem, recipe, null, np.array([self.lam]))[0])
        return np.concatenate([raw.intercept, raw.coef.ravel()])


def bootstrapped(
    rows: Rows,
    recipe: Recipe,
    lam: float,
    *,
    n_boot: int,
    random_state: RandomState,
    n_jobs: int | None,
) -> Inference:
    """Refit at the chosen penalty on resampled rows (clusters, when there are groups).

    Parameters
    ----------
    rows : Rows
        Data.
    recipe : Recipe
        Options.
    lam : float
        Penalty, the same in every replicate.
    n_boot : int
        Replicates.
    random_state, n_jobs
        As elsewhere.
    """
    found = bootstrap(
        _Refit(rows, recipe, lam),
        len(rows.codes),
        n_boot=n_boot,
        kind="pairs" if rows.groups is None else "cluster",
        clusters=rows.groups,
        random_state=random_state,
        n_jobs=n_jobs,
    )
    n_clusters = None if rows.groups is None else int(rows.groups.max()) + 1
    return Inference(
        np.asarray(found.estimate), np.asarray(found.vcov), "bootstrap", n_clusters, found.n_failed
    )
