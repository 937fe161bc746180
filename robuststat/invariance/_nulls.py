"""Tests of strong invariance of one representation: residuals of the pooled fit (spec 2.2).

Each test gives one p-value per environment and one for the representation. Those that need only
moments ("normal", "chow", "correlation") never see a row; the others take the residuals. "Rest"
is all rows outside an environment. Formulas are those of the R packages InvariantCausalPrediction
0.8 and CondIndTests 0.1.5, with the deviations named in the functions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from scipy import special, stats

from robuststat._core.errors import ConvergenceWarning, DataError, warn
from robuststat._core.glm import FAMILIES, glm_sums
from robuststat._core.linalg import solve_psd
from robuststat._core.types import Array, IntArray
from robuststat.invariance._moments import EnvMoments, least_squares

NullName: TypeAlias = Literal[
    "normal",
    "chow",
    "correlation",
    "ks",
    "ranks",
    "levene_wilcoxon",
    "hsic",
    "logistic_t",
    "logistic_lr",
]
MOMENT_TESTS = ("normal", "chow", "correlation")
BINARY_TESTS = ("logistic_t", "logistic_lr")
ROW_TESTS = ("ks", "ranks", "levene_wilcoxon", "hsic")
# Rows above which the kernel of the residuals is replaced by random features.
HSIC_ROWS, HSIC_FEATURES = 2000, 200


@dataclass(frozen=True, slots=True)
class NullTest:
    """Result of a test of strong invariance.

    Attributes
    ----------
    p_value : float
        Of the representation, at most 1.
    env_p_value : ndarray of shape (K,)
        Before the correction for several environments; NaN where a test gives one number only.
    statistic : float
        Of the comparison with the smallest p-value.
    statistic_name : str
        What it is.
    """

    p_value: float
    env_p_value: Array
    statistic: float
    statistic_name: str


def _combine(p: Array, factor: float, statistics: Array, names: list[str] | str) -> NullTest:
    worst = int(np.nanargmin(p))
    name = names if isinstance(names, str) else names[worst]
    return NullTest(
        min(1.0, factor * float(p[worst])), np.minimum(p, 1.0), float(statistics[worst]), name
    )


def correction_factor(correction: str, n_env: int) -> int:
    """Return K - 1 as R does (both comparisons coincide for K = 2), or Bonferroni's K."""
    return n_env - 1 if correction == "K-1" else n_env


# ------------------------------------------------------------------------ from moments


def residual_moments(moments: EnvMoments, coef: Array, *, intercept: bool) -> tuple[Array, Array]:
    """Mean and variance (divisor n - 1) of the residuals y - z'coef by environment.

    With weights the divisor is that of the effective sizes.
    """
    slope = coef[1:] if intercept else coef
    mean = moments.mean[:, -1] - moments.mean[:, :-1] @ slope - (coef[0] if intercept else 0.0)
    S = moments.scatter
    within = (
        S[:, -1, -1]
        - 2 * S[:, :-1, -1] @ slope
        + np.einsum("i,eij,j->e", slope, S[:, :-1, :-1], slope)
    )
    size = moments.n_effective
    return mean, np.maximum(within, 0.0) / moments.weight * size / (size - 1)


def _mean_and_variance_tests(
    moments: EnvMoments, coef: Array, *, intercept: bool
) -> tuple[Array, Array, Array, Array]:
    """Welch t and F of every environment against the rest: t, p_t, F, p_F."""
    mean, var = residual_moments(moments, coef, intercept=intercept)
    size = moments.n_effective
    rests = [moments.rest(e) for e in range(moments.n_env)]
    found = [residual_moments(r, coef, intercept=intercept) for r in rests]
    mean_rest = np.array([m[0] for m, _ in found])
    var_rest = np.array([v[0] for _, v in found])
    size_rest = np.array([r.n_effective[0] for r in rests])
    t, p_t = welch_t(mean, var, size, mean_rest, var_rest, size_rest)
    F, p_F = variance_f(var, size, var_rest, size_rest)
    return t, p_t, F, p_F


def welch_t(
    mean: Array, var: Array, size: Array, mean2: Array, var2: Array, size2: Array
) -> tuple[Array, Array]:
    """Two-sided Welch t test from means, variances and sizes."""
    a, b = var / size, var2 / size2
    with np.errstate(divide="ignore", invalid="ignore"):
        t = (mean - mean2) / np.sqrt(a + b)
        df = (a + b) ** 2 / (a**2 / (size - 1) + b**2 / (size2 - 1))
    return t, 2 * special.stdtr(df, -np.abs(t))


