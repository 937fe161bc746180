"""Root, variance, power tuning and aggregation over repeated cross-fitting.

Numbers such as (2.5) refer to the steps in the docstring of ``robuststat.surrogate``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from robuststat._core.errors import CollinearityError, IdentificationError
from robuststat._core.glm import row_blocks
from robuststat._core.linalg import (
    clip_psd,
    collinear_columns,
    median_over_repetitions,
    solve_square,
)
from robuststat._core.moments import GMMSolution, MomentSolution, solve_gmm, solve_moments
from robuststat._core.optim import ConvergenceInfo
from robuststat._core.table import Codes
from robuststat._core.types import Array, IntArray
from robuststat._core.vcov import MeatAccumulator, meat, sandwich, survey_meat
from robuststat.surrogate._labels import (
    Labelling,
    apply_coefficient,
    nuisance_scores,
    probability_coefficient,
)
from robuststat.surrogate._models import RowModel, UserRows
from robuststat.surrogate._scores import AdjustedMoments, DesignAdjusted
from robuststat.surrogate._starts import first_value, quantile_root

VarianceKind = Literal["robust", "design", "finite"]


@dataclass(frozen=True, slots=True)
class VarianceSpec:
    """Which variance is wanted.

    Attributes
    ----------
    kind : {"robust", "design", "finite"}
        Scores as they are (2.4); corrected for estimated or fixed-size labelling (2.5); only the
        labelling is random (2.5b).
    groups : Codes or None
        Clusters, or primary sampling units of a survey.
    survey : bool
        Whether the groups are sampling units: their totals vary around the mean of a stratum.
    unit_strata : ndarray of shape (G,) or None
        Stratum of each sampling unit.
    factor : float
        Small-sample factor.
    """

    kind: VarianceKind
    groups: Codes | None = None
    survey: bool = False
    unit_strata: IntArray | None = None
    factor: float = 1.0

    @property
    def n_groups(self) -> int | None:
        """Number of groups, None when rows are independent."""
        return None if self.groups is None else len(self.groups.levels)


@dataclass(frozen=True, slots=True)
class RepetitionFit:
    """Estimate of one repetition of cross-fitting.

    Attributes
    ----------
    theta : ndarray of shape (p,)
        Parameters.
    vcov : ndarray of shape (p, p)
        Variance.
    convergence : ConvergenceInfo
        Record of the root finding.
    tuning : ndarray or None
        Lambda, one number a parameter or a matrix.
    influence : ndarray of shape (n, p) or None
        Influence of each row; its outer products over n^2 sum to the variance.
    bread : ndarray of shape (p, q) or None
        What a unit of each average score moves; None when each parameter has a solution of its
        own.
    each : tuple of RepetitionFit
        These solutions, one a parameter.
    overidentification : tuple of (float, int) or None
        Hansen's J and its degrees of freedom.
    """

    theta: Array
    vcov: Array
    convergence: ConvergenceInfo
    tuning: Array | None = None
    influence: Array | None = None
    bread: Array | None = None
    each: tuple[RepetitionFit, ...] = ()
    overidentification: tuple[float, int] | None = None


def solve(
    moments: AdjustedMoments, start: Array | None, tol: float, max_iter: int
) -> MomentSolution:
    """Root of as many design-adjusted moments as parameters."""
    if moments.model.linear:
        return _solve_linear(moments)
    if not moments.model.smooth:
        assert isinstance(moments, DesignAdjusted)
        theta, convergence = quantile_root(moments, start)
        return MomentSolution(theta, moments.sums(theta)[1], convergence)
    if start is None:
        start = first_value(moments)
    return solve_moments(moments, start, tol=tol, max_iter=max_iter)


def _solve_linear(moments: AdjustedMoments) -> MomentSolution:
    """Exact solution; a second solve on the residuals undoes the rounding of the normal equations.

    Whether it is needed is seen from the average score, which ``adjusted_meat`` returns.
    """
    score, jacobian = moments.sums(np.zeros(moments.n_params))
    theta = solve_square(-jacobian, score)
    done = ConvergenceInfo(True, 1, float(np.abs(theta).max()), 0.0, "solved exactly")
    return MomentSolution(theta, jacobian, done)


# A fit that runs off to infinity is reported as not converged, not as a floating-point warning.
@np.errstate(over="ignore", invalid="ignore")
def fit_repetition(
    moments: AdjustedMoments,
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
    moments : AdjustedMoments
        Estimating equations.
    spec : VarianceSpec
        Kind of variance.
    start : ndarray of shape (p,) or None
        First value of the iteration.
    tol, max_iter : float, int
        Stopping rule.
    influence : bool
        Whether to return the influence of each row.

    Returns
    -------
    RepetitionFit
    """
    if moments.n_moments > moments.n_params:
        return _fit_overidentified(moments, spec, start, tol, max_iter, influence)
    solution = solve(moments, start, tol, max_iter)
    theta, jacobian = solution.theta, solution.jacobian
    refuse_undetermined(moments.model, theta, jacobian)
    middle, score = adjusted_meat(moments, theta, spec)
    if moments.model.linear:
        step = solve_square(-jacobian, score)
        if np.abs(step).max() > 1e-11 * (1.0 + np.abs(theta).max()):
            theta = theta + step
            middle, score = adjusted_meat(moments, theta, spec)
    if not solution.convergence.converged:
        # Reported as not converged; a finite matrix keeps the rest of the result readable.
        scale = float(np.abs(jacobian).max()) or 1.0
        jacobian = jacobian - 1e-8 * scale * np.eye(moments.n_moments)
    vcov = sandwich(jacobian, middle, moments.n_obs, spec.factor)
    if not solution.convergence.converged:
        vcov = clip_psd(vcov)[0]
    bread = solve_square(-jacobian, np.eye(theta.size))
    rows = row_influence(moments, theta, bread, spec) if influence else None
    return RepetitionFit(theta, vcov, solution.convergence, influence=rows, bread=bread)


