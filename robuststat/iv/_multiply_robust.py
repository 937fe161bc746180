"""The multiply robust estimator with its variance: from a problem to numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from robuststat._core.errors import CollinearityError, IdentificationError
from robuststat._core.glm import row_blocks
from robuststat._core.linalg import solve_square
from robuststat._core.moments import mean_outer_product
from robuststat._core.types import Array, IntArray
from robuststat._core.vcov import MeatAccumulator, meat, sandwich
from robuststat.iv._nuisances import Nuisances, Problem, fit_nuisances
from robuststat.iv._score_set import RatioMoments
from robuststat.iv._scores import FUNCTIONALS, exclusion_score, overlap_moments
from robuststat.iv._stack import OVERLAP, Stack

# D relative to the variances below which it is zero but for rounding.
ZERO_D = 1e-10


@dataclass(frozen=True, slots=True)
class RowValues:
    """What every row contributes.

    Attributes
    ----------
    scores : ndarray of shape (n, q)
        Uncentred influence values of the functionals of the stack without the overlap effect.
    overlap : ndarray of shape (n, 2)
        f_N and f_D.
    D : ndarray of shape (n,)
        Difference of the exposure's variances, before any bound.
    pi : ndarray of shape (n,)
        P(Z = 1 | X) before any bound.
    exclusion : ndarray of shape (n,) or None
        Uncentred influence value of the effect that imposes exclusion; None when it does not exist
        because the instrument does not move the mean of the exposure in some rows.
    spread : float
        Average variance of the exposure: the scale of D.
    """

    scores: Array
    overlap: Array
    D: Array
    pi: Array
    exclusion: Array | None
    spread: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """Everything that is known after a fit, before it is put into words.

    Attributes
    ----------
    stack : Stack
        Equations.
    nuisances : Nuisances
        Coefficients of the nuisance models.
    theta : ndarray of shape (k,)
        All parameters.
    values : RowValues
        Contributions of the rows.
    overlap : RatioMoments
        Means of f_N and f_D with their variance.
    """

    stack: Stack
    nuisances: Nuisances
    theta: Array
    values: RowValues
    overlap: RatioMoments

    @property
    def summaries(self) -> Array:
        """Estimates of the effects, in the order of ``stack.summaries``."""
        return self.theta[self.stack.places()["summaries"]]


def estimate(
    problem: Problem,
    summaries: tuple[str, ...],
    *,
    clusters: IntArray | None,
    tol: float,
    max_iter: int,
) -> Estimate:
    """Fit the nuisance models and all effects, in closed form after two logit fits (2.2)."""
    nuisances = fit_nuisances(problem, tol=tol, max_iter=max_iter)
    ridge = (nuisances.instrument.ridge, nuisances.treatment.ridge)
    stack = Stack(problem, ridge, summaries)
    theta = stack.parameters(nuisances, np.zeros(len(summaries)))
    values = row_values(stack, theta)
    overlap = ratio_moments(values.overlap, problem.weights, clusters)
    means = iter(weighted(values.scores, problem.weights).mean(axis=0))
    place = stack.places()["summaries"]
    theta[place] = [overlap.ratio if name == OVERLAP else next(means) for name in summaries]
    return Estimate(stack, nuisances, theta, values, overlap)


def point_estimates(
    problem: Problem, summaries: tuple[str, ...], *, tol: float, max_iter: int
) -> Array:
    """Estimates of the effects alone: what a bootstrap replicate needs."""
    found = estimate(problem, summaries, clusters=None, tol=tol, max_iter=max_iter)
    return found.summaries


def row_values(stack: Stack, theta: Array) -> RowValues:
    """Contributions of all rows, in one pass over blocks."""
    problem, n = stack.problem, stack.n_obs
    names = [name for name in stack.summaries if name != OVERLAP]
    scores, overlap = np.empty((n, len(names))), np.empty((n, 2))
    D, pi, exclusion = np.empty(n), np.empty(n), np.empty(n)
    delta, h = exclusion_coefficients(problem, stack, theta) if names else (None, None)
    total, weight, no_difference = 0.0, 0.0, 0
    for rows in problem.blocks():
        state = stack.state(theta, rows)
        v = state.values
        D[rows], pi[rows] = v.v1 - v.v0, state.pi
        overlap[rows] = np.column_stack(overlap_moments(v))
        # Zeros of D are counted below, where they can be explained.
        with np.errstate(divide="ignore", invalid="ignore"):
            for j, name in enumerate(names):
                scores[rows, j] = FUNCTIONALS[name].score(v)
        if delta is not None and h is not None:
            with np.errstate(divide="ignore", invalid="ignore"):
                exclusion[rows] = exclusion_score(
                    v,
                    problem.effect.linear(rows, delta)[0],
                    problem.instrument.linear(rows, h)[0],
                )
        w = np.ones(v.y.size) if problem.weights is None else problem.weights[rows]
        total += float(w @ np.where(v.z > 0.5, v.v1, v.v0))
        weight += float(w.sum())
        no_difference += int(np.count_nonzero(np.abs(v.D) <= ZERO_D * np.maximum(v.v0, v.v1)))
    if names and no_difference:
        raise _zero_difference(no_difference, n)
    known = delta is not None and bool(np.isfinite(exclusion.sum()))
    return RowValues(scores, overlap, D, pi, exclusion if known else None, total / weight)


def _zero_difference(count: int, n: int) -> IdentificationError:
    if count == n:
        return IdentificationError(
            "D = v_1 - v_0 is zero: the variance of the exposure is the same for both values of "
            "the instrument, so that nothing identifies the effect without exclusion."
        )
    return IdentificationError(
        f"D = v_1 - v_0 is zero in {count} rows: the effect there is not identified. Use "
        "estimand='overlap', which does not divide by D, or set min_abs_d."
    )


def exclusion_coefficients(
    problem: Problem, stack: Stack, theta: Array
) -> tuple[Array | None, Array | None]:
    """Coefficients of delta and h of the effect that imposes exclusion (2.8a)."""
    b, q = problem.effect.size, problem.instrument.size
    matrix, vector = np.zeros((b + q, b + q)), np.zeros(b + q)
    for rows in problem.blocks():
        v, z = stack.rows(theta, rows), problem.z[rows]
        B, Q = problem.effect.at(rows, z), problem.instrument.at(rows, z)
        left = np.hstack([B * v.s[:, None], Q])
        if problem.weights is not None:
            left *= problem.weights[rows, None]
        matrix += left.T @ np.hstack([B * v.a[:, None], Q])
        vector += left.T @ v.y
    try:
        solution = solve_square(matrix, vector)
    except CollinearityError:
        # The instrument does not move the mean of the exposure: there is no such effect.
        return None, None
    return solution[:b], solution[b:]


def ratio_moments(moments: Array, weights: Array | None, clusters: IntArray | None) -> RatioMoments:
    """Weighted means of f_N and f_D with their variance matrix."""
    mean = np.average(moments, axis=0, weights=weights)
    return RatioMoments(mean, mean_vcov(weighted(moments - mean, weights), clusters))


def weighted(values: Array, weights: Array | None) -> Array:
    """Values of the rows times their weight, which averages to one."""
    if weights is None:
        return values
    return np.asarray((values.T * (weights / weights.mean())).T)


def mean_vcov(centred: Array, clusters: IntArray | None) -> Array:
    """Variance matrix of the means of centred (and weighted) values (n, q)."""
    return meat(centred, clusters=clusters).matrix / len(centred)


def eif_values(found: Estimate) -> Array:
    """Influence values (n, q) of the effects when the nuisance functions are taken as known."""
    values, stack = found.values, found.stack
    columns, position = [], 0
    for name, centre in zip(stack.summaries, found.summaries, strict=True):
        if name == OVERLAP:
            f_n, f_d = values.overlap.T
            columns.append((f_n - centre * f_d) / found.overlap.mean[1])
        else:
            columns.append(values.scores[:, position] - centre)
            position += 1
    return weighted(np.column_stack(columns), stack.problem.weights)


def working_jacobian(found: Estimate) -> Array:
    """Average derivative of the stacked equations, with the orthogonality of f_N and f_D used.

    Their derivatives with respect to nuisance coefficients have expectation zero. Leaving the
    sampling error of these zeros in would multiply it by the errors of beta, which are without
    bound where D(x) crosses zero, although the overlap effect does not depend on them.
    """
    stack = found.stack
    jacobian = stack.derivative(found.theta)
    place = stack.places()["summaries"]
    for j, name in enumerate(stack.summaries):
        if name == OVERLAP:
            jacobian[place.start + j, : place.start] = 0.0
    return jacobian


def stacked_vcov(found: Estimate, clusters: IntArray | None, n_clusters: int | None) -> Array:
    """Variance of all parameters from the stacked equations, of shape (k, k)."""
    stack, theta = found.stack, found.theta
    jacobian = working_jacobian(found)
    if clusters is None:
        return _zero_rounding(sandwich(jacobian, mean_outer_product(stack, theta), stack.n_obs))
    total = MeatAccumulator(stack.n_moments, n_clusters=n_clusters)
    for rows in row_blocks(stack.n_obs, stack.n_moments):
        total.update(stack.scores(theta, rows), clusters[rows])
    return _zero_rounding(sandwich(jacobian, total.finish(), stack.n_obs))


def _zero_rounding(vcov: Array) -> Array:
    """Set variances to zero that are zero but for rounding: those of an outcome without noise."""
    negative = np.diag(vcov) < 0.0
    return np.where(negative[:, None] | negative, 0.0, vcov) if negative.any() else vcov


def stacked_influence(found: Estimate) -> Array:
    """Influence values (n, q) of the effects, with the estimation of all nuisance functions."""
    stack, theta = found.stack, found.theta
    jacobian = working_jacobian(found)
    place = stack.places()["summaries"]
    # Rows of J^-1 that belong to the effects.
    rows_of_inverse = solve_square(jacobian.T, np.eye(stack.n_moments)[:, place])
    out = np.empty((stack.n_obs, len(stack.summaries)))
    for rows in row_blocks(stack.n_obs, stack.n_moments):
        out[rows] = -stack.scores(theta, rows) @ rows_of_inverse
    return out


def nuisance_frame(found: Estimate) -> pd.DataFrame:
    """Nuisance values of every row."""
    stack = found.stack
    names = ("pi", "p0", "p1", "v0", "v1", "D", "beta", "omega", "h0", "h1")
    columns = {name: np.empty(stack.n_obs) for name in names}
    for rows in stack.problem.blocks():
        values = stack.rows(found.theta, rows)
        for name in names:
            columns[name][rows] = getattr(values, name)
    return pd.DataFrame(columns)


def reweighted(problem: Problem, weights: Array) -> Problem:
    """Return the problem with its weights multiplied by ``weights``."""
    own = weights if problem.weights is None else weights * problem.weights
    return replace(problem, weights=own)
