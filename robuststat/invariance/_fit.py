"""Steps of InvarianceTest: variances by environment, tests, gaps, and the result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd

from robuststat._core.errors import DataError, ParameterError, warn
from robuststat._core.formula import INTERCEPT
from robuststat._core.linalg import cluster_sums, group_codes, symmetrise
from robuststat._core.rng import check_rng
from robuststat._core.types import Array
from robuststat._core.vcov import check_clusters, cr2_scores, hc_scores
from robuststat.invariance import _nulls as nulls
from robuststat.invariance._gap import (
    Aggregate,
    CoefTest,
    EnvModel,
    Measure,
    env_gaps,
    env_model,
    homoscedastic_test,
    joint_test,
    make_basis,
    pairwise_gap,
    precision_test,
    roots,
    smallest_ball,
)
from robuststat.invariance._moments import least_squares
from robuststat.invariance._rows import EnvRows

ErrorKind: TypeAlias = Literal["homo", "welch", "HC3", "cluster"]
VCOV_NAMES = {"homo": "iid", "welch": "welch", "HC3": "HC3", "cluster": "CR2"}


@dataclass(frozen=True, slots=True)
class Variances:
    """Sampling variances of the separate and of the common coefficients, user's units.

    Attributes
    ----------
    environment : ndarray of shape (K, k, k)
        Of each environment.
    pooled : ndarray of shape (k, k)
        Of the common coefficients.
    df : float
        Degrees of freedom of the common ones.
    joint : ndarray of shape (K k, K k) or None
        Of all separate coefficients, when clusters cross environments.
    n_clusters : int or None
        Clusters.
    free : ndarray of shape (K,) or None
        Degrees of freedom of the variances; None: rows less coefficients.
    """

    environment: Array
    pooled: Array
    df: float
    joint: Array | None = None
    n_clusters: int | None = None
    free: Array | None = None


def variances(model: EnvModel, error: ErrorKind, rows: EnvRows | None) -> Variances:
    """Variances under the chosen error structure."""
    inverse, sigma2 = model.fits.inverse, model.env_sigma2
    common = model.pooled.inverse[0]
    N, k = model.moments.n_obs, model.n_coef
    env = np.where(np.isnan(sigma2), np.inf, sigma2)[:, None, None] * inverse
    if error == "homo":
        pooled = common * float(model.pooled.ssr[0]) / (N - k)
        return Variances(env, pooled, float(N - k))
    _require_rank(model, error)
    if error == "welch":
        A = model.moments.normal_equations(intercept=model.intercept)[0]
        meat = np.einsum("e,eij->ij", sigma2, A)
        return Variances(env, symmetrise(common @ meat @ common), float(N - k))
    assert rows is not None
    weights = None if rows.weights is None else rows.weights * N / rows.weights.sum()
    Z = rows.design()
    if error == "HC3":
        return _hc3(model, rows, Z, weights)
    return _clustered(model, rows, Z, weights)


def _require_rank(model: EnvModel, error: str) -> None:
    k = model.n_coef
    short = (model.moments.n_rows <= k + 3) | (model.fits.rank < k)
    if short.any():
        levels = [repr(v) for v, on in zip(model.moments.levels, short, strict=True) if on]
        raise DataError(
            f"error={error!r} needs more than {k + 3} rows and identified coefficients in every "
            f"environment; {len(levels)} have not: {', '.join(levels[:8])}. Use error='homo', "
            "merge them, or use fewer covariates."
        )


def _residuals(rows: EnvRows, Z: Array, coef: Array) -> Array:
    """Residuals of the separate fits."""
    return np.asarray(rows.y - np.einsum("ij,ij->i", Z, coef[rows.codes]))


def _hc3(model: EnvModel, rows: EnvRows, Z: Array, weights: Array | None) -> Variances:
    resid = _residuals(rows, Z, model.fits.coef)
    env = np.empty_like(model.fits.inverse)
    for e, inverse in enumerate(model.fits.inverse):
        on = rows.codes == e
        w = None if weights is None else weights[on]
        psi = hc_scores(Z[on], resid[on], w, "HC3") @ inverse
        env[e] = psi.T @ psi
    common = model.pooled.inverse[0]
    psi = hc_scores(Z, rows.y - Z @ model.pooled.coef[0], weights, "HC3") @ common
    return Variances(env, psi.T @ psi, float(len(Z) - Z.shape[1]))


def _clustered(model: EnvModel, rows: EnvRows, Z: Array, weights: Array | None) -> Variances:
    if rows.clusters is None:
        raise ParameterError("error='cluster' needs clusters= in fit.")
    n, k = Z.shape
    codes, found = group_codes(rows.clusters, n)
    G, K = len(found), rows.n_env
    inside = np.zeros((K, G), dtype=bool)
    inside[rows.codes, codes] = True
    nested = bool((inside.sum(axis=0) == 1).all())
    _require_clusters(model, inside.sum(axis=1), G, nested)
    check_clusters(G)
    resid = _residuals(rows, Z, model.fits.coef)
    influence = np.zeros((n, K * k))
    for e, inverse in enumerate(model.fits.inverse):
        on = rows.codes == e
        w = None if weights is None else weights[on]
        psi = cr2_scores(Z[on], resid[on], codes[on], w)
        influence[on, e * k : (e + 1) * k] = psi @ inverse
    totals = cluster_sums(influence, codes, G)
    joint = totals.T @ totals
    env = np.stack([joint[e * k : (e + 1) * k, e * k : (e + 1) * k] for e in range(K)])
    psi = cr2_scores(Z, rows.y - Z @ model.pooled.coef[0], codes, weights)
    half = cluster_sums(psi @ model.pooled.inverse[0], codes, G)
    free = np.asarray(inside.sum(axis=1) - k, dtype=np.float64) if nested else None
    return Variances(env, half.T @ half, G - 1.0, None if nested else joint, G, free)


def _require_clusters(model: EnvModel, per_env: Any, n_clusters: int, nested: bool) -> None:
    k, d1 = model.n_coef, (model.moments.n_env - 1) * model.n_coef
    if nested and (per_env <= k + 1).any():
        few = [repr(v) for v, g in zip(model.moments.levels, per_env, strict=True) if g <= k + 1]
        raise DataError(
            f"error='cluster' needs more than {k + 1} clusters in every environment; "
            f"{len(few)} have fewer: {', '.join(few[:8])}. Use finer clusters or fewer covariates."
        )
    if not nested and n_clusters <= d1 + 1:
        raise DataError(
            f"{n_clusters} clusters that cross environments cannot test {d1} restrictions on the "
            "coefficients. Use finer clusters, fewer covariates, or error='HC3'."
        )


def coefficient_test(model: EnvModel, error: ErrorKind, found: Variances) -> CoefTest:
    """Test of equal coefficients under the chosen error structure."""
    if error == "homo":
        return homoscedastic_test(model)
    Q = model.basis.matrix
    if found.joint is not None:
        wide = np.kron(np.eye(model.moments.n_env), Q)
        assert found.n_clusters is not None
        return joint_test(model, wide @ found.joint @ wide.T, found.n_clusters)
    return precision_test(model, Q @ found.environment @ Q.T, error, found.free)


# ---------------------------------------------------------------------- strong invariance


def resolve_test(test: Any, y: Array | None, compat: str | None) -> Any:
    """Name of the test to run; a two-valued outcome replaces the default by a logit one."""
    if callable(test):
        return test
    two = y is not None and len(np.unique(y)) == 2
    if test == "normal" and two:
        chosen = "logistic_t" if compat == "R" else "logistic_lr"
        warn(
            f"y has two values, so test='normal' is replaced by test={chosen!r}. Name the test to "
            "silence this; psi compares linear probability models."
        )
        return chosen
    if test in nulls.BINARY_TESTS and y is not None and not two:
        n_values = len(np.unique(y))
        raise DataError(
            f"test={test!r} is for an outcome of two values; y has {n_values}. Use test='normal'."
        )
    return test


def strong_invariance(
    test: Any, model: EnvModel, rows: EnvRows | None, options: dict[str, Any]
) -> nulls.NullTest:
    """Run a test of spec 2.2 on one representation."""
    correction, compat = options["correction"], options["compat"]
    coef, intercept, moments = model.pooled.coef[0], model.intercept, model.moments
    if test == "normal":
        return nulls.normal_test(moments, coef, intercept=intercept, correction=correction)
    if test == "correlation":
        return nulls.correlation_test(moments, coef, intercept=intercept, correction=correction)
    if test == "chow":
        return nulls.chow_null(moments, intercept=intercept, compat=compat)
    if rows is None:
        raise ParameterError(
            f"test={test!r} needs the rows themselves; from a stream use test='normal', 'chow' or "
            "'correlation'."
        )
    Z, K, codes = rows.design(), rows.n_env, rows.codes
    if test in nulls.BINARY_TESTS:
        y = (rows.y == rows.y.max()).astype(np.float64)
        if test == "logistic_t":
            return nulls.logistic_t(Z, y, codes, K, rows.weights, correction)
        return nulls.logistic_lr(Z, y, codes, K, rows.weights)
    if rows.weights is not None:
        raise ParameterError(
            f"test={test!r} compares whole distributions and has no weighted version. Leave out "
            "sample_weight, or use test='normal', 'chow' or 'correlation'."
        )
    resid = rows.y - Z @ coef
    if test == "ks":
        return nulls.ks_test(resid, codes, K, correction)
    if test in ("ranks", "levene_wilcoxon"):
        return nulls.levene_wilcoxon(resid, codes, K)
    if test == "hsic":
        rng = check_rng(options["random_state"])
        return nulls.hsic_permutation(resid, codes, K, rng, options["n_perm"])
    return nulls.callable_test(test, resid, codes, K, correction)


# ------------------------------------------------------------------------------- gaps


def scaled_gaps(model: EnvModel, standardize: bool) -> tuple[Array, Array, Array]:
    """Separate and common coefficients, and M_e, in standard or user's units."""
    Q = model.basis.matrix
    gram, coef, common = model.gram, model.fits.coef @ Q.T, Q @ model.pooled.coef[0]
    if not standardize:
        basis = make_basis(model.moments.pooled(), intercept=model.intercept, standardize=False)
        gram = model.moments.normal_equations(intercept=model.intercept)[0]
        coef, common = model.fits.coef @ basis.matrix.T, basis.matrix @ model.pooled.coef[0]
    return coef, common, gram / model.moments.weight[:, None, None]


