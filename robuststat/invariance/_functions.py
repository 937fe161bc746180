"""Tests of residuals of any model, and the smallest ball around points, as functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from robuststat._core.errors import DataError, RoleError
from robuststat._core.params import any_of, check_parameters, in_range, one_of
from robuststat._core.rng import check_rng
from robuststat._core.table import to_codes
from robuststat._core.types import Array, IntArray
from robuststat.invariance import _nulls as nulls
from robuststat.invariance._gap import smallest_ball
from robuststat.invariance._moments import env_moments
from robuststat.report import format_p

RESIDUAL_TESTS = ("normal", *nulls.ROW_TESTS)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ResidualTest:
    """Result of a test that residuals have the same distribution in all environments.

    Attributes
    ----------
    test : str
        Test that was run.
    statistic : float
        Of the decisive comparison.
    statistic_name : str
        What it is.
    p_value : float
        Corrected for the number of comparisons, at most 1.
    table : DataFrame
        One row an environment: ``env, n_obs``, mean and standard deviation of the residuals, and
        ``p_value`` before the correction (NaN for "hsic", which compares all at once).

    Examples
    --------
    >>> from robuststat import residual_invariance_test
    >>> found = residual_invariance_test([0.1, -0.2, 0.3, 9.0, 8.5, 9.2], list("aaabbb"))
    >>> found.p_value < 0.01
    True
    """

    test: str
    statistic: float
    statistic_name: str
    p_value: float
    table: pd.DataFrame

    def __str__(self) -> str:
        p = format_p(self.p_value)
        p = p if p.startswith("<") else f"= {p}"
        return (
            f"Invariance of residuals ({self.test})\n"
            f"H0: the residuals have one distribution in the {len(self.table)} environments\n"
            f"{self.statistic_name} = {self.statistic:.5g}, p-value {p}"
        )

    __repr__ = __str__


def _is_callable(value: Any) -> str | None:
    return None if callable(value) else "a function of (residuals, other residuals)"


def residual_invariance_test(
    residuals: Any,
    env: Any,
    *,
    test: str | Callable[[Array, Array], float] = "normal",
    correction: str = "K-1",
    n_perm: int = 500,
    random_state: Any = None,
) -> ResidualTest:
    """Test that the residuals of any model have the same distribution in all environments.

    Parameters
    ----------
    residuals : array of shape (n,)
        Outcome less prediction, in any unit; of predictions that were not made out of sample, the
        p-value is too large.
    env : array of shape (n,)
        Environment of each.
    test : str or callable
        "normal" (means and variances), "ks" (Kolmogorov-Smirnov), "levene_wilcoxon" (= "ranks"),
        "hsic" (independence of residual and environment, by permutation), or a function of
        (residuals of an environment, residuals of the others) that returns a p-value.
    correction : {"K-1", "K"}
        Factor of the smallest of K p-values: R's, slightly liberal, or Bonferroni's. For
        "levene_wilcoxon" and "hsic" it does not apply.
    n_perm : int
        Permutations of "hsic".
    random_state : int, Generator or None
        Seed of "hsic".

    Returns
    -------
    ResidualTest

    Raises
    ------
    DataError
        For residuals that are not finite, or environments with fewer than two of them.
    RoleError
        For environments that do not fit.
    ParameterError
        For options out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from robuststat import residual_invariance_test
    >>> residuals = np.random.default_rng(0).normal(size=200)
    >>> print(residual_invariance_test(residuals, np.repeat(["a", "b"], 100), test="ks"))
    Invariance of residuals (ks)
    H0: the residuals have one distribution in the 2 environments
    Kolmogorov-Smirnov D = 0.1, p-value = 0.699
    """
    checks = {
        "test": any_of(one_of(*RESIDUAL_TESTS), _is_callable),
        "correction": one_of("K-1", "K"),
        "n_perm": in_range(1, np.inf, integer=True),
    }
    values = {"test": test, "correction": correction, "n_perm": n_perm}
    check_parameters("residual_invariance_test", checks, values)
    resid, codes, levels = _residuals(residuals, env)
    K = len(levels)
    if test == "normal":
        moments = env_moments(np.zeros((len(resid), 0)), resid, codes, levels, ())
        found = nulls.normal_test(moments, np.zeros(0), intercept=False, correction=correction)
    elif test == "ks":
        found = nulls.ks_test(resid, codes, K, correction)
    elif test == "hsic":
        found = nulls.hsic_permutation(resid, codes, K, check_rng(random_state), n_perm)
    elif callable(test):
        found = nulls.callable_test(test, resid, codes, K, correction)
    else:
        found = nulls.levene_wilcoxon(resid, codes, K)
    groups = pd.Series(resid).groupby(codes)
    table = pd.DataFrame(
        {
            "env": list(levels),
            "n_obs": groups.size().to_numpy(),
            "mean": groups.mean().to_numpy(),
            "sd": groups.std().to_numpy(),
            "p_value": found.env_p_value,
        }
    )
    name = test if isinstance(test, str) else getattr(test, "__name__", "a test of yours")
    return ResidualTest(name, found.statistic, found.statistic_name, found.p_value, table)


def hsic_test(
    residuals: Any, env: Any, *, n_perm: int = 500, random_state: Any = None
) -> ResidualTest:
    """Test that residuals and environments are independent, by permutation (HSIC).

    Parameters
    ----------
    residuals : array of shape (n,)
        Outcome less prediction.
    env : array of shape (n,)
        Environment of each.
    n_perm : int
        Permutations.
    random_state : int, Generator or None
        Seed.

    Returns
    -------
    ResidualTest
        Its p-value is at least 1/(n_perm + 1).

    Raises
    ------
    DataError, RoleError, ParameterError
        As ``residual_invariance_test``.

    Notes
    -----
    Gaussian kernel with the median distance on the residuals, equality of labels on the
    environments, biased statistic; above 2,000 rows 200 random Fourier features take the place of
    the kernel matrix.

    References
    ----------
    Gretton, A., Fukumizu, K., Teo, C. H., Song, L., Schoelkopf, B. and Smola, A. (2008). A kernel
    statistical test of independence. Advances in Neural Information Processing Systems 20.

    Examples
    --------
    >>> import numpy as np
    >>> from robuststat import hsic_test
    >>> residuals = np.random.default_rng(0).normal(size=200)
    >>> spread = np.repeat([1.0, 4.0], 100)
    >>> hsic_test(residuals * spread, spread, random_state=0).p_value < 0.01
    True
    """
    return residual_invariance_test(
        residuals, env, test="hsic", n_perm=n_perm, random_state=random_state
    )


def _residuals(residuals: Any, env: Any) -> tuple[Array, IntArray, tuple[Any, ...]]:
    resid = np.asarray(residuals, dtype=np.float64)
    if resid.ndim != 1 or not np.isfinite(resid).all():
        bad = int((~np.isfinite(resid)).sum())
        raise DataError(
            f"residuals must be one finite value a row; got shape {resid.shape} with {bad} values "
            "that are not finite. Leave out those rows."
        )
    if len(env) != len(resid):
        raise RoleError(f"env has {len(env)} values, residuals have {len(resid)}. Pass one a row.")
    codes, missing = to_codes(env, "env")
    if missing.any():
        raise RoleError(f"env has {int(missing.sum())} missing values. Leave out these rows.")
    sizes = np.bincount(codes.codes, minlength=len(codes.levels))
    if len(sizes) < 2 or (sizes < 2).any():
        raise DataError(
            f"at least two environments with two rows each are needed; env has {len(sizes)} with "
            f"{sizes.min()} to {sizes.max()} rows."
        )
    return resid, codes.codes, codes.levels


def enclosing_ball(points: Any, radii: Any = None) -> tuple[Array, float]:
    """Smallest ball that holds points, or balls around them.

    Parameters
    ----------
    points : array of shape (m, k)
        One point a row, for instance the coefficients of each environment.
    radii : array of shape (m,), optional
        Radii of balls around the points; zero by default.

    Returns
    -------
    centre : ndarray of shape (k,)
        Centre of the ball.
    radius : float
        Its radius: the largest distance to a point, plus that point's own radius.

    Raises
    ------
    DataError
        For values that are not finite, negative radii, or shapes that do not fit.

    Examples
    --------
    >>> from robuststat import enclosing_ball
    >>> centre, radius = enclosing_ball([[0.0, 0.0], [2.0, 0.0], [1.0, 0.5]])
    >>> (centre.round(3) + 0.0).tolist(), round(radius, 3)
    ([1.0, 0.0], 1.0)
    """
    coef = np.asarray(points, dtype=np.float64)
    if coef.ndim != 2 or 0 in coef.shape or not np.isfinite(coef).all():
        raise DataError(
            f"points must be a finite array (m, k) with a row a point; got shape {coef.shape}."
        )
    m, k = coef.shape
    slack = np.zeros(m) if radii is None else np.asarray(radii, dtype=np.float64)
    if slack.shape != (m,) or not (slack >= 0).all() or not np.isfinite(slack).all():
        raise DataError(
            f"radii must hold {m} finite numbers, none negative; got {np.shape(radii)} with "
            f"smallest {slack.min(initial=np.inf):g}."
        )
    ball = smallest_ball(coef, np.broadcast_to(np.eye(k), (m, k, k)), slack)
    return ball.centre, ball.radius
