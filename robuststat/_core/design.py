"""Design matrices of plain covariates, and of rows that come after the fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.utils.validation import validate_data

from robuststat._core.errors import DataError, ParameterError
from robuststat._core.formula import FormulaDesign
from robuststat._core.table import as_table, to_float
from robuststat._core.types import Array, BoolArray


@dataclass(frozen=True, slots=True)
class Shares:
    """Probabilities of the levels of a categorical covariate.

    Attributes
    ----------
    levels : tuple
        Levels, as in the column.
    values : ndarray of shape (n, number of levels)
        Probabilities; any real numbers that add up to one.
    """

    levels: tuple[Any, ...]
    values: Array

    def constants(self) -> Iterator[pd.Series]:
        """Columns that hold one level in every row."""
        n, dtype = self.values.shape[0], pd.CategoricalDtype(list(self.levels))
        for c in range(len(self.levels)):
            yield pd.Series(pd.Categorical.from_codes(np.full(n, c), dtype=dtype))


@dataclass(frozen=True, slots=True)
class ArrayDesign:
    """Covariates used as they are, with or without a column of ones in front."""

    names: tuple[str, ...]
    columns: tuple[str, ...]
    intercept: bool

    def matrix(self, X: Array) -> Array:
        """Design matrix of the covariates ``X`` (n, p), of shape (n, k)."""
        if not self.intercept:
            return X if sparse.issparse(X) else np.ascontiguousarray(X)
        design = np.empty((X.shape[0], X.shape[1] + 1))
        design[:, 0] = 1.0
        design[:, 1:] = X
        return design

    def affected(self, column: str) -> list[int]:
        """Position of the design column that holds ``column``."""
        return [self.columns.index(column) + int(self.intercept)]


@dataclass(frozen=True, slots=True)
class GroupDesign:
    """One indicator for every combination of some columns; a column of ones without columns.

    Attributes
    ----------
    names : tuple of str
        Such as "source[tweet]:year[2001]".
    columns : tuple of str
        Columns that form the groups.
    levels : tuple of tuple
        The combination behind each name.
    """

    names: tuple[str, ...]
    columns: tuple[str, ...]
    levels: tuple[tuple[Any, ...], ...]

    def matrix(self, frame: pd.DataFrame) -> Array:
        """Return indicators of the rows of ``frame``, of shape (n, number of groups)."""
        if not self.columns:
            return np.ones((len(frame), 1))
        position = {level: j for j, level in enumerate(self.levels)}
        rows = list(frame[list(self.columns)].itertuples(index=False, name=None))
        unknown = sorted({str(row) for row in rows if row not in position})
        if unknown:
            raise DataError(f"Groups not seen when the model was fitted: {', '.join(unknown[:5])}.")
        design = np.zeros((len(rows), len(self.levels)))
        design[np.arange(len(rows)), [position[row] for row in rows]] = 1.0
        return design

    def affected(self, column: str) -> list[int]:
        """Refuse: groups are never predicted."""
        raise ParameterError(
            f"prediction names {column!r}, but a mean (by {', '.join(self.columns) or 'no group'}) "
            "has a predicted outcome only; groups must be known. Name the outcome 'y'."
        )


def bind_groups(columns: tuple[str, ...], frame: pd.DataFrame) -> GroupDesign:
    """Find the groups that occur in ``frame``, in sorted order."""
    if not columns:
        return GroupDesign(("mean",), (), ((),))
    try:
        groups = frame[list(columns)].drop_duplicates().sort_values(list(columns))
    except TypeError as error:
        raise DataError(
            f"by={', '.join(columns)} mixes types that cannot be ordered: {error}. Convert the "
            "column to text or a category."
        ) from error
    levels = tuple(groups.itertuples(index=False, name=None))
    names = tuple(
        ":".join(f"{c}[{value}]" for c, value in zip(columns, level, strict=True))
        for level in levels
    )
    return GroupDesign(names, columns, levels)


Design = ArrayDesign | FormulaDesign | GroupDesign


def takes_sparse(estimator: Any) -> bool:
    """Whether an estimator says, by its scikit-learn tags, that it works on sparse covariates."""
    tags = getattr(estimator, "__sklearn_tags__", None)
    return tags is not None and bool(tags().input_tags.sparse)


def new_design_matrix(estimator: Any, design: Design, X: Any) -> Array:
    """Design matrix of rows passed to ``predict``, of shape (n, k)."""
    table = as_table(X)
    if isinstance(design, GroupDesign) and not design.columns:
        n_rows = (
            validate_data(estimator, X, reset=False).shape[0] if table is None else table.n_rows
        )
        return design.matrix(pd.DataFrame(index=pd.RangeIndex(n_rows)))
    if isinstance(design, FormulaDesign | GroupDesign):
        if table is None:
            raise DataError("The model was fitted on a frame with named columns: pass one.")
        absent = [c for c in design.columns if c not in table]
        if absent:
            raise DataError(f"X lacks the columns {', '.join(absent)} that the model needs.")
        frame = table.pandas(design.columns)
        _refuse_missing({str(n): c.isna().to_numpy() for n, c in frame.items()})
        return design.matrix(frame)
    if (
        table is not None
        and all(c in table for c in design.columns)
        and len(table.names) != len(design.columns)
    ):
        # The raw frame of fit, with outcome and role columns still in it.
        columns = [to_float(table.series(c), c) for c in design.columns]
        array = np.column_stack(columns) if columns else np.empty((table.n_rows, 0))
    elif table is not None and not isinstance(X, pd.DataFrame):
        frame = table.pandas(table.names)
        array = validate_data(estimator, frame, reset=False, dtype=np.float64)
    else:
        accepted = "csc" if takes_sparse(estimator) else False
        array = validate_data(estimator, X, reset=False, dtype=np.float64, accept_sparse=accepted)
        if sparse.issparse(array):
            return design.matrix(cast(Array, array))
    _refuse_missing({c: np.isnan(array[:, j]) for j, c in enumerate(design.columns)})
    return design.matrix(array)


def _refuse_missing(masks: Mapping[str, BoolArray]) -> None:
    for name, mask in masks.items():
        if mask.any():
            raise DataError(
                f"Column {name!r} has {int(mask.sum())} missing values (NaN), first at row "
                f"{int(np.flatnonzero(mask)[0])}. Predictions need complete rows."
            )
