"""Average marginal effects on class probabilities, by differences of predictions.

The effect of a column on P(y = k) is averaged over given rows; its derivative in the parameters
follows from the scores of the class probabilities, so that every family, scale effect and formula
is served by the same lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from robuststat._core.design import new_design_matrix
from robuststat._core.errors import DataError, ParameterError
from robuststat._core.formula import FormulaDesign
from robuststat._core.table import as_table, to_float
from robuststat._core.types import Array
from robuststat.ordinal._model import ModelFit
from robuststat.ordinal._uncertainty import probability_scores
from robuststat.result import InferenceResult

# Step of central differences, in standard deviations of a column.
_STEP = 1e-4


@dataclass(frozen=True, slots=True)
class _Change:
    """Two frames whose difference in probabilities, divided by ``length``, is an effect."""

    name: str
    low: pd.DataFrame
    high: pd.DataFrame
    length: float


def average_effects(
    estimator: Any,
    model: ModelFit,
    X: Any,
    *,
    variables: Sequence[str] | None,
    dummy: bool,
    at: dict[str, Any],
    sample_weight: Any,
    offset: Array | None,
) -> InferenceResult:
    """Average effects of columns of X on the probability of every class."""
    if not isinstance(dummy, bool | np.bool_):
        raise ParameterError(f"dummy must be True or False; got {dummy!r}.")
    design = estimator.design_
    frame = _frame(X, design.columns)
    unknown = [name for name in at if name not in frame]
    if unknown:
        raise ParameterError(f"at names {', '.join(unknown)}; X has {', '.join(frame.columns)}.")
    frame = frame.assign(**at)
    weights = _weights(sample_weight, len(frame))
    changes = _changes(frame, design, variables, dummy)
    effects, derivatives = [], []
    for change in changes:
        designs = [_matrix(estimator, part) for part in (change.low, change.high)]
        for code in range(len(model.classes)):
            (p0, d0), (p1, d1) = (
                probability_scores(model.structure, model.centre, part, code, offset)
                for part in designs
            )
            effects.append(weights @ (p1 - p0) / change.length)
            derivatives.append(weights @ (d1 - d0) / change.length)
    D = np.array(derivatives)
    K = len(model.classes)
    # Class after class, as the columns of predict_proba are.
    order = np.arange(len(effects)).reshape(-1, K).T.ravel()
    vcov = (D @ model.variance.internal @ D.T)[np.ix_(order, order)]
    held = ", ".join(f"{name} = {value}" for name, value in at.items())
    return InferenceResult(
        estimate=np.array(effects)[order],
        vcov=0.5 * (vcov + vcov.T),
        names=tuple(change.name for change in changes) * K,
        outcomes=tuple(str(c) for c in model.classes.tolist() for _ in changes),
        df=model.variance.df,
        n_obs=len(frame),
        n_clusters=model.variance.n_clusters,
        vcov_type=model.variance.kind,
        estimand="average over the given rows of the change of the probability of each class",
        method="Average marginal effects of an ordinal model",
        outcome=estimator.result_.outcome,
        diagnostics={
            "lines": [f"With {held} in every row"] if held else [],
            "se_note": "delta method",
            "notes": ["over the classes the effects of a column add to zero"],
            "assumptions": ["the rows of the average are given", "the model is right"],
            "converged": model.converged,
        },
        call=estimator.result_.call,
    )


def _frame(X: Any, columns: tuple[str, ...]) -> pd.DataFrame:
    table = as_table(X)
    if table is not None:
        absent = [c for c in columns if c not in table]
        if absent:
            raise DataError(f"X lacks the columns {', '.join(absent)} that the model needs.")
        return table.pandas(columns)
    array = np.asarray(X, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != len(columns):
        raise DataError(f"X has shape {array.shape}; the model has {len(columns)} columns.")
    return pd.DataFrame(array, columns=list(columns))


def _matrix(estimator: Any, frame: pd.DataFrame) -> Array:
    if isinstance(estimator.design_, FormulaDesign):
        return new_design_matrix(estimator, estimator.design_, frame)
    array = frame.to_numpy(dtype=np.float64)
    if not np.isfinite(array).all():
        raise DataError("X has missing or infinite values. Margins need complete rows.")
    return array


def _weights(sample_weight: Any, n_rows: int) -> Array:
    if sample_weight is None:
        return np.full(n_rows, 1.0 / n_rows)
    w = to_float(sample_weight, "sample_weight")
    if w.shape != (n_rows,) or not (w >= 0).all() or not w.sum() > 0:
        raise DataError(f"sample_weight must be {n_rows} weights >= 0 with a positive sum.")
    return np.asarray(w / w.sum())


def _changes(
    frame: pd.DataFrame, design: Any, variables: Sequence[str] | None, dummy: bool
) -> list[_Change]:
    chosen = list(design.columns) if variables is None else list(variables)
    unknown = [name for name in chosen if name not in design.columns]
    if unknown or not chosen:
        raise ParameterError(
            f"variables names {', '.join(map(repr, unknown)) or 'nothing'}; the columns of the "
            f"model are {', '.join(design.columns)}."
        )
    categorical: set[str] = set()
    if isinstance(design, FormulaDesign):
        categorical = design.categorical_columns()
    found = []
    for name in chosen:
        column = frame[name]
        if name in categorical:
            found += _switches(frame, name, design)
            continue
        values = column.to_numpy(dtype=np.float64)
        if dummy and set(np.unique(values)) <= {0.0, 1.0}:
            found.append(_Change(name, frame.assign(**{name: 0.0}), frame.assign(**{name: 1.0}), 1))
            continue
        h = _STEP * (float(values.std()) or max(1.0, abs(float(values[0]))))
        low, high = values - h, values + h
        found.append(
            _Change(name, frame.assign(**{name: low}), frame.assign(**{name: high}), 2.0 * h)
        )
    return found


def _switches(frame: pd.DataFrame, name: str, design: FormulaDesign) -> list[_Change]:
    """Each level of a category against the first one, which the design takes as reference."""
    levels = design.levels_of(name)
    kind = frame[name].dtype

    def held(level: Any) -> pd.DataFrame:
        values: Any = [level] * len(frame)
        if isinstance(kind, pd.CategoricalDtype):
            values = pd.Categorical(values, categories=kind.categories, ordered=kind.ordered)
        return frame.assign(**{name: values})

    return [
        _Change(f"{name}[{level} - {levels[0]}]", held(levels[0]), held(level), 1.0)
        for level in levels[1:]
    ]
