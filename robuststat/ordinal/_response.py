"""An ordered outcome as class numbers: what is accepted, and what is said when it is not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from robuststat._core.errors import DataError
from robuststat._core.table import to_float
from robuststat._core.types import Array, IntArray

# More distinct values than this are a measurement, not classes.
MAX_LEVELS = 50


@dataclass(frozen=True, slots=True)
class Response:
    """Classes of the rows that carry weight.

    Attributes
    ----------
    codes : ndarray of shape (m,)
        Class number 0..K-1.
    classes : ndarray of shape (K,)
        Labels, lowest first.
    counts : ndarray of shape (K,)
        Total weight of each class.
    rows : ndarray of shape (m,)
        Position of each entry among the rows of X; a row of counts has one entry a class.
    weights : ndarray of shape (m,)
        Positive weights; ones without ``sample_weight`` and counts.
    grouped : bool
        Whether the outcome was a matrix of counts.
    dropped : tuple
        Declared levels that never occur and were left out (``drop_empty=True``).
    weighted : bool
        Whether the weights differ from one.
    """

    codes: IntArray
    classes: Any
    counts: Array
    rows: IntArray
    weights: Array
    grouped: bool = False
    dropped: tuple[Any, ...] = ()
    weighted: bool = False

    @property
    def n_classes(self) -> int:
        """Number of classes K."""
        return len(self.classes)


Refuse = Callable[[str, list[Any]], None]


def read_response(
    y: Any,
    *,
    weights: Array | None = None,
    categories: Sequence[Any] | None = None,
    drop_empty: bool = False,
    name: str = "y",
    columns: Sequence[str] = (),
    refuse_unordered: Refuse | None = None,
    part: bool = False,
) -> Response:
    """Turn an outcome into class numbers.

    Parameters
    ----------
    y : Series or ndarray of shape (n,), or ndarray of shape (n, K)
        Ordered categories, whole numbers, at most 50 distinct numbers, booleans; text only with
        ``categories``. Two dimensions are counts of each class in each row (grouped data).
    weights : ndarray of shape (n,), optional
        Rows of weight zero are left out.
    categories : sequence, optional
        Classes from lowest to highest; for counts, the names of the columns.
    drop_empty : bool, default False
        Leave out declared classes that never occur, instead of refusing them.
    name : str
        Name of the outcome, for messages.
    columns : sequence of str
        Names of the columns of counts.
    refuse_unordered : callable, optional
        Called with name and sorted levels of text without an order; without it text is refused.

    Returns
    -------
    Response

    Raises
    ------
    DataError
        One class only, empty declared classes, text without an order, measurements, counts that
        are negative or all zero.
    """
    if not isinstance(y, pd.Series) and np.ndim(y) == 2:
        return _read_counts(y, weights, categories, drop_empty, name, columns, part)
    series = pd.Series(y).reset_index(drop=True)
    n = len(series)
    w = np.ones(n) if weights is None else weights
    rows = np.flatnonzero(w > 0)
    series = series.iloc[rows].infer_objects()
    levels = _levels(series, categories, name, refuse_unordered)
    codes = _positions(series, levels, categories, name)
    return _finish(
        codes, levels, rows, w[rows], drop_empty, name, weighted=weights is not None, part=part
    )


def _read_counts(
    y: Any,
    weights: Array | None,
    categories: Sequence[Any] | None,
    drop_empty: bool,
    name: str,
    columns: Sequence[str],
    part: bool,
) -> Response:
    counts = to_float(np.asarray(y).ravel(), name).reshape(np.shape(y))
    bad = np.argwhere(~(counts >= 0) | np.isinf(counts))
    if bad.size:
        i, j = bad[0]
        raise DataError(
            f"{name} has {len(bad)} counts that are negative or not finite (first in row {i}, "
            f"class {j + 1}: {counts[i, j]:g}). A matrix y holds how often each class occurred."
        )
    K = counts.shape[1]
    if categories is not None and len(categories) != K:
        raise DataError(
            f"categories has {len(categories)} entries but {name} has {K} columns of counts."
        )
    levels: list[Any] = list(columns) or list(range(1, K + 1))
    if categories is not None:
        levels = list(categories)
    w = counts if weights is None else counts * weights[:, None]
    rows, codes = np.nonzero(w > 0)
    if rows.size == 0:
        raise DataError(f"All counts of {name} are zero. Pass how often each class occurred.")
    return _finish(
        codes,
        levels,
        rows,
        w[rows, codes],
        drop_empty,
        name,
        weighted=True,
        grouped=True,
        part=part,
    )


def _levels(
    series: pd.Series,
    categories: Sequence[Any] | None,
    name: str,
    refuse_unordered: Refuse | None,
) -> list[Any]:
    """Classes from lowest to highest."""
    if categories is not None:
        levels = list(categories)
        if len(set(levels)) < len(levels):
            raise DataError(f"categories names a class twice: {levels}. Name each once.")
        return levels
    if isinstance(series.dtype, pd.CategoricalDtype):
        declared = series.cat.categories.tolist()
        if series.cat.ordered:
            return declared
        found = series.dropna().unique().tolist()
    else:
        found = pd.unique(series.dropna()).tolist()
    if all(isinstance(v, bool | np.bool_) for v in found):
        return sorted(found)
    if any(not isinstance(v, int | float | np.number) or isinstance(v, bool) for v in found):
        found = sorted(found, key=lambda v: (str(type(v)), str(v)))
        if refuse_unordered is None:
            shown = ", ".join(repr(v) for v in found[:5]) + (", ..." if len(found) > 5 else "")
            raise DataError(
                f"{name} holds text without an order ({shown}). Pass categories=[lowest, ..., "
                "highest] to the estimator, or an ordered pandas Categorical."
            )
        refuse_unordered(name, found)
        return found
    levels = sorted(found)
    if any(np.isinf(v) for v in levels):
        raise DataError(f"Input y contains infinity or a value too large ({name!r}).")
    if len(levels) > MAX_LEVELS and any(float(v) != int(v) for v in levels):
        raise DataError(
            f"Unknown label type: continuous. {name} takes {len(levels)} different values that are "
            f"not whole numbers; at most {MAX_LEVELS} are taken for classes. Cut it into classes, "
            "for example with pandas.cut."
        )
    return [int(v) if float(v).is_integer() else v for v in levels]


def _positions(
    series: pd.Series, levels: list[Any], categories: Sequence[Any] | None, name: str
) -> IntArray:
    numbers, uniques = pd.factorize(series)
    if (numbers < 0).any():
        raise DataError(f"{name} has {int((numbers < 0).sum())} missing values. Drop those rows.")
    place = {value: j for j, value in enumerate(levels)}
    found = np.array([place.get(value, -1) for value in uniques.tolist()], dtype=np.int64)
    if (found < 0).any():
        unknown = [value for value, j in zip(uniques.tolist(), found, strict=True) if j < 0]
        raise DataError(
            f"{name} holds {', '.join(repr(v) for v in unknown[:5])}, which categories="
            f"{list(categories or levels)} does not name. Add it, or recode y."
        )
    return found[numbers]


def _finish(
    codes: IntArray,
    levels: list[Any],
    rows: IntArray,
    weights: Array,
    drop_empty: bool,
    name: str,
    *,
    weighted: bool,
    grouped: bool = False,
    part: bool = False,
) -> Response:
    counts = np.bincount(codes, weights=weights, minlength=len(levels))
    seen = np.bincount(codes, minlength=len(levels)) > 0
    empty = tuple(v for v, there in zip(levels, seen, strict=True) if not there)
    if seen.sum() == 1 and not part:
        only = levels[int(np.flatnonzero(seen)[0])]
        raise DataError(
            f"y has one class: every row of {name!r} with weight is {only!r}; at least two classes "
            "are needed."
        )
    if empty and not drop_empty:
        raise DataError(
            f"{name} never takes {', '.join(repr(v) for v in empty)}, declared as "
            f"{'a class' if len(empty) == 1 else 'classes'} between which probabilities are to be "
            "estimated. Set drop_empty=True to leave such classes out, or merge them."
        )
    keep = np.flatnonzero(seen)
    position = np.full(len(levels), -1, dtype=np.int64)
    position[keep] = np.arange(keep.size)
    classes = np.array([levels[j] for j in keep])
    return Response(
        codes=position[codes],
        classes=classes,
        counts=np.asarray(counts[keep], dtype=np.float64),
        rows=np.asarray(rows, dtype=np.int64),
        weights=np.ascontiguousarray(weights, dtype=np.float64),
        grouped=grouped,
        dropped=empty,
        weighted=weighted,
    )
