"""Expert labels as numbers: what each model accepts, and what it says when it does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from robuststat._core.errors import DataError
from robuststat._core.table import to_float
from robuststat._core.types import Array


def encode_labels(y: Any, name: str) -> tuple[Array, tuple[Any, Any]]:
    """Binary labels as 0/1 with NaN where not labelled, and the two classes in order.

    Parameters
    ----------
    y : array of shape (n,)
        0/1 numbers, booleans, or two distinct strings; NaN, None or NA where not labelled.
    name : str
        Name of the outcome, for messages.

    Raises
    ------
    DataError
        When the labels are not binary.
    """
    series = pd.Series(y)
    known = series.notna().to_numpy()
    if not known.any():
        return np.full(len(series), np.nan), (0, 1)
    distinct = pd.unique(series[known].infer_objects())
    if pd.api.types.is_numeric_dtype(pd.Series(distinct).infer_objects()):
        return _encode_numbers(series, name, np.asarray(distinct))
    if len(distinct) != 2:
        raise DataError(_not_binary(name, list(distinct)))
    first, second = sorted(distinct)
    values = np.where(known, (series == second).to_numpy(dtype=np.float64), np.nan)
    return values, (first, second)


def _encode_numbers(series: pd.Series, name: str, distinct: Any) -> tuple[Array, tuple[Any, Any]]:
    values = to_float(series, name)
    if np.isinf(values).any():
        raise DataError(f"Input y contains infinity or a value too large ({name}).")
    found = distinct.astype(np.float64)
    if not np.isin(found, (0.0, 1.0)).all():
        raise DataError(_not_binary(name, sorted(found.tolist())))
    if found.size < 2:
        raise DataError(
            f"The labels of {name!r} hold one class only ({found[0]:g}); a logit model needs "
            "both. Label more rows."
        )
    if distinct.dtype == bool:
        return values, (False, True)
    # Integers with gaps arrive as floats; the classes stay whole numbers.
    return values, (0, 1)


def _not_binary(name: str, distinct: list[Any]) -> str:
    shown = ", ".join(repr(value) for value in distinct[:5])
    numbers = all(isinstance(value, (int, float)) for value in distinct)
    if numbers and any(not float(value).is_integer() for value in distinct):
        lead = "Unknown label type: continuous. "
    elif len(distinct) > 2:
        lead = "Only binary classification is supported. The type of the target is multiclass. "
    else:
        lead = ""
    more = ", ..." if len(distinct) > 5 else ""
    return (
        f"{lead}The expert labels of {name!r} must be 0/1 (or two strings, or booleans); they "
        f"take {len(distinct)} values: {shown}{more}. Recode them; only surrogates may be any "
        "number."
    )


def check_counts(y: Array, name: str) -> None:
    """Refuse negative expert counts of a Poisson model."""
    bad = np.flatnonzero(y < 0)
    if bad.size:
        raise DataError(
            f"model='poisson' needs outcomes >= 0, but {name!r} has {bad.size} negative values "
            f"(min {np.nanmin(y):g}, first at row {bad[0]}). Use model='linear', or recode."
        )
