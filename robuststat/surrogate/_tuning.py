"""Power tuning: how much weight the predictions deserve (2.9).

psi(Lambda) = w m + (1 - w) Lambda mhat. With u the part of the score that labels determine and v
the control variate that averages to zero, the best Lambda is the regression of u on v. A scalar
tuned for one coefficient is PPI++ (Angelopoulos, Duchi and Zrnic 2023).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from robuststat._core.errors import warn
from robuststat._core.glm import row_blocks
from robuststat._core.linalg import cluster_sums, solve_square, symmetrise
from robuststat._core.optim import ConvergenceInfo
from robuststat._core.types import Array, IntArray
from robuststat._core.vcov import MeatAccumulator, survey_meat
from robuststat.surrogate._labels import (
    apply_coefficient,
    nuisance_scores,
    probability_coefficient,
)
from robuststat.surrogate._scores import DesignAdjusted
from robuststat.surrogate._solve import (
    RepetitionFit,
    VarianceSpec,
    centred,
    finite_scale,
    fit_repetition,
    solve,
)

TuningName = Literal["scalar", "matrix"]


def fit_tuned(
    moments: DesignAdjusted,
    spec: VarianceSpec,
    tuning: TuningName,
    *,
    tol: float = 1e-10,
    max_iter: int = 50,
    influence: bool = False,
) -> RepetitionFit:
    """Estimate with Lambda chosen at the gold-only pilot.

    Parameters
    ----------
    moments : DesignAdjusted
        Estimating equations.
    spec : VarianceSpec
        Kind of variance.
    tuning : {"scalar", "matrix"}
        One number for each coefficient, each with its own solution, or one matrix for all.
    tol, max_iter : float, int
        Stopping rule.
    influence : bool
        Whether to return the influence of each row.

    Returns
    -------
    RepetitionFit
        With ``tuning`` of shape (k,) or (k, k).
    """
    if moments.labelling.n_labeled < 100:
        warn(
            f"tuning={tuning!r} is chosen from {moments.labelling.n_labeled} labels; standard "
            "errors come out about 6-15 % too small with 50. Use tuning=None or more labels."
        )
    pilot = fit_repetition(moments.tuned(0.0), spec, tol=tol, max_iter=max_iter).theta
    k = pilot.size
    if tuning == "matrix":
        products = _products(moments, pilot, spec, np.eye(k))
        lam = _regression(*products)
        fit = fit_repetition(
            moments.tuned(lam), spec, start=pilot, tol=tol, max_iter=max_iter, influence=influence
        )
        return replace(fit, tuning=lam)
    lam = _scalars(*_products(moments, pilot, spec, _bread(moments, pilot)))
    return _fit_each(moments, spec, lam, pilot, tol, max_iter, influence)


def _regression(uu: Array, uv: Array, vv: Array) -> Array:
    """Regression of u on v: the best matrix.

    Directions in which the predictions do not vary cannot help; the cut-off keeps rounding noise
    from being taken for variation.
    """
    scale = np.sqrt(np.maximum(np.diag(vv), 1e-300))
    inverse = np.linalg.pinv(vv / np.outer(scale, scale), rcond=1e-14, hermitian=True)
    return np.asarray(uv @ (inverse / np.outer(scale, scale)), dtype=np.float64)


def _scalars(uu: Array, uv: Array, vv: Array) -> Array:
    """Best single number for every coefficient: regression of (a'u) on (a'v)."""
    target, covariance, variance = np.diag(uu), np.diag(uv), np.diag(vv)
    # A control variate that varies by rounding only for a coefficient cannot help it.
    varies = variance > 1e-20 * target
    return np.asarray(np.divide(covariance, variance, out=np.zeros_like(variance), where=varies))


def _products(
    moments: DesignAdjusted, pilot: Array, spec: VarianceSpec, directions: Array
) -> tuple[Array, Array, Array]:
    """Return sums of u u', u v', v v' at the pilot along ``directions`` (k, k), in row blocks.

    u and v are totals of clusters, around their stratum in a survey, where rows are not
    independent.
    """
    labelling, k = moments.labelling, directions.shape[0]
    gold = moments.tuned(0.0)
    centre = probability_coefficient(labelling, gold.corrections(pilot))
    centre_hat = None if centre is None else _population_coefficient(moments, pilot)
    accumulator = MeatAccumulator(2 * k, n_clusters=spec.n_groups)
    for rows in row_blocks(moments.X_hat.shape[0], 2 * k):
        u = gold.scores(pilot, rows)
        a = None if labelling.weights is None else labelling.weights[rows]
        v = moments.model.rows(moments.X_hat[rows], moments.y_hat[rows], pilot, a)
        v *= (labelling.labeled[rows] / labelling.prob[rows] - 1.0)[:, None]
        if centre is not None and centre_hat is not None:
            everything = nuisance_scores(labelling, rows)
            u -= apply_coefficient(*everything, centre)
            v -= apply_coefficient(*everything, centre_hat)
        pair = np.column_stack([u @ directions.T, v @ directions.T])
        accumulator.update(pair, None if spec.groups is None else spec.groups.codes[rows])
    if spec.survey:
        totals = _centred(accumulator.totals, spec.unit_strata)
        joint = totals.T @ totals
    else:
        joint = accumulator.finish(1)
    return joint[:k, :k], joint[:k, k:], joint[k:, k:]


def _fit_each(
    moments: DesignAdjusted,
    spec: VarianceSpec,
    lam: Array,
    pilot: Array,
    tol: float,
    max_iter: int,
    influence: bool,
) -> RepetitionFit:
    """Coefficient j from the solution with lambda_j; joint variance from their influences."""
    fits = _solutions(moments, lam, pilot, tol, max_iter)
    theta = np.array([fit.theta[j] for j, fit in enumerate(fits)])
    worst = min((fit.convergence for fit in fits), key=lambda info: info.converged)
    own = [moments.tuned(float(value)) for value in lam]
    vcov, rows = _joint_variance(own, fits, spec, influence)
    return RepetitionFit(theta, vcov, worst, lam, rows, each=tuple(fits))


def _solutions(
    moments: DesignAdjusted, lam: Array, pilot: Array, tol: float, max_iter: int
) -> list[RepetitionFit]:
    """Roots for every lambda, each starting from the one before."""
    start, none = pilot, np.empty((0, 0))
    linear = None
    if moments.model.linear:
        # The sums are linear in lambda: two passes serve all.
        gold, full = (moments.tuned(value).sums(np.zeros(pilot.size)) for value in (0.0, 1.0))
        linear = gold, (full[0] - gold[0], full[1] - gold[1])
    fits = []
    for value in lam:
        if linear is None:
            solution = solve(moments.tuned(float(value)), start, tol, max_iter)
            start, jacobian, ending = solution.theta, solution.jacobian, solution.convergence
        else:
            (score, slope), (more, steeper) = linear
            jacobian = slope + value * steeper
            start = solve_square(-jacobian, score + value * more)
            ending = ConvergenceInfo(True, 1, float(np.abs(start).max()), 0.0, "solved exactly")
        if not ending.converged:
            scale = float(np.abs(jacobian).max()) or 1.0
            jacobian = jacobian - 1e-8 * scale * np.eye(pilot.size)
        bread = solve_square(-jacobian, np.eye(pilot.size))
        fits.append(RepetitionFit(start, none, ending, bread=bread))
    return fits


def _joint_variance(
    own: list[DesignAdjusted], fits: list[RepetitionFit], spec: VarianceSpec, keep: bool
) -> tuple[Array, Array | None]:
    """Variance of coefficient j of fit j, j = 1..k, in one sweep over row blocks."""
    n, k, labelling = own[0].n_obs, len(own), own[0].labelling
    rays = [fit.bread[j] for j, fit in enumerate(fits) if fit.bread is not None]
    solved = list(zip(own, fits, rays, strict=True))
    rows_kept = np.zeros((n, k)) if keep else None
    if spec.kind == "finite":
        noise = [centred(labelling, part.corrections(fit.theta)) @ ray for part, fit, ray in solved]
        columns = np.column_stack(noise) * finite_scale(labelling)[:, None]
        if rows_kept is not None:
            rows_kept[labelling.rows] = columns
        return columns.T @ columns / n**2, rows_kept
    lost = None
    if spec.kind == "design":
        found = [
            (probability_coefficient(labelling, part.corrections(fit.theta)), ray)
            for part, fit, ray in solved
        ]
        if found[0][0] is not None:
            lost = np.column_stack([c @ ray for c, ray in found if c is not None])
    accumulator = MeatAccumulator(k, n_clusters=spec.n_groups)
    for rows in row_blocks(n, k):
        block = np.column_stack([part.scores(fit.theta, rows) @ ray for part, fit, ray in solved])
        if lost is not None:
            block -= apply_coefficient(*nuisance_scores(labelling, rows), lost)
        if rows_kept is not None:
            rows_kept[rows] = block
        accumulator.update(block, None if spec.groups is None else spec.groups.codes[rows])
    if spec.survey:
        totals = accumulator.totals
        total = survey_meat(totals, strata=spec.unit_strata).matrix * (totals.shape[0] / n)
    else:
        total = accumulator.finish(n)
    return symmetrise(spec.factor * total / n), rows_kept


def _centred(totals: Array, strata: IntArray | None) -> Array:
    """Totals of primary sampling units around the mean of their stratum."""
    stratum = np.zeros(totals.shape[0], dtype=np.int64) if strata is None else strata
    n_strata = int(stratum.max()) + 1
    means = cluster_sums(totals, stratum, n_strata) / np.bincount(stratum)[:, None]
    return totals - means[stratum]


def _population_coefficient(moments: DesignAdjusted, pilot: Array) -> Array:
    """``probability_coefficient`` of mhat, which is known for every row and not just labelled."""
    n, weights = moments.X_hat.shape[0], moments.labelling.weights
    everyone = replace(moments.labelling, rows=np.arange(n), ratio=np.ones(n))
    if everyone.strata is None and everyone.terms is None:
        total = moments.model.sums(moments.X_hat, moments.y_hat, weights, pilot)[0]
        return np.asarray(total[None, :] / everyone.mass[0])
    hat = moments.model.rows(moments.X_hat, moments.y_hat, pilot, weights)
    coefficient = probability_coefficient(everyone, hat)
    assert coefficient is not None
    return coefficient


def _bread(moments: DesignAdjusted, theta: Array) -> Array:
    """Inverse of the unweighted derivative of the model (2.9)."""
    if not moments.model.smooth:
        information = -moments.tuned(0.0).sums(theta)[1]
    else:
        weights = moments.labelling.weights
        information = moments.model.sums(moments.X_hat, moments.y_hat, weights, theta)[1]
        information /= moments.n_obs
    return solve_square(information, np.eye(theta.size))
