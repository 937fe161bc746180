"""Outcome and covariates of one call of ``fit``, read from arrays or from named columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import narwhals as nw
import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.utils.validation import assert_all_finite, column_or_1d

from robuststat._core.errors import (
    DataError,
    RoleError,
)
from robuststat._core.formula import (
    ParsedFormula,
    evaluate_outcome,
)
from robuststat._core.roles import RoleReader
from robuststat._core.table import Table, as_table, plain_values, to_float
from robuststat._core.types import Array

OutcomeKind = Literal["numeric", "labels", "ordered", "none"]


@dataclass(frozen=True, slots=True)
class Terms:
    """How the design is made from the covariates.

    Attributes
    ----------
    formula : str or None
        Model formula; then X is a frame.
    fit_intercept : bool
        Whether a column of ones is put in front of plain covariates.
    by : tuple of str or None
        Columns whose combinations get one indicator each; empty for a single column of ones;
        None for no groups.
    absorb : tuple of str
        Columns whose groups each have an effect of their own; there is no intercept then.
    """

    formula: str | None = None
    fit_intercept: bool = True
    by: tuple[str, ...] | None = None
    absorb: tuple[str, ...] = ()


def outcome_columns(y: Any, table: Table | None) -> dict[str, Any] | None:
    """Name and values (or column name) of each of several outcomes; None for a single one."""
    if y is None or isinstance(y, str):
        return None
    if isinstance(y, (list, tuple)) and len(y) > 1 and all(isinstance(v, str) for v in y):
        if table is None or not any(v in table for v in y):
            return None
        absent = [v for v in y if v not in table]
        if absent and len(y) != table.n_rows:
            raise RoleError(
                f"y names {', '.join(map(repr, absent))}, which is not a column of X. Its columns "
                f"are {table.listed()}."
            )
        if absent:
            return None
        _refuse_twice(y)
        return {name: name for name in y}
    own = as_table(y)
    if own is not None:
        many = len(own.names) > 1
        return {name: own.series(name).rename(name) for name in own.names} if many else None
    values = np.asarray(y)
    if values.ndim != 2 or values.shape[1] < 2:
        return None
    return {f"y{j + 1}": values[:, j] for j in range(values.shape[1])}


def _refuse_twice(names: Sequence[str]) -> None:
    if len(set(names)) < len(names):
        raise RoleError(f"y names an outcome twice: {', '.join(names)}. Name each once.")


def read_outcomes(
    estimator: Any, reader: RoleReader, y: Any, parsed: ParsedFormula | None, kind: OutcomeKind
) -> tuple[tuple[str, ...], Any]:
    """Names of several outcomes and their values (n, m); one outcome has values (n,)."""
    columns = outcome_columns(y, reader.table)
    if columns is None:
        name, single = read_outcome(estimator, reader, y, parsed, kind)
        return (name,), single
    if parsed is not None and parsed.outcome is not None:
        raise RoleError(
            f"y holds {len(columns)} outcomes ({', '.join(columns)}), but the formula has a "
            "left-hand side. Write '~ x1 + x2' and pass the outcomes as y."
        )
    read = [read_outcome(estimator, reader, part, parsed, kind)[1] for part in columns.values()]
    return tuple(columns), np.column_stack(read)


def read_outcome(
    estimator: Any, reader: RoleReader, y: Any, parsed: ParsedFormula | None, kind: OutcomeKind
) -> tuple[str, Any]:
    if kind == "none":
        return "", None
    if parsed is not None and parsed.outcome is not None:
        if y is not None:
            raise RoleError(
                f"The outcome is given twice: by y and by the formula ({parsed.outcome!r}). "
                "Leave y out, or remove the left-hand side."
            )
        assert reader.table is not None
        if not parsed.outcome_is_column:
            frame = reader.table.pandas(parsed.outcome_columns)
            return parsed.outcome, evaluate_outcome(parsed, frame)
        y = parsed.outcome
    if y is None:
        raise DataError(
            f"{type(estimator).__name__} requires y to be passed, but the target y is None."
        )
    if isinstance(y, str):
        name, values = y, reader.column("y", y)
    else:
        label = getattr(y, "name", None)
        name = str(label) if isinstance(label, str | int) and label != "" else "y"
        values = plain_values(y)
        if kind == "ordered":
            values = _with_categories(y, values)
        vector = column_or_1d(values, warn=True)
        if vector.shape[0] != reader.n_rows:
            raise DataError(
                f"Found input variables with inconsistent numbers of samples: X has "
                f"{reader.n_rows} rows, y has {vector.shape[0]}."
            )
        values = values if isinstance(values, pd.Series) else vector
    if kind == "ordered":
        return name, values
    if kind == "labels":
        return name, np.asarray(values)
    numbers = to_float(values, f"y ({name})" if name != "y" else "y")
    if np.isinf(numbers).any():
        raise DataError(
            f"Input y contains infinity or a value too large for float64 "
            f"(first at row {np.flatnonzero(np.isinf(numbers))[0]}). Remove or recode it."
        )
    return name, numbers


def _with_categories(y: Any, values: Any) -> Any:
    """Categories of any library as a pandas Series, which keeps their order."""
    if isinstance(y, pd.Categorical):
        return pd.Series(y)
    if isinstance(values, pd.Series):
        return values
    column = nw.from_native(y, series_only=True, pass_through=True)
    if isinstance(column, nw.Series):
        table = as_table(column.to_frame().to_native())
        assert table is not None
        return table.series(table.names[0])
    return values


def read_covariates(
    estimator: Any,
    reader: RoleReader,
    X: Any,
    taken: set[str],
    parsed: ParsedFormula | None,
    terms: Terms,
    predicted: Sequence[str],
) -> Array | pd.DataFrame:
    """Covariates as an array, or as the frame a formula or groups are computed from."""
    if parsed is not None or terms.by is not None:
        columns = parsed.columns if parsed is not None else terms.by or ()
        if reader.table is None and not all_finite(X):
            # The covariates are not used, but a broken array is still a broken array.
            _note_columns(reader, X, covariate_names(estimator, X.shape[1]), predicted)
        return _named_columns(estimator, reader, columns, predicted)
    if sparse.issparse(X):
        # Missing cells of a sparse matrix are an error: no column-wise count is worth a dense copy.
        assert_all_finite(X, input_name="X")
        return cast(Array, X)
    if reader.table is None:
        array = np.asarray(X)
        names = covariate_names(estimator, array.shape[1])
    else:
        names = tuple(c for c in reader.table.names if c not in taken)
        array = np.empty((reader.n_rows, len(names)))
        for j, name in enumerate(names):
            array[:, j] = to_float(reader.table.series(name), name)
        _remember_features(estimator, names)
    unknown = [name for name in predicted if name not in names]
    if unknown:
        raise RoleError(
            f"prediction names {', '.join(map(repr, unknown))}, which is neither the outcome 'y' "
            f"nor a covariate. The covariates are {', '.join(names)}."
        )
    # One pass decides that nothing is wrong; columns are looked at only when something is.
    if not all_finite(array):
        _note_columns(reader, array, names, predicted)
    return array


def all_finite(array: Array) -> bool:
    """Whether the sum of all cells is finite; a sum that overflows costs a closer look."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(array.sum()))


