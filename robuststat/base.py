"""Base class of every estimator: configuration in, one result object out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from robuststat._core.columns import outcome_columns
from robuststat._core.data import RoleData
from robuststat._core.design import new_design_matrix
from robuststat._core.errors import DataError, ParameterError, RoleError
from robuststat._core.formula import INTERCEPT
from robuststat._core.params import Check, check_parameters
from robuststat._core.roles import RoleReader
from robuststat._core.table import rows_frame, to_codes, to_float
from robuststat._core.types import Array
from robuststat._core.vcov import meat, small_sample
from robuststat.result import InferenceResult, WaldTest


class InferenceEstimator(BaseEstimator):
    """Scikit-learn estimator whose fit ends in an :class:`~robuststat.result.InferenceResult`.

    Subclasses list their parameter checks in ``_parameter_checks``, read data with
    ``read_data``, compute with module-level functions, and call ``_store``. Tables, intervals
    and tests are answered by the result; nothing of that is written per estimator.

    Attributes
    ----------
    result_ : InferenceResult
        Estimates, variance, and what is to be known about them.
    coef_ : ndarray
        Coefficients without the intercept.
    intercept_ : float or ndarray
        Intercept(s); 0.0 when the model has none.
    vcov_ : ndarray of shape (k, k)
        Variance of all parameters, in the order of ``result_.names``.
    std_error_ : ndarray of shape (k,)
        Standard errors in the same order.
    """

    _parameter_checks: ClassVar[Mapping[str, Check]] = {}

    result_: InferenceResult

    def _check_parameters(self) -> None:
        check_parameters(type(self).__name__, self._parameter_checks, self.get_params(deep=False))

    def _missing_role(self, role: str, X: Array, y: Any) -> Any:
        """Raise that an obligatory role is missing; tests override this to invent one."""
        raise RoleError(
            f"{type(self).__name__}.fit needs {role}=. Pass an array of {X.shape[0]} values, or "
            "a column name when X is a data frame."
        )

    def fit_stream(self, source: Any, y: Any = None, **roles: Any) -> Self:
        """Refuse a source read in chunks; families whose estimates are sums over rows offer it.

        Parameters
        ----------
        source, y, **roles
            As for ``fit``.

        Raises
        ------
        ParameterError
            Always, where a class does not override this.
        """
        raise ParameterError(
            f"{type(self).__name__} needs all rows in memory and has no fit_stream. Read the "
            "source into a data frame and pass it to fit."
        )

    def _store(self, result: InferenceResult, data: RoleData | None) -> Self:
        self.result_ = result
        # Estimators of functions of a random input have no rows, hence no design.
        if data is not None:
            self.design_ = data.design
        names = list(result.names)
        position = names.index(INTERCEPT) if INTERCEPT in names else None
        estimate = np.array(result.estimate)
        self.intercept_: Any = 0.0 if position is None else float(estimate[position])
        self.coef_ = estimate if position is None else np.delete(estimate, position)
        self.vcov_ = np.array(result.vcov)
        self.std_error_ = np.array(result.std_error)
        self.converged_ = bool(result.diagnostics.get("converged", True))
        self.n_iter_ = int(result.diagnostics.get("n_iter", 1))
        return self

    def _call(self) -> str:
        """Return the constructor call with the parameters that differ from their defaults."""
        defaults = type(self)().get_params(deep=False)
        changed = [
            f"{name}={_written(value)}"
            for name, value in self.get_params(deep=False).items()
            if repr(value) != repr(defaults[name])
        ]
        words = ", ".join(" ".join(part.split()) for part in changed)
        return f"{type(self).__name__}({words if len(words) < 400 else words[:400] + ' ...'})"

    def _linear_predictor(self, X: Any) -> Array:
        check_is_fitted(self, "result_")
        return self._eta(new_design_matrix(self, self.design_, X))

    def _eta(self, design: Array) -> Array:
        """Linear predictor (n,), or (n, B) for coefficients in B blocks one after the other."""
        blocks = np.asarray(self.result_.estimate).reshape(-1, design.shape[1])
        return design @ (blocks[0] if len(blocks) == 1 else blocks.T)

    def _fitted_names(self) -> list[str]:
        """Outcome or class of each fitted column, where there are several."""
        return list(dict.fromkeys(self.result_.outcomes or ()))

    def summary(self, level: float = 0.95, **options: Any) -> Any:
        """Readable account of the fit; see :meth:`InferenceResult.summary`."""
        check_is_fitted(self, "result_")
        return self.result_.summary(level=level, **options)

    def tidy(
        self, conf_int: bool = True, level: float = 0.95, exponentiate: bool = False
    ) -> pd.DataFrame:
        """One row a term; see :meth:`InferenceResult.tidy`."""
        check_is_fitted(self, "result_")
        return self.result_.tidy(conf_int=conf_int, level=level, exponentiate=exponentiate)

    def glance(self) -> pd.DataFrame:
        """One row for the whole fit; see :meth:`InferenceResult.glance`."""
        check_is_fitted(self, "result_")
        return self.result_.glance()

    def confint(
        self, level: float = 0.95, kind: Literal["pointwise", "simultaneous"] = "pointwise"
    ) -> pd.DataFrame:
        """Confidence intervals; see :meth:`InferenceResult.confint`."""
        check_is_fitted(self, "result_")
        return self.result_.confint(level=level, kind=kind)

    def wald_test(self, R: Any = None, r: Any = 0) -> WaldTest:
        """Test linear restrictions; see :meth:`InferenceResult.wald_test`."""
        check_is_fitted(self, "result_")
        return self.result_.wald_test(R, r)

    def contrast(self, matrix: Any, names: Any = None) -> InferenceResult:
        """Linear combinations of coefficients; see :meth:`InferenceResult.contrast`."""
        check_is_fitted(self, "result_")
        return self.result_.contrast(matrix, names=names)

    def plot(self, **options: Any) -> Any:
        """Coefficient plot; see :meth:`InferenceResult.plot`."""
        check_is_fitted(self, "result_")
        return self.result_.plot(**options)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able content of the result; see :meth:`InferenceResult.to_dict`."""
        check_is_fitted(self, "result_")
        return self.result_.to_dict()

    def augment(self, X: Any, y: Any = None) -> pd.DataFrame:
        """Rows with fitted values.

        Parameters
        ----------
        X : array or frame
            Rows with the covariates of the model.
        y : array of shape (n,) or str, optional
            Outcome, for residuals; a column name when X is a frame.

        Returns
        -------
        DataFrame
            The columns of ``X`` and ``.fitted`` (unit of the outcome), ``.se_fit`` (its standard
            error), and ``.resid`` when ``y`` is given; one of each for every outcome or class,
            such as ``.fitted[neutral]``, where there are several.
        """
        check_is_fitted(self, "result_")
        design = new_design_matrix(self, self.design_, X)
        eta = self._eta(design)
        fitted, slope = self._mean_and_slope(eta)
        variance = _fitted_variance(design, np.asarray(self.result_.vcov), slope)
        table, frame = rows_frame(X)
        columns = {".fitted": fitted, ".se_fit": np.sqrt(np.maximum(variance, 0.0))}
        if y is not None:
            columns[".resid"] = self._outcome_numbers(self._new_outcome(table, len(frame), y))
            columns[".resid"] = columns[".resid"] - fitted
        for name, values in columns.items():
            if values.ndim == 1:
                frame[name] = values
            else:
                for j, part in enumerate(self._fitted_names()):
                    frame[f"{name}[{part}]"] = values[:, j]
        return frame

    def _new_outcome(self, table: Any, n_rows: int, y: Any) -> Any:
        """Outcome values of new rows, one column an outcome where there are several."""
        several = outcome_columns(y, table)
        reader = RoleReader(table, n_rows)
        if several is None:
            return reader.vector("y", y)
        return np.column_stack([np.asarray(reader.vector("y", v)) for v in several.values()])

    def _outcome_numbers(self, values: Any) -> Array:
        """Outcome on the scale of the fitted values, NaN where missing."""
        return to_float(values, "y")

    def _mean_and_slope(self, eta: Array) -> tuple[Array, Array]:
        """Mean of the outcome and its derivative at a linear predictor.

        For eta (n, B) the derivative has shape (n, F, B): of F fitted columns in B predictors.
        """
        return eta, np.ones_like(eta) if eta.ndim == 1 else own_slopes(np.ones_like(eta))

    def refit_vcov(self, kind: str, clusters: Any = None) -> InferenceResult:
        """Return the result with another kind of standard errors, without fitting again.

        Over several repetitions of cross-fitting the influence values are averages; the spread
        between repetitions is then not in the new variance.

        Parameters
        ----------
        kind : {"HC0", "HC1", "CR0", "CR1"}
            Variance.
        clusters : array of shape (n,), optional
            Groups, for the CR kinds.

        Raises
        ------
        ParameterError
            When the fit did not keep its influence values, or kind and clusters do not fit.
        """
        check_is_fitted(self, "result_")
        influence = self.result_.influence
        if influence is None:
            raise ParameterError(
                "refit_vcov needs the influence of every row. Fit with keep_influence=True."
            )
        if self.result_.vcov_type not in ("HC0", "HC1", "CR0", "CR1"):
            raise ParameterError(
                f"The variance of this fit is of the kind {self.result_.vcov_type!r}; its "
                "influence values do not carry the others. Fit again."
            )
        if kind not in ("HC0", "HC1", "CR0", "CR1"):
            raise ParameterError(
                f"kind must be one of 'HC0', 'HC1', 'CR0', 'CR1'; got {kind!r}. Corrections by "
                "leverage need the rows: fit again."
            )
        codes = None
        n_clusters = None
        if clusters is not None:
            values = RoleReader(None, influence.shape[0]).vector("clusters", clusters)
            groups, missing = to_codes(values, "clusters")
            if missing.any():
                raise DataError(f"clusters has {int(missing.sum())} missing values. Fill them.")
            codes, n_clusters = groups.codes, len(groups.levels)
        if kind.startswith("CR") != (codes is not None):
            raise ParameterError(f"kind={kind!r} and clusters do not fit: pass clusters for CR.")
        n, k = influence.shape
        # Absorbed effects count; several outcomes have a small-sample factor of their own each.
        k = int(self.result_.diagnostics.get("n_params", k))
        small = small_sample(kind, n_obs=n, n_params=k, n_clusters=n_clusters)  # type: ignore[arg-type]
        vcov = small.factor * meat(influence, clusters=codes).matrix / n
        return replace(self.result_, vcov=vcov, vcov_type=kind, df=small.df, n_clusters=n_clusters)


def _written(value: Any) -> str:
    """Value of a parameter as one would write it: functions by name, not by address."""
    name = getattr(value, "__name__", "")
    return name if callable(value) and name and not isinstance(value, type) else repr(value)


def own_slopes(slopes: Array) -> Array:
    """Derive B fitted columns, each of its own predictor only: (n, B) becomes (n, B, B)."""
    return slopes[:, :, None] * np.eye(slopes.shape[1])


def _fitted_variance(design: Array, vcov: Array, slope: Array) -> Array:
    """Variance of fitted values of shape (n,) or (n, F) by the delta method."""
    if slope.ndim == 1:
        return np.asarray(slope**2 * np.einsum("ij,jk,ik->i", design, vcov, design))
    n_blocks, k = slope.shape[2], design.shape[1]
    parts = vcov.reshape(n_blocks, k, n_blocks, k)
    eta = np.einsum("ij,ajbk,ik->iab", design, parts, design, optimize=True)
    return np.asarray(np.einsum("ifa,iab,ifb->if", slope, eta, slope, optimize=True))
