"""What the private regressions share: reading rows, coefficients, prediction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from sklearn.utils.validation import check_is_fitted

from robuststat._core.errors import DataError, ParameterError, warn
from robuststat._core.params import Check
from robuststat._core.types import Array
from robuststat.private._base import PrivateEstimator
from robuststat.private._intake import read_column, read_matrix
from robuststat.private._multivariate import column_names


class PrivateRegression(PrivateEstimator):
    """Release of an intercept and slopes.

    Attributes
    ----------
    coef_ : ndarray of shape (p,)
        Slopes.
    intercept_ : float
        Intercept.
    estimate_ : ndarray of shape (1 + p,)
        Intercept and slopes.
    """

    _parameter_checks: ClassVar[Mapping[str, Check]] = {}

    nan_policy: Any
    level: float
    coef_: Array
    intercept_: float
    feature_names_in_: tuple[str, ...]
    n_features_in_: int
    n_: int
    conf_int_flag_: str

    def _read(self, X: Any, y: Any) -> tuple[Array, Array, tuple[str, ...]]:
        """Rows and outcomes; NaN stay under ``nan_policy="clip_mid"``."""
        owner = type(self).__name__
        if y is None:
            raise ParameterError(f"{owner}.fit needs y, one outcome a row.")
        table = read_matrix(X, owner, nan_policy=self.nan_policy, middle=np.nan)
        outcome = read_column(y, owner, nan_policy=self.nan_policy, middle=np.nan, name="y")
        if len(table) != len(outcome):
            raise DataError(
                f"{owner}: X has {len(table):,} rows but y has {len(outcome):,}. Pass one outcome "
                "a row."
            )
        return table, outcome, column_names(X, table.shape[1])

    def _keep_coefficients(
        self, estimate: Any, interval: Any, names: tuple[str, ...], n: int, flag: str = ""
    ) -> None:
        """Store released coefficients, intercept first."""
        self.estimate_ = np.asarray(estimate, dtype=np.float64)
        self.intercept_, self.coef_ = float(self.estimate_[0]), self.estimate_[1:].copy()
        self.conf_int_ = None if interval is None else np.asarray(interval, dtype=np.float64)
        self.feature_names_in_, self.n_features_in_, self.n_ = names, len(names), n
        self.conf_int_flag_ = flag
        if flag:
            warn(f"{type(self).__name__}: {flag}.")

    def predict(self, X: Any) -> Array:
        """Intercept plus slopes times X; uses the released numbers only.

        Parameters
        ----------
        X : array of shape (n, p), or (n,) for one regressor, or frame
            Rows to predict for.

        Returns
        -------
        ndarray of shape (n,)

        Raises
        ------
        DataError
            For another number of columns than in ``fit``.
        """
        check_is_fitted(self, "coef_")
        owner = f"{type(self).__name__}.predict"
        table = read_matrix(X, owner, nan_policy="raise", middle=0.0)
        if table.shape[1] != self.n_features_in_:
            raise DataError(
                f"{owner}: X has {table.shape[1]} columns, but the fit had {self.n_features_in_}."
            )
        return np.asarray(self.intercept_ + table @ self.coef_)

    def _terms(self) -> tuple[str, ...]:
        return ("(Intercept)", *self.feature_names_in_)

    def _notes(self) -> list[str]:
        return [self.conf_int_flag_] if self.conf_int_flag_ else []

    def _assumptions(self) -> list[str]:
        return ["bounds and options were chosen without looking at the data"]
