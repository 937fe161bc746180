"""Prediction functions g of the predicted columns: named learners and their cross-fitting (2.2)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from robuststat._core.errors import DataError, ParameterError
from robuststat._core.table import to_float
from robuststat._core.types import Array, BoolArray, IntArray

LEARNER_NAMES = ("auto", "passthrough", "ols", "logit")

# Below this many labels a boosted ensemble has too little to learn from.
_BOOSTING_LABELS = 500


def resolve_learner(learner: Any, target: Array, n_labeled: int) -> Any:
    """Scikit-learn estimator that ``learner`` stands for.

    Parameters
    ----------
    learner : str or estimator
        "auto", "ols", "logit", or an estimator that is returned as it is.
    target : ndarray of shape (n_labeled,)
        Gold values of the predicted column; 0/1 values count as classes for "auto".
    n_labeled : int
        Number of labels.
    """
    if not isinstance(learner, str):
        return learner
    binary = bool(np.isin(target, (0.0, 1.0)).all()) and np.unique(target).size == 2
    if learner == "ols":
        return LinearRegression()
    if learner == "logit":
        # Practically unpenalised on standardised inputs, yet finite under separation.
        return make_pipeline(StandardScaler(), LogisticRegression(C=1e6, max_iter=1000))
    if n_labeled >= _BOOSTING_LABELS:
        boosting = HistGradientBoostingClassifier if binary else HistGradientBoostingRegressor
        # Small trees and steps: a few hundred to a few thousand labels carry main effects and
        # low-order interactions, not 31-leaf trees.
        return boosting(max_iter=100, learning_rate=0.06, max_leaf_nodes=8)
    if binary:
        return make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=1000))
    return make_pipeline(StandardScaler(), RidgeCV(alphas=np.logspace(-3, 3, 13)))


def learner_words(learner: Any) -> str:
    """Name of a learner for the summary."""
    steps = getattr(learner, "steps", None)
    return type(steps[-1][1] if steps else learner).__name__


def input_matrix(
    surrogates: dict[str, pd.DataFrame], features: pd.DataFrame | None, classes: Any
) -> Array:
    """Build the inputs (n, q) of g: distinct surrogates, then features, categories one-hot."""
    columns: dict[str, pd.Series] = {}
    for frame in surrogates.values():
        for name, column in frame.items():
            columns.setdefault(str(name), column)
    if features is not None:
        for name, column in features.items():
            columns.setdefault(str(name), column)
    parts = [_numbers(column, classes) for column in columns.values()]
    for name, part in zip(columns, parts, strict=True):
        if np.isinf(part).any():
            raise DataError(
                f"The input {name!r} of the learner holds infinity (inf) in {np.isinf(part).sum()} "
                "rows. Recode or remove them."
            )
    return np.ascontiguousarray(np.column_stack(parts))


def _numbers(column: pd.Series, classes: Any) -> Array:
    if pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
        return to_float(column, str(column.name))[:, None]
    as_label = label_numbers(column, classes)
    if as_label is not None:
        return as_label[:, None]
    return pd.get_dummies(column).to_numpy(dtype=np.float64)


def label_numbers(column: pd.Series, classes: Any) -> Array | None:
    """1 for the second of two class labels, 0 for the first; None when others occur."""
    if classes is None or not column.isin(list(classes)).all():
        return None
    return np.asarray(column == classes[1], dtype=np.float64)


def passthrough_prediction(name: str, frame: pd.DataFrame, classes: Any) -> Array:
    """Take the single surrogate of a column as its prediction.

    Raises
    ------
    ParameterError
        When there is not exactly one surrogate.
    DataError
        When it holds something other than numbers or the two class labels.
    """
    if frame.shape[1] != 1:
        raise ParameterError(
            f"learner='passthrough' uses one surrogate as it is, but {name!r} has "
            f"{frame.shape[1]} ({', '.join(map(str, frame.columns))}). Choose one, or a learner "
            "that combines them."
        )
    column = frame.iloc[:, 0]
    as_label = None
    if not pd.api.types.is_numeric_dtype(column):
        as_label = label_numbers(column, classes)
    if as_label is not None:
        return as_label
    values = to_float(column, f"prediction of {name!r}")
    if np.isinf(values).any():
        raise DataError(
            f"The prediction of {name!r} holds infinity (inf) in {np.isinf(values).sum()} rows. "
            "Recode or remove them."
        )
    return values


def training_strata(labeled: BoolArray, targets: dict[str, Array]) -> IntArray:
    """Codes that spread labelled rows, and the classes of binary columns, over folds."""
    codes = np.zeros(labeled.size, dtype=np.int64)
    codes[labeled] = 1
    for target in targets.values():
        gold = target[labeled]
        if np.isin(gold, (0.0, 1.0)).all():
            codes[labeled] = 2 * codes[labeled] + gold.astype(np.int64)
    return codes
