"""Parametric nuisance models of the multiply robust estimator, in passes over blocks of rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robuststat._core.errors import CollinearityError, IdentificationError
from robuststat._core.glm import FAMILIES, row_blocks
from robuststat._core.linalg import solve_psd, solve_square
from robuststat._core.optim import ConvergenceInfo, newton
from robuststat._core.types import Array, BoolArray
from robuststat.iv._bases import Basis
from robuststat.iv._scores import Rows, keep_sign_away_from_zero, make_rows

# Coefficients of standardised columns beyond this mean fitted probabilities of zero and one.
SEPARATED = 30.0
RIDGE = 1e-4
# Columns of one block of rows; several blocks of this width are alive at a time.
BLOCK_COLUMNS = 12


@dataclass(frozen=True, slots=True)
class Problem:
    """Rows and models of one fit with a binary instrument.

    Attributes
    ----------
    y, a, z : ndarray of shape (n,)
        Outcome, exposure, instrument.
    weights : ndarray of shape (n,) or None
        Sample weights.
    instrument, treatment, effect, direct, confounding : Basis
        Bases of pi, p, beta, h, omega.
    spread : Basis or None
        Basis of the exposure's variance; None for a binary exposure.
    scales : dict of str to ndarray
        Root mean squares of the columns of the logit models.
    fixed : tuple of two (float or None)
        Value of the exposure in the arms Z = 0 and Z = 1 where it is constant.
    targeted : bool
        Whether the equations of the effect are weighted by 1/D.
    clip_pi, min_abs_d : float
        Bounds that keep pi and D away from zero (and pi from one).
    """

    y: Array
    a: Array
    z: Array
    weights: Array | None
    instrument: Basis
    treatment: Basis
    effect: Basis
    direct: Basis
    confounding: Basis
    spread: Basis | None
    scales: dict[str, Array]
    fixed: tuple[float | None, float | None]
    targeted: bool = False
    clip_pi: float = 0.0
    min_abs_d: float = 0.0

    @property
    def n_obs(self) -> int:
        """Number of rows."""
        return int(self.y.size)

    @property
    def active(self) -> BoolArray | None:
        """Rows in an arm where the exposure varies; None when it does in both."""
        if self.fixed == (None, None):
            return None
        return np.asarray((self.z > 0.5) == (self.fixed[1] is None))

    def blocks(self) -> list[slice]:
        """Slices of rows to work on."""
        return list(row_blocks(self.n_obs, BLOCK_COLUMNS))


@dataclass(frozen=True, slots=True)
class LogitFit:
    """Logit (or, for a numeric exposure, linear) model of one nuisance function.

    Attributes
    ----------
    coef : ndarray of shape (k,)
        Coefficients.
    ridge : ndarray of shape (k,)
        Penalty of each squared coefficient on the scale of the average score; zero but for
        separated data.
    separated : bool
        Whether the likelihood had no maximum, so that the penalty was needed.
    convergence : ConvergenceInfo
        How the iteration ended.
    """

    coef: Array
    ridge: Array
    separated: bool
    convergence: ConvergenceInfo


@dataclass(frozen=True, slots=True)
class Nuisances:
    """Coefficients of all nuisance models.

    Attributes
    ----------
    instrument, treatment : LogitFit
        pi and p.
    spread : ndarray of shape (k,)
        Variance model of a numeric exposure; empty for a binary one.
    effect, confounding, direct : ndarray
        beta, omega and h.
    """

    instrument: LogitFit
    treatment: LogitFit
    spread: Array
    effect: Array
    confounding: Array
    direct: Array


def fit_nuisances(problem: Problem, *, tol: float, max_iter: int) -> Nuisances:
    """Fit the five models: maximum likelihood, then one linear system (2.2)."""
    instrument = fit_logit(
        problem.instrument, problem.z, problem, "instrument", None, tol=tol, max_iter=max_iter
    )
    if problem.spread is None:
        treatment = fit_logit(
            problem.treatment, problem.a, problem, "treatment", problem.active, tol, max_iter
        )
    else:
        treatment = _exact(least_squares(problem.treatment, problem.a, problem, problem.active))
    spread = np.empty(0)
    if problem.spread is not None:
        spread = least_squares(problem.spread, _squares(problem, treatment.coef), problem)
    effect, confounding, direct = solve_linear_system(problem, instrument, treatment, spread)
    return Nuisances(instrument, treatment, spread, effect, confounding, direct)


def _exact(coef: Array) -> LogitFit:
    done = ConvergenceInfo(True, 1, 0.0, 0.0, "closed form")
    return LogitFit(coef, np.zeros_like(coef), False, done)


def fit_logit(
    basis: Basis,
    target: Array,
    problem: Problem,
    name: str,
    active: BoolArray | None,
    tol: float,
    max_iter: int,
) -> LogitFit:
    """Logistic regression, with a small ridge penalty when the data are separated."""
    scale = problem.scales[name]
    family = FAMILIES["logit"]
    weights = _row_weights(problem, active)

    def sums(theta: Array, ridge: Array) -> tuple[Array, Array]:
        score, slope = np.zeros(basis.size), np.zeros((basis.size, basis.size))
        for rows in problem.blocks():
            block = basis.at(rows, problem.z[rows])
            mu = family.mean(block @ theta)
            residual, variance = target[rows] - mu, family.slope(mu)
            if weights is not None:
                residual, variance = residual * weights[rows], variance * weights[rows]
            score += block.T @ residual
            slope -= (block * variance[:, None]).T @ block
        n = problem.n_obs
        return score / n - ridge * theta, slope / n - np.diag(ridge)

    def solve(ridge: Array) -> tuple[Array, ConvergenceInfo]:
        # In units of the columns: steps of all coefficients are then of one size.
        def scaled(unit: Array) -> tuple[Array, Array]:
            score, slope = sums(unit / scale, ridge)
            return score / scale, slope / scale / scale[:, None]

        unit, _, convergence = newton(scaled, np.zeros(basis.size), tol=tol, max_iter=max_iter)
        return unit / scale, convergence

    none = np.zeros(basis.size)
    coef, convergence = solve(none)
    if convergence.converged and np.abs(coef * scale).max(initial=0.0) <= SEPARATED:
        return LogitFit(coef, none, False, convergence)
    share = 1.0 if weights is None else float(weights.mean())
    ridge = RIDGE * share * scale**2
    coef, convergence = solve(ridge)
    return LogitFit(coef, ridge, True, convergence)


def least_squares(
    basis: Basis, target: Array, problem: Problem, active: BoolArray | None = None
) -> Array:
    """Weighted least squares of ``target`` on a basis, over the active rows."""
    weights = _row_weights(problem, problem.active if active is None else active)
    k = basis.size
    matrix, vector = np.zeros((k, k)), np.zeros(k)
    for rows in problem.blocks():
        block = basis.at(rows, problem.z[rows])
        weighted = block if weights is None else block * weights[rows, None]
        matrix += weighted.T @ block
        vector += weighted.T @ target[rows]
    return solve_psd(matrix, vector, basis.names)


def _row_weights(problem: Problem, active: BoolArray | None) -> Array | None:
    if active is None:
        return problem.weights
    flags = np.asarray(active, dtype=np.float64)
    return flags if problem.weights is None else flags * problem.weights


def _squares(problem: Problem, coef: Array) -> Array:
    values = np.empty(problem.n_obs)
    for rows in problem.blocks():
        p0, p1 = exposure_means(problem, rows, coef)
        values[rows] = (problem.a[rows] - np.where(problem.z[rows] > 0.5, p1, p0)) ** 2
    return values


def exposure_means(problem: Problem, rows: slice, coef: Array) -> tuple[Array, Array]:
    """Mean of the exposure at Z = 0 and Z = 1."""
    family = FAMILIES["logit" if problem.spread is None else "linear"]
    means = [family.mean(eta) for eta in problem.treatment.linear(rows, coef)]
    for arm, value in enumerate(problem.fixed):
        if value is not None:
            means[arm] = np.full_like(means[arm], value)
    return means[0], means[1]


def exposure_variances(
    problem: Problem, rows: slice, p0: Array, p1: Array, spread: Array
) -> tuple[Array, Array]:
    """Variance of the exposure at Z = 0 and Z = 1."""
    if problem.spread is None:
        return p0 * (1.0 - p0), p1 * (1.0 - p1)
    values = list(problem.spread.linear(rows, spread))
    for arm, value in enumerate(problem.fixed):
        if value is not None:
            values[arm] = np.zeros_like(values[arm])
    return values[0], values[1]


def propensity(problem: Problem, rows: slice, coef: Array) -> Array:
    """P(Z = 1 | X), within its bounds."""
    pi = FAMILIES["logit"].mean(problem.instrument.linear(rows, coef)[0])
    return np.clip(pi, problem.clip_pi, 1.0 - problem.clip_pi) if problem.clip_pi else pi


def nuisance_rows(
    problem: Problem,
    rows: slice,
    *,
    instrument: Array,
    treatment: Array,
    spread: Array,
    effect: Array,
    confounding: Array,
    direct: Array,
) -> Rows:
    """Nuisance values of some rows at given coefficients."""
    p0, p1 = exposure_means(problem, rows, treatment)
    v0, v1 = exposure_variances(problem, rows, p0, p1, spread)
    h0, h1 = problem.direct.linear(rows, direct)
    return make_rows(
        y=problem.y[rows],
        a=problem.a[rows],
        z=problem.z[rows],
        pi=propensity(problem, rows, instrument),
        p0=p0,
        p1=p1,
        v0=v0,
        v1=v1,
        D=keep_sign_away_from_zero(v1 - v0, problem.min_abs_d),
        beta=problem.effect.linear(rows, effect)[0],
        omega=problem.confounding.linear(rows, confounding)[0],
        h0=h0,
        h1=h1,
    )


def solve_linear_system(
    problem: Problem, instrument: LogitFit, treatment: LogitFit, spread: Array
) -> tuple[Array, Array, Array]:
    """Coefficients of beta, omega and h from the linear system of 2.2."""
    sizes = [problem.effect.size, problem.confounding.size, problem.direct.size]
    k = sum(sizes)
    matrix, vector = np.zeros((k, k)), np.zeros(k)
    for rows in problem.blocks():
        p0, p1 = exposure_means(problem, rows, treatment.coef)
        v0, v1 = exposure_variances(problem, rows, p0, p1, spread)
        a, z, y = problem.a[rows], problem.z[rows], problem.y[rows]
        pi = propensity(problem, rows, instrument.coef)
        e = a - np.where(z > 0.5, p1, p0)
        s = np.where(z > 0.5, 1.0 / pi, -1.0 / (1.0 - pi))
        if problem.targeted:
            s = s / keep_sign_away_from_zero(v1 - v0, problem.min_abs_d)
        B, W = problem.effect.at(rows, z), problem.confounding.at(rows, z)
        Q = problem.direct.at(rows, z)
        left = np.hstack([B * s[:, None], W, Q])
        if problem.weights is not None:
            left *= problem.weights[rows, None]
        right = np.hstack([B * a[:, None], np.zeros_like(W), Q])
        scores = left[:, : sizes[0] + sizes[1]]
        matrix[: sizes[0] + sizes[1]] += scores.T @ (
            np.hstack([right[:, : sizes[0]] * e[:, None], W, Q * e[:, None]])
        )
        vector[: sizes[0] + sizes[1]] += scores.T @ (e * y)
        outcome = left[:, sizes[0] + sizes[1] :]
        matrix[sizes[0] + sizes[1] :] += outcome.T @ right
        vector[sizes[0] + sizes[1] :] += outcome.T @ y
    try:
        solution = solve_square(matrix, vector)
    except CollinearityError as error:
        raise IdentificationError(
            "The equations of the effect are singular: the variance of the exposure does not "
            "differ between the values of the instrument (D = v_1 - v_0 is zero), or the basis of "
            "the effect is too large for it. Use effect_model='constant' or a smaller "
            "terms['effect']."
        ) from error
    first, second = sizes[0], sizes[0] + sizes[1]
    return solution[:first], solution[first:second], solution[second:]
