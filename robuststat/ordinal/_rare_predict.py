"""Predictions, intervals and calibration of a fitted rare-event model."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import stats
from scipy.special import expit
from sklearn.base import ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from robuststat._core.design import new_design_matrix
from robuststat._core.errors import DataError
from robuststat._core.table import to_float
from robuststat._core.types import Array
from robuststat._results.tables import check_level
from robuststat.base import InferenceEstimator
from robuststat.ordinal._calibration import Calibration, calibration


class RareEventPredictions(ClassifierMixin, InferenceEstimator):
    """What follows from coefficients, variance and ``event_``; subclasses fit.

    Attributes
    ----------
    classes_ : ndarray of shape (2,)
        Sorted classes.
    event_ : object
        The class whose log-odds are modelled.
    """

    classes_: Any
    event_: Any
    rare_class: str

    def _eta_of(self, X: Any, offset: Any) -> tuple[Array, Array]:
        """Design and log-odds of the event in new rows."""
        check_is_fitted(self, "result_")
        design = new_design_matrix(self, self.design_, X)
        eta = design @ np.asarray(self.result_.estimate)
        if offset is not None:
            values = to_float(offset, "offset")
            if values.shape != eta.shape or not np.isfinite(values).all():
                raise DataError(
                    f"offset must be {len(eta)} finite numbers, one a row; got shape "
                    f"{values.shape}."
                )
            eta = eta + values
        return design, eta

    def decision_function(self, X: Any, offset: Any = None) -> Array:
        """Log-odds of the second class.

        Parameters
        ----------
        X : array or frame of shape (n, p)
            Covariates.
        offset : array of shape (n,), optional
            Added to the log-odds of the event.

        Returns
        -------
        ndarray of shape (n,)
        """
        eta = self._eta_of(X, offset)[1]
        return eta if self.rare_class == "last" else -eta

    def predict_proba(self, X: Any, offset: Any = None) -> Array:
        """Class probabilities of new rows, of shape (n, 2), in the order of ``classes_``."""
        eta = self.decision_function(X, offset)
        return np.column_stack([expit(-eta), expit(eta)])

    def predict(self, X: Any, offset: Any = None) -> Any:
        """More probable class of each row, of shape (n,): rarely the rare one."""
        second = (self.decision_function(X, offset) > 0).astype(int)
        return self.classes_[second]

    def predict_rare(
        self, X: Any, return_ci: bool = False, level: float = 0.95, offset: Any = None
    ) -> Any:
        """Probability of the event.

        Parameters
        ----------
        X : array or frame of shape (n, p)
            Covariates.
        return_ci : bool, default=False
            Also return limits of its confidence interval: a Wald interval of the log-odds, mapped
            to probabilities.
        level : float, default=0.95
            Confidence level.
        offset : array of shape (n,), optional
            Added to the log-odds.

        Returns
        -------
        ndarray of shape (n,), or tuple of three
            Probability, lower limit, upper limit.
        """
        check_level(level)
        design, eta = self._eta_of(X, offset)
        risk = np.asarray(expit(eta))
        if not return_ci:
            return risk
        variance = np.einsum("ij,jk,ik->i", design, np.asarray(self.result_.vcov), design)
        half = stats.t.ppf(0.5 + level / 2, self.result_.df) * np.sqrt(np.maximum(variance, 0.0))
        return risk, np.asarray(expit(eta - half)), np.asarray(expit(eta + half))

    def calibration(
        self, X: Any, y: Any, bins: int = 10, *, offset: Any = None, sample_weight: Any = None
    ) -> Calibration:
        """Compare predicted probabilities of the event with new rows.

        Parameters
        ----------
        X : array or frame of shape (n, p)
            Covariates, better of rows that were not used in ``fit``.
        y : array of shape (n,)
            Classes.
        bins : int, default=10
            Bins of equally many rows.
        offset : array of shape (n,), optional
            Added to the log-odds of the event.
        sample_weight : array of shape (n,), optional
            Weights.

        Returns
        -------
        Calibration
            See :func:`robuststat.calibration`.
        """
        risk = self.predict_rare(X, offset=offset)
        event = self._outcome_numbers(y)
        return calibration(risk, event, bins, sample_weight=sample_weight)

    def odds_ratios(self, level: float = 0.95) -> pd.DataFrame:
        """Odds ratios with their intervals: ``tidy`` with exponentiated estimates."""
        return self.tidy(level=level, exponentiate=True)

    def confint(
        self,
        level: float = 0.95,
        kind: Literal["pointwise", "simultaneous", "wald"] = "pointwise",
    ) -> pd.DataFrame:
        """Confidence intervals.

        Parameters
        ----------
        level : float, default=0.95
            Confidence level.
        kind : {"pointwise", "simultaneous", "wald"}, default="pointwise"
            "pointwise" follows ``intervals``; "wald" is estimate plus and minus standard errors;
            "simultaneous" a band over all coefficients.

        Returns
        -------
        DataFrame
            ``conf_low conf_high``, indexed by term.
        """
        check_is_fitted(self, "result_")
        if kind == "wald" and "profile" not in self.result_.diagnostics:
            kind = "pointwise"
        return self.result_.confint(level=level, kind=kind)  # type: ignore[arg-type]

    def _mean_and_slope(self, eta: Array) -> tuple[Array, Array]:
        p = np.asarray(expit(eta))
        return p, p * (1.0 - p)

    def _outcome_numbers(self, values: Any) -> Array:
        series = pd.Series(np.asarray(values, dtype=object))
        known = series.isin(list(self.classes_)) | series.isna()
        if not known.all():
            raise DataError(
                f"y holds {series[~known].iloc[0]!r}, which is none of the classes "
                f"{list(self.classes_)}."
            )
        numbers: Array = (series == self.event_).to_numpy(dtype=np.float64)
        numbers[series.isna().to_numpy()] = np.nan
        return numbers