def total_gap(
    model: EnvModel, test: CoefTest, measure: Measure, aggregate: Aggregate, standardize: bool
) -> float:
    """Gap of the representation over all environments.

    The average risk gap is psi times the noise variance, free of sampling noise; the others are
    computed from the estimates as they are.
    """
    if measure == "risk" and aggregate == "average" and test.kind == "homo":
        return test.psi * model.sigma2 if np.isfinite(test.psi) else model.ssr_between / test.n_obs
    coef, common, second = scaled_gaps(model, standardize)
    if aggregate == "minimax":
        radius = smallest_ball(coef, roots(measure, second)).radius
        return radius**2 if measure == "risk" else radius
    if aggregate == "pairwise":
        return pairwise_gap(measure, coef, second)
    gaps = env_gaps(measure, coef - common, second)
    if aggregate == "max":
        return float(gaps.max())
    return float(model.moments.weight @ gaps / model.moments.weight.sum())


def gap_table(model: EnvModel, null: nulls.NullTest, standardize: bool) -> pd.DataFrame:
    """One row an environment: rows, error variance, gaps at the common coefficients, p-value."""
    coef, common, second = scaled_gaps(model, standardize)
    off = coef - common
    return pd.DataFrame(
        {
            "env": list(model.moments.levels),
            "n_obs": model.moments.n_rows,
            "sigma2": model.env_sigma2,
            "risk_gap": env_gaps("risk", off, second),
            "coef_gap": env_gaps("coef", off, second),
            "grad_gap": env_gaps("grad", off, second),
            "p_value": null.env_p_value,
        }
    )


