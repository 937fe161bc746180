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
from robuststat._core.linalg import solve_square
from robuststat._core.types import Array, IntArray
from robuststat._core.vcov import cluster_sums
from robuststat.surrogate._labels import (
    apply_coefficient,
    nuisance_scores,
    probability_coefficient,
)
from robuststat.surrogate._scores import DesignAdjusted
from robuststat.surrogate._solve import (
    RepetitionFit,
    VarianceSpec,
    fit_repetition,
    influence_vcov,
)

TuningName = Literal["scalar", "matrix"]


def fit_tuned(
    moments: DesignAdjusted,
    spec: VarianceSpec,
    tuning: TuningName,
    *,
    tol: float = 1e-10,
    max_iter: int = 50,
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
    u, v = _pair(moments, pilot, spec)
    if tuning == "matrix":
        # Directions in which the predictions do not vary cannot help; the cut-off keeps rounding
        # noise from being taken for variation.
        lam = np.asarray(np.linalg.lstsq(v, u, rcond=1e-8)[0].T, dtype=np.float64)
        fit = fit_repetition(
            moments.tuned(lam), spec, start=pilot, tol=tol, max_iter=max_iter, influence=True
        )
        return replace(fit, tuning=lam)
    return _fit_each(moments, spec, _scalars(_bread(moments, pilot), u, v), pilot, tol, max_iter)


def _scalars(bread: Array, u: Array, v: Array) -> Array:
    """Best single number for every coefficient: regression of (a'u) on (a'v)."""
    target, control = u @ bread.T, v @ bread.T
    variance = (control**2).sum(axis=0)
    covariance = (target * control).sum(axis=0)
    # A control variate that varies by rounding only for a coefficient cannot help it.
    varies = variance > 1e-20 * (target**2).sum(axis=0)
    return np.asarray(np.divide(covariance, variance, out=np.zeros_like(variance), where=varies))


def _fit_each(
    moments: DesignAdjusted,
    spec: VarianceSpec,
    lam: Array,
    pilot: Array,
    tol: float,
    max_iter: int,
) -> RepetitionFit:
    """Coefficient j from the solution with lambda_j; joint variance from stacked influences."""
    fits = [
        fit_repetition(
            moments.tuned(float(value)),
            spec,
            start=pilot,
            tol=tol,
            max_iter=max_iter,
            influence=True,
        )
        for value in lam
    ]
    theta = np.array([fit.theta[j] for j, fit in enumerate(fits)])
    worst = min((fit.convergence for fit in fits), key=lambda info: info.converged)
    columns = [fit.influence[:, j] for j, fit in enumerate(fits) if fit.influence is not None]
    influence = np.column_stack(columns)
    vcov = influence_vcov(influence, spec, moments.n_obs)
    each = tuple(replace(fit, influence=None) for fit in fits)
    return RepetitionFit(theta, vcov, worst, lam, influence, each=each)


def _pair(moments: DesignAdjusted, pilot: Array, spec: VarianceSpec) -> tuple[Array, Array]:
    """Compute u and v at the pilot, summed over clusters where rows are not independent."""
    labelling = moments.labelling
    n = moments.n_obs
    gold = moments.tuned(0.0)
    u = gold.scores(pilot, slice(0, n))
    hat = moments.model.rows(moments.X_hat, moments.y_hat, pilot, labelling.weights)
    v = hat * (labelling.labeled / labelling.prob - 1.0)[:, None]
    centre_u = probability_coefficient(labelling, gold.corrections(pilot))
    if centre_u is not None:
        everything = nuisance_scores(labelling, slice(0, n))
        u = u - apply_coefficient(*everything, centre_u)
        v = v - apply_coefficient(*everything, _population_coefficient(moments, hat))
    if spec.groups is not None:
        u, v = (cluster_sums(part, spec.groups.codes, len(spec.groups.levels)) for part in (u, v))
    if spec.survey:
        u, v = (_centred(part, spec.unit_strata) for part in (u, v))
    return u, v


def _centred(totals: Array, strata: IntArray | None) -> Array:
    """Totals of primary sampling units around the mean of their stratum."""
    stratum = np.zeros(totals.shape[0], dtype=np.int64) if strata is None else strata
    n_strata = int(stratum.max()) + 1
    means = cluster_sums(totals, stratum, n_strata) / np.bincount(stratum)[:, None]
    return totals - means[stratum]


def _population_coefficient(moments: DesignAdjusted, hat: Array) -> Array:
    """``probability_coefficient`` of mhat, which is known for every row and not just labelled."""
    everyone = replace(
        moments.labelling,
        rows=np.arange(moments.n_obs),
        ratio=np.ones(moments.n_obs),
    )
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
