"""Predicted columns: which they are, their expert values, their surrogates."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd

from robuststat._core.columns import outcome_columns
from robuststat._core.data import RoleData
from robuststat._core.errors import ParameterError, RoleError
from robuststat._core.table import Table, to_float
from robuststat._core.types import Array, BoolArray
from robuststat.surrogate._outcome import encode_classes

OUTCOME = "y"

Classes = dict[str, tuple[Any, ...]]

_LABEL_TYPES = (pd.StringDtype, pd.CategoricalDtype)


def outcome_names(y: Any, formula: str | None, table: Table | None) -> tuple[str, ...]:
    """Names of the outcomes that ``y`` or the formula holds."""
    if formula is not None and "~" in formula and formula.split("~")[0].strip():
        return (formula.split("~")[0].strip().strip("`"),)
    if isinstance(y, str):
        return (y,)
    several = outcome_columns(y, table)
    if several is not None:
        return tuple(several)
    name = getattr(y, "name", None)
    return (name if isinstance(name, str) and name else "y",)


def refuse_absorbed_roles(absorb: tuple[str, ...], used: tuple[str, ...]) -> None:
    both = [name for name in absorb if name in used]
    if both:
        raise ParameterError(
            f"absorb names {', '.join(map(repr, both))}, which is also outcome, prediction or part "
            "of the formula. A column is absorbed or in the model: name it once."
        )


def by_target(prediction: Any, outcomes: tuple[str, ...], covariates: Collection[str]) -> Any:
    """Give a single outcome's surrogates the key "y"; anything else is returned as it is.

    Parameters
    ----------
    prediction : object
        The role ``prediction``.
    outcomes : tuple of str
        Names of the outcomes. A single one counts as a key unless a covariate has the same name.
    covariates : collection of str
        Columns that may be covariates.

    Raises
    ------
    RoleError
        When two keys name the outcome, a covariate is called "y", or it is not said which of
        several outcomes is predicted.
    """
    if not isinstance(prediction, Mapping):
        if len(outcomes) > 1 and prediction is not None:
            raise RoleError(
                f"With {len(outcomes)} outcomes prediction must say which surrogates belong to "
                f"which: {{{outcomes[0]!r}: ..., {outcomes[1]!r}: ...}}."
            )
        return prediction
    if not prediction:
        raise RoleError("prediction is an empty dict. Name at least one predicted column.")
    if len(outcomes) > 1:
        return {str(key): value for key, value in prediction.items()}
    (outcome,) = outcomes
    mapped: dict[str, Any] = {}
    for key, value in prediction.items():
        name = str(key)
        if name == OUTCOME and name in covariates and outcome != OUTCOME:
            raise RoleError(
                f"prediction names 'y', which means the outcome ({outcome!r}), but a covariate has "
                "the same name. Rename that covariate."
            )
        target = OUTCOME if name == outcome and name not in covariates else name
        if target in mapped:
            raise RoleError(
                f"prediction names the outcome twice, as {outcome!r} and as 'y'. Keep one."
            )
        mapped[target] = value
    return mapped


def surrogates_by_column(prediction: Any) -> dict[str, pd.DataFrame]:
    """Surrogate columns of each predicted column from the resolved role."""
    if prediction is None:
        return {}
    return dict(prediction) if isinstance(prediction, dict) else {OUTCOME: prediction}


def holds_labels(column: pd.Series) -> bool:
    """Whether a column holds categories or text, under the dtypes of pandas 2 and 3."""
    column = column.infer_objects()
    text = column.dtype == object and column.dropna().map(lambda v: isinstance(v, str)).any()
    return bool(text) or isinstance(column.dtype, _LABEL_TYPES)


def gold_values(data: RoleData, predicted: tuple[str, ...], classes: Classes) -> dict[str, Array]:
    """Gold values of the predicted columns, NaN where not known; levels go into ``classes``.

    A covariate that holds labels becomes one indicator a level, of shape (n, C).
    """
    values: dict[str, Array] = {}
    for name in predicted:
        if name == OUTCOME and not data.outcomes:
            values[name] = np.asarray(data.y, dtype=np.float64)
        elif name in data.outcomes:
            values[name] = np.asarray(data.y[:, data.outcomes.index(name)], dtype=np.float64)
        elif data.frame is not None:
            if name not in data.frame:
                raise RoleError(
                    f"prediction names {name!r}, which is neither the outcome nor a column of "
                    f"the formula. Its columns are {', '.join(map(str, data.frame.columns))}."
                )
            if holds_labels(data.frame[name]):
                values[name], classes[name] = encode_classes(data.frame[name], name, data.weights)
            else:
                values[name] = to_float(data.frame[name], name)
        else:
            values[name] = data.X[:, data.design.affected(name)[0]]
    return values


def known_rows(values: Array) -> BoolArray:
    """Rows in which a predicted column is known."""
    return ~np.isnan(values if values.ndim == 1 else values[:, 0])
