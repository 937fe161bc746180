"""Root, variance, power tuning and aggregation over repeated cross-fitting.

Numbers such as (2.5) refer to the steps in the docstring of ``robuststat.surrogate``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from robuststat._core.glm import GLMFamily, glm_sums, row_blocks
from robuststat._core.linalg import nearest_psd, solve_square, symmetrise
from robuststat._core.moments import MomentSolution, solve_moments
from robuststat._core.optim import ConvergenceInfo, newton
from robuststat._core.table import Codes
from robuststat._core.types import Array
from robuststat._core.vcov import MeatAccumulator, cluster_sums, meat, sandwich, survey_meat
from robuststat.surrogate._labels import (
    Labelling,
    apply_coefficient,
    nuisance_scores,
    probability_coefficient,
)
from robuststat.surrogate._scores import DesignAdjustedGLM

VarianceKind = Literal["robust", "design", "finite"]

# Newton starts from the root on a thinned sample of about this many rows: most of its steps then
# cost a fraction of a pass, and the full rows need two or three.
_WARM_ROWS = 50_000


@dataclass(frozen=True, slots=True)
class VarianceSpec:
    """Which variance is wanted.

    Attributes
    ----------
    kind : {"robust", "design", "finite"}
        Scores as they are (2.4); corrected for estimated or fixed-size labelling (2.5); only the
        labelling is random (2.5b).
    clusters : Codes or None
        Dependence groups.
    psu, strata : Codes or None
        Survey design of the rows; replaces ``clusters``.
    factor : float
        Small-sample factor.
    """

    kind: VarianceKind
    clusters: Codes | None = None
    psu: Codes | None = None
    strata: Codes | None = None
    factor: float = 1.0


@dataclass(frozen=True, slots=True)
class RepetitionFit:
    """Estimate of one repetition of cross-fitting.

    Attributes
    ----------
    theta : ndarray of shape (k,)
        Coefficients.
    vcov : ndarray of shape (k, k)
        Variance.
    convergence : ConvergenceInfo
        Record of the root finding.
    tuning : ndarray or None
        Lambda, one number a coefficient or a matrix.
    influence : ndarray of shape (n, k) or None
        Influence of each row; its outer products over n^2 sum to the variance.
    jacobian : ndarray of shape (k, k) or None
        Derivative of the average score; None when each coefficient has a solution of its own.
    each : tuple of RepetitionFit
        These solutions, one a coefficient.
    """

    theta: Array
    vcov: Array
    convergence: ConvergenceInfo
    tuning: Array | None = None
    influence: Array | None = None
    jacobian: Array | None = None
    each: tuple[RepetitionFit, ...] = ()


def solve(
    moments: DesignAdjustedGLM, start: Array | None, tol: float, max_iter: int
) -> MomentSolution:
    """Root of the design-adjusted moments."""
    k = moments.n_moments
    if moments.family.name == "linear":
        return _solve_linear(moments)
    if start is None:
        start = _warm_start(moments) if moments.n_obs > 2 * _WARM_ROWS else np.zeros(k)
        if moments.pseudo_outcome is None:
            start = _plug_in(moments, start)
    return solve_moments(moments, start, tol=tol, max_iter=max_iter)


def _solve_linear(moments: DesignAdjustedGLM) -> MomentSolution:
    """Exact solution; a second solve on the residuals undoes the rounding of the normal equations.

    Whether it is needed is seen from the average score, which ``adjusted_meat`` returns.
    """
    score, jacobian = moments.sums(np.zeros(moments.n_moments))
    theta = solve_square(-jacobian, score)
    done = ConvergenceInfo(True, 1, float(np.abs(theta).max()), 0.0, "solved exactly")
    return MomentSolution(theta, jacobian, done)


def _warm_start(moments: DesignAdjustedGLM) -> Array:
    """Root of the plug-in model, or of the pseudo-outcome model, on a thinned sample."""
    stride = moments.n_obs // _WARM_ROWS
    outcome = moments.y_hat if moments.pseudo_outcome is None else moments.pseudo_outcome
    a = moments.labelling.weights
    weights = None if a is None else a[::stride]
    X, y = np.ascontiguousarray(moments.X_hat[::stride]), outcome[::stride]
    return _glm_root(moments.family, X, y, weights, np.zeros(moments.n_moments), tol=1e-4)


def _plug_in(moments: DesignAdjustedGLM, start: Array) -> Array:
    """Coefficients that take predictions for truth: a start near the root (2.3)."""
    weights = moments.labelling.weights
    return _glm_root(moments.family, moments.X_hat, moments.y_hat, weights, start, tol=1e-4)


def _glm_root(
    family: GLMFamily, X: Array, y: Array, weights: Array | None, start: Array, tol: float
) -> Array:
    n = X.shape[0]

    def average(theta: Array) -> tuple[Array, Array]:
        score, information = glm_sums(X, y, weights, theta, family)
        return score / n, -information / n

    theta, _, info = newton(average, start, tol=tol, max_iter=25)
    return theta if info.converged else start


# A fit that runs off to infinity is reported as not converged, not as a floating-point warning.
@np.errstate(over="ignore", invalid="ignore")
def fit_repetition(
    moments: DesignAdjustedGLM,
    spec: VarianceSpec,
    *,
    start: Array | None = None,
    tol: float = 1e-10,
    max_iter: int = 50,
    influence: bool = False,
) -> RepetitionFit:
    """Coefficients and variance for one set of predictions.

    Parameters
    ----------
    moments : DesignAdjustedGLM
        Estimating equations.
    spec : VarianceSpec
        Kind of variance.
    start : ndarray of shape (k,) or None
        First value of the iteration.
    tol, max_iter : float, int
        Stopping rule.
    influence : bool
        Whether to return the influence of each row.

    Returns
    -------
    RepetitionFit
    """
    solution = solve(moments, start, tol, max_iter)
    theta, jacobian = solution.theta, solution.jacobian
    middle, score = adjusted_meat(moments, theta, spec)
    if moments.family.name == "linear":
        step = solve_square(-jacobian, score)
        if np.abs(step).max() > 1e-11 * (1.0 + np.abs(theta).max()):
            theta = theta + step
            middle, score = adjusted_meat(moments, theta, spec)
    if not solution.convergence.converged:
        # Reported as not converged; a finite matrix keeps the rest of the result readable.
        scale = float(np.abs(jacobian).max()) or 1.0
        jacobian = jacobian - 1e-8 * scale * np.eye(moments.n_moments)
    vcov = sandwich(jacobian, middle, moments.n_obs, spec.factor)
    rows = row_influence(moments, theta, jacobian, spec) if influence else None
    return RepetitionFit(theta, vcov, solution.convergence, influence=rows, jacobian=jacobian)


def adjusted_meat(
    moments: DesignAdjustedGLM, theta: Array, spec: VarianceSpec
) -> tuple[Array, Array]:
    """Meat of the (corrected) scores in one pass over row blocks, and the average score.

    Parameters
    ----------
    moments : DesignAdjustedGLM
        Estimating equations.
    theta : ndarray of shape (k,)
        Root.
    spec : VarianceSpec
        Kind of variance.

    Returns
    -------
    meat : ndarray of shape (k, k)
        B in V = A^-1 B A^-T / n.
    score : ndarray of shape (k,)
        Average uncorrected score; zero at the root up to rounding.
    """
    n, k = moments.n_obs, moments.n_moments
    if spec.kind == "finite":
        labelling_noise = _finite_rows(moments, theta)
        return labelling_noise.T @ labelling_noise / n, moments.sums(theta)[0]
    if moments.gold_only and spec.psu is None and _labels_suffice(moments, spec):
        return _labelled_meat(moments, theta, spec)
    coefficient = _coefficient(moments, theta, spec)
    total = np.zeros(k)
    groups = spec.psu if spec.psu is not None else spec.clusters
    accumulator = MeatAccumulator(k, n_clusters=None if groups is None else len(groups.levels))
    totals = None if spec.psu is None else np.zeros((len(spec.psu.levels), k))
    for rows in row_blocks(n, k):
        psi = moments.scores(theta, rows)
        total += np.ones(psi.shape[0]) @ psi
        if coefficient is not None:
            psi -= apply_coefficient(*nuisance_scores(moments.labelling, rows), coefficient)
        codes = None if groups is None else groups.codes[rows]
        if totals is not None and codes is not None:
            cluster_sums(psi, codes, totals.shape[0], out=totals)
        else:
            accumulator.update(psi, codes)
    if totals is None:
        return accumulator.finish(n), total / n
    assert spec.psu is not None
    stratum = None
    if spec.strata is not None:
        stratum = np.zeros(totals.shape[0], dtype=np.int64)
        stratum[spec.psu.codes] = spec.strata.codes
    return survey_meat(totals, strata=stratum).matrix * (totals.shape[0] / n), total / n


def _labels_suffice(moments: DesignAdjustedGLM, spec: VarianceSpec) -> bool:
    """Whether unlabelled rows have zero score when only expert labels are used.

    The correction for probabilities scaled by one constant is the average score of the labelled
    rows, which is zero at the root.
    """
    labelling = moments.labelling
    return spec.kind == "robust" or (labelling.strata is None and labelling.terms is None)


def _labelled_meat(
    moments: DesignAdjustedGLM, theta: Array, spec: VarianceSpec
) -> tuple[Array, Array]:
    """``adjusted_meat`` of the labelled rows alone, for estimates that use no others."""
    labelling, n = moments.labelling, moments.n_obs
    psi = moments.corrections(theta) * labelling.ratio[:, None]
    codes = None if spec.clusters is None else spec.clusters.codes[labelling.rows]
    groups = None if spec.clusters is None else len(spec.clusters.levels)
    accumulator = MeatAccumulator(moments.n_moments, n_clusters=groups)
    accumulator.update(psi, codes)
    return accumulator.finish(n), psi.sum(axis=0) / n


def _coefficient(moments: DesignAdjustedGLM, theta: Array, spec: VarianceSpec) -> Array | None:
    if spec.kind == "robust":
        return None
    return probability_coefficient(moments.labelling, moments.corrections(theta))


def _finite_rows(moments: DesignAdjustedGLM, theta: Array) -> Array:
    """sqrt(w (1 - pi) / pi) (delta - centre) of the labelled rows, of shape (r, k) (2.5b)."""
    labelling = moments.labelling
    prob = labelling.prob[labelling.rows]
    scale = np.sqrt(labelling.ratio * np.maximum(1.0 - prob, 0.0) / prob)
    return centred(labelling, moments.corrections(theta)) * scale[:, None]


def centred(labelling: Labelling, delta: Array) -> Array:
    """Take the centre off corrections (or linear combinations of them) of shape (n_labeled, k).

    The centre is what the estimated probabilities absorb: pi_i times their coefficient. Under
    simple random sampling it is the labelled mean of delta = a (m - mhat).
    """
    coefficient = probability_coefficient(labelling, delta)
    if coefficient is None:
        return delta
    rows, prob = labelling.rows, labelling.prob[labelling.rows]
    mass = prob if labelling.weights is None else prob * labelling.weights[rows]
    codes = None if labelling.strata is None else labelling.strata.codes[rows]
    if codes is None and labelling.terms is None:
        return delta - mass[:, None] * coefficient
    terms = np.ones((rows.size, 1)) if labelling.terms is None else labelling.terms[rows]
    return delta - apply_coefficient(terms * mass[:, None], codes, coefficient)


def row_influence(
    moments: DesignAdjustedGLM, theta: Array, jacobian: Array, spec: VarianceSpec
) -> Array:
    """Influence -A^-1 psi of every row, of shape (n, k); psi corrected as in ``spec``.

    When only the labelling is random, unlabelled rows have no influence.
    """
    if spec.kind == "finite":
        psi = np.zeros((moments.n_obs, moments.n_moments))
        psi[moments.labelling.rows] = _finite_rows(moments, theta)
    else:
        psi = moments.scores(theta, slice(0, moments.n_obs))
        coefficient = _coefficient(moments, theta, spec)
        if coefficient is not None:
            everything = nuisance_scores(moments.labelling, slice(0, moments.n_obs))
            psi = psi - apply_coefficient(*everything, coefficient)
    return solve_square(-jacobian, psi.T).T


def influence_vcov(influence: Array, spec: VarianceSpec, n_obs: int) -> Array:
    """Variance from influences in memory, grouped as ``spec`` says."""
    if spec.kind == "finite":
        return influence.T @ influence / n_obs**2
    if spec.psu is not None:
        strata = None if spec.strata is None else spec.strata.codes
        total = survey_meat(influence, strata=strata, psu=spec.psu.codes).matrix
    else:
        total = meat(
            influence, clusters=None if spec.clusters is None else spec.clusters.codes
        ).matrix
    return spec.factor * total / n_obs


def aggregate(fits: list[RepetitionFit]) -> tuple[Array, Array]:
    """Median over repetitions; the variance gains the spread between them (2.7).

    Returns
    -------
    theta : ndarray of shape (k,)
        Coordinatewise median.
    vcov : ndarray of shape (k, k)
        Entrywise median of V_s + (theta_s - theta)(theta_s - theta)', made positive
        semi-definite with its diagonal kept.
    """
    thetas = np.array([fit.theta for fit in fits])
    theta = np.median(thetas, axis=0)
    gaps = thetas - theta
    spread = np.array([fit.vcov for fit in fits]) + gaps[:, :, None] * gaps[:, None, :]
    vcov = np.median(spread, axis=0)
    vcov = symmetrise(vcov)
    return theta, nearest_psd(vcov) if len(fits) > 1 else vcov
