"""What estimators of effects with an invalid instrument share: what follows from a fit."""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from scipy.special import ndtri
from sklearn.utils.validation import check_is_fitted

from robuststat._core.data import RoleData
from robuststat._core.errors import ParameterError
from robuststat._core.table import rows_frame
from robuststat._core.types import Array
from robuststat._results.tables import check_level
from robuststat.base import InferenceEstimator
from robuststat.iv import _words as words
from robuststat.iv._bases import EffectDesign
from robuststat.iv._report import LEVEL, Report, single
from robuststat.iv._score_set import RatioMoments, score_set
from robuststat.result import InferenceResult, WaldTest


class InvalidIVEstimator(InferenceEstimator):
    """Predictions, score sets and tests; subclasses fit and call ``_remember``."""

    effect_: InferenceResult
    _overlap_moments: RatioMoments
    _effect_design: EffectDesign

    def _remember(self, report: Report, data: RoleData, effect: EffectDesign) -> Self:
        self._store(report.result, data)
        self.effect_ = report.effect
        names, coef = list(report.effect.names), np.array(report.effect.estimate)
        position = names.index("(Intercept)") if "(Intercept)" in names else None
        self.intercept_ = 0.0 if position is None else float(coef[position])
        self.coef_ = coef if position is None else np.delete(coef, position)
        self.ate_ = float(report.result.estimate[0])
        for name in (
            *("overlap_effect_", "direct_effect_", "confounding_", "strength_"),
            *("exclusion_imposed_", "exclusion_difference_"),
        ):
            if name in report.parts:
                setattr(self, name, report.parts[name])
            elif hasattr(self, name):
                delattr(self, name)
        self.conf_set_type_ = score_set(report.overlap, LEVEL).kind
        self.nuisance_coef_ = report.nuisance_coef
        self.nuisances_ = report.nuisances
        self.influence_ = report.result.influence
        self._overlap_moments = report.overlap
        self._effect_design = effect
        return self

    def _effect_matrix(self, X: Any) -> Array:
        check_is_fitted(self, "result_")
        return self._effect_design.matrix(self, self.design_, X)

    def predict(self, X: Any) -> Array:
        """Conditional effect of the exposure in new rows.

        Parameters
        ----------
        X : array or frame
            Covariates, or the raw frame passed to ``fit``.

        Returns
        -------
        ndarray of shape (n,)
            beta(X), in units of the outcome per unit of the exposure.
        """
        return self._effect_matrix(X) @ np.asarray(self.effect_.estimate)

    def predict_interval(self, X: Any, level: float = 0.95) -> pd.DataFrame:
        """Conditional effect in new rows with pointwise confidence intervals.

        Parameters
        ----------
        X : array or frame
            Covariates, or the raw frame passed to ``fit``.
        level : float, default=0.95
            Confidence level.

        Returns
        -------
        DataFrame
            Columns estimate, std_error, conf_low, conf_high; one row a row of ``X``. They hold if
            the model of beta(X) is right.
        """
        design = self._effect_matrix(X)
        check_level(level)
        value = design @ np.asarray(self.effect_.estimate)
        variance = np.einsum("ij,jk,ik->i", design, np.asarray(self.effect_.vcov), design)
        half = -ndtri((1.0 - level) / 2.0) * np.sqrt(np.maximum(variance, 0.0))
        return pd.DataFrame(
            {
                "estimate": value,
                "std_error": np.sqrt(np.maximum(variance, 0.0)),
                "conf_low": value - half,
                "conf_high": value + half,
            }
        )

    def augment(self, X: Any, y: Any = None) -> pd.DataFrame:
        """Rows with the conditional effect.

        Parameters
        ----------
        X : array or frame
            Covariates, or the raw frame passed to ``fit``.
        y : None
            Not used: an effect has no residual.

        Returns
        -------
        DataFrame
            The columns of ``X`` with ``.fitted``, the conditional effect, and ``.se_fit``.
        """
        if y is not None:
            raise ParameterError("The fitted value is an effect, not an outcome: leave y out.")
        found = self.predict_interval(X)
        _, frame = rows_frame(X)
        frame[".fitted"] = found["estimate"].to_numpy()
        frame[".se_fit"] = found["std_error"].to_numpy()
        return frame

    def score_confint(self, level: float = 0.95) -> pd.DataFrame:
        """Score set of the overlap effect, right however weak the heteroscedasticity.

        Parameters
        ----------
        level : float, default=0.95
            Confidence level.

        Returns
        -------
        DataFrame
            Columns conf_low and conf_high, one row an interval: two for the complement of an
            interval, and (-inf, inf) when every value is compatible with the data.
        """
        check_is_fitted(self, "result_")
        check_level(level)
        return score_set(self._overlap_moments, level).frame()

    def test_exclusion(self, kind: Literal["direct", "difference"] = "direct") -> WaldTest:
        """Test that the instrument acts on the outcome through the exposure only.

        Parameters
        ----------
        kind : {"direct", "difference"}, default="direct"
            The mean direct effect of Z is zero; or the effect that imposes exclusion equals the
            one that does not (Hausman 1978).

        Returns
        -------
        WaldTest
        """
        check_is_fitted(self, "result_")
        if kind not in ("direct", "difference"):
            raise ParameterError(f"kind must be 'direct' or 'difference', got {kind!r}.")
        if kind == "direct":
            return self._zero_test("direct", words.DIRECT)
        part = getattr(self, "exclusion_difference_", None)
        if part is None:
            raise ParameterError(
                "There is no effect with exclusion imposed to compare with: it needs "
                "estimand='ate' and an instrument that moves the mean of the exposure everywhere."
            )
        label = "ATE with exclusion imposed - ATE"
        result = single(label, part.estimate, part.std_error**2, self.result_.n_obs)
        return result.wald_test(np.eye(1))

    def test_confounding(self) -> WaldTest:
        """Test that there is no unmeasured confounding on average, without assuming exclusion.

        Returns
        -------
        WaldTest
        """
        return self._zero_test("confounding", words.CONFOUNDING)

    def _zero_test(self, key: str, name: str) -> WaldTest:
        check_is_fitted(self, "result_")
        names = list(self.result_.names)
        if name not in names:
            why = (
                "the exposure is constant for one value of Z, so that it is zero by assumption"
                if self.result_.diagnostics.get("one_sided") and key == "confounding"
                else "it needs estimand='ate' and a 0/1 instrument"
            )
            raise ParameterError(f"This fit has no {name}: {why}.")
        return self.result_.wald_test(np.eye(len(names))[names.index(name)])

    def test_heterogeneity(self) -> WaldTest:
        """Test that the conditional effect does not depend on the covariates.

        Returns
        -------
        WaldTest
        """
        check_is_fitted(self, "result_")
        if self.coef_.size == 0:
            raise ParameterError(
                "The effect model is a constant. Use effect_model='linear' and covariates."
            )
        return self.effect_.wald_test()
