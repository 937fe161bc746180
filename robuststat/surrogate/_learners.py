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
# Probabilities of classes may miss a total of one by their rounding.
_SHARES_TOL = 1e-6


def resolve_learner(learner: Any, target: Array, n_labeled: int) -> Any:
    """Scikit-learn estimator that ``learner`` stands for.

    Parameters
    ----------
    learner : str or estimator
        "auto", "ols", "logit", or an estimator that is returned as it is.
    target : ndarray of shape (n_labeled,) or (n_labeled, C)
        Gold values of the predicted column; 0/1 values and indicators count as classes for
        "auto".
    n_labeled : int
        Number of labels.
    """
    if not isinstance(learner, str):
        return learner
    binary = target.ndim == 2 or (
        bool(np.isin(target, (0.0, 1.0)).all()) and np.unique(target).size == 2
    )
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
    surrogates: dict[str, pd.DataFrame],
    features: pd.DataFrame | None,
    classes: dict[str, tuple[Any, ...]],
) -> Array:
    """Build the inputs (n, q) of g: distinct surrogates, then features, categories one-hot."""
    columns: dict[str, tuple[pd.Series, Any]] = {}
    for target, frame in surrogates.items():
        for name, column in frame.items():
            columns.setdefault(str(name), (column, classes.get(target)))
    if features is not None:
        for name, column in features.items():
            columns.setdefault(str(name), (column, None))
    parts = [_numbers(column, own) for column, own in columns.values()]
    for name, part in zip(columns, parts, strict=True):
        if np.isinf(part).any():
            raise DataError(
                f"The input {name!r} of the learner holds infinity (inf) in {np.isinf(part).sum()} "
                "rows. Recode or remove them."
            )
    return np.ascontiguousarray(np.column_stack(parts))


def _numbers(column: pd.Series, classes: Any) -> Array:
    if _is_number(column):
        return to_float(column, str(column.name))[:, None]
    as_label = label_numbers(column, classes)
    if as_label is not None:
        return as_label[:, None]
    return pd.get_dummies(column).to_numpy(dtype=np.float64)


def label_numbers(column: pd.Series, classes: Any) -> Array | None:
    """1 for the second of two class labels, 0 for the first; None when others occur."""
    if classes is None or len(classes) != 2 or not column.isin(list(classes)).all():
        return None
    return np.asarray(column == classes[1], dtype=np.float64)


def passthrough_prediction(name: str, frame: pd.DataFrame, classes: Any, *, ndim: int = 1) -> Array:
    """Take the single surrogate of a column as its prediction.

    For a column of two levels that is predicted by shares, ``ndim=2`` makes both of the
    probability of the second.

    Raises
    ------
    ParameterError
        When there is not exactly one surrogate.
    DataError
        When it holds something other than numbers or the two class labels.
    """
    if classes is not None and len(classes) > 2 and frame.shape[1] == len(classes):
        return _probabilities(name, frame, classes)
    if frame.shape[1] != 1:
        raise ParameterError(
            f"learner='passthrough' uses one surrogate as it is, but {name!r} has "
            f"{frame.shape[1]} ({', '.join(map(str, frame.columns))}). Choose one, or a learner "
            "that combines them."
        )
    column = frame.iloc[:, 0]
    if classes is not None and len(classes) > 2:
        return _indicators(name, column, classes)
    values = _one_number(name, column, classes)
    return values if ndim == 1 else np.column_stack([1.0 - values, values])


def _one_number(name: str, column: pd.Series, classes: Any) -> Array:
    """Surrogate as one number a row: the second of two labels counts as 1."""
    as_label = None
    if not pd.api.types.is_numeric_dtype(column):
        as_label = label_numbers(column, classes)
    if as_label is not None:
        return as_label
    if classes is not None and column.isin(list(classes)).any() and not _is_number(column):
        _refuse_unknown(name, column, classes)
    values = to_float(column, f"prediction of {name!r}")
    if np.isinf(values).any():
        raise DataError(
            f"The prediction of {name!r} holds infinity (inf) in {np.isinf(values).sum()} rows. "
            "Recode or remove them."
        )
    return values


def _is_number(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column)


def _indicators(name: str, column: pd.Series, classes: tuple[Any, ...]) -> Array:
    """Class labels of a surrogate as indicators (n, C)."""
    _refuse_unknown(name, column, classes)
    return np.column_stack([(column == value).to_numpy(dtype=np.float64) for value in classes])


def _refuse_unknown(name: str, column: pd.Series, classes: tuple[Any, ...]) -> None:
    """Refuse class labels that are not among the experts'."""
    unknown = column[~column.isin(list(classes))]
    if len(unknown):
        raise DataError(
            f"The surrogate of {name!r} holds {len(unknown)} values that no expert used (first: "
            f"{unknown.tolist()[0]!r}); the experts' classes are {', '.join(map(str, classes))}. "
            "Recode them, or use a learner."
        )


def holds_shares(frame: pd.DataFrame, classes: Any) -> bool:
    """Whether the columns are probabilities of more than two classes, and not labels as numbers."""
    if classes is None or len(classes) < 3 or frame.shape[1] != len(classes):
        return False
    if not all(pd.api.types.is_numeric_dtype(kind) for kind in frame.dtypes):
        return False
    total = frame.to_numpy(dtype=np.float64, na_value=np.nan).sum(axis=1)
    return bool((np.abs(total - 1.0) < _SHARES_TOL).all())


def _probabilities(name: str, frame: pd.DataFrame, classes: tuple[Any, ...]) -> Array:
    """One column of probabilities a class, by name where names are classes, else in order."""
    by_name = {str(column): column for column in frame.columns}
    if all(str(value) in by_name for value in classes):
        frame = frame[[by_name[str(value)] for value in classes]]
    shares = np.column_stack([to_float(frame[c], str(c)) for c in frame.columns])
    total = shares.sum(axis=1)
    negative = np.flatnonzero(shares.min(axis=1) < 0.0)
    if negative.size:
        raise DataError(
            f"The {len(classes)} columns predicted for {name!r} must be probabilities; in "
            f"{negative.size} rows one is negative (row {negative[0]}: "
            f"{shares[negative[0]].min():g})."
        )
    bad = np.flatnonzero(~(np.abs(total - 1.0) < _SHARES_TOL))
    if bad.size:
        raise DataError(
            f"The {len(classes)} columns predicted for {name!r} must be probabilities that add up "
            f"to 1; in {bad.size} rows they do not (row {bad[0]}: {total[bad[0]]:g})."
        )
    return shares


def training_strata(labeled: BoolArray, targets: dict[str, Array]) -> IntArray:
    """Codes that spread labelled rows, and the classes of binary columns, over folds."""
    codes = np.zeros(labeled.size, dtype=np.int64)
    codes[labeled] = 1
    for target in targets.values():
        gold = target[labeled]
        if gold.ndim == 2:
            codes[labeled] = gold.shape[1] * codes[labeled] + gold.argmax(axis=1)
        elif np.isin(gold, (0.0, 1.0)).all():
            codes[labeled] = 2 * codes[labeled] + gold.astype(np.int64)
    return codes