def variance_f(var: Array, size: Array, var2: Array, size2: Array) -> tuple[Array, Array]:
    """Two-sided F test of equal variances."""
    with np.errstate(divide="ignore", invalid="ignore"):
        F = var / var2
    lower, upper = special.fdtr(size - 1, size2 - 1, F), special.fdtrc(size - 1, size2 - 1, F)
    return F, 2 * np.minimum(lower, upper)


def normal_test(
    moments: EnvMoments, coef: Array, *, intercept: bool, correction: str = "K-1"
) -> NullTest:
    """Equal residual means (Welch t) and variances (F) of every environment and the rest."""
    t, p_t, F, p_F = _mean_and_variance_tests(moments, coef, intercept=intercept)
    p = 2 * np.minimum(p_t, p_F)
    by_t = p_t <= p_F
    names = ["Welch t of residual means" if one else "F of residual variances" for one in by_t]
    factor = correction_factor(correction, moments.n_env)
    return _combine(p, factor, np.where(by_t, t, F), names)


def correlation_test(
    moments: EnvMoments, coef: Array, *, intercept: bool, correction: str = "K-1"
) -> NullTest:
    """Combine the normal test with the correlation of residual and covariate within each one."""
    t, p_t, F, p_F = _mean_and_variance_tests(moments, coef, intercept=intercept)
    p = 2 * np.minimum(p_t, p_F)
    statistics = np.where(p_t <= p_F, t, F)
    names = ["Welch t of residual means" if a <= b else "F" for a, b in zip(p_t, p_F, strict=True)]
    k = moments.n_features
    if k:
        slope = coef[1:] if intercept else coef
        S = moments.scatter
        cross = S[:, :-1, -1] - np.einsum("eij,j->ei", S[:, :-1, :-1], slope)
        var = residual_moments(moments, coef, intercept=intercept)[1]
        size = moments.n_effective
        total = var * moments.weight * (size - 1) / size
        spread = np.einsum("ejj->ej", S[:, :-1, :-1])
        with np.errstate(divide="ignore", invalid="ignore"):
            r = np.clip(cross / np.sqrt(spread * total[:, None]), -1, 1)
            free = np.maximum(size - 2, 1)[:, None]
            p_cor = 2 * special.stdtr(free, -np.abs(r) * np.sqrt(free / (1 - r**2)))
        # A column that is constant in an environment has no correlation there.
        p_cor = np.where(np.isnan(p_cor), 1.0, p_cor)
        smallest = k * p_cor.min(axis=1)
        lead = smallest < p
        best = r[np.arange(len(r)), p_cor.argmin(axis=1)]
        statistics = np.where(lead, best, statistics)
        names = [
            "correlation of covariate and residual" if on else n
            for on, n in zip(lead, names, strict=True)
        ]
        p = 2 * np.minimum(p, smallest)
    factor = correction_factor(correction, moments.n_env)
    return _combine(p, factor, statistics, names)


def predictive_chow(
    moments: EnvMoments, *, intercept: bool, compat: str | None = None
) -> tuple[Array, Array, Array, Array]:
    """F, degrees of freedom and p-value of predicting every environment from the rest.

    F = [(SSR_all - SSR_rest)/n_e]/[SSR_rest/(n_rest - k)]. ``compat="R"`` multiplies the error
    variance by n_rest/(n_rest - 1), as R's ICP does; R also draws 200 rows of larger
    environments, for which there is no need and which is not imitated.
    """
    K = moments.n_env
    everything = least_squares(moments.pooled(), intercept=intercept)
    F, df1, df2 = np.empty(K), np.empty(K), np.empty(K)
    for e in range(K):
        rest = moments.rest(e)
        fit = least_squares(rest, intercept=intercept)
        size = float(rest.n_rows[0])
        df1[e], df2[e] = moments.n_rows[e], size - float(fit.rank[0])
        if df2[e] < 1:
            raise DataError(
                f"Without environment {moments.levels[e]!r} there are {size:.0f} rows for "
                f"{fit.rank[0]} coefficients, so it cannot be predicted. Use fewer covariates."
            )
        sigma2 = fit.ssr[0] / df2[e]
        if compat == "R":
            sigma2 *= size / (size - 1)
        F[e] = max(everything.ssr[0] - fit.ssr[0], 0.0) / df1[e] / sigma2
    return F, df1, df2, np.asarray(special.fdtrc(df1, df2, F), dtype=np.float64)


