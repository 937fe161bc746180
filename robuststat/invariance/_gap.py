"""Gaps between environments, and inference about psi through the noncentral F (spec 1.1, 2.1).

Everything is computed in a basis in which the covariates are centred at their pooled means and
divided by their pooled standard deviations; coefficients are handed out in the user's units.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from scipy import optimize, stats

from robuststat._core.errors import ConvergenceWarning, DataError, warn
from robuststat._core.linalg import solve_psd
from robuststat._core.types import Array, IntArray
from robuststat.invariance._mixture import poisson_mixture
from robuststat.invariance._moments import EnvFits, EnvMoments, least_squares

Measure: TypeAlias = Literal["risk", "coef", "grad"]
Aggregate: TypeAlias = Literal["average", "max", "minimax", "pairwise"]


@dataclass(frozen=True, slots=True)
class Basis:
    """Linear change of coefficients, ``new = matrix @ raw``.

    Attributes
    ----------
    matrix : ndarray of shape (k, k)
        From coefficients in the user's units.
    origin : ndarray of shape (p + 1,)
        Point taken off covariates and outcome.
    scale : ndarray of shape (k,)
        Standard deviations that the covariates are divided by, 1 for the intercept.
    """

    matrix: Array
    origin: Array
    scale: Array


def make_basis(pooled: EnvMoments, *, intercept: bool, standardize: bool = True) -> Basis:
    """Basis of z-scores of all rows (root mean squares without an intercept), or the raw one."""
    p = pooled.n_features
    origin = np.zeros(p + 1)
    spread = np.ones(p)
    if standardize:
        sums = np.diag(pooled.scatter[0])[:p]
        if intercept:
            origin[:p] = pooled.mean[0, :p]
        else:
            sums = sums + pooled.weight[0] * pooled.mean[0, :p] ** 2
        spread = np.sqrt(sums / pooled.weight[0])
        spread[spread == 0] = 1.0
    if not intercept:
        return Basis(np.diag(spread), origin, spread)
    scale = np.concatenate([[1.0], spread])
    matrix = np.diag(scale)
    matrix[0, 1:] = origin[:p]
    return Basis(matrix, origin, scale)


@dataclass(frozen=True, slots=True)
class EnvModel:
    """Separate and common least squares of one representation.

    Attributes
    ----------
    moments : EnvMoments
        Of the representation; weights average to one.
    intercept : bool
        Whether there is one.
    fits : EnvFits
        Separate fits, user's units.
    pooled : EnvFits
        The common fit (one environment), user's units.
    basis : Basis
        Standard units.
    gram : ndarray of shape (K, k, k)
        Sums z z' of each environment in standard units.
    deviation : ndarray of shape (K, k)
        w_e - wbar in standard units.
    """

    moments: EnvMoments
    intercept: bool
    fits: EnvFits
    pooled: EnvFits
    basis: Basis
    gram: Array
    deviation: Array

    @property
    def n_coef(self) -> int:
        """Number of coefficients k."""
        return int(self.fits.coef.shape[1])

    @property
    def ssr_between(self) -> float:
        """SSR of the common fit minus that of the separate ones, without cancellation."""
        return float(np.einsum("ei,eij,ej->", self.deviation, self.gram, self.deviation))

    @property
    def df(self) -> tuple[int, int]:
        """Degrees of freedom d1 and d2 (ranks where an environment is deficient)."""
        rank = int(self.fits.rank.sum())
        return rank - int(self.pooled.rank[0]), self.moments.n_obs - rank

    @property
    def sigma2(self) -> float:
        """Noise variance within environments, sum SSR_e / d2."""
        return float(self.fits.ssr.sum()) / self.df[1]

    @property
    def env_sigma2(self) -> Array:
        """Noise variance of every environment, NaN without degrees of freedom."""
        free = self.moments.n_rows - self.fits.rank
        return np.where(free > 0, self.fits.ssr / np.maximum(free, 1), np.nan)


def env_model(moments: EnvMoments, *, intercept: bool) -> EnvModel:
    """Fit every environment and all of them together."""
    moments = moments.scaled(moments.n_obs / moments.weight.sum())
    pooled = moments.pooled()
    basis = make_basis(pooled, intercept=intercept)
    fits, common = (least_squares(m, intercept=intercept) for m in (moments, pooled))
    gram = moments.normal_equations(intercept=intercept, origin=basis.origin)[0]
    gram = gram / basis.scale / basis.scale[:, None]
    deviation = (fits.coef - common.coef) @ basis.matrix.T
    return EnvModel(moments, intercept, fits, common, basis, gram, deviation)


# ------------------------------------------------------------------------------- gaps


def env_gaps(measure: Measure, deviation: Array, second: Array) -> Array:
    """Gap of every environment at a common vector, of shape (K,).

    Parameters
    ----------
    measure : {"risk", "coef", "grad"}
        (w - w_e)'M_e(w - w_e), |w - w_e|, |M_e (w - w_e)|.
    deviation : ndarray of shape (K, k)
        w_e - w.
    second : ndarray of shape (K, k, k)
        M_e, averages over the rows.
    """
    if measure == "coef":
        return np.asarray(np.linalg.norm(deviation, axis=1))
    push = np.einsum("eij,ej->ei", second, deviation)
    if measure == "grad":
        return np.asarray(np.linalg.norm(push, axis=1))
    return np.asarray(np.einsum("ei,ei->e", push, deviation))


def roots(measure: Measure, second: Array) -> Array:
    """Matrices L_e with |L_e (w - w_e)| the gap (its root for the risk), of shape (K, k, k)."""
    if measure == "coef":
        return np.broadcast_to(np.eye(second.shape[1]), second.shape)
    if measure == "grad":
        return second
    # At unit diagonal, so that columns of very different units keep their digits.
    size = np.sqrt(np.maximum(np.einsum("eii->ei", second), 0.0))
    size = np.where(size > 0, size, 1.0)
    values, vectors = np.linalg.eigh(second / size[:, :, None] / size[:, None, :])
    root = np.sqrt(np.maximum(values, 0.0))[:, :, None] * np.swapaxes(vectors, 1, 2)
    return np.asarray(root * size[:, None, :])


def pairwise_gap(measure: Measure, coef: Array, second: Array) -> float:
    """Largest distance between two environments, each pair measured at the other's coefficients."""
    worst = 0.0
    for e in range(len(coef)):
        worst = max(worst, float(env_gaps(measure, coef - coef[e], second).max()))
    return worst