def refuse_undetermined(model: RowModel, theta: Array, jacobian: Array) -> None:
    """Refuse moments of a user whose derivative at ``theta`` is singular, by parameter.

    Designs of regressions are checked before; what a function does with its parameters is not
    known before.
    """
    if not isinstance(model, UserRows) or not np.isfinite(jacobian).all():
        return
    dependent = collinear_columns(jacobian, model.names, tol=1e-12).dependent
    if not dependent:
        return
    words = [
        f"{name} (moves them as {', '.join(others)} does)" if others else f"{name} (moves none)"
        for name, others in dependent.items()
    ]
    raise IdentificationError(
        f"The moments do not determine {', '.join(words)} at {theta.tolist()}. Add moments, take "
        "the parameter out, or pass another start=."
    )


def _fit_overidentified(
    moments: AdjustedMoments,
    spec: VarianceSpec,
    start: Array | None,
    tol: float,
    max_iter: int,
    influence: bool,
) -> RepetitionFit:
    """Two-step GMM with the (corrected, clustered) meat of the design-adjusted scores (2.6)."""
    first = first_value(moments) if start is None else start

    def middle(theta: Array) -> Array:
        matrix = adjusted_meat(moments, theta, spec)[0]
        labels = [f"moment {j + 1}" for j in range(len(matrix))]
        dependent = collinear_columns(matrix, labels, gram=True).dependent
        if dependent:
            words = [f"{n} follows from {', '.join(o) or 'nothing'}" for n, o in dependent.items()]
            raise IdentificationError(
                f"The moments are linearly dependent: {'; '.join(words)}. Return each once."
            )
        return matrix

    try:
        found: GMMSolution = solve_gmm(moments, first, meat=middle, tol=tol, max_iter=max_iter)
    except CollinearityError as error:
        refuse_undetermined(moments.model, first, moments.sums(first)[1])
        raise IdentificationError(
            f"The {moments.n_moments} moments do not determine all {moments.n_params} parameters: "
            "their derivative is singular at the estimate. Add moments, or pass another start=."
        ) from error
    bread = -found.bread
    rows = row_influence(moments, found.theta, bread, spec) if influence else None
    return RepetitionFit(
        found.theta,
        spec.factor * found.vcov,
        found.convergence,
        influence=rows,
        bread=bread,
        overidentification=(found.j_statistic / spec.factor, found.j_df),
    )


class ScoreSums:
    """Meat and total of the scores of rows that arrive in parts."""

    def __init__(self, n_moments: int, n_groups: int | None) -> None:
        self.total = np.zeros(n_moments)
        self.meat = MeatAccumulator(n_moments, n_clusters=n_groups)

    def merge(self, other: ScoreSums) -> None:
        """Add what another part has seen."""
        self.total += other.total
        self.meat.merge(other.meat)


def add_scores(
    sums: ScoreSums,
    part: DesignAdjusted,
    groups: IntArray | None,
    theta: Array,
    coefficient: Array | None,
) -> None:
    """Add the (corrected) scores of a part of the rows, block by block."""
    for rows in row_blocks(part.X_hat.shape[0], part.n_moments):
        psi = part.scores(theta, rows)
        sums.total += np.ones(psi.shape[0]) @ psi
        if coefficient is not None:
            psi -= apply_coefficient(*nuisance_scores(part.labelling, rows), coefficient)
        sums.meat.update(psi, None if groups is None else groups[rows])