def chow_null(moments: EnvMoments, *, intercept: bool, compat: str | None = None) -> NullTest:
    """Predict every environment from the rest; Bonferroni over the K environments."""
    F, _, _, p = predictive_chow(moments, intercept=intercept, compat=compat)
    return _combine(p, moments.n_env, F, "predictive Chow F")


# --------------------------------------------------------------------------- from rows


def ks_test(resid: Array, codes: IntArray, n_env: int, correction: str = "K-1") -> NullTest:
    """Kolmogorov-Smirnov of every environment and the rest; exact below 10^4 pairs, as in R."""
    D, p = np.empty(n_env), np.empty(n_env)
    for e in range(n_env):
        a, b = resid[codes == e], resid[codes != e]
        if len(a) * len(b) < 10_000:
            found = stats.ks_2samp(a, b, method="exact")
            D[e], p[e] = found.statistic, found.pvalue
        else:
            D[e] = stats.ks_2samp(a, b, method="asymp").statistic
            p[e] = special.kolmogorov(np.sqrt(len(a) * len(b) / (len(a) + len(b))) * D[e])
    return _combine(p, correction_factor(correction, n_env), D, "Kolmogorov-Smirnov D")


def rank_sum(a: Array, b: Array) -> float:
    """p-value of the Wilcoxon rank-sum test: exact below 50 rows each without ties, as in R."""
    ties = len(np.unique(np.concatenate([a, b]))) < len(a) + len(b)
    exact = len(a) < 50 and len(b) < 50 and not ties
    found = stats.mannwhitneyu(a, b, method="exact" if exact else "asymptotic")
    return float(found.pvalue)


def levene_wilcoxon(resid: Array, codes: IntArray, n_env: int) -> NullTest:
    """2 min(p_Levene, b min_e p_Wilcoxon), b = 1 for two environments and K otherwise."""
    groups = [resid[codes == e] for e in range(n_env)]
    levene = stats.levene(*groups, center="mean")
    p = np.array([rank_sum(g, resid[codes != e]) for e, g in enumerate(groups)])
    b = 1 if n_env == 2 else n_env
    value = min(1.0, 2 * min(float(levene.pvalue), b * float(p.min())))
    return NullTest(value, p, float(levene.statistic), "Levene W")


def hsic_permutation(
    resid: Array, codes: IntArray, n_env: int, rng: np.random.Generator, n_perm: int = 500
) -> NullTest:
    """Hilbert-Schmidt independence of residual and environment, by permutation.

    Gaussian kernel with the median distance as bandwidth on the residual, equality of labels as
    kernel of the environment; the biased statistic. Above 2,000 rows the Gaussian kernel is
    approximated by 200 random Fourier features, which costs no n x n matrix.
    """
    n = len(resid)
    sample = resid if n <= HSIC_ROWS else resid[rng.choice(n, HSIC_ROWS, replace=False)]
    width = float(np.median(np.abs(sample[:, None] - sample)[np.triu_indices(len(sample), 1)]))
    width = width if width > 0 else 1.0
    if n <= HSIC_ROWS:
        kernel = np.exp(-((resid[:, None] - resid) ** 2) / (2 * width**2))
        kernel -= kernel.mean(axis=0)
        kernel -= kernel.mean(axis=1, keepdims=True)
        values, vectors = np.linalg.eigh(kernel)
        keep = values > 1e-10 * values[-1]
        features = vectors[:, keep] * np.sqrt(values[keep])
    else:
        omega, shift = (
            rng.normal(size=HSIC_FEATURES) / width,
            rng.uniform(0, 2 * np.pi, HSIC_FEATURES),
        )
        features = np.sqrt(2 / HSIC_FEATURES) * np.cos(np.outer(resid, omega) + shift)
        features -= features.mean(axis=0)
    draws = np.empty(n_perm + 1)
    for i in range(n_perm + 1):
        labels = codes if i == 0 else rng.permutation(codes)
        sums = np.zeros((n_env, features.shape[1]))
        for e in range(n_env):
            sums[e] = features[labels == e].sum(axis=0)
        draws[i] = (sums**2).sum() / n**2
    exceed = int((draws[1:] >= draws[0] * (1 - 1e-12)).sum())
    p = (1 + exceed) / (n_perm + 1)
    return NullTest(p, np.full(n_env, np.nan), float(draws[0]), "HSIC")