@dataclass(frozen=True, slots=True)
class Ball:
    """Smallest ball: centre (k,), radius, and the environments at its edge."""

    centre: Array
    radius: float
    support: IntArray


def smallest_ball(
    coef: Array, roots: Array, slack: Array | None = None, *, find_support: bool = False
) -> Ball:
    """Minimise over w the largest |L_e (w - w_e)| + slack_e.

    Parameters
    ----------
    coef : ndarray of shape (m, k)
        Centres w_e.
    roots : ndarray of shape (m, k, k)
        Norms L_e.
    slack : ndarray of shape (m,), optional
        Radii around the w_e that must be inside too.
    find_support : bool
        Whether to find which environments determine the ball, by leaving out those at its edge.

    Notes
    -----
    For k = 1 and a common norm it is the middle of an interval; otherwise a second-order cone
    programme solved by Clarabel. An environment counts as support when the radius without it is
    smaller; without ``find_support`` those at the edge are returned.
    """
    m, k = coef.shape
    extra = np.zeros(m) if slack is None else slack
    if m == 1:
        return Ball(coef[0], float(extra[0]), np.array([0]))
    unit = float(np.linalg.norm(_pushed(roots, coef - coef.mean(axis=0)), axis=1).max())
    unit = max(unit, float(extra.max()), 1e-300)
    if k == 1 and np.ptp(roots) == 0:
        norm = abs(float(roots[0, 0, 0]))
        low, high = norm * coef[:, 0] - extra, norm * coef[:, 0] + extra
        edge = np.unique([int(low.argmin()), int(high.argmax())])
        middle = (low.min() + high.max()) / (2 * norm)
        return Ball(np.array([middle]), float(high.max() - low.min()) / 2, edge)
    centre, radius = _solve_ball(coef, roots, extra, unit)
    reached = np.linalg.norm(_pushed(roots, coef - centre), axis=1) + extra
    # The worst constraint at the centre found: a true statement whatever the solver's accuracy.
    radius = float(reached.max())
    near = np.flatnonzero(reached > radius - 1e-4 * unit)
    if not find_support or len(near) <= 2:
        return Ball(centre, radius, near)
    support = []
    for e in near:
        keep = np.arange(m) != e
        smaller = _solve_ball(coef[keep], roots[keep], extra[keep], unit)[1]
        if smaller < radius - 1e-6 * unit:
            support.append(int(e))
    return Ball(centre, radius, np.array(support if support else near, dtype=np.int64))