def leave_one_out(model: EnvModel, predictions: tuple[Array, Array]) -> pd.DataFrame:
    """Error of predicting each environment from the others, beside its own fit."""
    outside, psi = predictions
    weight = model.moments.weight
    return pd.DataFrame(
        {
            "env": list(model.moments.levels),
            "n_obs": model.moments.n_rows,
            "mse_out": outside,
            "mse_pooled": _mse(model, model.pooled.coef[0]),
            "mse_own": model.fits.ssr / weight,
            "psi_without": psi,
        }
    )


def _mse(model: EnvModel, coef: Array) -> Array:
    """Mean squared error of one coefficient vector in every environment."""
    Q = model.basis.matrix
    off = (model.fits.coef - coef) @ Q.T
    extra = np.einsum("ei,eij,ej->e", off, model.gram, off)
    return np.asarray((model.fits.ssr + extra) / model.moments.weight)


def predictions_without(model: EnvModel) -> tuple[Array, Array]:
    """MSE in each environment of the fit on the others, and psi without it."""
    K = model.moments.n_env
    outside, psi = np.empty(K), np.full(K, np.nan)
    for e in range(K):
        rest = model.moments.take([i for i in range(K) if i != e])
        if K > 2:
            part = env_model(rest, intercept=model.intercept)
            outside[e], psi[e] = _mse(model, part.pooled.coef[0])[e], homoscedastic_test(part).psi
        else:
            only = least_squares(rest, intercept=model.intercept).coef[0]
            outside[e] = _mse(model, only)[e]
    return outside, psi


def coefficient_names(model: EnvModel) -> tuple[str, ...]:
    """Names of the coefficients, the intercept first."""
    return ((INTERCEPT,) if model.intercept else ()) + model.moments.names
