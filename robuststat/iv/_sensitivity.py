"""How strong must an omitted variable be to change what an instrument says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.utils.validation import check_is_fitted

from robuststat._core.errors import ParameterError, RoleError
from robuststat._core.params import Check, any_of, in_range, optional
from robuststat._core.types import Array
from robuststat._results.tables import check_level
from robuststat.iv._classical_base import EFFECT, IVEstimator, refuse
from robuststat.iv._classical_intake import IVData, dropped_rows
from robuststat.iv._confset import ConfidenceSet, ScoreSets, anderson_rubin, quadratic_set
from robuststat.iv._doc import shared_parameters
from robuststat.iv._linear import ReducedForm, partial_out
from robuststat.iv._strength import first_stage, strength_lines, warn_weak
from robuststat.result import InferenceResult


def critical_f(level: float, df: float) -> float:
    """f*: critical t with df - 1 degrees of freedom over sqrt(df - 1); 0 for level 0."""
    return float(stats.t.ppf((1.0 + level) / 2.0, df - 1.0) / np.sqrt(df - 1.0))


def robustness_value(t: float, df: float, level: float = 0.0) -> float:
    """Strength, as partial R2 with both sides, that brings |t| down to the critical value.

    The largest adjusted critical value over outcome associations up to r is attained inside (0, r)
    when f > 1/f*; then the instrument's side alone decides (the extreme robustness value).
    """
    f, star = abs(t) / np.sqrt(df), critical_f(level, df)
    if f <= star:
        return 0.0
    if star > 0 and f > 1.0 / star:
        return extreme_robustness_value(t, df, level)
    F = f - star
    return float((np.sqrt(F**4 + 4.0 * F**2) - F**2) / 2.0)


def extreme_robustness_value(t: float, df: float, level: float = 0.0) -> float:
    """Strength with the instrument alone, whatever the outcome side, that does the same."""
    f, star = abs(t) / np.sqrt(df), critical_f(level, df)
    return 0.0 if f <= star else float((f * f - star * star) / (1.0 + f * f))


def adjusted_critical_value(
    r2_instrument: float, r2_outcome: float, df: float, level: float
) -> float:
    """Largest t value that omitted variables up to this strength make compatible with no effect.

    sqrt(df) (sqrt(R_y R_z / (1 - R_z)) + f* sqrt((1 - R_y) / (1 - R_z))), at the worst outcome
    association up to ``r2_outcome``.
    """
    star = critical_f(level, df)
    odds = r2_instrument / (1.0 - r2_instrument)
    # The maximum over R_y lies at odds / (odds + f*^2 / (1 - R_z)), or at the bound.
    spread = star * star / (1.0 - r2_instrument)
    worst = odds / (odds + spread) if odds + spread > 0 else 0.0
    R = min(r2_outcome, worst)
    return float(np.sqrt(df) * (np.sqrt(R * odds) + np.sqrt((1.0 - R) * spread)))


def benchmark_bounds(data: IVData, column: str, k: float) -> tuple[float, float]:
    """Bounds on (R_z, R_y) of an omitted variable k times as strong as a covariate.

    Raises
    ------
    ParameterError
        When such a variable would explain everything.
    """
    j = data.covariates.index(column)
    others = np.delete(data.X, j, axis=1)
    stack = np.column_stack([others, data.Z, data.y, data.a, data.X[:, j]])
    # The last column of R: what the others, Z, then (Y, A) explain of the covariate, and the rest.
    R: Array = np.asarray(np.linalg.qr(stack, mode="r"))
    z, outcome, treatment, rest = R[-4:, -1] ** 2
    r = z / (z + outcome + treatment + rest)
    Ry = (outcome + treatment) / (outcome + treatment + rest)
    Rz = k * r / (1.0 - r)
    share = k * r * r / ((1.0 - k * r) * (1.0 - r)) if k * r < 1 else np.inf
    bound = np.inf
    if share < 1:
        bound = ((np.sqrt(k) + np.sqrt(share)) / np.sqrt(1.0 - share)) ** 2 * Ry / (1.0 - Ry)
    if Rz >= 1 or bound > 1:
        raise ParameterError(
            f"A variable {k:g} times as strong as {column!r} would explain more than everything "
            f"(bounds {Rz:.3g} and {bound:.3g}). Use a smaller k in benchmark_k."
        )
    return float(Rz), float(bound)


def _names(value: Any) -> str | None:
    fine = isinstance(value, (list, tuple)) and value and all(isinstance(v, str) for v in value)
    return None if fine or isinstance(value, str) else "a covariate name or a list of them"


@shared_parameters
class IVSensitivity(ScoreSets, IVEstimator):
    """Robustness of an instrumental-variable answer to omitted variables.

    The estimand is the effect with one instrument, by the Anderson-Rubin test. Omitted variables
    that confound the instrument or carry a direct effect are described by two shares of variance:
    R_z, what they explain of the instrument, and R_y, what they explain of the outcome without the
    effect, given the covariates.

    Parameters
    ----------
    null : float, default=0.0
        Effect that a reader wants to rule out.
    level : float, default=0.95
        Confidence level behind ``rv_alpha_``, ``xrv_`` and ``conf_int_``.
    benchmarks : str or list of str, optional
        Covariates to compare omitted variables with, see ``bounds_``.
    benchmark_k : float, default=1.0
        How many times as strong as the benchmark the omitted variables may be.
    {shared}

    Attributes
    ----------
    {attributes}
    rv_ : float
        Robustness value of the estimate: omitted variables that explain this share of both the
        instrument and the outcome could move the estimate to ``null``.
    rv_alpha_ : float
        The same for the interval: they could make ``null`` compatible with the data.
    xrv_ : float
        Extreme robustness value: the share of the instrument alone that could do so, were the
        rest of the outcome explained completely.
    robustness_ : DataFrame
        ``estimate std_error statistic rv rv_alpha xrv`` for the effect, the reduced form and the
        first stage; statistics of the effect are those of the reduced form of y - null a.
    bounds_ : DataFrame or None
        For each benchmark: ``r2_instrument r2_outcome conf_low conf_high critical_value`` and
        ``conf_set_type``, the Anderson-Rubin set that allows for such a variable.
    conf_set_type_ : str
        Shape of the Anderson-Rubin set; ``conf_int_`` are its ends, infinite when it is unbounded.
    strength_ : Bunch
        First stage, as in :class:`TwoStageLeastSquares`.

    See Also
    --------
    PlausiblyExogenousIV : The same question in terms of the direct effect.

    Notes
    -----
    With t and df of the instrument in the regression of y - null a on instrument and covariates,
    f = abs(t) / sqrt(df) and f* the critical value with df - 1, over sqrt(df - 1): the robustness
    value is (sqrt(F^4 + 4 F^2) - F^2) / 2 with F = f - f*, and the extreme one is
    (f^2 - f*^2) / (1 + f^2) (Cinelli and Hazlett 2025). Errors are homoscedastic. The table shows
    the effect with its delta-method standard error; ``conf_int_``, ``pvalue_`` and
    :meth:`score_confint` are those of the Anderson-Rubin test. The bound for
    a multiple k other than 1 of a benchmark follows from the regression theory; it has not been
    compared with another program.

    References
    ----------
    Cinelli, C. and Hazlett, C. (2025). An Omitted Variable Bias Framework for Sensitivity Analysis
    of Instrumental Variables. Biometrika 112(2).

    Examples
    --------
    >>> from robuststat import IVSensitivity
    >>> from robuststat.simulation import make_many_iv
    >>> data = make_many_iv(n=2000, n_instruments=1, n_invalid=0, random_state=0)
    >>> est = IVSensitivity(benchmarks="x2")
    >>> est = est.fit(data.X, data.y, treatment=data.treatment, instruments=data.instruments)
    >>> est.rv_ > est.rv_alpha_ > est.xrv_ > 0
    True
    """

    _parameter_checks: ClassVar[Mapping[str, Check]] = {
        **IVEstimator._parameter_checks,
        "null": in_range(-np.inf, np.inf, closed="neither"),
        "level": in_range(0, 1, closed="neither"),
        "benchmarks": optional(any_of(_names)),
        "benchmark_k": in_range(0, np.inf, closed="neither"),
    }

    def __init__(
        self,
        *,
        null: float = 0.0,
        level: float = 0.95,
        benchmarks: Any = None,
        benchmark_k: float = 1.0,
        formula: str | None = None,
        missing: str | None = None,
    ) -> None:
        self.null = null
        self.level = level
        self.benchmarks = benchmarks
        self.benchmark_k = benchmark_k
        self.formula = formula
        self.missing = missing

    def _fit(self, data: IVData) -> Self:
        equal = "the robustness values are about regressions with equal error variances"
        refuse("sample_weight", data.weights, equal)
        refuse("clusters", data.clusters, equal)
        if data.Z.shape[1] != 1:
            raise RoleError(
                f"instruments has {data.Z.shape[1]} columns; IVSensitivity takes one instrument. "
                "Run it for each of them."
            )
        part = partial_out(data)
        self.strength_, form = first_stage(part, "iid")
        warn_weak(self.strength_, "use score_confint()")
        self._test = anderson_rubin(part, "iid")
        self._df = float(form.df_resid)
        if self._df < 2:
            raise ParameterError(
                f"{data.n_obs} rows leave {self._df:g} degrees of freedom; at least 2 are needed. "
                "Use more rows or fewer covariates."
            )
        t = self._reduced_t()
        self.rv_ = robustness_value(t, self._df)
        self.rv_alpha_ = robustness_value(t, self._df, self.level)
        self.xrv_ = extreme_robustness_value(t, self._df, self.level)
        found = self._test.invert(self.level)
        self.conf_set_type_ = found.kind
        self.bounds_ = self._benchmarks(data)
        result = self._result(data, form, found)
        self._store(result, data.rows)
        self._remember_effect(self.level)
        self.robustness_ = self._robustness(t)
        ends = found.pieces
        bounded = found.kind == "interval"
        self.conf_int_ = (float(ends[0, 0]), float(ends[0, 1])) if bounded else (-np.inf, np.inf)
        self.pvalue_ = self._test.p_value(0.0)
        return self

    def _reduced_t(self) -> float:
        """T value of the instrument for y - null a."""
        F = self._test.statistic(self.null)
        return float(np.sqrt(F))

    def _benchmarks(self, data: IVData) -> pd.DataFrame | None:
        if self.benchmarks is None:
            return None
        names: Sequence[str] = (
            [self.benchmarks] if isinstance(self.benchmarks, str) else list(self.benchmarks)
        )
        unknown = [name for name in names if name not in data.covariates]
        if unknown:
            raise ParameterError(
                f"benchmarks names {', '.join(map(repr, unknown))}; the covariates are "
                f"{', '.join(data.covariates[1:]) or 'none'}."
            )
        rows = []
        for name in names:
            Rz, Ry = benchmark_bounds(data, name, self.benchmark_k)
            found, critical = self._adjusted(Rz, Ry, self.level)
            low, high = found.pieces[0] if found.kind == "interval" else (-np.inf, np.inf)
            rows.append([name, Rz, Ry, low, high, critical, found.kind])
        columns = ["benchmark", "r2_instrument", "r2_outcome", "conf_low", "conf_high"]
        return pd.DataFrame(rows, columns=[*columns, "critical_value", "conf_set_type"])

    def _adjusted(self, Rz: float, Ry: float, level: float) -> tuple[ConfidenceSet, float]:
        critical = adjusted_critical_value(Rz, Ry, self._df, level)
        q, df = critical**2, self._df
        (yy, ya), (_, aa) = self._test.products
        Py, Pa = float(self._test.cy[0]), float(self._test.ca[0])
        found = quadratic_set(
            Pa * Pa * (df + q) - q * aa,
            -2.0 * (Py * Pa * (df + q) - q * ya),
            Py * Py * (df + q) - q * yy,
        )
        return found, critical

    def sensitivity_confint(
        self, r2_instrument: float, r2_outcome: float = 1.0, level: float | None = None
    ) -> pd.DataFrame:
        """Anderson-Rubin set that allows for omitted variables up to a given strength.

        Parameters
        ----------
        r2_instrument : float
            Largest share of the instrument that they explain, in [0, 1).
        r2_outcome : float, default=1.0
            Largest share of the outcome (without the effect) that they explain, in [0, 1].
        level : float, optional
            Confidence level; that of the estimator by default.

        Returns
        -------
        DataFrame
            ``conf_low conf_high``, rows as in :meth:`score_confint`.

        Raises
        ------
        ParameterError
            For a share outside its range.
        """
        check_is_fitted(self, "result_")
        level = self.level if level is None else level
        check_level(level)
        if not (0 <= r2_instrument < 1 and 0 <= r2_outcome <= 1):
            raise ParameterError(
                "r2_instrument must lie in [0, 1) and r2_outcome in [0, 1]; got "
                f"{r2_instrument!r} and {r2_outcome!r}."
            )
        return self._adjusted(float(r2_instrument), float(r2_outcome), level)[0].frame()

    def _robustness(self, t: float) -> pd.DataFrame:
        statistics = np.array(self.result_.statistic)
        statistics[0] = t if self.result_.estimate[0] >= self.null else -t
        rows = {
            "rv": [robustness_value(v, self._df) for v in statistics],
            "rv_alpha": [robustness_value(v, self._df, self.level) for v in statistics],
            "xrv": [extreme_robustness_value(v, self._df, self.level) for v in statistics],
        }
        frame = {"estimate": self.result_.estimate, "std_error": self.result_.std_error}
        return pd.DataFrame(
            {**frame, "statistic": statistics, **rows},
            index=pd.Index(self.result_.names, name="term"),
        )

    def _result(self, data: IVData, form: ReducedForm, found: ConfidenceSet) -> InferenceResult:
        outcome, treatment = float(form.outcome[0]), float(form.treatment[0])
        effect = outcome / treatment
        # Delta method for the ratio, next to the two coefficients it is made of.
        T = np.array([[1.0 / treatment, -effect / treatment], [1.0, 0.0], [0.0, 1.0]])
        V: Array = T @ form.vcov @ T.T
        percent = 100 * self.level
        lines = [
            f"Anderson-Rubin {percent:g} % set of the effect: {found.words()}",
            f"Robustness value: omitted variables that explain {100 * self.rv_:.2f} % of "
            "instrument and outcome",
            f"  could explain the estimate away; {100 * self.rv_alpha_:.2f} % suffice for its "
            "interval",
            f"Extreme robustness value: {100 * self.xrv_:.2f} % of the instrument, all of the "
            "outcome",
        ]
        if self.bounds_ is not None:
            for row in self.bounds_.itertuples():
                lines.append(
                    f"As strong as {self.benchmark_k:g} x {row.benchmark}: R_z "
                    f"{row.r2_instrument:.4f}, R_y {row.r2_outcome:.4f}, set "
                    f"[{row.conf_low:.4g}, {row.conf_high:.4g}]"
                )
        return InferenceResult(
            estimate=np.array([effect, outcome, treatment]),
            vcov=(V + V.T) / 2.0,
            names=(EFFECT, "reduced form", "first stage"),
            n_obs=data.n_obs,
            df=self._df,
            vcov_type="iid",
            estimand=f"effect of {data.treatment} on {data.rows.outcome}, against {self.null:g}",
            method=f"Sensitivity of an instrumental-variable answer, instrument "
            f"{data.instruments[0]}",
            outcome=data.rows.outcome,
            diagnostics={
                **dropped_rows(data),
                "leading": strength_lines(self.strength_),
                "lines": lines,
                "assumptions": [
                    "omitted variables are no stronger than stated; without them the instrument is "
                    "valid",
                    "linear model, errors with equal variance, independent rows",
                ],
                "glance": {"f_statistic": self.strength_.statistic},
            },
            call=self._call(),
        )