def _pushed(roots: Array, vectors: Array) -> Array:
    return np.asarray(np.einsum("eij,ej->ei", roots, vectors), dtype=np.float64)


def _solve_ball(coef: Array, roots: Array, slack: Array, unit: float) -> tuple[Array, float]:
    import cvxpy

    m, k = coef.shape
    middle = coef.mean(axis=0)
    size = np.linalg.norm(roots, axis=(0, 1)) / np.sqrt(m)
    size[size == 0] = 1.0
    w, r = cvxpy.Variable(k), cvxpy.Variable()
    # In units of the spread, about the mean: the solver's tolerances are absolute.
    stacked = (roots / size).reshape(m * k, k)
    target = _pushed(roots, coef - middle).ravel() / unit
    rows = cvxpy.reshape(stacked @ w - target, (m, k), order="C")
    problem = cvxpy.Problem(cvxpy.Minimize(r), [cvxpy.norm(rows, axis=1) + slack / unit <= r])
    problem.solve(solver=cvxpy.CLARABEL)
    if w.value is None:
        raise DataError(
            f"The smallest ball around {m} environments was not found (solver status "
            f"{problem.status}). Rescale the covariates to similar units."
        )
    if problem.status != cvxpy.OPTIMAL:
        warn(f"The smallest ball is inaccurate (status {problem.status}).", ConvergenceWarning)
    return middle + w.value * unit / size, float(r.value) * unit


# -------------------------------------------------------------------------------- psi


@dataclass(frozen=True, slots=True)
class CoefTest:
    """Statistic of equal coefficients: F' (d1, d2) with noncentrality N psi.

    Attributes
    ----------
    statistic, df1, df2 : float
        F statistic and its degrees of freedom.
    n_obs : int
        N.
    kind : str
        "homo", "welch", "HC3" or "cluster".
    """

    statistic: float
    df1: float
    df2: float
    n_obs: int
    kind: str

    @property
    def p_value(self) -> float:
        """Probability of a larger statistic when all coefficients are equal."""
        return float(stats.f.sf(self.statistic, self.df1, self.df2))

    @property
    def psi(self) -> float:
        """Estimate of psi, unbiased before negative values are set to zero."""
        if self.df2 <= 2:
            return float("nan")
        if not np.isfinite(self.statistic):
            return float("inf")
        mean = self.statistic * (self.df2 - 2) / self.df2
        return max(0.0, self.df1 * (mean - 1.0)) / self.n_obs

    def interval(self, level: float) -> tuple[float, float]:
        """Confidence interval of psi by inverting the noncentral F distribution."""
        tail = (1.0 - level) / 2
        return self.bound(1.0 - tail), self.bound(tail)

    def bound(self, probability: float) -> float:
        """Value of psi at which the statistic has this probability of not being exceeded."""

        def excess(noncentrality: float) -> float:
            return self._cdf(noncentrality) - probability

        if not np.isfinite(self.statistic):
            return float("inf")
        if excess(0.0) <= 0:
            return 0.0
        high = max(1.0, 2 * self.df1 * self.statistic)
        while excess(high) > 0 and high < 1e300:
            high *= 2
        root = optimize.brentq(excess, 0.0, high, xtol=1e-12 * high, rtol=1e-14, maxiter=500)
        return float(root) / self.n_obs

    def _cdf(self, noncentrality: float) -> float:
        return f_cdf(self.statistic, self.df1, self.df2, noncentrality)

    def p_relevant(self, eps: float) -> float:
        """p-value of psi <= eps; small: the violation is larger than eps."""
        return f_sf(self.statistic, self.df1, self.df2, self.n_obs * eps)

    def p_equivalence(self, eps: float) -> float:
        """p-value of psi >= eps; small: the coefficients are the same up to eps."""
        return self._cdf(self.n_obs * eps)


# Above this scipy's series for the noncentral F does not converge (NaN from about 1e10).
_LARGE = 1e9


def f_cdf(x: float, d1: float, d2: float, noncentrality: float) -> float:
    """Distribution function of the noncentral F.

    Exact up to a noncentrality of 1e9. Beyond, the numerator is within 1e-4 of its mean, and what
    is left is the chi-square of the denominator.
    """
    if noncentrality == 0:
        return float(stats.f.cdf(x, d1, d2))
    if max(noncentrality, x * d1) > _LARGE:
        return float(stats.chi2.sf(noncentrality * d2 / (d1 * x), d2)) if x > 0 else 0.0
    value = float(stats.ncf.cdf(x, d1, d2, noncentrality))
    return poisson_mixture(x, d1, d2, noncentrality)[0] if np.isnan(value) else value