def callable_test(
    function: Callable[[Array, Array], Any],
    resid: Array,
    codes: IntArray,
    n_env: int,
    correction: str = "K-1",
) -> NullTest:
    """User's ``function(residuals of e, residuals of the rest) -> p``."""
    p = np.array([float(function(resid[codes == e], resid[codes != e])) for e in range(n_env)])
    if not ((p >= 0) & (p <= 1)).all():
        raise DataError(
            f"test= returned {p.tolist()} for the {n_env} environments. It must return a p-value "
            "in [0, 1] from the residuals of an environment and those of the rest."
        )
    return _combine(p, correction_factor(correction, n_env), p, "p-value of the user's test")


# ---------------------------------------------------------------------- binary outcome


def logistic_fit(
    Z: Array, y: Array, weights: Array | None, max_iter: int = 60
) -> tuple[Array, float, bool]:
    """Coefficients, log-likelihood, and whether Newton's method converged."""
    theta, family = np.zeros(Z.shape[1]), FAMILIES["logit"]
    value = logistic_loglik(Z, y, weights, theta)
    for _ in range(max_iter):
        score, information = glm_sums(Z, y, weights, theta, family)
        # A tiny ridge keeps a separated fit solvable; its likelihood is still the supremum.
        information[np.diag_indices_from(information)] *= 1 + 1e-12
        try:
            step = solve_psd(information, score)
        except ValueError:
            return theta, value, False
        for _ in range(30):
            new = logistic_loglik(Z, y, weights, theta + step)
            if new >= value - 1e-12 * abs(value):
                break
            step = step / 2
        theta = theta + step
        done = float(np.abs(score @ step)) < 1e-16 * (1 + abs(value))
        value = new
        if done:
            return theta, value, True
    return theta, value, False


def logistic_loglik(Z: Array, y: Array, weights: Array | None, theta: Array) -> float:
    """Log-likelihood of a logit model."""
    eta = Z @ theta
    terms = y * eta - np.logaddexp(0.0, eta)
    return float(terms.sum() if weights is None else weights @ terms)


def logistic_t(
    Z: Array,
    y: Array,
    codes: IntArray,
    n_env: int,
    weights: Array | None = None,
    correction: str = "K-1",
) -> NullTest:
    """Welch t of the residuals y - p of a pooled logit model (R's test for a binary outcome)."""
    theta, _, converged = logistic_fit(Z, y, weights)
    if not converged:
        warn("The pooled logit model did not converge (separation?).", ConvergenceWarning)
    resid = y - special.expit(Z @ theta)
    mean, var, size = np.empty((2, n_env)), np.empty((2, n_env)), np.empty((2, n_env))
    for e in range(n_env):
        for side, rows in enumerate((codes == e, codes != e)):
            w = np.ones(int(rows.sum())) if weights is None else weights[rows]
            r, total = resid[rows], w.sum()
            mean[side, e] = w @ r / total
            size[side, e] = total**2 / (w @ w)
            spread = w @ (r - mean[side, e]) ** 2 / total
            var[side, e] = spread * size[side, e] / (size[side, e] - 1)
    t, p = welch_t(mean[0], var[0], size[0], mean[1], var[1], size[1])
    return _combine(p, correction_factor(correction, n_env), t, "Welch t of logit residuals")


def logistic_lr(
    Z: Array, y: Array, codes: IntArray, n_env: int, weights: Array | None = None
) -> NullTest:
    """Likelihood ratio of separate logit models in e and the rest; chi-square(k), times K."""
    pooled = logistic_fit(Z, y, weights)[1]
    ratio, poor = np.empty(n_env), 0
    for e in range(n_env):
        parts = []
        for rows in (codes == e, codes != e):
            w = None if weights is None else weights[rows]
            _, value, converged = logistic_fit(Z[rows], y[rows], w)
            parts.append(value)
            poor += not converged
        ratio[e] = 2 * (sum(parts) - pooled)
    if poor:
        warn(
            f"{poor} of {2 * n_env} logit models did not converge: an environment separates the "
            "two classes, and its likelihood ratio is that of the last step.",
            ConvergenceWarning,
        )
    p = special.chdtrc(Z.shape[1], np.maximum(ratio, 0.0))
    return _combine(p, n_env, ratio, "likelihood ratio of logit models")


def brown_forsythe(resid: Array, codes: IntArray, n_env: int) -> float:
    """p-value of equal spread around the medians of the environments."""
    groups = [resid[codes == e] for e in range(n_env)]
    return float(stats.levene(*groups, center="median").pvalue)
