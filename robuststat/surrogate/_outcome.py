"""Expert labels as numbers: what each model accepts, and what it says when it does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from robuststat._core.errors import DataError
from robuststat._core.table import to_float
from robuststat._core.types import Array


def encode_labels(
    y: Any,
    name: str,
    weights: Array | None,
    refuse_numbers: Callable[[str, list[float]], None] | None = None,
) -> tuple[Array, tuple[Any, Any]]:
    """Binary labels as 0/1 with NaN where not labelled, and the two classes in order.

    Parameters
    ----------
    y : array of shape (n,)
        0/1 numbers, booleans, or two distinct strings; NaN, None or NA where not labelled.
    name : str
        Name of the outcome, for messages.
    weights : ndarray of shape (n,) or None
        Sample weights; labels of rows without weight do not count as a class.
    refuse_numbers : callable, optional
        Called with two numeric classes that are not 0 and 1; without it they are refused.

    Raises
    ------
    DataError
        When the labels are not binary.
    """
    series = pd.Series(y).infer_objects()
    known = series.notna().to_numpy()
    counted = known if weights is None else known & (weights > 0)
    distinct = sorted(pd.unique(series[counted]).tolist(), key=lambda v: (str(type(v)), v))
    if not distinct:
        return np.full(len(series), np.nan), (0, 1)
    if len(distinct) == 1:
        raise DataError(
            f"The labels of {name!r} hold one class only ({distinct[0]!r}); a logit model needs "
            "both. Label more rows."
        )
    numbers = all(isinstance(value, (int, float)) for value in distinct)
    if numbers and not all(np.isfinite(value) for value in distinct):
        raise DataError(f"Input y contains infinity or a value too large ({name!r}).")
    if len(distinct) != 2:
        raise DataError(not_binary(name, distinct))
    if numbers and distinct != [0, 1]:
        if refuse_numbers is None:
            raise DataError(not_binary(name, distinct))
        refuse_numbers(name, distinct)
    first, second = (_whole(value) for value in distinct)
    values = np.where(known, (series == second).to_numpy(dtype=np.float64, na_value=0.0), np.nan)
    return values, (first, second)


def encode_classes(y: Any, name: str, weights: Array | None) -> tuple[Array, tuple[Any, ...]]:
    """Labels as indicators (n, C) with NaN where not labelled, and the C classes in order.

    Parameters
    ----------
    y : array of shape (n,)
        Labels of any type that can be sorted; NaN, None or NA where not labelled.
    name : str
        Name of the column, for messages.
    weights : ndarray of shape (n,) or None
        Sample weights; labels of rows without weight do not count as a class.

    Raises
    ------
    DataError
        When there is one class only, or the labels are measurements.
    """
    series = pd.Series(y).reset_index(drop=True).infer_objects()
    known = series.notna().to_numpy()
    counted = known if weights is None else known & (weights > 0)
    if isinstance(series.dtype, pd.CategoricalDtype):
        present = set(series[counted].unique().tolist())
        distinct = [level for level in series.cat.categories.tolist() if level in present]
    else:
        distinct = sorted(pd.unique(series[counted]).tolist(), key=lambda v: (str(type(v)), v))
    if any(isinstance(v, float) and not v.is_integer() for v in distinct):
        shown = ", ".join(f"{v:g}" for v in distinct[:5])
        raise DataError(
            f"Unknown label type: continuous. {name!r} must hold classes, but holds numbers such "
            f"as {shown}. Cut them into classes, or use a model for numbers."
        )
    if len(distinct) == 1:
        raise DataError(
            f"The labels of {name!r} hold one class only ({distinct[0]!r}); at least two are "
            "needed. Label more rows."
        )
    indicators = np.full((len(series), len(distinct)), np.nan)
    for c, value in enumerate(distinct):
        hit = (series == value).to_numpy(dtype=np.float64, na_value=0.0)
        indicators[known, c] = hit[known]
    return indicators, tuple(_whole(value) for value in distinct)


def _whole(value: Any) -> Any:
    """Integers with gaps arrive as floats; the classes stay whole numbers."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def outcome_numbers(values: Any, name: str) -> Array:
    """Outcome as finite floats, NaN where not labelled."""
    numbers = to_float(values, name)
    if np.isinf(numbers).any():
        raise DataError(
            f"Input y contains infinity or a value too large for float64 ({name!r}, first at row "
            f"{np.flatnonzero(np.isinf(numbers))[0]}). Remove or recode it."
        )
    return numbers


def class_numbers(values: Any, second: Any) -> Array:
    """1 for the second class, 0 for the first, NaN where missing."""
    series = pd.Series(values)
    hit = (series == second).to_numpy(dtype=np.float64, na_value=0.0)
    return np.where(series.isna(), np.nan, hit)


def not_binary(name: str, distinct: list[Any]) -> str:
    """Message for labels that are not binary."""
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
