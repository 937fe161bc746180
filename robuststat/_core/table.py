"""Rows with named columns, and the conversion of their values to numbers, flags and codes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from robuststat._core.errors import DataError
from robuststat._core.types import Array, BoolArray, IntArray


@dataclass(frozen=True, slots=True)
class Codes:
    """Group membership as integers.

    Attributes
    ----------
    codes : ndarray of shape (n,)
        0, 1, ..., in the order of ``levels``.
    levels : tuple
        The values the user gave, sorted.
    """

    codes: IntArray
    levels: tuple[Any, ...]

    def take(self, kept: BoolArray) -> Codes:
        """Codes of the rows kept, without the levels that vanish."""
        used, codes = np.unique(self.codes[kept], return_inverse=True)
        return Codes(codes.astype(np.int64), tuple(self.levels[i] for i in used))


def as_table(X: Any) -> Table | None:
    """Wrap a data frame of any library narwhals knows; None for arrays and lists."""
    try:
        frame = nw.from_native(X, eager_only=True, pass_through=True)
    except Exception as error:
        raise DataError(f"X cannot be read as a table: {error}") from error
    if not isinstance(frame, nw.DataFrame):
        if type(X).__name__ == "LazyFrame":
            raise DataError("X is a lazy frame. Pass its rows: X.collect().")
        return None
    if not all(isinstance(c, str) for c in frame.columns):
        return None
    return Table(frame)


class Table:
    """Rows with named columns, read as pandas Series whatever library holds them.

    Parameters
    ----------
    frame : narwhals.DataFrame
        The rows.
    """

    def __init__(self, frame: nw.DataFrame[Any]) -> None:
        self._frame = frame
        self.names: tuple[str, ...] = tuple(frame.columns)
        self.n_rows: int = frame.shape[0]

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def listed(self) -> str:
        """Names of the columns for a message, at most twenty."""
        more = ", ..." if len(self.names) > 20 else ""
        return ", ".join(self.names[:20]) + more

    def series(self, name: str) -> pd.Series:
        """One column, the same whatever library holds it; categories keep their order."""
        column = self._frame.get_column(name)
        native, dtype = column.to_native(), column.dtype
        if isinstance(native, pd.Series):
            _refuse_complex(native, name)
            native = native.reset_index(drop=True).infer_objects()
            if native.dtype == object and pd.api.types.infer_dtype(native) == "boolean":
                return native.astype("boolean")
            plain = isinstance(native.dtype, np.dtype | pd.CategoricalDtype)
            if plain or str(native.dtype) == "str":
                return native
        if dtype in (nw.Categorical, nw.Enum):
            levels, ordered = _levels(column), _is_ordered(column)
            return pd.Series(pd.Categorical(column.to_list(), categories=levels, ordered=ordered))
        if dtype == nw.String:
            return pd.Series(column.to_list(), dtype="str")
        missing = column.is_null().to_numpy().astype(bool)
        if dtype == nw.Boolean:
            flags = column.fill_null(False).to_numpy().astype(bool)
            return pd.Series(pd.arrays.BooleanArray(flags, missing) if missing.any() else flags)
        if dtype.is_integer():
            integers = column.fill_null(0).to_numpy()
            masked = pd.arrays.IntegerArray(integers, missing) if missing.any() else integers
            return pd.Series(masked)
        if dtype.is_numeric():
            return pd.Series(to_float(column.cast(nw.Float64).to_numpy(), name))
        return pd.Series(column.to_list())

    def numeric(self, name: str) -> bool:
        """Whether a column holds numbers or flags."""
        dtype = self._frame.get_column(name).dtype
        if dtype == nw.Object:
            return pd.api.types.is_numeric_dtype(self.series(name))
        return bool(dtype.is_numeric() or dtype == nw.Boolean)

    @property
    def native(self) -> Any:
        """The frame in the library it came from."""
        return self._frame.to_native()

    def pandas(self, names: Sequence[str]) -> pd.DataFrame:
        """Several columns as a pandas frame with a plain index."""
        index = pd.RangeIndex(self.n_rows)
        return pd.DataFrame({name: self.series(name) for name in names}, index=index)


def _is_ordered(column: nw.Series[Any]) -> bool:
    """Whether the order of the categories was declared."""
    native = column.to_native()
    arrow = bool(getattr(getattr(native, "type", None), "ordered", False))
    return isinstance(column.dtype, nw.Enum) or arrow


def _levels(column: nw.Series[Any]) -> list[Any]:
    """Categories in the order of an Enum or an ordered Arrow dictionary, otherwise sorted.

    An unordered dictionary is a way of storing text, in order of appearance.
    """
    if isinstance(column.dtype, nw.Enum):
        return list(column.dtype.categories)
    native = column.to_native()
    if getattr(getattr(native, "type", None), "ordered", False):
        levels = (v for chunk in native.chunks for v in chunk.dictionary.to_pylist())
        return list(dict.fromkeys(levels))
    return sorted(column.drop_nulls().unique().to_list())


def plain_values(values: Any) -> Any:
    """Array, list or Series of any library as a NumPy array or a pandas Series without index."""
    if isinstance(values, pd.Series):
        return values.reset_index(drop=True)
    if hasattr(values, "to_numpy"):
        arrow = type(values).__module__.startswith("pyarrow")
        return values.to_numpy(zero_copy_only=False) if arrow else values.to_numpy()
    array = np.asarray(values)
    if array.dtype.kind == "U" and isinstance(values, (list, tuple)):
        # NumPy would turn NaN into the word "nan" and 1 into "1".
        return np.asarray(values, dtype=object)
    return array


def to_float(values: Any, name: str) -> Array:
    """Values as floats with NaN where missing.

    Raises
    ------
    DataError
        When a value is not a number; the message shows the first one.
    """
    if isinstance(values, np.ndarray) and values.dtype.kind in "fiub":
        return np.asarray(values, dtype=np.float64)
    series = values if isinstance(values, pd.Series) else pd.Series(values)
    _refuse_complex(series, name)
    if series.dtype.kind in "Mm":
        raise DataError(
            f"{name} must be numeric, but holds dates or durations ({series.dtype}). Convert it to "
            "a number, such as days since a date."
        )
    try:
        return np.asarray(series.to_numpy(dtype=np.float64, na_value=np.nan))
    except (TypeError, ValueError):
        numbers = pd.to_numeric(series.astype(object), errors="coerce")
        bad = np.flatnonzero(numbers.isna().to_numpy() & series.notna().to_numpy())
        if bad.size == 0:
            return np.asarray(numbers, dtype=np.float64)
        raise DataError(
            f"{name} must be numeric, but row {bad[0]} holds {series.iloc[bad[0]]!r} "
            f"({bad.size} such values). Convert it, or use a formula with C(...) for categories."
        ) from None


def _refuse_complex(series: pd.Series, name: str) -> None:
    if pd.api.types.is_complex_dtype(series.dtype):
        raise DataError(f"{name} holds complex numbers. Complex data are not supported.")


def to_codes(values: Any, name: str) -> tuple[Codes, BoolArray]:
    """Group codes and the mask of missing values."""
    series = values if isinstance(values, pd.Series) else pd.Series(np.asarray(values))
    try:
        codes, levels = pd.factorize(series, sort=True)
    except TypeError as error:
        raise DataError(f"{name} mixes types that cannot be ordered: {error}") from error
    missing = codes < 0
    return Codes(codes.astype(np.int64), tuple(levels.tolist())), missing


def sorted_levels(levels: Iterable[Any], name: str) -> tuple[Any, ...]:
    """Distinct levels in order; types that have no common order are a DataError."""
    try:
        return tuple(sorted(set(levels)))
    except TypeError as error:
        raise DataError(
            f"{name} mixes types that cannot be ordered: {error}. Convert the column to one type."
        ) from error


def to_flag(values: Any, name: str) -> Array:
    """0/1 or boolean values as floats with NaN where missing."""
    flag = to_float(values, name)
    bad = np.flatnonzero(~np.isnan(flag) & (flag != 0) & (flag != 1))
    if bad.size:
        raise DataError(
            f"{name} must hold only 0/1 or True/False, but row {bad[0]} holds {flag[bad[0]]:g} "
            f"({bad.size} such values)."
        )
    return flag


def rows_frame(X: Any) -> tuple[Table | None, pd.DataFrame]:
    """Rows as a new pandas frame, to which columns can be added.

    Parameters
    ----------
    X : array or frame
        Any container that ``as_table`` knows, or an array of shape (n, p).

    Returns
    -------
    table : Table or None
        None for an array.
    frame : DataFrame
        The columns of ``X`` (x0, x1, ... for an array) with its index.
    """
    table = as_table(X)
    if table is None:
        array = np.asarray(X, dtype=np.float64)
        return None, pd.DataFrame(array, columns=[f"x{j}" for j in range(array.shape[1])])
    frame = table.pandas(table.names)
    if isinstance(X, pd.DataFrame):
        frame.index = X.index
    return table, frame