def _named_columns(
    estimator: Any, reader: RoleReader, columns: Sequence[str], predicted: Sequence[str]
) -> pd.DataFrame:
    if reader.table is None:
        if columns:
            raise DataError(f"Groups by {', '.join(columns)} need a data frame as X.")
        if not hasattr(estimator, "n_features_in_"):
            _remember_features(estimator, ())
        return pd.DataFrame(index=pd.RangeIndex(reader.n_rows))
    absent = [c for c in columns if c not in reader.table]
    if absent:
        raise RoleError(
            f"by={', '.join(absent)} is not a column of X. Its columns are {reader.table.listed()}."
        )
    frame = reader.table.pandas(columns)
    for name, column in frame.items():
        if name not in predicted:
            reader.note_missing(str(name), column.isna().to_numpy())
    _remember_features(estimator, columns)
    return frame


def _note_columns(
    reader: RoleReader, array: Array, names: Sequence[str], predicted: Sequence[str]
) -> None:
    for j, name in enumerate(names):
        infinite = np.flatnonzero(np.isinf(array[:, j]))
        if infinite.size:
            raise DataError(
                f"Column {name!r} of X holds infinity (inf) in {infinite.size} rows, first at row "
                f"{infinite[0]}. Recode or remove them."
            )
        if name not in predicted:
            reader.note_missing(name, np.isnan(array[:, j]))


def _remember_features(estimator: Any, names: Sequence[str]) -> None:
    estimator.feature_names_in_ = np.asarray(names, dtype=object)
    estimator.n_features_in_ = len(names)


def covariate_names(estimator: Any, n_columns: int) -> tuple[str, ...]:
    names = getattr(estimator, "feature_names_in_", None)
    return tuple(f"x{j}" for j in range(n_columns)) if names is None else tuple(names)