def f_sf(x: float, d1: float, d2: float, noncentrality: float) -> float:
    """Upper tail of the noncentral F."""
    if noncentrality == 0:
        return float(stats.f.sf(x, d1, d2))
    if max(noncentrality, x * d1) > _LARGE:
        return float(stats.chi2.cdf(noncentrality * d2 / (d1 * x), d2)) if x > 0 else 1.0
    value = float(stats.ncf.sf(x, d1, d2, noncentrality))
    return poisson_mixture(x, d1, d2, noncentrality)[1] if np.isnan(value) else value


def homoscedastic_test(model: EnvModel) -> CoefTest:
    """F test of equal coefficients under one error variance: exact for Gaussian errors."""
    d1, d2 = model.df
    if d1 < 1 or d2 < 1:
        raise DataError(
            f"{model.moments.n_obs} rows in {model.moments.n_env} environments leave {d1} and {d2} "
            "degrees of freedom to compare coefficients. Use more rows or fewer covariates."
        )
    within = float(model.fits.ssr.sum())
    # Residuals that are only rounding errors of the outcome count as none.
    size = float(model.moments.pooled().scatter[0, -1, -1])
    exact = within <= 1e-13 * max(size, 1e-300)
    statistic = np.inf if exact else model.ssr_between / d1 / (within / d2)
    return CoefTest(float(statistic), d1, d2, model.moments.n_obs, "homo")


def precision_test(
    model: EnvModel, env_vcov: Array, kind: str, free: Array | None = None
) -> CoefTest:
    """Welch-James test of equal coefficients with one variance matrix an environment.

    W = sum (w_e - wt)'V_e^-1(w_e - wt) with the precision-weighted mean wt. Johansen's (1980)
    correction: with A = 1/2 sum [tr((I - C^-1 P_e)^2) + tr(I - C^-1 P_e)^2]/(n_e - k),
    P_e = V_e^-1, C = sum P_e, W/(d1 + 2A - 6A/(d1 + 2)) is about F(d1, d1 (d1 + 2)/(3A)); W is
    the noncentral chi-square of the large-sample theory as A goes to zero.

    Parameters
    ----------
    model : EnvModel
        Separate fits.
    env_vcov : ndarray of shape (K, k, k)
        Variances of the deviations in standard units.
    kind : str
        Name.
    free : ndarray of shape (K,), optional
        Degrees of freedom of the variances; n_e - k by default.
    """
    k, K = model.n_coef, model.moments.n_env
    precision = np.stack([solve_psd(V, np.eye(k)) for V in env_vcov])
    total = precision.sum(axis=0)
    pushed = np.einsum("eij,ej->ei", precision, model.deviation)
    centre = solve_psd(total, pushed.sum(axis=0))
    W = float(np.einsum("ei,ei->", pushed, model.deviation) - centre @ pushed.sum(axis=0))
    lack = np.eye(k) - np.stack([solve_psd(total, P) for P in precision])
    trace = np.einsum("eii->e", lack)
    square = np.einsum("eij,eji->e", lack, lack)
    df = model.moments.n_rows - k if free is None else free
    A = 0.5 * float(((square + trace**2) / df).sum())
    d1 = (K - 1) * k
    return CoefTest(
        max(W, 0.0) / (d1 + 2 * A - 6 * A / (d1 + 2)),
        d1,
        d1 * (d1 + 2) / (3 * A),
        model.moments.n_obs,
        kind,
    )


def joint_test(model: EnvModel, vcov: Array, n_clusters: int) -> CoefTest:
    """Hotelling test of equal coefficients with a joint variance, W (v - d1 + 1)/(v d1), v = G - 1.

    Parameters
    ----------
    model : EnvModel
        Separate fits.
    vcov : ndarray of shape (K k, K k)
        Joint variance of the deviations in standard units, environments one after the other.
    n_clusters : int
        G; it has to exceed the number (K - 1) k of restrictions.
    """
    k, K = model.n_coef, model.moments.n_env
    d1 = (K - 1) * k
    contrast = np.kron(np.eye(K)[1:] - np.eye(K)[:1], np.eye(k))
    difference = contrast @ model.deviation.ravel()
    W = float(difference @ solve_psd(contrast @ vcov @ contrast.T, difference))
    v = n_clusters - 1
    return CoefTest(W * (v - d1 + 1) / (v * d1), d1, v - d1 + 1, model.moments.n_obs, "cluster")