def adjusted_meat(
    moments: AdjustedMoments, theta: Array, spec: VarianceSpec
) -> tuple[Array, Array]:
    """Meat of the (corrected) scores in one pass over row blocks, and the average score.

    Parameters
    ----------
    moments : AdjustedMoments
        Estimating equations.
    theta : ndarray of shape (p,)
        Root.
    spec : VarianceSpec
        Kind of variance.

    Returns
    -------
    meat : ndarray of shape (q, q)
        B in V = A^-1 B A^-T / n.
    score : ndarray of shape (q,)
        Average uncorrected score; zero at the root up to rounding.
    """
    n, q = moments.n_obs, moments.n_moments
    if spec.kind == "finite":
        labelling_noise = _finite_rows(moments, theta)
        return labelling_noise.T @ labelling_noise / n, moments.sums(theta)[0]
    if moments.gold_only and not spec.survey and _labels_suffice(moments, spec):
        return _labelled_meat(moments, theta, spec)
    coefficient = _coefficient(moments, theta, spec)
    make = partial(ScoreSums, q, spec.n_groups)
    add = partial(add_scores, theta=theta, coefficient=coefficient)
    sums = moments.fold(make, add, spec)
    if not spec.survey:
        return sums.meat.finish(n), sums.total / n
    totals = sums.meat.totals
    scale = totals.shape[0] / n
    return survey_meat(totals, strata=spec.unit_strata).matrix * scale, sums.total / n


def _labels_suffice(moments: AdjustedMoments, spec: VarianceSpec) -> bool:
    """Whether unlabelled rows have zero score when only expert labels are used.

    The correction for probabilities scaled by one constant is the average score of the labelled
    rows, which is zero at the root.
    """
    labelling = moments.labelling
    exact = moments.n_moments == moments.n_params and moments.model.smooth
    return spec.kind == "robust" or (exact and labelling.strata is None and labelling.terms is None)


def _labelled_meat(
    moments: AdjustedMoments, theta: Array, spec: VarianceSpec
) -> tuple[Array, Array]:
    """``adjusted_meat`` of the labelled rows alone, for estimates that use no others."""
    labelling, n = moments.labelling, moments.n_obs
    psi = moments.corrections(theta) * labelling.ratio[:, None]
    codes = None if spec.groups is None else spec.groups.codes[labelling.rows]
    accumulator = MeatAccumulator(moments.n_moments, n_clusters=spec.n_groups)
    accumulator.update(psi, codes)
    return accumulator.finish(n), psi.sum(axis=0) / n


def _coefficient(moments: AdjustedMoments, theta: Array, spec: VarianceSpec) -> Array | None:
    if spec.kind == "robust":
        return None
    return probability_coefficient(moments.labelling, moments.corrections(theta))


def _finite_rows(moments: AdjustedMoments, theta: Array) -> Array:
    """sqrt(w (1 - pi) / pi) (delta - centre) of the labelled rows, of shape (r, q) (2.5b)."""
    labelling = moments.labelling
    delta = centred(labelling, moments.corrections(theta))
    return delta * finite_scale(labelling)[:, None]


def finite_scale(labelling: Labelling) -> Array:
    """sqrt(w (1 - pi) / pi) of the labelled rows: what random labelling makes of a correction."""
    prob = labelling.prob[labelling.rows]
    return np.asarray(np.sqrt(labelling.ratio * np.maximum(1.0 - prob, 0.0) / prob))


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


def row_influence(moments: Any, theta: Array, bread: Array, spec: VarianceSpec) -> Array:
    """Influence -A^-1 psi of every row in memory, of shape (n, p); psi corrected as in ``spec``.

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
    return np.asarray(psi @ bread.T)


def influence_vcov(influence: Array, spec: VarianceSpec, n_obs: int) -> Array:
    """Variance from influences in memory, grouped as ``spec`` says."""
    if spec.kind == "finite":
        return influence.T @ influence / n_obs**2
    codes = None if spec.groups is None else spec.groups.codes
    if spec.survey:
        assert codes is not None
        strata = None if spec.unit_strata is None else spec.unit_strata[codes]
        total = survey_meat(influence, strata=strata, psu=codes).matrix
    else:
        total = meat(influence, clusters=codes).matrix
    return spec.factor * total / n_obs


def aggregate(fits: list[RepetitionFit]) -> tuple[Array, Array]:
    """Median over repetitions; the variance gains the spread between them (2.7).

    Returns
    -------
    theta : ndarray of shape (k,)
        Coordinatewise median.
    vcov : ndarray of shape (k, k)
        As ``median_over_repetitions`` says.
    """
    return median_over_repetitions(
        np.array([fit.theta for fit in fits]), np.array([fit.vcov for fit in fits])
    )
