"""What the ordinal classifiers share: intake, thresholds and slopes, predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from scipy import sparse, stats
from sklearn.base import ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from robuststat._core.columns import Terms
from robuststat._core.data import RoleData, read_data
from robuststat._core.design import ArrayDesign, new_design_matrix
from robuststat._core.errors import DataError, ParameterError
from robuststat._core.formula import INTERCEPT, FormulaDesign
from robuststat._core.params import Check, is_bool, one_of, optional
from robuststat._core.roles import RoleReader
from robuststat._core.table import as_table, rows_frame, to_float
from robuststat._core.types import Array
from robuststat._results.tables import check_level
from robuststat.base import InferenceEstimator
from robuststat.ordinal._links import get_link
from robuststat.ordinal._predict import (
    CROSSING_RULES,
    class_probabilities,
    crossing_rows,
    cumulative,
    log_probabilities,
    warn_crossing,
)
from robuststat.ordinal._response import Response, read_response

# Probabilities below this count as this much in scores, as in the selection of the penalty.
SCORE_FLOOR = 1e-10


def is_categories(value: Any) -> str | None:
    """Accept a list of at least two classes."""
    fine = isinstance(value, (list, tuple, np.ndarray)) and len(value) >= 2
    return None if fine else "a list of the classes from lowest to highest"


def read_rows(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    formula: str | None = None,
    sample_weight: Any = None,
    clusters: Any = None,
    offset: Any = None,
    missing: str | None = None,
) -> RoleData:
    """Read the arguments of ``fit``; the design has no column of ones, thresholds replace it.

    Parameters
    ----------
    estimator : estimator
        Receives ``n_features_in_`` and ``feature_names_in_``.
    X, y, sample_weight, clusters, offset
        As passed to ``fit``.
    formula, missing : str or None
        Options of the estimator.

    Returns
    -------
    RoleData
        ``y`` is a Series, an array, or an array (n, K) of counts; ``X`` may be a CSC matrix.
    """
    is_sparse = sparse.issparse(X)
    if is_sparse and formula is not None:
        raise ParameterError("formula= needs a data frame with named columns, not a sparse matrix.")
    data = read_data(
        estimator,
        X,
        y,
        roles={"offset": offset},
        sample_weight=sample_weight,
        clusters=clusters,
        outcome_kind="ordered",
        several_outcomes=True,
        # With an intercept categories keep a reference level; it is taken away below.
        terms=Terms(formula=formula, fit_intercept=not is_sparse),
        missing=missing,
    )
    return data if is_sparse else _without_intercept(data)


def _without_intercept(data: RoleData) -> RoleData:
    if INTERCEPT not in data.names:
        raise ParameterError(
            "The formula has no intercept ('- 1' or '+ 0'), but ordinal models have one threshold "
            "between every two classes. Remove that term."
        )
    design = data.design
    if isinstance(design, FormulaDesign):
        bare: Any = design.without_intercept()
        matrix = bare.without_skipped(data.X)
    else:
        assert isinstance(design, ArrayDesign)
        bare = ArrayDesign(design.columns, design.columns, False)
        matrix = np.ascontiguousarray(data.X[:, 1:])
    return replace(data, X=matrix, names=bare.names, design=bare)


class OrdinalEstimator(ClassifierMixin, InferenceEstimator):
    """Predictions of a classifier with thresholds ``intercept_`` (q,) and slopes ``coef_`` (q, p).

    Subclasses fit, set ``classes_ intercept_ coef_ design_`` in the clm sign on the raw scale, and
    may override ``_boundary_inference``, ``_probabilities`` and ``_link_name``.

    Attributes
    ----------
    classes_ : ndarray of shape (K,)
        Labels, lowest first.
    """

    _parameter_checks: ClassVar[Mapping[str, Check]] = {
        "categories": optional(is_categories),
        "drop_empty": is_bool,
        "on_crossing": one_of(*CROSSING_RULES),
        "rare_class": one_of("last", "first"),
        "missing": optional(one_of("raise", "drop")),
    }

    classes_: Any
    coef_: Array
    intercept_: Any

    def _read_response(self, data: RoleData) -> Response:
        refuse = getattr(self, "_refuse_unordered", None)
        # Columns of an array have no names of their own: their classes are 1, 2, ..., K.
        unnamed = tuple(f"y{j + 1}" for j in range(len(data.outcomes)))
        return read_response(
            data.y,
            weights=data.weights,
            categories=getattr(self, "categories", None),
            drop_empty=getattr(self, "drop_empty", False),
            name=data.outcome,
            columns=() if data.outcomes == unnamed else data.outcomes,
            refuse_unordered=refuse,
        )

    def _link_name(self) -> str:
        return str(getattr(self, "link", "logit"))

    def _rule(self) -> str:
        return str(getattr(self, "on_crossing", "isotonic"))

    def _boundary_inference(self, k: int) -> tuple[Array, Array]:
        """Estimate and variance of (intercept, slopes) of boundary k in the clm sign: (1+p,)."""
        raise ParameterError(f"This {type(self).__name__} has no intervals. Fit with inference.")

    def _boundaries(self, X: Any, offset: Any = None) -> Array:
        """Linear predictors eta_k of P(y <= k), of shape (n, q)."""
        check_is_fitted(self, "result_")
        design = new_design_matrix(self, self.design_, X)
        return self._boundaries_of(design, offset)

    def _boundaries_of(self, design: Any, offset: Any = None) -> Array:
        eta: Array = np.asarray(self.intercept_) - np.asarray(design @ self.coef_.T)
        return eta if offset is None else eta + _offset(offset, len(eta))[:, None]

    def _checked_boundaries(self, X: Any, offset: Any) -> Array:
        eta = self._boundaries(X, offset)
        if self._rule() != "raise":
            warn_crossing(eta, self._rule())
        return eta

    def _probabilities(self, eta: Array) -> Array:
        return class_probabilities(eta, get_link(self._link_name()), self._rule())

    def _log_probabilities(self, eta: Array) -> Array:
        return log_probabilities(eta, get_link(self._link_name()), self._rule())

    def _cumulative(self, eta: Array) -> Array:
        return cumulative(eta, get_link(self._link_name()), self._rule())

    def decision_function(self, X: Any, offset: Any = None) -> Array:
        """Linear predictors of the boundaries.

        Parameters
        ----------
        X : array or frame of shape (n, p)
            Covariates.
        offset : array of shape (n,), optional
            Added to every eta_k.

        Returns
        -------
        ndarray of shape (n, K - 1)
            eta_k = intercept_[k] - coef_[k] @ x, so that P(y <= k) = F(eta_k). With two classes
            shape (n,) and the opposite sign, as scikit-learn expects: positive is the higher class.
        """
        eta = self._boundaries(X, offset)
        return -eta[:, 0] if eta.shape[1] == 1 else eta

    def predict_proba(self, X: Any, offset: Any = None) -> Array:
        """Class probabilities, of shape (n, K), in the order of ``classes_``.

        Rows whose boundaries cross follow ``on_crossing``; a warning counts them.
        """
        return self._probabilities(self._checked_boundaries(X, offset))

    def predict_log_proba(self, X: Any, offset: Any = None) -> Array:
        """Logarithms of ``predict_proba``, computed without loss in the tails."""
        return self._log_probabilities(self._checked_boundaries(X, offset))

    def predict_cumulative(self, X: Any, offset: Any = None) -> Array:
        """P(y <= k) for each boundary, of shape (n, K - 1)."""
        return self._cumulative(self._checked_boundaries(X, offset))

    def predict(self, X: Any, offset: Any = None) -> Any:
        """Most probable class of each row, of shape (n,)."""
        numbers = self.predict_proba(X, offset).argmax(axis=1)
        return self.classes_[numbers]

    def predict_median(self, X: Any, offset: Any = None) -> Any:
        """Lowest class whose cumulative probability reaches one half, of shape (n,)."""
        below = self.predict_cumulative(X, offset) < 0.5
        return self.classes_[below.sum(axis=1)]

    def predict_expected(
        self, X: Any, offset: Any = None, *, scores: Sequence[float] | None = None
    ) -> Array:
        """Mean class score under the fitted probabilities.

        Parameters
        ----------
        X : array or frame of shape (n, p)
            Covariates.
        offset : array of shape (n,), optional
            Added to every eta_k.
        scores : sequence of K floats, optional
            Value of each class; default 1, 2, ..., K.

        Returns
        -------
        ndarray of shape (n,)
        """
        K = len(self.classes_)
        values = np.arange(1.0, K + 1.0) if scores is None else to_float(scores, "scores")
        if values.shape != (K,):
            raise ParameterError(f"scores must hold {K} numbers, one a class; got {scores!r}.")
        return np.asarray(self.predict_proba(X, offset) @ values)

    def predict_rare(
        self, X: Any, return_ci: bool = False, level: float = 0.95, offset: Any = None
    ) -> Any:
        """Probability of the rare class (the last, or the first with ``rare_class="first"``).

        Parameters
        ----------
        X : array or frame of shape (n, p)
            Covariates.
        return_ci : bool, default False
            Also return limits of its confidence interval: a Wald interval of the linear predictor,
            mapped by F, so that it stays inside [0, 1].
        level : float, default 0.95
            Confidence level.
        offset : array of shape (n,), optional
            Added to every eta_k.

        Returns
        -------
        ndarray of shape (n,), or tuple of three
            Probability, lower limit, upper limit. The probability is that of the boundary itself,
            whatever ``on_crossing`` does to classes in between.
        """
        check_is_fitted(self, "result_")
        check_level(level)
        link, first = get_link(self._link_name()), self._rare_first()
        tail = link.cdf if first else link.sf
        k = 0 if first else len(self.classes_) - 2
        design = new_design_matrix(self, self.design_, X)
        eta = self._boundaries_of(design, offset)[:, k]
        if self._rule() == "raise":
            self._probabilities(self._boundaries_of(design, offset))
        risk = np.asarray(tail(eta))
        if not return_ci:
            return risk
        centre, width = self._boundary_interval(design, k, level)
        if offset is not None:
            centre = centre + _offset(offset, len(eta))
        limits = np.sort(np.column_stack([tail(centre - width), tail(centre + width)]), axis=1)
        return risk, limits[:, 0], limits[:, 1]

    def _boundary_interval(self, design: Any, k: int, level: float) -> tuple[Array, Array]:
        """Centre and half-width of the interval of eta_k, each (n,)."""
        theta, vcov = self._boundary_inference(k)
        dense = design.toarray() if hasattr(design, "toarray") else design
        rows = np.hstack([np.ones((dense.shape[0], 1)), -dense])
        variance = np.einsum("ij,jk,ik->i", rows, vcov, rows)
        width = stats.norm.ppf(0.5 + level / 2.0) * np.sqrt(np.maximum(variance, 0.0))
        return rows @ theta, width

    def _rare_first(self) -> bool:
        return getattr(self, "rare_class", "last") == "first"

    def count_crossings(self, X: Any, offset: Any = None) -> int:
        """Count rows of X in which fitted boundaries cross (a class probability is negative)."""
        return int(crossing_rows(self._boundaries(X, offset)).sum())

    def _fitted_errors(self, design: Any, offset: Any) -> Array | None:
        """Return standard errors of class probabilities, (n, K), where the class has them."""
        return None

    def augment(self, X: Any, y: Any = None, offset: Any = None) -> pd.DataFrame:
        """Rows with fitted class probabilities.

        Parameters
        ----------
        X : array or frame of shape (n, p)
            Rows with the covariates of the model.
        y : array of shape (n,) or str, optional
            Classes, for residuals; a column name when X is a frame.
        offset : array of shape (n,), optional
            Added to every eta_k.

        Returns
        -------
        DataFrame
            The columns of ``X``, and for each class c ``.fitted[c]`` (probability), with ``y``
            ``.resid[c]`` (1{y = c} minus the probability), and for :class:`OrdinalClassifier`
            ``.se_fit[c]`` (standard error of the probability by the delta method).
        """
        check_is_fitted(self, "result_")
        design = new_design_matrix(self, self.design_, X)
        table, frame = rows_frame(X)
        values = None if y is None else np.asarray(self._new_outcome(table, len(frame), y))
        fitted = self._probabilities(self._boundaries_of(design, offset))
        errors = self._fitted_errors(design, offset)
        for code, label in enumerate(self.classes_.tolist()):
            frame[f".fitted[{label}]"] = fitted[:, code]
            if errors is not None:
                frame[f".se_fit[{label}]"] = errors[:, code]
            if values is not None:
                frame[f".resid[{label}]"] = (values == label).astype(float) - fitted[:, code]
        return frame

    def score(self, X: Any, y: Any, sample_weight: Any = None, offset: Any = None) -> float:
        """Mean log-likelihood of new rows; higher is better.

        Parameters
        ----------
        X : array or frame of shape (n, p)
            Covariates.
        y : array of shape (n,)
            Classes.
        sample_weight : array of shape (n,), optional
            Weights of the rows.
        offset : array of shape (n,), optional
            Added to every eta_k.

        Returns
        -------
        float
            Zero probabilities of crossing boundaries count as 1e-10.
        """
        eta = self._checked_boundaries(X, offset)
        reader = RoleReader(as_table(X), len(eta))
        if np.ndim(y) != 2 or np.shape(y)[1] == 1:
            y = reader.vector("y", y)
        elif len(y) != len(eta):
            raise DataError(f"y has {len(y)} rows but X has {len(eta)}.")
        w = None if sample_weight is None else reader.numeric("sample_weight", sample_weight)
        if w is not None and not ((w >= 0).all() and np.isfinite(w).all() and w.any()):
            raise DataError("sample_weight must be finite, >= 0 and not zero for every row.")
        # A part of the data need not hold every class.
        response = read_response(
            y, weights=w, categories=list(self.classes_), drop_empty=True, part=True
        )
        place = {value: j for j, value in enumerate(self.classes_.tolist())}
        codes = np.array([place[v] for v in response.classes.tolist()])[response.codes]
        log_p = self._log_probabilities(eta)
        log_p[crossing_rows(eta)] = np.maximum(log_p[crossing_rows(eta)], np.log(SCORE_FLOOR))
        values = log_p[response.rows, codes]
        return float(np.average(values, weights=response.weights))


def _offset(offset: Any, n_rows: int) -> Array:
    values = to_float(offset, "offset")
    if values.shape != (n_rows,) or not np.isfinite(values).all():
        raise DataError(
            f"offset must be {n_rows} finite numbers, one a row; got shape {values.shape}."
        )
    return values
