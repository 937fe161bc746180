"""Two-stage least squares and its relatives, with what a reader should ask of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from robuststat._core.errors import ParameterError
from robuststat._core.params import Check, is_bool, one_of, optional
from robuststat._core.types import Array
from robuststat.iv._classical_base import IVEstimator
from robuststat.iv._classical_intake import (
    ROBUST_KINDS,
    IVData,
    dropped_rows,
    independence,
    variance_kind,
)
from robuststat.iv._confset import ConfidenceSet, ScoreSets, anderson_rubin
from robuststat.iv._doc import shared_parameters
from robuststat.iv._linear import (
    KClass,
    OverIdentification,
    Partialled,
    group_moments,
    k_class,
    k_class_vcov,
    liml_kappa,
    partial_out,
)
from robuststat.iv._strength import exogeneity_test, first_stage, strength_lines, warn_weak
from robuststat.report import format_p
from robuststat.result import InferenceResult, WaldTest

METHODS = {
    "2sls": "Two-stage least squares",
    "liml": "Limited-information maximum likelihood",
    "fuller": "Fuller's modified limited-information maximum likelihood",
}


@shared_parameters
class TwoStageLeastSquares(ScoreSets, IVEstimator):
    """Effect of a treatment when the instruments are valid: the answer every reader asks for.

    The estimand is the coefficient of the treatment in a linear model; when effects differ, a
    weighted average of them. Everything hangs on the exclusion restriction: instruments act on
    the outcome through the treatment only.

    Parameters
    ----------
    method : {"2sls", "liml", "fuller"}, default="2sls"
        "liml" is less biased with many or weak instruments; "fuller" is "liml" with finite moments
        (constant 1).
    vcov : {"iid", "HC0", "HC1", "CR0", "CR1"}, optional
        Variance. None is HC0, or CR0 when ``clusters`` are given. "iid" is RSS/n times the
        inverse with normal quantiles; HC1 and CR1 use t quantiles.
    keep_influence : bool, default=False
        Keep one influence value a row and coefficient on the result.
    {shared}

    Attributes
    ----------
    {attributes}
    conf_set_type_ : {"interval", "complement", "line", "empty", "union"}
        Shape of the 95 % Anderson-Rubin set, see :meth:`score_confint`.
    strength_ : Bunch
        First stage: coefficients (``estimate, std_error, conf_low, conf_high``), F test
        (``statistic, df, df_denom, p_value``), ``effective_f``, ``partial_r2``.
    j_statistic_, j_pvalue_, j_df_ : float, float, int
        Over-identification test: Sargan under "iid", Hansen otherwise; NaN with one instrument.
    kappa_ : float
        1 for two-stage least squares.

    See Also
    --------
    ValidIVATE : Average effect under the same assumption, effects may differ with covariates.
    PlausiblyExogenousIV, IVSensitivity : What if exclusion fails by a little.
    GENIUS, TSHT, CIIV : Estimators that do without exclusion.

    Notes
    -----
    With fitted treatment a* = (I - kappa M_Z) a after the covariates are taken out, the estimate
    solves a*'(y - a b) = 0 and has the sandwich variance of these scores. The effective F is
    pi'Z'Z pi / tr(V Z'Z) for the first-stage coefficients pi with variance V; with one instrument
    it equals the F statistic. The Anderson-Rubin set holds the effects b for which the instruments
    do not explain y - b a; with robust errors its boundary is the real spectrum of a quadratic
    eigenvalue problem, so that sets of several pieces are found exactly.

    References
    ----------
    Anderson, T. W. and Rubin, H. (1949). Estimation of the Parameters of a Single Equation in a
    Complete System of Stochastic Equations. Annals of Mathematical Statistics 20(1), 46-63.

    Montiel Olea, J. L. and Pflueger, C. (2013). A Robust Test for Weak Instruments. Journal of
    Business and Economic Statistics 31(3), 358-369.

    Fuller, W. A. (1977). Some Properties of a Modification of the Limited Information Estimator.
    Econometrica 45(4), 939-953.

    Examples
    --------
    >>> from robuststat import TwoStageLeastSquares
    >>> from robuststat.simulation import make_many_iv
    >>> data = make_many_iv(n=2000, n_invalid=0, random_state=0)
    >>> est = TwoStageLeastSquares()
    >>> est = est.fit(data.X, data.y, treatment=data.treatment, instruments=data.instruments)
    >>> round(est.ate_, 2), est.conf_set_type_
    (1.01, 'interval')
    """

    _parameter_checks: ClassVar[Mapping[str, Check]] = {
        **IVEstimator._parameter_checks,
        "method": one_of(*METHODS),
        "vcov": optional(one_of("iid", *ROBUST_KINDS)),
        "keep_influence": is_bool,
    }

    def __init__(
        self,
        method: str = "2sls",
        *,
        vcov: str | None = None,
        keep_influence: bool = False,
        formula: str | None = None,
        missing: str | None = None,
    ) -> None:
        self.method = method
        self.vcov = vcov
        self.keep_influence = keep_influence
        self.formula = formula
        self.missing = missing

    def _fit(self, data: IVData) -> Self:
        kind = variance_kind(self.vcov, data)
        part = partial_out(data)
        kappa = kappa_of(part, self.method)
        fit = k_class(part, kappa)
        variance = k_class_vcov(part, fit, kind)
        self.strength_, _ = first_stage(part, kind)
        test = group_moments(part, np.ones(part.n_instruments, dtype=bool), kind).test
        self._test = anderson_rubin(part, kind)
        self._exogeneity = exogeneity_test(part, kind)
        found = self._test.invert(0.95)
        self.conf_set_type_ = found.kind
        self.kappa_, self.j_statistic_, self.j_pvalue_, self.j_df_ = (
            kappa,
            test.statistic,
            test.p_value,
            test.df,
        )
        warn_weak(self.strength_, "use score_confint()")
        result = InferenceResult(
            estimate=fit.coef,
            vcov=variance.matrix,
            names=(data.treatment, *data.covariates),
            n_obs=data.n_obs,
            df=variance.df,
            n_clusters=data.n_clusters if kind.startswith("CR") else None,
            vcov_type=kind,
            estimand=f"effect of {data.treatment} on {data.rows.outcome}, the same for all rows or "
            "averaged with the weights of the method",
            method=f"{METHODS[self.method]}, {part.n_instruments} instrument"
            f"{'s' if part.n_instruments > 1 else ''}: {', '.join(data.instruments[:8])}"
            f"{', ...' if part.n_instruments > 8 else ''}",
            outcome=data.rows.outcome,
            diagnostics=self._words(data, test, found),
            influence=influence_of(fit) if self.keep_influence else None,
            call=self._call(),
        )
        self._store(result, data.rows)
        self._remember_effect()
        return self

    def _words(
        self, data: IVData, test: OverIdentification, found: ConfidenceSet
    ) -> dict[str, Any]:
        lines = [f"Anderson-Rubin 95 % set of the effect: {found.words()}"]
        notes = []
        if test.df:
            name = "Sargan" if self.vcov == "iid" else "Hansen J"
            lines.append(
                f"Over-identification ({name}): chi2({test.df}) = {test.statistic:.2f}, p-value "
                f"{format_p(test.p_value)}"
            )
            if test.p_value < 0.05:
                notes.append(
                    "the instruments contradict each other: not all of them can be valid. See "
                    "TSHT, CIIV and GENIUS"
                )
        if self._exogeneity is None:
            notes.append("the instruments determine the treatment: this is least squares")
        else:
            p = format_p(self._exogeneity.p_value)
            lines.append(f"Least squares against instruments (Wu-Hausman): p-value {p}")
        glance = {"f_statistic": self.strength_.statistic}
        if test.df:
            glance |= {"j_statistic": test.statistic, "j_p_value": test.p_value}
        return {
            **dropped_rows(data),
            "leading": strength_lines(self.strength_),
            "lines": lines,
            "notes": notes,
            "assumptions": [
                "exclusion: every instrument acts on the outcome through the treatment only",
                "instruments are as good as random given the covariates, which enter linearly",
                "instruments are related to the treatment",
                independence(data),
            ],
            "glance": glance,
        }

    def test_exogeneity(self) -> WaldTest:
        """Wu-Hausman test that least squares gives the same answer.

        Returns
        -------
        WaldTest

        Raises
        ------
        ParameterError
            When the instruments determine the treatment, so that both are the same.
        """
        check_is_fitted(self, "result_")
        if self._exogeneity is None:
            raise ParameterError(
                "The instruments determine the treatment: two-stage and ordinary least squares "
                "are the same, and there is nothing to test."
            )
        return self._exogeneity


def kappa_of(part: Partialled, method: str) -> float:
    """Constant of the k-class estimator."""
    if method == "2sls":
        return 1.0
    inside = part.y @ part.y - part.cy @ part.cy
    # LIML of an outcome that is explained exactly is two-stage least squares.
    kappa = liml_kappa(part) if inside > 0 else 1.0
    if method == "fuller":
        kappa -= 1.0 / (part.n_obs - part.n_covariates - part.n_instruments)
    return kappa


def influence_of(fit: KClass) -> Array:
    """Influence values (n, 1 + k) of the coefficients."""
    return np.asarray(np.linalg.solve(-fit.jacobian, (fit.regressors * fit.resid[:, None]).T).T)
