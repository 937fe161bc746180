"""Causal effects under hidden confounders from shifts of second moments (causal Dantzig)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.utils.validation import check_is_fitted

from robuststat._core.errors import IdentificationError
from robuststat._core.linalg import collinear_columns
from robuststat._core.params import Check, in_range, is_bool
from robuststat._core.types import Array
from robuststat._results.tables import check_level
from robuststat.invariance._intake import (
    ROW_CHECKS,
    EnvPredictor,
    read_rows,
    refuse_constant,
    refuse_small,
)
from robuststat.invariance._rows import EnvRows
from robuststat.report import Column, Summary, footer_lines, format_p

# Relative size of a pivot of a difference of Gram matrices below which it counts as singular.
_SINGULAR = 1e-10
# Means that do not differ at this level are weak identification.
_WEAK = 1e-3


@dataclass(frozen=True, slots=True)
class DantzigFits:
    """One fit for each environment against the others.

    Attributes
    ----------
    coef, std_error : ndarray of shape (E, k)
        E is 1 for two environments, K otherwise.
    n_env : int
        K.
    """

    coef: Array
    std_error: Array
    n_env: int


def dantzig_fits(rows: EnvRows, fit_intercept: bool) -> DantzigFits:
    """Solve (G_e - G_rest) b = c_e - c_rest for every environment e (section 3).

    G and c are averages of z z' and z y within a group of rows; with ``fit_intercept`` z ends in a
    one. The variance is that of the two groups' averages of (G_e - G_rest)^-1 z (y - z'b).
    """
    Z = np.column_stack([rows.X, np.ones(len(rows.y))]) if fit_intercept else rows.X
    names = (*rows.names, "(Intercept)") if fit_intercept else rows.names
    coefs, errors = [], []
    # Two environments give the same comparison twice.
    for e in range(rows.n_env if rows.n_env > 2 else 1):
        inside = rows.codes == e
        groups = [(Z[part], rows.y[part]) for part in (inside, ~inside)]
        (gram, cross), (gram0, cross0) = ((A.T @ A / len(A), A.T @ b / len(A)) for A, b in groups)
        # The scale of the Gram matrices tells a difference from rounding.
        unit = np.sqrt(np.diag(gram) + np.diag(gram0))
        shift = (gram - gram0) / unit / unit[:, None]
        report = collinear_columns(shift, names, tol=_SINGULAR)
        if report.rank < len(names):
            redundant = ", ".join(repr(name) for name in report.dependent) or "some covariates"
            raise IdentificationError(
                f"Environment {rows.levels[e]!r} and the others do not differ enough in their "
                f"second moments to identify every effect: nothing shifts along {redundant}. "
                "Leave out covariates that no environment shifts, or merge environments; with a "
                "column of ones means must shift (fit_intercept=False needs variances only)."
            )
        b = np.linalg.solve(shift, (cross - cross0) / unit) / unit
        variance = np.zeros(len(names))
        for A, response in groups:
            psi = np.linalg.solve(shift, (A * (response - A @ b)[:, None] / unit).T).T / unit
            variance += psi.var(axis=0, ddof=1) / len(A)
        coefs.append(b)
        errors.append(np.sqrt(variance))
    return DantzigFits(np.array(coefs), np.array(errors), rows.n_env)


def mean_shift_pvalue(rows: EnvRows) -> float:
    """Largest p-value of equal means in an environment and the others (Wald test)."""
    worst = 0.0
    for e in range(rows.n_env if rows.n_env > 2 else 1):
        inside = rows.codes == e
        parts = [rows.X[inside], rows.X[~inside]]
        gap = parts[0].mean(axis=0) - parts[1].mean(axis=0)
        variance = sum(np.atleast_2d(np.cov(A.T)) / len(A) for A in parts)
        statistic = float(gap @ np.linalg.pinv(variance) @ gap)
        worst = max(worst, float(stats.chi2.sf(statistic, len(gap))))
    return worst


class HiddenICP(EnvPredictor):
    """Causal effects of covariates when hidden variables confound them.

    Environments must act by additive shifts of the covariates that are independent of the hidden
    variables, and leave the outcome's equation alone. Then the difference of the second moments
    of two environments carries the causal effects, although each environment by itself is
    confounded. This is the unpenalised causal Dantzig, R's ``hiddenICP``.

    Parameters
    ----------
    alpha : float, default=0.05
        One minus the joint level of the intervals.
    fit_intercept : bool, default=True
        Append a column of ones. Then only covariates' shifts of means identify the effects when p
        is one, and means must shift in any case; False (R's own default) uses means and variances
        through uncentred second moments, for an outcome without intercept.
    formula : str, optional
        Model formula; then X is the frame.
    missing : {None, "raise", "drop"}, default=None
        What a missing value does; None raises without and drops with a formula.

    Attributes
    ----------
    coef_ : ndarray of shape (p,)
        Average over the comparisons of each environment with the others, unit of y per unit of x.
    intercept_ : float
        The same; 0.0 without intercept.
    pvalues_ : ndarray of shape (p,)
        Smallest p-value of the comparisons, times K, of no effect.
    env_coef_, env_stderr_ : DataFrame
        Every comparison by itself.
    mean_shift_pvalue_ : float
        Largest p-value, over the comparisons, of equal means of all covariates.

    See Also
    --------
    InvariantSubsets : Without hidden variables; environments may act in any way.

    Notes
    -----
    Standard errors are those of independent rows, the intervals normal with a Bonferroni factor K.
    Over several comparisons the interval is the intersection. An empty intersection contradicts
    the model: it is reported as NaN (R turns its ends round into an interval).

    References
    ----------
    Rothenhausler, D., Buhlmann, P. and Meinshausen, N. (2019). Causal Dantzig: fast inference in
    linear structural equation models with hidden variables under additive interventions. Annals of
    Statistics, 47, 1688-1722.

    Examples
    --------
    >>> import numpy as np
    >>> from robuststat import HiddenICP
    >>> rng = np.random.default_rng(0)
    >>> env = np.repeat([0, 1], 2000)
    >>> hidden = rng.normal(size=4000)
    >>> x = hidden + rng.normal(size=4000) * (1 + 2 * env)
    >>> y = x + 2 * hidden + rng.normal(size=4000)
    >>> fit = HiddenICP(fit_intercept=False).fit(x[:, None], y, env=env)
    >>> fit.coef_.round(1)
    array([1.])
    """

    _parameter_checks: ClassVar[Mapping[str, Check]] = {
        "alpha": in_range(0, 1, closed="neither"),
        "fit_intercept": is_bool,
        **ROW_CHECKS,
    }
    _method = "Causal effects with hidden confounders, from shifts between environments"
    _estimand = "direct effect of each covariate on the outcome"
    _assumptions = (
        "environments shift covariates additively and independently of the hidden variables",
        "no environment acts on the outcome or on the hidden variables",
        "linear effects; independent rows",
    )

    def __init__(
        self,
        alpha: float = 0.05,
        *,
        fit_intercept: bool = True,
        formula: str | None = None,
        missing: str | None = None,
    ) -> None:
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.formula = formula
        self.missing = missing

    def fit(self, X: Any, y: Any = None, *, env: Any = None) -> Self:
        """Estimate the effects.

        Parameters
        ----------
        X : array or frame of shape (n, p)
            Covariates.
        y : array of shape (n,) or str
            Outcome, or its column name.
        env : array of shape (n,), str, or mapping of level to row positions
            Environments, at least two.

        Returns
        -------
        HiddenICP
            The fitted estimator.

        Raises
        ------
        IdentificationError
            When second moments do not shift along some covariate.
        DataError, RoleError, ParameterError
            For rows, roles and options that cannot be used.
        """
        self._check_parameters()
        rows = read_rows(self, X, y, env)
        refuse_constant(rows)
        refuse_small(rows.moments(), 2, "A variance needs more.")
        found = dantzig_fits(rows, self.fit_intercept)
        self.mean_shift_pvalue_ = mean_shift_pvalue(rows)
        mean = found.coef.mean(axis=0)
        p = len(rows.names)
        compared = rows.levels if rows.n_env > 2 else rows.levels[:1]
        index = pd.Index(compared, name="env", tupleize_cols=False)
        self.env_coef_ = pd.DataFrame(found.coef[:, :p], index=index, columns=rows.names)
        self.env_stderr_ = pd.DataFrame(found.std_error[:, :p], index=index, columns=rows.names)
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.abs(found.coef[:, :p]) / found.std_error[:, :p]
        tail = stats.t.sf(np.nan_to_num(t), len(rows.y) - 1)
        self.pvalues_ = np.minimum(1.0, (2.0 * found.n_env * tail).min(axis=0))
        return self._store_fit(rows, float(mean[p]) if self.fit_intercept else 0.0, mean[:p])

    def confint(self, level: float | None = None) -> pd.DataFrame:
        """Confidence intervals, joint over the comparisons.

        Parameters
        ----------
        level : float, optional
            Level; 1 - ``alpha`` by default.

        Returns
        -------
        DataFrame
            ``conf_low`` and ``conf_high`` by variable (unit of y per unit of x); NaN where the
            comparisons contradict one another.
        """
        check_is_fitted(self, "coef_")
        if level is not None:
            check_level(level)
        alpha = self.alpha if level is None else 1.0 - level
        z = float(stats.norm.ppf(1.0 - alpha / (2.0 * len(self.env_levels_))))
        b, se = self.env_coef_.to_numpy(), self.env_stderr_.to_numpy()
        low, high = (b - z * se).max(axis=0), (b + z * se).min(axis=0)
        limits = np.where((low > high)[:, None], np.nan, np.column_stack([low, high]))
        return pd.DataFrame(
            limits, index=pd.Index(self.names_, name="term"), columns=["conf_low", "conf_high"]
        )

    def tidy(self, level: float | None = None) -> pd.DataFrame:
        """Return one row a variable.

        Parameters
        ----------
        level : float, optional
            Level of the intervals; 1 - ``alpha`` by default.

        Returns
        -------
        DataFrame
            ``term estimate p_value conf_low conf_high``.
        """
        limits = self.confint(level).to_numpy()
        return pd.DataFrame(
            {
                "term": list(self.names_),
                "estimate": self.coef_,
                "p_value": self.pvalues_,
                "conf_low": limits[:, 0],
                "conf_high": limits[:, 1],
            }
        )

    def summary(self) -> Summary:
        """Readable account of the fit.

        Returns
        -------
        Summary
        """
        frame = self.tidy()
        empty = [
            str(t) for t, v in zip(frame["term"], frame["conf_low"], strict=True) if np.isnan(v)
        ]
        notes = (
            [f"the comparisons contradict one another for {', '.join(empty)}: no interval."]
            if empty
            else []
        )
        if self.fit_intercept and self.mean_shift_pvalue_ > _WEAK:
            notes.append(
                "with a column of ones the effects are identified by shifts of means, and those "
                f"are weak here (p = {format_p(self.mean_shift_pvalue_)}): the intervals are wide "
                "and not to be trusted. fit_intercept=False uses variances too."
            )
        columns = [
            Column("Estimate", [f"{v:.4f}" for v in frame["estimate"]], "  "),
            Column("Pr(>|t|)", [format_p(v) for v in frame["p_value"]], "  "),
        ]
        columns += [
            Column(head, ["-" if np.isnan(v) else f"{v:.3f}" for v in frame[name]], "  ")
            for head, name in (("Lower", "conf_low"), ("Upper", "conf_high"))
        ]
        footer = footer_lines(lines=[], notes=notes, assumptions=self._assumptions)
        return Summary(
            header=self._header(self._method, self._estimand),
            leading=(),
            footer=tuple(footer),
            names=tuple(frame["term"]),
            columns=tuple(columns),
            blocks=("",) * len(frame),
            stars=False,
            tables={"coefficients": frame},
        )
