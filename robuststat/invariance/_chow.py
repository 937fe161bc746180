"""Chow tests as functions: equal coefficients, and prediction of one environment by the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from robuststat.invariance._gap import env_model, homoscedastic_test
from robuststat.invariance._nulls import predictive_chow
from robuststat.invariance._rows import check_environments, read_rows
from robuststat.invariance._test import InvarianceTest
from robuststat.report import format_p


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ChowTest:
    """Result of a Chow test.

    Attributes
    ----------
    statistic : float
        F statistic; of the predictive test, that of the environment with the smallest p-value.
    df1, df2 : float
        Its degrees of freedom.
    p_value : float
        Upper tail probability; of the predictive test, times the number of environments.
    null_hypothesis : str
        In words.
    table : DataFrame
        One row an environment. Classical test: coefficients and ``sigma2``. Predictive test:
        ``statistic, df1, df2, p_value``, before the correction for several environments.

    Examples
    --------
    >>> from robuststat import chow_test
    >>> from robuststat.simulation import make_environments
    >>> draw = make_environments(n_env=2, n_rows=30, spread=0, random_state=0)
    >>> print(chow_test(draw.X, draw.y, env=draw.env))
    Chow test
    H0: the coefficients are equal in the 2 environments
    F(2, 56) = 0.33315, p-value = 0.718
    """

    statistic: float
    df1: float
    df2: float
    p_value: float
    null_hypothesis: str
    table: pd.DataFrame

    def __str__(self) -> str:
        p = format_p(self.p_value)
        p = p if p.startswith("<") else f"= {p}"
        return (
            f"Chow test\nH0: {self.null_hypothesis}\n"
            f"F({self.df1:.6g}, {self.df2:.6g}) = {self.statistic:.5g}, p-value {p}"
        )

    __repr__ = __str__


def chow_test(
    X: Any,
    y: Any = None,
    *,
    env: Any,
    sample_weight: Any = None,
    formula: str | None = None,
    fit_intercept: bool = True,
    missing: str | None = None,
) -> ChowTest:
    """Test that regression coefficients are equal in all environments (Chow 1960).

    Parameters
    ----------
    X : array or frame of shape (n, p)
        Covariates.
    y : array of shape (n,) or str
        Outcome.
    env : array of shape (n,), str or dict
        Environment of each row.
    sample_weight : array of shape (n,) or str, optional
        Inverse error variances, up to a factor.
    formula : str, optional
        ``"y ~ x1 + x2"`` over the columns of a frame.
    fit_intercept : bool
        Whether the regression has an intercept.
    missing : {None, "raise", "drop"}
        What missing values do.

    Returns
    -------
    ChowTest

    Raises
    ------
    DataError, IdentificationError, RoleError
        As in :meth:`InvarianceTest.fit`.

    Notes
    -----
    Exact for independent Gaussian errors of one variance. With environments that do not identify
    all coefficients the degrees of freedom are sums of ranks.

    References
    ----------
    Chow, G. C. (1960). Tests of equality between sets of coefficients in two linear regressions.
    Econometrica, 28, 591-605.

    Examples
    --------
    >>> from robuststat import chow_test
    >>> from robuststat.simulation import make_environments
    >>> draw = make_environments(n_env=3, spread=0.5, random_state=0)
    >>> chow_test(draw.X, draw.y, env=draw.env).p_value < 0.01
    True
    """
    rows, moments = _moments(X, y, env, sample_weight, formula, fit_intercept, missing)
    model = env_model(moments, intercept=rows.intercept)
    found = homoscedastic_test(model)
    names = (("(Intercept)",) if rows.intercept else ()) + moments.names
    table = pd.DataFrame(model.fits.coef, columns=list(names))
    table.insert(0, "env", list(moments.levels))
    return ChowTest(
        found.statistic,
        found.df1,
        found.df2,
        found.p_value,
        f"the coefficients are equal in the {moments.n_env} environments",
        table.assign(sigma2=model.env_sigma2),
    )


def predictive_chow_test(
    X: Any,
    y: Any = None,
    *,
    env: Any,
    sample_weight: Any = None,
    formula: str | None = None,
    fit_intercept: bool = True,
    missing: str | None = None,
    compat: str | None = None,
) -> ChowTest:
    """Test that each environment is predicted by the regression on the others.

    Parameters
    ----------
    X : array or frame of shape (n, p)
        Covariates.
    y : array of shape (n,) or str
        Outcome.
    env : array of shape (n,), str or dict
        Environment of each row.
    sample_weight : array of shape (n,) or str, optional
        Inverse error variances, up to a factor.
    formula : str, optional
        ``"y ~ x1 + x2"`` over the columns of a frame.
    fit_intercept : bool
        Whether the regression has an intercept.
    missing : {None, "raise", "drop"}
        What missing values do.
    compat : {None, "R"}
        ``"R"``: error variance times n/(n - 1), as in R's InvariantCausalPrediction.

    Returns
    -------
    ChowTest
        Its ``table`` has one row an environment.

    Raises
    ------
    DataError, IdentificationError, RoleError
        As in :meth:`InvarianceTest.fit`.

    Notes
    -----
    F = [(SSR_all - SSR_rest)/n_e]/[SSR_rest/(n_rest - k)] with (n_e, n_rest - k) degrees of
    freedom, exact for Gaussian errors of one variance, computed without an n_e x n_e matrix and so
    without drawing a part of the rows.

    Examples
    --------
    >>> from robuststat import predictive_chow_test
    >>> from robuststat.simulation import make_environments
    >>> draw = make_environments(n_env=3, n_rows=200, spread=0.5, random_state=0)
    >>> found = predictive_chow_test(draw.X, draw.y, env=draw.env)
    >>> found.df1, found.table["p_value"].round(2).tolist()
    (200.0, [0.48, 0.61, 0.0])
    """
    rows, moments = _moments(X, y, env, sample_weight, formula, fit_intercept, missing, compat)
    scaled = moments.scaled(moments.n_obs / moments.weight.sum())
    F, df1, df2, p = predictive_chow(scaled, intercept=rows.intercept, compat=compat)
    worst = int(np.argmin(p))
    table = pd.DataFrame(
        {"env": list(moments.levels), "statistic": F, "df1": df1, "df2": df2, "p_value": p}
    )
    return ChowTest(
        float(F[worst]),
        float(df1[worst]),
        float(df2[worst]),
        min(1.0, moments.n_env * float(p[worst])),
        f"each of the {moments.n_env} environments is predicted by the others",
        table,
    )


def _moments(
    X: Any,
    y: Any,
    env: Any,
    sample_weight: Any,
    formula: str | None,
    fit_intercept: bool,
    missing: str | None,
    compat: str | None = None,
) -> Any:
    """Read the arguments by the intake of InvarianceTest; its checks apply."""
    reader = InvarianceTest(
        formula=formula, fit_intercept=fit_intercept, missing=missing, compat=compat
    )
    reader._check_parameters()
    rows = read_rows(reader, X, y, env, sample_weight, None)
    return rows, check_environments(rows.moments(), intercept=rows.intercept, drop_small=False)[0]
